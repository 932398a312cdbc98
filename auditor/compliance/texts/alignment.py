"""Align a text of which only word codes are known with a file that may hold it, changed or not.

The official words `a` and the words of the file `b` are strings with one character a word (`license_hashes`).
Long equal runs are found by their 5-word beginnings and chained in order (as in seed-chain-extend aligners);
the gaps between them, at most a few hundred words, are compared word by word with a longest common subsequence.

Cost: linear in the file for the runs; `_BLOCKS * _LOOK_BACK` for the chain; at most `len(a) * _GAP` for the gaps.

References
----------
Hunt, J. W. and McIlroy, M. D. (1976), An algorithm for differential file comparison.
Li, H. (2018), Minimap2: pairwise alignment for nucleotide sequences (chaining with a gap cost).
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from auditor.compliance.texts.license_hashes import GRAM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_BLOCKS = 1500  # equal runs kept; a genuine text has a handful, a heavily edited one under 200
_LOOK_BACK = 32  # runs before the present one that it may continue
_GAP = 512  # words of the file in a gap that are compared one by one; a longer gap is one change
_ENDS = 64  # words searched at both ends of a chain, where there is no further run to anchor on


class Block(NamedTuple):
    """An equal run: words `a` to `a + length` of the text are words `b` to `b + length` of the file."""

    a: int
    b: int
    length: int


class Edit(NamedTuple):
    """Words `a0` to `a1` of the text stand in the file as words `b0` to `b1`; one of the two may be empty."""

    a0: int
    a1: int
    b0: int
    b1: int


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where the text was found, and every place where it differs.

    Attributes
    ----------
    start, stop : int
        Words of the file that hold the text.
    edits : tuple of Edit
        In order; none is empty on both sides.
    matched : int
        Words of the text found, in order.
    """

    start: int
    stop: int
    edits: tuple[Edit, ...]
    matched: int


def gram_starts(b: str, known: Mapping[str, object], *, limit: int) -> list[int]:
    """Positions of the file where five words stand together as in some text, at most `limit` of them."""
    starts = [i for i in range(len(b) - GRAM + 1) if b[i : i + GRAM] in known]
    return starts[:limit]


def align(a: str, grams: Mapping[str, Sequence[int]], b: str, starts: Sequence[int]) -> Alignment | None:
    """Find the best occurrence of `a` in `b`.

    Parameters
    ----------
    a, b : str
        Word codes of the text and of the file.
    grams : mapping of str to sequence of int
        Where each run of five words begins in `a`.
    starts : sequence of int
        Ascending positions of `b` worth looking at (`gram_starts`).
    """
    chain = _chain(_blocks(a, grams, b, starts))
    if not chain:
        return None
    first, last = chain[0], chain[-1]
    back_a, back_b = _reach(a[max(0, first.a - _ENDS) : first.a][::-1], b[max(0, first.b - _ENDS) : first.b][::-1])
    a_end, b_end = last.a + last.length, last.b + last.length
    on_a, on_b = _reach(a[a_end : a_end + _ENDS], b[b_end : b_end + _ENDS])
    chain = [Block(first.a - back_a, first.b - back_b, 0), *chain, Block(a_end + on_a, b_end + on_b, 0)]
    edits = [Edit(0, chain[0].a, chain[0].b, chain[0].b)] if chain[0].a else []
    for left, right in itertools.pairwise(chain):
        edits += _differences(a, b, Edit(left.a + left.length, right.a, left.b + left.length, right.b))
    if chain[-1].a < len(a):
        edits.append(Edit(chain[-1].a, len(a), chain[-1].b, chain[-1].b))
    matched = len(a) - sum(edit.a1 - edit.a0 for edit in edits)
    return Alignment(chain[0].b, chain[-1].b, _joined(edits), matched)


def _blocks(a: str, grams: Mapping[str, Sequence[int]], b: str, starts: Sequence[int]) -> list[Block]:
    blocks: list[Block] = []
    index = 0
    while index < len(starts):
        at = starts[index]
        place, length = 0, 0
        for candidate in grams.get(b[at : at + GRAM], ()):
            run = _run(a, candidate, b, at)
            if run > length:
                place, length = candidate, run
        if length:
            blocks.append(Block(place, at, length))
            index = bisect_left(starts, at + length, index + 1)
        else:
            index += 1
    if len(blocks) > _BLOCKS:
        blocks = sorted(heapq.nlargest(_BLOCKS, blocks, key=lambda x: x.length), key=lambda x: x.b)
    return blocks


def _run(a: str, i: int, b: str, j: int) -> int:
    """Measure the equal run at `a[i]` and `b[j]`, at least a gram long, by doubling and bisection of slices."""
    good, step = GRAM, 8
    while (piece := b[j + good : j + good + step]) and a.startswith(piece, i + good):
        good += len(piece)
        step *= 2
    while step > 1:
        step //= 2
        piece = b[j + good : j + good + step]
        if len(piece) == step and a.startswith(piece, i + good):
            good += step
    return good


def _chain(blocks: Sequence[Block]) -> list[Block]:
    """Choose the runs, in order in both texts, that hold the most words at the least cost of gaps."""
    score: list[float] = []
    before: list[int] = []
    for j, block in enumerate(blocks):
        best, link = float(block.length), -1
        for i in range(max(0, j - _LOOK_BACK), j):
            overlap = max(0, blocks[i].a + blocks[i].length - block.a)
            if overlap >= block.length or blocks[i].a >= block.a:
                continue
            gap = block.b - blocks[i].b - blocks[i].length
            value = score[i] + block.length - overlap - min(0.05 * gap, 12.0)
            if value > best:
                best, link = value, i
        score.append(best)
        before.append(link)
    chain: list[Block] = []
    j = max(range(len(blocks)), key=score.__getitem__, default=-1)
    while j >= 0:
        chain.append(blocks[j])
        j = before[j]
    return _trimmed(chain[::-1])


def _trimmed(chain: Sequence[Block]) -> list[Block]:
    """Shorten a run at its beginning where it repeats words of the text that the run before it holds."""
    trimmed: list[Block] = []
    for block in chain:
        overlap = max(0, trimmed[-1].a + trimmed[-1].length - block.a) if trimmed else 0
        trimmed.append(Block(block.a + overlap, block.b + overlap, block.length - overlap))
    return trimmed


def _reach(a: str, b: str) -> tuple[int, int]:
    """How far the text goes on from an anchored end: local alignment, 3 for a word, -1 for each one off."""
    best, reach = 0, (0, 0)
    row = [-j for j in range(len(b) + 1)]
    for i, word in enumerate(a, 1):
        above, row = row, [-i]
        for j, other in enumerate(b, 1):
            value = max(above[j] - 1, row[-1] - 1)
            if word == other and above[j - 1] + 3 > value:
                value = above[j - 1] + 3
                if value > best:
                    best, reach = value, (i, j)
            row.append(value)
    return reach


def _differences(a: str, b: str, gap: Edit) -> list[Edit]:
    a0, a1, b0, b1 = gap
    while a0 < a1 and b0 < b1 and a[a0] == b[b0]:
        a0, b0 = a0 + 1, b0 + 1
    while a0 < a1 and b0 < b1 and a[a1 - 1] == b[b1 - 1]:
        a1, b1 = a1 - 1, b1 - 1
    if a0 == a1 and b0 == b1:
        return []
    if a0 == a1 or b0 == b1 or b1 - b0 > _GAP:
        return [Edit(a0, a1, b0, b1)]
    edits: list[Edit] = []
    i, j = a0, b0
    for x, y in [*_common(a[a0:a1], b[b0:b1]), (a1 - a0, b1 - b0)]:
        if (i, j) != (a0 + x, b0 + y):
            edits.append(Edit(i, a0 + x, j, b0 + y))
        i, j = a0 + x + 1, b0 + y + 1
    return edits


def _common(a: str, b: str) -> list[tuple[int, int]]:
    """Positions of a longest common subsequence."""
    rows = [[0] * (len(b) + 1)]
    for word in reversed(a):
        below, row = rows[-1], [0] * (len(b) + 1)
        for j in range(len(b) - 1, -1, -1):
            row[j] = below[j + 1] + 1 if word == b[j] else max(below[j], row[j + 1])
        rows.append(row)
    rows.reverse()
    pairs: list[tuple[int, int]] = []
    i = j = 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif rows[i + 1][j] >= rows[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs


def _joined(edits: Sequence[Edit]) -> tuple[Edit, ...]:
    """Edits that touch on both sides become one."""
    joined: list[Edit] = []
    for edit in edits:
        if joined and (joined[-1].a1, joined[-1].b1) == (edit.a0, edit.b0):
            joined[-1] = Edit(joined[-1].a0, edit.a1, joined[-1].b0, edit.b1)
        else:
            joined.append(edit)
    return tuple(joined)


def leftmost(a: str, edit: Edit, inserted: str) -> tuple[int, int, str]:
    """Write an edit in its leftmost form: start, stop, words.

    In "the the" either word can be called the one that was added or left out; one form makes edits comparable.
    """
    start, stop = edit.a0, edit.a1
    if start == stop:
        while start and inserted and inserted[-1] == a[start - 1]:
            inserted = inserted[-1] + inserted[:-1]
            start -= 1
        return start, start, inserted
    if not inserted:
        while start and a[start - 1] == a[stop - 1]:
            start, stop = start - 1, stop - 1
    return start, stop, inserted
