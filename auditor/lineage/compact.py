r"""A kilobyte of a model, enough to find its relatives among millions and to test them exactly.

Of some layers and the first sampled neurons, every row of `gate` and `up` is kept as the signs of its products with 64
fixed random vectors of signs, with its length. Rows at cosine c agree in a sign with probability
:math:`1 - \arccos(c) / \pi` (M. S. Charikar, *STOC* 2002), so the share of equal bits of two models, in place, tells
relatives: at row cosine .5 it is .667, and 8,192 bits of unrelated ones stay within .017 of .5 (three deviations). That
picks candidates. The verdict on one is the exact test of rung 1 on the signs as rows: a function of the rows does not
break the symmetry of neurons, so the p-value is exact whatever the signs lose, and only power is lost.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from auditor.errors import BadReference, FileError
from auditor.lineage.aligned import aligned_neurons
from auditor.lineage.looks import FIRST_LAYERS, spread_blocks
from auditor.lineage.sample import NeuronSample, sample_index
from auditor.lineage.stats import bonferroni

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from auditor.lineage.reader import ModelReader

BITS: Final = 64
"""Signs kept of a row."""

NEURONS: Final = 16
"""Of a layer: the first of those that a sketch samples, so that a scan has read them already."""

_AT_ONCE: Final = 8192  # models whose signs are compared at once: 8 MB of them
_MAGIC: Final = b"acp1"
_HEAD: Final = struct.Struct("<4sIIHH")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactSample:
    """What is kept of a model.

    Attributes
    ----------
    hidden_size, neurons : int
        Of an MLP block. Only models that have both in common are compared.
    layers : tuple of int, length L
    signs : ndarray of uint8, shape (L, n, 2, BITS / 8)
        Of gate and up.
    lengths : ndarray of float16, shape (L, n, 2)
        Of the rows, relative to the longest of each layer and matrix; 0 for a row that is unusable.
    """

    hidden_size: int
    neurons: int
    layers: tuple[int, ...]
    signs: NDArray[np.uint8]
    lengths: NDArray[np.float16]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """What models must have in common to be compared: hidden size, neurons of a block, and of these, layers."""
        return self.hidden_size, self.neurons, self.signs.shape[1], len(self.layers)

    def as_sample(self) -> NeuronSample:
        """Return the signs as rows of a sample, at the lengths of the rows that they were taken of."""
        signs = np.unpackbits(self.signs, axis=-1).astype(np.float32) * 2 - 1
        rows = signs * self.lengths[..., None].astype(np.float32)
        index = sample_index(self.neurons)[: self.signs.shape[1]]
        return NeuronSample(layers=self.layers, neurons=self.neurons, index=index, gate=rows[:, :, 0], up=rows[:, :, 1])

    def to_bytes(self) -> bytes:
        """Write it down: some 1.4 KB for four layers."""
        head = _HEAD.pack(_MAGIC, self.hidden_size, self.neurons, len(self.layers), self.signs.shape[1])
        layers = np.asarray(self.layers, "<u4").tobytes()
        return head + layers + self.signs.tobytes() + self.lengths.astype("<f2").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> CompactSample:
        """Read what `to_bytes` wrote.

        Raises
        ------
        BadReference
            When it is anything else.
        """
        if len(data) < _HEAD.size or data[:4] != _MAGIC:
            raise BadReference("no compact sample")
        _, hidden, neurons, layers, n = _HEAD.unpack_from(data)
        sizes = 4 * layers, layers * n * 2 * (BITS // 8), layers * n * 2 * 2
        if len(data) != _HEAD.size + sum(sizes) or not 0 < n <= neurons or not hidden or not layers:
            raise BadReference("a compact sample of another size than it says")
        at = _HEAD.size
        numbers = np.frombuffer(data, "<u4", layers, at)
        signs = np.frombuffer(data, np.uint8, sizes[1], at + sizes[0]).reshape(layers, n, 2, BITS // 8)
        lengths = np.frombuffer(data, "<f2", layers * n * 2, at + sizes[0] + sizes[1]).reshape(layers, n, 2)
        if not np.isfinite(lengths).all() or (lengths < 0).any():
            raise BadReference("a compact sample with lengths that are none")
        return cls(
            hidden_size=hidden,
            neurons=neurons,
            layers=tuple(int(layer) for layer in numbers),
            signs=signs,
            lengths=lengths.astype(np.float16),
        )


def compact_sample(reader: ModelReader) -> CompactSample | None:
    """Take the sample of a model; None where it has no MLP with a gate, or not enough neurons to test.

    Reads what the first look at a model of this shape reads, and nothing that was read before.

    Raises
    ------
    FileError
        When rows cannot be read or decoded.
    """
    try:
        neurons, hidden = reader.shape
    except FileError:
        return None
    index = sample_index(neurons)
    if len(index) < NEURONS:
        return None
    blocks = spread_blocks(reader.blocks_with(int(index[-1])), FIRST_LAYERS)
    if not blocks:
        return None
    sample = reader.sample(index, blocks, count=NEURONS)
    rows = np.stack([sample.gate, sample.up], axis=2).astype(np.float64)
    rows[~np.isfinite(rows).all(axis=-1)] = 0.0
    lengths = np.sqrt((rows**2).sum(axis=-1))
    longest = lengths.max(axis=1, keepdims=True)
    relative = np.divide(lengths, longest, out=np.zeros_like(lengths), where=longest > 0)
    signs = np.greater(rows @ _directions(hidden), 0.0)
    return CompactSample(
        hidden_size=hidden,
        neurons=neurons,
        layers=sample.layers,
        signs=np.packbits(signs, axis=-1),
        lengths=np.maximum(relative, np.where(lengths > 0, 1e-4, 0.0)).astype(np.float16),
    )


class Relative(NamedTuple):
    """A model that another one shares descent with, as far as their compact samples tell.

    Attributes
    ----------
    place : int
        Of it in the index.
    log10_p : float
        Exact, corrected for every model of that shape.
    agreement : float
        Share of equal signs, in place.
    cosine : float
        That such a share of equal signs comes of: an estimate.
    """

    place: int
    log10_p: float
    agreement: float
    cosine: float


class CompactIndex:
    """Compact samples by shape, one after another in memory: a gigabyte and a half holds a million.

    Looking a model up compares its signs with those of every model of its shape, in place: a pass over memory, with
    no structure to keep, to tune or to miss something. The nearest few are tested.
    """

    def __init__(self, samples: Iterable[CompactSample] = ()) -> None:
        self._shelves: dict[tuple[int, int, int, int], _Shelf] = {}
        self._count = 0
        for sample in samples:
            self.add(sample)

    def __len__(self) -> int:
        return self._count

    def add(self, sample: CompactSample) -> int:
        """Add a sample; return its place, counted from 0 over all shapes."""
        shelf = self._shelves.setdefault(sample.shape, _Shelf(sample.signs.size))
        shelf.put(self._count, sample)
        self._count += 1
        return self._count - 1

    def nearest(self, sample: CompactSample, *, at_most: int = 8) -> list[tuple[int, CompactSample, float]]:
        """Return the samples of the same shape with most equal signs in place: place, sample and that share."""
        shelf = self._shelves.get(sample.shape)
        if shelf is None:
            return []
        share = shelf.agreement(sample)
        return [(*shelf.held[i], float(share[i])) for i in np.argsort(-share, kind="stable")[:at_most]]

    def relatives(self, sample: CompactSample, *, at_most: int = 8, least: float = 0.0) -> list[Relative]:
        """Test the nearest samples; return them with their p-values, the most alike first.

        Corrected for all samples of the shape: the nearest are chosen by what is then tested.

        Parameters
        ----------
        sample : CompactSample
        at_most : int
            Samples to test.
        least : float
            Share of equal signs below which none is: unrelated ones have .5, within .017 (three deviations).
        """
        tests = len(self._shelves[sample.shape].held) if sample.shape in self._shelves else 0
        rows = sample.as_sample()
        out = []
        for place, other, share in self.nearest(sample, at_most=at_most):
            if share < least:
                break
            found = aligned_neurons(other.as_sample(), rows)
            log10_p = 0.0 if found.sorted_by_size else bonferroni(found.log10_p, tests)
            cosine = float(np.cos(np.pi * (1.0 - share)))
            out.append(Relative(place=place, log10_p=log10_p, agreement=share, cosine=cosine))
        return out


class _Shelf:
    """Samples of one shape, their signs side by side."""

    def __init__(self, size: int) -> None:
        self.held: list[tuple[int, CompactSample]] = []
        self._signs = np.empty((16, size), np.uint8)

    def put(self, place: int, sample: CompactSample) -> None:
        if len(self.held) == len(self._signs):
            self._signs = np.concatenate([self._signs, np.empty_like(self._signs)])
        self._signs[len(self.held)] = sample.signs.reshape(-1)
        self.held.append((place, sample))

    def agreement(self, sample: CompactSample) -> NDArray[np.float64]:
        """Return the share of equal signs with each sample, shape (n,)."""
        own = sample.signs.reshape(-1).view(np.uint64)
        signs = self._signs[: len(self.held)].view(np.uint64)
        differing = np.empty(len(signs), np.int64)
        for start in range(0, len(signs), _AT_ONCE):
            block = np.s_[start : start + _AT_ONCE]
            differing[block] = np.bitwise_count(signs[block] ^ own).sum(axis=1, dtype=np.int64)
        return 1.0 - differing / (8 * sample.signs.size)


@cache
def _directions(width: int) -> NDArray[np.float64]:
    """Return the fixed vectors of signs, shape (width, BITS), the same everywhere and for ever."""
    data = hashlib.shake_128(f"auditor compact sample, {BITS} signs of width {width}".encode()).digest(
        width * BITS // 8
    )
    return np.unpackbits(np.frombuffer(data, np.uint8)).reshape(width, BITS).astype(np.float64) * 2 - 1
