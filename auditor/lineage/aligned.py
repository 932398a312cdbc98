"""Rung 1, aligned neurons: the target's neurons are still where the reference has them.

Sees fine-tunes, continued pretraining, merged adapters, quantisation, merges, pruned values, and layers that
were dropped, stacked or moved. Blind to a changed hidden basis and to permuted neurons.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from auditor.lineage.stats import (
    bonferroni,
    fisher,
    fixed_points,
    log10_fixed_point_tail,
    log10_rank_correlation,
    log_length,
    unit_rows,
)
from auditor.lineage.tails import log10_swap_tail

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from auditor.lineage.sample import NeuronSample

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]
    Bools = NDArray[np.bool_]
    Units = NDArray[np.float32]

COMBINATIONS = 3
"""Ways in which layers are combined, the best of which is taken: see `combine_layers`."""

TESTS = 2
"""Fixed points, and exchanges of neighbours: the better of the two is taken."""

_ROWS = 512  # rows in one matrix product: bounds memory at a few tens of MB, whatever the depth of the model
_REPEATED = 1.0 - 1e-6  # cosine above which two neurons of a layer count as copies of each other
_MANY_PAIRS = 256  # of neighbours: from here on exchanges always see smaller cosines than fixed points do
_SORTED_LOG10_P = -6.0  # order that follows size this surely was made, not trained


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignedNeurons:
    """What the test found between a reference (R layers) and a target (T layers), n neurons a layer.

    Attributes
    ----------
    log10_p : float
        Over all layers, corrected for the choice among combinations of layers.
    fixed, usable : ndarray of int, shape (R, T)
        Neurons matched to their own position, of how many that could be.
    log10_p_pair : ndarray of float, shape (R, T)
        Exact, one pair of layers each, uncorrected.
    cosine, lowest_cosine : ndarray of float, shape (R, T)
        Mean and lowest row cosine between neurons of the same position. NaN where no neuron is usable.
    sorted_by_size : bool
        Neuron order carries information in both models, so the test does not count.
    noise : ndarray of float, shape (min(R, T), n, n)
        Similarities between neurons of different position, for `detection_limit`.
    log10_p_fixed, log10_p_swaps : float
        The two tests of which `log10_p` is the better: fixed points over all pairs of layers, and exchanges of
        neighbours over layers in place, see `log10_swap_tail`.
    """

    log10_p: float
    fixed: Ints
    usable: Ints
    log10_p_pair: Floats
    cosine: Floats
    lowest_cosine: Floats
    sorted_by_size: bool
    noise: Floats
    log10_p_fixed: float
    log10_p_swaps: float


def aligned_neurons(reference: NeuronSample, target: NeuronSample, *, signed_up: bool = True) -> AlignedNeurons:
    """Test every layer of the target against every layer of the reference.

    Parameters
    ----------
    reference, target : NeuronSample
        The same neurons of models with the same hidden size.
    signed_up : bool
        Rows of `up` keep their sign; where they may not, the size of their cosine counts.

    Returns
    -------
    AlignedNeurons
    """
    r_count, t_count, n = len(reference.layers), len(target.layers), len(reference.index)
    fixed = np.zeros((r_count, t_count), dtype=np.intp)
    usable = np.zeros_like(fixed)
    cosine = np.full((r_count, t_count), np.nan)
    lowest = np.full((r_count, t_count), np.nan)
    noise = np.zeros((min(r_count, t_count), n, n))
    place = _in_place(reference.layers, target.layers)
    swaps: list[Floats] = []
    step = _layers_at_once(n)
    for t in range(0, t_count, step):
        target_block = _directions(target, t)
        for r in range(0, r_count, step):
            similarity, ok, same = _similarity(_directions(reference, r), target_block, signed_up=signed_up)
            here = np.s_[r : r + similarity.shape[0], t : t + similarity.shape[1]]
            batch = similarity.shape[:2]
            fixed[here] = fixed_points(similarity.reshape(-1, n, n), ok.reshape(-1, n)).reshape(batch)
            usable[here] = ok.sum(axis=-1)
            with np.errstate(invalid="ignore"):
                cosine[here] = np.where(ok, same, 0.0).sum(axis=-1) / np.where(usable[here], usable[here], np.nan)
            lowest[here] = np.where(ok.any(axis=-1), np.where(ok, same, np.inf).min(axis=-1), np.nan)
            for i in range(max(r, t), min(r + batch[0], t + batch[1])):
                noise[i] = _without_diagonal(similarity[i - r, i - t])
            swaps += [
                exchanges(similarity[i - r, j - t], ok[i - r, j - t])
                for i, j in place
                if r <= i < r + batch[0] and t <= j < t + batch[1]
            ]
    log10_p_pair = _pair_p(fixed, usable)
    log10_p_fixed = combine_layers(log10_p_pair, reference.layers, target.layers)
    log10_p_swaps = log10_swap_tail(np.concatenate(swaps)) if swaps else 0.0
    return AlignedNeurons(
        log10_p=bonferroni(min(log10_p_fixed, log10_p_swaps), TESTS),
        fixed=fixed,
        usable=usable,
        log10_p_pair=log10_p_pair,
        cosine=cosine,
        lowest_cosine=lowest,
        sorted_by_size=order_is_informative(reference) and order_is_informative(target),
        noise=noise,
        log10_p_fixed=log10_p_fixed,
        log10_p_swaps=log10_p_swaps,
    )


def exchanges(similarity: Floats, usable: Bools) -> Floats:
    """Differences that exchanging neighbouring neurons makes, see `log10_swap_tail`.

    Parameters
    ----------
    similarity : ndarray of float, shape (n, n)
    usable : ndarray of bool, shape (n,)

    Returns
    -------
    ndarray of float, shape (n // 2,)
        Zero where one of the two neurons is not usable.
    """
    n = similarity.shape[0] // 2 * 2
    i, j = np.arange(0, n, 2), np.arange(1, n, 2)
    difference = similarity[i, i] + similarity[j, j] - similarity[i, j] - similarity[j, i]
    return np.where(usable[i] & usable[j], difference, 0.0)


def _in_place(reference: tuple[int, ...], target: tuple[int, ...]) -> list[tuple[int, int]]:
    """Pairs of positions along both axes of layers of equal number; of experts, the first."""
    place = {layer: t for t, layer in reversed(list(enumerate(target)))}
    return [(r, place[layer]) for r, layer in enumerate(reference) if layer in place]


def combine_layers(log10_p_pair: Floats, reference_layers: tuple[int, ...], target_layers: tuple[int, ...]) -> float:
    """Combine the pairs of layers into one p-value that is valid whatever the target looks like.

    Under the null the orders of neurons in different *reference* layers are independent; two target layers may
    be copies of one another. So p-values are combined over reference layers only, three ways:

    - layers of equal number, by Fisher: the whole model in place;
    - for each reference layer its best target layer, Bonferroni-corrected, by Fisher: layers moved about;
    - the best pair of all, Bonferroni-corrected: a few layers taken over.

    The smallest of the three, times three, is returned.

    Parameters
    ----------
    log10_p_pair : ndarray of float, shape (R, T)
    reference_layers, target_layers : tuple of int
        Layer numbers along both axes.

    Returns
    -------
    float
        log10 p.
    """
    r_count, t_count = log10_p_pair.shape
    in_place = [log10_p_pair[pair] for pair in _in_place(reference_layers, target_layers)]
    best = [bonferroni(float(row.min()), t_count) for row in log10_p_pair]
    ways = (fisher(in_place), fisher(best), bonferroni(min(best, default=0.0), r_count))
    return bonferroni(min(ways), COMBINATIONS)


def order_is_informative(sample: NeuronSample) -> bool:
    """Say whether the order of a model's neurons follows their size: someone sorted them.

    Compares three sizes of a neuron with its position by Spearman's rank correlation: the lengths of its two
    rows, and how far it points along the layer's mean direction. Layers are combined by Fisher's method on the
    normal approximation, which is a guard, not a verdict: it can only take this test's say away.
    """
    log10_p = []
    step = _layers_at_once(len(sample.index))
    for at in range(0, len(sample.layers), step):
        gate, up = sample.gate[at : at + step], sample.up[at : at + step]
        units, _ = unit_rows(gate)
        along = np.einsum("lnd,ld->ln", units, units.mean(axis=1), dtype=np.float64)
        sizes = (log_length(gate), log_length(up), along)
        log10_p.append([log10_rank_correlation(size) for size in sizes])
    return bonferroni(min(map(fisher, np.concatenate(log10_p, axis=1))), 3) <= _SORTED_LOG10_P


def detection_limit(found: AlignedNeurons, *, log10_alpha: float) -> float | None:
    """Smallest row cosine that this comparison would have found, had every layer kept it, in 19 of 20 cases.

    Takes the similarities between neurons of different position as noise, writes a cosine on the diagonal, and
    looks for the smallest that reaches the threshold (layers in place), to two hundredths of its value. Exchanges of
    neighbours find the smaller cosine where there are many layers, fixed points where there are few.

    Parameters
    ----------
    found : AlignedNeurons
    log10_alpha : float
        Threshold that `log10_p` would have had to reach.

    Returns
    -------
    float or None
        None when not even identical neurons would have reached it: too little was read.
    """
    n = found.noise.shape[-1]
    usable = np.ones((len(found.noise), n), dtype=bool)
    tail = np.array(log10_fixed_point_tail(n))

    def planted(cosine: float) -> Floats:
        return np.asarray(found.noise * np.sqrt(1.0 - cosine**2) + 2.0 * cosine * np.eye(n))

    chance = np.concatenate([exchanges(s, ok) for s, ok in zip(found.noise, usable, strict=True)] or [np.zeros(0)])
    # What chance came to this time is neither here nor there; what it comes to at worst in 19 of 20 cases is.
    unlucky = chance.mean() + 1.645 * chance.std() / np.sqrt(chance.size) if chance.size else 0.0
    chance = chance - unlucky

    def by_swaps(cosine: float) -> bool:
        differences = np.sqrt(1.0 - cosine**2) * chance + 4.0 * cosine
        return bonferroni(log10_swap_tail(differences), TESTS) <= log10_alpha

    def by_fixed_points(cosine: float) -> bool:
        log10_p = fisher(tail[fixed_points(planted(cosine), usable)])
        return bonferroni(bonferroni(log10_p, COMBINATIONS), TESTS) <= log10_alpha

    def smallest(reaches: Callable[[float], bool]) -> float | None:
        if not reaches(1.0):
            return None
        low, high = 1e-4, 1.0
        while high / low > 1.02:
            middle = float(np.sqrt(low * high))
            low, high = (low, middle) if reaches(middle) else (middle, high)
        return high

    if not len(found.noise):
        return None
    ways = (by_swaps,) if len(found.noise) * (n // 2) >= _MANY_PAIRS else (by_swaps, by_fixed_points)
    return min((limit for way in ways if (limit := smallest(way)) is not None), default=None)


def _layers_at_once(neurons: int) -> int:
    return max(1, _ROWS // max(1, neurons))


def _directions(sample: NeuronSample, start: int) -> tuple[Units, Units, Bools]:
    """Return unit rows of gate and up of a block of layers, and which neurons can be told apart."""
    stop = start + _layers_at_once(len(sample.index))
    gate, gate_ok = unit_rows(sample.gate[start:stop])
    up, up_ok = unit_rows(sample.up[start:stop])
    alike = (gate @ gate.swapaxes(1, 2) > _REPEATED) & (up @ up.swapaxes(1, 2) > _REPEATED)
    repeated = (alike & ~np.eye(alike.shape[1], dtype=bool)).any(axis=2)
    return gate, up, gate_ok & up_ok & ~repeated


def _similarity(
    reference: tuple[Units, Units, Bools], target: tuple[Units, Units, Bools], *, signed_up: bool
) -> tuple[Floats, Bools, Floats]:
    """Sum of gate and up cosines, (r, t, n, n); usable positions, (r, t, n); mean cosine of equal positions, alike."""
    r, n, d = reference[0].shape
    t = target[0].shape[0]
    total = np.zeros((r * n, t * n))
    for number, (a, b) in enumerate(zip(reference[:2], target[:2], strict=True)):
        product = a.reshape(r * n, d) @ b.reshape(t * n, d).T
        total += product if signed_up or number == 0 else np.abs(product)
    usable = reference[2][:, None, :] & target[2][None, :, :]
    similarity = total.reshape(r, n, t, n).swapaxes(1, 2)
    return similarity, usable, np.diagonal(similarity, axis1=2, axis2=3) / 2.0


def _without_diagonal(similarity: Floats) -> Floats:
    """Rotate columns by one, and replace the entries of equal position by others of their row."""
    n = similarity.shape[0]
    rolled = np.roll(similarity, -1, axis=1)
    row = np.arange(n)
    rolled[row, row - 1] = similarity[row, (row + 2) % n] if n > 2 else 0.0
    return rolled


def _pair_p(fixed: Ints, usable: Ints) -> Floats:
    out = np.zeros(fixed.shape)
    for n in np.unique(usable):
        here = usable == n
        out[here] = np.array(log10_fixed_point_tail(int(n)))[fixed[here]]
    return out
