"""How much of a text and of a list the page shows: all of it, unless it was made to be too much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from auditor.escape import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
S = TypeVar("S")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(Generic[T]):
    """The head of a list, and how many it leaves out.

    Attributes
    ----------
    shown : tuple
    more : int
    """

    shown: tuple[T, ...]
    more: int = 0

    @property
    def whole(self) -> int:
        """How many there are."""
        return len(self.shown) + self.more


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """How long a page may get.

    Attributes
    ----------
    rows : int
        Of one list.
    text : int
        Characters of one text, once every character that hides is spelled out.
    """

    rows: int
    text: int

    def seen(self, text: str | None) -> str:
        r"""Make a text visible, on one line and no longer than `text` characters.

        Examples
        --------
        >>> Caps(rows=1, text=9).seen("\u202e" * 5)
        '\\u202e\\u…'
        """
        shown = visible(text or "", limit=self.text)
        return shown if len(shown) <= self.text else f"{shown[: self.text - 1]}…"

    def head(self, items: Sequence[S], make: Callable[[S], T]) -> Part[T]:
        """Make the first rows of a list."""
        return Part(shown=tuple(make(item) for item in items[: self.rows]), more=max(0, len(items) - self.rows))
