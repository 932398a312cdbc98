"""Where audits run: one module for each engine, in `ENGINES`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from auditor.sweep.engines.base import Engine

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ENGINES", "Engine", "open_engine"]

ENGINES: Final[Mapping[str, str]] = {"local": "local", "ray": "rays"}
"""Names of engines, and the module of each with one function, `engine(workers, address)`."""


def open_engine(name: str, *, workers: int | None = None, address: str | None = None) -> Engine:
    """Start an engine.

    Parameters
    ----------
    name : str
        One of `ENGINES`.
    workers : int, optional
        Targets audited at once; one for each core where left out.
    address : str, optional
        Of a cluster.

    Raises
    ------
    UsageError
        When it is not installed, or cannot be reached.
    """
    opened: Engine = import_module(f"{__name__}.{ENGINES[name]}").engine(workers, address)
    return opened
