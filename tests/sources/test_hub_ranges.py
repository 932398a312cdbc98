"""Ranges asked for, and what was wanted out of the answers."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.sources import Range
from auditor.sources.ranges import Block, ContentRange, assemble, coalesce

SIZE = 300
DATA = bytes(number % 251 for number in range(SIZE))


@st.composite
def ranges(draw: st.DrawFn) -> list[Range]:
    ends = st.integers(0, SIZE)
    pairs = draw(st.lists(st.tuples(ends, ends), max_size=12))
    return [Range(min(pair), max(pair)) for pair in pairs]


@given(wanted=ranges(), gap=st.integers(0, 50), longest=st.integers(1, 120))
def test_ranges_come_out_exactly_as_asked(wanted: list[Range], gap: int, longest: int) -> None:
    spans = coalesce(wanted, gap=gap, longest=longest)
    blocks = [Block(start, DATA[start:stop]) for start, stop in reversed(spans)]
    assert assemble(wanted, blocks) == [DATA[start:stop] for start, stop in wanted]


@given(wanted=ranges(), gap=st.integers(0, 50), longest=st.integers(1, 120))
def test_spans_are_disjoint_bounded_and_waste_only_gaps(wanted: list[Range], gap: int, longest: int) -> None:
    spans = coalesce(wanted, gap=gap, longest=longest)
    assert all(0 < stop - start <= longest for start, stop in spans)
    assert all(one.stop <= other.start for one, other in itertools.pairwise(spans))
    needed = {byte for start, stop in wanted for byte in range(start, stop)}
    fetched = {byte for start, stop in spans for byte in range(start, stop)}
    assert needed <= fetched
    run = 0
    for byte in range(SIZE):
        run = run + 1 if byte in fetched - needed else 0
        assert run <= gap
    assert not spans or {spans[0].start, spans[-1].stop - 1} <= needed


@given(wanted=ranges(), cuts=st.lists(st.integers(0, SIZE), max_size=5), overlap=st.integers(0, 20))
def test_blocks_may_overlap(wanted: list[Range], cuts: list[int], overlap: int) -> None:
    edges = sorted({0, SIZE, *cuts})
    blocks = [
        Block(max(0, start - overlap), DATA[max(0, start - overlap) : stop])
        for start, stop in itertools.pairwise(edges)
    ]
    assert assemble(wanted, blocks) == [DATA[start:stop] for start, stop in wanted]


@pytest.mark.parametrize("blocks", [[], [(0, 5)], [(5, 10)], [(0, 4), (6, 10)]])
def test_what_no_block_holds_is_never_answered_short(blocks: list[tuple[int, int]]) -> None:
    with pytest.raises(LookupError):
        assemble([Range(2, 8)], [Block(start, DATA[start:stop]) for start, stop in blocks])


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes 0-9",
        "bytes 0-9/*",
        "bytes */40",
        "items 0-9/40",
        "bytes=0-9/40",
        "bytes -1-9/40",
        "bytes 0-9/40 ",
        "bytes 0-9/40, bytes 20-29/40",
        "bytes 0-" + "9" * 5000 + "/40",
        "bytes 0-\u0669/40",
    ],
)
def test_content_ranges_that_say_nothing_exact(header: str) -> None:
    assert ContentRange.parse(header) is None


def test_content_range() -> None:
    assert ContentRange.parse("bytes 5-9/40") == (5, 10, 40)
