"""The report, and one module for each format it is rendered in."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from auditor.report.contract import (
    EXIT_FINDINGS,
    EXIT_INCOMPLETE,
    EXIT_OK,
    EXIT_USAGE,
    AdapterSummary,
    Coverage,
    Declared,
    FailOn,
    MergedInto,
    Report,
    Target,
    exit_code,
    joint_exit_code,
)
from auditor.report.results import Place, Placed

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "EXIT_FINDINGS",
    "EXIT_INCOMPLETE",
    "EXIT_OK",
    "EXIT_USAGE",
    "FORMATS",
    "JOINT_FORMATS",
    "AdapterSummary",
    "Coverage",
    "Declared",
    "FailOn",
    "MergedInto",
    "Place",
    "Placed",
    "Report",
    "Target",
    "exit_code",
    "joint_exit_code",
    "render",
]

FORMATS: Final = ("text", "json", "sarif", "junit", "gitlab", "markdown", "html", "cyclonedx")
"""Output formats, by the name that `--format` takes. Each is the module of that name, with one function, `render`."""

JOINT_FORMATS: Final = frozenset({"text", "sarif", "junit", "gitlab", "markdown"})
"""Those that hold the reports of several targets in one file."""


def render(name: str, placed: Sequence[Placed]) -> str:
    """Render reports in one of `FORMATS`; the module of the format is imported on first use.

    Parameters
    ----------
    name : str
        One of `FORMATS`.
    placed : sequence of Placed
        One report; several for `JOINT_FORMATS`.

    Raises
    ------
    ValueError
        For several reports in a format that holds one.
    """
    if len(placed) != 1 and name not in JOINT_FORMATS:
        raise ValueError(f"{name} holds one report, not {len(placed)}")
    text: str = import_module(f"auditor.report.{name}").render(placed)
    return text
