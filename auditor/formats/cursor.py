"""A position in a header of unknown length: fetches blocks as a walk needs them, and bounds the walk."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from auditor.errors import BadName, FileError, LimitExceeded, NotText, Truncated
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from auditor.sources.base import Blob

U32 = struct.Struct("<I")
U64 = struct.Struct("<Q")

_FIRST_BLOCK, _MIN_BLOCK, _MAX_BLOCK = 256 * 1024, 64 * 1024, 1024 * 1024
_MIN_STRING = 8
_USUAL_STRING = 16  # bytes that a string takes in real files, to guess how much to fetch


class Cursor:
    """A position in the header, and the block of the file around it.

    Every length and count is held against the bytes left before anything is read or built.
    """

    __slots__ = ("_base", "_data", "_goal", "blob", "kept", "pos", "steps")

    def __init__(self, blob: Blob) -> None:
        self.blob = blob
        self._data = b""
        self._base = 0
        self._goal = _FIRST_BLOCK
        self.pos = 0
        self.steps = LIMITS.gguf_steps
        self.kept = LIMITS.gguf_kept

    @property
    def left(self) -> int:
        """Bytes of the file from here on."""
        return self.blob.size - self.pos

    def error(
        self,
        kind: type[FileError],
        field: str,
        problem: str | None = None,
        *,
        actual: object = None,
        limit: object = None,
    ) -> FileError:
        """Build the error of type `kind` about this file."""
        return kind(file=self.blob.path, field=field, problem=problem, actual=actual, limit=limit)

    def expect(self, length: int) -> None:
        """Say that the header probably goes on for `length` bytes more."""
        self._goal = max(self._goal, self.pos + length)

    def require(self, length: int, field: str) -> None:
        """Raise unless `length` more bytes exist and belong to a header of sane size."""
        stop = self.pos + length
        if stop > self.blob.size:
            raise self.error(Truncated, field, actual=self.blob.size, limit=stop)
        if stop > LIMITS.gguf_header:
            raise self.error(LimitExceeded, f"header up to {field}", actual=stop, limit=LIMITS.gguf_header)

    def take(self, length: int, field: str) -> bytes:
        """Return the next `length` bytes, fetching a block of the file where they are not in memory."""
        at = self.pos - self._base
        if length and at + length > len(self._data):
            self.require(length, field)
            block = max(length, min(max(self._goal - self.pos, _MIN_BLOCK), _MAX_BLOCK))
            self._data = self.blob.read(self.pos, min(block, self.left), field=field)
            self._base = self.pos
            at = 0
        self.pos += length
        return self._data[at : at + length]

    def skip(self, length: int, field: str) -> None:
        """Step over `length` bytes that exist."""
        self.require(length, field)
        self.pos += length

    def unpack(self, layout: struct.Struct, field: str) -> tuple[int, ...]:
        """Read numbers of a fixed layout."""
        return layout.unpack(self.take(layout.size, field))

    def integer(self, layout: struct.Struct, field: str) -> int:
        """Read one number."""
        return self.unpack(layout, field)[0]

    def count(self, least: int, field: str) -> int:
        """Read a number of things that take at least `least` bytes each."""
        count = self.integer(U64, field)
        if count * least > self.left:
            raise self.error(Truncated, field, actual=count, limit=self.left // least)
        return count

    def length(self, cap: int, field: str) -> int:
        """Read the length of a string."""
        length = self.count(1, f"{field} length")
        if length > cap:
            raise self.error(LimitExceeded, f"{field} length", actual=length, limit=cap)
        return length

    def name(self, cap: int, field: str) -> str:
        """Read a string that other things are found by."""
        raw = self.take(self.length(cap, field), field)
        if not raw or b"\0" in raw:
            raise self.error(BadName, field, actual=raw)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise self.error(NotText, field, actual=raw) from None

    def step(self, count: int, field: str) -> None:
        """Account for `count` things that are walked one by one."""
        if count > self.steps:
            raise self.error(LimitExceeded, f"{field} count", actual=count, limit=self.steps)
        self.steps -= count

    def keep(self, length: int) -> bool:
        """Account for `length` bytes to be kept; False where that would be too many in all."""
        if length > self.kept:
            return False
        self.kept -= length
        return True

    def skip_strings(self, count: int, field: str) -> None:
        """Walk over `count` strings, looking at their lengths only."""
        self.step(count, field)
        unpack = U64.unpack_from
        while count:
            self.expect(count * _USUAL_STRING)
            self.take(_MIN_STRING, field)
            data, at, length = self._data, self.pos - self._base - _MIN_STRING, 0
            last = len(data) - _MIN_STRING
            while count and at <= last:
                (length,) = unpack(data, at)
                at += _MIN_STRING + length
                count -= 1
            if at > len(data):  # only the last one can end beyond the block, be it in the file or not
                self.pos = self._base + at - length
                if LIMITS.gguf_string < length <= self.left:
                    raise self.error(LimitExceeded, field, actual=length, limit=LIMITS.gguf_string)
                self.require(length, field)
            self.pos = self._base + at
