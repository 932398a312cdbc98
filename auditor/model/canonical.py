"""One vocabulary for what a tensor is, whichever tool wrote it.

Roles are those of a Llama-shaped decoder block. Matrices are taken as `[out, in]`, the layout of Hugging Face
and (after its dimensions are reversed) of GGUF, so that row `i` of `gate` and `up` is MLP neuron `i`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from auditor.model import names as tables

if TYPE_CHECKING:
    from collections.abc import Mapping

ROLES = (
    "embed", "head", "final_norm",
    "attn_norm", "q", "k", "v", "o", "mlp_norm", "gate", "up", "down",
)  # fmt: skip
"""Every role of a dense Llama; the first three belong to no layer.

Others have more: "q_norm", "q.bias", "router", "experts.3.gate"; see the tables in `auditor.model.names`.
"""


class CanonicalName(NamedTuple):
    """What a tensor is.

    Attributes
    ----------
    prefix : str
        What stands before the common part of the name: "model.", "language_model.model.", "". Tensors of one
        model share it; a file can hold several models.
    layer : int or None
    role : str
        One of `ROLES`, or of those that other families have besides. A bias has the role of its matrix and ".bias".
    """

    prefix: str
    layer: int | None
    role: str


_WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|module)\.")
"""What torch puts into names: compile, FSDP, activation checkpoints, data parallelism."""

# Greedy, so the last layer that a name speaks of. A layer or expert has at most four ASCII digits: no model has more,
# and no name makes us build a huge integer.
_IN_LAYER = re.compile(r"(?s)((?:.*\.)?)(?:layers|h|blocks)\.([0-9]{1,4})\.(.+)")
_IN_GGUF_LAYER = re.compile(r"(?s)blk\.([0-9]{1,4})\.(.+)")
_NUMBER = re.compile(r"(?:(?<=\.)|^)[0-9]{1,4}(?=\.|$)")
_LONGEST_TAIL = 1 + max(len(tail) for table in (tables.LAYER, tables.BARE, tables.GGUF_LAYER) for tail in table) + 4
_SUFFIXES = {"weight": "", "bias": ".bias"}


def canonical_name(name: str) -> CanonicalName | None:
    """Say what a tensor is, or None where the name is in no table.

    Examples
    --------
    >>> canonical_name("model.layers.3.mlp.gate_proj.weight")
    CanonicalName(prefix='model.', layer=3, role='gate')
    >>> canonical_name("blk.3.ffn_gate.weight")
    CanonicalName(prefix='', layer=3, role='gate')
    >>> canonical_name("model.layers.3.block_sparse_moe.experts.7.w3.weight")
    CanonicalName(prefix='model.', layer=3, role='experts.7.up')
    >>> canonical_name("model.layers.3.mlp.lora_A.weight") is None
    True
    """
    found = parse_name(name)
    return found[0] if found else None


def parse_name(name: str) -> tuple[CanonicalName, str] | None:
    """Say what a tensor is and under which row of the tables: "mlp.experts.#.up_proj", with ".bias" where it is one."""
    name = _unwrapped(name)
    stem, _, last = name.rpartition(".")
    suffix = _SUFFIXES.get(last)
    if suffix is None:
        return _in_layer(name, tables.BARE)
    found = _parse(stem)
    if found is None or not suffix:
        return found
    (prefix, layer, role), tail = found
    return CanonicalName(prefix, layer, role + suffix), tail + suffix


def canonical_stem(stem: str) -> CanonicalName | None:
    """Say what the tensors are that a name without its last part stands for: `model.layers.3.mlp.gate_proj`.

    For matrices that are kept in several tensors, `.qweight` and `.scales` and so on.
    """
    found = _parse(_unwrapped(stem))
    return found[0] if found else None


def _unwrapped(name: str) -> str:
    return _WRAPPERS.sub("", name) if "module" in name or "_orig_mod" in name else name


def _parse(stem: str) -> tuple[CanonicalName, str] | None:
    if match := _IN_GGUF_LAYER.fullmatch(stem):
        return _looked_up("", int(match[1]), match[2], tables.GGUF_LAYER)
    if role := tables.GGUF_GLOBAL.get(stem):
        return CanonicalName("", None, role), stem
    return _in_layer(stem, tables.LAYER) or _outside(stem)


def _in_layer(stem: str, table: Mapping[str, str]) -> tuple[CanonicalName, str] | None:
    match = _IN_LAYER.fullmatch(stem)
    return _looked_up(match[1], int(match[2]), match[3], table) if match else None


def _looked_up(prefix: str, layer: int, tail: str, table: Mapping[str, str]) -> tuple[CanonicalName, str] | None:
    if role := table.get(tail):
        return (CanonicalName(prefix, layer, role), tail) if "#" not in role else None
    if len(tail) > _LONGEST_TAIL:
        return None
    numbers = _NUMBER.findall(tail)
    if len(numbers) != 1 or "#" in tail:
        return None
    tail = _NUMBER.sub("#", tail)
    role = table.get(tail)
    return (CanonicalName(prefix, layer, role.replace("#", str(int(numbers[0])))), tail) if role else None


def _outside(stem: str) -> tuple[CanonicalName, str] | None:
    before, dot, last = stem.rpartition(".")
    if last in tables.HEADS:  # stands beside the decoder, not inside it: `lm_head` next to `model.layers`
        return CanonicalName(before + dot + tables.HEADS[last], None, "head"), last
    if last in tables.GLOBAL:
        return CanonicalName(before + dot, None, tables.GLOBAL[last]), last
    return None
