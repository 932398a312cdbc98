"""The pure tests: exact where they say exact, and never fooled by ties."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations
from math import comb, factorial, log10

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linear_sum_assignment
from scipy.stats import chi2

from auditor.lineage.stats import (
    assignment,
    bonferroni,
    fisher,
    fixed_points,
    log10_fixed_point_tail,
    log10_rank_correlation,
    log_length,
    unit_rows,
)

LN10 = np.log(10.0)


@pytest.mark.parametrize("n", range(8))
def test_tail_counts_every_permutation(n: int) -> None:
    counts = [sum(i == x for i, x in enumerate(p)) for p in permutations(range(n))]
    for k in range(n + 1):
        share = sum(count >= k for count in counts) / factorial(n)
        assert log10_fixed_point_tail(n)[k] == pytest.approx(log10(share), abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 16, 32, 64, 100, 169, 170])
def test_tail_equals_the_rencontres_numbers(n: int) -> None:
    # Derangements by inclusion and exclusion: another formula than the recurrence that the code uses.
    derangement = [sum(Fraction((-1) ** i * factorial(m), factorial(i)) for i in range(m + 1)) for m in range(n + 1)]
    exactly = [comb(n, k) * derangement[n - k] for k in range(n + 1)]
    for k in range(n + 1):
        count = int(sum(exactly[k:]))
        expected = log10(count) - log10(factorial(n))
        assert log10_fixed_point_tail(n)[k] == pytest.approx(expected, rel=1e-12, abs=1e-12)
        assert log10_fixed_point_tail(n)[k] <= -log10(factorial(k)) + 1e-12  # the bound 1 / k!


def test_tail_goes_far_below_what_a_float_holds() -> None:
    assert log10_fixed_point_tail(170)[170] == pytest.approx(-306.8606, abs=1e-3)
    assert log10_fixed_point_tail(400)[400] == pytest.approx(-868.806, abs=1e-2)
    assert fisher([log10_fixed_point_tail(170)[170]] * 32) == pytest.approx(-9819.5 + fisher_correction(32), abs=60)


def fisher_correction(m: int) -> float:
    x = 306.8606 * m * LN10
    return float((m - 1) * np.log10(x) - log10(factorial(m - 1)))


@given(st.lists(st.floats(-3, 0), min_size=1, max_size=80))  # beyond that scipy underflows
def test_fisher_equals_the_chi_square_tail(values: list[float]) -> None:
    expected = chi2.logsf(-2 * LN10 * sum(values), 2 * len(values)) / LN10
    assert fisher(values) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_fisher_of_nothing_is_one() -> None:
    assert fisher([]) == 0.0
    assert fisher([0.0, 0.0]) == 0.0


def test_bonferroni_never_exceeds_one() -> None:
    assert bonferroni(-5.0, 100) == pytest.approx(-3.0)
    assert bonferroni(-1.0, 100) == 0.0
    assert bonferroni(-1.0, 0) == -1.0


@settings(max_examples=200)
@given(st.data())
def test_assignment_is_optimal(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 9))
    values = st.integers(-4, 4) if data.draw(st.booleans()) else st.floats(-1e3, 1e3)
    similarity = data.draw(hnp.arrays(np.float64, (3, n, n), elements=values.map(float)))
    columns = assignment(similarity)
    for matrix, column in zip(similarity, columns, strict=True):
        assert sorted(column) == list(range(n))
        best = matrix[linear_sum_assignment(matrix, maximize=True)].sum()
        assert matrix[np.arange(n), column].sum() == pytest.approx(best, abs=1e-6)


def test_assignment_at_real_size() -> None:
    similarity = np.random.default_rng(0).normal(size=(20, 64, 64))
    columns = assignment(similarity)
    for matrix, column in zip(similarity, columns, strict=True):
        assert (column == linear_sum_assignment(matrix, maximize=True)[1]).all()


def test_matching_does_not_look_at_positions() -> None:
    # Relabelling the reference's neurons relabels the matching, and nothing else.
    rng = np.random.default_rng(1)
    similarity = rng.normal(size=(1, 16, 16))
    order = rng.permutation(16)
    assert (assignment(similarity[:, order])[0] == assignment(similarity)[0][order]).all()


@pytest.mark.parametrize(
    "similarity",
    [
        np.zeros((16, 16)),
        np.ones((16, 16)),
        np.outer(np.arange(16), np.ones(16)),
        np.outer(np.ones(16), np.arange(16)),
    ],
    ids=["zeros", "ones", "rows alike", "columns alike"],
)
def test_ties_never_produce_a_match(similarity: np.ndarray) -> None:
    assert fixed_points(similarity[None].astype(float), np.ones((1, 16), bool)).tolist() == [0]
    twin = similarity + 10 * np.eye(16)  # benign twin: the same with a real match in it
    assert fixed_points(twin[None], np.ones((1, 16), bool)).tolist() == [16]


@given(st.integers(0, 2**32 - 1), st.integers(2, 12))
def test_unusable_neurons_neither_match_nor_disturb(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    similarity = rng.normal(size=(1, n, n)) + 3 * np.eye(n)
    usable = rng.random((1, n)) < 0.6
    keep = np.flatnonzero(usable[0])
    column = linear_sum_assignment(similarity[0][np.ix_(keep, keep)], maximize=True)[1]
    expected = int((column == np.arange(keep.size)).sum())
    noise = np.where(usable[:, :, None] & usable[:, None, :], similarity, 1e6)
    assert fixed_points(noise, usable).tolist() == [expected]


def test_unit_rows_survive_every_size() -> None:
    rows = np.array([[3e-38, 4e-38], [3e37, 4e37], [0, 0], [np.nan, 1], [np.inf, 1], [65504.0, 0]], np.float32)
    units, usable = unit_rows(rows)
    assert usable.tolist() == [True, True, False, False, False, True]
    assert np.linalg.norm(units, axis=1) == pytest.approx([1, 1, 0, 0, 0, 1], rel=1e-3)
    assert units[1] == pytest.approx([0.6, 0.8])


def test_log_length() -> None:
    assert log_length([[3.0, 4.0]])[0] == pytest.approx(np.log(5))
    assert log_length([[3e37, 4e37]])[0] == pytest.approx(np.log(5) + 37 * LN10)
    assert (log_length([[0.0, 0.0], [np.nan, 1.0]]) == -np.inf).all()


def test_equal_values_are_no_order() -> None:
    """Equal values ranked one after another looked perfectly sorted: an order that proves nothing was seen in them."""
    assert log10_rank_correlation(np.ones(32)) == 0.0
    assert log10_rank_correlation(np.full(32, -np.inf)) == 0.0
    assert log10_rank_correlation(np.tile([1.0, 2.0], 16)) > -1


def test_rank_correlation_sees_order_and_not_ties() -> None:
    assert log10_rank_correlation(np.arange(32.0)) < -6
    assert log10_rank_correlation(-np.arange(32.0)) < -6
    draws = log10_rank_correlation(np.random.default_rng(0).normal(size=(4000, 32)))
    assert 0.03 < (draws <= log10(0.05)).mean() < 0.07
    assert fixed_points(np.zeros((1, 1, 1)), np.ones((1, 1), bool)).tolist() == [1]  # one neuron: p is 1 anyway
