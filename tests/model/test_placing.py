"""What is not known is left out with a reason, never guessed; and nothing hides beside a decoy."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import quantkit
from familykit import FAMILIES, HF, Shape, Written, canonical, joined, layer_of
from ggufkit import gguf_bytes
from modelkit import make_model, safetensors_bytes

from auditor.errors import DuplicateName, LimitExceeded, SizeMismatch, UnsupportedDtype
from auditor.formats import open_checkpoints
from auditor.formats.serialize import serialize
from auditor.limits import LIMITS
from auditor.model import Block, ModelView, model_views, placing, unplaced_share
from auditor.model import stacked as stacking
from auditor.sources import BytesSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelkit import Model


def views(contents: dict[str, bytes]) -> tuple[ModelView, ...]:
    source = BytesSource(contents)
    found = open_checkpoints(source)
    assert found.unread == ()
    return tuple(view for container in found.containers for view in model_views(source, container))


def view_of(written: Written) -> ModelView:
    (view,) = views(written.files())
    return view


def share(*models: Model) -> float:
    """Share that is unplaced of files side by side."""
    source = BytesSource({f"{i}/model.safetensors": safetensors_bytes(model) for i, model in enumerate(models)})
    containers = open_checkpoints(source).containers
    return unplaced_share(containers, [view for each in containers for view in model_views(source, each)])


def written(name: str, **sizes: int) -> Written:
    family = FAMILIES[name]
    shape = family.shape(**sizes)
    return family.write(family.draw(1, shape), shape)


# --- what a config must say -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("InternLM 2", "num_key_value_heads"),
        ("Megatron", "num_query_groups"),
        ("GPT-NeoX", "num_attention_heads"),
        ("Falcon 40B", "num_kv_heads"),
        ("Falcon 7B", "multi_query"),
        ("BLOOM", "model_type"),
        ("ChatGLM", "multi_query_attention"),
        ("Qwen 1", "model_type"),
        ("StarCoder", "multi_query"),
    ],
)
@pytest.mark.parametrize("change", ["absent", "text", "zero", "a bool of a count", "no config", "no JSON", "a list"])
def test_queries_are_left_out_where_no_config_tells_their_order(name: str, key: str, change: str) -> None:
    whole = written(name)
    files = whole.files()
    values: dict[str, object] = {"text": "many", "zero": 0, "a bool of a count": True, "a list": [[]]}
    if change == "a bool of a count" and key.startswith("multi_query"):
        values[change] = 1
    if change == "no config":
        del files["config.json"]
    elif change == "no JSON":
        files["config.json"] = b"{"
    else:
        config = {k: v for k, v in whole.config.items() if k != key}
        files["config.json"] = json.dumps(config | ({key: values[change]} if change in values else {})).encode()
    (view,) = views(files)
    assert view.layers("q") == view.layers("k") == view.layers("v") == ()
    unknown = {left.entry.name for left in view.unplaced}
    assert all("query" in n or "qkv" in n or "c_attn" in n for n in unknown)
    assert len({left.reason for left in view.unplaced}) >= 1
    assert view.layers("up", "down") == (0, 1)  # and nothing else
    source = BytesSource(files)
    containers = open_checkpoints(source).containers
    assert unplaced_share(containers, [view]) > 0.1
    assert view_of(whole).unplaced == ()  # benign twin


@pytest.mark.parametrize("heads", [3, 5, 7, 32, 10**6, 2**70])
def test_head_counts_that_do_not_fit_the_shapes(heads: int) -> None:
    model = written("InternLM 2")
    view = view_of(replace(model, config=model.config | {"num_key_value_heads": heads}))
    assert view.layers("q") == ()
    assert "groups" in view.unplaced[0].reason


def test_other_head_counts_that_fit_give_another_order() -> None:
    """The count is what decides the order; the config's word is all there is, and no test of descent rests on it."""
    family, shape = FAMILIES["InternLM 2"], Shape()
    model = family.draw(1, shape)
    one = family.write(model, shape)
    view = view_of(replace(one, config=one.config | {"num_key_value_heads": 4}))
    assert not np.array_equal(view.rows(0, "q", np.arange(32)), model[0, "q"])
    np.testing.assert_array_equal(view.rows(0, "gate", np.arange(40)), model[0, "gate"])


def test_config_of_a_language_model_inside_another() -> None:
    model = written("InternLM 2")
    inner = replace(model, config={"model_type": "internvl", "llm_config": model.config, "num_key_value_heads": 7})
    assert view_of(inner).unplaced == ()


def test_no_output_projection_says_how_many_queries_there_are() -> None:
    model = written("Phi-3")
    view = view_of(replace(model, tensors={n: w for n, w in model.tensors.items() if "o_proj" not in n}))
    assert view.layers("q") == ()
    assert "output projection" in view.unplaced[0].reason
    assert view.layers("gate", "up") == (0, 1)


@pytest.mark.parametrize("rows", [0, 1, 31, 32, 33, 65, 63])
def test_fused_rows_that_do_not_fit(rows: int) -> None:
    model = written("Phi-3")
    name = "model.layers.0.self_attn.qkv_proj.weight"
    view = view_of(replace(model, tensors=model.tensors | {name: np.ones((rows, 24), np.float32)}))
    assert view.layers("q") == (1,)
    assert [left.entry.name for left in view.unplaced] == [name]


# --- gate and up ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [0, 1, 40, 79, 81, 160])
def test_gate_and_up_of_another_size_than_down(rows: int) -> None:
    model = written("Phi-3")
    name = "model.layers.0.mlp.gate_up_proj.weight"
    view = view_of(replace(model, tensors=model.tensors | {name: np.ones((rows, 24), np.float32)}))
    assert view.layers("gate", "up") == (1,)
    assert [left.entry.name for left in view.unplaced] == [name]


def test_up_of_twice_the_size_in_an_order_that_is_not_known() -> None:
    model = written("GGUF Phi-3")
    assert view_of(model).gated  # benign twin
    view = view_of(replace(model, config={"general.architecture": "made-up"}))
    assert not view.gated
    assert "order that is not known" in view.unplaced[-1].reason


@pytest.mark.parametrize("name", ["Phi-3", "GGUF Phi-3"])
def test_fused_beside_the_same_by_itself(name: str) -> None:
    model = written(name)
    own = "blk.0.attn_q.weight" if model.gguf else "model.layers.0.self_attn.q_proj.weight"
    with pytest.raises(DuplicateName):
        views(replace(model, tensors=model.tensors | {own: np.ones((32, 24), np.float32)}).files())


def test_fused_and_separate_gates() -> None:
    model = written("Phi-3")
    with pytest.raises(DuplicateName):
        views(
            replace(
                model, tensors=model.tensors | {"model.layers.1.mlp.gate_proj.weight": np.ones((40, 24), np.float32)}
            ).files()
        )


# --- experts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["no down", "another count", "another size", "unknown order"])
def test_stacked_experts_that_cannot_be_told_apart(change: str) -> None:
    model = written("GPT-OSS")
    tensors = dict(model.tensors)
    down, bias = "model.layers.0.mlp.experts.down_proj", "model.layers.0.mlp.experts.gate_up_proj_bias"
    if change == "no down":
        del tensors[down]
    elif change == "another count":
        tensors[down] = tensors[down][:2]
    elif change == "another size":
        tensors[down] = tensors[down][:, :39]
    else:
        del tensors[bias]
    view = view_of(replace(model, tensors=tensors))
    assert {block.layer for block in view.blocks()} == {1}
    assert any("gate_up_proj" in left.entry.name for left in view.unplaced)
    config = {"model_type": "gpt_oss"}
    if change == "unknown order":
        assert len(view_of(replace(model, tensors=tensors, config=config)).blocks()) == 6


def test_stacked_experts_with_a_bias_in_another_orientation() -> None:
    model = written("fused experts")
    bias = {"model.layers.0.mlp.experts.gate_up_proj_bias": np.ones((3, 80), np.float32)}
    view = view_of(replace(model, tensors=model.tensors | bias))
    assert {block.layer for block in view.blocks()} == {1}


def test_one_expert_may_lack_a_matrix() -> None:
    model = written("Mixtral")
    gone = "model.layers.0.block_sparse_moe.experts.1.w3.weight"
    view = view_of(replace(model, tensors={n: w for n, w in model.tensors.items() if n != gone}))
    assert [block.expert for block in view.blocks()] == [0, 2, 0, 1, 2]


def test_dense_and_experts_in_one_layer() -> None:
    model = written("Mixtral")
    dense = {f"model.layers.1.mlp.{kind}_proj.weight": np.ones((5, 24), np.float32) for kind in ("gate", "up")}
    view = view_of(replace(model, tensors=model.tensors | dense))
    assert [block.expert for block in view.blocks() if block.layer == 1] == [None, 0, 1, 2]
    assert view.layers("gate", "up") == (1,)


def test_shared_experts_are_numbered_after_the_others() -> None:
    shared = {f"model.layers.0.mlp.shared_expert.{kind}_proj.weight": np.ones((5, 24)) for kind in ("gate", "up")}
    far = {f"model.layers.0.mlp.experts.9999.{kind}_proj.weight": np.ones((5, 24)) for kind in ("gate", "up")}
    (view,) = views({"model.safetensors": safetensors_bytes(shared | far)})
    assert view.blocks() == (Block(layer=0, expert=9999), Block(layer=0, expert=10000))
    assert view.tensor(0, Block(layer=0, expert=10000).role("gate")).name.endswith("shared_expert.gate_proj.weight")


def test_quantised_stacked_experts_are_read_plane_by_plane() -> None:
    raw = np.random.default_rng(0).integers(0, 256, (3, 5, 2 * 34), dtype=np.uint8)
    content = {f"blk.0.ffn_{kind}_exps.weight": (8, (3, 5, 64), raw.tobytes()) for kind in ("gate", "up")}
    (view,) = views({"m.gguf": gguf_bytes(content, {"general.architecture": "qwen2moe"})})  # type: ignore[arg-type]
    one = {f"blk.0.ffn_{kind}.weight": (8, (5, 64), raw[2].tobytes()) for kind in ("gate", "up")}
    (twin,) = views({"m.gguf": gguf_bytes(one, {"general.architecture": "qwen2moe"})})  # type: ignore[arg-type]
    index = np.array([4, 0])
    np.testing.assert_array_equal(view.rows(0, "experts.2.up", index), twin.rows(0, "up", index))


def test_types_without_values_are_refused_when_their_rows_are_asked_for() -> None:
    experts = ("F4", (2, 3, 4), bytes(12))
    data = serialize({"layers.0.mlp.experts.gate_up_proj": experts, "layers.0.mlp.experts.down_proj": experts})
    found = views({"model.safetensors": data})
    assert not any(view.gated for view in found)
    fused = ("F4", (8, 4), bytes(16))
    down = ("F4", (4, 4), bytes(8))
    data = serialize({"layers.0.mlp.gate_up_proj.weight": fused, "layers.0.mlp.down_proj.weight": down})
    (view,) = views({"model.safetensors": data})
    with pytest.raises(UnsupportedDtype):
        view.rows(0, "gate", np.arange(1))


def empty_experts(count: int) -> bytes:
    return serialize(
        {
            "layers.0.mlp.experts.gate_up_proj": ("F32", (count, 0, 5), b""),
            "layers.0.mlp.experts.down_proj": ("F32", (count, 5, 0), b""),
        }
    )


def test_number_of_experts_is_capped_before_any_is_made() -> None:
    with pytest.raises(LimitExceeded) as caught:
        views({"model.safetensors": empty_experts(2**40)})
    assert (caught.value.field, caught.value.limit) == ("MLP blocks", LIMITS.blocks)


def test_number_of_blocks_is_capped_over_all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(view_of(written("Mixtral")).blocks()) == 6
    for module in (placing, stacking):
        monkeypatch.setattr(module, "LIMITS", replace(LIMITS, blocks=6))
    for name in ("Mixtral", "fused experts"):
        assert len(view_of(written(name)).blocks()) == 6
        with pytest.raises(LimitExceeded):
            views(written(name, layers=3).files())


# --- nothing hides beside a decoy -----------------------------------------------------------------------

DECOY = make_model(1, layers=4)


def hidden(names: dict[str, str], *, layers: int = 4) -> Model:
    """Rename the MLPs of another model."""
    out = {}
    for name, w in make_model(2, layers=layers).items():
        for old, new in names.items():
            if f"mlp.{old}_proj." in name:
                out[name.replace(f"mlp.{old}_proj.weight", new)] = w
    return out


@pytest.mark.parametrize(
    "names",
    [
        {"gate": "mlp.gate_proj.bias", "up": "mlp.up_proj.bias"},
        {"gate": "mlp.gate.weight", "up": "mlp.shared_expert_gate.weight"},
        {"gate": "block_sparse_moe.gate.weight", "up": "self_attn.q_norm.weight"},
        {"gate": "self_attn.k_norm.weight", "up": "self_attn.q_layernorm.bias"},
        {"gate": "mlp.experts.gate_up_proj_bias", "up": "mlp.experts.gate_up_proj"},
        {"gate": "self_attn.sinks", "up": "mlp.gate.e_score_correction_bias"},
        {"gate": "mlp.gate.gate_network.0.weight", "up": "mlp.gate.gate_network.7.weight"},
        {"gate": "mlp.gate.weight_noise.weight", "up": "mlp.gate.gate_network.2.weight"},
        {"gate": "self_attn.q_proj.bias", "up": "self_attn.W_pack.bias"},
        {"gate": "mlp.linear_fc1.layer_norm_weight", "up": "input_layernorm.bias"},
    ],
)
def test_roles_that_no_test_looks_at_hold_no_large_matrices(names: dict[str, str]) -> None:
    assert share(DECOY) == 0  # benign twin
    decoy = {name: w for name, w in DECOY.items() if "post_attention" not in name}
    assert share(decoy | hidden(names)) > 0.2


@pytest.mark.parametrize("prefix", ["", "transformer.", "model.", "spare.model."])
@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("h", {"up": "mlp.c_fc.weight", "down": "mlp.c_proj.weight"}),
        ("blocks", {"up": "ffn.up_proj.weight", "down": "ffn.down_proj.weight"}),
        ("layers", {"up": "fc1.weight", "down": "fc2.weight"}),
    ],
)
def test_mlps_without_a_gate_beside_a_decoy_with_one(prefix: str, word: str, names: dict[str, str]) -> None:
    beside = {
        name.replace("model.layers.", f"{prefix}{word}.").replace(f"{word}.", f"{word}.1", 1): w
        for name, w in hidden(names).items()
    }
    assert share(DECOY | beside) > 0.2  # under the same prefix, in layers of their own, or under another
    assert share(DECOY, beside) > 0.2  # in another file
    assert share(beside) == 0  # by themselves they are what was asked about


def test_unknown_names_beside_a_model_without_a_gate() -> None:
    plain = hidden({"up": "fc1.weight", "down": "fc2.weight"})
    assert share(plain) == 0
    assert share(plain | {"unknown": np.ones((400, 400), np.float32)}) > 0.5


def test_a_tensor_of_which_the_rows_are_not_known_is_unplaced() -> None:
    model = written("Phi-3")
    source = BytesSource(replace(model, tensors={n: w for n, w in model.tensors.items() if "o_proj" not in n}).files())
    (container,) = open_checkpoints(source).containers
    found = model_views(source, container)
    qkv = sum(e.stop - e.start for e in container.tensors if "qkv" in e.name)
    total = sum(e.stop - e.start for e in container.tensors if len(e.shape) == 2)
    assert unplaced_share([container], found) == pytest.approx(qkv / total)


# --- norms ----------------------------------------------------------------------------------------------


def gained(written_: Written) -> tuple[ModelView, np.ndarray]:
    view = view_of(written_)
    return view, view.vector(0, "mlp_norm")


@pytest.mark.parametrize(
    ("name", "config", "added"),
    [
        ("Llama", {}, 0),
        ("Llama", {"model_type": "gemma"}, 1),  # the first Gemma has Llama's names
        ("Llama", {"model_type": "llava", "text_config": {"model_type": "gemma"}}, 1),
        ("Gemma 2", {}, 1),
        ("Gemma 2", {"model_type": "gemma3n_text"}, 0),
        ("Gemma 2", {"model_type": ["gemma2"]}, 1),
        ("Qwen 3", {"model_type": "qwen3"}, 0),
        ("GGUF Phi-3", {"general.architecture": "gemma2"}, 0),  # converted with the one added
    ],
)
def test_gains_as_they_are_applied(name: str, config: dict[str, object], added: int) -> None:
    view, stored = gained(replace(written(name), config=config))
    np.testing.assert_array_equal(view.gain(0, "mlp_norm"), stored + np.float32(added))


def test_norms_by_where_they_stand() -> None:
    family, shape = FAMILIES["Gemma 2"], Shape()
    model = family.draw(1, shape)
    view = view_of(family.write(model, shape))
    np.testing.assert_array_equal(view.vector(0, "mlp_norm"), model[0, "mlp_norm"])
    assert view.tensor(0, "post_attn_norm").name.endswith("0.post_attention_layernorm.weight")
    assert view.tensor(0, "post_mlp_norm").name.endswith("0.post_feedforward_layernorm.weight")


def test_olmo2_has_no_norm_before_its_mlp() -> None:
    names = {role: tail for role, tail in HF.items() if role != "attn_norm"}
    model = canonical(1, Shape())
    tensors = {f"model.layers.{n}.{names[role]}.weight": w for (n, role), w in model.items() if role in names}
    tensors |= {f"model.layers.{n}.post_feedforward_layernorm.weight": np.ones(24, np.float32) for n in range(2)}
    view = view_of(Written(tensors=tensors))
    assert view.architecture == "olmo2"
    assert view.layers("mlp_norm") == ()
    assert view.layers("post_attn_norm", "post_mlp_norm") == (0, 1)


def test_glm4_keeps_its_mlp_norm() -> None:
    model = written("Phi-3")
    extra = {
        f"model.layers.{n}.{norm}.weight": np.full(24, 2, np.float32)
        for n in range(2)
        for norm in ("post_self_attn_layernorm", "post_mlp_layernorm")
    }
    view = view_of(replace(model, tensors=model.tensors | extra))
    assert view.tensor(0, "mlp_norm").name.endswith("post_attention_layernorm.weight")


# --- biases ---------------------------------------------------------------------------------------------


def test_biases_are_split_as_their_matrices_are() -> None:
    for name in ("GPT-NeoX", "GPT-2", "Qwen 2"):
        family = FAMILIES[name]
        shape = family.shape()
        model = family.draw(1, shape)
        view = view_of(family.write(model, shape))
        for role in "qkv":
            np.testing.assert_array_equal(view.vector(1, f"{role}.bias"), model[1, role][:, 0])


def test_interleaved_biases_come_back_in_order() -> None:
    shape = Shape()
    model = canonical(1, shape)
    bias = {role: model[0, role][:, 0].copy() for role in "qk"}
    stored = {
        f"blk.0.attn_{role}.bias": b.reshape(heads, 2, shape.head // 2).swapaxes(1, 2).reshape(-1)
        for (role, b), heads in zip(bias.items(), (shape.heads, shape.kv_heads), strict=True)
    }
    mlp = {f"blk.0.ffn_{role}.weight": model[0, role] for role in ("gate", "up", "down")}
    config = {"general.architecture": "llama", "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2}
    view = view_of(Written(tensors=stored | mlp, config=config, gguf=True))
    for role in "qk":
        np.testing.assert_array_equal(view.vector(0, f"{role}.bias"), bias[role])
        assert not np.array_equal(stored[f"blk.0.attn_{role}.bias"], bias[role])


# --- prefixes -------------------------------------------------------------------------------------------


def test_head_joins_the_only_decoder_below_it() -> None:
    view = view_of(written("LLaVA of 2025"))
    assert view.prefix == "model.language_model."
    assert view.tensor(None, "head").name == "lm_head.weight"
    assert view.tensor(None, "embed").name == "model.language_model.embed_tokens.weight"


def test_head_of_two_decoders_is_neither_s() -> None:
    both = {f"model.{part}.{name.removeprefix('model.')}": w for part in "ab" for name, w in DECOY.items()}
    found = views(
        {"model.safetensors": safetensors_bytes(both | {"lm_head.weight": DECOY["model.embed_tokens.weight"]})}
    )
    assert [view.prefix for view in found] == ["model.a.", "model.b."]
    for view in found:
        with pytest.raises(KeyError):
            view.tensor(None, "head")


def test_wrapped_and_plain_spelling_of_one_place() -> None:
    twice = {"module." + name: w for name, w in DECOY.items()}
    with pytest.raises(DuplicateName):
        views({"model.safetensors": safetensors_bytes(DECOY | twice)})
    (view,) = views({"model.safetensors": safetensors_bytes(twice)})
    assert view.prefix == "model."


def test_entries_are_whole_tensors_and_places_their_parts() -> None:
    model = written("Phi-3")
    view = view_of(model)
    assert {entry.name for entry in view.entries()} == set(model.tensors)
    fused = [(role, entry.shape) for layer, role, entry in view.places() if layer == 0 and "qkv" in entry.name]
    assert fused == [("q", (32, 24)), ("k", (16, 24)), ("v", (16, 24))]
    assert view.stored(0, "gate").shape == (80, 24)
    gate, up = view.tensor(0, "gate"), view.tensor(0, "up")
    assert (gate.stop, gate.stop - gate.start) == (up.start, 40 * 24 * 4)
    assert joined(layer_of(canonical(1, Shape()), 0)).shape == view.stored(0, "q").shape


@pytest.mark.parametrize("architecture", ["", "x" * 41, "\x1b[31m", "a b", "ł"])
def test_architecture_of_a_hostile_header(architecture: str) -> None:
    model = written("GGUF MoE")
    assert view_of(replace(model, config={"general.architecture": architecture})).architecture == "unknown"


# --- quantised ------------------------------------------------------------------------------------------


def fused_case(case: quantkit.Case, name: str) -> dict[str, bytes]:
    """Write a quantised matrix under the name of a fused one."""
    files = {"model.safetensors": serialize({f"{name}.{leaf}": tensor for leaf, tensor in case.tensors.items()})}
    return files | {"config.json": json.dumps({"quantization_config": case.config}).encode()} | case.texts


@pytest.mark.parametrize("make", [quantkit.gptq, quantkit.awq, quantkit.bnb4, quantkit.deepseek])
def test_quantised_gate_and_up_in_one(make: Callable[..., quantkit.Case]) -> None:
    case = make(3)
    (view,) = views(fused_case(case, "model.layers.0.mlp.gate_up_proj"))
    half = len(case.expected) // 2
    for role, expected in (("gate", case.expected[:half]), ("up", case.expected[half:])):
        assert view.tensor(0, role).shape == expected.shape
        np.testing.assert_array_equal(view.rows(0, role, np.arange(half)), expected)
        np.testing.assert_array_equal(view.rows(0, role, np.array([half - 1, 0])), expected[[half - 1, 0]])


def test_quantised_gate_and_up_that_cannot_be_put_together() -> None:
    case = quantkit.gptq(3).with_tensor("scales", None)
    (view,) = views(fused_case(case, "model.layers.0.mlp.gate_up_proj"))
    assert not view.gated
    assert "scales" in view.unplaced[0].reason


def test_quantised_experts_one_by_one() -> None:
    case = quantkit.gptq(3)
    tensors = {
        f"model.layers.0.mlp.experts.{expert}.{role}_proj.{leaf}": tensor
        for expert in range(2)
        for role in ("gate", "up")
        for leaf, tensor in case.tensors.items()
    }
    config = json.dumps({"quantization_config": case.config}).encode()
    (view,) = views({"model.safetensors": serialize(tensors), "config.json": config})
    assert view.blocks() == (Block(layer=0, expert=0), Block(layer=0, expert=1))
    np.testing.assert_array_equal(view.rows(0, "experts.1.up", np.arange(len(case.expected))), case.expected)


@pytest.mark.parametrize("shape", [(), (24,), (2, 24, 3)])
def test_a_projection_of_gpt2_that_is_no_matrix(shape: tuple[int, ...]) -> None:
    model = written("GPT-2")
    view = view_of(replace(model, tensors=model.tensors | {"h.0.attn.c_proj.weight": np.ones(shape, np.float32)}))
    assert view.layers("up", "down") == (0, 1)
    assert view.layers("q") == (1,)
    with pytest.raises(SizeMismatch):
        view.rows(0, "o", np.arange(1))
