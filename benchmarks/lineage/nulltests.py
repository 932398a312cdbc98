"""The tests of the ladder on many draws at once: what a thousand scans of unrelated models would have come to."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from draws import Pair

from auditor.lineage.aligned import COMBINATIONS, TESTS, aligned_neurons, combine_layers, exchanges
from auditor.lineage.embeddings import shared_embeddings
from auditor.lineage.frames import Frame, matched_frame
from auditor.lineage.sample import NeuronSample
from auditor.lineage.searched import search
from auditor.lineage.stats import bonferroni, fixed_points, log10_fixed_point_tail, unit_rows
from auditor.lineage.tails import log10_binomial_tail, log10_swap_tail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]
    Rows = NDArray[np.float32]
    Sides = tuple[tuple[Rows, Rows], tuple[Rows, Rows]]

NEURONS = 16
"""Of one draw in order: as many as the first look reads."""

QUERIES = 32
"""Neurons of one draw that search: as many as a sketch holds of a layer."""

NEVER = -300.0
"""log10 of a probability of zero."""

_AT_ONCE = 512  # draws whose matchings are found together
_CHECKED = 10  # draws that are also given to the auditor itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """p-values of one test on one kind of null.

    Attributes
    ----------
    test : str
    log10_p : ndarray of float, shape (draws,)
    below : ndarray of float, shape (draws,), or None
        Of counts: log10 P(K > k).
    mean, expected : float or None
        Of the count, seen and under the null.
    used : bool
        The auditor goes by it.
    """

    test: str
    log10_p: Floats
    below: Floats | None = None
    mean: float | None = None
    expected: float | None = None
    used: bool = True


def in_order(
    pairs: Iterator[tuple[Pair, Frame]], count: int, *, signed_up: bool, shuffle: np.random.Generator | None
) -> list[Drawn]:
    """Draw the tests of neurons in order: groups of neurons of the same places in both models.

    Parameters
    ----------
    pairs : iterator of (Pair, Frame)
        With as many layers in reference and target.
    count : int
        Draws of the whole test; of one pair of layers there are more.
    signed_up : bool
        See `aligned_neurons`.
    shuffle : Generator or None
        Groups are drawn from all places; without one they are neighbours.
    """
    fixed: list[Ints] = []
    usable: list[Ints] = []
    swaps: list[float] = []
    whole: list[float] = []
    draws = itertools.islice(_groups(pairs, shuffle), count)
    while batch := list(itertools.islice(draws, _AT_ONCE)):
        reference, target = (
            (_stack([draw[side][0] for draw in batch]), _stack([draw[side][1] for draw in batch])) for side in (0, 1)
        )
        similarity, ok = _similarities((reference, target), signed_up=signed_up)
        k = fixed_points(similarity.reshape(-1, NEURONS, NEURONS), ok.reshape(-1, NEURONS)).reshape(ok.shape[:3])
        n = ok.sum(axis=3)
        log10_p = _tail(n, k)
        numbers = tuple(range(k.shape[1]))
        fixed.append(k.ravel())
        usable.append(n.ravel())
        for g, sides in enumerate(batch):
            swap = log10_swap_tail(np.concatenate([exchanges(similarity[g, i, i], ok[g, i, i]) for i in numbers]))
            swaps.append(swap)
            whole.append(bonferroni(min(combine_layers(log10_p[g], numbers, numbers), swap), TESTS))
            if len(whole) <= _CHECKED:
                _same_as_shipped(sides, whole[-1], signed_up=signed_up)
    counts, of = np.concatenate(fixed), np.concatenate(usable)
    one = f"fixed points of {NEURONS}, a pair of layers (exact)"
    return [
        Drawn(
            test=one, log10_p=_tail(of, counts), below=_tail(of, counts + 1), mean=float(counts.mean()), expected=1.0
        ),
        Drawn(test="exchanges, layers in place (a bound)", log10_p=np.array(swaps)),
        Drawn(test=f"over layers: the better of both, x {TESTS} (ways x {COMBINATIONS})", log10_p=np.array(whole)),
    ]


def _groups(pairs: Iterator[tuple[Pair, Frame]], shuffle: np.random.Generator | None) -> Iterator[Sides]:
    """Yield rows of some neurons, in the frame: of reference and target, gate and up, each (layers, n, k)."""
    for pair, frame in pairs:
        whole = framed(pair, frame)
        places = np.arange(min(whole[0][0].shape[1], whole[1][0].shape[1]))
        places = places if shuffle is None else shuffle.permutation(places)
        for group in places[: places.size // NEURONS * NEURONS].reshape(-1, NEURONS):
            (a, b), (c, d) = whole
            yield (a[:, group], b[:, group]), (c[:, group], d[:, group])


def _stack(rows: list[Rows]) -> Rows:
    """Stack rows of draws, (layers, n, k) each; frames of fewer coordinates are padded, which changes no cosine."""
    width = max(part.shape[-1] for part in rows)
    lacking = [width - part.shape[-1] for part in rows]
    if any(lacking):
        rows = [np.pad(part, ((0, 0), (0, 0), (0, more))) for part, more in zip(rows, lacking, strict=True)]
    return np.stack(rows, axis=1)


def framed(pair: Pair, frame: Frame) -> Sides:
    """Write both models in a frame."""
    (a, b), (c, d) = pair.reference, pair.target
    return (frame.of_reference(a), frame.of_reference(b)), (frame.of_target(c), frame.of_target(d))


def _similarities(sides: Sides, *, signed_up: bool) -> tuple[Floats, Bools]:
    """Similarities of all pairs of layers in every draw, (g, r, t, n, n), and usable places, (g, r, t, n)."""
    (gate, up), (their_gate, their_up) = ([unit_rows(rows)[0] for rows in side] for side in sides)
    ups = _cosines(up, their_up)
    total = _cosines(gate, their_gate).astype(np.float64) + (ups if signed_up else np.abs(ups))
    usable = _told_apart(gate, up)[:, None] & _told_apart(their_gate, their_up)[None]
    return np.moveaxis(total, 2, 0), np.moveaxis(usable, 2, 0)


def _cosines(a: Rows, b: Rows) -> Rows:
    return np.asarray(a[:, None] @ b[None].swapaxes(-1, -2))


def _told_apart(gate: Rows, up: Rows) -> Bools:
    """Say which unit rows are not zero, nor repeated among those of their draw: (..., n, d) to (..., n)."""
    there = gate.any(axis=-1) & up.any(axis=-1)
    alike = (gate @ gate.swapaxes(-1, -2) > 1.0 - 1e-6) & (up @ up.swapaxes(-1, -2) > 1.0 - 1e-6)
    return np.asarray(there & ~(alike & ~np.eye(gate.shape[-2], dtype=bool)).any(axis=-1))


def _tail(n: Ints, k: Ints) -> Floats:
    """log10 P(K >= k) of n neurons each."""
    out = np.empty(n.shape)
    for number in np.unique(n):
        tail = np.array([*log10_fixed_point_tail(int(number)), NEVER])
        here = n == number
        out[here] = tail[np.minimum(k[here], number + 1)]
    return out


def _same_as_shipped(sides: Sides, log10_p: float, *, signed_up: bool) -> None:
    """Check that a draw comes to what the auditor makes of the same rows."""
    reference, target = (
        NeuronSample(
            layers=tuple(range(len(gate))), neurons=gate.shape[1], index=np.arange(gate.shape[1]), gate=gate, up=up
        )
        for gate, up in sides
    )
    shipped = aligned_neurons(reference, target, signed_up=signed_up).log10_p
    if abs(shipped - log10_p) > 1e-3 * max(1.0, abs(shipped)):
        raise SystemExit(f"the auditor says {shipped}, this benchmark {log10_p}")


def on_anchors(
    pairs: Iterator[tuple[Pair, Frame]], shuffle: np.random.Generator | None
) -> Iterator[tuple[Pair, Frame]]:
    """Cut pairs into draws with a frame of their own each: fitted to every other of 32 neurons, to test the rest."""
    for pair, _ in pairs:
        places = np.arange(pair.reference[0].shape[1])
        places = places if shuffle is None else shuffle.permutation(places)
        for group in places.reshape(-1, 2 * NEURONS):
            (a, b), (c, d) = ([rows[:, group] for rows in side] for side in (pair.reference, pair.target))
            frame = matched_frame("anchors", _flat(a[:, ::2]), _flat(c[:, ::2]))
            if frame is not None:
                yield Pair(reference=(a[:, 1::2], b[:, 1::2]), target=(c[:, 1::2], d[:, 1::2])), frame


def _flat(rows: Rows) -> Rows:
    return rows.reshape(-1, rows.shape[-1])


def searched(
    pairs: Iterator[tuple[Pair, Frame]], count: int, *, shuffle: np.random.Generator, queries: int = QUERIES
) -> list[Drawn]:
    """Draw the search: groups of a reference's neurons in whole layers of the target.

    Gives what binomial(n, 1 / m) alone says of the number that agree, the nominal p-value of a pair of layers, and
    those combined over layers as in a scan.
    """
    hits: list[Ints] = []
    tried: list[Ints] = []
    nominal: list[Floats] = []
    whole: list[float] = []
    made, m = 0, 0
    for pair, frame in pairs:
        (gate, up), target = framed(pair, frame)
        places, m = shuffle.permutation(gate.shape[1]), target[0].shape[1]
        for group in places[: places.size // queries * queries].reshape(-1, queries):
            found = [search(gate[:, group], up[:, group], *layer) for layer in zip(*target, strict=True)]
            log10_p = np.stack([one.log10_p for one in found], axis=1)
            hits.append(np.stack([one.agreeing for one in found], axis=1).ravel())
            tried.append(np.stack([one.tried for one in found], axis=1).ravel())
            nominal.append(log10_p.ravel())
            whole.append(combine_layers(log10_p, tuple(range(len(log10_p))), tuple(range(log10_p.shape[1]))))
            made += log10_p.size
        if made >= count:
            break
    k, n = np.concatenate(hits), np.concatenate(tried)
    most = int(np.argmax(k))
    return [
        Drawn(
            test=f"agreeing of {queries}: binomial(n, 1/{m}) (raw)", log10_p=_binomial(k, n, m),
            below=_binomial(k + 1, n, m), mean=float(k.mean()), expected=float(n.mean()) / m, used=False,
        ),
        Drawn(test=f"nominal, a pair of layers (at most {k[most]} of {n[most]})", log10_p=np.concatenate(nominal)),
        Drawn(test="nominal, over layers", log10_p=np.array(whole)),
    ]  # fmt: skip


def _binomial(hits: Ints, tried: Ints, m: int) -> Floats:
    pairs = list(zip(hits.tolist(), tried.tolist(), strict=True))
    known = {(k, n): log10_binomial_tail(k, n, 1.0 / m) if k <= n else NEVER for k, n in set(pairs)}
    return np.array([known[pair] for pair in pairs])


def embeddings(pairs: Iterator[tuple[Rows, Rows]], count: int) -> list[Drawn]:
    """Draw the test of shared embeddings."""
    log10_p = [found.log10_p for a, b in itertools.islice(pairs, count) if (found := shared_embeddings(a, b))]
    return [Drawn(test="exchanges of columns (a bound)", log10_p=np.array(log10_p))]


def distance(one: Drawn, rng: np.random.Generator) -> tuple[float, float]:
    """Kolmogorov's distance of p-values to uniform, two-sided and upward; counts are spread over their steps."""
    p = 10.0**one.log10_p
    if one.below is not None:
        low = 10.0**one.below
        p = low + rng.random(p.size) * (p - low)
    p = np.sort(p)
    steps = np.arange(1, p.size + 1) / p.size
    above = float((steps - p).max(initial=0.0))
    return max(above, float((p - steps + 1.0 / p.size).max(initial=0.0))), above
