"""Applying waivers: which finding is covered, until when, and which waivers have stopped covering anything.

A waiver never hides: the finding stays, marked with the day its exception ends. It covers what was found, never what
could not be read; that is coverage, and no finding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from auditor.compliance.statements import WAIVER_RULE, matches
from auditor.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import date

    from auditor.compliance.statements import Statements, Waiver
    from auditor.findings import Status

WAIVABLE: Final[frozenset[Status]] = frozenset({"fail", "warn", "manual"})
"""Statuses that a waiver covers. "unknown" is not among them: nobody can accept what was not seen."""

_TITLE: Final = "Waivers are valid"


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverResult:
    """What the waivers say about one finding.

    Attributes
    ----------
    state : {"active", "digest-mismatch", "expired", "none"}
    waiver : Waiver or None
        The one that decided; None where there is none.
    """

    state: Literal["active", "digest-mismatch", "expired", "none"]
    waiver: Waiver | None = None


def waiver_for(
    statements: Statements,
    finding: Finding,
    *,
    subject_names: Collection[str],
    digests: Mapping[str, str],
    today: date,
) -> WaiverResult:
    """Say whether a waiver covers a finding.

    An active one wins over one whose pinned file changed, and that over an expired one; among equals the one that
    ends last. A waiver holds through its last day.

    Parameters
    ----------
    statements : Statements
    finding : Finding
    subject_names : collection of str
        What the user called the target, see `matches`.
    digests : mapping of str to str
        Path in the target to sha256 in hex. A pinned waiver does not hold where the finding points at no file, or
        at one whose digest is not given: `pinned_paths` says which are needed.
    today : date
    """
    if finding.status not in WAIVABLE or finding.id == WAIVER_RULE:
        return WaiverResult(state="none")
    best = WaiverResult(state="none")
    for waiver in sorted(statements.waivers, key=lambda waiver: waiver.expires, reverse=True):
        if waiver.rule != finding.id or not matches(waiver.subject, subject_names):
            continue
        if today > waiver.expires:
            return best if best.waiver else WaiverResult(state="expired", waiver=waiver)
        if _pin_holds(waiver, finding, digests):
            return WaiverResult(state="active", waiver=waiver)
        if best.waiver is None:
            best = WaiverResult(state="digest-mismatch", waiver=waiver)
    return best


def apply_waivers(
    findings: Iterable[Finding],
    statements: Statements,
    *,
    subject_names: Collection[str],
    digests: Mapping[str, str],
    today: date,
) -> tuple[Finding, ...]:
    """Return the findings in their order, with `waived_until` set on each that an active waiver covers."""
    applied: list[Finding] = []
    for finding in findings:
        result = waiver_for(statements, finding, subject_names=subject_names, digests=digests, today=today)
        if result.state == "active" and result.waiver is not None:
            finding = replace(finding, waived_until=result.waiver.expires.isoformat())  # noqa: PLW2901
        applied.append(finding)
    return tuple(applied)


def waiver_findings(
    statements: Statements,
    *,
    subject_names: Collection[str],
    today: date,
    findings: Iterable[Finding] = (),
    digests: Mapping[str, str] | None = None,
) -> tuple[Finding, ...]:
    """Report the waivers for this target that no longer hold.

    Parameters
    ----------
    statements, subject_names, today
        As for `waiver_for`.
    findings, digests
        As for `apply_waivers`. With them, a pin that does not fit is reported too: otherwise a finding would come
        back and nobody would be told why its waiver does not count.

    Returns
    -------
    tuple of Finding
        WVR-001: a warning for each waiver that expired or whose pin does not fit; else one pass, or n/a without any.
    """
    ours = [waiver for waiver in statements.waivers if matches(waiver.subject, subject_names)]
    if not ours:
        return (Finding(id=WAIVER_RULE, status="n/a", title=_TITLE, evidence="no waiver for this target"),)
    broken = [_expired(waiver, statements.source) for waiver in ours if today > waiver.expires]
    for finding in findings:
        result = waiver_for(statements, finding, subject_names=subject_names, digests=digests or {}, today=today)
        if result.state == "digest-mismatch" and result.waiver is not None:
            broken.append(_mismatch(result.waiver, finding, digests or {}, statements.source))
    if broken:
        return tuple(dict.fromkeys(broken))
    evidence = f"{len(ours)} in {statements.source}, the first to expire on {min(w.expires for w in ours)}"
    return (Finding(id=WAIVER_RULE, status="pass", title=_TITLE, evidence=evidence),)


def pinned_paths(
    statements: Statements, findings: Iterable[Finding], *, subject_names: Collection[str]
) -> tuple[str, ...]:
    """Return the files whose sha256 decides a waiver, so that a quick scan hashes these and no others."""
    pinned = {w.rule for w in statements.waivers if w.digest is not None and matches(w.subject, subject_names)}
    paths = (f.path for f in findings if f.path is not None and f.id in pinned and f.status in WAIVABLE)
    return tuple(sorted(set(paths)))


def _pin_holds(waiver: Waiver, finding: Finding, digests: Mapping[str, str]) -> bool:
    if waiver.digest is None:
        return True
    if finding.path is None or finding.path not in digests:
        return False
    return waiver.digest == f"sha256:{digests[finding.path].lower()}"


def _expired(waiver: Waiver, source: str) -> Finding:
    return Finding(
        id=WAIVER_RULE,
        status="warn",
        title=_TITLE,
        evidence=f"{_named(waiver, source)}, expired on {waiver.expires}",
        fix=f"Put right what {waiver.rule} found and delete the waiver, or have its owner renew it with a new date.",
    )


def _mismatch(waiver: Waiver, finding: Finding, digests: Mapping[str, str], source: str) -> Finding:
    if finding.path is None:
        why = "the finding points at no file"
    elif finding.path not in digests:
        why = "the file was not hashed"
    else:
        why = f"the file is now sha256:{digests[finding.path].lower()}"
    return Finding(
        id=WAIVER_RULE,
        status="warn",
        title=_TITLE,
        evidence=f"{_named(waiver, source)}, until {waiver.expires}, is pinned to {waiver.digest}: {why}",
        path=finding.path,
        fix="Have its owner look at the file as it is now, then pin the new digest or delete the waiver.",
    )


def _named(waiver: Waiver, source: str) -> str:
    return f"{source}: the waiver of {waiver.rule} for {waiver.subject}, owned by {waiver.owner}"
