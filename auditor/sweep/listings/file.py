"""A file of targets, as `auditor gate models` reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from auditor.errors import UsageError
from auditor.listing import read_list
from auditor.sweep.listings.base import Filters, Listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditor.listing import Entry


@dataclass(frozen=True, slots=True)
class FileListing:
    """The entries of a file; all of it was read and checked."""

    entries: tuple[Entry, ...]

    def __iter__(self) -> Iterator[Listed]:
        """See `Listing`."""
        return (Listed(entry=entry) for entry in self.entries)


def listing(name: str, filters: Filters) -> FileListing:
    """Read a file of targets.

    Raises
    ------
    UsageError
    """
    if filters.any:
        raise UsageError(f"{name}: a file says nothing of tags, dates and sizes to filter by")
    return FileListing(read_list(Path(name)))
