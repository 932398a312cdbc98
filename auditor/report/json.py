"""The report as JSON: the contract itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditor.report.results import Placed


def render(placed: Sequence[Placed]) -> str:
    """Return the report as indented JSON in ASCII, so that no control or bidirectional character stands raw."""
    (only,) = placed
    return json.dumps(only.report.as_dict(), indent=2, ensure_ascii=True, allow_nan=False) + "\n"
