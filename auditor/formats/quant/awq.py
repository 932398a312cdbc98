"""AWQ in its GEMM layout: 4-bit codes packed along the outputs, one scale and zero point for a group of inputs.

`qweight` is int32 of shape [inputs, outputs / 8], `qzeros` [groups, outputs / 8], `scales` [groups, outputs]. The
nibbles of a word, lowest first, hold its outputs 0, 2, 4, 6, 1, 3, 5, 7. The value is `(code - zero) * scale`.
One row of the matrix is half a byte of each packed row, so reading n rows takes one range of some n / 2 bytes for each
input: 4,096 ranges for a matrix of 7B. Far away these are fetched as the whole of `qweight` (22 MB), of which a band of
inputs lies side by side (0.7 MB for 128 of 4,096).
AWQ also rescales before it quantises: the inputs of gate and up (and of q, k and v) are multiplied by positive factors,
and the norm before them is divided by these; `up` rows are divided by factors which multiply the columns of `down`.
Factors along a row lower its cosine to the source; multiplying columns by the norm's gains, in both models, undoes it.
Source: `WQLinear_GEMM` of AutoAWQ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from auditor.formats.quant.codes import affine, blocks, covering, floats
from auditor.formats.quant.packed import FLOATS, check_columns, check_shape, column_read, columns_of, cut, matrix_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from auditor.formats.base import TensorEntry
    from auditor.formats.quant.config import QuantConfig
    from auditor.formats.quant.packed import Bytes, Floats, Pieces, Read, Rows

_PER_WORD: Final = 8
_PLACES: Final = (0, 4, 1, 5, 2, 6, 3, 7)
"""Nibble of a word, lowest first, in which each of its eight outputs stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Awq:
    """A matrix in AWQ's GEMM layout."""

    shape: tuple[int, int]
    qweight: TensorEntry
    qzeros: TensorEntry
    scales: TensorEntry

    def reads(self, rows: Rows) -> list[Read]:
        """See `PackedMatrix.reads`."""
        words, _ = covering(rows, _PER_WORD)
        return [column_read(self.qweight, words), column_read(self.qzeros, words), column_read(self.scales, rows)]

    def band(self, start: int, stop: int) -> Awq | None:
        """See `Bandable.band`."""
        size = self.shape[1] // self.scales.shape[0]
        if (start % size or stop % size) and size < self.shape[1]:
            return None
        first, last = start // size, -(-stop // size)
        scales, qzeros = (cut(entry, first, last) for entry in (self.scales, self.qzeros))
        qweight = cut(self.qweight, start, stop)
        return Awq(shape=(self.shape[0], stop - start), qweight=qweight, qzeros=qzeros, scales=scales)

    def decode(self, rows: Rows, data: Sequence[bytes]) -> Floats:
        """See `PackedMatrix.decode`."""
        words, place = covering(rows, _PER_WORD)
        packed = columns_of(self.qweight, words, data[0])
        zero = unpack_words(columns_of(self.qzeros, words, data[1]))[:, place].T.astype(np.float32)
        scale = floats(self.scales, columns_of(self.scales, rows, data[2])).T
        codes = np.empty((self.shape[1], rows.size), dtype=np.uint8)
        for block in blocks(self.shape[1], words.size * _PER_WORD):
            codes[block] = unpack_words(packed[block])[:, place]
        out = np.empty((rows.size, self.shape[1]), dtype=np.float32)
        for block in blocks(*out.shape):
            out[block] = affine(codes[:, block].T, scale[block], zero=zero[block], group=None)
        return out


def unpack_words(words: NDArray[np.uint32]) -> Bytes:
    """Unpack (n, words) to the codes in their outputs' order, (n, 8 words)."""
    n, width = words.shape
    codes = np.empty((n, width, _PER_WORD), dtype=np.uint8)
    for output, place in enumerate(_PLACES):
        codes[..., output] = (words >> (4 * place)) & 15
    return codes.reshape(n, width * _PER_WORD)


def awq(pieces: Pieces, config: QuantConfig) -> Awq:
    """Put a matrix together.

    Raises
    ------
    FileError
        When a piece is missing, the pieces contradict each other or the configuration, or it is a layout of AWQ that
        is not read.
    """
    layout = config.text("version", default=config.text("format", default="gemm"))
    if layout != "gemm":
        raise pieces.unsupported("AWQ in a layout for one kernel", actual=layout)
    bits, group_size = config.integer("bits"), config.integer("group_size")
    if bits != 4:
        raise pieces.unsupported("AWQ of a number of bits that is not read", actual=bits)
    qweight, qzeros = (pieces.need(leaf, dtypes=("I32",)) for leaf in ("qweight", "qzeros"))
    scales = pieces.need("scales", dtypes=FLOATS)
    inputs, width = matrix_shape(qweight)
    outputs = width * _PER_WORD
    check_columns(pieces, inputs)
    group_size = inputs if group_size == -1 else group_size
    if group_size < 1 or not inputs or inputs % group_size:
        raise config.mismatch(
            "group_size", problem=f"does not divide the {inputs} inputs of {pieces.stem}", actual=group_size
        )
    check_shape(scales, (inputs // group_size, outputs))
    check_shape(qzeros, (inputs // group_size, width))
    return Awq(shape=(outputs, inputs), qweight=qweight, qzeros=qzeros, scales=scales)
