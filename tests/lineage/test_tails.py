"""Tails of the upper rungs: bounds that hold, and exact sums."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import comb, log10

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from auditor.lineage.aligned import exchanges
from auditor.lineage.tails import log10_binomial_tail, log10_swap_tail

LN10 = np.log(10.0)
SIZE = st.floats(1e-3, 4.0)
DIFFERENCE = st.one_of(SIZE, SIZE.map(lambda x: -x), st.just(0.0))


def exact(differences: list[float]) -> float:
    """P(sum of signed differences >= the sum seen), over all choices of signs."""
    signs = np.array(list(product((1.0, -1.0), repeat=len(differences))))
    sums = signs @ np.array(differences)
    return float((sums >= sum(differences) - 1e-9).mean())


# exchanges of neighbours


@given(st.lists(DIFFERENCE, max_size=9))
def test_swap_tail_is_never_below_the_exact_tail(differences: list[float]) -> None:
    assert log10_swap_tail(differences) >= log10(exact(differences)) - 1e-9


@given(st.lists(DIFFERENCE, max_size=40))
def test_swap_tail_is_at_most_the_gaussian_bound(differences: list[float]) -> None:
    total, square = sum(differences), sum(d * d for d in differences)
    gaussian = -(total**2) / (2.0 * square) / LN10 if total > 0.0 else 0.0
    assert log10_swap_tail(differences) <= min(0.0, gaussian) + 1e-6


def test_swap_tail_is_near_the_exact_tail() -> None:
    # Far out, Chernoff's bound loses a factor that grows as the root of the number of pairs, not more.
    differences = np.r_[np.ones(14), -np.ones(2)].tolist()
    lost = log10_swap_tail(differences) - log10(exact(differences))
    assert 0.0 < lost < 1.0


@given(st.integers(1, 3000), SIZE)
def test_all_signs_up_is_two_to_the_minus_m(m: int, size: float) -> None:
    assert log10_swap_tail([size] * m) == pytest.approx(-m * log10(2.0), rel=1e-6)


@given(st.lists(DIFFERENCE, min_size=1, max_size=30), st.floats(-60, 60))
def test_swap_tail_knows_no_scale(differences: list[float], exponent: float) -> None:
    scaled = np.array(differences) * 10.0**exponent
    assert log10_swap_tail(scaled) == pytest.approx(log10_swap_tail(differences), rel=1e-6, abs=1e-9)


@given(st.lists(DIFFERENCE, min_size=1, max_size=30), st.randoms())
def test_swap_tail_knows_no_order(differences: list[float], random: object) -> None:
    mixed = differences[:]
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert log10_swap_tail(mixed) == pytest.approx(log10_swap_tail(differences), rel=1e-6, abs=1e-9)


@given(st.lists(DIFFERENCE, max_size=30), SIZE)
def test_what_speaks_for_descent_never_raises_p_and_what_speaks_against_never_lowers_it(
    differences: list[float], more: float
) -> None:
    before = log10_swap_tail(differences)
    assert log10_swap_tail([*differences, more]) <= before + 1e-9
    assert log10_swap_tail([*differences, 0.0]) == pytest.approx(before, rel=1e-9, abs=1e-12)
    assert log10_swap_tail([*differences, -more]) >= before - 1e-9
    assert log10_swap_tail([*differences, more]) <= log10_swap_tail([*differences, -more]) + 1e-9


@pytest.mark.parametrize("differences", [[], [0.0], [0.0, 0.0], [1.0, -1.0], [-1.0], [-1.0, -1e-9]])
def test_nothing_for_descent_is_p_of_one(differences: list[float]) -> None:
    assert log10_swap_tail(differences) == 0.0


def test_one_huge_difference_is_one_coin() -> None:
    assert log10_swap_tail([1e9, 1e-3, -1e-3]) == pytest.approx(log10(0.5), abs=1e-6)


# differences


def similarities(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, n))


EFFECT = hnp.arrays(float, 24, elements=st.floats(-100, 100))


@given(st.integers(0, 99), EFFECT, EFFECT)
def test_effects_of_rows_and_columns_cancel(seed: int, rows: np.ndarray, columns: np.ndarray) -> None:
    similarity, usable = similarities(seed, 24), np.ones(24, bool)
    moved = similarity + rows[:, None] + columns[None, :]
    assert exchanges(moved, usable) == pytest.approx(exchanges(similarity, usable), abs=1e-9)


@given(st.integers(0, 99), st.integers(2, 60), st.data())
def test_exchanging_the_neurons_turns_the_difference(seed: int, n: int, data: st.DataObject) -> None:
    similarity, usable = similarities(seed, n), np.ones(n, bool)
    turned = np.array(data.draw(st.lists(st.booleans(), min_size=n // 2, max_size=n // 2)), dtype=bool)
    order = np.arange(n)
    for pair in np.flatnonzero(turned):
        order[2 * pair], order[2 * pair + 1] = 2 * pair + 1, 2 * pair
    expected = np.where(turned, -1.0, 1.0) * exchanges(similarity, usable)
    assert exchanges(similarity[order], usable) == pytest.approx(expected)


@given(st.floats(0, 2), st.floats(0, 2), st.floats(0, 6.3), st.floats(0, 6.3))
def test_a_smooth_trend_cancels_but_for_its_curvature(a: float, b: float, start: float, other: float) -> None:
    # Of f(i/n, j/n) no more than the largest mixed derivative over n^2 is left of a pair: a hundredth here, of ten.
    n, amplitude = 200, 10.0
    place = 2 * np.pi * np.arange(n) / n
    trend = amplitude * np.sin(a * place[:, None] + start) * np.sin(b * place[None, :] + other)
    left = np.abs(exchanges(trend, np.ones(n, bool)))
    assert left.max() <= amplitude * a * b * (2 * np.pi / n) ** 2 + 1e-9


def test_a_trend_along_both_orders_is_no_evidence_while_the_trace_is_fooled() -> None:
    n = 200
    place = np.linspace(0, 1, n)
    similarity = 0.1 * similarities(3, n) + np.cos(np.pi * (place[:, None] - place[None, :]))
    usable = np.ones(n, bool)
    z = (np.trace(similarity) - similarity.sum() / n) / similarity.std() / np.sqrt(n)
    assert z > 5  # against all permutations, the trace is far out
    assert log10_swap_tail(exchanges(similarity, usable)) > -3
    # and neurons in place are seen through the trend
    assert log10_swap_tail(exchanges(similarity + 0.2 * np.eye(n), usable)) < -12


def test_pairs_of_which_one_neuron_cannot_be_used_count_nothing() -> None:
    similarity, usable = 5.0 * np.eye(7), np.ones(7, bool)
    usable[2] = False
    assert exchanges(similarity, usable).tolist() == [10.0, 0.0, 10.0]  # the seventh has no neighbour


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_neurons_to_exchange(n: int) -> None:
    assert exchanges(np.ones((n, n)), np.ones(n, bool)).size == 0


# binomial


@given(st.integers(1, 300), st.integers(1, 99), st.data())
def test_binomial_tail_equals_the_exact_fraction(trials: int, percent: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(1, trials))
    rate = Fraction(percent, 100)
    tail = sum(comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(hits, trials + 1))
    assume(tail > 0)
    expected = log10(tail.numerator) - log10(tail.denominator)
    assert log10_binomial_tail(hits, trials, float(rate)) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("hits", "trials", "m"), [(1, 32, 11008), (32, 32, 11008), (250, 256, 1536), (3, 2048, 500)])
def test_binomial_tail_at_the_sizes_of_a_search(hits: int, trials: int, m: int) -> None:
    # chances of 1 in m, summed in integers
    count = sum(comb(trials, k) * (m - 1) ** (trials - k) for k in range(hits, trials + 1))
    expected = log10(count) - trials * log10(m)
    assert log10_binomial_tail(hits, trials, 1 / m) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(st.integers(1, 200), st.floats(1e-6, 0.999))
def test_binomial_tail_falls_from_one(trials: int, rate: float) -> None:
    tail = [log10_binomial_tail(k, trials, rate) for k in range(trials + 1)]
    assert tail[0] == 0.0
    assert tail[-1] == pytest.approx(trials * log10(rate), rel=1e-9)
    assert (np.diff(tail) <= 1e-9).all()
    assert log10_binomial_tail(-1, trials, rate) == 0.0
