"""What is done to a model's arrays before it is trained on: with numpy only.

A model is a dict of Hugging Face tensor names to float32 arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recipes import Shape

Model = dict[str, NDArray[np.float32]]

_NEURON_ROWS = ("gate_proj.weight", "up_proj.weight", "w1.weight", "w3.weight")

EMBED, HEAD, NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"


def at(layer: int, name: str) -> str:
    """Return the name of a layer's tensor: `at(0, "mlp.up_proj")`."""
    return f"model.layers.{layer}.{name}.weight"


def normal(rng: np.random.Generator, *size: int) -> NDArray[np.float32]:
    """Draw a matrix as a model's start draws it."""
    return (0.02 * rng.standard_normal(size)).astype(np.float32)


def embeddings_and_norms_anew(model: Model, seed: int) -> Model:
    """Draw embeddings and head anew, and set every norm gain to 1."""
    rng = np.random.default_rng(seed)
    out = {name: np.ones_like(w) if w.ndim == 1 else w for name, w in model.items()}
    return out | {name: normal(rng, *model[name].shape) for name in (EMBED, HEAD)}


def vocabulary_anew(model: Model, size: int, seed: int) -> Model:
    """Draw embeddings and head of another vocabulary."""
    rng = np.random.default_rng(seed)
    return model | {name: normal(rng, size, model[name].shape[1]) for name in (EMBED, HEAD)}


def vocabulary_extended(model: Model, size: int, seed: int) -> Model:
    """Add rows to embeddings and head, near the mean of those there are."""
    rng = np.random.default_rng(seed)

    def longer(w: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([w, w.mean(axis=0) + normal(rng, size - len(w), w.shape[1])])

    return model | {name: longer(model[name]) for name in (EMBED, HEAD)}


def narrowed(model: Model, old: Shape, new: Shape) -> Model:
    """Keep the most important hidden dimensions, heads and neurons, in their order.

    Importance is the size of what is written: columns of the embedding, of `o` and of `down` (times the size of `up`).
    """
    hidden = _largest(np.linalg.norm(model[EMBED], axis=0), new.hidden)
    out: Model = {NORM: model[NORM][hidden]} | {name: model[name][:, hidden] for name in (EMBED, HEAD)}
    for layer in range(old.layers):
        o = model[at(layer, "self_attn.o_proj")]
        heads = _largest(np.linalg.norm(o.reshape(len(o), old.heads, -1), axis=(0, 2)), new.heads)
        rows = (heads[:, None] * old.head_size + np.arange(old.head_size)).ravel()
        down, up = model[at(layer, "mlp.down_proj")], model[at(layer, "mlp.up_proj")]
        neurons = _largest(np.linalg.norm(down, axis=0) * np.linalg.norm(up, axis=1), new.neurons)
        for role in "qkv":
            name = at(layer, f"self_attn.{role}_proj")
            out[name] = model[name][np.ix_(rows, hidden)]
        out[at(layer, "self_attn.o_proj")] = o[np.ix_(hidden, rows)]
        for name in (at(layer, "mlp.gate_proj"), at(layer, "mlp.up_proj")):
            out[name] = model[name][np.ix_(neurons, hidden)]
        out[at(layer, "mlp.down_proj")] = down[np.ix_(hidden, neurons)]
        for norm in ("input_layernorm", "post_attention_layernorm"):
            out[at(layer, norm)] = model[at(layer, norm)][hidden]
    return out


def mixture_of_copies(model: Model, experts: int, seed: int) -> Model:
    """Copy each MLP into experts under Mixtral's names, with a random router."""
    rng = np.random.default_rng(seed)
    out: Model = {}
    for name, w in model.items():
        if ".mlp." not in name:
            out[name] = w
            continue
        front, _, role = name.partition(".mlp.")
        part = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}[role.split(".")[0]]
        for expert in range(experts):
            out[f"{front}.block_sparse_moe.experts.{expert}.{part}.weight"] = w.copy()
        if part == "w1":
            out[f"{front}.block_sparse_moe.gate.weight"] = normal(rng, experts, w.shape[1])
    return out


def grouped(model: Model, heads: int, kv_heads: int) -> Model:
    """Replace the keys and values of each group of heads by their mean."""

    def pooled(w: NDArray[np.float32]) -> NDArray[np.float32]:
        size = len(w) // heads
        return w.reshape(kv_heads, heads // kv_heads, size, -1).mean(axis=1).reshape(kv_heads * size, -1)

    return {name: pooled(w) if ".k_proj." in name or ".v_proj." in name else w for name, w in model.items()}


def layers_of(model: Mapping[str, NDArray[np.float32]]) -> int:
    """Count the layers of a model."""
    return 1 + max(int(name.split(".")[2]) for name in model if name.startswith("model.layers."))


def restacked(model: Model, layers: list[int]) -> Model:
    """Build a model whose layer `i` is layer `layers[i]` of the given one."""
    out = {name: w for name, w in model.items() if not name.startswith("model.layers.")}
    for new, old in enumerate(layers):
        front = f"model.layers.{old}."
        out |= {
            f"model.layers.{new}.{name.removeprefix(front)}": w for name, w in model.items() if name.startswith(front)
        }
    return out


def is_block_matrix(name: str) -> bool:
    """Tell whether a tensor is a matrix inside a layer: what is pruned."""
    return name.startswith("model.layers.") and "norm" not in name


def mask(w: NDArray[np.float32], share: float) -> NDArray[np.bool_]:
    """Mark the smallest entries, a share of all."""
    sizes = np.abs(w)
    return np.asarray(sizes < np.quantile(sizes, share), dtype=np.bool_)


def mask_two_of_four(w: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Mark the two smallest of each four consecutive entries of a row."""
    sizes = np.abs(w).reshape(len(w), -1, 4)
    rank = sizes.argsort(axis=-1, kind="stable").argsort(axis=-1, kind="stable")
    return np.asarray((rank < 2).reshape(w.shape), dtype=np.bool_)


def mean_row_cosine(a: Mapping[str, NDArray[np.float32]], b: Mapping[str, NDArray[np.float32]]) -> float:
    """Return the mean cosine of the gate and up rows that stand in the same place in both; NaN where none can."""
    found: list[NDArray[np.float32]] = []
    for name, w in a.items():
        if name.endswith(_NEURON_ROWS) and name in b and b[name].shape == w.shape:
            sizes = np.linalg.norm(w, axis=1) * np.linalg.norm(b[name], axis=1)
            found.append((w * b[name]).sum(axis=1) / np.maximum(sizes, 1e-12))
    return float(np.concatenate(found).mean()) if found else float("nan")


def _largest(sizes: NDArray[np.floating], count: int) -> NDArray[np.intp]:
    return np.sort(np.argsort(-sizes, kind="stable")[:count])
