"""What a tensor is, by its name: Hugging Face and GGUF, wrapped and hostile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.model import ROLES, CanonicalName, canonical_name, names
from auditor.model.canonical import canonical_stem

HF = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.o_proj": "o",
    "post_attention_layernorm": "mlp_norm",
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.down_proj": "down",
}
GGUF = {
    "attn_norm": "attn_norm",
    "attn_q": "q",
    "attn_k": "k",
    "attn_v": "v",
    "attn_output": "o",
    "ffn_norm": "mlp_norm",
    "ffn_gate": "gate",
    "ffn_up": "up",
    "ffn_down": "down",
}
PREFIXES = [
    "",
    "model.",
    "language_model.model.",
    "model.language_model.",
    "thinker.model.",
    "a.layers.3.",
    "x\ny.",
]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("layer", [0, 9, 31, 9999])
def test_hugging_face_layers(prefix: str, layer: int) -> None:
    for name, role in HF.items():
        assert canonical_name(f"{prefix}layers.{layer}.{name}.weight") == (prefix, layer, role)


@pytest.mark.parametrize("layer", [0, 9, 31, 9999])
def test_gguf_layers(layer: int) -> None:
    for name, role in GGUF.items():
        assert canonical_name(f"blk.{layer}.{name}.weight") == ("", layer, role)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.embed_tokens.weight", ("model.", None, "embed")),
        ("model.norm.weight", ("model.", None, "final_norm")),
        ("lm_head.weight", ("model.", None, "head")),
        ("language_model.model.embed_tokens.weight", ("language_model.model.", None, "embed")),
        ("language_model.lm_head.weight", ("language_model.model.", None, "head")),
        ("token_embd.weight", ("", None, "embed")),
        ("output_norm.weight", ("", None, "final_norm")),
        ("output.weight", ("", None, "head")),
    ],
)
def test_tensors_of_no_layer(name: str, expected: CanonicalName) -> None:
    assert canonical_name(name) == expected


def test_every_role_has_a_name_in_both() -> None:
    names = [f"layers.0.{name}" for name in HF] + ["embed_tokens", "norm", "lm_head"]
    assert {canonical_name(f"{name}.weight").role for name in names} == set(ROLES)  # type: ignore[union-attr]
    names = [f"blk.0.{name}" for name in GGUF] + ["token_embd", "output_norm", "output"]
    assert {canonical_name(f"{name}.weight").role for name in names} == set(ROLES)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "weight",
        "model.layers.0.mlp.gate_proj",
        "model.layers.0.mlp.gate_proj.weight.absmax",
        "model.layers.0.mlp.gate_proj.qweight",
        "model.layers.0.mlp.gate_proj.weight ",
        "model.layers.0.mlp.gate_proj.weight\n",
        "model.layers.0.mlp.gate_proj\n.weight",
        "model.layers.0.self_attn.q_proj.lora_A.weight",
        "model.layers.mlp.gate_proj.weight",
        "model.layers.-1.mlp.gate_proj.weight",
        "model.layers.+1.mlp.gate_proj.weight",
        "model.layers.1_0.mlp.gate_proj.weight",
        "model.layers. 1.mlp.gate_proj.weight",
        "model.layers.10000.mlp.gate_proj.weight",
        f"model.layers.{'9' * 5000}.mlp.gate_proj.weight",
        "model.layers.\u0663.mlp.gate_proj.weight",  # a digit to Unicode
        "model.layers.\u00b2.mlp.gate_proj.weight",
        "model.Layers.0.mlp.gate_proj.weight",
        "modellayers.0.mlp.gate_proj.weight",
        "mymodel_embed_tokens.weight",
        "mylm_head.weight",
        "model.blk.0.ffn_gate.weight",
        "blk.10000.ffn_gate.weight",
        "blk.\u0663.ffn_gate.weight",
        "blk.0.ffn_gate.weight\n",
        "output_norm.weight.weight",
        "model.layers.0.mlp.experts.10000.gate_proj.weight",
        "model.layers.0.mlp.experts.\u0663.gate_proj.weight",
        "model.layers.0.mlp.experts.-1.gate_proj.weight",
        "model.layers.0.mlp.experts..gate_proj.weight",
        "model.layers.0.mlp.experts.#.gate_proj.weight",
        "model.layers.0.mlp.experts.1.2.gate_proj.weight",
        "model.layers.0.mlp.experts.gate_up_proj.weight",  # these have no suffix
        "model.layers.0.block_sparse_moe.experts.0.w4.weight",
        "blk.0.ffn_gate_exps.3.weight",
        "blk.0.self_attn.q_proj.weight",  # names of two worlds
        "model.layers.0.attn_q.weight",
        "layers.0.weight",
        ".weight",
        ".",
        "...",
        "module",
        "module.weight",
    ],
)
def test_names_that_are_none_of_ours(name: str) -> None:
    assert canonical_name(name) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.layers.3.mlp.gate_proj.bias", ("model.", 3, "gate.bias")),
        ("blk.3.ffn_gate.bias", ("", 3, "gate.bias")),
        ("model.layers.3.self_attn.q_norm.weight", ("model.", 3, "q_norm")),
        ("transformer.h.3.attn.c_attn.bias", ("transformer.", 3, "qkv.bias")),
        ("transformer.blocks.3.ffn.up_proj.weight", ("transformer.", 3, "up")),
        ("gpt_neox.layers.3.mlp.dense_h_to_4h.weight", ("gpt_neox.", 3, "up")),
        ("model.layers.3.mlp.experts.017.up_proj.weight", ("model.", 3, "experts.17.up")),
        ("model.layers.3.block_sparse_moe.experts.9999.w2.weight", ("model.", 3, "experts.9999.down")),
        ("model.layers.3.mlp.calculator.experts.weight_up.5", ("model.", 3, "experts.5.up")),
        ("model.layers.3.mlp.shared_experts.up_proj.weight", ("model.", 3, "shared.up")),
        ("model.layers.3.mlp.experts.gate_up_proj", ("model.", 3, "experts.gate_up")),
        ("blk.3.ffn_down_exps.weight", ("", 3, "experts.down")),
        ("blk.3.ffn_up.6.weight", ("", 3, "experts.6.up")),
        ("module.model.layers.3.mlp.up_proj.weight", ("model.", 3, "up")),
        ("_orig_mod.model.layers.3.mlp.up_proj.weight", ("model.", 3, "up")),
        ("_fsdp_wrapped_module.layers.3._fsdp_wrapped_module.mlp.up_proj.weight", ("", 3, "up")),
        ("embed_out.weight", ("gpt_neox.", None, "head")),
    ],
)
def test_other_families(name: str, expected: CanonicalName) -> None:
    assert canonical_name(name) == expected


def test_stem_is_the_name_without_its_last_part() -> None:
    assert canonical_stem("model.layers.3.mlp.gate_proj") == ("model.", 3, "gate")
    assert canonical_stem("model.layers.3.mlp.experts.7.gate_proj") == ("model.", 3, "experts.7.gate")
    assert canonical_stem("model.layers.3.mlp.gate_proj.weight") is None
    assert canonical_stem("") is None


def test_families_that_share_a_name_mean_the_same_by_it() -> None:
    for part in ("LAYER", "BARE", "GLOBAL", "HEADS"):
        seen: dict[str, str] = {}
        for family in names.FAMILIES:
            for tail, role in getattr(family, part).items():
                assert seen.setdefault(tail, role) == role


def test_leading_zeros_are_the_same_layer() -> None:
    """So two spellings collide, and are refused, rather than give a layer of their own."""
    assert canonical_name("layers.007.mlp.up_proj.weight") == canonical_name("layers.7.mlp.up_proj.weight")


@given(st.text(max_size=60))
def test_any_text_gets_an_answer(name: str) -> None:
    for whole in (
        name,
        f"{name}.weight",
        f"{name}layers.0.mlp.up_proj.weight",
        f"layers.{name}.mlp.up_proj.weight",
    ):
        found = canonical_name(whole)
        assert found is None or found.layer is None or f"{found.prefix}layers." in whole


@pytest.mark.parametrize(
    "piece", ["layers.0.", "layers.", "norm.", "a", "blk.0.", ".weight", "lm_head", "9", "experts.9.", "module."]
)
def test_long_names_take_linear_time(piece: str) -> None:
    """A pattern that went back and forth would not end on these."""
    for whole in (piece * 200_000, piece * 200_000 + ".weight", "layers." + piece * 200_000 + ".mlp.up_proj.weight"):
        canonical_name(whole)
