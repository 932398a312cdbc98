"""The report as JSON: the contract itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from auditor.report.contract import Report


def render(report: Report) -> str:
    """Return the report as indented JSON in ASCII, so that no control or bidirectional character stands raw."""
    return json.dumps(report.as_dict(), indent=2, ensure_ascii=True, allow_nan=False) + "\n"
