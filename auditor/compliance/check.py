"""The licence part of an audit, in order: read the repository, weigh it, ask the rules, hear the people."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from auditor.compliance.repository import read_repository
from auditor.compliance.rules import RULES, apply
from auditor.compliance.situation import assess
from auditor.compliance.statements import WAIVER_RULE, Statements, parse_statements, statement_for
from auditor.compliance.waivers import apply_waivers, pinned_paths, waiver_findings
from auditor.digests.files import digest_files
from auditor.findings import FILE_RULES, Finding, file_finding

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from auditor.compliance.claims.values import Claim, Problem
    from auditor.compliance.policy import Policy
    from auditor.compliance.situation import Profile, Situation
    from auditor.formats import Container
    from auditor.lineage import Lineage
    from auditor.sources import FileInfo, Source, Unread

WAIVABLE_RULES = (*(rule.id for rule in FILE_RULES if rule.id != WAIVER_RULE), *(rule.id for rule in RULES))
"""Rules that a waiver can name."""

ANSWERABLE_RULES = tuple(rule.id for rule in RULES if rule.answerable)
"""Rules that a person's statement can answer."""

_PROBLEMS_SHOWN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenceCheck:
    """What came of it.

    Attributes
    ----------
    situation : Situation
    findings : tuple of Finding
        Of the licence rules, statements heard; waivers not yet applied.
    unread : tuple of Unread
        Texts that could not be read.
    claims : tuple of Claim
        What the repository says of itself.
    """

    situation: Situation
    findings: tuple[Finding, ...]
    unread: tuple[Unread, ...]
    claims: tuple[Claim, ...] = ()


def parse_config(data: bytes, *, file: str, today: date) -> Statements:
    """Read statements and waivers from a user's `auditor.toml`.

    Raises
    ------
    ConfigError
        When anything in it is not understood.
    """
    return parse_statements(data, file=file, rules=WAIVABLE_RULES, answerable=ANSWERABLE_RULES, today=today)


def check_licence(  # noqa: PLR0913 (the parts of an audit, by keyword)
    source: Source,
    containers: Sequence[Container],
    *,
    lineage: Lineage,
    has_weights: bool,
    policies: tuple[Policy, ...],
    profile: Profile,
    strict: bool,
    names: tuple[str, ...],
    statements: Statements,
    today: date,
) -> LicenceCheck:
    """Check the licence that follows from the weights, or from what the repository says of itself.

    Parameters
    ----------
    names : tuple of str
        What the user calls the target; statements are matched against these, never against names in its files.
    """
    repository = read_repository(source, containers, has_weights=has_weights)
    situation = assess(
        policies, repository=repository, lineage=lineage, profile=profile, strict=strict, names=names[-1:]
    )
    findings = tuple(
        _answered(finding, statements, names=names, today=today) if finding.status == "manual" else finding
        for finding in apply(situation)
    )
    return LicenceCheck(
        situation=situation,
        findings=(*_metadata(repository.claims.problems), *findings),
        unread=repository.unread,
        claims=repository.claims.claims,
    )


def waive(
    source: Source,
    findings: tuple[Finding, ...],
    statements: Statements,
    *,
    names: tuple[str, ...],
    today: date,
    known: Sequence[FileInfo] = (),
) -> tuple[Finding, ...]:
    """Apply waivers to all findings of an audit, and add the finding about the waivers themselves (WVR-001).

    Parameters
    ----------
    known : sequence of FileInfo
        Files whose digests were computed already. A pinned file that is not among them is hashed here; a pin that
        cannot be checked does not hold.
    """
    wanted = set(pinned_paths(statements, findings, subject_names=names))
    digests = {info.path: info.sha256 for info in known if info.path in wanted and info.sha256}
    if missing := wanted.difference(digests):
        digests |= {info.path: info.sha256 for info in digest_files(source, missing).files if info.sha256}
    waived = apply_waivers(findings, statements, subject_names=names, digests=digests, today=today)
    return waived + waiver_findings(statements, subject_names=names, today=today, findings=findings, digests=digests)


def _metadata(problems: tuple[Problem, ...]) -> tuple[Finding, Finding]:
    """Report what is wrong with metadata files (FILE-005), and code that they ask to run (FILE-006)."""
    code = [problem for problem in problems if problem.code == "auto-map"]
    others = [problem for problem in problems if problem.code != "auto-map"]
    return _of_problems("FILE-005", others), _of_problems("FILE-006", code)


def _of_problems(rule: str, problems: list[Problem]) -> Finding:
    if not problems:
        return file_finding(rule, "pass")
    shown = [
        f"{p.path}{f', line {p.line}' if p.line is not None else ''}: {p.message}" for p in problems[:_PROBLEMS_SHOWN]
    ]
    more = f"; and {len(problems) - len(shown)} more" if len(problems) > len(shown) else ""
    return replace(file_finding(rule, "warn", "; ".join(shown) + more), path=problems[0].path)


def _answered(finding: Finding, statements: Statements, *, names: tuple[str, ...], today: date) -> Finding:
    answer = statement_for(statements, finding.id, subject_names=names, today=today)
    if answer.statement is None:
        return finding
    said = answer.statement.evidence
    if answer.state == "stated":
        return replace(finding, status="pass", evidence=said, fix=None)
    if answer.state == "denied":
        return replace(
            finding, status="fail", evidence=f"stated not to be met: {said}", fix="Meet the duty, or stop the use."
        )
    return replace(finding, evidence=f"the statement has expired: {said}")
