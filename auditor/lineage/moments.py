"""What the weights of a model say of its hidden space, whatever the order, sign and scale of neurons, heads and tokens.

A function-preserving rewrite of a Llama turns the hidden space by Q, and permutes, scales and turns within it what
stands between two matrices. Sums over the things permuted, of products in which the scales cancel, keep nothing but
the turn: a matrix A becomes Q^T A Q.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from auditor.lineage.alignment import Invariants

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Units = NDArray[np.float32]

MOMENT_DIRECTIONS: Final = 256
"""Leading directions in which moments are kept: all of a small model; at width 4096, a deep sketch of some 20 MB."""

MOMENT_LAYERS: Final = 8
"""Layers that a frame is fitted to, spread over the model: enough to fix a rotation, and a share of a large model."""

NEURON_KINDS: Final = 3
"""Kinds of symmetric matrices of a layer: gate, up, down. The first of the general ones is of neurons, too."""

_PARTS: Final[tuple[str, ...]] = (
    "basis", "strength", "symmetric", "general", "means", "vocabulary", "token", "vocabulary_means",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Invariants of a model by layer, in the leading directions of its neurons.

    What a model does not have, or has in another shape, is all zero.

    Attributes
    ----------
    layers : tuple of int, length L
    basis : ndarray of float32, shape (d, k)
        Orthonormal columns, strongest first.
    strength : ndarray of float32, shape (k,)
        Second moment of all neurons along each.
    symmetric : ndarray of float32, shape (L, 3, k, k)
        Mean of y y^T over a layer's rows of gate, rows of up, columns of down, y being their unit coordinates.
    general : ndarray of float32, shape (L, 3, k, k)
        Mean of u d^T over a layer's neurons, u and d being unit row of up and unit column of down: neither a sign
        nor a scale that is moved between the two changes it. Sum of v o^T over the heads, and of q k^T: what a head
        reads and writes does not change when v and o, or rotary pairs of q and k, are turned and scaled.
    means : ndarray of float32, shape (L, k)
        Of the unit rows of gate.
    vocabulary : ndarray of float32, shape (2, k, k)
        Mean of e e^T over the tokens' unit embeddings; of h h^T over the unit rows of the head, final gain folded in.
    token : ndarray of float32, shape (k, k)
        Mean of e h^T over the tokens.
    vocabulary_means : ndarray of float32, shape (2, k)
        Of e and of h.
    """

    layers: tuple[int, ...]
    basis: Units
    strength: Units
    symmetric: Units
    general: Units
    means: Units
    vocabulary: Units
    token: Units
    vocabulary_means: Units

    def invariants(self, layers: Sequence[int], *, fitted: Sequence[bool], directions: int) -> Invariants:
        """Return the invariants of some layers, in order, and of the vocabulary, whitened.

        Parameters
        ----------
        layers : sequence of int
        fitted : sequence of bool
            Of each, whether its neurons count, or its attention alone.
        directions : int
            How many of the leading ones.
        """
        at = [self.layers.index(layer) for layer in layers]
        k = directions
        counts = np.asarray(fitted, dtype=np.float32)
        general = self.general[at, :, :k, :k]
        general[:, 0] *= counts[:, None, None]
        return Invariants(
            symmetric=_rows(self.symmetric[at, :, :k, :k] * counts[:, None, None, None], self.vocabulary[:, :k, :k]),
            general=_rows(general, self.token[None, :k, :k]),
            vectors=np.concatenate([self.means[at, :k] * counts[:, None], self.vocabulary_means[:, :k]]),
        ).whitened(self.strength[:k])

    def pooled(self, layers: Sequence[int], *, directions: int) -> Invariants:
        """Return invariants in which layers have no numbers: of each kind the mean over them, and the vocabulary."""
        each = self.invariants(layers, fitted=[True] * len(layers), directions=directions)
        k = directions
        flat = Invariants(
            symmetric=np.concatenate(
                [each.symmetric[:-2].reshape(len(layers), -1, k, k).mean(axis=0), each.symmetric[-2:]]
            ),
            general=np.concatenate([each.general[:-1].reshape(len(layers), -1, k, k).mean(axis=0), each.general[-1:]]),
            vectors=np.concatenate([each.vectors[:-2].mean(axis=0, keepdims=True), each.vectors[-2:]]),
        )
        return flat.whitened(np.ones(k, dtype=np.float32))

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return what a sketch stores: matrices as float16, after scaling to a root mean square of one."""
        out: dict[str, NDArray[np.generic]] = {"moments.layers": np.array(self.layers, dtype="<i4")}
        for name in _PARTS:
            values = getattr(self, name)
            if name == "strength":
                out[f"moments.{name}"] = values.astype("<f4")
                continue
            axes = tuple(range(values.ndim - (1 if name.endswith("means") else 2), values.ndim))
            size = np.sqrt((values.astype(np.float64) ** 2).mean(axis=axes, keepdims=True))
            scaled = values / np.where(size > 0.0, size, 1.0)
            out[f"moments.{name}"] = np.clip(scaled, -60_000.0, 60_000.0).astype("<f2")
        return out


def moments_from(arrays: Mapping[str, NDArray[np.float32]], *, hidden: int, sampled: tuple[int, ...]) -> Moments | None:
    """Read what `Moments.tensors` stored; None where there is nothing.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Tensors of a sketch by name.
    hidden : int
        Width of the reference.
    sampled : tuple of int
        Layers that the sketch has.

    Raises
    ------
    KeyError, ValueError
        When some are missing, or shapes or values cannot be.
    """
    if "moments.layers" not in arrays:
        return None
    layers = tuple(int(layer) for layer in arrays["moments.layers"])
    parts = {name: np.asarray(arrays[f"moments.{name}"], dtype=np.float32) for name in _PARTS}
    k, count = parts["strength"].size, len(layers)
    shapes = {
        "basis": (hidden, k),
        "strength": (k,),
        "symmetric": (count, 3, k, k),
        "general": (count, 3, k, k),
        "means": (count, k),
        "vocabulary": (2, k, k),
        "token": (k, k),
        "vocabulary_means": (2, k),
    }
    if not 0 < k <= min(hidden, MOMENT_DIRECTIONS) or not 0 < count == len(set(layers)) or not {*layers} <= {*sampled}:
        raise ValueError("moments: unknown layers or too many directions")
    for name, shape in shapes.items():
        if parts[name].shape != shape or not np.isfinite(parts[name]).all():
            raise ValueError(f"moments: {name} of another shape, or not finite")
    basis = parts.pop("basis") / np.float32(np.sqrt(hidden))
    return Moments(layers=layers, basis=basis, **parts)


def fitted_layers(layers: tuple[int, ...]) -> tuple[int, ...]:
    """Choose the layers whose neurons a frame is fitted to: every other one at most; the rest is left to be tested.

    Examples
    --------
    >>> fitted_layers((0, 1, 2, 3, 4))
    (0, 2, 4)
    """
    return spread(layers[:: 2 if len(layers) > 1 else 1], MOMENT_LAYERS)


def spread(layers: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Choose at most `count` layers, first and last among them.

    Examples
    --------
    >>> spread((0, 1, 2, 3, 4), 3)
    (0, 2, 4)
    """
    return tuple(layers[i] for i in np.unique(np.linspace(0, len(layers) - 1, count).round().astype(int)))


def _rows(by_layer: Units, more: Units) -> Units:
    return np.concatenate([by_layer.reshape(-1, *by_layer.shape[2:]), more])
