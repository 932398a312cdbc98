"""Which byte ranges to ask a server for, and how what was asked comes out of the answers. Pure."""

from __future__ import annotations

import re
from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from auditor.sources.base import Range

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")


class Block(NamedTuple):
    """Bytes of a file from `start` on."""

    start: int
    data: bytes

    @property
    def stop(self) -> int:
        """End of the block, not included."""
        return self.start + len(self.data)


class ContentRange(NamedTuple):
    """What a server says that an answer holds: bytes `start` up to, not including, `stop` of `total`."""

    start: int
    stop: int
    total: int

    @classmethod
    def parse(cls, header: str) -> ContentRange | None:
        """Read a `Content-Range`; None where it is not exact (an unknown total, another unit).

        Examples
        --------
        >>> ContentRange.parse("bytes 0-9/40")
        ContentRange(start=0, stop=10, total=40)
        >>> ContentRange.parse("bytes 0-9/*") is None
        True
        """
        match = _CONTENT_RANGE.fullmatch(header)
        if match is None:
            return None
        first, last, total = map(int, match.groups())
        return cls(first, last + 1, total)


def coalesce(ranges: Iterable[Range], *, gap: int, longest: int) -> list[Range]:
    """Return disjoint ranges, in order, that cover all of `ranges`.

    Parameters
    ----------
    ranges : iterable of Range
        In any order; they may overlap. Empty ones need no bytes and are left out.
    gap : int
        Neighbours at most this far apart become one, with the bytes between them.
    longest : int
        Ranges above this are cut into pieces of that size.

    Examples
    --------
    >>> coalesce([Range(90, 95), Range(0, 10), Range(12, 20)], gap=2, longest=15)
    [Range(start=0, stop=15), Range(start=15, stop=20), Range(start=90, stop=95)]
    """
    joined: list[Range] = []
    for start, stop in sorted(ranges):
        if start == stop:
            continue
        if joined and start - joined[-1].stop <= gap:
            joined[-1] = Range(joined[-1].start, max(joined[-1].stop, stop))
        else:
            joined.append(Range(start, stop))
    return [
        Range(start, min(start + longest, whole.stop))
        for whole in joined
        for start in range(whole.start, whole.stop, longest)
    ]


def assemble(ranges: Sequence[Range], blocks: Iterable[Block]) -> list[bytes]:
    """Cut ranges out of blocks that together cover them.

    Parameters
    ----------
    ranges : sequence of Range
    blocks : iterable of Block
        In any order; a range may run over several.

    Raises
    ------
    LookupError
        When the blocks do not cover a range: an error of the caller, never answered with fewer bytes.
    """
    known = _disjoint(blocks)
    starts = [block.start for block in known]
    return [_cut(wanted, known, starts) for wanted in ranges]


def _disjoint(blocks: Iterable[Block]) -> list[Block]:
    """Return the blocks in order, without those that lie inside an earlier one."""
    known: list[Block] = []
    for block in sorted(blocks, key=attrgetter("start")):
        if not known or block.stop > known[-1].stop:
            known.append(block)
    return known


def _cut(wanted: Range, known: Sequence[Block], starts: Sequence[int]) -> bytes:
    parts: list[bytes] = []
    at = wanted.start
    number = bisect_right(starts, at) - 1
    while at < wanted.stop:
        if not 0 <= number < len(known) or not known[number].start <= at < known[number].stop:
            raise LookupError(f"byte {at} is in no block")
        block = known[number]
        parts.append(block.data[at - block.start : wanted.stop - block.start])
        at = block.stop
        number += 1
    return parts[0] if len(parts) == 1 else b"".join(parts)
