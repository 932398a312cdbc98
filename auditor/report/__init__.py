"""The report, and one module for each format it is rendered in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.report import json, text
from auditor.report.contract import (
    EXIT_FINDINGS,
    EXIT_INCOMPLETE,
    EXIT_OK,
    EXIT_USAGE,
    AdapterSummary,
    Coverage,
    FailOn,
    MergedInto,
    Report,
    Target,
    exit_code,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "EXIT_FINDINGS",
    "EXIT_INCOMPLETE",
    "EXIT_OK",
    "EXIT_USAGE",
    "RENDERERS",
    "AdapterSummary",
    "Coverage",
    "FailOn",
    "MergedInto",
    "Report",
    "Target",
    "exit_code",
]

RENDERERS: dict[str, Callable[[Report], str]] = {
    "text": text.render,
    "json": json.render,
}
"""Output formats by the name that `--format` takes."""
