"""The tests, as pure functions of arrays. Everything is in log10 p, so that nothing underflows to zero.

Null hypothesis of the aligned-neuron test: the target was trained independently of the reference. Training
treats the neurons of an MLP block alike, so the order of the reference's neurons is exchangeable given all else.
Match the reference's sampled neurons to the target's neurons at the same positions by a rule that does not look
at positions; then the matching is a uniformly random permutation, and the number of neurons matched to their own
position has the distribution of the fixed points of such a permutation, exactly, at any size.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from math import comb, erfc, factorial, lgamma, log, log10, sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

_LN10 = log(10.0)


@cache
def log10_fixed_point_tail(n: int) -> tuple[float, ...]:
    r"""Tail of the number of fixed points of a uniform permutation of `n`.

    .. math:: P(K \ge k) = \frac{1}{n!} \sum_{j=k}^{n} \binom{n}{j} D_{n-j}

    with the derangement numbers :math:`D_0 = 1`, :math:`D_m = m D_{m-1} + (-1)^m` (the rencontres numbers;
    P. R. de Montmort, 1713; Riordan, *An Introduction to Combinatorial Analysis*, ch. 3). Computed in integers
    and rounded once.

    Parameters
    ----------
    n : int
        Neurons matched, >= 0.

    Returns
    -------
    tuple of float, length n + 1
        log10 P(K >= k) for k = 0 .. n; the first is 0. `k = n - 1` is as improbable as `k = n`: a permutation
        cannot miss exactly one.

    Examples
    --------
    >>> [round(10**p * 24) for p in log10_fixed_point_tail(4)]  # of the 24 permutations of four
    [24, 15, 7, 1, 1]
    """
    derangements = list(accumulate(range(1, n + 1), lambda d, m: d * m + (-1) ** m, initial=1))
    exactly = [comb(n, k) * derangements[n - k] for k in range(n + 1)]
    at_least = list(accumulate(reversed(exactly)))[::-1]
    return tuple(_log10_ratio(count, factorial(n)) for count in at_least)


def _log10_ratio(numerator: int, denominator: int) -> float:
    if 2 * numerator > denominator:  # close to 1: the difference of two logarithms would lose the digits
        return float(np.log1p(-(denominator - numerator) / denominator)) / _LN10
    return log10(numerator) - log10(denominator)


def fisher(log10_p: ArrayLike) -> float:
    r"""Combine independent p-values by Fisher's method.

    :math:`-2 \sum \ln p_i` is chi-square with :math:`2m` degrees of freedom under the null; its tail is the
    Poisson sum :math:`e^{-x} \sum_{j<m} x^j / j!` with :math:`x = -\sum \ln p_i`, taken in logarithms. For
    p-values that are larger than uniform (discrete, Bonferroni-corrected) the result is conservative.
    R. A. Fisher, *Statistical Methods for Research Workers*, 1925, 21.1.

    Parameters
    ----------
    log10_p : array_like of float, shape (m,)
        Each <= 0. An empty one gives 0 (p = 1).

    Returns
    -------
    float
        log10 p.

    Examples
    --------
    >>> round(fisher([-2.0, -3.0]), 3)
    -3.904
    """
    values = np.minimum(np.asarray(log10_p, dtype=np.float64), 0.0)
    x = -float(values.sum()) * _LN10
    if values.size == 0 or x == 0.0:
        return 0.0
    j = np.arange(values.size)
    terms = j * np.log(x) - np.array([lgamma(i + 1.0) for i in j])
    top = float(terms.max())
    return min(0.0, (-x + top + float(np.log(np.exp(terms - top).sum()))) / _LN10)


def bonferroni(log10_p: float, tests: int) -> float:
    """Correct the smallest of `tests` p-values for having been chosen; never above 0 (p = 1)."""
    return min(0.0, log10_p + log10(max(1, tests)))


def unit_rows(rows: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    """Scale rows to unit length, in float64.

    Parameters
    ----------
    rows : array_like, shape (..., d)

    Returns
    -------
    units : ndarray of float64, shape (..., d)
        Unusable rows (zero, or with NaN or infinity) are all zero.
    usable : ndarray of bool, shape (...)
    """
    values = np.asarray(rows, dtype=np.float64)
    finite = np.asarray(np.isfinite(values).all(axis=-1))
    safe = np.where(finite[..., None], values, 0.0)
    # Scale by the largest entry first: squares of huge or tiny float64 values leave the range.
    peak = np.abs(safe).max(axis=-1, initial=0.0)
    usable = np.asarray(finite & (peak > 0.0))
    safe /= np.where(usable, peak, 1.0)[..., None]
    safe /= np.where(usable, np.sqrt(np.einsum("...d,...d->...", safe, safe)), 1.0)[..., None]
    return safe, usable


def assignment(similarity: Floats) -> Ints:
    """Match rows to columns one to one so that the total similarity is largest, for many matrices at once.

    The shortest augmenting path method (H. W. Kuhn, 1955; R. Jonker and A. Volgenant, *Computing* 38, 1987),
    one row after the other, vectorised over the batch: a scan solves a thousand problems of 32 x 32, where
    importing a general solver alone would take longer.

    Parameters
    ----------
    similarity : ndarray of float64, shape (b, n, n)
        Finite.

    Returns
    -------
    ndarray of int, shape (b, n)
        Column of each row. Which of several equally good matchings is returned depends on the order of rows
        and columns: see `fixed_points`.
    """
    batch, n, _ = similarity.shape
    cost = -similarity
    row_potential = np.zeros((batch, n + 1))  # index n stands for "no row"
    column_potential = np.zeros((batch, n + 1))  # column n is the root of each search
    row_of = np.full((batch, n + 1), n)  # the row matched to each column so far
    for row in range(n):
        row_of[:, n] = row
        free, parent = _shortest_paths(cost, row_potential, column_potential, row_of)
        _augment(row_of, free, parent)
    column_of = np.empty((batch, n), dtype=np.intp)
    columns = np.broadcast_to(np.arange(n), (batch, n))
    np.put_along_axis(column_of, row_of[:, :n], columns, axis=1)
    return column_of


def _shortest_paths(
    cost: Floats, row_potential: Floats, column_potential: Floats, row_of: Ints
) -> tuple[Ints, Ints]:
    """Grow, for each problem, a shortest path from the root column to a column without a row.

    Updates the potentials in place. Returns the free column reached, shape (b,), and the column before each
    column on its path, shape (b, n).
    """
    batch, n, _ = cost.shape
    reached = np.full(batch, n)
    parent = np.full((batch, n), n)
    distance = np.full((batch, n), np.inf)
    done = np.zeros((batch, n + 1), dtype=bool)
    active = np.arange(batch)
    while active.size:
        at = reached[active]
        done[active, at] = True
        row = row_of[active, at]
        reduced = cost[active, row] - row_potential[active, row, None] - column_potential[active, :n]
        closed = done[active, :n]
        near = distance[active]
        shorter = (reduced < near) & ~closed
        near = np.where(shorter, reduced, near)
        parent[active] = np.where(shorter, at[:, None], parent[active])
        open_ = np.where(closed, np.inf, near)
        nearest = open_.argmin(axis=1)
        step = open_[np.arange(active.size), nearest]
        # Every row on the tree gains what its column loses, so matched pairs keep reduced cost zero.
        gain = np.where(done[active], step[:, None], 0.0)
        row_potential[active[:, None], row_of[active]] += gain
        column_potential[active] -= gain
        distance[active] = np.where(closed, near, near - step[:, None])
        reached[active] = nearest
        active = active[row_of[active, nearest] != n]
    return reached, parent


def _augment(row_of: Ints, free: Ints, parent: Ints) -> None:
    """Shift the rows along each path, so that its free column gets one. Changes `row_of` in place."""
    n = parent.shape[1]
    active = np.arange(free.size)
    column = free
    while active.size:
        before = parent[active, column]
        row_of[active, column] = row_of[active, before]
        more = before != n
        active, column = active[more], before[more]


def fixed_points(similarity: Floats, usable: NDArray[np.bool_]) -> Ints:
    """Count rows that the best matching maps to the column of the same number.

    Neurons that are not usable are taken out, row and column. The columns are shuffled before matching by a
    fixed permutation without fixed points, so that equally good matchings (equal, empty or degenerate rows) never
    favour the same number.

    Parameters
    ----------
    similarity : ndarray of float64, shape (b, n, n)
        Finite. Row: neuron of the reference; column: neuron of the target.
    usable : ndarray of bool, shape (b, n)

    Returns
    -------
    ndarray of int, shape (b,)

    Examples
    --------
    >>> same = np.eye(5)[None]
    >>> fixed_points(same, np.ones((1, 5), dtype=bool)).tolist()
    [5]
    >>> fixed_points(np.ones((1, 5, 5)), np.ones((1, 5), dtype=bool)).tolist()
    [0]
    """
    n = similarity.shape[-1]
    shuffled = _derangement(n)
    # Rows taken out are matched among themselves: any other match would cost more than all the rest can gain.
    pair = usable[:, :, None] & usable[:, None, :]
    neither = ~usable[:, :, None] & ~usable[:, None, :]
    barrier = 4.0 * (n + 1) * (1.0 + np.abs(similarity).max(initial=0.0))
    guarded = np.where(pair, similarity, np.where(neither, 0.0, -barrier))
    column = shuffled[assignment(guarded[:, :, shuffled])]
    return np.asarray(((column == np.arange(n)) & usable).sum(axis=1))


@cache
def _derangement(n: int) -> Ints:
    """Return a fixed permutation of `n` that moves everything (of one element there is none)."""
    order = np.random.default_rng(n).permutation(n)
    moved = np.empty(n, dtype=np.intp)
    moved[order] = np.roll(order, 1)  # one cycle through all elements, in random order
    return moved


def log_length(rows: ArrayLike) -> Floats:
    """Logarithm of the Euclidean length of rows, shape (..., d) to (...); unusable rows give -inf."""
    values = np.asarray(rows, dtype=np.float64)
    with np.errstate(all="ignore"):
        peak = np.abs(values).max(axis=-1, initial=0.0)
        scaled = values / peak[..., None]
        length = np.log(peak) + 0.5 * np.log(np.einsum("...d,...d->...", scaled, scaled))
    return np.where(np.isfinite(length), length, -np.inf)


def log10_rank_correlation(values: Floats) -> Floats:
    """Two-sided p-value of Spearman's rank correlation between values and their position.

    Normal approximation: under exchangeability rho has variance 1 / (n - 1).

    Parameters
    ----------
    values : ndarray of float64, shape (..., n)

    Returns
    -------
    ndarray of float64, shape (...)
        log10 p.
    """
    n = values.shape[-1]
    if n < 3:
        return np.zeros(values.shape[:-1])
    # Ties are ranked in reverse of position: equal values must not look like an ascending order.
    ranks = (n - 1 - values[..., ::-1].argsort(axis=-1, kind="stable")).argsort(axis=-1) - (n - 1) / 2.0
    place = np.arange(n) - (n - 1) / 2.0
    z = np.abs(ranks @ place) / (place @ place) * np.sqrt(n - 1)
    return np.asarray([log10(max(erfc(x / sqrt(2.0)), 1e-300)) for x in z.ravel()]).reshape(z.shape)
