"""bitsandbytes: NF4 and FP4 in blocks of 64 along the flattened matrix, and int8 with one scale a row.

4 bits: two codes a byte, the first in the high nibble; each code is a place in a map of 16 values, times the largest
magnitude (`absmax`) of its block. With double quantisation these are themselves 8-bit
codes, `nested_quant_map[code] * nested_absmax[block of 256] + nested_offset`. Shape, block sizes and offset stand as
JSON in a tensor of their own. A row's codes and scales lie in one piece each, so reading is exact.
8 bits: `weight * SCB / 127`, row by row.
Source: `QuantState.from_dict` and `dequantize_blockwise` of bitsandbytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from auditor.errors import BadShape, QuantMismatch
from auditor.formats.dtypes import DTYPES
from auditor.formats.quant.codes import BLOCK, floats, pair_table
from auditor.formats.quant.packed import (
    check_columns,
    check_shape,
    element_read,
    matrix_shape,
    row_read,
    runs_of,
    whole,
)
from auditor.formats.strictjson import expect, loads, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from auditor.formats.base import TensorEntry
    from auditor.formats.quant.packed import Bytes, Floats, Pieces, Read, Rows

STATE: Final = "weight.quant_state.bitsandbytes__"
"""What the name of the tensor begins with that describes a 4-bit matrix; "nf4" or "fp4" follows."""

_FP4: Final = (0, 1 / 192, 2 / 3, 1, 1 / 3, 1 / 2, 1 / 6, 1 / 4)
MAPS: Final = {
    "nf4": np.array(
        [
            -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
            -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
            0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
        ],
        dtype=np.float32,
    ),
    "fp4": np.array([*_FP4, *(-value for value in _FP4)], dtype=np.float32),
}  # fmt: skip
"""Values of each code. Its kernels have these built in, so a file that carries others would mean two matrices."""

_SIZES: Final = tuple(1 << n for n in range(4, 17))  # block sizes: bitsandbytes offers 32 to 4096


_LARGEST: Final = float(np.finfo(np.float32).max)


class State(NamedTuple):
    """What the describing tensor says.

    Attributes
    ----------
    shape : (rows, columns)
    block : int
        Elements that share a scale.
    nested : int or None
        Scales that share an outer one; None where scales are stored as they are.
    offset : float
        Added to nested scales.
    """

    shape: tuple[int, int]
    block: int
    nested: int | None
    offset: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FourBit:
    """A matrix in NF4 or FP4."""

    kind: str
    state: State  # its own, or that of another with pieces of the same sizes: checked with the rows
    described: TensorEntry
    codes: TensorEntry
    table: TensorEntry
    absmax: TensorEntry
    nested_table: TensorEntry | None
    nested_absmax: TensorEntry | None

    @property
    def shape(self) -> tuple[int, int]:
        """See `PackedMatrix.shape`."""
        return self.state.shape

    def reads(self, rows: Rows) -> list[Read]:
        """See `PackedMatrix.reads`."""
        block, nested = self.state.block, self.state.nested
        runs = [(a * self.shape[1], b * self.shape[1]) for a, b in runs_of(rows)]
        scales = [(a // block, -(-b // block)) for a, b in runs]
        reads = [
            whole(self.described),
            whole(self.table),
            element_read(self.codes, [(a // 2, -(-b // 2)) for a, b in runs], size=1),
            element_read(self.absmax, scales, size=DTYPES[self.absmax.dtype].size),
        ]
        if nested is not None and self.nested_table is not None and self.nested_absmax is not None:
            outer = [(a // nested, -(-b // nested)) for a, b in scales]
            reads += [whole(self.nested_table), element_read(self.nested_absmax, outer, size=4)]
        return reads

    def decode(self, rows: Rows, data: Sequence[bytes]) -> Floats:
        """See `PackedMatrix.decode`."""
        offset = self._checked(data[0]).offset
        table = floats(self.table, data[1])
        if not np.array_equal(table, MAPS[self.kind]):
            raise _mismatch(self.table, f"not the values of {self.kind}")
        pairs = pair_table(table, low_first=False)
        codes, scales = np.frombuffer(data[2], np.uint8), np.frombuffer(data[3], np.uint8)
        width, block, nested = DTYPES[self.absmax.dtype].size, self.state.block, self.state.nested
        outer_table, outer = (np.frombuffer(raw, "<f4") for raw in (data[4:] or (b"", b"")))
        out = np.empty((rows.size, self.shape[1]), dtype=np.float32)
        at = 0
        for a, b in runs_of(rows):
            start, stop = a * self.shape[1], b * self.shape[1]
            first, last = start // block, -(-stop // block)
            packed, codes = np.split(codes, [-(-stop // 2) - start // 2])
            raw, scales = np.split(scales, [(last - first) * width])
            if nested is None:
                absmax = floats(self.absmax, raw)
            else:
                groups, outer = np.split(outer, [-(-last // nested) - first // nested])
                absmax = nested_scales(raw, outer_table, groups, first=first, size=nested, offset=offset)
            fill_blocks(out[at : at + b - a].reshape(-1), packed, pairs, absmax, start=start, block=block)
            at += b - a
        return out

    def _checked(self, text: bytes) -> State:
        found = read_state(self.described, text, kind=self.kind)
        if found[:3] != self.state[:3]:
            raise _mismatch(self.described, "not the description of its pieces", actual=found, limit=self.state)
        return found


def nested_scales(codes: Bytes, table: Floats, absmax: Floats, *, first: int, size: int, offset: float) -> Floats:
    """Undo the quantisation of scales: `table[code] * absmax[block] + offset`.

    Parameters
    ----------
    codes : ndarray of uint8, shape (n,)
        From scale number `first` on.
    table : ndarray of float32, shape (256,)
    absmax : ndarray of float32
        From the block of scale `first` on.
    size : int
        Scales in a block.
    """
    block = (first + np.arange(codes.size)) // size - first // size
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(table[codes] * absmax[block] + np.float32(offset), dtype=np.float32)


def fill_blocks(
    out: Floats, packed: Bytes, pairs: NDArray[np.uint64], absmax: Floats, *, start: int, block: int
) -> None:
    """Decode consecutive elements of a flattened matrix in place.

    Parameters
    ----------
    out : ndarray of float32, shape (n,)
    packed : ndarray of uint8
        From the byte of element `start` on, high nibble first.
    pairs : ndarray of uint64, shape (256,)
        See `pair_table`.
    absmax : ndarray of float32
        From the block of element `start` on.
    start : int
        Number of the first element in the matrix.
    block : int
        Elements that share a scale, an even number.
    """
    into = start % block  # elements of the first block that are not wanted
    skip = start % 2
    step = max(block, BLOCK // block * block)
    with np.errstate(over="ignore", invalid="ignore"):
        at = 0
        while at < out.size:
            stop = min(out.size, (at + into) // step * step + step - into)  # to the end of a block
            first, last = (at + skip) // 2, -(-(stop + skip) // 2)
            shift = at + skip - 2 * first
            values = pairs[packed[first:last]].view(np.float32)[shift : shift + stop - at]
            scale, more = divmod(at + into, block)
            if more or (stop - at) % block:
                out[at:stop] = values * absmax[(np.arange(at, stop) + into) // block]
            else:
                whole_blocks = absmax[scale : scale + (stop - at) // block, None]
                np.multiply(values.reshape(-1, block), whole_blocks, out=out[at:stop].reshape(-1, block))
            at = stop


def four_bit(pieces: Pieces, text: bytes, *, kind: str) -> FourBit:
    """Put a 4-bit matrix together.

    Parameters
    ----------
    pieces : Pieces
    text : bytes
        Contents of the tensor that describes it, or another matrix whose pieces are of the same sizes.
    kind : str
        "nf4" or "fp4", as the name of that tensor says.

    Raises
    ------
    FileError
        When a piece is missing, or the pieces contradict each other or the description.
    """
    described = pieces.need(STATE + kind, dtypes=("U8",))
    state = read_state(described, text, kind=kind)
    check_columns(pieces, state.shape[1])
    count = math.prod(state.shape)
    codes, table = pieces.need("weight"), pieces.need("weight.quant_map", dtypes=("F32",))
    if codes.stop - codes.start != -(-count // 2):
        raise pieces.mismatch("bytes of codes", actual=codes.stop - codes.start, limit=-(-count // 2))
    check_shape(table, (16,))
    nested_table = nested_absmax = None
    scales = -(-count // state.block)
    if state.nested is None:
        absmax = pieces.need("weight.absmax", dtypes=("F32",))
        if "weight.nested_absmax" in pieces.entries:
            raise pieces.mismatch("nested scales, which its description does not speak of")
    else:
        absmax = pieces.need("weight.absmax", dtypes=("U8",))
        nested_table = pieces.need("weight.nested_quant_map", dtypes=("F32",))
        nested_absmax = pieces.need("weight.nested_absmax", dtypes=("F32",))
        check_shape(nested_table, (256,))
        check_shape(nested_absmax, (-(-scales // state.nested),))
    check_shape(absmax, (scales,))
    return FourBit(
        kind=kind,
        state=state,
        described=described,
        codes=codes,
        table=table,
        absmax=absmax,
        nested_table=nested_table,
        nested_absmax=nested_absmax,
    )


def read_state(described: TensorEntry, text: bytes, *, kind: str) -> State:
    """Read the description of a 4-bit matrix.

    Raises
    ------
    FileError
        When it is no such description, or one of another kind.
    """
    file, field = described.file, f"tensor {quoted(described.name)}"
    values = expect(loads(text, file=file, field=field), dict, file=file, field=field)

    def integer(key: str) -> int:
        return expect(values.get(key), int, file=file, field=f"{field} {key}")

    if values.get("quant_type") != kind:
        raise _mismatch(described, "quant_type is not that of its name", actual=values.get("quant_type"), limit=kind)
    dims = expect(values.get("shape"), list, file=file, field=f"{field} shape")
    shape = tuple(expect(dim, int, file=file, field=f"{field} shape") for dim in dims)
    if len(shape) != 2 or min(shape) < 1:
        raise BadShape(file=file, field=f"{field} shape", actual=shape)
    block = integer("blocksize")
    nested = integer("nested_blocksize") if "nested_blocksize" in values else None
    for size in (block, nested):
        if size is not None and size not in _SIZES:
            raise _mismatch(described, "not a block size of this format", actual=size)
    offset = values.get("nested_offset", 0.0) if nested is not None else 0.0
    if not isinstance(offset, float | int) or isinstance(offset, bool) or abs(offset) > _LARGEST:
        raise _mismatch(described, "nested_offset is no number of float32", actual=offset)
    return State((shape[0], shape[1]), block, nested, float(offset))


def _mismatch(entry: TensorEntry, problem: str, *, actual: object = None, limit: object = None) -> QuantMismatch:
    return QuantMismatch(
        file=entry.file, field=f"tensor {quoted(entry.name)}", problem=problem, actual=actual, limit=limit
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EightBit:
    """A matrix of int8 with a scale for each row, the row's largest magnitude."""

    shape: tuple[int, int]
    weight: TensorEntry
    scale: TensorEntry
    layout: TensorEntry | None
    pieces: Pieces

    def reads(self, rows: Rows) -> list[Read]:
        """See `PackedMatrix.reads`."""
        reads = [row_read(self.weight, rows), row_read(self.scale, rows)]
        return [*reads, whole(self.layout)] if self.layout is not None else reads

    def decode(self, rows: Rows, data: Sequence[bytes]) -> Floats:
        """See `PackedMatrix.decode`."""
        if self.layout is not None and any(data[2]):
            raise self.pieces.unsupported("bitsandbytes int8 in a layout for GPUs", actual=data[2][0])
        codes: NDArray[np.int8] = np.frombuffer(data[0], np.int8).reshape(rows.size, self.shape[1])
        out = codes.astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            out *= (floats(self.scale, data[1]) / np.float32(127))[:, None]
        return out


def eight_bit(pieces: Pieces) -> EightBit:
    """Put an int8 matrix together.

    Raises
    ------
    FileError
        As `four_bit`.
    """
    weight, scale = pieces.need("weight", dtypes=("I8",)), pieces.need("SCB", dtypes=("F32",))
    shape = matrix_shape(weight)
    check_columns(pieces, shape[1])
    check_shape(scale, (shape[0],))
    layout = pieces.get("weight_format", dtypes=("U8",))
    if layout is not None:
        check_shape(layout, (), (1,))
    return EightBit(shape=shape, weight=weight, scale=scale, layout=layout, pieces=pieces)
