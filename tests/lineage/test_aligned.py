"""Rung 1 on drawn models: what it must see, and what must not fool it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from modelkit import make_sample

from auditor.lineage.aligned import (
    aligned_neurons,
    combine_layers,
    detection_limit,
    order_is_informative,
)
from auditor.lineage.sample import NeuronSample, sample_index


def noisy(sample: NeuronSample, cosine: float, seed: int = 5) -> NeuronSample:
    rng = np.random.default_rng(seed)
    sine = np.sqrt(1 - cosine**2)
    gate, up = (cosine * rows + sine * rng.standard_normal(rows.shape) for rows in (sample.gate, sample.up))
    return replace(sample, gate=gate, up=up)


def layers_of(sample: NeuronSample, order: list[int]) -> NeuronSample:
    return replace(sample, layers=tuple(range(len(order))), gate=sample.gate[order], up=sample.up[order])


@pytest.mark.parametrize("cosine", [1.0, 0.99, 0.5, 0.3])
def test_drift_is_seen(cosine: float) -> None:
    reference = make_sample(1)
    found = aligned_neurons(reference, noisy(reference, cosine))
    assert found.log10_p < -100
    assert np.diag(found.fixed).tolist() == [32] * 6
    assert np.diag(found.cosine) == pytest.approx(cosine, abs=0.03)


def test_weak_drift_is_seen_at_the_width_of_llama_2() -> None:
    reference = make_sample(1, layers=8, hidden=4096)
    found = aligned_neurons(reference, noisy(reference, 0.05))
    assert found.log10_p < -60  # not every neuron, but enough of them
    assert np.diag(found.fixed).mean() > 20


def test_independent_model_is_not_seen() -> None:
    found = aligned_neurons(make_sample(1), make_sample(2))
    assert found.log10_p > -3
    assert 0.5 < found.fixed.mean() < 1.5


@pytest.mark.parametrize(
    "order",
    [[0, 1, 4, 5], [0, 1, 1, 2, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [3]],
    ids=["dropped", "stacked", "reversed", "one of six"],
)
def test_layers_that_moved_are_found(order: list[int]) -> None:
    reference = make_sample(1)
    found = aligned_neurons(reference, layers_of(reference, order))
    assert found.log10_p < -30
    assert found.log10_p_pair.argmin(axis=0).tolist() == order


def test_one_inherited_layer_among_others_is_found() -> None:
    reference, target = make_sample(1, layers=32), make_sample(2, layers=32)
    target.gate[20], target.up[20] = reference.gate[7], reference.up[7]
    found = aligned_neurons(reference, target)
    assert found.log10_p < -30
    assert np.unravel_index(found.log10_p_pair.argmin(), (32, 32)) == (7, 20)


def test_scaled_neurons_are_still_found() -> None:
    reference = make_sample(1)
    scale = np.exp(np.random.default_rng(0).normal(0, 1, (6, 32, 1)))
    assert aligned_neurons(reference, replace(reference, up=reference.up * scale)).log10_p < -100


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 1.0], ids=["zero", "nan", "inf", "constant"])
def test_degenerate_rows_never_match(value: float) -> None:
    reference = make_sample(1)
    flat = np.full_like(reference.gate, value)
    found = aligned_neurons(reference, replace(reference, gate=flat, up=flat.copy()))
    assert found.log10_p == 0.0
    assert not found.usable.any()
    half = replace(reference, gate=reference.gate.copy(), up=reference.up.copy())
    half.gate[:, ::2] = half.up[:, ::2] = value
    found = aligned_neurons(reference, half)  # benign twin: the other half of the neurons still decides
    assert found.log10_p < -50
    assert (np.diag(found.usable) == 16).all()


def test_repeated_neurons_never_match() -> None:
    reference = make_sample(1)
    repeated = replace(
        reference, gate=np.repeat(reference.gate[:, :16], 2, 1), up=np.repeat(reference.up[:, :16], 2, 1)
    )
    found = aligned_neurons(repeated, repeated)
    assert found.log10_p == 0.0
    assert not found.usable.any()


def test_a_common_mean_and_outlier_channels_fool_nothing() -> None:
    common = 5 * np.random.default_rng(9).standard_normal(128)
    common[3] = 300.0
    a, b = (replace(s, gate=s.gate + common, up=s.up + common) for s in (make_sample(1), make_sample(2)))
    found = aligned_neurons(a, b)
    assert np.nanmean(found.cosine) > 0.9  # plain cosine would call this a match
    assert found.log10_p > -3
    assert aligned_neurons(a, noisy(a, 0.9)).log10_p < -20  # benign twin


def by_length(sample: NeuronSample) -> NeuronSample:
    order = np.argsort(np.linalg.norm(sample.gate, axis=2), axis=1)[..., None]
    return replace(sample, gate=np.take_along_axis(sample.gate, order, 1), up=np.take_along_axis(sample.up, order, 1))


def test_neurons_sorted_in_both_do_not_count() -> None:
    a, b = make_sample(1), make_sample(2)
    assert order_is_informative(by_length(a))
    assert not order_is_informative(a)
    assert aligned_neurons(by_length(a), by_length(b)).sorted_by_size
    assert not aligned_neurons(a, by_length(b)).sorted_by_size  # benign twin: one sorted model is no danger


def test_natural_order_is_not_called_sorted() -> None:
    assert not any(order_is_informative(make_sample(seed, layers=30, hidden=32)) for seed in range(200))


def test_combining_takes_the_best_way_and_pays_for_the_choice() -> None:
    nothing = np.zeros((4, 4))
    layers = (0, 1, 2, 3)
    assert combine_layers(nothing, layers, layers) == 0.0
    one = nothing.copy()
    one[1, 2] = -40.0
    assert combine_layers(one, layers, layers) == pytest.approx(-40 + np.log10(4 * 4 * 3))
    assert combine_layers(one[:0], (), layers) == 0.0


@pytest.mark.parametrize("hidden", [128, 1024])
def test_detection_limit_is_where_detection_begins(hidden: int) -> None:
    reference = make_sample(1, hidden=hidden)
    limit = detection_limit(aligned_neurons(reference, make_sample(2, hidden=hidden)), log10_alpha=-12)
    assert limit is not None
    above, below = (
        np.mean([aligned_neurons(reference, noisy(reference, c, seed)).log10_p <= -12 for seed in range(10)])
        for c in (1.25 * limit, 0.7 * limit)
    )
    assert above >= 0.9
    assert below <= 0.1


def test_detection_limit_says_when_too_little_was_read() -> None:
    few = make_sample(1, layers=1, neurons=4)
    assert detection_limit(aligned_neurons(few, make_sample(2, layers=1, neurons=4)), log10_alpha=-12) is None


def test_sample_index_is_a_block_inside() -> None:
    for neurons in (1, 5, 32, 33, 1536, 11008, 28672):
        index = sample_index(neurons)
        assert len(index) == min(32, neurons)
        assert (np.diff(index) == 1).all()
        assert index[0] >= 0
        assert index[-1] < neurons
    assert sample_index(11008, seed=1)[0] != sample_index(11008, seed=0)[0]
