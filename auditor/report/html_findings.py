"""Findings in the order that a reader should meet them: what to act on, what to vouch for, what is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from auditor.report.results import results

if TYPE_CHECKING:
    from auditor.findings import Finding
    from auditor.report.contract import Report
    from auditor.report.html_text import Caps, Part

_GRAVITY: Final = ("fail", "unknown", "warn")
_COUNTED: Final = {
    "fail": "to put right",
    "unknown": "not answered",
    "warn": "to look at",
    "manual": "for a person to vouch for",
    "pass": "kept",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A finding with its texts made visible; `covers` is the waiver or the baseline that covers it."""

    status: str
    rule: str
    title: str
    clause: str
    path: str
    evidence: str
    fix: str
    covers: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Duties:
    """All findings.

    Attributes
    ----------
    counts : tuple of (str, int, str)
        Status, how many have it, and what that means; those that no finding has are left out.
    acts : Part of Shown
        What someone has to act on: gravest first, uncovered before covered.
    manual : Part of Shown
        What only a person can vouch for.
    kept : Part of Shown
        Rules that are kept, then those that do not apply.
    passes : int
        How many of `kept` are kept.
    """

    counts: tuple[tuple[str, int, str], ...]
    acts: Part[Shown]
    manual: Part[Shown]
    kept: Part[Shown]
    passes: int


def duties_of(report: Report, caps: Caps) -> Duties:
    """Sort what the report has to say of rules."""
    listed = [result.finding for result in results(report)]
    by_status = {status: [one for one in listed if one.status == status] for status in (*_COUNTED, "n/a")}
    acts: list[Finding] = []
    for status in _GRAVITY:
        acts += sorted(by_status[status], key=lambda finding: finding.covered)
    # Each file that was not read is a finding of its own; they have a section, and only the first stands here.
    unread = [act for act in acts if act.id == "AUD-001"]
    acts = [act for act in acts if act.id != "AUD-001" or act is unread[0]]
    more = len(unread) - 1
    return Duties(
        counts=tuple(
            (status, len(by_status[status]), words) for status, words in _COUNTED.items() if by_status[status]
        ),
        acts=caps.head(acts, lambda act: _shown(act, caps, more_files=more if act.id == "AUD-001" else 0)),
        manual=caps.head(by_status["manual"], lambda duty: _shown(duty, caps)),
        kept=caps.head([*by_status["pass"], *by_status["n/a"]], lambda kept: _shown(kept, caps)),
        passes=len(by_status["pass"]),
    )


def _shown(finding: Finding, caps: Caps, *, more_files: int = 0) -> Shown:
    covers = [
        *([f"waived until {finding.waived_until}"] if finding.waived_until else []),
        *(["in the baseline"] if finding.in_baseline else []),
    ]
    more = f" (and {more_files} more, see Not read)" if more_files else ""
    return Shown(
        status=finding.status,
        rule=caps.seen(finding.id),
        title=caps.seen(finding.title),
        clause=caps.seen(finding.clause),
        path=caps.seen(finding.path),
        evidence=caps.seen(finding.evidence) + more,
        fix=caps.seen(finding.fix),
        covers=caps.seen("; ".join(covers)),
    )
