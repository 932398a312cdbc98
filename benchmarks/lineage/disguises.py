"""Rewrites that hide where a model comes from and keep what it computes.

Each takes a model (a dict of Hugging Face tensor names to float arrays, dense and without biases), a seed, and how many
heads there are, and returns a new model of the same function: equal logits, up to the order of tokens where that is
what was changed (`token_order` returns it). `tests/test_lineage_battery.py` proves it with a forward pass. Arithmetic
is in float64, and results have the type they came in.

A model with a tied head gets a head of its own where the two are no longer equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from recipes import Heads
from surgery import EMBED, HEAD, NORM, at, layers_of

Floats = NDArray[np.floating]
Model = dict[str, Floats]
Disguise = Callable[[Mapping[str, Floats], int, Heads], Model]

_READERS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj")
_WRITERS = ("self_attn.o_proj", "mlp.down_proj")
_NORMS = ("input_layernorm", "post_attention_layernorm")


def neurons_permuted(model: Mapping[str, Floats], seed: int, heads: Heads) -> Model:  # noqa: ARG001
    """Put the neurons of each layer into another order."""
    rng = np.random.default_rng(seed)
    out = dict(model)
    for layer in range(layers_of(model)):
        _take_neurons(out, layer, rng.permutation(len(model[at(layer, "mlp.gate_proj")])))
    return out


def heads_permuted(model: Mapping[str, Floats], seed: int, heads: Heads) -> Model:
    """Put key heads into another order, and the query heads of each key head."""
    rng = np.random.default_rng(seed)
    out = dict(model)
    group = heads.query // heads.key
    for layer in range(layers_of(model)):
        keys = rng.permutation(heads.key)
        queries = np.concatenate([key * group + rng.permutation(group) for key in keys])
        for role, order in (("q", queries), ("k", keys), ("v", keys)):
            name = at(layer, f"self_attn.{role}_proj")
            out[name] = _by_head(model[name], len(order))[order].reshape(model[name].shape)
        name = at(layer, "self_attn.o_proj")
        out[name] = _by_head(model[name].T, heads.query)[queries].reshape(model[name].T.shape).T
    return out


def hidden_permuted(model: Mapping[str, Floats], seed: int, heads: Heads) -> Model:  # noqa: ARG001
    """Put the hidden dimensions into another order, norm gains with them."""
    return _take_hidden(model, np.random.default_rng(seed).permutation(model[EMBED].shape[1]))


def channel_0_swapped(model: Mapping[str, Floats], seed: int, heads: Heads) -> Model:  # noqa: ARG001
    """Exchange the first hidden dimension with one other."""
    order = np.arange(model[EMBED].shape[1])
    other = np.random.default_rng(seed).integers(1, len(order))
    order[[0, other]] = other, 0
    return _take_hidden(model, order)


def signs_flipped(model: Mapping[str, Floats], seed: int, heads: Heads) -> Model:
    """Flip signs: of hidden dimensions, of `up` and `down` of neurons, of `v` and `o` within heads."""
    rng = np.random.default_rng(seed)

    def signs(count: int) -> Floats:
        return rng.choice([-1.0, 1.0], count)

    hidden = signs(model[EMBED].shape[1])
    out = _map_hidden(model, lambda w: w * hidden)  # norm gains stay: they act on each dimension alone
    for layer in range(layers_of(model)):
        _scale_up(out, layer, signs(len(model[at(layer, "mlp.up_proj")])))
        _scale_values(out, layer, signs(len(model[at(layer, "self_attn.v_proj")])), heads)
    return _like(model, out)


def gains_folded(model: Mapping[str, Floats], seed: int, heads: Heads) -> Model:  # noqa: ARG001
    """Multiply the gain of each norm into the matrices that read from it, and set it to 1."""
    out = dict(model)
    out[HEAD] = _f64(model.get(HEAD, model[EMBED])) * model[NORM]
    for layer in range(layers_of(model)):
        for name in _READERS:
            norm = _NORMS[name.startswith("mlp")]
            out[at(layer, name)] = _f64(model[at(layer, name)]) * model[at(layer, norm)]
        out |= {at(layer, norm): np.ones_like(model[at(layer, norm)]) for norm in _NORMS}
    out[NORM] = np.ones_like(model[NORM])
    return _like(model, out)


def rescaled(model: Mapping[str, Floats], seed: int, heads: Heads) -> Model:
    """Scale `up` against `down` neuron by neuron, and `v` against `o` dimension by dimension."""
    rng = np.random.default_rng(seed)
    out = dict(model)
    for layer in range(layers_of(model)):
        _scale_up(out, layer, np.exp(rng.normal(0.0, 0.5, len(model[at(layer, "mlp.up_proj")]))))
        _scale_values(out, layer, np.exp(rng.normal(0.0, 0.5, len(model[at(layer, "self_attn.v_proj")]))), heads)
    return _like(model, out)


def attention_rebased(model: Mapping[str, Floats], seed: int, heads: Heads) -> Model:
    """Turn and scale `q` against `k` within rotary pairs, and turn `v` against `o` within heads.

    A rotary embedding turns the plane of dimensions i and i + size / 2 of a head, so it commutes with one more turn of
    that plane, the same for a key head and all its query heads; and scores keep their value where `k` is divided by
    what `q` is multiplied with. `v` and `o` can take any orthogonal map between them.
    """
    rng = np.random.default_rng(seed)
    out = dict(model)
    group = heads.query // heads.key
    for layer in range(layers_of(model)):
        q, k, v, o = (_f64(model[at(layer, f"self_attn.{role}_proj")]) for role in "qkvo")
        size = len(k) // heads.key
        angle = rng.uniform(0.0, 2.0 * np.pi, (heads.key, size // 2))
        scale = np.exp(rng.normal(0.0, 0.3, (heads.key, size // 2)))
        turned_q = _turned(_by_head(q, heads.query), np.repeat(angle, group, 0), np.repeat(scale, group, 0))
        turned_k = _turned(_by_head(k, heads.key), angle, 1.0 / scale)
        maps = np.stack([_orthogonal(rng, size) for _ in range(heads.key)])
        turned_v = maps @ _by_head(v, heads.key)
        turned_o = np.repeat(maps, group, 0) @ _by_head(o.T, heads.query)
        for role, w in zip("qkv", (turned_q, turned_k, turned_v), strict=True):
            name = at(layer, f"self_attn.{role}_proj")
            out[name] = w.reshape(model[name].shape)
        out[at(layer, "self_attn.o_proj")] = turned_o.reshape(o.T.shape).T
    return _like(model, out)


def hidden_rotated(model: Mapping[str, Floats], seed: int, heads: Heads) -> Model:
    """Fold the gains, then turn the hidden space by a random orthogonal map."""
    turn = _orthogonal(np.random.default_rng(seed), model[EMBED].shape[1])
    return _like(model, _map_hidden(gains_folded(model, seed, heads), lambda w: _f64(w) @ turn))


def token_order(model: Mapping[str, Floats], seed: int) -> NDArray[np.int64]:
    """Return which token of the model each new id stands for."""
    return np.random.default_rng(seed).permutation(len(model[EMBED]))


def tokens_permuted(model: Mapping[str, Floats], seed: int, heads: Heads) -> Model:  # noqa: ARG001
    """Give the tokens other ids, as a tokenizer with its vocabulary renumbered would."""
    order = token_order(model, seed)
    return dict(model) | {name: model[name][order] for name in (EMBED, HEAD) if name in model}


def neurons_inserted(model: Mapping[str, Floats], seed: int, heads: Heads) -> Model:  # noqa: ARG001
    """Insert dead and duplicate neurons among the others, an eighth of each.

    A dead neuron has rows like those of a living one and writes nothing. A duplicate has its twin's rows, and the two
    share what it wrote.
    """
    rng = np.random.default_rng(seed)
    out = dict(model)
    for layer in range(layers_of(model)):
        gate, up, down = (_f64(model[at(layer, f"mlp.{role}_proj")]) for role in ("gate", "up", "down"))
        count, more = len(gate), max(1, len(gate) // 8)
        twins = rng.choice(count, more, replace=False)
        share = rng.uniform(0.2, 0.8, more)
        dead = [w[rng.integers(count, size=(more, w.shape[1])), np.arange(w.shape[1])] for w in (gate, up)]
        written = down.copy()
        written[:, twins] *= 1.0 - share
        order = np.argsort(np.concatenate([np.arange(count), rng.uniform(0, count, 2 * more)]), kind="stable")
        out[at(layer, "mlp.gate_proj")] = np.concatenate([gate, gate[twins], dead[0]])[order]
        out[at(layer, "mlp.up_proj")] = np.concatenate([up, up[twins], dead[1]])[order]
        columns = (written, down[:, twins] * share, np.zeros((len(down), more)))
        out[at(layer, "mlp.down_proj")] = np.concatenate(columns, axis=1)[:, order]
    return _like(model, out)


def everything(model: Mapping[str, Floats], seed: int, heads: Heads) -> Model:
    """Apply every disguise that leaves the number of neurons as it is, one after the other."""
    out = dict(model)
    for i, disguise in enumerate(_ALL_AT_ONCE):
        out = disguise(out, seed if disguise is tokens_permuted else seed + 1000 * i, heads)
    return out


_ALL_AT_ONCE: tuple[Disguise, ...] = (
    tokens_permuted, gains_folded, rescaled, attention_rebased, heads_permuted, neurons_permuted, signs_flipped,
    hidden_permuted, hidden_rotated,
)  # fmt: skip

DISGUISES: dict[str, Disguise] = {
    disguise.__name__.replace("_", "-"): disguise
    for disguise in (
        neurons_permuted, heads_permuted, hidden_permuted, signs_flipped, gains_folded, rescaled, attention_rebased,
        hidden_rotated, tokens_permuted, channel_0_swapped, neurons_inserted, everything,
    )
}  # fmt: skip
"""All of them, by name."""


def _f64(w: Floats) -> NDArray[np.float64]:
    return np.asarray(w, dtype=np.float64)


def _like(model: Mapping[str, Floats], out: Mapping[str, Floats]) -> Model:
    dtype = model[EMBED].dtype
    return {name: np.ascontiguousarray(w, dtype=dtype) for name, w in out.items()}


def _orthogonal(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Draw a uniformly distributed orthogonal matrix (F. Mezzadri, *Notices AMS* 54, 2007)."""
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return np.asarray(q * np.sign(np.diagonal(r)))


def _by_head(w: Floats, heads: int) -> Floats:
    return w.reshape(heads, len(w) // heads, -1)


def _turned(w: Floats, angle: Floats, scale: Floats) -> Floats:
    half = w.shape[1] // 2
    a, b = w[:, :half], w[:, half:]
    cosine, sine = (scale * np.cos(angle))[..., None], (scale * np.sin(angle))[..., None]
    return np.concatenate([a * cosine - b * sine, b * cosine + a * sine], axis=1)


def _map_hidden(model: Mapping[str, Floats], change: Callable[[Floats], Floats]) -> Model:
    """Apply a map to the rows of all that reads from the hidden space, and to the columns of what writes to it."""
    out = dict(model) | {name: change(model[name]) for name in (EMBED, HEAD) if name in model}
    for layer in range(layers_of(model)):
        out |= {at(layer, name): change(model[at(layer, name)]) for name in _READERS}
        out |= {at(layer, name): change(model[at(layer, name)].T).T for name in _WRITERS}
    return out


def _take_hidden(model: Mapping[str, Floats], order: NDArray[np.int64]) -> Model:
    out = _map_hidden(model, lambda w: w[:, order])
    norms = [NORM, *(at(layer, norm) for layer in range(layers_of(model)) for norm in _NORMS)]
    return _like(model, out | {name: model[name][order] for name in norms})


def _take_neurons(model: Model, layer: int, order: NDArray[np.int64]) -> None:
    for name in (at(layer, "mlp.gate_proj"), at(layer, "mlp.up_proj")):
        model[name] = model[name][order]
    name = at(layer, "mlp.down_proj")
    model[name] = np.ascontiguousarray(model[name][:, order])


def _scale_up(model: Model, layer: int, scale: Floats) -> None:
    up, down = at(layer, "mlp.up_proj"), at(layer, "mlp.down_proj")
    model[up] = _f64(model[up]) * scale[:, None]
    model[down] = _f64(model[down]) / scale


def _scale_values(model: Model, layer: int, scale: Floats, heads: Heads) -> None:
    v, o = at(layer, "self_attn.v_proj"), at(layer, "self_attn.o_proj")
    model[v] = _f64(model[v]) * scale[:, None]
    each = np.repeat(scale.reshape(heads.key, -1), heads.query // heads.key, axis=0).ravel()
    model[o] = _f64(model[o]) / each
