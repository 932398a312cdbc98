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
    -3.903
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


def unit_rows(rows: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scale rows to unit length.

    Parameters
    ----------
    rows : array_like of float, shape (..., d)

    Returns
    -------
    units : ndarray of float32, shape (..., d)
        Unusable rows (zero, or with NaN or infinity) are all zero.
    usable : ndarray of bool, shape (...)
    """
    with np.errstate(all="ignore"):  # NaN, infinities and zero lengths are what `usable` is for
        values = np.asarray(rows)
        square = _square_length(values)
        usable = np.asarray(np.isfinite(square) & (square > 0.0))
        units = np.empty(values.shape, dtype=np.float32)
        np.multiply(values, (1.0 / np.sqrt(square))[..., None], out=units, casting="same_kind")
    units[~usable] = 0.0
    return units, usable


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
    row_potential = np.zeros((batch, n + 1))  # the last entry is a spare, for columns without a row (-1)
    column_potential = np.zeros((batch, n))
    row_of = np.full((batch, n), -1)  # the row matched to each column so far
    column_of = np.full((batch, n), -1)
    for row in range(n):
        free, before = _shortest_paths(cost, row, row_potential, column_potential, row_of)
        _augment(row, free, before, row_of, column_of)
    return column_of


def _shortest_paths(
    cost: Floats, start: int, row_potential: Floats, column_potential: Floats, row_of: Ints
) -> tuple[Ints, Ints]:
    """Find, for each problem, a shortest path of reduced costs from row `start` to a column without a row.

    Dijkstra's method, one column a step, over all problems that have not arrived. Updates the potentials in place.
    Returns the free column reached, shape (b,), and the row before each column on its path, shape (b, n).
    """
    batch, n, _ = cost.shape
    free = np.empty(batch, dtype=np.intp)
    before = np.empty((batch, n), dtype=np.intp)
    at = np.arange(batch)  # problems under way; the arrays below hold these only
    row = np.full(batch, start)
    length = np.zeros(batch)  # of the path so far
    shortest = np.full((batch, n), np.inf)
    row_before = np.full((batch, n), start)
    open_ = np.ones((batch, n), dtype=bool)
    while at.size:
        through = cost[at, row] - column_potential[at]
        through += (length - row_potential[at, row])[:, None]
        shorter = (through < shortest) & open_
        np.copyto(shortest, through, where=shorter)
        np.copyto(row_before, row[:, None], where=shorter)
        column = np.where(open_, shortest, np.inf).argmin(axis=1)
        here = np.arange(at.size)
        length = shortest[here, column]
        open_[here, column] = False
        row = row_of[at, column]
        arrived = row < 0
        if arrived.any():
            done = at[arrived]
            free[done] = column[arrived]
            before[done] = row_before[arrived]
            _raise_potentials(
                row_potential, column_potential, row_of, done, start,
                np.where(open_[arrived], 0.0, length[arrived, None] - shortest[arrived]), length[arrived],
            )  # fmt: skip
            rest = ~arrived
            at, row, length = at[rest], row[rest], length[rest]
            shortest, row_before, open_ = shortest[rest], row_before[rest], open_[rest]
    return free, before


def _raise_potentials(
    row_potential: Floats,
    column_potential: Floats,
    row_of: Ints,
    problems: Ints,
    start: int,
    slack: Floats,
    length: Floats,
) -> None:
    """Keep reduced costs non-negative, and zero on matched pairs: what a column loses its row gains."""
    column_potential[problems] -= slack
    row_potential[problems, start] += length
    row_potential[problems[:, None], row_of[problems]] += slack  # columns without a row: the spare entry, by zero


def _augment(start: int, free: Ints, before: Ints, row_of: Ints, column_of: Ints) -> None:
    """Shift the rows along each path, so that its free column gets one. Changes the matching in place."""
    at = np.arange(free.size)
    column = free
    while at.size:
        row = before[at, column]
        row_of[at, column] = row
        following = column_of[at, row]
        column_of[at, row] = column
        more = row != start
        at, column = at[more], following[more]


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
    if usable.all():
        column = shuffled[assignment(similarity[:, :, shuffled])]
        return np.asarray((column == np.arange(n)).sum(axis=1))
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
    with np.errstate(all="ignore"):
        length = 0.5 * np.log(_square_length(rows))
    return np.where(np.isfinite(length), length, -np.inf)


def _square_length(rows: ArrayLike) -> Floats:
    """Sum of squares in float64, without a float64 copy of the rows. No float32 or float16 value overflows it."""
    values = np.asarray(rows)
    return np.asarray(np.einsum("...d,...d->...", values, values, dtype=np.float64))


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
    # Ties share the mean of their ranks: equal values say nothing of an order, up or down.
    first = values.argsort(axis=-1, kind="stable").argsort(axis=-1)
    last = n - 1 - (-values).argsort(axis=-1, kind="stable").argsort(axis=-1)
    ranks = (first + last) / 2.0 - (n - 1) / 2.0
    place = np.arange(n) - (n - 1) / 2.0
    spread = np.sqrt((ranks * ranks).sum(axis=-1) * (place @ place))
    with np.errstate(invalid="ignore"):
        z = np.where(spread > 0, np.abs(ranks @ place) / spread, 0.0) * np.sqrt(n - 1)
    return np.asarray([log10(max(erfc(x / sqrt(2.0)), 1e-300)) for x in z.ravel()]).reshape(z.shape)
