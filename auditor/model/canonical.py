"""One vocabulary for what a tensor is, whichever tool wrote it.

Roles are those of a Llama-shaped decoder block. Matrices are taken as `[out, in]`, the layout of Hugging Face
and (after its dimensions are reversed) of GGUF, so that row `i` of `gate` and `up` is MLP neuron `i`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

ROLES = (
    "embed", "head", "final_norm",
    "attn_norm", "q", "k", "v", "o", "mlp_norm", "gate", "up", "down",
)  # fmt: skip
"""Every role; the first three belong to no layer."""


class CanonicalName(NamedTuple):
    """What a tensor is.

    Attributes
    ----------
    prefix : str
        What stands before the common part of the name: "model.", "language_model.model.", "". Tensors of one
        model share it; a file can hold several models.
    layer : int or None
    role : str
        One of `ROLES`.
    """

    prefix: str
    layer: int | None
    role: str


_HF_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.o_proj": "o",
    "post_attention_layernorm": "mlp_norm",
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.down_proj": "down",
}
_HF_GLOBAL = {"embed_tokens": "embed", "norm": "final_norm"}
_GGUF_LAYER = {
    "attn_norm": "attn_norm",
    "attn_q": "q",
    "attn_k": "k",
    "attn_v": "v",
    "attn_output": "o",
    "ffn_norm": "mlp_norm",
    "ffn_gate": "gate",
    "ffn_up": "up",
    "ffn_down": "down",
}
_GGUF_GLOBAL = {"token_embd": "embed", "output_norm": "final_norm", "output": "head"}


def _alternatives(names: dict[str, str]) -> str:
    return "|".join(re.escape(name) for name in names)


# A layer number of at most four ASCII digits: no model has more, and no name makes us build a huge integer.
_HF_LAYER_RE = re.compile(rf"(?s)(.*?)layers\.([0-9]{{1,4}})\.({_alternatives(_HF_LAYER)})\.weight")
_HF_GLOBAL_RE = re.compile(rf"(?s)(.*?)({_alternatives(_HF_GLOBAL)})\.weight")
_HF_HEAD_RE = re.compile(r"(?s)(.*?)lm_head\.weight")
_GGUF_LAYER_RE = re.compile(rf"blk\.([0-9]{{1,4}})\.({_alternatives(_GGUF_LAYER)})\.weight")
_GGUF_GLOBAL_RE = re.compile(rf"({_alternatives(_GGUF_GLOBAL)})\.weight")


def canonical_name(name: str) -> CanonicalName | None:
    """Say what a tensor is, or None where the name is not one of a Llama-shaped model.

    Examples
    --------
    >>> canonical_name("model.layers.3.mlp.gate_proj.weight")
    CanonicalName(prefix='model.', layer=3, role='gate')
    >>> canonical_name("blk.3.ffn_gate.weight")
    CanonicalName(prefix='', layer=3, role='gate')
    >>> canonical_name("h.3.mlp.c_fc.weight") is None
    True
    """
    if match := _GGUF_LAYER_RE.fullmatch(name):
        return CanonicalName("", int(match[1]), _GGUF_LAYER[match[2]])
    if match := _GGUF_GLOBAL_RE.fullmatch(name):
        return CanonicalName("", None, _GGUF_GLOBAL[match[1]])
    if (match := _HF_LAYER_RE.fullmatch(name)) and _whole_prefix(match[1]):
        return CanonicalName(match[1], int(match[2]), _HF_LAYER[match[3]])
    if (match := _HF_GLOBAL_RE.fullmatch(name)) and _whole_prefix(match[1]):
        return CanonicalName(match[1], None, _HF_GLOBAL[match[2]])
    if (match := _HF_HEAD_RE.fullmatch(name)) and _whole_prefix(match[1]):
        # The head stands beside the decoder, not inside it: `lm_head` next to `model.layers`.
        return CanonicalName(match[1] + "model.", None, "head")
    return None


def _whole_prefix(prefix: str) -> bool:
    return prefix == "" or prefix.endswith(".")
