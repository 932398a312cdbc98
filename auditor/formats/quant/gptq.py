"""GPTQ: codes of 2, 3, 4 or 8 bits packed along the inputs, one scale and zero point for a group of inputs.

`qweight` is int32 of shape [inputs * bits / 32, outputs]: the codes of one output, lowest bits first and across word
borders (3 bits), go down a column. `scales` is [groups, outputs], `qzeros` [groups, outputs * bits / 32], packed along
the outputs, and `g_idx` gives the group of each input (act-order permutes it; without it, inputs are grouped as they
come). The value is `scales[g] * (code - zero[g])`. Format "gptq" stores the zero point less one, "gptq_v2" as it is.
One row of the matrix is a column here, so reading n rows takes one range of 4 n bytes from each packed row: 512 ranges
for 4,096 inputs at 4 bits. Far away, where ranges closer than 64 KB are fetched together, that is nearly the whole of
`qweight` (22 MB for one MLP matrix of 7B); a band of inputs lies side by side (0.7 MB for 128 of 4,096).
Source: `QuantLinear.pack` and `forward` of AutoGPTQ and GPTQModel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from auditor.errors import MissingField
from auditor.formats.quant.codes import affine, blocks, covering, floats, unpack_bits
from auditor.formats.quant.packed import (
    FLOATS,
    check_columns,
    check_shape,
    column_read,
    columns_of,
    cut,
    matrix_shape,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from auditor.formats.base import TensorEntry
    from auditor.formats.quant.config import QuantConfig
    from auditor.formats.quant.packed import Bytes, Floats, Pieces, Read, Rows

BITS: Final = (2, 3, 4, 8)
_LAYOUTS: Final = {"gptq": True, "gptq_v2": False}
"""Checkpoint formats that are read, and whether zero points are stored less one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gptq:
    """A matrix in GPTQ's layout."""

    shape: tuple[int, int]
    bits: int
    group_size: int
    less_one: bool
    qweight: TensorEntry
    qzeros: TensorEntry
    scales: TensorEntry
    g_idx: TensorEntry | None
    pieces: Pieces

    def reads(self, rows: Rows) -> list[Read]:
        """See `PackedMatrix.reads`."""
        words, _ = _words(rows, self.bits)
        reads = [column_read(self.qweight, rows), column_read(self.qzeros, words), column_read(self.scales, rows)]
        return [*reads, whole(self.g_idx)] if self.g_idx is not None else reads

    def band(self, start: int, stop: int) -> Gptq | None:
        """See `Bandable.band`."""
        size = self.group_size
        if start % 32 or stop % 32 or (self.g_idx is None and (start % size or stop % size) and size < self.shape[1]):
            return None
        qweight = cut(self.qweight, start * self.bits // 32, stop * self.bits // 32)
        shape = (self.shape[0], stop - start)
        if self.g_idx is not None:  # any group can be among them
            return replace(self, shape=shape, qweight=qweight, g_idx=cut(self.g_idx, start, stop))
        scales, qzeros = (cut(entry, start // size, -(-stop // size)) for entry in (self.scales, self.qzeros))
        return replace(self, shape=shape, qweight=qweight, scales=scales, qzeros=qzeros)

    def decode(self, rows: Rows, data: Sequence[bytes]) -> Floats:
        """See `PackedMatrix.decode`."""
        words, place = _words(rows, self.bits)
        packed = columns_of(self.qweight, rows, data[0])
        zeros = unpack_zeros(columns_of(self.qzeros, words, data[1]), self.bits, less_one=self.less_one)
        zero = zeros[:, place].T.astype(np.float32)
        scale = floats(self.scales, columns_of(self.scales, rows, data[2])).T
        group = self._groups(None if self.g_idx is None else data[3])
        out = np.empty((rows.size, self.shape[1]), dtype=np.float32)
        for block in blocks(*out.shape):
            words_of_row = np.ascontiguousarray(packed[:, block].T).view(np.uint8)
            codes = unpack_bits(words_of_row, self.bits, self.shape[1])
            out[block] = affine(codes, scale[block], zero=zero[block], group=group)
        return out

    def _groups(self, raw: bytes | None) -> Rows | None:
        """Return the group of each input; None where they are equally long and stand in order."""
        columns = self.shape[1]
        in_order = np.arange(columns) // self.group_size
        even = self.scales.shape[0] * self.group_size == columns  # of a band there may be scales of other groups too
        if raw is None:
            return None if even else in_order
        group = np.frombuffer(raw, "<i4").astype(np.intp)
        count = self.scales.shape[0]
        if group.size and not 0 <= group.min() <= group.max() < count:
            outside = group.min() if group.min() < 0 else group.max()
            raise self.pieces.mismatch("g_idx names a group that does not exist", actual=int(outside), limit=count - 1)
        return None if even and np.array_equal(group, in_order) else group


def _words(rows: Rows, bits: int) -> tuple[Rows, Rows]:
    """Say which words, packed along the rows, hold some rows, and where they stand among all codes of these words."""
    per = 32 if bits == 3 else 32 // bits  # rows whose codes fill whole words
    numbers, place = covering(rows, per)
    count = per * bits // 32
    return (numbers[:, None] * count + np.arange(count)).reshape(-1), place


def unpack_zeros(words: NDArray[np.uint32], bits: int, *, less_one: bool) -> Bytes:
    """Unpack zero points along the rows of whole words.

    Less one: a stored word is the true one less a one in every code, as numbers, so that a zero point of 0 borrows from
    its neighbour; that is how GPTQModel writes and reads it. Codes of 3 bits cross words and are taken one by one.

    Parameters
    ----------
    words : ndarray of uint32, shape (n, width)
    bits : int
    less_one : bool

    Returns
    -------
    ndarray of uint8, shape (n, 32 * width / bits)
    """
    count = words.shape[1] * 32 // bits
    if less_one and bits != 3:
        words = words + np.uint32(sum(1 << place for place in range(0, 32, bits)))
    codes = unpack_bits(np.ascontiguousarray(words).view(np.uint8), bits, count)
    return (codes + np.uint8(1)) & np.uint8(7) if less_one and bits == 3 else codes


def gptq(pieces: Pieces, config: QuantConfig) -> Gptq:
    """Put a matrix together.

    Raises
    ------
    FileError
        When a piece is missing, the pieces contradict each other or the configuration, or it is a layout of GPTQ that
        is not read.
    """
    layout = config.text("checkpoint_format", default=config.text("format", default="gptq"))
    if layout not in _LAYOUTS or config.flag("is_marlin_format", default=False):
        raise pieces.unsupported("GPTQ in a layout for one kernel", actual=layout)
    bits, group_size = config.integer("bits"), config.integer("group_size")
    if bits not in BITS:
        raise pieces.unsupported("GPTQ of a number of bits that is not read", actual=bits)
    qweight, qzeros = (pieces.need(leaf, dtypes=("I32",)) for leaf in ("qweight", "qzeros"))
    scales = pieces.need("scales", dtypes=FLOATS)
    height, outputs = matrix_shape(qweight)
    inputs, odd = divmod(height * 32, bits)
    if odd or outputs * bits % 32 or not inputs or not outputs:
        raise pieces.mismatch(f"qweight holds no whole number of codes of {bits} bits", actual=qweight.shape)
    check_columns(pieces, inputs)
    group_size = inputs if group_size == -1 else group_size
    if group_size < 1:
        raise config.mismatch("group_size", actual=group_size)
    groups = -(-inputs // group_size)
    check_shape(scales, (groups, outputs))
    check_shape(qzeros, (groups, outputs * bits // 32))
    g_idx = pieces.get("g_idx", dtypes=("I32",))
    if g_idx is not None:
        check_shape(g_idx, (inputs,))
    elif config.flag("desc_act", default=False):
        raise MissingField(
            file=pieces.file, field=f"tensor of {pieces.stem}", problem="act-order needs g_idx, which is absent"
        )
    return Gptq(
        shape=(outputs, inputs),
        bits=bits,
        group_size=group_size,
        less_one=_LAYOUTS[layout],
        qweight=qweight,
        qzeros=qzeros,
        scales=scales,
        g_idx=g_idx,
        pieces=pieces,
    )
