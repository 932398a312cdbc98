"""Read the header of a safetensors file: 8 bytes of length, JSON, then the bytes of all tensors, no gaps.

Never laxer than the reference reader (safetensors 0.8), and like it allows white space around the JSON,
members of an entry that it does not know, and a null `__metadata__`. Stricter where two readers could see
two different models or where numpy could not hold the tensor: a name or metadata key given twice (the
reference keeps the last one), an entry written as an array, more than `LIMITS.dims` dimensions, and an
empty tensor whose other dimensions overflow.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from auditor.errors import (
    BadOffset,
    BadShape,
    Hole,
    LimitExceeded,
    MissingField,
    Overlap,
    SizeMismatch,
    Truncated,
    UnknownDtype,
)
from auditor.formats.base import Container, TensorEntry
from auditor.formats.dtypes import DTYPES, Dtype
from auditor.formats.strictjson import expect, loads, quoted
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from auditor.sources.base import Blob

T = TypeVar("T")

_LENGTH_FIELD = 8
_METADATA = "__metadata__"
_MAX_BYTES = (1 << 63) - 1  # what numpy can address; an empty tensor counts its other dimensions
_WHITE_SPACE = b" \t\n\r"
# Named one by one: DTYPES may hold types of other formats too.
_NAMES = (
    "BOOL F4 F6_E2M3 F6_E3M2 U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ "
    "I16 U16 F16 BF16 I32 U32 F32 C64 F64 I64 U64"
)
SAFETENSORS_DTYPES: Mapping[str, Dtype] = MappingProxyType({name: DTYPES[name] for name in _NAMES.split()})
"""Every data type of the format, as safetensors 0.8 lists them."""


def sniff(head: bytes, size: int) -> bool:
    """Tell whether a file looks like safetensors, by content.

    Generous on purpose: a broken file that is meant as safetensors shall be refused as such by `parse`.

    Parameters
    ----------
    head : bytes
        The first 16 bytes, or all of a shorter file.
    size : int
        Bytes of the whole file.
    """
    if size <= _LENGTH_FIELD or len(head) <= _LENGTH_FIELD:
        return False
    # No header is 4 GiB long, and no text has four NUL bytes here.
    length_is_plausible = head[4:_LENGTH_FIELD] == b"\0\0\0\0"
    start = head[_LENGTH_FIELD:16].lstrip(_WHITE_SPACE)
    return length_is_plausible and (not start or start.startswith(b"{"))


def parse(blob: Blob) -> Container:
    """Read and check the header. No byte of a tensor is read.

    Parameters
    ----------
    blob : Blob

    Returns
    -------
    Container
        Format "safetensors"; tensors in file order; `metadata` is the file's `__metadata__`, strings only.

    Raises
    ------
    Truncated
        The file ends before the length field, the header, or a tensor.
    LimitExceeded
        The header, its nesting, the number of tensors or of dimensions is over its cap.
    NotText, BadJson, DuplicateName
        The header is not strict JSON; see `strictjson.loads`.
    MissingField, WrongType
        An entry lacks a member, or one is of the wrong JSON type.
    UnknownDtype, BadShape, BadOffset, SizeMismatch
        An entry contradicts the format or itself.
    Overlap, Hole
        Tensors share bytes, or some bytes after the header belong to none.
    """
    file = blob.path
    length = int.from_bytes(blob.read(0, _LENGTH_FIELD, field="header length"), "little")
    if length > LIMITS.safetensors_header:
        raise LimitExceeded(file=file, field="header length", actual=length, limit=LIMITS.safetensors_header)
    header = expect(
        loads(blob.read(_LENGTH_FIELD, length, field="header"), file=file, field="header"),
        dict,
        file=file,
        field="header",
    )
    metadata = _metadata(header.pop(_METADATA, None), file=file)
    if len(header) > LIMITS.tensors:
        raise LimitExceeded(file=file, field="number of tensors", actual=len(header), limit=LIMITS.tensors)
    base = _LENGTH_FIELD + length
    entries = [_entry(name, raw, file=file, base=base, end=blob.size) for name, raw in header.items()]
    entries.sort(key=lambda entry: (entry.start, entry.stop))
    _check_cover(entries, file=file, base=base, end=blob.size)
    return Container(format="safetensors", files=(file,), tensors=tuple(entries), metadata=metadata)


def _metadata(raw: object, *, file: str) -> Mapping[str, str]:
    if raw is None:  # absent, or null as the reference reader allows
        return MappingProxyType({})
    pairs = expect(raw, dict, file=file, field=_METADATA)
    for key, value in pairs.items():
        expect(value, str, file=file, field=f"{_METADATA} {quoted(key)}")
    return MappingProxyType(pairs)


def _entry(name: str, raw: object, *, file: str, base: int, end: int) -> TensorEntry:
    """Check one tensor by itself; `base` and `end` bound the bytes of all tensors in the file."""
    label = f"tensor {quoted(name)}"
    members = expect(raw, dict, file=file, field=label)
    dtype_name = _member(members, "dtype", str, file=file, label=label)
    dtype = SAFETENSORS_DTYPES.get(dtype_name)
    if dtype is None:
        raise UnknownDtype(file=file, field=f"{label} dtype", actual=dtype_name)
    dims = _member(members, "shape", list, file=file, label=label)
    count = _count(dims, dtype, file=file, field=f"{label} shape")
    offsets = _member(members, "data_offsets", list, file=file, label=label)
    begin, stop = _span(offsets, size=end - base, file=file, field=f"{label} data_offsets")
    # In bits, so that a sub-byte tensor must fill its last byte.
    if (stop - begin) * 8 * dtype.block != count * dtype.size * 8:
        needed = f"{count} elements of {dtype.size * 8 / dtype.block:g} bits"
        raise SizeMismatch(file=file, field=f"{label} data_offsets", actual=f"{stop - begin} bytes", limit=needed)
    return TensorEntry(name=name, dtype=dtype_name, shape=tuple(dims), file=file, start=base + begin, stop=base + stop)


def _member(members: dict[str, object], key: str, kind: type[T], *, file: str, label: str) -> T:
    if key not in members:
        raise MissingField(file=file, field=f"{label} {key}")
    return expect(members[key], kind, file=file, field=f"{label} {key}")


def _count(dims: list[object], dtype: Dtype, *, file: str, field: str) -> int:
    """Return the number of elements; every dimension must fit numpy, zeros or not."""
    if len(dims) > LIMITS.dims:
        raise LimitExceeded(file=file, field=field, problem="too many dimensions", actual=len(dims), limit=LIMITS.dims)
    count = extent = 1
    for dim in dims:
        size = expect(dim, int, file=file, field=field)
        if size < 0:
            raise BadShape(file=file, field=field, problem="a negative dimension", actual=size, limit=0)
        count *= size
        extent *= max(size, 1)
    if extent * dtype.size > _MAX_BYTES * dtype.block:
        raise BadShape(file=file, field=field, problem="too large to address", actual=dims, limit=_MAX_BYTES)
    return count


def _span(offsets: list[object], *, size: int, file: str, field: str) -> tuple[int, int]:
    """Return begin and stop, relative to the end of the header, both inside `size` bytes."""
    if len(offsets) != 2:
        raise BadOffset(file=file, field=field, problem="not a pair", actual=len(offsets), limit=2)
    begin, stop = (expect(offset, int, file=file, field=field) for offset in offsets)
    if begin < 0:
        raise BadOffset(file=file, field=field, problem="a negative offset", actual=begin, limit=0)
    if begin > stop:
        raise BadOffset(file=file, field=field, problem="begins after it ends", actual=begin, limit=stop)
    if stop > size:
        raise Truncated(file=file, field=field, actual=stop, limit=size)
    return begin, stop


def _check_cover(entries: Iterable[TensorEntry], *, file: str, base: int, end: int) -> None:
    """Check that sorted `entries` cover `base` to `end` once."""
    reached = base
    for entry in entries:
        if entry.start != reached:
            raise (Overlap if entry.start < reached else Hole)(
                file=file,
                field=f"tensor {quoted(entry.name)} data_offsets",
                problem="shares bytes with the tensor before it"
                if entry.start < reached
                else "bytes before it belong to no tensor",
                actual=entry.start - base,
                limit=reached - base,
            )
        reached = entry.stop
    if reached != end:
        raise Hole(
            file=file,
            field="data",
            problem="bytes after the last tensor",
            actual=end - base,
            limit=reached - base,
        )
