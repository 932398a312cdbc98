"""compressed-tensors (llm-compressor, vLLM): which kind of packing a matrix has, and integers packed into words.

`config.json` lists groups of modules, each with how its weights are stored. Which group a module is in is said by
patterns of names, which are not run here: the tensors of a matrix must fit exactly one way that some group states.
"pack-quantized": `weight_packed` is int32 of shape [outputs, inputs * bits / 32], lowest bits first, codes stored with
2^(bits-1) added; `weight_scale` is [outputs, groups], [outputs, 1] or [1]; `weight_zero_point`, of asymmetric ones, is
packed likewise along the outputs; `weight_g_idx` gives the group of each input; `weight_shape` repeats the shape.
The value is `(code - zero) * scale`. A row's codes lie in one piece. Others: `scaled` (int8, float8), `float4`.
Source: `pack_to_int32` and `dequantize` of compressed-tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from auditor.errors import MissingField, WrongType
from auditor.formats.quant.codes import affine, blocks, covering, floats, unpack_bits
from auditor.formats.quant.float4 import float4
from auditor.formats.quant.packed import FLOATS, check_columns, check_shape, matrix_shape, row_read, whole
from auditor.formats.quant.scaled import FLOAT8, scaled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditor.formats.base import TensorEntry
    from auditor.formats.quant.config import QuantConfig
    from auditor.formats.quant.packed import Floats, PackedMatrix, Pieces, Read, Rows

_GROUPS: Final = 64  # groups listed in one configuration; real ones have up to three


class Stated(NamedTuple):
    """How the weights of some group of modules are stored, as the configuration says."""

    bits: int
    kind: str  # "int" or "float"
    symmetric: bool
    strategy: str  # "tensor", "channel", "group", "block", "tensor_group"
    group_size: int | None
    block: tuple[int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedIntegers:
    """A matrix in "pack-quantized" form."""

    shape: tuple[int, int]
    bits: int
    own_scales: bool  # each row has its own; else one serves the whole matrix
    packed: TensorEntry
    scale: TensorEntry
    zero: TensorEntry | None
    g_idx: TensorEntry | None
    stated_shape: TensorEntry
    pieces: Pieces

    def reads(self, rows: Rows) -> list[Read]:
        """See `PackedMatrix.reads`."""
        reads = [whole(self.stated_shape), row_read(self.packed, rows)]
        reads.append(row_read(self.scale, rows) if self.own_scales else whole(self.scale))
        if self.zero is not None:
            reads.append(row_read(self.zero, self._words(rows)[0]))
        return [*reads, whole(self.g_idx)] if self.g_idx is not None else reads

    def decode(self, rows: Rows, data: Sequence[bytes]) -> Floats:
        """See `PackedMatrix.decode`."""
        stated = tuple(np.frombuffer(data[0], "<i8" if self.stated_shape.dtype == "I64" else "<i4").tolist())
        if stated != self.shape:
            raise self.pieces.mismatch("weight_shape is not that of the codes", actual=stated, limit=self.shape)
        packed = np.frombuffer(data[1], np.uint8).reshape(rows.size, self.packed.shape[1] * 4)
        scale = floats(self.scale, data[2]).reshape(rows.size if self.own_scales else 1, -1)
        scale = np.broadcast_to(scale, (rows.size, scale.shape[1]))
        zero = None if self.zero is None else self._zeros(rows, data[3])
        group = None if self.g_idx is None else self._group(data[-1], scale.shape[1])
        out = np.empty((rows.size, self.shape[1]), dtype=np.float32)
        middle = float(1 << (self.bits - 1))
        for block in blocks(*out.shape):
            codes = unpack_bits(packed[block], self.bits, self.shape[1])
            out[block] = affine(codes, scale[block], zero=middle if zero is None else zero[block], group=group)
        return out

    def _words(self, rows: Rows) -> tuple[Rows, Rows]:
        """Say which packed rows of zero points hold some rows, and where they stand among their codes."""
        per = 32 // np.gcd(self.bits, 32)
        numbers, place = covering(rows, int(per))
        count = int(per) * self.bits // 32
        words = (numbers[:, None] * count + np.arange(count)).reshape(-1)
        height = self.zero.shape[0] if self.zero is not None else 0
        return words[words < height], place  # the last block of rows may be cut

    def _zeros(self, rows: Rows, raw: bytes) -> Floats:
        """Unpack zero points, which go down the columns: (n, groups)."""
        words, place = self._words(rows)
        table = np.frombuffer(raw, "<u4").reshape(words.size, -1)
        down = np.ascontiguousarray(table.T).view(np.uint8)
        return unpack_bits(down, self.bits, words.size * 32 // self.bits)[:, place].T.astype(np.float32)

    def _group(self, raw: bytes, count: int) -> Rows | None:
        group = np.frombuffer(raw, "<i4").astype(np.intp)
        if (group == -1).all():  # reserved, and never set
            return None
        if not 0 <= group.min() <= group.max() < count:
            outside = group.min() if group.min() < 0 else group.max()
            raise self.pieces.mismatch(
                "weight_g_idx names a group that does not exist", actual=int(outside), limit=count - 1
            )
        return group


def compressed(pieces: Pieces, config: QuantConfig) -> PackedMatrix:
    """Put a matrix together.

    Raises
    ------
    FileError
        When a piece is missing, the pieces contradict each other, or no way that the configuration states fits them.
    """
    ways = stated_ways(config)
    if "weight_packed" in pieces.entries:
        if pieces.need("weight_packed").dtype == "U8":
            _fitting(pieces, [way for way in ways if way.kind == "float" and way.bits == 4])
            return float4(pieces, codes="weight_packed", whole_scale="weight_global_scale", divides=True)
        return _packed_integers(pieces, [way for way in ways if way.kind == "int"])
    weight = pieces.need("weight", dtypes=("I8", *FLOAT8))
    kind, bits = ("int", tuple(range(2, 9))) if weight.dtype == "I8" else ("float", (8,))
    fitting = [way for way in ways if way.kind == kind and way.bits in bits]
    way = _fitting(pieces, [way for way in fitting if _fits(way, weight, pieces)])
    return scaled(pieces, dtypes=("I8", *FLOAT8), block=way.block, group_size=way.group_size)


def _packed_integers(pieces: Pieces, ways: list[Stated]) -> PackedIntegers:
    packed = pieces.need("weight_packed", dtypes=("I32",))
    scale, stated_shape = pieces.need("weight_scale", dtypes=FLOATS), pieces.need("weight_shape", dtypes=("I64", "I32"))
    zero, g_idx = pieces.get("weight_zero_point", dtypes=("I32",)), pieces.get("weight_g_idx", dtypes=("I32",))
    check_shape(stated_shape, (2,))
    outputs, width = matrix_shape(packed)
    if not outputs or not width:
        raise pieces.mismatch("an empty matrix", actual=packed.shape)

    def columns_if(way: Stated) -> int:
        """Return how many inputs the words hold, 0 where they do not fit."""
        if way.symmetric == (zero is not None) or not 1 <= way.bits <= 8:
            return 0
        columns = width * 32 // way.bits
        if way.group_size is not None:
            columns = scale.shape[1] * way.group_size if len(scale.shape) == 2 else 0
            fits = scale.shape[0] == outputs if scale.shape else False
        else:
            fits = scale.shape in _one_for(way, outputs)
        return columns if fits and -(-columns * way.bits // 32) == width else 0

    way = _fitting(pieces, [way for way in ways if columns_if(way)])
    columns = columns_if(way)
    check_columns(pieces, columns)
    groups = 1 if way.group_size is None else scale.shape[1]
    if zero is not None:
        check_shape(zero, (-(-outputs * way.bits // 32), groups))
    if g_idx is not None:
        check_shape(g_idx, (columns,))
    return PackedIntegers(
        shape=(outputs, columns),
        bits=way.bits,
        own_scales=way.strategy != "tensor",
        packed=packed,
        scale=scale,
        zero=zero,
        g_idx=g_idx,
        stated_shape=stated_shape,
        pieces=pieces,
    )


def _fits(way: Stated, weight: TensorEntry, pieces: Pieces) -> bool:
    """Say whether scales of one code an element have the shape that a way of storing gives them."""
    scale = pieces.need("weight_scale").shape
    rows, columns = matrix_shape(weight)
    if way.strategy == "block" and way.block is not None:
        return scale == (-(-rows // way.block[0]), -(-columns // way.block[1]))
    if way.group_size is not None:
        return scale == (rows, columns // way.group_size)
    return scale in _one_for(way, rows)


def _one_for(way: Stated, rows: int) -> set[tuple[int, ...]]:
    """Return the shapes that scales can have which serve a row each, or the whole matrix; none for other strategies."""
    shapes: dict[str, set[tuple[int, ...]]] = {"channel": {(rows, 1), (rows,)}, "tensor": {(), (1,), (1, 1)}}
    return shapes.get(way.strategy, set())


def _fitting(pieces: Pieces, ways: list[Stated]) -> Stated:
    different = list(dict.fromkeys(ways))
    if len(different) != 1:
        problem = "no way of storing weights that the configuration states fits its tensors"
        if different:
            problem = f"{len(different)} ways of storing weights that the configuration states fit its tensors"
        raise pieces.mismatch(problem, actual=", ".join(f"{k} {e.dtype} {e.shape}" for k, e in pieces.entries.items()))
    return different[0]


def stated_ways(config: QuantConfig) -> list[Stated]:
    """Read how the configuration says that weights are stored.

    Raises
    ------
    MissingField, WrongType, QuantMismatch
    """
    groups = config.values.get("config_groups")
    if groups is None:
        raise MissingField(file=config.file, field='quantisation "config_groups"')
    if not isinstance(groups, dict):
        raise WrongType(file=config.file, field='quantisation "config_groups"', actual=groups, limit="an object")
    if len(groups) > _GROUPS:
        raise config.mismatch("config_groups", problem="too many groups", actual=len(groups), limit=_GROUPS)
    weights = [group.get("weights") for group in groups.values() if isinstance(group, dict)]
    return list(dict.fromkeys(_stated(config.of(values)) for values in weights if isinstance(values, dict)))


def _stated(values: QuantConfig) -> Stated:
    group_size, structure = values.values.get("group_size"), values.values.get("block_structure")
    size = values.integer("group_size") if group_size not in {None, -1} else None
    usual = "tensor" if group_size is None else "channel" if size is None else "group"
    strategy = values.text("strategy", default=usual)
    return Stated(
        bits=values.integer("num_bits"),
        kind=values.text("type", default="int"),
        symmetric=values.flag("symmetric", default=True),
        strategy=strategy,
        group_size=size if strategy in {"group", "tensor_group"} else None,
        block=block_size(values, "block_structure") if structure is not None else None,
    )


def block_size(config: QuantConfig, key: str) -> tuple[int, int]:
    """Return height and width of the blocks that share a scale.

    Raises
    ------
    WrongType
    """
    value = config.values.get(key)
    if not isinstance(value, list) or len(value) != 2 or not all(type(n) is int and n > 0 for n in value):
        raise WrongType(file=config.file, field=f'quantisation "{key}"', actual=value, limit="two positive integers")
    return value[0], value[1]
