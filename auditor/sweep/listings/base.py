"""What every collection of targets offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from auditor.listing import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which targets of a collection are wanted; what the collection does not say of one never leaves it out.

    Attributes
    ----------
    tags : tuple of str
        All of which a target must have.
    updated_since : datetime or None
    max_bytes : int or None
        Of its weights.
    """

    tags: tuple[str, ...] = ()
    updated_since: datetime | None = None
    max_bytes: int | None = None

    @property
    def any(self) -> bool:
        """Whether anything is asked."""
        return bool(self.tags) or self.updated_since is not None or self.max_bytes is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A target of a collection.

    Attributes
    ----------
    entry : Entry
    revision : str or None
        What the collection says that the target is at now: where that was audited, nobody has to be asked again.
    """

    entry: Entry
    revision: str | None = None


class Listing(Protocol):
    """A collection of targets, read as it is iterated: it may be long, and lie on a server that fails half-way."""

    def __iter__(self) -> Iterator[Listed]:
        """Yield each target once.

        Raises
        ------
        TargetError
            When the rest cannot be listed.
        """
