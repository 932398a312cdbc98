"""Which neurons are looked at, and what was read of them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from auditor.errors import SizeMismatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from auditor.model import ModelView

SAMPLE_NEURONS = 32
"""Neurons sampled in each layer: at 7B shape a sketch of 17 MB, and one matched layer gives p = 1/32! = 4e-36."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NeuronSample:
    """Rows of `gate` and `up` of the same neurons in every layer of a model.

    Attributes
    ----------
    layers : tuple of int, length L
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

    def first(self, count: int) -> NeuronSample:
        """Return the sample of the first `count` neurons only."""
        return NeuronSample(
            layers=self.layers,
            neurons=self.neurons,
            index=self.index[:count],
            gate=self.gate[:, :count],
            up=self.up[:, :count],
            nonfinite=self.nonfinite,
        )


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


def mlp_shape(view: ModelView) -> tuple[int, int]:
    """Return (neurons, hidden size) of a model's MLP blocks.

    Raises
    ------
    SizeMismatch
        When its blocks differ in shape, or `gate` and `up` do.
    """
    first: tuple[int, ...] | None = None
    for layer in view.layers("gate", "up"):
        for role in ("gate", "up"):
            entry = view.tensor(layer, role)
            first = first or entry.shape
            if len(entry.shape) != 2 or entry.shape != first or 0 in entry.shape:
                raise SizeMismatch(
                    file=entry.file,
                    field=f"shape of {entry.name}",
                    problem="MLP blocks of several shapes, or not matrices",
                    actual=entry.shape,
                    limit=first,
                )
    if first is None:
        raise SizeMismatch(file=view.container.files[0], field="model", problem="no layer has gate and up")
    return first[0], first[1]


class SampleReader:
    """Reads the sampled neurons of a model, each row once, however often and for however many references it is asked.

    Parameters
    ----------
    view : ModelView
    """

    def __init__(self, view: ModelView) -> None:
        self.view = view
        self._layers = view.layers("gate", "up")
        self._blocks: dict[tuple[bytes, str], NDArray[np.float32]] = {}  # of all layers; filled as far as was read
        self._have: dict[tuple[bytes, int, str], int] = {}
        self._nonfinite: set[str] = set()

    def read(self, index: NDArray[np.intp], layers: tuple[int, ...], *, count: int | None = None) -> NeuronSample:
        """Read neurons of some layers.

        Parameters
        ----------
        index : ndarray of int, shape (n,)
            Below the number of neurons of the view.
        layers : tuple of int
            With `gate` and `up`.
        count : int, optional
            Only the first so many of `index`; later reads of more fetch only what is missing.

        Raises
        ------
        FileError
            When a tensor cannot be read or decoded.
        """
        count = len(index) if count is None else count
        key = index.tobytes()
        neurons, hidden = mlp_shape(self.view)
        lacking: dict[int, list[tuple[int, str]]] = defaultdict(list)
        for layer in layers:
            for role in ("gate", "up"):
                have = self._have.get((key, layer, role), 0)
                if have < count:
                    lacking[have].append((layer, role))
        for have, group in lacking.items():
            for (layer, role), rows in zip(group, self.view.rows_of(group, index[have:count]), strict=True):
                if not np.isfinite(rows).all():
                    self._nonfinite.add(self.view.tensor(layer, role).name)
                if (key, role) not in self._blocks:
                    self._blocks[key, role] = np.empty((len(self._layers), len(index), hidden), dtype=np.float32)
                self._blocks[key, role][self._layers.index(layer), have:count] = rows
                self._have[key, layer, role] = count
        place = [self._layers.index(layer) for layer in layers]
        gate, up = (
            block[:, :count] if layers == self._layers else block[place, :count]
            for block in (self._blocks[key, "gate"], self._blocks[key, "up"])
        )
        return NeuronSample(
            layers=layers,
            neurons=neurons,
            index=index[:count],
            gate=gate,
            up=up,
            nonfinite=tuple(sorted(self._nonfinite)),
        )


def read_sample(view: ModelView, index: NDArray[np.intp]) -> NeuronSample:
    """Read the sampled neurons of every layer of a model.

    Parameters
    ----------
    view : ModelView
    index : ndarray of int, shape (n,)
        Below the number of neurons of the view.

    Raises
    ------
    FileError
        When a tensor cannot be read or decoded.
    """
    return SampleReader(view).read(index, view.layers("gate", "up"))
