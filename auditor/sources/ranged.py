"""Reading files that are far away: their heads are kept, neighbours are read together, several ranges at once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Protocol

from auditor.limits import LIMITS
from auditor.sources.base import Range, check_ranges
from auditor.sources.ranges import Block, assemble, coalesce

if TYPE_CHECKING:
    from collections.abc import Sequence

_NOTHING = Block(0, b"")


class Fetch(Protocol):
    """Asks the server: all bytes of a range of a file, or a `FileError`. May be called from several threads."""

    def __call__(self, path: str, span: Range) -> bytes:
        """Return exactly the bytes of `span`."""


class RangedReader:
    """Reads ranges of files. May be used from several threads.

    The first read of a file fetches its head, or all of a small file, and keeps it: what a file is and where its
    tensors lie then costs one request.

    Parameters
    ----------
    fetch : callable
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._heads: dict[str, threading.Lock] = {}
        self._kept: OrderedDict[str, Block] = OrderedDict()
        self._begun: set[str] = set()
        self._room = LIMITS.hub_kept
        self._keeping = threading.Lock()

    def read(self, path: str, size: int, ranges: Sequence[Range]) -> list[bytes]:
        """Return the bytes of each range of a file of `size` bytes, in the order asked.

        Raises
        ------
        FileError
        """
        check_ranges(path, ranges, size=size)
        if not any(start < stop for start, stop in ranges):
            return [b""] * len(ranges)
        kept = self._head(path, size)
        missing = (Range(max(start, kept.stop), stop) for start, stop in ranges if stop > kept.stop)
        spans = coalesce(
            (span for span in missing if span.start < span.stop), gap=LIMITS.hub_gap, longest=LIMITS.hub_piece
        )
        return assemble(ranges, [kept, *self._fetch_all(path, spans)])

    def _head(self, path: str, size: int) -> Block:
        with self._heads.setdefault(path, threading.Lock()):
            with self._keeping:
                if path in self._kept:
                    self._kept.move_to_end(path)
                    return self._kept[path]
                if path in self._begun and size > LIMITS.hub_whole:
                    return _NOTHING
            block = Block(0, self._fetch(path, Range(0, size if size <= LIMITS.hub_whole else LIMITS.hub_head)))
            with self._keeping:
                self._begun.add(path)
                self._kept[path] = block
                self._room -= len(block.data)
                while self._room < 0:
                    self._room += len(self._kept.popitem(last=False)[1].data)
            return block

    def _fetch_all(self, path: str, spans: Sequence[Range]) -> list[Block]:
        if len(spans) < 2:
            return [self._block(path, span) for span in spans]
        workers = ThreadPoolExecutor(max_workers=min(LIMITS.hub_parallel, len(spans)))
        try:
            return list(workers.map(partial(self._block, path), spans))
        finally:
            workers.shutdown(cancel_futures=True)

    def _block(self, path: str, span: Range) -> Block:
        return Block(span.start, self._fetch(path, span))
