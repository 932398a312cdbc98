"""Rung 3, searched neurons: the order of the target's neurons is not used at all.

In a frame, each sampled neuron of the reference looks for its match among all neurons of a target layer twice: by its
gate row, and by its up row (whose sign is free). In a copy the two searches agree; in an independent model they have
no reason to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from auditor.lineage.tails import log10_binomial_tail

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.intp]
    Bools = NDArray[np.bool_]
    Units = NDArray[np.float32]

UNIVERSAL: Final = 0.05
"""Share of neurons that may agree although the models are independent: 1 to 5% of neurons are found again in models
trained from other seeds on the same data (W. Gurnee et al., arXiv 2401.12181). Chance alone would give 1 of all
neurons of a layer; the test asks for more than this share, so that its p-value, which is nominal, errs to our cost."""

_FEW = 16  # queries below which a neuron's popularity cannot be told
_AT_ONCE = 4096  # target neurons in one product


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What R reference layers found in one layer of the target.

    Attributes
    ----------
    agreeing : ndarray of int, shape (R,)
        Different target neurons on which both searches of some reference neuron agree.
    tried : ndarray of int, shape (R,)
        Reference neurons that could search.
    log10_p, best_log10_p : ndarray of float, shape (R,)
        Nominal, uncorrected; and what it would be had all agreed.
    match : ndarray of int, shape (R, n)
        The neuron that both found; -1 where they differ.
    cosine : ndarray of float, shape (R, n)
        Of the gate rows, in the frame.
    """

    agreeing: Ints
    tried: Ints
    log10_p: NDArray[np.float64]
    best_log10_p: NDArray[np.float64]
    match: Ints
    cosine: NDArray[np.float32]


def search(reference_gate: Units, reference_up: Units, target_gate: Units, target_up: Units) -> Search:
    """Look for sampled neurons of every reference layer in one layer of the target.

    The similarity to each target neuron is taken relative to what that neuron has with all queries, so that neurons
    that are near to everything (hubs) attract no more than others. The rate under the null is the larger of
    `UNIVERSAL` and what the other reference layers show, which are searched as decoys.

    Parameters
    ----------
    reference_gate, reference_up : ndarray of float32, shape (R, n, k)
        Unit coordinates; all zero where unusable.
    target_gate, target_up : ndarray of float32, shape (m, k)
    """
    layers, n, _ = reference_gate.shape
    usable = np.asarray(reference_gate.any(axis=2) & reference_up.any(axis=2))
    by_gate, cosine = _nearest(reference_gate, target_gate, usable, signed=True)
    by_up, _ = _nearest(reference_up, target_up, usable, signed=False)
    agree = usable & (by_gate == by_up) & (by_gate >= 0)
    agreeing = np.array([len(np.unique(by_gate[r][agree[r]])) for r in range(layers)], dtype=np.intp)
    tried = usable.sum(axis=1)
    best = int(np.argmax(agreeing / np.maximum(1, tried)))
    decoys = np.arange(layers) != best
    there = int(target_gate.any(axis=1).sum())
    rate = max(UNIVERSAL, 1.0 / max(2, there))
    rate = max(rate, (agreeing[decoys].sum() + 1) / (tried[decoys].sum() + 1) if tried[decoys].sum() >= n else 0.0)
    rate = min(rate, 0.5)
    log10_p, best_log10_p = (
        np.array(
            [log10_binomial_tail(int(k), int(n), rate) for k, n in zip(hits, tried, strict=True)], dtype=np.float64
        )
        for hits in (agreeing, np.minimum(tried, there))
    )
    return Search(
        agreeing=agreeing,
        tried=tried,
        log10_p=log10_p,
        best_log10_p=best_log10_p,
        match=np.where(agree, by_gate, -1),
        cosine=cosine,
    )


def _nearest(queries: Units, targets: Units, usable: Bools, *, signed: bool) -> tuple[Ints, NDArray[np.float32]]:
    """Nearest target of each query, shape (R, n), -1 where there is none; and its similarity."""
    layers, n, k = queries.shape
    flat, asked = queries.reshape(-1, k), usable.ravel()
    best = np.full(layers * n, -np.inf, dtype=np.float32)
    where = np.full(layers * n, -1, dtype=np.intp)
    raw = np.zeros(layers * n, dtype=np.float32)
    rows = np.arange(layers * n)
    for start in range(0, len(targets), _AT_ONCE):
        block = targets[start : start + _AT_ONCE]
        there = block.any(axis=1)
        similarity = flat @ block.T
        if not signed:
            np.abs(similarity, out=similarity)
        score = _relative(similarity, asked) if asked.sum() >= _FEW else similarity.copy()
        score[:, ~there] = -np.inf
        at = score.argmax(axis=1)
        top = score[rows, at]
        better = (top > best) & asked
        best[better], where[better] = top[better], start + at[better]
        raw[better] = similarity[rows, at][better]
    return where.reshape(layers, n), raw.reshape(layers, n)


def _relative(similarity: NDArray[np.float32], asked: Bools) -> NDArray[np.float32]:
    """Standardise each column over the queries."""
    seen = similarity[asked]
    spread = seen.std(axis=0)
    return np.asarray((similarity - seen.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0), dtype=np.float32)
