"""The report as a list of results with stable fingerprints: what SARIF, JUnit, GitLab and Markdown have in common.

A result is a finding, or what the audit itself did not do (`AUDIT_RULES`): a file left unread, no verdict. So no format
that only lists findings can look clean where something was not read.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from auditor.findings import AUDIT_RULES, Finding
from auditor.report.words import verdict_in_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditor.report.contract import Report

Level = Literal["error", "warning", "note", "none"]
"""How grave a result is: "note" where a person has to answer, "none" where there is nothing to do."""

_LEVELS: dict[str, Level] = {
    "fail": "error",
    "unknown": "error",
    "warn": "warning",
    "manual": "note",
    "pass": "none",
    "n/a": "none",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the caller's own repository names the target: what a pull request is annotated at.

    Attributes
    ----------
    path : str
        Relative to the root of that repository, POSIX separators.
    line, column : int
        From 1.
    """

    path: str
    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A report, and where its target is named.

    Attributes
    ----------
    report : Report
    place : Place or None
    """

    report: Report
    place: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One line of a list of results.

    Attributes
    ----------
    finding : Finding
        As the report has it, or made from what was not read. Its texts are raw: whoever renders them escapes them.
    level : {"error", "warning", "note", "none"}
    fingerprint : str
        64 hexadecimal digits, from the rule, the target and the path: not from scores, lines or the revision, so that
        it names the same problem on every run.
    """

    finding: Finding
    level: Level
    fingerprint: str


def results(report: Report) -> tuple[Result, ...]:
    """Return what a report has to say, in its order; what the audit did not do comes first."""
    seen: Counter[str] = Counter()
    listed: list[Result] = []
    for finding in (*_of_the_audit(report), *report.findings):
        about = "\0".join((finding.id, report.target.uri, finding.path or ""))
        seen[about] += 1
        mark = about if seen[about] == 1 else f"{about}\0{seen[about]}"  # the same rule twice on one file
        fingerprint = hashlib.sha256(mark.encode("utf-8", "surrogatepass")).hexdigest()
        listed.append(Result(finding=finding, level=_LEVELS[finding.status], fingerprint=fingerprint))
    return tuple(listed)


def _of_the_audit(report: Report) -> Iterator[Finding]:
    read, decided, *_ = AUDIT_RULES
    for unread in report.coverage.unread:
        yield Finding(
            id=read.id, status="unknown", title=read.title, evidence=unread.reason, path=unread.path, fix=read.fix
        )
    if report.lineage.verdict in {"inconclusive", "adapter"}:
        evidence = verdict_in_words(report.lineage)
        yield Finding(id=decided.id, status="unknown", title=decided.title, evidence=evidence, fix=decided.fix)
