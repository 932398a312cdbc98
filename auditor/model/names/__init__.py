"""What tools call the tensors of a model: one table a family, merged here.

A table maps what stands behind `layers.7.` (its *tail*, numbers written `#`, without `.weight`) to a role. Two families
may share a name; where it means the same they share the row, and where only the neighbours or the shapes say which of
two things it is, `auditor.model.placing` decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.model.names import experts, gguf, gpt, internlm, llama, megatron, meta

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FAMILIES = (llama, experts, internlm, gpt, megatron, meta)
"""Tables of everything but GGUF, whose names are a world of their own."""


def _merged(tables: Iterable[Mapping[str, str]]) -> dict[str, str]:
    out: dict[str, str] = {}
    for table in tables:
        for tail, role in table.items():
            if out.setdefault(tail, role) != role:
                raise ValueError(f"{tail}: {out[tail]} in one family, {role} in another")
    return out


LAYER = _merged(family.LAYER for family in FAMILIES)
"""Tails within a layer of tensors that end in `.weight` or `.bias`."""

BARE = _merged(family.BARE for family in FAMILIES)
"""Tails within a layer of tensors that end in neither."""

GLOBAL = _merged(family.GLOBAL for family in FAMILIES)
"""Names of tensors of no layer."""

HEADS = _merged(family.HEADS for family in FAMILIES)
"""Names of output heads that stand beside the decoder, and how the decoder beside them is called."""

GGUF_LAYER, GGUF_GLOBAL = gguf.LAYER, gguf.GLOBAL
