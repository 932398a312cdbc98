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
    BadOffset,
    BadShape,
    DuplicateName,
    Hole,
    LimitExceeded,
    Overlap,
    Truncated,
    UnknownDtype,
    UnsupportedDtype,
    UnsupportedFormat,
    UnsupportedVersion,
    WrongType,
)
from auditor.formats.base import Container, TensorEntry
from auditor.formats.cursor import U32, Cursor
from auditor.formats.quant.ggml import GGML_TYPES, REMOVED_TYPES
from auditor.formats.strictjson import quoted
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from auditor.sources.base import Blob

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
ALIGNMENT_KEY = "general.alignment"

_RECORDS = tuple(struct.Struct(f"<{dims}QIQ") for dims in range(LIMITS.gguf_dims + 1))
"""The end of a tensor's record by its number of dimensions: dimensions, type, offset."""

_UINT32, _BOOL, _STRING, _ARRAY = 4, 7, 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
"""Value types of fixed size, as `struct` spells them."""
_KINDS = ("u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64")

_MIN_KV = 8 + 1 + 4 + 1  # length of the key, one letter, type, one byte of value
_MIN_TENSOR = 8 + 1 + 4 + 4 + 8  # length of the name, one letter, number of dimensions, type, offset
_LEAST = {kind: struct.calcsize(f"<{code}") for kind, code in _SCALARS.items()} | {_STRING: 8, _ARRAY: 4 + 8}
"""Bytes that a value of a type takes at least."""

_USUAL_TENSOR = 72  # bytes that a record takes in real files, to guess how much to fetch

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
    cursor = Cursor(blob)
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


def _preamble(cursor: Cursor) -> tuple[int, int]:
    """Read what stands before the metadata: the numbers of tensors and of key-value pairs."""
    magic = cursor.take(len(MAGIC), "magic")
    if magic == MAGIC[::-1]:
        raise cursor.error(UnsupportedFormat, "byte order", "big-endian GGUF is not read")
    if magic != MAGIC:
        raise cursor.error(BadMagic, "magic", actual=magic, limit=MAGIC)
    version = cursor.integer(U32, "version")
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


def _metadata(cursor: Cursor, count: int) -> tuple[dict[str, object], int]:
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
        kind = cursor.integer(U32, f"{field} type")
        if key == ALIGNMENT_KEY:
            metadata[key] = alignment = _alignment(cursor, kind)
        else:
            metadata[key] = _value(cursor, kind, field)
    return metadata, alignment


def _alignment(cursor: Cursor, kind: int) -> int:
    field = f"metadata {quoted(ALIGNMENT_KEY)}"
    if kind != _UINT32:
        raise cursor.error(WrongType, field, actual=_kind(kind), limit="u32")
    value = cursor.integer(U32, field)
    if value == 0 or value & (value - 1):
        raise cursor.error(BadAlignment, field, actual=value, limit="powers of two")
    if value > LIMITS.gguf_alignment:
        raise cursor.error(LimitExceeded, field, actual=value, limit=LIMITS.gguf_alignment)
    return value


def _value(cursor: Cursor, kind: int, field: str, *, depth: int = 0) -> object:
    if kind in _SCALARS:
        return _numbers(cursor, kind, 1, field)[0]
    if kind == _STRING:
        return _text(cursor, field)
    if kind == _ARRAY:
        return _array(cursor, field, depth=depth + 1)
    raise cursor.error(WrongType, f"{field} type", "no such type", actual=kind, limit=len(_KINDS) - 1)


def _numbers(cursor: Cursor, kind: int, count: int, field: str) -> tuple[object, ...]:
    values = cursor.unpack(struct.Struct(f"<{count}{_SCALARS[kind]}"), field)
    if kind != _BOOL:
        return values
    if max(values, default=0) > 1:
        raise cursor.error(WrongType, field, "not a bool", actual=max(values), limit=1)
    return tuple(map(bool, values))


def _text(cursor: Cursor, field: str) -> str | Skipped:
    length = cursor.length(LIMITS.gguf_string, field)
    if length > LIMITS.gguf_text or not cursor.keep(length):
        cursor.skip(length, field)
        return Skipped(kind="text", count=length, start=cursor.pos - length, stop=cursor.pos)
    # llama.cpp loads any bytes here, so refusing would let one bad byte hide the weights from the audit.
    return cursor.take(length, field).decode(errors="backslashreplace")


def _array(cursor: Cursor, field: str, *, depth: int) -> tuple[object, ...] | Skipped:
    if depth > LIMITS.gguf_array_depth:
        raise cursor.error(LimitExceeded, f"{field} depth", actual=depth, limit=LIMITS.gguf_array_depth)
    kind = cursor.integer(U32, f"{field} element type")
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


def _records(cursor: Cursor, count: int) -> list[_Record]:
    records: list[_Record] = []
    names: set[str] = set()
    for index in range(count):
        name = cursor.name(LIMITS.gguf_name, f"tensor name {index}")
        if name in names:
            raise cursor.error(DuplicateName, "tensor name", actual=name)
        names.add(name)
        records.append(_record(cursor, name))
    return records


def _record(cursor: Cursor, name: str) -> _Record:
    field = f"tensor {quoted(name)}"
    dims = cursor.integer(U32, f"{field} dimensions")
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


def _place(cursor: Cursor, record: _Record, begin: int, alignment: int) -> TensorEntry:
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


def _check_layout(cursor: Cursor, tensors: tuple[TensorEntry, ...], begin: int, alignment: int) -> int:
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


def _check_tail(cursor: Cursor, end: int) -> None:
    """Refuse bytes after the last tensor, unless they are zeros that fill a page."""
    tail = cursor.blob.size - end
    field = "bytes after the last tensor"
    if tail > 0 and (tail >= LIMITS.gguf_alignment or any(cursor.blob.read(end, tail, field=field))):
        raise cursor.error(Hole, field, actual=tail, limit="zeros that fill a page")
