"""The handle that parsers get: exact reads, and no byte fetched twice once its head is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import Truncated
from auditor.sources import Blob, BytesSource, FileInfo, MeteredSource

DATA = bytes(range(40))


def blob(data: bytes = DATA) -> tuple[Blob, MeteredSource]:
    source = MeteredSource(BytesSource({"f": data}))
    return Blob(source, FileInfo(path="f", size=len(data))), source


@given(start=st.integers(0, 40), length=st.integers(0, 40), head=st.none() | st.integers(0, 60))
def test_read_is_a_slice_with_or_without_a_head(start: int, length: int, head: int | None) -> None:
    handle, source = blob()
    if head is not None:
        assert handle.head(head) == DATA[:head]
    if start + length > len(DATA):
        with pytest.raises(Truncated):
            handle.read(start, length)
        return
    assert handle.read(start, length) == DATA[start : start + length]
    again = max(0, start + length - max(start, min(head or 0, 40)))
    assert source.bytes_read == min(head or 0, 40) + again


def test_head_costs_one_request() -> None:
    handle, source = blob()
    handle.head(16)
    handle.head(16)
    handle.read(0, 8)
    handle.read(8, 8)
    assert (source.requests, source.bytes_read) == (1, 16)
    handle.read(8, 16)
    assert (source.requests, source.bytes_read) == (2, 24)


@pytest.mark.parametrize(("start", "length"), [(-1, 5), (0, -1), (5, -6), (40, 1), (0, 41), (2**70, 1)])
def test_what_is_not_in_the_file(start: int, length: int) -> None:
    handle, source = blob()
    handle.head(16)
    with pytest.raises(Truncated) as caught:
        handle.read(start, length, field="header")
    assert (caught.value.file, caught.value.field) == ("f", "header")
    assert source.requests == 1


def test_head_of_an_empty_file_is_not_asked_for() -> None:
    handle, source = blob(b"")
    assert handle.head(16) == b""
    assert source.requests == 0
