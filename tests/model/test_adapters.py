"""PEFT adapters: what they say, what they change, and the model that comes of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torchkit as kit
from hypothesis import given, settings
from hypothesis import strategies as st
from modelkit import make_model, safetensors_bytes

from auditor.errors import SizeMismatch, UnsupportedFormat
from auditor.formats import open_checkpoints
from auditor.model import model_views
from auditor.model.adapter import Adapter, find_adapters
from auditor.model.merged import MergedView, merge
from auditor.sources import BytesSource

if TYPE_CHECKING:
    from modelkit import Model

    from auditor.model import ModelView

BASE = make_model(1, layers=2)
CONFIG: dict[str, object] = {
    "peft_type": "LORA", "base_model_name_or_path": "org/base", "r": 4, "lora_alpha": 8, "use_rslora": False,
    "target_modules": ["q_proj", "gate_proj"], "modules_to_save": None, "bias": "none", "fan_in_fan_out": False,
    "rank_pattern": {}, "alpha_pattern": {}, "init_lora_weights": True, "use_dora": False,
}  # fmt: skip
GATE, QUERY = "model.layers.1.mlp.gate_proj", "model.layers.0.self_attn.q_proj"
_RNG = np.random.default_rng(5)


def half(rows: int, columns: int) -> np.ndarray:
    return _RNG.normal(size=(rows, columns)).astype(np.float32)


LORA: Model = {
    f"base_model.model.{GATE}.lora_A.weight": half(4, 64),
    f"base_model.model.{GATE}.lora_B.weight": half(96, 4),
    f"base_model.model.{QUERY}.lora_A.weight": half(4, 64),
    f"base_model.model.{QUERY}.lora_B.weight": half(64, 4),
}


def folder(lora: Model = LORA, *, config: dict[str, object] | None = None, weights: str = "safetensors") -> BytesSource:
    data = kit.torch_zip(kit.values_of(lora)) if weights == "bin" else safetensors_bytes(lora)
    files = {f"adapter_model.{weights}": data, "adapter_config.json": json.dumps(CONFIG | (config or {})).encode()}
    return BytesSource(files)


def adapter_of(source: BytesSource) -> Adapter:
    found = open_checkpoints(source)
    assert found.unread == ()
    (adapter,), unread = find_adapters(source, found.containers)
    assert unread == ()
    return adapter


def base_view(model: Model = BASE) -> ModelView:
    source = BytesSource({"model.safetensors": safetensors_bytes(model)})
    (view,) = model_views(source, open_checkpoints(source).containers[0])
    return view


def merged(source: BytesSource, base: Model = BASE) -> MergedView:
    return merge(base_view(base), adapter_of(source), source)


def change(module: str, lora: Model = LORA) -> np.ndarray:
    at = f"base_model.model.{module}"
    return lora[f"{at}.lora_B.weight"] @ lora[f"{at}.lora_A.weight"]


@pytest.mark.parametrize("weights", ["safetensors", "bin"])
def test_what_it_says(weights: str) -> None:
    adapter = adapter_of(folder(weights=weights))
    assert adapter.base == "org/base"
    assert adapter.config is not None
    assert (adapter.config.rank, adapter.config.alpha) == (4, 8)
    assert adapter.config.target_modules == ("q_proj", "gate_proj")
    assert set(adapter.changes) == {(1, "gate"), (0, "q")}
    assert adapter.full == {}
    assert adapter.problems == ()


@pytest.mark.parametrize("weights", ["safetensors", "bin"])
@pytest.mark.parametrize(("rslora", "scaling"), [(False, 2.0), (True, 4.0)])
def test_rows_are_those_of_the_sum(weights: str, *, rslora: bool, scaling: float) -> None:
    view = merged(folder(config={"use_rslora": rslora}, weights=weights))
    index = np.array([5, 3, 90, 5])
    expected = (BASE[f"{GATE}.weight"] + scaling * change(GATE))[index]
    np.testing.assert_allclose(view.rows(1, "gate", index), expected, rtol=1e-5, atol=1e-6)
    (same, other) = view.rows_of([(1, "gate"), (0, "gate")], index)
    np.testing.assert_array_equal(same, view.rows(1, "gate", index))
    np.testing.assert_array_equal(other, BASE["model.layers.0.mlp.gate_proj.weight"][index])
    np.testing.assert_array_equal(view.vector(0, "mlp_norm"), np.ones(64))
    assert view.layers("gate", "up") == (0, 1)
    names = {entry.name for _, _, entry in view.places()} - set(BASE)
    assert len(names) == 2  # none that a file's digests could be taken for


@settings(max_examples=40)
@given(
    st.integers(1, 6), st.integers(1, 40), st.sampled_from(["", "model.layers.1.mlp.", "mlp.", "^model.layers.1.mlp."])
)
def test_exceptions_by_name(rank: int, alpha: int, before: str) -> None:
    lora = {**LORA, f"base_model.model.{GATE}.lora_A.weight": np.ones((rank, 64), np.float32)}
    lora[f"base_model.model.{GATE}.lora_B.weight"] = np.ones((96, rank), np.float32)
    key = f"{before}gate_proj"
    adapter = adapter_of(folder(lora, config={"rank_pattern": {key: rank}, "alpha_pattern": {key: alpha}}))
    assert adapter.problems == ()
    assert adapter.changes[1, "gate"].scaling == alpha / rank
    assert adapter.changes[0, "q"].scaling == 2


def test_names_with_the_adapters_own_name_in_them() -> None:
    lora = {name.replace(".weight", ".default.weight"): w for name, w in LORA.items()}
    assert set(adapter_of(folder(lora)).changes) == {(1, "gate"), (0, "q")}


def test_whole_modules_stand_for_those_of_the_base() -> None:
    lora = {
        **LORA,
        "base_model.model.lm_head.weight": half(60, 64),
        "base_model.model.model.embed_tokens.weight": half(60, 64),
        "base_model.model.model.layers.0.mlp.up_proj.weight": half(96, 64),
        "base_model.model.model.norm.weight": np.full(64, 2, np.float32),
    }
    source = folder(lora, config={"modules_to_save": ["lm_head", "embed_tokens"]})
    adapter = adapter_of(source)
    assert set(adapter.full) == {(None, "head"), (None, "embed"), (0, "up"), (None, "final_norm")}
    view = merge(base_view({**BASE, "lm_head.weight": half(50, 64)}), adapter, source)
    assert view.tensor(None, "embed").shape == (60, 64)
    index = np.array([59, 0])
    for role in ("embed", "head"):
        name = {"embed": "model.embed_tokens", "head": "lm_head"}[role]
        np.testing.assert_array_equal(view.rows(None, role, index), lora[f"base_model.model.{name}.weight"][index])
    (up,) = view.rows_of([(0, "up")], index)
    np.testing.assert_array_equal(up, lora["base_model.model.model.layers.0.mlp.up_proj.weight"][index])
    assert (view.vector(None, "final_norm") == 2).all()


def test_change_of_an_embedding_that_is_saved_too() -> None:
    at = "base_model.model.model.embed_tokens."
    lora = {f"{at}lora_embedding_A": half(4, 60), f"{at}lora_embedding_B": half(64, 4)}
    lora[f"{at}base_layer.weight"] = half(60, 64)  # with more tokens than the base
    view = merged(folder(lora))
    expected = lora[f"{at}base_layer.weight"] + 2 * (lora[f"{at}lora_embedding_B"] @ lora[f"{at}lora_embedding_A"]).T
    np.testing.assert_allclose(view.rows(None, "embed", np.arange(60)), expected, rtol=1e-5, atol=1e-6)
    (again,) = view.rows_of([(None, "embed")], np.arange(60))
    np.testing.assert_array_equal(again, view.rows(None, "embed", np.arange(60)))


def test_change_of_an_embedding() -> None:
    name = "base_model.model.model.embed_tokens.lora_embedding_"
    lora = {f"{name}A": half(4, 50), f"{name}B": half(64, 4)}
    view = merged(folder(lora))
    index = np.array([49, 7])
    expected = (BASE["model.embed_tokens.weight"] + 2 * (lora[f"{name}B"] @ lora[f"{name}A"]).T)[index]
    np.testing.assert_allclose(view.rows(None, "embed", index), expected, rtol=1e-5, atol=1e-6)


def test_adapter_beside_a_model_is_no_part_of_it() -> None:
    files = {"model.safetensors": safetensors_bytes(BASE), "adapter_model.safetensors": safetensors_bytes(LORA)}
    found = open_checkpoints(BytesSource(files))
    assert [container.files for container in found.containers] == [
        ("adapter_model.safetensors",),
        ("model.safetensors",),
    ]


REFUSED: dict[str, dict[str, object]] = {
    "DoRA": {"use_dora": True},
    "QA-LoRA": {"use_qalora": True},
    "of kind IA3": {"peft_type": "IA3"},
    "of kind LOHA": {"peft_type": "LOHA"},
    "of kind PREFIX_TUNING": {"peft_type": "PREFIX_TUNING"},
    "'pissa'": {"init_lora_weights": "pissa"},
    "'olora'": {"init_lora_weights": "olora"},
    "trained biases": {"bias": "lora_only"},
    "repeated layers": {"layer_replication": [[0, 1]]},
    "an expression": {"alpha_pattern": {"(a+)+$": 4}},
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_merged_is_named(what: str) -> None:
    source = folder(config=REFUSED[what])
    with pytest.raises(UnsupportedFormat, match=what):
        merge(base_view(), adapter_of(source), source)


@pytest.mark.parametrize(
    "lora",
    [
        {name: w for name, w in LORA.items() if "lora_B" not in name},
        {**LORA, f"base_model.model.{GATE}.lora_magnitude_vector": np.ones(96, np.float32)},
        {**LORA, f"base_model.model.{GATE}.lora_A.weight": np.ones((5, 64), np.float32)},
        {**LORA, f"base_model.model.{GATE}.lora_A.weight": np.ones(64, np.float32)},
        {**LORA, f"base_model.model.{GATE}.lora_A.default.weight": np.ones((4, 64), np.float32)},
        {**LORA, "base_model.model.model.layers.0.mlp.fc1.lora_A.weight": np.ones((4, 64), np.float32)},
        {**LORA, "model.vision.layers.0.mlp.gate_proj.lora_A.weight": np.ones((4, 64), np.float32),
         "model.vision.layers.0.mlp.gate_proj.lora_B.weight": np.ones((96, 4), np.float32)},
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_problems(lora: Model) -> None:
    source = folder(lora)
    assert adapter_of(source).problems
    with pytest.raises(UnsupportedFormat):
        merge(base_view(), adapter_of(source), source)


@pytest.mark.parametrize("other", [make_model(1, layers=1), make_model(1, layers=2, hidden=32)])
def test_another_base_does_not_fit(other: Model) -> None:
    source = folder()
    with pytest.raises(SizeMismatch):
        merge(base_view(other), adapter_of(source), source)


@pytest.mark.parametrize(
    "config",
    [b"", b"[]", b"{}", b'{"peft_type": 1}', b'{"peft_type": "LORA", "r": "4"}', b'{"peft_type": "LORA", "r": 0}',
     b'{"peft_type": "LORA", "r": 4, "lora_alpha": true}', b'{"peft_type": "LORA", "target_modules": {}}',
     b'{"peft_type": "LORA", "alpha_pattern": {"a": "b"}}', b'{"peft_type": "LORA", "use_rslora": "yes"}',
     b'{"peft_type": "LORA", "base_model_name_or_path": ["x"]}'],
)  # fmt: skip
def test_config_that_is_none(config: bytes) -> None:
    source = BytesSource({"adapter_model.safetensors": safetensors_bytes(LORA), "adapter_config.json": config})
    (adapter,), unread = find_adapters(source, open_checkpoints(source).containers)
    assert [entry.path for entry in unread] == ["adapter_config.json"]
    assert adapter.base is None
    assert "no adapter_config.json that can be read" in adapter.problems[0]


def test_rank_of_the_config_must_be_that_of_the_tensors() -> None:
    adapter = adapter_of(folder(config={"r": 8}))
    assert adapter.changes == {}
    assert len(adapter.problems) == 2


def test_of_a_base_in_metas_row_order() -> None:
    base = kit.meta_layout(BASE, heads=4, kv_heads=4)
    params = json.dumps({"dim": 64, "n_heads": 4}).encode()
    source = BytesSource({"consolidated.00.pth": kit.torch_zip(kit.values_of(base)), "params.json": params})
    (view,) = model_views(source, open_checkpoints(source).containers[0])
    adapter = folder()
    found = merge(view, adapter_of(adapter), adapter).rows(0, "q", np.arange(64))
    np.testing.assert_allclose(found, BASE[f"{QUERY}.weight"] + 2 * change(QUERY), rtol=1e-5, atol=1e-6)
