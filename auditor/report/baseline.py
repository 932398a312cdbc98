"""An earlier report as a baseline: what was found then is still shown now, and only what is new or graver fails.

A baseline is of one target with one verdict on its weights. Where either is another, it covers nothing: a repository
whose weights were exchanged does not inherit what somebody had made their peace with.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, cast

from auditor.errors import ConfigError
from auditor.findings import Finding, file_finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from auditor.findings import Status
    from auditor.lineage import Lineage

RULE: Final = "BSL-001"
_GRAVITY: Final[Mapping[str, int]] = {"n/a": 0, "pass": 0, "manual": 1, "warn": 2, "fail": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What an earlier report said.

    Attributes
    ----------
    file : str
        What messages call it.
    uri : str
        Of its target.
    verdict, reference : str or None
        On the weights.
    found : mapping of (str, str) to Counter
        Rule id and path to how often it had each status.
    """

    file: str
    uri: str
    verdict: str | None
    reference: str | None
    found: Mapping[tuple[str, str], Counter[str]]


def parse_baseline(data: bytes, *, file: str) -> Baseline:
    """Read an earlier JSON report.

    Raises
    ------
    ConfigError
        When it is no report of this schema.
    """
    try:
        report = json.loads(data)
        found: dict[tuple[str, str], Counter[str]] = {}
        for finding in report["findings"]:
            key = (str(finding["id"]), str(finding["path"] or ""))
            found.setdefault(key, Counter())[str(finding["status"])] += 1
        return Baseline(
            file=file,
            uri=str(report["target"]["uri"]),
            verdict=report["lineage"]["verdict"],
            reference=report["lineage"]["reference"],
            found=found,
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(file=file, problem="not a JSON report of `auditor scan`") from error


def apply_baseline(
    findings: Iterable[Finding], baseline: Baseline, *, uri: str, lineage: Lineage
) -> tuple[Finding, ...]:
    """Mark the findings that the baseline had already, as grave or graver, and add what came of the baseline itself.

    Parameters
    ----------
    findings : iterable of Finding
    baseline : Baseline
    uri : str
        Of the target now; a revision behind "@" may be another.
    lineage : Lineage
        Now.
    """
    findings = tuple(findings)
    reference = lineage.best.reference if lineage.best else None
    if _name(uri) != _name(baseline.uri):
        return *findings, file_finding(RULE, "warn", f"{baseline.file} is a report on {baseline.uri}")
    if (lineage.verdict, reference) != (baseline.verdict, baseline.reference):
        then = f"{baseline.verdict}, {baseline.reference}"
        evidence = f"{baseline.file} says {then}; the weights now say {lineage.verdict}, {reference}"
        return *findings, file_finding(RULE, "warn", evidence)
    left = {key: Counter(statuses) for key, statuses in baseline.found.items()}
    marked = tuple(_marked(finding, left.get((finding.id, finding.path or ""))) for finding in findings)
    return *marked, file_finding(RULE, "pass", f"{sum(f.in_baseline for f in marked)} findings of {baseline.file}")


def _marked(finding: Finding, left: Counter[str] | None) -> Finding:
    """Use up one finding of the baseline that was as grave: two of a kind now are not covered by one then."""
    if left is None or not _GRAVITY.get(finding.status):  # unknown is never covered: nobody can accept the unseen
        return finding
    for status in sorted(left, key=lambda status: _GRAVITY.get(status, 0)):
        if left[status] > 0 and _GRAVITY.get(status, 0) >= _GRAVITY[finding.status]:
            left[cast("Status", status)] -= 1
            return replace(finding, in_baseline=True)
    return finding


def _name(uri: str) -> str:
    return uri.rpartition("@")[0] or uri
