"""Takes the moments of a model: reads what they need, matrix by matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from auditor.errors import FileError
from auditor.lineage.moments import MOMENT_DIRECTIONS, NEURON_KINDS, Moments, fitted_layers, spread
from auditor.lineage.stats import unit_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from auditor.lineage.reader import ModelReader

    Units = NDArray[np.float32]

SMALL_WIDTH: Final = 1536
"""Width up to which a model is measured whole: every layer, and its directions exactly."""

_MOST_LAYERS = 64  # of a small model
_PASSES = 3
_NEURONS = 1 << 17  # of a layer; of more, as of hundreds of experts, up is not held against down
_ROWS_AT_ONCE = 4096
_KINDS = ("gate", "up", "down")
_VOCABULARY = ("embed", "head")


def moments_of(reader: ModelReader, *, every: bool = False) -> Moments:
    """Return the moments of a model, taken once.

    Parameters
    ----------
    reader : ModelReader
    every : bool
        Of every layer, up to a limit, where nobody knows which ones are wanted; so it always is of small models.

    Raises
    ------
    FileError
        When a matrix cannot be read or decoded.
    """
    layers = fitted_layers(reader.layers)
    if every or reader.shape[1] <= SMALL_WIDTH:
        layers = spread(reader.layers, _MOST_LAYERS)
    if reader.moments is None or not set(layers) <= set(reader.moments.layers):
        reader.moments = take_moments(reader, layers)
    return reader.moments


def take_moments(reader: ModelReader, layers: tuple[int, ...]) -> Moments:
    """Take the moments of some layers of a model; each matrix is read in blocks, some twice or more.

    Parameters
    ----------
    reader : ModelReader
    layers : tuple of int

    Raises
    ------
    FileError
        When a matrix cannot be read or decoded.
    """
    pooled = fitted_layers(reader.layers)
    basis = leading_directions(reader, pooled)
    k = basis.shape[1]
    symmetric, general = (np.zeros((len(layers), 3, k, k), dtype=np.float32) for _ in range(2))
    means = np.zeros((len(layers), k), dtype=np.float32)
    for i, layer in enumerate(layers):
        symmetric[i], general[i, 0], means[i] = _of_neurons(reader, layer, basis)
        with np.errstate(all="ignore"):  # weights that are not finite: their products are left out
            general[i, 1], general[i, 2] = _of_attention(reader, layer, basis)
    vocabulary, token, vocabulary_means = _of_vocabulary(reader, basis)
    taken = [i for i, layer in enumerate(layers) if layer in pooled] or list(range(len(layers)))
    values, vectors = np.linalg.eigh(symmetric[taken].mean(axis=(0, 1), dtype=np.float64))
    turn = np.ascontiguousarray(vectors[:, ::-1], dtype=np.float32)
    return Moments(
        layers=layers,
        basis=basis @ turn,
        strength=np.maximum(values[::-1], 0.0).astype(np.float32),
        symmetric=_turned(symmetric, turn),
        general=_turned(general, turn),
        means=means @ turn,
        vocabulary=_turned(vocabulary, turn),
        token=_turned(token, turn),
        vocabulary_means=vocabulary_means @ turn,
    )


def _turned(matrices: Units, turn: Units) -> Units:
    return np.asarray(turn.T @ matrices @ turn, dtype=np.float32)


def leading_directions(reader: ModelReader, layers: tuple[int, ...]) -> Units:
    """Return orthonormal columns that span the directions in which neurons are strongest, shape (d, k).

    Eigenvectors of the mean second moment, or near them: in a wide model by subspace iteration on gate and up of
    layers in turn. The start of that is drawn by a fixed seed; N. Halko, P. G. Martinsson, J. A. Tropp,
    *SIAM Review* 53, 2011, for how near a few passes come.

    Raises
    ------
    FileError
        When a matrix cannot be read or decoded.
    """
    width = reader.shape[1]
    k = min(MOMENT_DIRECTIONS, width)
    if width <= SMALL_WIDTH:
        pooled = np.zeros((width, width), dtype=np.float64)
        for layer in layers:
            for kind in _KINDS:
                total, count = np.zeros((width, width), dtype=np.float32), 0
                for units, usable in reader.matrix(layer, kind):
                    total += units.T @ units
                    count += int(usable.sum())
                pooled += total / max(1, count)
        return np.ascontiguousarray(np.linalg.eigh(pooled)[1][:, ::-1][:, :k], dtype=np.float32)
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((width, k + k // 4)))[0].astype(np.float32)
    for _ in range(_PASSES):
        image = np.zeros_like(basis)
        for i, layer in enumerate(layers):
            for units, _ in reader.matrix(layer, _KINDS[i % 2]):
                image += units.T @ (units @ basis)
        basis, within = np.linalg.qr(image)
    return np.ascontiguousarray(basis @ np.linalg.svd(within)[0][:, :k], dtype=np.float32)


def _of_neurons(reader: ModelReader, layer: int, basis: Units) -> tuple[Units, Units, Units]:
    """Second moments of gate, up and down (3, k, k), that of up with down (k, k), and the mean of gate (k,)."""
    k = basis.shape[1]
    second, mean = np.zeros((NEURON_KINDS, k, k), dtype=np.float32), np.zeros(k, dtype=np.float32)
    kept: dict[str, list[Units]] = {"up": [], "down": []}
    for i, kind in enumerate(_KINDS):
        count = 0
        for units, usable in reader.matrix(layer, kind):
            y = units @ basis
            second[i] += y.T @ y
            count += int(usable.sum())
            if kind == "gate":
                mean += y.sum(axis=0)
            elif count <= _NEURONS:
                kept[kind].append(y)
        second[i] /= np.float32(max(1, count))
        if kind == "gate":
            mean /= np.float32(max(1, count))
    up, down = (np.concatenate(parts) if parts else np.zeros((0, k), np.float32) for parts in kept.values())
    fits = len(up) == len(down) > 0
    return second, up.T @ down / np.float32(len(up)) if fits else np.zeros((k, k), np.float32), mean


def _of_attention(reader: ModelReader, layer: int, basis: Units) -> tuple[Units, Units]:
    """Sum v o^T, and q k^T, over heads, each (k, k); zero where the heads cannot be told."""
    zero: Units = np.zeros((basis.shape[1], basis.shape[1]), dtype=np.float32)
    parts = _attention_rows(reader, layer, basis)
    if parts is None:
        return zero, zero
    q, k, v, o = parts
    if len(q) != len(k):
        heads = reader.view.kv_heads(layer)
        if heads is None or len(k) % heads or len(q) % len(k):
            return zero, zero
        size = len(k) // heads
        # the sum over the query heads of each key head
        q, o = (rows.reshape(heads, len(rows) // len(k), size, -1).sum(axis=1).reshape(len(k), -1) for rows in (q, o))
    written, attended = v.T @ o, q.T @ k
    return (written if np.isfinite(written).all() else zero), (attended if np.isfinite(attended).all() else zero)


def _attention_rows(reader: ModelReader, layer: int, basis: Units) -> tuple[Units, Units, Units, Units] | None:
    """Rows of q, k and v, folded, and columns of o, each (n, k); None where one is missing or does not fit."""
    view, width = reader.view, len(basis)
    found = []
    try:
        norm = view.gain(layer, "attn_norm") if layer in view.layers("attn_norm") else np.ones(width, np.float32)
        for role in "qkvo":
            shape = view.tensor(layer, role).shape
            if len(shape) != 2 or shape[role != "o"] != width:
                return None
            if role == "o":
                found.append(_written(reader, layer, shape[1], basis))
                continue
            found.append(_projected(reader, layer, role, shape[0], basis * norm[:, None]))
    except (KeyError, FileError, ValueError):
        return None
    q, k, v, o = found
    return (q, k, v, o) if len(q) == len(o) and len(k) == len(v) else None


def _projected(reader: ModelReader, layer: int, role: str, count: int, basis: Units) -> Units:
    starts = range(0, count, _ROWS_AT_ONCE)
    return np.concatenate(
        [reader.view.rows(layer, role, np.arange(s, min(s + _ROWS_AT_ONCE, count))) @ basis for s in starts]
    )


def _written(reader: ModelReader, layer: int, count: int, basis: Units) -> Units:
    """Columns of o in the directions, shape (count, k)."""
    total = np.zeros((count, basis.shape[1]), dtype=np.float32)
    for start in range(0, len(basis), _ROWS_AT_ONCE):
        index = np.arange(start, min(start + _ROWS_AT_ONCE, len(basis)))
        total += reader.view.rows(layer, "o", index).T @ basis[index]
    return total


def _of_vocabulary(reader: ModelReader, basis: Units) -> tuple[Units, Units, Units]:
    """Second moments of embeddings and head (2, k, k), that of one with the other (k, k), and means (2, k)."""
    k = basis.shape[1]
    second, mean = np.zeros((2, k, k), dtype=np.float32), np.zeros((2, k), dtype=np.float32)
    token = np.zeros((k, k), dtype=np.float32)
    tables = [_table(reader, role) for role in _VOCABULARY]
    counts = [count for _, count, _ in tables]
    for start in range(0, max(counts), _ROWS_AT_ONCE):
        parts = []
        for i, (role, count, gain) in enumerate(tables):
            index = np.arange(start, max(start, min(start + _ROWS_AT_ONCE, count)))
            y = np.zeros((0, k), np.float32)
            if index.size:
                y = unit_rows(reader.view.rows(None, role, index) * gain)[0] @ basis
            second[i] += y.T @ y / np.float32(max(1, count))
            mean[i] += y.sum(axis=0) / np.float32(max(1, count))
            parts.append(y)
        if counts[0] == counts[1]:
            token += parts[0].T @ parts[1] / np.float32(counts[0])
    return second, token, mean


def _table(reader: ModelReader, role: str) -> tuple[str, int, Units]:
    """Where the rows of a vocabulary are, how many, and their gain; a tied head is the embeddings."""
    view, width = reader.view, reader.shape[1]
    gain = np.ones(width, dtype=np.float32)
    at = role
    try:
        if role == "head":
            at = "head" if any(layer is None and name == "head" for layer, name, _ in view.places()) else "embed"
            gain = view.gain(None, "final_norm")
        shape = view.tensor(None, at).shape
    except (KeyError, FileError):
        return at, 0, gain
    fits = len(shape) == 2 and shape[1] == width == gain.size
    return at, shape[0] if fits else 0, gain
