"""Repositories for tests of the licence rules: their texts, and a situation made of files in memory."""

from __future__ import annotations

from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING

from auditor.compliance import RULES, Profile, load_policies
from auditor.compliance.repository import read_repository
from auditor.compliance.rules import apply
from auditor.compliance.situation import assess
from auditor.compliance.texts.notice import LLAMA2_NOTICE
from auditor.formats import open_checkpoints
from auditor.lineage import Candidate, Lineage, Relation
from auditor.sources import BytesSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auditor.compliance import Situation
    from auditor.compliance.repository import Repository
    from auditor.findings import Finding

NOTICE = LLAMA2_NOTICE.sentence
MEANT_FOR_LLAMA_3 = (
    "Meta Llama 3 is licensed under the Meta Llama 3 Community License, Copyright (c) Meta Platforms, Inc. "
    "All Rights Reserved.\n"
)
LIMITATIONS = (
    "## Limitations and risks\n\nThe model repeats errors of its training data, invents sources, and was tested in "
    "English only. Do not rely on it for medical, legal or financial decisions.\n"
)
FRONT = "license: llama2\nbase_model: meta-llama/Llama-2-7b-hf\n"


@cache
def agreement() -> str:
    """Return the Llama 2 agreement as Meta published it."""
    return _published("llama-2-license-2023")


@cache
def other_licence(name: str) -> str:
    """Return another licence by the name that scancode gives it."""
    return _published(name)


def _published(name: str) -> str:
    package = distribution("licensedcode-data")  # of the test extra: without it these tests fail, and do not skip
    path = Path(str(package.locate_file(f"licensedcode/data/licenses/{name}.LICENSE")))
    return path.read_text(encoding="utf-8").split("\n---\n", 1)[1]


def card(front: str = FRONT, body: str = "# Model\n\n" + LIMITATIONS) -> str:
    """Write a model card."""
    return f"---\n{front}---\n{body}"


def lineage(
    verdict: str, reference: str = "llama-2-7b", *, kind: str | None = "modified", others: tuple[Candidate, ...] = ()
) -> Lineage:
    """Stand in for what the weights show, against one reference."""
    log10_p = {"derived": -300.0, "independent": -0.3}.get(verdict)
    candidate = Candidate(
        reference=reference,
        model="model.safetensors",
        verdict=verdict,  # type: ignore[arg-type]
        rung=None if log10_p is None else "aligned-neurons",
        log10_p=log10_p,
        relation=Relation(kind=kind) if verdict == "derived" and kind else None,  # type: ignore[arg-type]
    )
    return Lineage(verdict=verdict, best=candidate, candidates=(candidate, *others))  # type: ignore[arg-type]


PROVED = lineage("derived")
DENIED = lineage("independent")
UNTESTED = Lineage(verdict="inconclusive", reason="no reference")


def situation(
    files: Mapping[str, str | bytes],
    shown: Lineage = PROVED,
    *,
    profile: Profile = "publisher",
    strict: bool = False,
    names: tuple[str, ...] = ("model",),
    weights: bool = True,
    policies: tuple[str, ...] = (),
) -> Situation:
    """Read a repository of these files, and weigh it."""
    contents = tuple((path, text.encode() if isinstance(text, str) else text) for path, text in files.items())
    return assess(
        load_policies(policies),
        repository=_read(contents, weights),
        lineage=shown,
        profile=profile,
        strict=strict,
        names=names,
    )


@cache
def _read(contents: tuple[tuple[str, bytes], ...], weights: bool) -> Repository:  # noqa: FBT001
    source = BytesSource(dict(contents))
    return read_repository(source, open_checkpoints(source).containers, has_weights=weights)


def findings(s: Situation) -> dict[str, Finding]:
    """Ask every rule."""
    found = {finding.id: finding for finding in apply(s)}
    assert list(found) == [rule.id for rule in RULES]
    return found


def acting(found: Mapping[str, Finding]) -> dict[str, str]:
    """Return the findings that somebody must act on, manual ones left out: id to status."""
    return {rule: finding.status for rule, finding in found.items() if finding.status in {"fail", "warn", "unknown"}}
