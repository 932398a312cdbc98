"""Tails of the distributions that the rungs after the first need, in log10 p; each is an upper bound or exact."""

from __future__ import annotations

from math import lgamma, log, log1p
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_LN10 = log(10.0)


def log10_swap_tail(differences: ArrayLike) -> float:
    r"""Bound P(sum of signed differences >= the sum seen), each sign being a fair coin.

    Take neurons in disjoint pairs of neighbours `i, j`, and of each pair

    .. math:: D = S_{ii} + S_{jj} - S_{ij} - S_{ji}

    Exchanging the two neurons of the reference turns D into -D. Under the null every such exchange is as likely as
    none, independently in every pair, whatever the similarities S are; so given the sizes of the D their signs are
    fair coins. Chernoff's bound on their sum is taken, with the moment-generating function itself:

    .. math:: P\Big(\sum \epsilon_p D_p \ge t\Big) \le \min_\lambda e^{-\lambda t} \prod_p \cosh(\lambda D_p)

    It holds at any sample size and for any D (H. Chernoff, *Ann. Math. Statist.* 23, 1952); the Gaussian bound
    :math:`e^{-t^2 / 2 \sum D^2}` (W. Hoeffding, *J. Amer. Statist. Assoc.* 58, 1963) is weaker. As only neighbours
    are exchanged, anything that changes slowly along the order of neurons cancels.

    Parameters
    ----------
    differences : array_like of float, shape (m,)
        Finite; zero for pairs that cannot be used.

    Returns
    -------
    float
        log10 p, at most 0.

    Examples
    --------
    >>> round(log10_swap_tail([1.0] * 10), 2)  # all ten signs up: 2**-10
    -3.01
    >>> log10_swap_tail([1.0, -1.0])
    0.0
    """
    d = np.asarray(differences, dtype=np.float64).ravel()
    largest = float(np.abs(d).max(initial=0.0))
    total = float(d.sum())
    if largest == 0.0 or total <= 0.0:
        return 0.0
    d, total = d / largest, total / largest

    def slope(rate: float) -> float:
        return float((d * np.tanh(rate * d)).sum()) - total

    low, high = 0.0, 1.0
    while slope(high) < 0.0 and high < 1e6:
        low, high = high, 2.0 * high
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if slope(middle) < 0.0 else (low, middle)
    # log cosh x = |x| + log1p(exp(-2|x|)) - log 2
    x = np.abs(low * d)
    return min(0.0, (float((x + np.log1p(np.exp(-2.0 * x)) - log(2.0)).sum()) - low * total) / _LN10)


def log10_binomial_tail(hits: int, trials: int, rate: float) -> float:
    """Tail P(X >= hits) of a binomial distribution.

    Parameters
    ----------
    hits, trials : int
    rate : float
        0 < rate < 1.

    Returns
    -------
    float
        log10 p; the sum is taken in logarithms.

    Examples
    --------
    >>> round(log10_binomial_tail(2, 2, 0.1), 6)
    -2.0
    """
    if hits <= 0:
        return 0.0
    k = np.arange(hits, trials + 1)
    choose = lgamma(trials + 1) - np.array([lgamma(i + 1) + lgamma(trials - i + 1) for i in k.tolist()])
    terms = choose + k * log(rate) + (trials - k) * log1p(-rate)
    top = float(terms.max())
    return min(0.0, (top + float(np.log(np.exp(terms - top).sum()))) / _LN10)
