"""A kilobyte of a model: what it finds, what it does not claim, and that its p-values are p-values."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelkit import Model, drifted, make_model, safetensors_bytes, write_model

from auditor.audit import Options, audit
from auditor.errors import BadReference
from auditor.formats import open_checkpoints
from auditor.lineage.compact import BITS, NEURONS, CompactIndex, CompactSample, _directions, compact_sample
from auditor.lineage.reader import ModelReader
from auditor.model import model_views
from auditor.sources import BytesSource

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = {"layers": 6, "hidden": 96, "neurons": 128}
BASE = make_model(1, **SHAPE)


def taken(model: Model) -> CompactSample:
    source = BytesSource({"model.safetensors": safetensors_bytes(model)})
    (container,) = open_checkpoints(source).containers
    (view,) = model_views(source, container)
    sample = compact_sample(ModelReader(view))
    assert sample is not None
    return sample


def drawn(rng: np.random.Generator, *, layers: int = 4) -> CompactSample:
    """Draw what is kept of a model directly: its signs are fair coins."""
    return CompactSample(
        hidden_size=4096,
        neurons=11008,
        layers=tuple(range(layers)),
        signs=rng.integers(0, 256, (layers, NEURONS, 2, BITS // 8), np.uint8),
        lengths=rng.uniform(0.5, 1, (layers, NEURONS, 2)).astype(np.float16),
    )


@pytest.mark.parametrize("cosine", [1.0, 0.9, 0.5])
def test_a_relative_is_found_among_others(cosine: float) -> None:
    index = CompactIndex([taken(make_model(seed, **SHAPE)) for seed in range(2, 12)])
    place = index.add(taken(BASE))
    best, *others = index.relatives(taken(drifted(BASE, cosine=cosine)))
    assert best.place == place
    assert best.log10_p < -12
    assert best.cosine == pytest.approx(cosine, abs=0.06)
    assert all(other.log10_p > -4 for other in others)
    assert all(abs(other.agreement - 0.5) < 0.05 for other in others)


def test_models_of_another_shape_are_not_compared() -> None:
    index = CompactIndex([taken(BASE)])
    assert index.relatives(taken(make_model(1, layers=6, hidden=64, neurons=128))) == []
    assert index.relatives(taken(make_model(1, layers=6, hidden=96, neurons=120))) == []


def test_moved_layers_are_found() -> None:
    order = [1, 2, 3, 4, 5, 0]
    moved = {
        name.replace(f"layers.{old}.", f"layers.{new}."): values
        for new, old in enumerate(order)
        for name, values in BASE.items()
        if f"layers.{old}." in name
    } | {name: values for name, values in BASE.items() if ".layers." not in name}
    found = CompactIndex([taken(BASE)]).relatives(taken(moved))
    assert found[0].log10_p < -12


def test_sorted_models_prove_nothing() -> None:
    def in_order(seed: int) -> Model:
        model = {name: values.copy() for name, values in make_model(seed, **SHAPE).items()}
        for layer in range(SHAPE["layers"]):
            at = f"model.layers.{layer}.mlp."
            sizes = np.sort(np.random.default_rng(seed).uniform(0.2, 5, SHAPE["neurons"]))[:, None]
            for role in ("gate_proj", "up_proj"):
                model[f"{at}{role}.weight"] *= sizes.astype(np.float32)
        return model

    (found,) = CompactIndex([taken(in_order(1))]).relatives(taken(in_order(1)))
    assert (found.agreement, found.log10_p) == (1.0, 0.0)


def test_what_cannot_be_compared_has_no_sample() -> None:
    few = make_model(1, layers=2, hidden=64, neurons=NEURONS - 1)
    source = BytesSource({"model.safetensors": safetensors_bytes(few)})
    (container,) = open_checkpoints(source).containers
    (view,) = model_views(source, container)
    assert compact_sample(ModelReader(view)) is None


def test_broken_rows_never_match() -> None:
    broken = {name: np.full_like(values, np.nan) if ".mlp." in name else values for name, values in BASE.items()}
    (found,) = CompactIndex([taken(broken)]).relatives(taken(broken))
    assert found.log10_p == 0.0


def test_unrelated_models_are_as_by_chance() -> None:
    """Poisson matches: p-values of 400 pairs are no smaller than uniform ones, at every level that 400 can tell."""
    rng = np.random.default_rng(0)
    values = []
    for _ in range(400):
        (found,) = CompactIndex([drawn(rng)]).relatives(drawn(rng))
        values.append(10**found.log10_p)
    for level in (0.5, 0.1, 0.05, 0.01):
        assert np.mean(np.array(values) <= level) <= level + 3 * np.sqrt(level * (1 - level) / 400), level


def test_the_correction_counts_every_model_of_the_shape() -> None:
    rng = np.random.default_rng(1)
    one, many = CompactIndex([drawn(rng)]), CompactIndex(drawn(rng) for _ in range(500))
    sample = drawn(rng)
    assert one.relatives(sample)[0].log10_p > -3
    many.add(one.nearest(sample)[0][1])
    assert len(many) == 501
    assert all(relative.log10_p > -3 for relative in many.relatives(sample))


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_what_is_written_reads_the_same(seed: int, layers: int) -> None:
    sample = drawn(np.random.default_rng(seed), layers=layers)
    again = CompactSample.from_bytes(sample.to_bytes())
    assert again.shape == sample.shape
    assert again.layers == sample.layers
    assert np.array_equal(again.signs, sample.signs)
    assert np.array_equal(again.lengths, sample.lengths)


def test_four_layers_take_under_two_kilobytes() -> None:
    assert len(drawn(np.random.default_rng(0)).to_bytes()) < 2000


@given(st.binary(max_size=200))
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(BadReference):
        CompactSample.from_bytes(data)


@given(st.data())
def test_a_changed_sample_is_refused_or_another_one(data: st.DataObject) -> None:
    good = bytearray(drawn(np.random.default_rng(0), layers=1).to_bytes())
    at = data.draw(st.integers(0, len(good) - 1))
    good[at] ^= data.draw(st.integers(1, 255))
    try:
        CompactIndex([CompactSample.from_bytes(bytes(good))])
    except BadReference:
        return


def test_the_directions_are_the_same_for_ever() -> None:
    """Stored samples of other machines and versions are compared with new ones."""
    rows = np.sin(np.arange(192.0)).reshape(2, 96)
    assert np.packbits(rows @ _directions(96) > 0, axis=-1).tobytes().hex() == "b5a6a2967f2c11a726955e8132a8ce92"


def test_an_audit_takes_samples_where_asked(tmp_path: Path) -> None:
    base = write_model(BASE, tmp_path / "base")
    target = write_model(drifted(BASE, cosine=0.9), tmp_path / "target")
    asked = Options(against=(str(base),), licence=False, compact=True)
    found, plain = audit(str(target), asked), audit(str(target), replace(asked, compact=False))
    (sample,) = found.compact
    assert CompactIndex([taken(BASE)]).relatives(sample)[0].log10_p < -12
    assert plain.compact == ()
    assert found.report.coverage.bytes_read == plain.report.coverage.bytes_read  # of a model of the reference's shape
