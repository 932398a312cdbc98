"""Shares of a merge: recovered, with intervals that cover them, or nothing said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.lineage.merging import Share, merge_weights

if TYPE_CHECKING:
    from collections.abc import Callable

Rows = np.ndarray

L, N, D = 12, 16, 64


def model(seed: int, *, layers: int = L) -> Rows:
    return np.random.default_rng(seed).standard_normal((layers, N, D)).astype(np.float32)


def related(seed: int, *, cosine: float = 0.8) -> Rows:
    """A model that shares an origin with all others made so."""
    return cosine * model(0) + np.sqrt(1 - cosine**2) * model(seed)


def weights(shares: tuple[Share, ...]) -> dict[str, float]:
    return {share.reference: share.weight for share in shares}


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=4), st.sampled_from([model, related]))
@settings(max_examples=20)
def test_linear_merges_are_recovered(shares: list[float], make: Callable[[int], Rows]) -> None:
    references = {f"model {i}": make(i + 1) for i in range(len(shares))}
    target = sum(share * rows for share, rows in zip(shares, references.values(), strict=True))
    found = merge_weights(target, references)
    assert weights(found) == pytest.approx(dict(zip(references, shares, strict=True)), abs=1e-4)
    assert [share.weight for share in found] == sorted((share.weight for share in found), reverse=True)
    for share in found:
        assert share.low <= share.weight <= share.high


def test_task_arithmetic_is_a_linear_merge() -> None:
    base, one, other = model(0), related(1), related(2)
    found = merge_weights(base + 0.6 * (one - base) + 0.4 * (other - base), {"base": base, "one": one, "other": other})
    assert weights(found) == pytest.approx({"one": 0.6, "other": 0.4, "base": 0.0}, abs=1e-4)


def test_intervals_cover_the_shares() -> None:
    # 95% by the normal approximation over 12 layers: a little less than 95 in truth, and not much.
    covered = []
    for seed in range(60):
        references = {"a": model(2 * seed), "b": model(2 * seed + 1)}
        target = 0.7 * references["a"] + 0.3 * references["b"] + 0.5 * model(1000 + seed)
        truth = {"a": 0.7, "b": 0.3}
        covered += [share.low <= truth[share.reference] <= share.high for share in merge_weights(target, references)]
    assert 0.86 <= np.mean(covered) <= 0.99


def test_layers_that_were_mixed_differently_widen_the_interval() -> None:
    a, b = model(1), model(2)
    mix = np.linspace(0, 1, L)[:, None, None]
    narrow = merge_weights(0.5 * a + 0.5 * b, {"a": a, "b": b})[0]
    wide = merge_weights(mix * a + (1 - mix) * b, {"a": a, "b": b})[0]
    assert wide.weight == pytest.approx(0.5, abs=1e-4)
    assert wide.high - wide.low > 0.2 > 100 * (narrow.high - narrow.low)


def test_a_reference_that_had_no_part_gets_none() -> None:
    found = merge_weights(
        0.5 * model(1) + 0.5 * model(2) + 0.1 * model(8), {"a": model(1), "b": model(2), "c": model(3)}
    )
    other = next(share for share in found if share.reference == "c")
    assert other.low - 0.02 <= 0.0 <= other.high + 0.02
    assert abs(other.weight) < 0.02


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0])
def test_references_that_are_one_model_are_refused(factor: float) -> None:
    a = model(1)
    assert merge_weights(a, {"a": a, "b": factor * a}) == ()
    assert merge_weights(a, {"a": a, "b": factor * a * (1 + 1e-7), "c": model(3)}) == ()


def test_nearly_the_same_references_share_a_wide_interval() -> None:
    a = model(1)
    near = a + 0.01 * model(2)
    found = merge_weights(a + 0.1 * model(3), {"a": a, "near": near})
    assert len(found) == 2
    assert all(share.high - share.low > 0.05 for share in found)
    assert sum(share.weight for share in found) == pytest.approx(1.0, abs=0.02)


def test_layers_in_another_order_leave_no_shares() -> None:
    a, b = model(1), model(2)
    order = np.roll(np.arange(L), 1)
    for share in merge_weights((0.7 * a + 0.3 * b)[order], {"a": a, "b": b}):
        assert abs(share.weight) < 0.05
        assert share.low - 0.02 <= 0.0 <= share.high + 0.02


def test_the_order_of_layers_does_not_matter_where_it_is_the_same() -> None:
    a, b, target = model(1), model(2), 0.7 * model(1) + 0.3 * model(2) + 0.3 * model(5)
    order = np.random.default_rng(3).permutation(L)
    straight, mixed = (
        merge_weights(target, {"a": a, "b": b}),
        merge_weights(target[order], {"a": a[order], "b": b[order]}),
    )
    for one, other in zip(straight, mixed, strict=True):
        assert (one.reference, one.weight, one.low, one.high) == (
            other.reference, pytest.approx(other.weight), pytest.approx(other.low), pytest.approx(other.high)
        )  # fmt: skip


def test_values_that_are_not_finite_are_left_out() -> None:
    a, b = model(1), model(2)
    target = 0.7 * a + 0.3 * b
    target[0, 0, 0], a[1, 2, 3], b[2, 1, 1] = np.nan, np.inf, -np.inf
    assert weights(merge_weights(target, {"a": a, "b": b})) == pytest.approx({"a": 0.7, "b": 0.3}, abs=1e-4)


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_a_layer_that_says_nothing_is_no_share(value: float) -> None:
    a, b = model(1), model(2)
    a[0] = value
    assert merge_weights(model(3), {"a": a, "b": b}) == ()


def test_too_few_references_or_layers_say_nothing() -> None:
    a, b = model(1, layers=2), model(2, layers=2)
    assert merge_weights(a, {"a": a, "b": b}) == ()
    assert merge_weights(model(1), {"a": model(1)}) == ()
    assert merge_weights(model(1), {}) == ()
