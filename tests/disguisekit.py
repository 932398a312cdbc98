"""Rewrites of a drawn model that keep its function, each by its simplest definition; for tests of the ladder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from modelkit import Model
    from numpy.typing import NDArray

_IN = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj")
_OUT = ("self_attn.o_proj", "mlp.down_proj")


def rotated(model: Model, *, seed: int = 1) -> Model:
    """Rotate the hidden dimension; norm gains are folded into what is behind them first."""
    width = model["model.norm.weight"].size
    q = np.linalg.qr(np.random.default_rng(seed).standard_normal((width, width)))[0]
    out = {}
    for name, w in model.items():
        layer = name.rsplit(".", 3)[0]
        if any(part in name for part in _IN):
            norm = "post_attention_layernorm" if "mlp" in name else "input_layernorm"
            out[name] = (w * model[f"{layer}.{norm}.weight"]) @ q
        elif any(part in name for part in _OUT):
            out[name] = q.T @ w
        elif "embed_tokens" in name:
            out[name] = w @ q
        else:
            out[name] = np.ones_like(w)
    return {name: w.astype(np.float32) for name, w in out.items()}


def permuted(model: Model, *, seed: int = 2) -> Model:
    """Permute the neurons of every layer, and flip the signs of some pairs of up and down."""
    rng = np.random.default_rng(seed)
    out = dict(model)
    for name in [name for name in model if "gate_proj" in name]:
        up, down = name.replace("gate", "up"), name.replace("gate", "down")
        order = rng.permutation(len(model[name]))
        sign = rng.choice([-1.0, 1.0], len(order)).astype(np.float32)
        out[name] = model[name][order]
        out[up] = model[up][order] * sign[:, None]
        out[down] = model[down][:, order] * sign
    return out


def with_tokens(model: Model, order: NDArray[np.intp]) -> Model:
    """Renumber the tokens: row i becomes what row `order[i]` was."""
    name = "model.embed_tokens.weight"
    return model | {name: model[name][order]}


def with_other_embeddings(model: Model, *, seed: int = 3) -> Model:
    """Replace the embeddings by drawn ones."""
    name = "model.embed_tokens.weight"
    return model | {name: np.random.default_rng(seed).normal(0, 0.02, model[name].shape).astype(np.float32)}


def with_gains(model: Model, *, seed: int = 4) -> Model:
    """Draw norm gains, which a rewrite can fold away."""
    rng = np.random.default_rng(seed)
    return {
        name: np.exp(rng.normal(0, 0.5, w.shape)).astype(np.float32) if "layernorm" in name else w
        for name, w in model.items()
    }


def anisotropic(model: Model, *, seed: int = 5) -> Model:
    """Give the hidden space of every matrix a spectrum of its own, as training does."""
    rng = np.random.default_rng(seed)
    width = model["model.norm.weight"].size
    common = np.linalg.qr(rng.standard_normal((width, width)))[0]
    out = {}
    for name, w in model.items():
        if w.ndim == 2:
            scale = np.exp(-np.arange(width) / width * 3.0 + rng.normal(0, 0.4, width))
            spread = common * scale @ common.T
            out[name] = (spread @ w if any(part in name for part in _OUT) else w @ spread).astype(np.float32)
        else:
            out[name] = w
    return out
