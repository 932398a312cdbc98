"""Audit where a model's weights come from, and whether its repository keeps the licence that follows.

>>> from auditor import Options, scan
>>> report = scan("path/to/model", Options(against=("smollm2-135m-instruct",)))  # doctest: +SKIP
>>> report.lineage.verdict  # doctest: +SKIP
'derived'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = ["AuditError", "Options", "Report", "__version__", "scan", "sketch"]

if TYPE_CHECKING:
    from auditor.audit import Options, scan
    from auditor.enrolling import sketch
    from auditor.errors import AuditError
    from auditor.report import Report

_HOME = {
    "AuditError": "auditor.errors",
    "Options": "auditor.audit",
    "Report": "auditor.report",
    "scan": "auditor.audit",
    "sketch": "auditor.enrolling",
}


def __getattr__(name: str) -> object:
    """Import a public name on first use, so that `import auditor` (and `auditor --help`) stays light."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
