"""How the neurons of a model are spread over the hidden space, layer by layer, whatever their order and scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from auditor.lineage.reader import ModelReader

    Units = NDArray[np.float32]

MOMENT_DIRECTIONS: Final = 256
"""Leading directions in which moments are kept: all of a small model; at width 4096, a deep sketch of some 25 MB."""

MOMENT_LAYERS: Final = 16
"""Layers of which moments are taken, spread over the model: enough to fix a rotation, and a share of a large model."""

KINDS: Final[tuple[str, ...]] = ("gate", "up", "down")

_EXACT_WIDTH = 1536  # up to here the pooled moment is made and decomposed whole
_PASSES = 3
_POOLED_LAYERS = 4  # of a wider model, for the leading directions alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Second moments of unit vectors, in the leading directions of all of them together.

    Attributes
    ----------
    layers : tuple of int, length L
    basis : ndarray of float32, shape (d, k)
        Orthonormal columns, strongest first.
    matrices : ndarray of float32, shape (L, 3, k, k)
        Mean of y y^T over a layer's rows of gate, rows of up, columns of down, y being their coordinates.
    """

    layers: tuple[int, ...]
    basis: Units
    matrices: Units

    def pairs(self, other: Moments, layer_map: dict[int, int]) -> tuple[Units, Units]:
        """Return moments that belong together, both (a, k, k): of our layers, and of those of `other` they map to."""
        k = min(self.basis.shape[1], other.basis.shape[1])
        ours, theirs = [], []
        for layer, match in layer_map.items():
            ours.append(self.matrices[self.layers.index(layer), :, :k, :k])
            theirs.append(other.matrices[other.layers.index(match), :, :k, :k])
        return np.concatenate(ours), np.concatenate(theirs)


def moment_layers(layers: tuple[int, ...]) -> tuple[int, ...]:
    """Choose the layers whose moments are taken: every other one at most, so that the rest is left to be tested."""
    few = layers[:: 2 if len(layers) > 1 else 1]
    return tuple(few[i] for i in np.unique(np.linspace(0, len(few) - 1, MOMENT_LAYERS).round().astype(int)))


def moments_of(reader: ModelReader) -> Moments:
    """Return the moments of a model, taken once.

    Raises
    ------
    FileError
        When a matrix cannot be read or decoded.
    """
    if reader.moments is None:
        reader.moments = second_moments(reader, moment_layers(reader.layers))
    return reader.moments


def second_moments(reader: ModelReader, layers: tuple[int, ...]) -> Moments:
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
    width = reader.shape[1]
    k = min(MOMENT_DIRECTIONS, width)
    basis = _leading(reader, layers, width, k)
    matrices = np.zeros((len(layers), len(KINDS), k, k), dtype=np.float32)
    for i, layer in enumerate(layers):
        for j, kind in enumerate(KINDS):
            count = 0
            for units, usable in reader.matrix(layer, kind):
                y = units @ basis
                matrices[i, j] += y.T @ y
                count += int(usable.sum())
            matrices[i, j] /= max(1, count)
    return Moments(layers=layers, basis=basis, matrices=matrices)


def _leading(reader: ModelReader, layers: tuple[int, ...], width: int, k: int) -> Units:
    """Leading eigenvectors of the pooled moment, shape (width, k): exact, or by subspace iteration in a wide model.

    The start of the iteration is drawn by a fixed seed; N. Halko, P. G. Martinsson, J. A. Tropp, *SIAM Review* 53,
    2011, for how near a few passes come.
    """
    if width <= _EXACT_WIDTH:
        pooled = np.zeros((width, width), dtype=np.float64)
        for layer in layers:
            for kind in KINDS:
                total, count = np.zeros((width, width), dtype=np.float32), 0
                for units, usable in reader.matrix(layer, kind):
                    total += units.T @ units
                    count += int(usable.sum())
                pooled += total / max(1, count)
        return np.ascontiguousarray(np.linalg.eigh(pooled)[1][:, ::-1][:, :k], dtype=np.float32)
    few = [layers[i] for i in np.unique(np.linspace(0, len(layers) - 1, _POOLED_LAYERS).round().astype(int))]
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((width, k + k // 4)))[0].astype(np.float32)
    for _ in range(_PASSES):
        image = np.zeros_like(basis)
        for layer in few:
            for kind in ("gate", "up"):
                for units, _ in reader.matrix(layer, kind):
                    image += units.T @ (units @ basis)
        basis, within = np.linalg.qr(image)
    strongest = np.linalg.svd(within)[0][:, :k]
    return np.ascontiguousarray(basis @ strongest, dtype=np.float32)
