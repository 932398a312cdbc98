"""Shared embeddings: seen where they are shared, and never because tokens mean the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import binom, kstest

from auditor.lineage.embeddings import shared_embeddings

Rows = np.ndarray


def words(seed: int, *, tokens: int = 64, width: int = 96, noise: float = 0.3) -> Rows:
    """Embeddings of one vocabulary: what the words mean is the same for every seed, the basis and the noise are not."""
    meaning = np.random.default_rng(0).standard_normal((tokens, 8))
    rng = np.random.default_rng(seed)
    return (meaning @ rng.standard_normal((8, width)) + noise * rng.standard_normal((tokens, width))).astype(np.float32)


def log10_p(reference: Rows, target: Rows) -> float:
    found = shared_embeddings(reference, target)
    assert found is not None
    return found.log10_p


@pytest.mark.parametrize("seed", range(1, 6))
def test_words_alone_are_no_evidence(seed: int) -> None:
    ours, theirs = words(50), words(100 + seed)
    gram = [
        np.corrcoef((rows - rows.mean(0)) @ (rows - rows.mean(0)).T)[np.triu_indices(64, 1)] for rows in (ours, theirs)
    ]
    assert np.corrcoef(*gram)[0, 1] > 0.7  # the words are alike in both, and so are no others
    assert log10_p(ours, theirs) > -3


def test_transplanted_embeddings_are_found() -> None:
    found = shared_embeddings(words(1), words(1))
    assert found is not None
    assert (found.cosine, found.tokens) == (pytest.approx(1.0), 64)
    assert found.log10_p == pytest.approx(-48 * np.log10(2.0), rel=0.01)  # all 48 pairs of columns fall into place


@pytest.mark.parametrize("cosine", [0.9, 0.7, 0.5])
def test_embeddings_trained_further_are_found(cosine: float) -> None:
    ours = words(1, width=512)
    noise = np.random.default_rng(5).standard_normal(ours.shape) * ours.std()
    found = shared_embeddings(ours, cosine * ours + np.sqrt(1 - cosine**2) * noise)
    assert found is not None
    assert found.log10_p < -12
    assert found.cosine == pytest.approx(cosine, abs=0.08)


def test_columns_in_another_order_are_not_called_shared() -> None:
    ours = words(1)
    theirs = ours[:, np.random.default_rng(4).permutation(ours.shape[1])]
    assert log10_p(ours, theirs) > -3


def test_a_common_mean_is_no_evidence() -> None:
    ours, theirs = words(1), words(2)
    mean = 20.0 * np.random.default_rng(3).standard_normal(96)
    found = shared_embeddings(ours + mean, theirs + mean)
    assert found is not None
    assert found.cosine > 0.9  # which is why the cosine decides nothing
    assert found.log10_p > -3


def test_outlier_columns_are_two_coins_at_most() -> None:
    # The same two channels are large in many models. Each is one pair of columns, and gives a factor of two.
    ours, theirs = words(1), words(2)
    for rows in (ours, theirs):
        rows[:, [10, 51]] = 300.0 * (1.0 + 0.1 * words(7)[:, [10, 51]])
    assert log10_p(ours, theirs) > -3


def test_scales_of_tokens_and_columns_change_nothing_but_rounding() -> None:
    ours, theirs = words(1), words(1) + words(8)
    scale = np.random.default_rng(2).uniform(0.5, 2, (64, 1)).astype(np.float32)
    assert log10_p(ours * scale, theirs) == pytest.approx(log10_p(ours, theirs), rel=1e-3)
    assert log10_p(ours, 1000.0 * theirs) == pytest.approx(log10_p(ours, theirs), rel=1e-3)


@given(
    hnp.arrays(np.float32, (6, 8), elements=st.floats(-4, 4, width=32)),
    hnp.arrays(np.float32, (6, 8), elements=st.floats(-4, 4, width=32)),
)
def test_who_is_the_reference_does_not_matter(ours: Rows, theirs: Rows) -> None:
    one, other = shared_embeddings(ours, theirs), shared_embeddings(theirs, ours)
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert one.log10_p == pytest.approx(other.log10_p, abs=1e-6)
        assert one.cosine == pytest.approx(other.cosine, abs=1e-6)
        assert one.tokens == other.tokens


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_rows_that_say_nothing_are_left_out(value: float) -> None:
    ours, theirs = words(1), words(1)
    ours[:3], theirs[3:5] = value, value
    found = shared_embeddings(ours, theirs)
    assert found is not None
    assert found.tokens == 59
    assert found.log10_p < -12


def test_fewer_than_two_rows_are_no_test() -> None:
    ours = words(1)
    assert shared_embeddings(ours[:1], ours[:1]) is None
    assert shared_embeddings(ours[:0], ours[:0]) is None
    assert shared_embeddings(np.zeros_like(ours), ours) is None


def test_columns_that_do_not_vary_say_nothing() -> None:
    ours = np.ones((5, 8), np.float32)
    assert log10_p(ours, ours) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("target", ["independent", "itself", "common mean", "outlier columns"])
def test_the_bound_holds_over_two_thousand_orders_of_columns(target: str) -> None:
    rng = np.random.default_rng(6)
    ours = words(1, tokens=24, width=64)
    theirs = words(2, tokens=24, width=64) if target == "independent" else ours.copy()
    if target == "common mean":
        ours, theirs = ours + 5 * rng.standard_normal(64), theirs + 5 * rng.standard_normal(64)
    if target == "outlier columns":
        theirs[:, [3, 40]] *= 30
    draws = np.array([log10_p(ours[:, rng.permutation(64)], theirs) for _ in range(2000)])
    for alpha in (0.5, 0.1, 0.01, 0.001):
        assert (draws <= np.log10(alpha)).sum() <= binom.ppf(1 - 1e-6, 2000, alpha), alpha
    assert kstest(10.0**draws, "uniform", alternative="greater").pvalue > 1e-6
    assert (draws < 0).mean() > 0.4  # it is a p-value, not a constant
