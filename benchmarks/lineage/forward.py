"""What a Llama computes, in plain numpy: the judge of whether a disguise keeps a model's function."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from recipes import EPSILON, THETA, Heads
from surgery import EMBED, HEAD, NORM, at, layers_of

if TYPE_CHECKING:
    from collections.abc import Mapping

Floats = NDArray[np.floating]


def logits(model: Mapping[str, Floats], tokens: NDArray[np.int64], heads: Heads) -> Floats:
    """Return the logits after each token.

    Parameters
    ----------
    model : mapping of str to ndarray
        Dense, or with the experts of Mixtral of which all are used.
    tokens : ndarray of int, shape (n,)
    heads : Heads

    Returns
    -------
    ndarray of float, shape (n, vocabulary)
    """
    x = model[EMBED][tokens]
    for layer in range(layers_of(model)):
        x = x + _attention(model, layer, _normalised(x, model[at(layer, "input_layernorm")]), heads)
        x = x + _mlp(model, layer, _normalised(x, model[at(layer, "post_attention_layernorm")]))
    return np.asarray(_normalised(x, model[NORM]) @ model.get(HEAD, model[EMBED]).T)


def _normalised(x: Floats, gain: Floats) -> Floats:
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + EPSILON) * gain


def _mlp(model: Mapping[str, Floats], layer: int, x: Floats) -> Floats:
    gate = x @ model[at(layer, "mlp.gate_proj")].T
    return np.asarray(
        (gate / (1.0 + np.exp(-gate)) * (x @ model[at(layer, "mlp.up_proj")].T)) @ model[at(layer, "mlp.down_proj")].T
    )


def _attention(model: Mapping[str, Floats], layer: int, x: Floats, heads: Heads) -> Floats:
    q, k, v = (
        (x @ model[at(layer, f"self_attn.{role}_proj")].T).reshape(len(x), count, -1).swapaxes(0, 1)
        for role, count in (("q", heads.query), ("k", heads.key), ("v", heads.key))
    )
    k, v = (np.repeat(part, heads.query // heads.key, axis=0) for part in (_rotary(k), v))
    scores = _rotary(q) @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1]) + np.triu(np.full((len(x), len(x)), -np.inf), 1)
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    mixed = powers / powers.sum(axis=-1, keepdims=True) @ v
    return np.asarray(mixed.swapaxes(0, 1).reshape(len(x), -1) @ model[at(layer, "self_attn.o_proj")].T)


def _rotary(x: Floats) -> Floats:
    half = x.shape[-1] // 2
    angle = np.arange(x.shape[-2])[:, None] * THETA ** (-np.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], axis=-1)
