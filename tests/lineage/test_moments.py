"""Moments keep nothing of a model but what a rotation turns; frames fitted to them see through every rewrite."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from disguisekit import anisotropic, with_gains
from modelkit import make_model, write_model

from auditor.formats import open_checkpoints
from auditor.lineage import measuring
from auditor.lineage.layermap import moment_frame
from auditor.lineage.measuring import moments_of, take_moments
from auditor.lineage.moments import Moments, fitted_layers, moments_from
from auditor.lineage.reader import ModelReader
from auditor.lineage.searched import search
from auditor.model import model_views
from auditor.sources import open_source

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "lineage"))

from disguises import DISGUISES
from recipes import Heads

if TYPE_CHECKING:
    from modelkit import Model

TRAINED = Path(__file__).resolve().parent.parent / "models"
HEADS = Heads(query=4, key=4)


def reader(folder: Path) -> ModelReader:
    source = open_source(str(folder))
    (view,) = (view for container in open_checkpoints(source).containers for view in model_views(source, container))
    return ModelReader(view)


def base(*, heads: Heads = HEADS, layers: int = 4) -> Model:
    model = with_gains(anisotropic(make_model(1, layers=layers, hidden=64, neurons=160, vocabulary=300)))
    for name in model:
        if heads.key < heads.query and ("k_proj" in name or "v_proj" in name):
            model[name] = model[name][: 64 * heads.key // heads.query]
    return model


def written(model: Model, folder: Path, heads: Heads = HEADS) -> ModelReader:
    write_model({name: np.asarray(w, np.float32) for name, w in model.items()}, folder)
    config = {"num_attention_heads": heads.query, "num_key_value_heads": heads.key}
    (folder / "config.json").write_text(json.dumps(config))
    return reader(folder)


@pytest.mark.parametrize("heads", [HEADS, Heads(query=4, key=2)], ids=["heads", "grouped"])
@pytest.mark.parametrize(
    "how",
    ["neurons-permuted", "signs-flipped", "gains-folded", "rescaled", "attention-rebased", "heads-permuted",
     "tokens-permuted"],
)  # fmt: skip
def test_a_rewrite_without_a_rotation_changes_nothing(how: str, heads: Heads, tmp_path: Path) -> None:
    model = base(heads=heads)
    ours = take_moments(written(model, tmp_path / "a", heads), (0, 1, 2, 3))
    rewritten = DISGUISES[how](model, 3, heads)
    if how == "signs-flipped":  # it flips hidden dimensions too: those are a rotation
        signs = np.sign(rewritten["model.embed_tokens.weight"][0] / model["model.embed_tokens.weight"][0])
        assert set(signs.tolist()) == {-1.0, 1.0}
    theirs = take_moments(written(rewritten, tmp_path / "b", heads), (0, 1, 2, 3))
    np.testing.assert_allclose(theirs.strength, ours.strength, rtol=1e-3)
    for name in ("symmetric", "general", "vocabulary", "token"):
        values, others = getattr(ours, name), getattr(theirs, name)
        assert np.linalg.norm(values, axis=(-2, -1)).min() > 0.0
        spectra = [np.linalg.svd(m, compute_uv=False) for m in (values, others)]
        np.testing.assert_allclose(spectra[1], spectra[0], rtol=1e-2, atol=1e-3 * float(spectra[0].max()))


def test_a_rotated_model_has_the_same_moments_turned(tmp_path: Path) -> None:
    model = base()
    ours = moments_of(written(model, tmp_path / "a"))
    theirs = moments_of(written(DISGUISES["everything"](model, 3, HEADS), tmp_path / "b"))
    found = moment_frame(ours, theirs, (0, 1, 2, 3))
    assert found.layers == ((0, 0), (2, 2))
    assert found.cosine > 0.99


def test_every_neuron_of_a_trained_model_is_found_again(tmp_path: Path) -> None:
    """Trained on to row cosine .51, then disguised by every rewrite there is, tokens renumbered."""
    ours = reader(TRAINED / "A")
    drifted = {entry.name: w for entry, w in tensors(reader(TRAINED / "A-cpt-50"))}
    theirs = written(DISGUISES["everything"](drifted, 21, HEADS), tmp_path / "b")
    assert agreeing(ours, theirs)[[1, 3], [1, 3]].min() > 0.7


def test_moved_and_dropped_layers_are_found(tmp_path: Path) -> None:
    ours = reader(TRAINED / "A")
    whole = {entry.name: w for entry, w in tensors(reader(TRAINED / "A-cpt-83"))}
    order = (3, 2, 0)
    fewer = {name: w for name, w in whole.items() if ".layers." not in name}
    for new, old in enumerate(order):
        fewer |= {
            name.replace(f".layers.{old}.", f".layers.{new}."): w
            for name, w in whole.items()
            if f".layers.{old}." in name
        }
    share = agreeing(ours, written(DISGUISES["everything"](fewer, 21, HEADS), tmp_path / "b"))
    assert (share > 0.7).tolist() == [[old == layer for old in order] for layer in range(4)]


def test_a_twin_is_not_found() -> None:
    """As many agree as by chance, in the layers that the frame was fitted to as in the others."""
    share = agreeing(reader(TRAINED / "A"), reader(TRAINED / "B"))
    assert share.max() < 0.02


def test_a_wide_model_is_measured_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "SMALL_WIDTH", 16)
    monkeypatch.setattr(measuring, "MOMENT_DIRECTIONS", 48)
    model = base(layers=6)
    ours = moments_of(written(model, tmp_path / "a"))
    assert ours.layers == fitted_layers(tuple(range(6))) == (0, 2, 4)
    assert ours.basis.shape == (64, 48)
    theirs = moments_of(written(DISGUISES["everything"](model, 3, HEADS), tmp_path / "b"))
    assert moment_frame(ours, theirs, tuple(range(6))).cosine > 0.9


def test_more_layers_are_measured_where_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "SMALL_WIDTH", 16)
    one = written(base(), tmp_path / "a")
    assert moments_of(one).layers == (0, 2)
    assert moments_of(one, every=True).layers == (0, 1, 2, 3)
    assert moments_of(one).layers == (0, 1, 2, 3)


def test_attention_that_cannot_be_told_apart_says_nothing(tmp_path: Path) -> None:
    heads = Heads(query=4, key=2)
    assert take_moments(written(base(heads=heads), tmp_path / "a", heads), (0,)).general[0, 1:].any()
    (tmp_path / "a" / "config.json").write_text(json.dumps({"num_key_value_heads": 3}))
    spoilt = take_moments(reader(tmp_path / "a"), (0,))
    assert not spoilt.general[0, 1:].any()
    assert spoilt.general[0, 0].any()


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_attention_that_is_not_finite_says_nothing(value: float, tmp_path: Path) -> None:
    model = base()
    for role in "vq":
        name = f"model.layers.0.self_attn.{role}_proj.weight"
        model[name] = model[name].copy()
        model[name][:2] = value
    found = take_moments(written(model, tmp_path / "a"), (0, 1))
    assert not found.general[0, 1:].any()
    assert found.general[1, 1:].any()
    assert all(np.isfinite(values).all() for values in (found.general, found.symmetric, found.basis))


def test_what_is_stored_is_read_back(tmp_path: Path) -> None:
    ours = moments_of(written(base(), tmp_path / "a"))
    stored = {name: np.asarray(values, np.float32) for name, values in ours.tensors().items()}
    back = moments_from(stored, hidden=64, sampled=(0, 1, 2, 3))
    assert back is not None
    assert back.layers == ours.layers
    whole = [one.invariants((0, 2), fitted=(True, True), directions=64) for one in (ours, back)]
    for name in ("symmetric", "general", "vectors"):
        np.testing.assert_allclose(getattr(whole[1], name), getattr(whole[0], name), atol=2e-3)
    assert moments_from({}, hidden=64, sampled=(0,)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"strength": np.ones(65)},
        {"strength": np.full(64, np.nan)},
        {"symmetric": np.ones((2, 3, 64, 64))},
        {"layers": np.array([0, 1, 2, 9])},
        {"layers": np.array([0, 1, 2, 2])},
        {"token": np.full((64, 64), np.inf)},
    ],
    ids=["too long", "no number", "fewer layers", "unknown layer", "layer twice", "infinite"],
)
def test_stored_moments_that_cannot_be_are_refused(change: dict[str, np.ndarray], tmp_path: Path) -> None:
    stored = dict(moments_of(written(base(), tmp_path / "a")).tensors())
    stored |= {f"moments.{name}": values for name, values in change.items()}
    with pytest.raises(ValueError, match="moments"):
        moments_from({k: np.asarray(v, np.float32) for k, v in stored.items()}, hidden=64, sampled=(0, 1, 2, 3))


def test_neurons_that_do_not_count_are_not_seen(tmp_path: Path) -> None:
    ours = moments_of(written(base(), tmp_path / "a"))
    rng = np.random.default_rng(0)
    symmetric, means, general = ours.symmetric.copy(), ours.means.copy(), ours.general.copy()
    symmetric[1], means[1], general[1, 0] = rng.random(symmetric[1].shape), 1.0, rng.random(general[1, 0].shape)
    other: Moments = dataclasses.replace(ours, symmetric=symmetric, means=means, general=general)
    pair = [one.invariants((0, 1), fitted=(True, False), directions=64) for one in (ours, other)]
    for name in ("symmetric", "general", "vectors"):
        np.testing.assert_array_equal(getattr(pair[0], name), getattr(pair[1], name))


def tensors(model: ModelReader) -> list[tuple]:
    view = model.view
    return [
        (e, view.vector(n, role) if len(e.shape) == 1 else view.rows(n, role, np.arange(e.shape[0])))
        for n, role, e in view.places()
    ]


def agreeing(ours: ModelReader, theirs: ModelReader) -> np.ndarray:
    """Share of every fourth neuron of each layer whose gate and up lead to one neuron of each layer of the other."""
    frame = moment_frame(moments_of(ours), moments_of(theirs), ours.layers).frame
    gate, up = (
        np.stack([frame.of_reference(m[::4]) for m in part])
        for part in zip(*map(ours.neurons, ours.layers), strict=True)
    )
    found = []
    for layer in theirs.layers:
        target_gate, target_up = theirs.neurons(layer)
        one = search(gate, up, frame.of_target(target_gate), frame.of_target(target_up))
        found.append(one.agreeing / one.tried)
    return np.stack(found, axis=1)
