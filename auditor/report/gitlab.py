"""The report for GitLab's code quality widget: what someone has to act on, at the line that names the model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from auditor.escape import visible
from auditor.report.catalogue import cover
from auditor.report.locating import LONGEST, locate
from auditor.report.results import results

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditor.report.results import Placed, Result

_SEVERITIES: Final = {"fail": "critical", "unknown": "major", "warn": "minor", "manual": "info"}
"""Other statuses ask nothing of anybody, and are not listed."""


def render(placed: Sequence[Placed]) -> str:
    """Return reports as one flat list in ASCII; the widget shows a fingerprint once."""
    listed = [
        _issue(each, result)
        for each in placed
        for result in results(each.report)
        if result.finding.status in _SEVERITIES and not cover(result.finding)
    ]
    return json.dumps(listed, indent=2, ensure_ascii=True) + "\n"


def _issue(each: Placed, result: Result) -> dict[str, object]:
    finding = result.finding
    place = locate(each, finding.path)
    fix = f" Fix: {finding.fix}" if finding.fix else ""
    seen = f": {finding.evidence}" if finding.evidence else ""
    said = f"{each.report.target.uri}: {finding.title}{seen}".rstrip(".")
    return {
        "description": visible(f"{said}.{fix}", limit=LONGEST),
        "check_name": visible(finding.id),
        "fingerprint": result.fingerprint,
        "severity": _SEVERITIES[finding.status],
        "location": {"path": place.path, "lines": {"begin": place.line}},
    }
