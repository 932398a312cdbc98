"""Four-bit floats (E2M1) with scales beside them: NVFP4 and MXFP4, as compressed-tensors and ModelOpt write them.

Two codes a byte, the first in the low nibble. NVFP4: an E4M3 scale for 16 inputs and one float32 for the tensor, by
which compressed-tensors divides (`weight_global_scale`) and ModelOpt multiplies (`weight_scale_2`). MXFP4: a scale for
32 inputs, a power of two stored as its exponent plus 127. A row's codes and scales lie in one piece each.
Source: `NVFP4PackedCompressor` of compressed-tensors, the OCP Microscaling specification.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from auditor.formats.dtypes import DTYPES
from auditor.formats.quant.codes import affine, blocks, floats, pair_table
from auditor.formats.quant.packed import FLOATS, check_columns, check_shape, matrix_shape, row_read, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditor.formats.base import TensorEntry
    from auditor.formats.quant.packed import Floats, Pieces, Read, Rows

_VALUES: Final = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6], dtype=np.float32)
_PAIRS: Final = pair_table(_VALUES, low_first=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Float4:
    """A matrix of four-bit floats."""

    shape: tuple[int, int]
    codes: TensorEntry
    scale: TensorEntry
    whole_scale: TensorEntry | None
    divides: bool

    def reads(self, rows: Rows) -> list[Read]:
        """See `PackedMatrix.reads`."""
        reads = [row_read(self.codes, rows), row_read(self.scale, rows)]
        return [*reads, whole(self.whole_scale)] if self.whole_scale is not None else reads

    def decode(self, rows: Rows, data: Sequence[bytes]) -> Floats:
        """See `PackedMatrix.decode`."""
        packed = np.frombuffer(data[0], np.uint8).reshape(rows.size, self.codes.shape[1])
        scale = _scales(self.scale, data[1]).reshape(rows.size, self.scale.shape[1])
        if self.whole_scale is not None:
            factor = floats(self.whole_scale, data[2])[0]
            with np.errstate(all="ignore"):  # a hostile factor may be zero or NaN: a value to report
                scale = scale / factor if self.divides else scale * factor
        out = np.empty((rows.size, self.shape[1]), dtype=np.float32)
        for block in blocks(*out.shape):
            out[block] = affine(_PAIRS[packed[block]].view(np.float32), scale[block], group=None)
        return out


def _scales(entry: TensorEntry, raw: bytes) -> Floats:
    decode = DTYPES["F8_E8M0" if entry.dtype == "U8" else entry.dtype].decode
    if decode is None:  # builders allow none of such a type
        raise TypeError(entry.dtype)
    return decode(np.frombuffer(raw, np.uint8))


def float4(pieces: Pieces, *, codes: str, whole_scale: str, divides: bool) -> Float4:
    """Put a matrix together.

    Parameters
    ----------
    pieces : Pieces
    codes : str
        What the tensor of codes is called.
    whole_scale : str
        What the scale of the whole tensor is called; NVFP4 has one, MXFP4 has none.
    divides : bool
        The scale of the whole tensor is one to divide by.

    Raises
    ------
    FileError
        When a piece is missing, or the pieces contradict each other.
    """
    packed, scale = pieces.need(codes, dtypes=("U8",)), pieces.need("weight_scale", dtypes=("F8_E4M3", "U8", "F8_E8M0"))
    outputs, width = matrix_shape(packed)
    if not outputs or not width:
        raise pieces.mismatch("an empty matrix", actual=packed.shape)
    columns = 2 * width
    check_columns(pieces, columns)
    nvidia = scale.dtype == "F8_E4M3"
    group = 16 if nvidia else 32
    if columns % group:
        raise pieces.mismatch(f"inputs that groups of {group} do not divide", actual=columns)
    check_shape(scale, (outputs, columns // group))
    factor = pieces.need(whole_scale, dtypes=FLOATS) if nvidia else None
    if factor is not None:
        check_shape(factor, (), (1,))
    return Float4(shape=(outputs, columns), codes=packed, scale=scale, whole_scale=factor, divides=divides)
