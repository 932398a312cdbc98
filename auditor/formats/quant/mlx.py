"""MLX: affine codes of 2, 3, 4, 5, 6 or 8 bits packed along the inputs, lowest bits first, across word borders.

`weight` is uint32 of shape [outputs, inputs * bits / 32]; `scales` and `biases` are [outputs, inputs / group size]. The
value is `code * scale + bias`. A row's codes, scales and biases lie in one piece each. Embeddings and head are packed
too. `config.json` gives bits and group size for the model, and may give others for single modules.
Source: `mx.quantize` of MLX and `mlx_lm.utils` of mlx-lm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from auditor.errors import WrongType
from auditor.formats.quant.codes import affine, blocks, floats, unpack_bits
from auditor.formats.quant.packed import FLOATS, check_columns, check_shape, matrix_shape, row_read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditor.formats.base import TensorEntry
    from auditor.formats.quant.config import QuantConfig
    from auditor.formats.quant.packed import Floats, Pieces, Read, Rows

BITS: Final = (2, 3, 4, 5, 6, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mlx:
    """A matrix in MLX's affine mode."""

    shape: tuple[int, int]
    bits: int
    weight: TensorEntry
    scales: TensorEntry
    biases: TensorEntry

    def reads(self, rows: Rows) -> list[Read]:
        """See `PackedMatrix.reads`."""
        return [row_read(entry, rows) for entry in (self.weight, self.scales, self.biases)]

    def decode(self, rows: Rows, data: Sequence[bytes]) -> Floats:
        """See `PackedMatrix.decode`."""
        packed = np.frombuffer(data[0], np.uint8).reshape(rows.size, self.weight.shape[1] * 4)
        scale, bias = (
            floats(entry, raw).reshape(rows.size, entry.shape[1])
            for entry, raw in ((self.scales, data[1]), (self.biases, data[2]))
        )
        out = np.empty((rows.size, self.shape[1]), dtype=np.float32)
        for block in blocks(*out.shape):
            codes = unpack_bits(packed[block], self.bits, self.shape[1])
            out[block] = affine(codes, scale[block], bias=bias[block], group=None)
        return out


def mlx(pieces: Pieces, config: QuantConfig) -> Mlx:
    """Put a matrix together.

    Raises
    ------
    FileError
        When a piece is missing, the pieces contradict each other or the configuration, or it is a mode of MLX that is
        not read.
    """
    own = config.values.get(pieces.stem)
    if own is not None and not isinstance(own, dict):
        raise WrongType(file=config.file, field=f"quantisation of {pieces.stem}", actual=own, limit="an object")
    stated = config if own is None else config.of(own)
    mode = stated.text("mode", default="affine")
    if mode != "affine":
        raise pieces.unsupported("a mode of MLX that is not read", actual=mode)
    bits, group_size = stated.integer("bits"), stated.integer("group_size")
    if bits not in BITS:
        raise pieces.unsupported("MLX of a number of bits that is not read", actual=bits)
    if group_size < 1 or group_size * bits % 32:
        raise config.mismatch("group_size", actual=group_size)
    weight = pieces.need("weight", dtypes=("U32",))
    scales, biases = (pieces.need(leaf, dtypes=FLOATS) for leaf in ("scales", "biases"))
    outputs, width = matrix_shape(weight)
    columns, odd = divmod(width * 32, bits)
    if odd or not outputs or not columns or columns % group_size:
        raise pieces.mismatch(f"words a row, for groups of {group_size} codes of {bits} bits", actual=weight.shape)
    check_columns(pieces, columns)
    for entry in (scales, biases):
        check_shape(entry, (outputs, columns // group_size))
    return Mlx(shape=(outputs, columns), bits=bits, weight=weight, scales=scales, biases=biases)
