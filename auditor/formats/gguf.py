"""GGUF, the container of llama.cpp: a bounded reader of the header, versions 2 and 3, little endian.

Layout (the GGUF specification and llama.cpp's `gguf.cpp`): magic, version, number of tensors, number of
key-value pairs, the pairs, one record for each tensor, padding to `general.alignment` (32 where absent), the
tensor data. Integers are unsigned; a string is its length in 8 bytes and its bytes; dimensions come fastest
first. The header's length is written nowhere, so blocks are fetched as the walk needs them; tensor data is
not looked at.

Stricter than llama.cpp: a bool is 0 or 1; keys and names are UTF-8 and free of NUL, where C would cut them.
Looser: tensors may lie in any order. As strict: no two share a byte, and all that lies between them is the
padding to the alignment.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING

from auditor.errors import (
    BadAlignment,
    BadMagic,
    BadName,
    BadOffset,
    BadShape,
    DuplicateName,
    FileError,
    Hole,
    LimitExceeded,
    NotText,
    Overlap,
    Truncated,
    UnknownDtype,
    UnsupportedDtype,
    UnsupportedFormat,
    UnsupportedVersion,
    WrongType,
)
from auditor.formats.base import Container, TensorEntry
from auditor.formats.quant.ggml import GGML_TYPES, REMOVED_TYPES
from auditor.formats.strictjson import quoted
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from auditor.sources.base import Blob

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
ALIGNMENT_KEY = "general.alignment"

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_RECORDS = tuple(struct.Struct(f"<{dims}QIQ") for dims in range(LIMITS.gguf_dims + 1))
"""The end of a tensor's record by its number of dimensions: dimensions, type, offset."""

_UINT32, _BOOL, _STRING, _ARRAY = 4, 7, 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
"""Value types of fixed size, as `struct` spells them."""
_KINDS = ("u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64")

_MIN_KV = 8 + 1 + 4 + 1  # length of the key, one letter, type, one byte of value
_MIN_TENSOR = 8 + 1 + 4 + 4 + 8  # length of the name, one letter, number of dimensions, type, offset
_MIN_STRING = 8
_LEAST = {kind: struct.calcsize(f"<{code}") for kind, code in _SCALARS.items()} | {_STRING: 8, _ARRAY: 4 + 8}
"""Bytes that a value of a type takes at least."""

_FIRST_BLOCK, _MIN_BLOCK, _MAX_BLOCK = 256 * 1024, 64 * 1024, 1024 * 1024
_USUAL_STRING, _USUAL_TENSOR = 16, 72  # bytes that an entry takes in real files, to guess how much to fetch

_ARRAY_STEPS = 8  # an inner array takes as long as that many strings

_TOO_MANY_ELEMENTS = 1 << 63  # llama.cpp counts in int64


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A value of the header that is too long to keep.

    Attributes
    ----------
    kind : str
        Type of the elements ("string", "f32", ...); "text" for a single long string.
    count : int
        Elements, or bytes of text.
    start, stop : int
        Where they lie in the file, for whoever wants them after all.
    """

    kind: str
    count: int
    start: int
    stop: int


def sniff(head: bytes, size: int) -> bool:
    """Tell by its first bytes whether a file of `size` bytes means to be GGUF."""
    return size >= len(MAGIC) and head.startswith(MAGIC)


def parse(blob: Blob) -> Container:
    """Read the header of a GGUF file.

    Returns
    -------
    Container
        Shapes are row-major, tensors in the order of their bytes. Of the metadata, numbers, bools, strings up
        to `Limits.gguf_text` bytes and arrays (as tuples) up to `Limits.gguf_items` elements are kept, and a
        `Skipped` stands for what is longer. Bytes of a text that are not UTF-8 show as backslash escapes.

    Raises
    ------
    FileError
        One type for each broken rule: see the module docstring and `auditor.errors`.
    """
    cursor = _Cursor(blob)
    tensor_count, kv_count = _preamble(cursor)
    metadata, alignment = _metadata(cursor, kv_count)
    cursor.expect(tensor_count * _USUAL_TENSOR)
    records = _records(cursor, tensor_count)
    begin = _padded(cursor.pos, alignment)
    if records and begin > blob.size:
        raise cursor.error(Truncated, "tensor data", actual=blob.size, limit=begin)
    entries = (_place(cursor, record, begin, alignment) for record in records)
    tensors = tuple(sorted(entries, key=lambda entry: (entry.start, entry.stop)))
    _check_tail(cursor, _check_layout(cursor, tensors, begin, alignment))
    return Container(format="gguf", files=(blob.path,), tensors=tensors, metadata=MappingProxyType(metadata))


class _Cursor:
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
        self.require(length, field)
        self.pos += length

    def unpack(self, layout: struct.Struct, field: str) -> tuple[int, ...]:
        return layout.unpack(self.take(layout.size, field))

    def integer(self, layout: struct.Struct, field: str) -> int:
        return self.unpack(layout, field)[0]

    def count(self, least: int, field: str) -> int:
        """Read a number of things that take at least `least` bytes each."""
        count = self.integer(_U64, field)
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
        unpack = _U64.unpack_from
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


def _preamble(cursor: _Cursor) -> tuple[int, int]:
    """Read what stands before the metadata: the numbers of tensors and of key-value pairs."""
    magic = cursor.take(len(MAGIC), "magic")
    if magic == MAGIC[::-1]:
        raise cursor.error(UnsupportedFormat, "byte order", "big-endian GGUF is not read")
    if magic != MAGIC:
        raise cursor.error(BadMagic, "magic", actual=magic, limit=MAGIC)
    version = cursor.integer(_U32, "version")
    if version and version & 0xFFFF == 0:
        # The test of llama.cpp itself: no version will ever be that large, so the bytes are swapped.
        raise cursor.error(UnsupportedFormat, "byte order", "big-endian GGUF is not read")
    if version not in VERSIONS:
        raise cursor.error(UnsupportedVersion, "version", actual=version, limit="2 or 3")
    tensors = cursor.count(_MIN_TENSOR, "tensor count")
    if tensors > LIMITS.gguf_tensors:
        raise cursor.error(LimitExceeded, "tensor count", actual=tensors, limit=LIMITS.gguf_tensors)
    pairs = cursor.count(_MIN_KV, "metadata count")
    if pairs > LIMITS.gguf_kv:
        raise cursor.error(LimitExceeded, "metadata count", actual=pairs, limit=LIMITS.gguf_kv)
    return tensors, pairs


def _metadata(cursor: _Cursor, count: int) -> tuple[dict[str, object], int]:
    """Read the key-value pairs; return them, and the alignment that they set."""
    metadata: dict[str, object] = {}
    alignment = DEFAULT_ALIGNMENT
    for index in range(count):
        key = cursor.name(LIMITS.gguf_key, f"metadata key {index}")
        if key in metadata:
            raise cursor.error(DuplicateName, "metadata key", actual=key)
        if not cursor.keep(len(key)):
            raise cursor.error(LimitExceeded, "metadata keys, bytes in all", limit=LIMITS.gguf_kept)
        field = f"metadata {quoted(key)}"
        kind = cursor.integer(_U32, f"{field} type")
        if key == ALIGNMENT_KEY:
            metadata[key] = alignment = _alignment(cursor, kind)
        else:
            metadata[key] = _value(cursor, kind, field)
    return metadata, alignment


def _alignment(cursor: _Cursor, kind: int) -> int:
    field = f"metadata {quoted(ALIGNMENT_KEY)}"
    if kind != _UINT32:
        raise cursor.error(WrongType, field, actual=_kind(kind), limit="u32")
    value = cursor.integer(_U32, field)
    if value == 0 or value & (value - 1):
        raise cursor.error(BadAlignment, field, actual=value, limit="powers of two")
    if value > LIMITS.gguf_alignment:
        raise cursor.error(LimitExceeded, field, actual=value, limit=LIMITS.gguf_alignment)
    return value


def _value(cursor: _Cursor, kind: int, field: str, *, depth: int = 0) -> object:
    if kind in _SCALARS:
        return _numbers(cursor, kind, 1, field)[0]
    if kind == _STRING:
        return _text(cursor, field)
    if kind == _ARRAY:
        return _array(cursor, field, depth=depth + 1)
    raise cursor.error(WrongType, f"{field} type", "no such type", actual=kind, limit=len(_KINDS) - 1)


def _numbers(cursor: _Cursor, kind: int, count: int, field: str) -> tuple[object, ...]:
    values = cursor.unpack(struct.Struct(f"<{count}{_SCALARS[kind]}"), field)
    if kind != _BOOL:
        return values
    if max(values, default=0) > 1:
        raise cursor.error(WrongType, field, "not a bool", actual=max(values), limit=1)
    return tuple(map(bool, values))


def _text(cursor: _Cursor, field: str) -> str | Skipped:
    length = cursor.length(LIMITS.gguf_string, field)
    if length > LIMITS.gguf_text or not cursor.keep(length):
        cursor.skip(length, field)
        return Skipped(kind="text", count=length, start=cursor.pos - length, stop=cursor.pos)
    # llama.cpp loads any bytes here, so refusing would let one bad byte hide the weights from the audit.
    return cursor.take(length, field).decode(errors="backslashreplace")


def _array(cursor: _Cursor, field: str, *, depth: int) -> tuple[object, ...] | Skipped:
    if depth > LIMITS.gguf_array_depth:
        raise cursor.error(LimitExceeded, f"{field} depth", actual=depth, limit=LIMITS.gguf_array_depth)
    kind = cursor.integer(_U32, f"{field} element type")
    least = _LEAST.get(kind, 0)
    if not least:
        _value(cursor, kind, f"{field} element")  # refuses the type
    count = cursor.count(least, f"{field} count")
    start = cursor.pos
    kept = count <= LIMITS.gguf_items and cursor.keep(8 * count)
    if kind in _SCALARS:
        if kept:
            return _numbers(cursor, kind, count, field)
        cursor.skip(count * least, field)
    elif kind == _STRING and not kept:
        cursor.skip_strings(count, field)
    else:
        cursor.step(count * _ARRAY_STEPS if kind == _ARRAY else count, field)
        items = (_value(cursor, kind, field, depth=depth) for _ in range(count))
        if kept:
            return tuple(items)
        for _ in items:
            pass
    return Skipped(kind=_kind(kind), count=count, start=start, stop=cursor.pos)


def _kind(kind: int) -> str:
    return _KINDS[kind] if kind < len(_KINDS) else str(kind)


@dataclass(frozen=True, slots=True)
class _Record:
    """A tensor as the header describes it: `length` in bytes, `offset` from the start of the tensor data."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    length: int
    offset: int


def _records(cursor: _Cursor, count: int) -> list[_Record]:
    records: list[_Record] = []
    names: set[str] = set()
    for index in range(count):
        name = cursor.name(LIMITS.gguf_name, f"tensor name {index}")
        if name in names:
            raise cursor.error(DuplicateName, "tensor name", actual=name)
        names.add(name)
        records.append(_record(cursor, name))
    return records


def _record(cursor: _Cursor, name: str) -> _Record:
    field = f"tensor {quoted(name)}"
    dims = cursor.integer(_U32, f"{field} dimensions")
    if dims > LIMITS.gguf_dims:
        raise cursor.error(LimitExceeded, f"{field} dimensions", actual=dims, limit=LIMITS.gguf_dims)
    *extents, kind, offset = cursor.unpack(_RECORDS[dims], field)
    shape = tuple(reversed(extents))
    # Zeros are left out of the product: numpy, too, refuses a huge shape even where it holds no element.
    if prod(extent for extent in shape if extent) >= _TOO_MANY_ELEMENTS:
        raise cursor.error(BadShape, f"{field} shape", "too many elements", actual=shape)
    if kind in REMOVED_TYPES:
        problem = "a type that llama.cpp has removed"
        raise cursor.error(UnsupportedDtype, f"{field} type", problem, actual=REMOVED_TYPES[kind])
    if kind not in GGML_TYPES:
        raise cursor.error(UnknownDtype, f"{field} type", actual=kind, limit=max(GGML_TYPES))
    dtype = GGML_TYPES[kind]
    row = shape[-1] if shape else 1
    if row % dtype.block:
        problem = f"a row is not a whole number of {dtype.name} blocks"
        limit = f"multiples of {dtype.block}"
        raise cursor.error(BadShape, f"{field} shape", problem, actual=row, limit=limit)
    return _Record(name, shape, dtype.name, prod(shape) // dtype.block * dtype.size, offset)


def _padded(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


def _place(cursor: _Cursor, record: _Record, begin: int, alignment: int) -> TensorEntry:
    field = f"tensor {quoted(record.name)}"
    if record.offset % alignment:
        limit = f"multiples of {alignment}"
        raise cursor.error(BadOffset, f"{field} offset", actual=record.offset, limit=limit)
    start = begin + record.offset
    stop = start + record.length
    file, size = cursor.blob.path, cursor.blob.size
    if stop > size:
        raise cursor.error(Truncated, f"{field} data", actual=size, limit=stop)
    return TensorEntry(name=record.name, dtype=record.dtype, shape=record.shape, file=file, start=start, stop=stop)


def _check_layout(cursor: _Cursor, tensors: tuple[TensorEntry, ...], begin: int, alignment: int) -> int:
    """Refuse shared bytes, and bytes beyond padding that belong to no tensor.

    Parameters
    ----------
    tensors : tuple of TensorEntry
        By `start`. Empty ones share nothing, wherever they lie.
    begin : int
        Where tensor data starts.

    Returns
    -------
    int
        Where the last tensor's padding ends.
    """
    end = begin
    for tensor in tensors:
        if tensor.start == tensor.stop:
            continue
        field = f"tensor {quoted(tensor.name)} offset"
        if tensor.start < end:
            raise cursor.error(Overlap, field, actual=tensor.start - begin, limit=end - begin)
        if tensor.start > end:
            problem = "bytes before it belong to no tensor"
            raise cursor.error(Hole, field, problem, actual=tensor.start - begin, limit=end - begin)
        end = _padded(tensor.stop, alignment)
    return end


def _check_tail(cursor: _Cursor, end: int) -> None:
    """Refuse bytes after the last tensor, unless they are zeros that fill a page."""
    tail = cursor.blob.size - end
    field = "bytes after the last tensor"
    if tail > 0 and (tail >= LIMITS.gguf_alignment or any(cursor.blob.read(end, tail, field=field))):
        raise cursor.error(Hole, field, actual=tail, limit="zeros that fill a page")
