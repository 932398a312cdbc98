"""One code an element, with scales beside them: FP8 and int8 with a scale for the tensor, a row, a group or a block.

`weight` is F8_E4M3, F8_E5M2 or I8 of the matrix's own shape; `weight_scale` (compressed-tensors, ModelOpt, FBGEMM) or
`weight_scale_inv` (DeepSeek and transformers; a factor too, whatever its name says) holds the scales. The value is
`(weight - zero) * scale`. Their shape says what shares one: nothing or one element, the tensor; [outputs] or
[outputs, 1], a row; [outputs, groups], a group of inputs; [ceil(outputs / height), ceil(inputs / width)], a block,
whose height and width the configuration gives, and whose last ones may be cut. A row's codes lie in one piece.
Source: `FP8Linear` of transformers, `dequantize` of compressed-tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from auditor.errors import MissingField
from auditor.formats.dtypes import DTYPES
from auditor.formats.quant.codes import affine, blocks, floats
from auditor.formats.quant.packed import FLOATS, check_columns, matrix_shape, row_read, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditor.formats.base import TensorEntry
    from auditor.formats.quant.packed import Floats, Pieces, Read, Rows

FLOAT8: Final = ("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ")
_SCALES: Final = (*FLOATS, "F8_E8M0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """A matrix of codes, and scales of which each serves a block of `height` x `width` elements.

    `height` 0 stands for all rows.
    """

    shape: tuple[int, int]
    weight: TensorEntry
    scale: TensorEntry
    zero: TensorEntry | None
    height: int
    width: int

    def reads(self, rows: Rows) -> list[Read]:
        """See `PackedMatrix.reads`."""
        return [row_read(self.weight, rows), *(self._beside(entry, rows) for entry in self._tables())]

    def decode(self, rows: Rows, data: Sequence[bytes]) -> Floats:
        """See `PackedMatrix.decode`."""
        stride = self.shape[1] * DTYPES[self.weight.dtype].size
        codes = np.frombuffer(data[0], np.uint8).reshape(rows.size, stride)
        scale, *zeros = (self._table(entry, rows, raw) for entry, raw in zip(self._tables(), data[1:], strict=True))
        group = None if self.shape[1] % self.width == 0 else np.arange(self.shape[1]) // self.width
        out = np.empty((rows.size, self.shape[1]), dtype=np.float32)
        for block in blocks(*out.shape):
            values, zero = _values(self.weight, codes[block]), zeros[0][block] if zeros else 0.0
            out[block] = affine(values, scale[block], zero=zero, group=group)
        return out

    def _tables(self) -> list[TensorEntry]:
        return [self.scale] if self.zero is None else [self.scale, self.zero]

    def _beside(self, entry: TensorEntry, rows: Rows) -> Read:
        return row_read(entry, np.unique(rows // self.height)) if self.height else whole(entry)

    def _table(self, entry: TensorEntry, rows: Rows, raw: bytes) -> Floats:
        """Return the scales or zero points of some rows, (n, groups)."""
        table = floats(entry, raw)
        if not self.height:
            return np.broadcast_to(table.reshape(1, -1), (rows.size, table.size))
        _, which = np.unique(rows // self.height, return_inverse=True)
        return table.reshape(which.max() + 1, -(-self.shape[1] // self.width))[which]


def _values(entry: TensorEntry, raw: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Floats:
    decode = DTYPES[entry.dtype].decode
    if decode is None:  # builders allow none of such a type
        raise TypeError(entry.dtype)
    return decode(raw.reshape(-1)).reshape(raw.shape[0], -1)


def scaled(
    pieces: Pieces,
    *,
    dtypes: Sequence[str],
    block: tuple[int, int] | None = None,
    group_size: int | None = None,
    suffix: str = "weight_scale",
) -> Scaled:
    """Put a matrix together.

    Parameters
    ----------
    pieces : Pieces
    dtypes : sequence of str
        Of the codes.
    block : (height, width), optional
        As the configuration gives it; scales must then be those of blocks.
    group_size : int, optional
        Likewise.
    suffix : str
        What the tensor of scales is called.

    Raises
    ------
    FileError
        When a piece is missing, or the pieces contradict each other or the configuration.
    """
    weight, scale = pieces.need("weight", dtypes=dtypes), pieces.need(suffix, dtypes=_SCALES)
    rows, columns = shape = matrix_shape(weight)
    if not rows or not columns:
        raise pieces.mismatch("an empty matrix", actual=weight.shape)
    check_columns(pieces, columns)
    height, width = _shared(pieces, scale, shape, block=block, group_size=group_size)
    zero = pieces.get("weight_zero_point", dtypes=("I8", "I32", *FLOAT8, *FLOATS))
    if zero is not None and zero.shape != scale.shape:
        raise pieces.mismatch("zero points of another shape than scales", actual=zero.shape, limit=scale.shape)
    return Scaled(shape=shape, weight=weight, scale=scale, zero=zero, height=height, width=width)


def _shared(
    pieces: Pieces,
    scale: TensorEntry,
    shape: tuple[int, int],
    *,
    block: tuple[int, int] | None,
    group_size: int | None,
) -> tuple[int, int]:
    """Return height and width of the block of elements that share a scale."""
    rows, columns = shape
    if block is not None:
        height, width = block
        if height < 1 or width < 1:
            raise pieces.mismatch("not a size of blocks", actual=block)
        expected: tuple[int, ...] = (-(-rows // height), -(-columns // width))
        if scale.shape != expected:
            raise pieces.mismatch("shape of the scales of blocks", actual=scale.shape, limit=expected)
        return min(height, rows), min(width, columns)
    if group_size is not None:
        if group_size < 1 or columns % group_size:
            raise pieces.mismatch(f"a group size that does not divide the {columns} inputs", actual=group_size)
        expected = (rows, columns // group_size)
        if scale.shape != expected:
            raise pieces.mismatch("shape of the scales of groups", actual=scale.shape, limit=expected)
        return 1, group_size
    if scale.shape in {(), (1,), (1, 1)}:
        return 0, columns
    if scale.shape in {(rows,), (rows, 1)}:
        return 1, columns
    if len(scale.shape) == 2 and 0 not in scale.shape:
        raise MissingField(file=pieces.file, field=f"block size of {pieces.stem}", problem="nothing states it")
    raise pieces.mismatch("shape of the scales", actual=scale.shape)
