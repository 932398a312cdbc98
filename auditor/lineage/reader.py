"""Reads what the tests want of a model, each part once, however many references it is held against."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from auditor.errors import FileError, SizeMismatch
from auditor.lineage.sample import NeuronSample
from auditor.lineage.stats import unit_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from auditor.lineage.moments import Moments
    from auditor.model import Block, ModelView

    Rows = NDArray[np.float32]

_ROWS_AT_ONCE = 4096  # of a whole matrix: 64 MB at width 4096


def mlp_shape(view: ModelView) -> tuple[int, int]:
    """Return (neurons, hidden size) of a model's MLP blocks; of experts, those of the first.

    Raises
    ------
    SizeMismatch
        When blocks differ in hidden size, dense blocks in shape, or `gate` and `up` do.
    """
    first: tuple[int, ...] | None = None
    for block in view.blocks():
        shapes = []
        for kind in ("gate", "up"):
            entry = view.tensor(block.layer, block.role(kind))
            first = first or entry.shape
            shapes.append(entry.shape)
            same = entry.shape == first if block.expert is None else entry.shape[1:] == first[1:]
            if len(entry.shape) != 2 or not same or entry.shape != shapes[0] or 0 in entry.shape:
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


class ModelReader:
    """What the tests want of one model.

    Parameters
    ----------
    view : ModelView
    """

    def __init__(self, view: ModelView) -> None:
        self.view = view
        self.blocks = view.blocks()
        self._place = {block: i for i, block in enumerate(self.blocks)}
        self._samples: dict[tuple[bytes, str], Rows] = {}  # of all blocks; filled as far as was read
        self._have: dict[tuple[bytes, Block, str], int] = {}
        self._nonfinite: set[str] = set()
        self._gains: dict[int, Rows] = {}
        self._tokens: dict[bytes, Rows] = {}
        self.moments: Moments | None = None  # taken by `moments_of`

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Neurons of a block, and hidden size; raises as `mlp_shape`."""
        return mlp_shape(self.view)

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """Numbers of the layers that have an MLP block, ascending."""
        return tuple(dict.fromkeys(block.layer for block in self.blocks))

    def blocks_with(self, neuron: int) -> tuple[Block, ...]:
        """Return the blocks that have a neuron of this number."""
        return tuple(b for b in self.blocks if self.view.tensor(b.layer, b.role("gate")).shape[0] > neuron)

    def sample(self, index: NDArray[np.intp], blocks: tuple[Block, ...], *, count: int | None = None) -> NeuronSample:
        """Read neurons of some blocks.

        Parameters
        ----------
        index : ndarray of int, shape (n,)
            Below the number of neurons of each block.
        blocks : tuple of Block
        count : int, optional
            Only the first so many of `index`; later reads of more fetch only what is missing.

        Raises
        ------
        FileError
            When a tensor cannot be read or decoded.
        """
        count = len(index) if count is None else count
        key = index.tobytes()
        neurons, hidden = self.shape
        lacking: dict[int, list[tuple[Block, str]]] = defaultdict(list)
        for block in blocks:
            for kind in ("gate", "up"):
                have = self._have.get((key, block, kind), 0)
                if have < count:
                    lacking[have].append((block, kind))
        for have, group in lacking.items():
            places = [(block.layer, block.role("gate" if kind == "gate" else "up")) for block, kind in group]
            for (block, kind), place, rows in zip(
                group, places, self.view.rows_of(places, index[have:count]), strict=True
            ):
                if not np.isfinite(rows).all():
                    self._nonfinite.add(self.view.tensor(*place).name)
                if (key, kind) not in self._samples:
                    self._samples[key, kind] = np.empty((len(self.blocks), len(index), hidden), dtype=np.float32)
                self._samples[key, kind][self._place[block], have:count] = rows
                self._have[key, block, kind] = count
        at = [self._place[block] for block in blocks]
        gate, up = (
            held[:, :count] if blocks == self.blocks else held[at, :count]
            for held in (self._samples[key, "gate"], self._samples[key, "up"])
        )
        return NeuronSample(
            layers=tuple(block.layer for block in blocks),
            neurons=neurons,
            index=index[:count],
            gate=gate,
            up=up,
            nonfinite=tuple(sorted(self._nonfinite)),
        )

    def band(self, start: int, stop: int) -> ModelReader | None:
        """Return a reader of some columns of gate and up alone; see `ModelView.band`."""
        view = self.view.band(start, stop)
        return None if view is None else ModelReader(view)

    def folded(self, sample: NeuronSample) -> NeuronSample:
        """Multiply a sample's rows by the gains of the norm before them, which a rewrite may have folded in.

        Raises
        ------
        FileError
            When a gain cannot be read or decoded.
        """
        gains = np.stack([self.gain(layer) for layer in sample.layers])[:, None, :]
        return replace(sample, gate=sample.gate * gains, up=sample.up * gains)

    def gain(self, layer: int) -> Rows:
        """Gains of the norm before a layer's MLP, shape (d,); all one where it has none, or not one of that width."""
        if layer not in self._gains:
            width = self.shape[1]
            found = self.view.gain(layer, "mlp_norm") if layer in self.view.layers("mlp_norm") else np.ones(width)
            fits = found.shape == (width,) and bool(np.isfinite(found).all())
            self._gains[layer] = (found if fits else np.ones(width)).astype(np.float32)
        return self._gains[layer]

    def vocabulary(self) -> int:
        """Rows of the token embeddings; 0 where there are none."""
        try:
            shape = self.view.tensor(None, "embed").shape
        except (KeyError, FileError):
            return 0
        return shape[0] if len(shape) == 2 and shape[1] == self.shape[1] else 0

    def tokens(self, ids: NDArray[np.intp]) -> Rows:
        """Embeddings of tokens, shape (k, d).

        Raises
        ------
        FileError
            When they cannot be read or decoded.
        """
        key = ids.tobytes()
        if key not in self._tokens:
            self._tokens[key] = self.view.rows(None, "embed", ids)
        return self._tokens[key]

    def neurons(self, layer: int) -> tuple[Rows, Rows]:
        """Gate and up rows of all neurons of a layer, of all its experts, folded, as unit rows: each (m, d).

        Raises
        ------
        FileError
            When they cannot be read or decoded.
        """
        gate, up = (np.concatenate([part for part, _ in self.matrix(layer, kind)]) for kind in ("gate", "up"))
        return gate, up

    def matrix(self, layer: int, kind: str) -> Iterator[tuple[Rows, NDArray[np.bool_]]]:
        """Yield unit vectors of the hidden space in blocks: rows of gate or up, folded, or columns of down.

        Yields
        ------
        units : ndarray of float32, shape (b, d)
            Unusable ones are all zero.
        usable : ndarray of bool, shape (b,)

        Raises
        ------
        FileError
            When they cannot be read or decoded.
        """
        for block in self.blocks:
            if block.layer != layer:
                continue
            if kind == "down":
                role = block.role("down")
                if role in _roles(self.view, layer):
                    whole = self.view.rows(layer, role, np.arange(self.view.tensor(layer, role).shape[0]))
                    yield unit_rows(np.ascontiguousarray(whole.T))
                continue
            role = block.role("gate" if kind == "gate" else "up")
            count = self.view.tensor(layer, role).shape[0]
            for start in range(0, count, _ROWS_AT_ONCE):
                index = np.arange(start, min(start + _ROWS_AT_ONCE, count))
                yield unit_rows(self.view.rows(layer, role, index) * self.gain(layer))


def _roles(view: ModelView, layer: int) -> frozenset[str]:
    return frozenset(role for at, role, _ in view.places() if at == layer)
