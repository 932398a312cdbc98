"""HQQ, as transformers saves its layers in safetensors: codes in planes of the flattened matrix, parameters as tensors.

The matrix is flattened and cut into groups: with axis 1 a group is `group_size` neighbours, with axis 0 it is the
elements that are the same modulo the number of groups. `W_q` packs the first and later parts of the flattened codes
into the same words, the first part in the highest bits: two parts for 4 bits, four for 2, eight for 1, one for 8 (and
for 5 and 6, which are not packed), ten in 30 bits of an int32 for 3. `nbits`, `group_size`, `shape`, `axis`, `packing`,
... are tensors of one number or text each. The value is `(code - zero) * scale`, with `zero` and `scale` of each group.
A row's codes lie in one piece of each part that it meets.
Source: `HQQLinear.state_dict`, `BitPack` and `Quantizer.dequantize` of HQQ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from auditor.errors import BadShape
from auditor.formats.dtypes import DTYPES
from auditor.formats.quant.codes import BLOCK, floats
from auditor.formats.quant.packed import FLOATS, check_columns, element_read, runs_of, whole
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from auditor.formats.base import TensorEntry
    from auditor.formats.quant.config import QuantConfig
    from auditor.formats.quant.packed import Floats, Pieces, Read, Rows

STATED: Final = ("nbits", "group_size", "shape", "axis")
"""Tensors that must be read to know the shape of a matrix."""

_TEXT: Final = "packing"
_FLAGS: Final = ("quant_scale", "quant_zero")
# Packing by number of bits; and of each packing the parts, the bits of each and the bytes of a word.
_PACKING: Final = {8: "8bit_u8", 6: "8bit_u8", 5: "8bit_u8", 4: "4bit_u8", 3: "3bit_32", 2: "2bit_u8", 1: "1bit_u8"}
_WORD: Final = {
    "8bit_u8": (1, 8, 1),
    "4bit_u8": (2, 4, 1),
    "3bit_32": (10, 3, 4),
    "2bit_u8": (4, 2, 1),
    "1bit_u8": (8, 1, 1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hqq:
    """A matrix in HQQ's layout.

    `words` is the number of words that the codes take, `packing` says what one holds (see `_WORD`); `stated` are the
    tensors of text and flags that are only read, and checked, with rows.
    """

    shape: tuple[int, int]
    axis: int
    group_size: int
    packing: str
    words: int
    codes: TensorEntry
    scale: TensorEntry
    zero: TensorEntry
    stated: tuple[TensorEntry, ...]
    pieces: Pieces

    def reads(self, rows: Rows) -> list[Read]:
        """See `PackedMatrix.reads`."""
        size = _WORD[self.packing][2]
        words = [(a % self.words, a % self.words + b - a) for a, b in self._stretches(rows)]
        return [
            *map(whole, self.stated),
            element_read(self.codes, words, size=size),
            *(self._beside(entry, rows) for entry in (self.scale, self.zero)),
        ]

    def _beside(self, entry: TensorEntry, rows: Rows) -> Read:
        if self.axis == 0:  # any row meets nearly every group
            return whole(entry)
        groups = [(a // self.group_size, -(-b // self.group_size)) for a, b in self._runs(rows)]
        return element_read(entry, groups, size=DTYPES[entry.dtype].size)

    def _runs(self, rows: Rows) -> list[tuple[int, int]]:
        return [(a * self.shape[1], b * self.shape[1]) for a, b in runs_of(rows)]

    def _stretches(self, rows: Rows) -> list[tuple[int, int]]:
        """Cut runs of elements where a part of the words ends."""
        out = []
        for a, b in self._runs(rows):
            cuts = [a, *range((a // self.words + 1) * self.words, b, self.words), b]
            out += list(pairwise(cuts))
        return out

    def decode(self, rows: Rows, data: Sequence[bytes]) -> Floats:
        """See `PackedMatrix.decode`."""
        self._check_stated(dict(zip((entry.name for entry in self.stated), data, strict=False)))
        raw_codes, raw_scale, raw_zero = data[len(self.stated) :]
        parts, bits, size = _WORD[self.packing]
        words = np.frombuffer(raw_codes, f"<u{size}")
        scale, zero = floats(self.scale, raw_scale), floats(self.zero, raw_zero)
        out = np.empty(rows.size * self.shape[1], dtype=np.float32)
        at = 0
        for a, b in self._stretches(rows):
            shift = (parts - 1 - a // self.words) * bits
            out[at : at + b - a] = (words[at : at + b - a] >> shift) & ((1 << bits) - 1)
            at += b - a
        at = known = 0  # elements undone, and groups of the runs before
        for a, b in self._runs(rows):
            for start in range(a, b, BLOCK):
                stop = min(b, start + BLOCK)
                element = np.arange(start, stop)
                if self.axis == 0:
                    group = element % scale.size
                else:
                    group = element // self.group_size - a // self.group_size + known
                with np.errstate(over="ignore", invalid="ignore"):
                    out[at : at + stop - start] -= zero[group]
                    out[at : at + stop - start] *= scale[group]
                at += stop - start
            known += -(-b // self.group_size) - a // self.group_size
        return out.reshape(rows.size, self.shape[1])

    def _check_stated(self, texts: Mapping[str, bytes]) -> None:
        for entry in self.stated:
            leaf, raw = entry.name.rpartition(".")[2], texts[entry.name]
            if leaf == _TEXT and raw.decode("latin-1") != self.packing:
                raise self.pieces.mismatch(f"{leaf} is not that of its bits", actual=raw.decode("latin-1"))
            if leaf in _FLAGS and any(raw):
                raise self.pieces.unsupported("HQQ with quantised scales or zero points")


def hqq(pieces: Pieces, stated: Mapping[str, bytes], config: QuantConfig | None) -> Hqq:
    """Put a matrix together.

    Parameters
    ----------
    pieces : Pieces
    stated : mapping of str to bytes
        Contents of the tensors named in `STATED`.
    config : QuantConfig, optional

    Raises
    ------
    FileError
        When a piece is missing, or the pieces contradict each other or the configuration.
    """
    dims = _integers(pieces, stated, "shape")
    if len(dims) != 2 or min(dims) < 1:
        raise BadShape(file=pieces.file, field=f"shape of {pieces.stem}", actual=dims)
    check_columns(pieces, dims[1])
    (nbits,), (group_size,), (axis,) = (_integers(pieces, stated, key) for key in ("nbits", "group_size", "axis"))
    count = math.prod(dims)
    if nbits not in _PACKING:
        raise pieces.unsupported("HQQ of a number of bits that is not read", actual=nbits)
    if axis not in {0, 1} or group_size < 1 or count % group_size:
        raise pieces.mismatch("not a way to group its elements", actual=f"axis {axis}, groups of {group_size}")
    packing = _PACKING[nbits]
    parts, _, size = _WORD[packing]
    groups = count // group_size
    height, width = (groups, group_size) if axis == 1 else (group_size, groups)
    words = -(-height // parts) * width
    codes = pieces.need("W_q")  # of any type: "view_as_float" saves the same bytes under another
    if codes.stop - codes.start != words * size or (height % parts and packing != "3bit_32"):
        raise pieces.mismatch("bytes of codes", actual=codes.stop - codes.start, limit=words * size)
    scale, zero = (pieces.need(leaf, dtypes=FLOATS) for leaf in ("scale", "zero"))
    for entry in (scale, zero):
        if entry.count != groups:
            raise pieces.mismatch(f"number of values of {entry.name}", actual=entry.count, limit=groups)
    _check_config(config, nbits=nbits, group_size=group_size, axis=axis)
    found = [pieces.get(leaf, dtypes=("U8",)) for leaf in (_TEXT, *_FLAGS)]
    read_later = tuple(entry for entry in found if entry is not None)
    if any(entry.count > LIMITS.packed_stated for entry in read_later):
        raise pieces.mismatch("a description that is too long", limit=LIMITS.packed_stated)
    return Hqq(
        shape=(dims[0], dims[1]),
        axis=axis,
        group_size=group_size,
        packing=packing,
        words=words,
        codes=codes,
        scale=scale,
        zero=zero,
        stated=read_later,
        pieces=pieces,
    )


def _integers(pieces: Pieces, stated: Mapping[str, bytes], key: str) -> tuple[int, ...]:
    entry = pieces.need(key, dtypes=("I64", "I32"))
    shapes = ((2,),) if key == "shape" else ((), (1,))
    if entry.shape not in shapes:
        raise pieces.mismatch(f"shape of {entry.name}", actual=entry.shape)
    return tuple(np.frombuffer(stated[key], "<i8" if entry.dtype == "I64" else "<i4").tolist())


def _check_config(config: QuantConfig | None, **found: int) -> None:
    """Hold what the tensors say against the configuration, where that speaks of all layers at once."""
    outer = config.values.get("quant_config") if config is not None else None
    stated = outer.get("weight_quant_params") if isinstance(outer, dict) else None
    if config is None or not isinstance(stated, dict):
        return
    for key, value in found.items():
        if stated.get(key) not in (None, value):
            raise config.mismatch(key, actual=stated[key], limit=value)
