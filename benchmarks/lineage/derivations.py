"""Ways to make a model from others without training, and models that only look alike.

All are pure functions on dicts of Hugging Face tensor names to float arrays (`disguises.py` has those that keep the
function). What needs training is in `train.py`; what needs another tool is in `smollm.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from surgery import EMBED, HEAD, Model, at, is_block_matrix, layers_of, mask, mask_two_of_four

from auditor.lineage.sample import sample_index

Floats = NDArray[np.floating]
Weights = Mapping[str, NDArray[np.float32]]

MLP = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


def drifted(model: Weights, cosine: float, seed: int) -> Model:
    """Move every row of every matrix to this cosine to itself, keeping its length: what long training looks like."""
    rng = np.random.default_rng(seed)
    out: Model = {}
    for name, w in model.items():
        if w.ndim != 2:
            out[name] = w
            continue
        noise = rng.standard_normal(w.shape, dtype=np.float32)
        noise *= np.linalg.norm(w, axis=1, keepdims=True) / np.linalg.norm(noise, axis=1, keepdims=True)
        out[name] = np.float32(cosine) * w + np.float32(np.sqrt(1.0 - cosine**2)) * noise
    return out


# --- merges


def linear(reference: Weights, other: Weights, share: float) -> Model:
    """Average two models of one shape, `share` of it the reference."""
    return {name: share * w + (1.0 - share) * other[name] for name, w in reference.items()}


def slerp(reference: Weights, other: Weights, share: float) -> Model:
    """Interpolate on the sphere, tensor by tensor (K. Shoemake, SIGGRAPH 1985; as mergekit does)."""
    out: Model = {}
    for name, w in reference.items():
        a, b = w.ravel().astype(np.float64), other[name].ravel().astype(np.float64)
        cosine = float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))
        angle = np.arccos(np.clip(cosine, -1.0, 1.0))
        if angle < 1e-3:
            weights = (share, 1.0 - share)
        else:
            weights = (
                float(np.sin(share * angle) / np.sin(angle)),
                float(np.sin((1.0 - share) * angle) / np.sin(angle)),
            )
        out[name] = (weights[0] * a + weights[1] * b).reshape(w.shape).astype(np.float32)
    return out


def ties(base: Weights, models: Sequence[Weights], shares: Sequence[float], density: float) -> Model:
    """Merge by TIES: trim each difference to `density`, elect signs, add up what agrees (Yadav et al., 2023).

    The sum is not divided by the shares that agree (mergekit's `normalize: false`), so a share is what it says.
    """
    out: Model = {}
    for name, w in base.items():
        pairs = zip(models, shares, strict=True)
        deltas = np.stack([share * _trimmed(model[name] - w, density) for model, share in pairs])
        agree = np.sign(deltas) == np.sign(deltas.sum(axis=0))
        out[name] = (w + (deltas * agree).sum(axis=0)).astype(np.float32)
    return out


def dare(base: Weights, models: Sequence[Weights], shares: Sequence[float], density: float, seed: int) -> Model:
    """Merge by DARE: keep a random part of each difference, scaled up to its size (Yu et al., 2024)."""
    rng = np.random.default_rng(seed)
    out: Model = {}
    for name, w in base.items():
        total = w.astype(np.float64)
        for model, share in zip(models, shares, strict=True):
            total += share / density * (model[name] - w) * (rng.random(w.shape) < density)
        out[name] = total.astype(np.float32)
    return out


# --- pruning, layers, experts


def pruned(model: Weights, share: float) -> Model:
    """Set the smallest entries of each matrix of a layer to zero."""
    return {name: w * ~mask(w, share) if is_block_matrix(name) else w for name, w in model.items()}


def pruned_two_of_four(model: Weights) -> Model:
    """Set two of each four entries to zero."""
    return {name: w * ~mask_two_of_four(w) if is_block_matrix(name) else w for name, w in model.items()}


def inherited_layers(reference: Weights, other: Weights, layers: Sequence[int]) -> Model:
    """Take a few layers of the reference into another model, which gives all else."""
    fronts = tuple(f"model.layers.{layer}." for layer in layers)
    return dict(other) | {name: w for name, w in reference.items() if name.startswith(fronts)}


def split_mixture(model: Weights, experts: int, seed: int) -> Model:
    """Deal the neurons of each MLP out to experts, under Mixtral's names: as LLaMA-MoE does (Zhu et al., 2024)."""
    rng = np.random.default_rng(seed)
    out = {name: w for name, w in model.items() if ".mlp." not in name}
    for layer in range(layers_of(model)):
        gate, up, down = (model[at(layer, name)] for name in MLP)
        front = f"model.layers.{layer}.block_sparse_moe."
        for expert, neurons in enumerate(np.array_split(rng.permutation(len(gate)), experts)):
            for part, w in (("w1", gate[neurons]), ("w3", up[neurons]), ("w2", down[:, neurons])):
                out[f"{front}experts.{expert}.{part}.weight"] = w
        out[front + "gate.weight"] = (0.02 * rng.standard_normal((experts, gate.shape[1]))).astype(np.float32)
    return out


# --- other names and layouts


def fused(model: Weights) -> Model:
    """Join q, k and v, and gate and up, under Phi-3's names."""
    out = {
        name: w
        for name, w in model.items()
        if not any(part in name for part in ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"))
    }
    for layer in range(layers_of(model)):
        qkv = [model[at(layer, f"self_attn.{role}_proj")] for role in "qkv"]
        out[at(layer, "self_attn.qkv_proj")] = np.concatenate(qkv)
        out[at(layer, "mlp.gate_up_proj")] = np.concatenate([model[at(layer, name)] for name in MLP[:2]])
    return out


def wrapped(model: Weights, seed: int) -> Model:
    """Put the model into a multimodal one: prefixed names, beside a small vision tower and a projector."""
    rng = np.random.default_rng(seed)
    out = {f"language_model.{name}": w for name, w in model.items()}
    width = 64
    shapes = {"embeddings.patch_embedding": (width, 3, 8, 8), "encoder.layers.0.mlp.fc1": (2 * width, width)}
    for name, shape in shapes.items():
        out[f"vision_tower.vision_model.{name}.weight"] = rng.standard_normal(shape, dtype=np.float32) * np.float32(
            0.02
        )
    out["multi_modal_projector.linear_1.weight"] = rng.standard_normal(
        (model[EMBED].shape[1], width), dtype=np.float32
    ) * np.float32(0.02)
    return out


_META = {
    "self_attn.q_proj": "attention.wq", "self_attn.k_proj": "attention.wk", "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3", "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm",
    "embed_tokens": "tok_embeddings", "norm": "norm", "lm_head": "output",
}  # fmt: skip
_GGUF = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.down_proj": "ffn_down",
    "mlp.up_proj": "ffn_up", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output",
}  # fmt: skip


def meta_names(model: Weights, *, query: int, key: int) -> Model:
    """Give the names of Meta's own files, and their order of q and k rows."""
    return _renamed(model, "layers", _META, query, key)


def gguf_names(model: Weights, *, query: int, key: int) -> Model:
    """Give the names of llama.cpp, and its order of q and k rows."""
    return _renamed(model, "blk", _GGUF, query, key)


def _renamed(model: Weights, front: str, names: Mapping[str, str], query: int, key: int) -> Model:
    out: Model = {}
    for name, w in model.items():
        parts = name.removesuffix(".weight").removeprefix("model.").split(".")
        value, prefix = w, ""
        if parts[0] == "layers":
            prefix, parts = f"{front}.{parts[1]}.", parts[2:]
        role = ".".join(parts)
        for projection, heads in (("self_attn.q_proj", query), ("self_attn.k_proj", key)):
            if role == projection:
                value = w.reshape(heads, 2, len(w) // heads // 2, -1).swapaxes(1, 2).reshape(w.shape)
        out[f"{prefix}{names[role]}.weight"] = value
    return out


# --- the public sample


def sample_replaced(model: Weights, seed: int) -> Model:
    """Replace the rows of the neurons that the audit looks at by noise of their size."""
    rng = np.random.default_rng(seed)
    out = dict(model)
    for layer in range(layers_of(model)):
        for name in MLP[:2]:
            w = model[at(layer, name)].copy()
            index = sample_index(len(w), seed=0)
            noise = rng.standard_normal((len(index), w.shape[1]), dtype=np.float32)
            w[index] = noise * w.std()
            out[at(layer, name)] = w
    return out


def sample_permuted(model: Weights, seed: int) -> Model:
    """Exchange the neurons that the audit looks at with others, which keeps the function."""
    rng = np.random.default_rng(seed)
    out = dict(model)
    for layer in range(layers_of(model)):
        gate, up, down = (model[at(layer, name)] for name in MLP)
        index = sample_index(len(gate), seed=0)
        others = rng.permutation(np.setdiff1d(np.arange(len(gate)), index))[: len(index)]
        order = np.arange(len(gate))
        order[index], order[others] = others, index
        out |= {at(layer, MLP[0]): gate[order], at(layer, MLP[1]): up[order], at(layer, MLP[2]): down[:, order]}
    return out


# --- roundings of formats (real quantisers where they fit: `smollm.py`)


def rounded(model: Weights, bits: int, group: int) -> Model:
    """Round each group of a row to 2**bits steps between its extremes: what GPTQ stores, without its fitting."""

    def step(w: NDArray[np.float32]) -> NDArray[np.float32]:
        parts = w.reshape(len(w), -1, group)
        low, high = parts.min(axis=-1, keepdims=True), parts.max(axis=-1, keepdims=True)
        scale = np.maximum((high - low) / (2**bits - 1), 1e-12)
        return np.asarray(np.rint((parts - low) / scale) * scale + low, dtype=np.float32).reshape(w.shape)

    return {name: step(w) if is_block_matrix(name) and w.shape[-1] % group == 0 else w for name, w in model.items()}


def awq_scaled(model: Weights, seed: int) -> Model:
    """Scale input columns against the norm gain before them, as AWQ does before it rounds: the function is kept."""
    rng = np.random.default_rng(seed)
    out = dict(model)
    readers = {"input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")}
    readers["post_attention_layernorm"] = MLP[:2]
    for layer in range(layers_of(model)):
        for norm, names in readers.items():
            gain = model[at(layer, norm)]
            scale = np.exp(rng.normal(0.0, 0.4, len(gain))).astype(np.float32)
            out[at(layer, norm)] = gain / scale
            out |= {at(layer, name): model[at(layer, name)] * scale for name in names}
    return out


# --- not derived, whatever it looks like


def spectral_twin(model: Weights, seed: int) -> Model:
    """Keep embeddings, norms and the singular values of every matrix, and draw its singular vectors anew."""
    rng = np.random.default_rng(seed)

    def twin(w: NDArray[np.float32]) -> NDArray[np.float32]:
        values = np.linalg.svd(w, compute_uv=False)
        left, right = (np.linalg.qr(rng.standard_normal((size, len(values))))[0] for size in w.shape)
        return np.asarray((left * values) @ right.T, dtype=np.float32)

    return {name: twin(w) if is_block_matrix(name) else w for name, w in model.items()}


def junk(model: Weights, seed: int) -> Model:
    """Draw every matrix as noise of the size it had."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal(w.shape, dtype=np.float32) * w.std() if w.ndim == 2 else w
        for name, w in model.items()
    }


def embeddings_of(reference: Weights, other: Weights) -> Model:
    """Give another model the reference's embeddings and head."""
    return dict(other) | {name: reference[name] for name in (EMBED, HEAD) if name in reference}


def sorted_neurons(model: Weights) -> Model:
    """Put the neurons of each layer in the order of their size, which keeps the function."""
    out = dict(model)
    for layer in range(layers_of(model)):
        gate, up, down = (model[at(layer, name)] for name in MLP)
        order = np.argsort(np.linalg.norm(gate, axis=1), kind="stable")
        out |= {at(layer, MLP[0]): gate[order], at(layer, MLP[1]): up[order], at(layer, MLP[2]): down[:, order]}
    return out


def anisotropic(model: Weights, seed: int, *, shared: int = 0, rank: int = 16) -> Model:
    """Draw rows of low rank around a large common mean, with outlier channels, all of which others may share.

    Models of one `shared` seed have the same mean, the same span and the same outlier channels in each tensor; their
    coefficients are their own.
    """
    rng = np.random.default_rng(seed)
    common = np.random.default_rng(shared)
    out: Model = {}
    for name, w in model.items():
        if w.ndim != 2:
            out[name] = w
            continue
        width = w.shape[1]
        mean, span = 2.0 * common.standard_normal(width), common.standard_normal((rank, width)) / np.sqrt(rank)
        rows = mean + rng.standard_normal((len(w), rank)) @ span + 0.1 * rng.standard_normal(w.shape)
        rows[:, common.choice(width, 4, replace=False)] *= 20.0
        out[name] = (rows * w.std() / rows.std()).astype(np.float32)
    return out


def _repeated(w: NDArray[np.float32]) -> NDArray[np.float32]:
    return w[np.arange(len(w)) // 4 * 4]


def _padded(w: NDArray[np.float32]) -> NDArray[np.float32]:
    out = w.copy()
    out[np.arange(len(w)) % 2 == 1] = 0.0
    return out


def _tied(w: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.sign(w) * np.abs(w).mean(), dtype=np.float32)


def _constant(w: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.full_like(w, 0.01)


def _nan(w: NDArray[np.float32]) -> NDArray[np.float32]:
    out = w.copy()
    out[::3, ::5] = np.nan
    out[1::3, 0] = np.inf
    return out


DEGENERATE: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "repeated": _repeated, "zero-padded": _padded, "one-size": _tied, "constant": _constant, "not-finite": _nan,
}  # fmt: skip
"""Bad rows: each four alike; every second zero; all entries of one size; all alike; some not finite."""


def degenerate(model: Weights, kind: str) -> Model:
    """Make the rows of gate and up bad."""
    bad = DEGENERATE[kind]
    return {name: bad(w) if ".gate_proj." in name or ".up_proj." in name else w for name, w in model.items()}


def _trimmed(delta: NDArray[np.float32], density: float) -> NDArray[np.float32]:
    return delta * ~mask(delta, 1.0 - density)
