"""The makers of the lineage battery do what they say: disguises keep the function, derivations what they keep."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import scipy.stats

from auditor.formats import open_checkpoints
from auditor.lineage.sample import sample_index
from auditor.model import model_views
from auditor.sources import open_source

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks" / "lineage"))

import cases
import corpus
import derivations
import disguises
import judges
import recipes
import table
import targets
from forward import logits
from recipes import Heads
from surgery import EMBED, HEAD, NORM, at

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Model = dict[str, Floats]

TOKENS = np.array([3, 11, 7, 7, 0, 24, 19, 2])
HEADS = Heads(query=4, key=2)


def make(*, tied: bool = False, seed: int = 5, hidden: int = 24, neurons: int = 40) -> Model:
    """Draw a model in which every part matters: gains far from 1, grouped heads, float64."""
    rng = np.random.default_rng(seed)
    size = 6
    model = {EMBED: rng.normal(0, 1, (25, hidden)), NORM: rng.uniform(0.5, 2, hidden)}
    if not tied:
        model[HEAD] = rng.normal(0, 0.3, (25, hidden))
    for layer in range(3):
        shapes = {
            "self_attn.q_proj": (HEADS.query * size, hidden),
            "self_attn.k_proj": (HEADS.key * size, hidden),
            "self_attn.v_proj": (HEADS.key * size, hidden),
            "self_attn.o_proj": (hidden, HEADS.query * size),
            "mlp.gate_proj": (neurons, hidden),
            "mlp.up_proj": (neurons, hidden),
            "mlp.down_proj": (hidden, neurons),
        }
        model |= {at(layer, name): rng.normal(0, 0.3, shape) for name, shape in shapes.items()}
        for norm in ("input_layernorm", "post_attention_layernorm"):
            model[at(layer, norm)] = rng.uniform(0.5, 2, hidden)
    return model


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", disguises.DISGUISES)
def test_disguise_keeps_the_function(name: str, tied: bool) -> None:  # noqa: FBT001
    model = make(tied=tied)
    hidden = disguises.DISGUISES[name](model, 1, HEADS)
    expected, tokens = logits(model, TOKENS, HEADS), TOKENS
    if name in {"tokens-permuted", "everything"}:
        order = disguises.token_order(model, 1)
        expected, tokens = expected[:, order], np.argsort(order)[TOKENS]
    np.testing.assert_allclose(logits(hidden, tokens, HEADS), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", disguises.DISGUISES)
def test_disguise_changes_the_weights_and_not_its_argument(name: str) -> None:
    model = make()
    before = {key: w.copy() for key, w in model.items()}
    hidden = disguises.DISGUISES[name](model, 1, HEADS)
    assert all(np.array_equal(model[key], before[key]) for key in before)
    assert any(hidden[key].shape != w.shape or not np.allclose(hidden[key], w) for key, w in model.items())
    again, other = (disguises.DISGUISES[name](model, seed, HEADS) for seed in (1, 2))
    assert all(np.array_equal(again[key], hidden[key]) for key in hidden)
    if name != "gains-folded":  # which draws nothing
        assert any(not np.array_equal(other[key], hidden[key]) for key in hidden)


# --- derivations


def float32(model: Model) -> dict[str, NDArray[np.float32]]:
    return {name: w.astype(np.float32) for name, w in model.items()}


def row_cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    return (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


GATE = at(1, "mlp.gate_proj")


def test_drift_has_the_cosine_it_says() -> None:
    model = float32(make(hidden=240))
    moved = derivations.drifted(model, 0.3, 1)
    assert row_cosines(model[GATE], moved[GATE]).mean() == pytest.approx(0.3, abs=0.03)
    np.testing.assert_allclose(moved[NORM], model[NORM])


@pytest.mark.parametrize("kind", ["linear", "slerp", "ties", "dare"])
def test_merge_holds_about_its_share(kind: str) -> None:
    a, b = (float32(make(seed=seed, hidden=240)) for seed in (1, 2))
    tuned = {name: w + np.float32(0.01) * np.roll(w, 1) for name, w in b.items()}
    merged = {
        "linear": lambda: derivations.linear(a, tuned, 0.3),
        "slerp": lambda: derivations.slerp(a, tuned, 0.3),
        "ties": lambda: derivations.ties(b, [a, tuned], [0.3, 0.7], 0.5),
        "dare": lambda: derivations.dare(b, [a, tuned], [0.3, 0.7], 0.5, 3),
    }[kind]()
    share = (a[GATE] * merged[GATE]).sum() / (a[GATE] ** 2).sum()
    assert 0.2 < share < 0.5
    own = (b[GATE] * merged[GATE]).sum() / (b[GATE] ** 2).sum()
    assert own > share


def test_ends_of_merges_are_the_models() -> None:
    a, b = (float32(make(seed=seed)) for seed in (1, 2))
    for merge in (derivations.linear, derivations.slerp):
        for share, expected in ((1.0, a), (0.0, b)):
            np.testing.assert_allclose(merge(a, b, share)[GATE], expected[GATE], atol=1e-6)


def test_pruning_zeroes_the_smallest() -> None:
    model = float32(make())
    pruned = derivations.pruned(model, 0.7)[GATE]
    assert (pruned == 0).mean() == pytest.approx(0.7, abs=0.02)
    assert np.abs(model[GATE][pruned == 0]).max() <= np.abs(pruned[pruned != 0]).min()
    two = derivations.pruned_two_of_four(model)[GATE].reshape(-1, 4)
    assert ((two != 0).sum(axis=1) == 2).all()


def test_split_experts_hold_every_neuron_once() -> None:
    model = float32(make())
    split = derivations.split_mixture(model, 4, 1)
    for part, name in (("w1", "gate"), ("w3", "up")):
        rows = np.concatenate(
            [split[f"model.layers.1.block_sparse_moe.experts.{expert}.{part}.weight"] for expert in range(4)]
        )
        assert sorted(map(tuple, rows)) == sorted(map(tuple, model[at(1, f"mlp.{name}_proj")]))
    gate, up, down = (split[f"model.layers.1.block_sparse_moe.experts.2.{part}.weight"] for part in ("w1", "w3", "w2"))
    place = [int(np.flatnonzero((model[GATE] == row).all(axis=1))[0]) for row in gate]
    assert np.array_equal(up, model[at(1, "mlp.up_proj")][place])
    assert np.array_equal(down, model[at(1, "mlp.down_proj")][:, place])


def test_spectral_twin_keeps_spectra_embeddings_and_norms_and_no_direction() -> None:
    model = float32(make(hidden=60, neurons=80))
    twin = derivations.spectral_twin(model, 1)
    ours, theirs = (np.linalg.svd(m[GATE], compute_uv=False) for m in (model, twin))
    np.testing.assert_allclose(theirs, ours, rtol=1e-4)
    assert np.array_equal(twin[EMBED], model[EMBED])
    assert np.array_equal(twin[NORM], model[NORM])
    assert abs(row_cosines(model[GATE], twin[GATE]).mean()) < 0.06


@pytest.mark.parametrize("name", ["sample_replaced", "sample_permuted"])
def test_sample_is_perturbed_and_only_the_sample(name: str) -> None:
    model = float32(make(neurons=200))
    out = getattr(derivations, name)(model, 1)
    index = sample_index(200)
    same = (out[GATE] == model[GATE]).all(axis=1)
    assert not same[index].any()
    if name == "sample_replaced":
        assert same.sum() == 200 - len(index)
    else:
        assert same.sum() == 200 - 2 * len(index)
        np.testing.assert_allclose(logits(out, TOKENS, HEADS), logits(model, TOKENS, HEADS), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("change", [derivations.sorted_neurons, lambda model: derivations.awq_scaled(model, 1)])
def test_other_changes_that_keep_the_function(change: Callable[[Model], Model]) -> None:
    model = make()
    np.testing.assert_allclose(logits(change(model), TOKENS, HEADS), logits(model, TOKENS, HEADS), rtol=1e-5, atol=1e-5)


def test_anisotropic_models_share_their_mean_and_nothing_else() -> None:
    model = float32(make(hidden=240))
    a, b = (derivations.anisotropic(model, seed)[GATE] for seed in (1, 2))
    assert row_cosines(a, b).mean() > 0.5
    assert np.corrcoef(a.mean(axis=0), b.mean(axis=0))[0, 1] > 0.95
    left, right = a - a.mean(axis=0), b - b.mean(axis=0)
    assert abs(row_cosines(left, right).mean()) < 0.1


# --- as folders: what the auditor reads is what was written


def rows_read(folder: Path, role: str, layer: int = 1) -> NDArray[np.float32]:
    source = open_source(str(folder))
    checkpoints = open_checkpoints(source)
    ((view,),) = (model_views(source, container) for container in checkpoints.containers)
    return view.rows(layer, role, np.arange(view.tensor(layer, role).shape[0]))


@pytest.mark.parametrize("layout", ["f32", "bf16", "f16", "shards", "gguf"])
def test_layout_is_read_back(layout: str, tmp_path: Path) -> None:
    model = float32(make())
    targets.LAYOUTS[layout](model, HEADS, tmp_path)
    for role, name in (("gate", "mlp.gate_proj"), ("q", "self_attn.q_proj"), ("k", "self_attn.k_proj")):
        np.testing.assert_allclose(rows_read(tmp_path, role), model[at(1, name)], rtol=1e-2, atol=1e-6)


def test_step_of_every_kind_makes_a_model_that_has_a_config() -> None:
    model = float32(make(hidden=64, neurons=64))
    skipped = {"linear", "slerp", "ties", "dare", "inherited", "embeddings-of"}  # they want a second model on disk
    arguments: dict[str, dict[str, object]] = {
        "drift": {"cosine": 0.5}, "pruned": {"share": 0.5}, "restacked": {"layers": (0, 2)}, "rounded": {"bits": 4},
        "copied-experts": {"experts": 2}, "split-experts": {"experts": 2}, "grouped": {"key": 1},
        "vocabulary-resized": {"size": 9}, "anisotropic": {"seed": 1}, "degenerate": {"kind": "not-finite"},
    }  # fmt: skip
    for name in targets.STEPS.keys() - skipped:
        made = targets.apply(dict(model), HEADS, targets.step(name, **arguments.get(name, {})))
        config = targets.config_of(made, HEADS)
        assert config["architectures"], name


# --- the list, and what is counted


def test_battery_has_every_number_and_no_row_twice() -> None:
    rows = cases.battery()
    assert {case.number for case in rows} == set(range(1, 36))
    places = [(case.number, case.family, case.base.name, case.target.name) for case in rows]
    assert len(set(places)) == len(places)
    assert {case.truth for case in rows if case.number <= 14} == {"derived"}
    assert {case.truth for case in rows if 15 <= case.number <= 23} == {"disguised"}
    assert {case.truth for case in rows if case.number >= 24} == {"not derived", "apart"}
    for case in rows:
        assert {change.name for target in (case.base, case.target) for change in target.steps} <= set(targets.STEPS)


def test_recipes_come_after_what_they_start_from() -> None:
    seen: set[str] = set()
    for recipe in recipes.RECIPES:
        assert recipe.parent is None or recipe.parent in seen
        seen.add(recipe.name)
    assert len({recipe.key for recipe in recipes.RECIPES}) == len(recipes.RECIPES)


@pytest.mark.parametrize(("hits", "trials"), [(0, 1), (0, 40), (3, 40), (39, 40), (40, 40)])
def test_clopper_pearson_against_scipy(hits: int, trials: int) -> None:
    expected = scipy.stats.binomtest(hits, trials).proportion_ci(method="exact")
    assert table.clopper_pearson(hits, trials) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize(
    ("truth", "verdict", "outcome"),
    [
        ("derived", "derived", "pass"),
        ("derived", "identical", "pass"),
        ("derived", "inconclusive", "FAIL"),
        ("disguised", "independent", "FAIL"),
        ("not derived", "independent", "pass"),
        ("not derived", "inconclusive", "pass"),
        ("not derived", "derived", "FAIL"),
        ("apart", "derived", "-"),
    ],
)
def test_outcome(truth: cases.Truth, verdict: str, outcome: str) -> None:
    target = targets.Target(model="A")
    case = cases.Case(number=1, name="x", family="tiny", truth=truth, base=target, target=target)
    row = table.Row(case=case, answer=judges.Answer(verdict=verdict), plain=None, peer=None)
    assert row.outcome == outcome
    assert f"| {verdict} |" in table.page([row], 1.0)


# --- text


def test_byte_pairs_are_merged_from_the_left() -> None:
    sequence = np.array([1, 1, 1, 1, 2, 1, 1, 1])
    assert corpus.merge(sequence, (1, 1), 300).tolist() == [300, 300, 2, 300, 1]
    assert corpus.merge(sequence, (1, 2), 300).tolist() == [1, 1, 1, 300, 1, 1, 1]
    assert corpus.merge(sequence, (5, 5), 300).tolist() == sequence.tolist()
