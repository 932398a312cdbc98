"""Reports: the contract, the text a person reads, and hostile strings in both."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest
from modelkit import drifted, make_model, write_model

from auditor.audit import Options, scan
from auditor.enrolling import sketch
from auditor.findings import Finding
from auditor.lineage import Candidate, LayerMatch, Lineage, Relation
from auditor.report import RENDERERS, AdapterSummary, Coverage, MergedInto, Report, Target, exit_code
from auditor.report.schema import load_schema
from auditor.sources import FileInfo, Unread

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDENS = Path(__file__).parent / "goldens"
VALIDATOR = jsonschema.Draft202012Validator(load_schema())


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


def adapting(lineage: Lineage, adapter: AdapterSummary) -> Report:
    made = report(lineage)
    return replace(made, target=replace(made.target, adapters=(adapter,)))


CASES = {
    "derived": report(Lineage(verdict="derived", best=DERIVED, candidates=(DERIVED, UNTESTED)), findings=(PASS, FAIL)),
    "independent": report(Lineage(verdict="independent", best=INDEPENDENT, candidates=(INDEPENDENT,))),
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


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", RENDERERS)
def test_goldens(case: str, name: str, update_goldens: bool) -> None:  # noqa: FBT001 (a fixture)
    path = GOLDENS / f"{case}.{name}"
    text = RENDERERS[name](CASES[case])
    if update_goldens:
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("case", CASES)
def test_every_report_satisfies_the_schema(case: str) -> None:
    VALIDATOR.validate(json.loads(RENDERERS["json"](CASES[case])))


def test_the_schema_is_sound_and_strict() -> None:
    jsonschema.Draft202012Validator.check_schema(load_schema())
    data = CASES["derived"].as_dict()
    for broken in (
        {**data, "exit_code": 2},
        {**data, "extra": 1},
        {k: v for k, v in data.items() if k != "coverage"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate(json.loads(json.dumps(broken)))


def test_the_contract_has_the_agreed_fields() -> None:
    data = CASES["derived"].as_dict()
    assert list(data) == ["schema_version", "tool", "target", "lineage", "findings", "coverage", "exit_code"]
    lineage = data["lineage"]
    assert isinstance(lineage, dict)
    assert {
        "verdict", "reference", "rung", "log10_p", "exact", "cosine", "relation", "layers", "supporting",
        "detection_limit", "candidates",
    } <= set(lineage)  # fmt: skip
    assert lineage["layers"][0] == {
        "target": 0, "reference": 0, "fixed_points": 16, "n": 16, "cosine": 0.93, "log10_p": -13.3206,
    }  # fmt: skip


def test_a_real_report_satisfies_the_schema(tmp_path: Path) -> None:
    base, target = make_model(1), drifted(make_model(1), cosine=0.8)
    (tmp_path / "s").write_bytes(sketch(str(write_model(base, tmp_path / "base")), name="base"))
    for model in (target, make_model(2)):
        folder = write_model(model, tmp_path / str(id(model)), shards=2)
        found = scan(str(folder), Options(against=(str(tmp_path / "s"),)))
        VALIDATOR.validate(json.loads(RENDERERS["json"](found)))


@pytest.mark.parametrize(
    ("status", "fail_on", "expected"),
    [
        ("fail", "fail", 1), ("warn", "fail", 0), ("warn", "warn", 1), ("manual", "warn", 0), ("manual", "manual", 1),
        ("fail", "never", 0), ("pass", "manual", 0), ("unknown", "fail", 3), ("unknown", "never", 3),
    ],
)  # fmt: skip
def test_fail_on(status: str, fail_on: str, expected: int) -> None:
    lineage = Lineage(verdict="independent", best=INDEPENDENT, candidates=(INDEPENDENT,))
    finding = replace(PASS, status=status)  # type: ignore[arg-type]
    arguments = {"lineage": lineage, "unread": (), "fail_on": fail_on, "fail_on_incomplete": True}
    assert exit_code(findings=(finding,), **arguments) == expected  # type: ignore[arg-type]
    waived = replace(finding, waived_until="2999-01-01")
    unseen = 3 if status == "unknown" else 0  # nobody can accept what was not seen
    assert exit_code(findings=(waived,), **arguments) == unseen  # type: ignore[arg-type]


HOSTILE = [
    "\x1b[31mred\x1b[0m", "a\nb::error::c", "\u202egnp.exe", "\x9b31m", "\x00", "zero\u200bwidth", "line\u2028sep",
    "\x07bell", "tag\U000e0041", "soft\u00adhyphen", "\udc80byte",
]  # fmt: skip
UNSAFE = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\u00ad\ud800-\udfff]|[\U000e0000-\U000e0fff]"
)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", RENDERERS)
def test_hostile_text_is_escaped_in_every_format(text: str, name: str) -> None:
    candidate = replace(DERIVED, reference=text, model=text, reason=text)
    other = replace(UNTESTED, reference=text, model=text, reason=text)
    hostile = report(
        Lineage(verdict="derived", reason=text, best=candidate, candidates=(candidate, other)),
        findings=(replace(FAIL, title=text, evidence=text, path=text, fix=text),),
        unread=(Unread(path=text, code="x", reason=text),),
    )
    hostile = replace(hostile, target=replace(hostile.target, uri=text, files=(FileInfo(path=text, size=1),)))
    rendered = RENDERERS[name](hostile)
    assert not UNSAFE.search(rendered)
    assert not re.search(r"^::", rendered, re.MULTILINE)


def test_text_is_at_most_80_columns_wide() -> None:
    render: Callable[[Report], str] = RENDERERS["text"]
    for case in CASES.values():
        assert max(map(len, render(case).splitlines())) <= 80
