"""The report as data. Every output format is rendered from this, and nothing else."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from auditor.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auditor.findings import Finding
    from auditor.lineage import Candidate, Lineage
    from auditor.sources import FileInfo, Unread

SCHEMA_VERSION = "1"

FailOn = Literal["fail", "warn", "manual", "never"]
"""The mildest status that makes the exit code 1: "fail" only, also "warn", also "manual", or none."""

EXIT_OK, EXIT_FINDINGS, EXIT_USAGE, EXIT_INCOMPLETE = 0, 1, 2, 3

_FAILING: dict[FailOn, frozenset[str]] = {
    "fail": frozenset({"fail"}),
    "warn": frozenset({"fail", "warn"}),
    "manual": frozenset({"fail", "warn", "manual"}),
    "never": frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedInto:
    """The base that an adapter was merged into for the audit: the user's choice, and no claim of the target.

    Attributes
    ----------
    uri : str
    revision : str or None
    bytes_read : int
        Of the base.
    """

    uri: str
    revision: str | None
    bytes_read: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSummary:
    """What an adapter in the target says of itself, and what it holds.

    Attributes
    ----------
    file : str
    method : str or None
        As its config names it: "LORA"; None without a config that can be read.
    base, base_revision : str or None
        The model that it says to belong to: a claim.
    rank : int or None
    alpha : float or None
    target_modules : tuple of str
        As its config says.
    changed : int
        Matrices that it changes.
    saved : tuple of str
        Tensors of known places that it holds whole.
    problems : tuple of str
        Why it cannot be merged into a base.
    merged_into : MergedInto or None
    """

    file: str
    method: str | None
    base: str | None
    base_revision: str | None
    rank: int | None
    alpha: float | None
    target_modules: tuple[str, ...]
    changed: int
    saved: tuple[str, ...]
    problems: tuple[str, ...]
    merged_into: MergedInto | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What a target's metadata says of it: a claim.

    Attributes
    ----------
    kind : str
        "license", "license-name" (beside `license: other`), "license-link" or "base-model".
    value : str
    path : str
        File that says so.
    line : int or None
        From 1.
    """

    kind: str
    value: str
    path: str
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What was audited.

    Attributes
    ----------
    uri : str
    kind : str
    revision : str or None
    files : tuple of FileInfo
    adapters : tuple of AdapterSummary
    declared : tuple of Declared
        Licences and base models, as metadata say; empty where the licence part was left out.
    """

    uri: str
    kind: str
    revision: str | None
    files: tuple[FileInfo, ...]
    adapters: tuple[AdapterSummary, ...] = ()
    declared: tuple[Declared, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What was read of it.

    Attributes
    ----------
    unread : tuple of Unread
        Files that could not be read, with the reason.
    bytes_read, requests : int
        Of the target, by ranged reads.
    seconds : float
        Wall-clock time of the audit.
    weights_of : str or None
        Another target, whose weights were read instead: its files have the same SHA-256 digests.
    """

    unread: tuple[Unread, ...]
    bytes_read: int
    requests: int
    seconds: float
    weights_of: str | None = None

    @property
    def complete(self) -> bool:
        """Nothing was left unread that could hold weights."""
        return not self.unread


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole audit."""

    tool_version: str
    target: Target
    lineage: Lineage
    findings: tuple[Finding, ...]
    coverage: Coverage
    exit_code: int

    def as_dict(self) -> dict[str, object]:
        """Return the JSON contract (`schema.json` beside this module), in its order."""
        return {
            "schema_version": SCHEMA_VERSION,
            "tool": {"name": "auditor", "version": self.tool_version},
            "target": asdict(self.target),
            "lineage": _lineage(self.lineage),
            "findings": [asdict(finding) for finding in self.findings],
            "coverage": {
                "complete": self.coverage.complete,
                "unread": [asdict(unread) for unread in self.coverage.unread],
                "bytes_read": self.coverage.bytes_read,
                "requests": self.coverage.requests,
                "seconds": round(self.coverage.seconds, 3),
                "weights_of": self.coverage.weights_of,
            },
            "exit_code": self.exit_code,
        }


def exit_code(
    *,
    lineage: Lineage,
    findings: tuple[Finding, ...],
    unread: tuple[Unread, ...],
    fail_on: FailOn,
    fail_on_incomplete: bool,
) -> int:
    """Decide the exit code: 1 findings, 3 incomplete or inconclusive, else 0.

    What could not be read or answered is never 0, and neither is an audit in which nothing was tested. A test that
    was made and stayed inconclusive is 3 only where `fail_on_incomplete` asks for it. An adapter alone is always 3.
    """
    if any(finding.status in _FAILING[fail_on] and not finding.covered for finding in findings):
        return EXIT_FINDINGS
    tested = any(c.rung is not None or c.verdict == "embeddings-shared" for c in lineage.candidates)
    tested = tested and lineage.verdict != "adapter"
    unanswered = any(finding.status == "unknown" for finding in findings)
    if unread or unanswered or not tested or (lineage.verdict == "inconclusive" and fail_on_incomplete):
        return EXIT_INCOMPLETE
    return EXIT_OK


def joint_exit_code(codes: Iterable[int]) -> int:
    """Return the exit code of several audits: findings anywhere are 1, else anything incomplete is 3, else 0."""
    return max(codes, key=(EXIT_OK, EXIT_INCOMPLETE, EXIT_FINDINGS, EXIT_USAGE).index, default=EXIT_INCOMPLETE)


def _lineage(lineage: Lineage) -> dict[str, object]:
    best = lineage.best
    tested = best if best and (best.rung or best.verdict == "embeddings-shared") else None
    return {
        "verdict": lineage.verdict,
        "reason": lineage.reason,
        "reference": best.reference if best else None,
        "rung": tested.rung if tested else None,
        "frame": tested.frame if tested else None,
        "log10_p": _number(tested.log10_p) if tested else None,
        "exact": tested.exact if tested and tested.log10_p is not None else None,
        "cosine": _number(tested.cosine) if tested else None,
        "relation": _rounded(asdict(tested.relation)) if tested and tested.relation else None,
        "layers": [_layer(asdict(layer)) for layer in tested.layers] if tested else [],
        "layers_in_model": tested.layers_in_model if tested else 0,
        "supporting": [_evidence(evidence.as_dict()) for evidence in lineage.supporting],
        "detection_limit": _number(tested.detection_limit) if tested else None,
        "candidates": [_candidate(candidate) for candidate in lineage.candidates[: LIMITS.candidates]],
    }


def _candidate(candidate: Candidate) -> dict[str, object]:
    return {
        "reference": candidate.reference,
        "model": candidate.model,
        "verdict": candidate.verdict,
        "reason": candidate.reason,
        "rung": candidate.rung,
        "rungs": [_rounded(asdict(rung)) for rung in candidate.rungs],
        "log10_p": _number(candidate.log10_p),
        "cosine": _number(candidate.cosine),
        "detection_limit": _number(candidate.detection_limit),
    }


def _evidence(evidence: dict[str, object]) -> dict[str, object]:
    return {key: _number(value) if isinstance(value, float) else value for key, value in evidence.items()}


def _layer(layer: dict[str, object]) -> dict[str, object]:
    return {key: _number(value) if isinstance(value, float) else value for key, value in layer.items()}


def _rounded(value: object) -> object:
    """Round every float inside, see `_number`."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return _number(value) if isinstance(value, float) else value


def _number(value: float | None) -> float | None:
    """Round to six significant digits: more are noise, and reports should compare equal across machines."""
    return None if value is None else float(f"{value:.6g}")
