"""Reports that tests of every format share, made by hand, and one that holds hostile text in every place."""

from __future__ import annotations

import re
from dataclasses import replace

from auditor.findings import Finding
from auditor.lineage import Candidate, LayerMatch, Lineage, Relation
from auditor.lineage.verdict import RungResult
from auditor.report import (
    AdapterSummary,
    Coverage,
    Declared,
    MergedInto,
    Place,
    Placed,
    Report,
    Target,
    exit_code,
    render,
)
from auditor.sources import FileInfo, Unread


def layer(target: int, reference: int | None, cosine: float | None = 0.93, k: int = 16) -> LayerMatch:
    return LayerMatch(target=target, reference=reference, fixed_points=k, n=16, cosine=cosine, log10_p=-13.3206)


DERIVED = Candidate(
    reference="llama-2-7b",
    model="model-00001-of-00002.safetensors",
    verdict="derived",
    rung="aligned-neurons",
    log10_p=-812.4,
    cosine=0.93,
    relation=Relation(kind="modified", dropped=(2,), repeated=(3,), added=(5,), reordered=False),
    layers=(layer(0, 0), layer(1, 1), layer(2, 3), layer(3, 3), layer(4, 4), layer(5, None, None, 0)),
    detection_limit=0.031,
)
INDEPENDENT = Candidate(
    reference="smollm2-135m-instruct",
    model="model.gguf",
    verdict="independent",
    rung="aligned-neurons",
    log10_p=-0.2,
    cosine=-0.001,
    layers=(layer(0, None, 0.01, 1), layer(1, None, -0.01, 0)),
    rungs=(RungResult(rung="aligned-neurons", log10_p=-0.2, exact=True, agreeing=1, tried=16),),
    detection_limit=0.019,
)
UNTESTED = Candidate(
    reference="smollm2-135m-instruct",
    model="model.gguf",
    verdict="inconclusive",
    reason="hidden size 4096 is not the reference's 576: rows cannot be compared",
)
PASS = Finding(id="FILE-001", status="pass", title="Every safetensors file beside an index is named in it", evidence="")
FAIL = Finding(
    id="FILE-002",
    status="fail",
    title="One folder holds one set of safetensors weights",
    evidence="loaders may pick different weights: a.safetensors and b.safetensors both hold x",
    path="a.safetensors",
    clause="1.b.i",
    fix="Keep one set of weights in a folder. Each set was audited.",
)
UNREAD = Unread(path="pytorch_model.bin", code="unsupported-format", reason="format: recognised but not read")


def report(lineage: Lineage, *, findings: tuple[Finding, ...] = (PASS,), unread: tuple[Unread, ...] = ()) -> Report:
    return Report(
        tool_version="0.1.0",
        target=Target(
            uri="./suspect",
            kind="local",
            revision=None,
            files=(
                FileInfo(path="model.safetensors", size=13_476_835_328),
                FileInfo(path="README.md", size=1_200),
            ),
        ),
        lineage=lineage,
        findings=findings,
        coverage=Coverage(unread=unread, bytes_read=3_145_728, requests=38, seconds=0.514),
        exit_code=exit_code(
            lineage=lineage, findings=findings, unread=unread, fail_on="fail", fail_on_incomplete=False
        ),
    )


ADAPTER = AdapterSummary(
    file="adapter_model.safetensors",
    method="LORA",
    base="meta-llama/Llama-2-7b-hf",
    base_revision=None,
    rank=8,
    alpha=16.0,
    target_modules=("q_proj", "v_proj"),
    changed=64,
    saved=("base_model.model.model.embed_tokens.weight",),
    problems=(),
)
EMBEDDINGS = Candidate(
    reference="llama-2-7b",
    model="adapter_model.safetensors",
    verdict="embeddings-shared",
    reason="the embeddings of 512 tokens agree (mean cosine 0.998); neurons were not compared: there are none",
    log10_p=-300.25,
    cosine=0.998,
    relation=Relation(kind="embeddings"),
)


def declaring(made: Report, *claims: Declared) -> Report:
    return replace(made, target=replace(made.target, declared=claims))


def copied(made: Report) -> Report:
    return replace(made, coverage=replace(made.coverage, weights_of="hf://acme/first@" + "c" * 40))


def adapting(lineage: Lineage, adapter: AdapterSummary) -> Report:
    made = report(lineage)
    return replace(made, target=replace(made.target, adapters=(adapter,)))


CASES = {
    "derived": declaring(
        report(Lineage(verdict="derived", best=DERIVED, candidates=(DERIVED, UNTESTED)), findings=(PASS, FAIL)),
        Declared(kind="license", value="apache-2.0", path="README.md", line=2),
        Declared(kind="base-model", value="scratch/made", path="model.gguf", line=None),
    ),
    "independent": copied(report(Lineage(verdict="independent", best=INDEPENDENT, candidates=(INDEPENDENT,)))),
    "inconclusive": report(
        Lineage(verdict="inconclusive", reason=UNTESTED.reason, best=UNTESTED, candidates=(UNTESTED,)),
        unread=(UNREAD,),
    ),
    "adapter": adapting(
        Lineage(verdict="adapter", reason="it names a base, which its weights do not prove"), replace(ADAPTER, saved=())
    ),
    "adapter-embeddings": adapting(
        Lineage(verdict="embeddings-shared", reason=EMBEDDINGS.reason, best=EMBEDDINGS, candidates=(EMBEDDINGS,)),
        replace(ADAPTER, problems=("DoRA, which is not merged",)),
    ),
    "adapter-merged": adapting(
        Lineage(verdict="derived", best=DERIVED, candidates=(DERIVED,)),
        replace(ADAPTER, merged_into=MergedInto(uri="base", revision=None, bytes_read=1_048_576)),
    ),
    "empty": report(Lineage(verdict="inconclusive", reason="nothing to compare")),
}


def rendered(name: str, report: Report, place: Place | None = None) -> str:
    """Render one report."""
    return render(name, [Placed(report=report, place=place)])


HOSTILE = [
    "\x1b[31mred\x1b[0m", "a\nb::error::c", "::set-output name=x::y", "\u202egnp.exe", "\x9b31m", "\x00",
    "zero\u200bwidth", "line\u2028sep", "\x07bell", "tag\U000e0041", "soft\u00adhyphen", "\udc80byte",
    "<script>alert(1)</script>", "</style><img src=x onerror=alert(1)>", "]]><x/>", "{{ 7*7 }}{% raw %}", "&amp;<b>",
    "[bold red]rich[/]", "![x](http://tracker/x.png)", "[x](javascript:alert(1))", "| a | b |\n|---|---|", "`x` ``y``",
    "=cmd|' /C calc'!A0", "<!-- -->", "@everyone #1", "\"quote' onload=x", "%0A::warning::x", "$(id) `id` ${{ x }}",
]  # fmt: skip
"""What names, cards and tensors of a hostile model hold: escapes, markup, templates, workflow commands, formulas."""

UNSAFE = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\u00ad\ud800-\udfff]|[\U000e0000-\U000e0fff]"
)
"""Characters that stand raw in no format."""


def hostile(text: str) -> Report:
    """Return a report that holds a text wherever the text of a model can come to stand."""
    candidate = replace(DERIVED, reference=text, model=text, reason=text)
    other = replace(UNTESTED, reference=text, model=text, reason=text)
    made = report(
        Lineage(verdict="derived", reason=text, best=candidate, candidates=(candidate, other)),
        findings=(replace(FAIL, title=text, evidence=text, path=text, fix=text, clause=text),),
        unread=(Unread(path=text, code="x", reason=text),),
    )
    adapter = replace(ADAPTER, file=text, method=text, base=text, target_modules=(text,), saved=(text,))
    target = replace(made.target, uri=text, files=(FileInfo(path=text, size=1),), adapters=(adapter,))
    return replace(made, target=target)
