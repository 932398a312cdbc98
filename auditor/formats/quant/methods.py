"""Which quantisation a group of tensors is, by what they are called: one row a method, the first that fits is taken."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from auditor.errors import FileError, MissingField
from auditor.formats.dtypes import DTYPES
from auditor.formats.quant import bnb, hqq
from auditor.formats.quant.awq import awq
from auditor.formats.quant.compressed import compressed
from auditor.formats.quant.config import QuantConfig
from auditor.formats.quant.fp8 import fp8, modelopt_float4
from auditor.formats.quant.gptq import gptq
from auditor.formats.quant.mlx import mlx
from auditor.formats.quant.scaled import FLOAT8

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from auditor.formats.quant.packed import PackedMatrix, Pieces

Stated = QuantConfig | FileError | None
"""The checkpoint's own statement of how it was quantised: read, unreadable, or absent."""

_NUMBER: Final = re.compile("[0-9]+")
PLAIN: Final = frozenset({"F64", "F32", "F16", "BF16"})
"""Types of weights that are what they say."""

_INTEGERS: Final = frozenset(DTYPES) - PLAIN - {"BOOL", "C64", *FLOAT8}
_CODES: Final = _INTEGERS | frozenset(FLOAT8)
_WEIGHT: Final = "weight"


@dataclass(frozen=True, slots=True)
class Method:
    """A quantisation.

    Attributes
    ----------
    name : str
        As people call it.
    marks : frozenset of str
        Pieces of which it has at least one; others are not asked whether they are its own.
    claims : callable
        Says whether the tensors of a matrix are those of this method.
    describing : callable
        Names the tensors that must be read before the matrix can be put together.
    build : callable
        Puts the matrix together from its pieces, the contents of the describing ones, and the configuration.
    alike : callable
        A key that matrices share of which one's describing tensors may stand for all, since each checks its own with
        its rows: one request in place of hundreds, where a checkpoint is far away. None for those that share nothing.
    apart : bool
        Codes are not called `weight`, so that a tensor of that name is a second matrix for the same place.
    """

    name: str
    marks: frozenset[str]
    claims: Callable[[Pieces], bool]
    build: Callable[[Pieces, Mapping[str, bytes], Stated], PackedMatrix]
    describing: Callable[[Pieces], tuple[str, ...]] = lambda _pieces: ()
    alike: Callable[[Pieces], Hashable] = lambda _pieces: None
    apart: bool = False


def method_of(pieces: Pieces) -> Method | None:
    """Return the method whose tensors these are; None where they are those of no method, a plain weight for one."""
    marks = {_mark(leaf) for leaf in pieces.entries}
    rows = sorted({row for mark in marks for row in _ROWS.get(mark, ())})
    return next((METHODS[row] for row in rows if METHODS[row].claims(pieces)), None)


def is_mark(leaf: str, dtype: str) -> bool:
    """Say whether a piece can be that of a quantised matrix; what is beside it must be looked at then."""
    return dtype in _CODES if leaf == _WEIGHT else _mark(leaf) in _ROWS


def _mark(leaf: str) -> str:
    return bnb.STATE if leaf.startswith(bnb.STATE) else leaf


# --- with the tensors of a method that is read ----------------------------------------------------------


def _has(*leaves: str) -> Callable[[Pieces], bool]:
    return lambda pieces: any(leaf in pieces.entries for leaf in leaves)


def _weight_in(dtypes: object, *besides: str) -> Callable[[Pieces], bool]:
    def claims(pieces: Pieces) -> bool:
        weight = pieces.entries.get("weight")
        return weight is not None and weight.dtype in dtypes and all(leaf in pieces.entries for leaf in besides)  # type: ignore[operator]

    return claims


def _configured(config: Stated, pieces: Pieces) -> QuantConfig:
    """Return the configuration that a method cannot do without."""
    if isinstance(config, FileError):
        raise config.with_traceback(None)
    if config is None:
        problem = "quantised, and no configuration says how"
        raise MissingField(file=pieces.file, field=f"configuration of {pieces.stem}", problem=problem)
    return config


def _known(config: Stated) -> QuantConfig | None:
    if isinstance(config, FileError):
        raise config.with_traceback(None)
    return config


def _packed_words(pieces: Pieces, _: Mapping[str, bytes], config: Stated) -> PackedMatrix:
    stated = _configured(config, pieces)
    if stated.method not in _WORDS:
        method = stated.method or "an unnamed method"
        raise pieces.unsupported(f"{method}, which packs words in a layout that is not read")
    return _WORDS[stated.method](pieces, stated)


_WORDS: Final[Mapping[str, Callable[[Pieces, QuantConfig], PackedMatrix]]] = {"gptq": gptq, "awq": awq}


def _bnb_kinds(pieces: Pieces) -> tuple[str, ...]:
    return tuple(leaf for leaf in pieces.entries if leaf.startswith(bnb.STATE))


def _bnb_alike(pieces: Pieces) -> Hashable:
    """Return what matrices of one shape share: their names but for numbers, and the sizes of their pieces."""
    states = _bnb_kinds(pieces)
    sizes = sorted((leaf, entry.dtype, entry.shape) for leaf, entry in pieces.entries.items() if leaf not in states)
    return _NUMBER.sub("#", pieces.stem), states, tuple(sizes)


def _bnb_four(pieces: Pieces, texts: Mapping[str, bytes], _: Stated) -> PackedMatrix:
    states = _bnb_kinds(pieces)
    if len(states) > 1:
        raise pieces.mismatch("described twice", actual=", ".join(states))
    kind = states[0].removeprefix(bnb.STATE) if states else "nf4"
    pieces.need(bnb.STATE + kind)
    if kind not in bnb.MAPS:
        raise pieces.unsupported("bitsandbytes of a kind that is not read", actual=kind)
    return bnb.four_bit(pieces, texts[states[0]], kind=kind)


def _compressed(pieces: Pieces, _: Mapping[str, bytes], config: Stated) -> PackedMatrix:
    stated = _configured(config, pieces)
    if stated.method != "compressed-tensors":
        raise pieces.unsupported(f"{stated.method or 'an unnamed method'}, whose tensors are not read")
    return compressed(pieces, stated)


def _of_config(pieces: Pieces, _: Mapping[str, bytes], config: Stated) -> PackedMatrix:
    """Refuse integers, and 8-bit floats, without scales: only the configuration tells them from plain numbers."""
    stated = _configured(config, pieces)
    dtype = pieces.need("weight").dtype
    if stated.method == "bitsandbytes":
        return _bnb_four(pieces, {}, config) if dtype == "U8" else bnb.eight_bit(pieces)
    if stated.method == "mlx":
        return mlx(pieces, stated)
    if dtype in FLOAT8:
        return fp8(pieces, stated)
    raise pieces.unsupported(f"{stated.method or 'an unnamed method'}, whose tensors are not read")


# --- recognised, and not read ---------------------------------------------------------------------------


def _named(name: str, *leaves: str, dtypes: frozenset[str] | None = None) -> Method:
    """Return a method that is known by its tensors and whose matrices are not decoded."""

    def claims(pieces: Pieces) -> bool:
        fits = all(leaf in pieces.entries for leaf in leaves)
        return fits and (dtypes is None or ("weight" in pieces.entries and pieces.entries["weight"].dtype in dtypes))

    def build(pieces: Pieces, _: Mapping[str, bytes], __: Stated) -> PackedMatrix:
        raise pieces.unsupported(f"quantised by {name}, which is recognised and not decoded")

    return Method(name, frozenset({leaves[0] if dtypes is None else _WEIGHT}), claims, build)


NAMED: Final = (
    _named("EXL3", "trellis", "suh"),
    _named("EXL3", "trellis", "su"),
    _named("QTIP", "trellis"),
    _named("EXL2", "q_weight"),
    _named("AQLM", "codes", "codebooks"),
    _named("QuIP#", "Qidxs"),
    _named("VPTQ", "indices", "centroids"),
    _named("VPTQ", "indices"),
    _named("SpQR", "dense_weights"),
    _named("SqueezeLLM", "lookup_table"),
    _named("HIGGS", "tables2"),
    _named("Marlin", "B", "s"),
    _named("QQQ", "B", "s_channel"),
    _named("EETQ", "weight_scales", dtypes=frozenset({"I8"})),
    _named("Quanto", "weight._data"),
    _named("torchao", "weight:qdata"),
    _named("torchao", "_weight_qdata"),
)
"""Methods that are told by their tensors and not decoded; the plain tensors beside them still are."""

_OF_WEIGHT: Final = frozenset({_WEIGHT})

METHODS: Final = (
    *NAMED,
    Method("GPTQ or AWQ", frozenset({"qweight"}), _has("qweight"), _packed_words, apart=True),
    Method(
        "bitsandbytes 4-bit",
        frozenset({bnb.STATE, "weight.absmax", "weight.quant_map"}),
        lambda pieces: bool(_bnb_kinds(pieces)) or _has("weight.absmax", "weight.quant_map")(pieces),
        _bnb_four,
        _bnb_kinds,
        _bnb_alike,
    ),
    Method("bitsandbytes int8", frozenset({"SCB"}), _has("SCB"), lambda pieces, _, __: bnb.eight_bit(pieces)),
    Method("compressed-tensors", frozenset({"weight_packed"}), _has("weight_packed"), _compressed, apart=True),
    Method("compressed-tensors", _OF_WEIGHT, _weight_in({"I8"}, "weight_scale"), _compressed),
    Method("NVFP4", _OF_WEIGHT, _weight_in({"U8"}, "weight_scale_2"), lambda pieces, _, __: modelopt_float4(pieces)),
    _named("BitNet", "weight_scale", dtypes=frozenset({"U8"})),
    Method(
        "FP8", _OF_WEIGHT, _weight_in(FLOAT8, "weight_scale"), lambda pieces, _, config: fp8(pieces, _known(config))
    ),
    Method(
        "FP8", _OF_WEIGHT, _weight_in(FLOAT8, "weight_scale_inv"), lambda pieces, _, config: fp8(pieces, _known(config))
    ),
    Method(
        "MLX",
        _OF_WEIGHT,
        lambda pieces: _weight_in({"U32"})(pieces) and _has("scales", "biases")(pieces),
        lambda pieces, _, config: mlx(pieces, _configured(config, pieces)),
    ),
    Method(
        "HQQ",
        frozenset({"W_q"}),
        _has("W_q"),
        lambda pieces, texts, config: hqq.hqq(pieces, texts, _known(config)),
        lambda pieces: tuple(leaf for leaf in hqq.STATED if leaf in pieces.entries),
        apart=True,
    ),
)
"""All methods. Most that are only named come first, for they share names with others."""

_ROWS: Final = {
    mark: tuple(row for row, method in enumerate(METHODS) if mark in method.marks)
    for mark in {mark for method in METHODS for mark in method.marks}
}

LEFT: Final = Method("a method of the configuration", _OF_WEIGHT, _weight_in(_CODES), _of_config)
"""For weights that no method claims, where the configuration says that the checkpoint is quantised."""
