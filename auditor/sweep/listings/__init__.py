"""What a sweep is over: one module for each kind of collection, in `KINDS`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from auditor.sweep.listings.base import Filters, Listed, Listing

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KINDS", "Filters", "Listed", "Listing", "open_listing"]

KINDS: Final[Mapping[str, str]] = {
    "hf:": "hub",
    "models:/": "mlflow",
    "oci://": "oci",
    "s3://": "buckets",
    "gs://": "buckets",
}
"""First characters of a collection's name, and the module that lists it. What has none of them is a file."""


def open_listing(name: str, filters: Filters | None = None) -> Listing:
    """Open a collection by its name: a file of targets, `hf:org/*`, `models:/*`, `oci://host/*`, `s3://bucket/*`.

    A name that exists as a path is that file. A module of a kind has one function, `listing(name, filters)`.

    Raises
    ------
    UsageError, TargetError
        When there is no such collection, or it cannot be filtered so.
    """
    kind = next((module for prefix, module in KINDS.items() if name.startswith(prefix)), "file")
    if Path(name).is_file():
        kind = "file"
    opened: Listing = import_module(f"{__name__}.{kind}").listing(name, filters or Filters())
    return opened
