"""A source as a container needs it: archive members proved when they are first read, joined tensors put together.

Both let everything above read tensors by plain ranges, whether a file is near or far, whole or in parts.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from auditor.errors import SizeMismatch, Truncated
from auditor.formats import zipdir
from auditor.formats.dtypes import DTYPES
from auditor.formats.strictjson import quoted
from auditor.sources.base import Range
from auditor.sources.wrapped import WrappedSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditor.formats.base import Container, Joined, TensorEntry, Unproved
    from auditor.sources.base import OnDisk, Source


def assembled(source: Source, container: Container) -> Source:
    """Return a source to read a container's tensors from: the same one where nothing is to be proved or joined."""
    if container.unproved:
        source = _Proving(source, container.unproved)
    if container.joined:
        source = _Joining(source, container.joined)
    return source


class _Proving(WrappedSource):
    """Fetches the headers of archive members together with their first bytes, and checks them."""

    def __init__(self, source: Source, unproved: Sequence[Unproved]) -> None:
        super().__init__(source)
        members: dict[str, list[zipdir.Member]] = defaultdict(list)
        for item in unproved:
            members[item.file].append(item.member)
        self._members = {file: sorted(group, key=lambda member: member.start) for file, group in members.items()}
        self._starts = {file: [member.start for member in group] for file, group in self._members.items()}
        self._proved: set[tuple[str, int]] = set()
        self._lock = threading.Lock()

    def read(self, path: str, ranges: Sequence[Range]) -> list[bytes]:
        if path not in self._members:
            return self._source.read(path, ranges)
        wanted = self._unproved(path, ranges)
        headers = [Range(member.at, member.at + member.header_size) for member in wanted]
        parts = self._source.read(path, [*ranges, *headers])
        for member, header in zip(wanted, parts[len(ranges) :], strict=True):
            zipdir.prove(path, member, header)
        with self._lock:
            self._proved |= {(path, member.at) for member in wanted}
        return parts[: len(ranges)]

    def _unproved(self, path: str, ranges: Sequence[Range]) -> list[zipdir.Member]:
        members, starts = self._members[path], self._starts[path]
        touched: dict[int, zipdir.Member] = {}
        for start, stop in ranges:
            index = max(0, bisect_right(starts, start) - 1)
            while index < len(members) and members[index].start < stop:
                touched[members[index].at] = members[index]
                index += 1
        with self._lock:
            return [member for member in touched.values() if (path, member.at) not in self._proved]


class _Joining(WrappedSource):
    """Serves tensors that lie in parts under the path of a file that does not exist."""

    def __init__(self, source: Source, joined: Sequence[Joined]) -> None:
        super().__init__(source)
        files: dict[str, list[Joined]] = defaultdict(list)
        for item in joined:
            files[item.entry.file].append(item)
        self._files = {file: sorted(group, key=lambda item: item.entry.start) for file, group in files.items()}
        self._starts = {file: [item.entry.start for item in group] for file, group in self._files.items()}

    def on_disk(self, path: str) -> OnDisk | None:
        return None if path in self._files else self._source.on_disk(path)

    def read(self, path: str, ranges: Sequence[Range]) -> list[bytes]:
        if path not in self._files:
            return self._source.read(path, ranges)
        plans = [_Plan(self._holder(path, span), span) for span in ranges]
        by_file: dict[str, list[Range]] = defaultdict(list)
        for plan in plans:
            for file, span in plan.pieces:
                by_file[file].append(span)
        fetched = {file: iter(self._source.read(file, spans)) for file, spans in by_file.items()}
        return [plan.put_together([next(fetched[file]) for file, _ in plan.pieces]) for plan in plans]

    def _holder(self, path: str, span: Range) -> Joined:
        """Return the tensor that a range lies in; nobody asks for one across two."""
        index = max(0, bisect_right(self._starts[path], span.start) - 1)
        item = self._files[path][index]
        if not item.entry.start <= span.start <= span.stop <= item.entry.stop:
            raise Truncated(file=path, field="range", actual=item.entry.stop, limit=span.stop)
        return item


class _Plan:
    """Which bytes of which parts make up some bytes of a joined tensor.

    Parameters
    ----------
    item : Joined
    span : Range
        In the file that does not exist. For parts beside each other (`axis` 1), whole rows.
    """

    def __init__(self, item: Joined, span: Range) -> None:
        self._item = item
        begin, end = span.start - item.entry.start, span.stop - item.entry.start
        if item.axis is None:
            spans = [Range(begin, end) for _ in item.parts]
        elif item.axis == 0:
            spans = _within(item.parts, begin, end)
        else:
            spans = self._rows(begin, end)
        self.pieces = [
            (part.file, Range(part.start + start, part.start + stop))
            for part, (start, stop) in zip(item.parts, spans, strict=True)
            if item.axis != 0 or start < stop
        ]

    def _rows(self, begin: int, end: int) -> list[Range]:
        item = self._item
        row = _row(item.entry)
        if row == 0 or begin % row or end % row:
            problem = "a part of a row of a tensor whose rows lie in several files"
            raise SizeMismatch(file=item.entry.file, field=f"tensor {quoted(item.entry.name)}", problem=problem)
        return [Range(begin // row * _row(part), end // row * _row(part)) for part in item.parts]

    def put_together(self, parts: list[bytes]) -> bytes:
        """Return the bytes of the whole.

        Raises
        ------
        SizeMismatch
            Parts that each are the whole differ: which of them a loader would take is not known.
        """
        if self._item.axis == 0:
            return b"".join(parts)
        if self._item.axis == 1:
            rows = [
                np.frombuffer(raw, np.uint8).reshape(-1, _row(part))
                for raw, part in zip(parts, self._item.parts, strict=True)
            ]
            return np.hstack(rows).tobytes()
        if len(set(parts)) > 1:
            entry = self._item.entry
            problem = "it differs between the parts of the model, each of which has it whole"
            raise SizeMismatch(file=entry.file, field=f"tensor {quoted(entry.name)}", problem=problem)
        return parts[0]


def _row(entry: TensorEntry) -> int:
    return entry.shape[1] * DTYPES[entry.dtype].size


def _within(parts: Sequence[TensorEntry], begin: int, end: int) -> list[Range]:
    """Cut a range of the whole into one of each part, empty where the part has nothing of it."""
    spans = []
    at = 0
    for part in parts:
        length = part.stop - part.start
        start, stop = (min(max(place - at, 0), length) for place in (begin, end))
        spans.append(Range(start, stop))
        at += length
    return spans
