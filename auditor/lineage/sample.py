"""Which neurons are looked at, and what was read of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE_NEURONS = 32
"""Neurons sampled in each layer: at 7B shape a sketch of 17 MB, and one matched layer gives p = 1/32! = 4e-36."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NeuronSample:
    """Rows of `gate` and `up` of the same neurons in every layer of a model.

    Attributes
    ----------
    layers : tuple of int, length L
        Numbers; of experts that stand in one layer, each has that layer's.
    neurons : int
        Neurons in an MLP block of the model.
    index : ndarray of int, shape (n,)
        The neurons sampled.
    gate, up : ndarray of float, shape (L, n, d)
        `d` is the hidden size. Only the directions of rows are used.
    nonfinite : tuple of str
        Names of tensors in which a NaN or an infinity was sampled.
    """

    layers: tuple[int, ...]
    neurons: int
    index: NDArray[np.intp]
    gate: NDArray[np.floating]
    up: NDArray[np.floating]
    nonfinite: tuple[str, ...] = ()

    @property
    def hidden_size(self) -> int:
        """Length of a row."""
        return int(self.gate.shape[2])

    def take(self, neurons: slice) -> NeuronSample:
        """Return the sample of some of its neurons only."""
        return replace(self, index=self.index[neurons], gate=self.gate[:, neurons], up=self.up[:, neurons])

    def first(self, count: int) -> NeuronSample:
        """Return the sample of the first `count` neurons only."""
        return self.take(slice(count))

    def columns(self, start: int, stop: int) -> NeuronSample:
        """Return the sample of some columns of its rows only."""
        return replace(self, gate=self.gate[:, :, start:stop], up=self.up[:, :, start:stop])


def sample_index(neurons: int, *, count: int = SAMPLE_NEURONS, seed: int = 0) -> NDArray[np.intp]:
    """Choose the neurons to look at: one contiguous block, so that one range of bytes serves a tensor.

    The positions are public and depend only on the arguments; under the null any set of positions serves.

    Parameters
    ----------
    neurons : int
        Neurons in a block of the reference.
    count : int
        Neurons wanted; all of them where there are fewer.
    seed : int

    Returns
    -------
    ndarray of int, shape (min(count, neurons),), ascending

    Examples
    --------
    >>> sample_index(11008, count=4).tolist()
    [10014, 10015, 10016, 10017]
    """
    count = min(count, neurons)
    digest = hashlib.sha256(f"auditor neuron block, seed {seed}, of {neurons}".encode()).digest()
    start = int.from_bytes(digest[:8], "big") % (neurons - count + 1)
    return np.arange(start, start + count)
