"""What the tensors of the listed models are called, by family, and of what shape they are.

One line a tensor: name, role (`-` for one of which nothing is ever drawn), dimensions. `#` in a name stands for the
number of each layer, `*` for that of each expert, `%` for that of each layer of a vision tower. Dimensions: `d` hidden
size, `m` neurons of a block, `q` and `k` widths of queries and of keys, `v` vocabulary, `e` experts, `t` hidden size of
a tower; a number before one multiplies it.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LLAMA = """
model.embed_tokens.weight embed v d
model.layers.#.input_layernorm.weight attn_norm d
model.layers.#.self_attn.q_proj.weight - q d
model.layers.#.self_attn.k_proj.weight - k d
model.layers.#.self_attn.v_proj.weight - k d
model.layers.#.self_attn.o_proj.weight - d q
model.layers.#.post_attention_layernorm.weight mlp_norm d
model.layers.#.mlp.gate_proj.weight gate m d
model.layers.#.mlp.up_proj.weight up m d
model.layers.#.mlp.down_proj.weight - d m
model.norm.weight - d
lm_head.weight - v d
"""
_TOWERS = "".join(
    f"""
{tower}.vision_model.encoder.layers.%.layer_norm1.weight - t
{tower}.vision_model.encoder.layers.%.self_attn.q_proj.weight - t t
{tower}.vision_model.encoder.layers.%.self_attn.k_proj.weight - t t
{tower}.vision_model.encoder.layers.%.self_attn.v_proj.weight - t t
{tower}.vision_model.encoder.layers.%.self_attn.out_proj.weight - t t
{tower}.vision_model.encoder.layers.%.layer_norm2.weight - t
{tower}.vision_model.encoder.layers.%.mlp.fc1.weight - 4t t
{tower}.vision_model.encoder.layers.%.mlp.fc2.weight - t 4t
"""
    for tower in ("image_tower", "video_tower")
)


def _without(table: str, *parts: str) -> str:
    return "".join(line + "\n" for line in table.splitlines() if not any(part in line for part in parts))


FAMILIES: dict[str, str] = {
    "llama": _LLAMA,
    "llava": _LLAMA + "model.mm_projector.0.weight - d t\nmodel.mm_projector.2.weight - d d\n",
    "video_llava": "".join(f"language_model.{line}\n" for line in _LLAMA.strip().splitlines())
    + _TOWERS
    + "multi_modal_projector.linear_1.weight - d t\nmulti_modal_projector.linear_2.weight - d d\n",
    "llama_moe": _without(_LLAMA, "mlp.")
    + """
model.layers.#.mlp.gate.gate_network.0.weight - e d
model.layers.#.mlp.gate.gate_network.2.weight - e e
model.layers.#.mlp.gate.weight_noise.weight - e d
model.layers.#.mlp.calculator.experts.weight_gate.* gate m d
model.layers.#.mlp.calculator.experts.weight_up.* up m d
model.layers.#.mlp.calculator.experts.weight_down.* - d m
""",
    "gemma": _without(_LLAMA, "lm_head"),
    "baichuan": _without(_LLAMA, "q_proj", "k_proj", "v_proj") + "model.layers.#.self_attn.W_pack.weight - 3d d\n",
    "internlm": _LLAMA + "".join(f"model.layers.#.self_attn.{role}_proj.bias - d\n" for role in "qkvo"),
    "olmo2": _without(_LLAMA, "layernorm")
    + """
model.layers.#.post_attention_layernorm.weight - d
model.layers.#.post_feedforward_layernorm.weight - d
model.layers.#.self_attn.q_norm.weight - d
model.layers.#.self_attn.k_norm.weight - d
""",
    "plamo": _without(_LLAMA, "layernorm").replace("model.layers.", "model.layers.layers.")
    + "model.layers.layers.#.norm.weight attn_norm d\n",
    "qwen": """
transformer.wte.weight embed v d
transformer.h.#.ln_1.weight attn_norm d
transformer.h.#.attn.c_attn.weight - 3d d
transformer.h.#.attn.c_attn.bias - 3d
transformer.h.#.attn.c_proj.weight - d d
transformer.h.#.ln_2.weight mlp_norm d
transformer.h.#.mlp.w1.weight up m d
transformer.h.#.mlp.w2.weight gate m d
transformer.h.#.mlp.c_proj.weight - d m
transformer.ln_f.weight - d
lm_head.weight - v d
""",
    "mpt": """
transformer.wte.weight embed v d
transformer.blocks.#.norm_1.weight attn_norm d
transformer.blocks.#.attn.Wqkv.weight - 3d d
transformer.blocks.#.attn.out_proj.weight - d d
transformer.blocks.#.norm_2.weight mlp_norm d
transformer.blocks.#.ffn.up_proj.weight up m d
transformer.blocks.#.ffn.down_proj.weight - d m
transformer.norm_f.weight - d
""",
    "jais": """
transformer.wte.weight embed v d
transformer.h.#.ln_1.weight attn_norm d
transformer.h.#.ln_1.bias - d
transformer.h.#.attn.c_attn.weight - d 3d
transformer.h.#.attn.c_attn.bias - 3d
transformer.h.#.attn.c_proj.weight - d d
transformer.h.#.ln_2.weight mlp_norm d
transformer.h.#.mlp.c_fc.weight - d m
transformer.h.#.mlp.c_fc2.weight - d m
transformer.h.#.mlp.c_proj.weight - m d
transformer.ln_f.weight - d
""",
    "chatglm": """
transformer.word_embeddings.weight embed v d
transformer.layers.#.input_layernorm.weight attn_norm d
transformer.layers.#.attention.query_key_value.weight - 3d d
transformer.layers.#.attention.query_key_value.bias - 3d
transformer.layers.#.attention.dense.weight - d d
transformer.layers.#.post_attention_layernorm.weight mlp_norm d
transformer.layers.#.mlp.dense_h_to_4h.weight up m d
transformer.layers.#.mlp.dense_4h_to_h.weight - d m
transformer.final_layernorm.weight - d
lm_head.weight - v d
""",
}

TOWER_LAYERS = 24
_TERM = re.compile(r"([0-9]*)([a-z])")


class Tensor(NamedTuple):
    """A tensor of a model.

    Attributes
    ----------
    name : str
    role : str
        "gate", "up", "embed", "attn_norm", "mlp_norm", or "-".
    place : tuple of int
        Layer and expert, where it has them.
    shape : tuple of int
    """

    name: str
    role: str
    place: tuple[int, ...]
    shape: tuple[int, ...]


def tensors(family: str, sizes: Mapping[str, int], *, layers: int) -> Iterator[Tensor]:
    """List every tensor of a model.

    Parameters
    ----------
    family : str
        Of `FAMILIES`.
    sizes : mapping of str to int
        By the letters that stand for them.
    layers : int
    """
    ranges = {"#": range(layers), "*": range(sizes.get("e", 0)), "%": range(TOWER_LAYERS)}
    for line in FAMILIES[family].split("\n"):
        if not line.strip():
            continue
        name, role, *dims = line.split()
        shape = tuple(_dimension(text, sizes) for text in dims)
        marks = [mark for mark in ranges if mark in name]
        for place in itertools.product(*(ranges[mark] for mark in marks)):
            filled = name
            for mark, number in zip(marks, place, strict=True):
                filled = filled.replace(mark, str(number))
            yield Tensor(filled, role, place, shape)


def _dimension(text: str, sizes: Mapping[str, int]) -> int:
    match = _TERM.fullmatch(text)
    if match is None:
        raise ValueError(f"{text}: no dimension")
    return int(match[1] or 1) * sizes[match[2]]
