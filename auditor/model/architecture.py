"""What family a model is of, as its names have it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from auditor.model.config import Config

_SIGNATURES: tuple[tuple[str, frozenset[str]], ...] = tuple(
    (name, frozenset(tails.split()))
    for name, tails in (
        ("llama4", "feed_forward.experts.gate_up_proj"),
        ("gpt_oss", "mlp.experts.gate_up_proj mlp.experts.gate_up_proj_bias"),
        ("deepseek", "self_attn.kv_a_proj_with_mqa"),
        ("mixtral", "block_sparse_moe.experts.#.w1"),
        ("granitemoe", "block_sparse_moe.input_linear"),
        ("llama_moe", "mlp.calculator.experts.weight_gate.#"),
        ("qwen2_moe", "mlp.shared_expert_gate"),
        ("qwen3_moe", "mlp.experts.#.gate_proj self_attn.q_norm"),  # OLMoE too
        ("qwen3_moe", "mlp.experts.gate_up_proj self_attn.q_norm"),
        ("moe", "mlp.experts.#.gate_proj"),
        ("moe", "mlp.experts.gate_up_proj"),
        ("phi3", "mlp.gate_up_proj self_attn.qkv_proj"),
        ("glm", "mlp.gate_up_proj"),
        ("gemma3", "pre_feedforward_layernorm self_attn.q_norm"),
        ("gemma2", "pre_feedforward_layernorm"),
        ("olmo2", "post_feedforward_layernorm"),
        ("baichuan", "self_attn.W_pack"),
        ("internlm2", "attention.wqkv"),
        ("meta", "feed_forward.w1 attention_norm"),
        ("megatron", "mlp.linear_fc1"),
        ("qwen", "mlp.w1 mlp.w2 attn.c_attn"),
        ("starcoder2", "mlp.c_fc self_attn.q_proj"),
        ("jais", "mlp.c_fc mlp.c_fc2 attn.c_attn"),
        ("gpt2", "mlp.c_fc attn.c_attn"),
        ("gpt_neox", "attention.query_key_value mlp.dense_h_to_4h"),
        ("mpt", "attn.Wqkv ffn.up_proj"),
        ("bloom", "self_attention.query_key_value word_embeddings_layernorm"),
        ("chatglm", "self_attention.query_key_value mlp.dense_h_to_4h output_layer"),
        ("falcon", "self_attention.query_key_value mlp.dense_h_to_4h"),
        ("opt", "fc1 self_attn.out_proj"),
        ("clip", "mlp.fc1 self_attn.out_proj"),
        ("phi", "mlp.fc1 self_attn.dense"),
        ("qwen3", "mlp.gate_proj self_attn.q_norm"),
        ("qwen2", "mlp.gate_proj self_attn.q_proj.bias"),
        ("stablelm", "mlp.gate_proj input_layernorm.bias"),
        ("llama", "mlp.gate_proj"),
        ("nemotron", "mlp.up_proj mlp.down_proj"),
    )
)
"""By what a family has and those below it lack, in this order."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_ONE_MORE = frozenset({
    "gemma", "gemma2", "gemma3", "gemma3_text", "recurrent_gemma", "paligemma", "nemotron", "qwen3_next",
})  # fmt: skip
"""Families that multiply by one more than the gain they store. GGUF's converter adds the one."""


def architecture_of(tails: AbstractSet[str], config: Config, container_format: str) -> str:
    """Name the family of a model.

    Parameters
    ----------
    tails : set of str
        Rows of the name tables that its tensors are in.
    config : Config
    container_format : str
        GGUF says in its header what its names no longer show.

    Returns
    -------
    str
        In the spelling of transformers, or of GGUF; "llama" for all that are shaped and named like it, "unknown" where
        no family fits.
    """
    if container_format == "gguf":
        stated = config.architecture
        return stated if stated is not None and _NAME.fullmatch(stated) else "unknown"
    return next((name for name, needed in _SIGNATURES if needed <= tails), "unknown")


def gain_offset(architecture: str, config: Config, container_format: str) -> float:
    """Return what a family adds to the norm gains that it stores: 0, or 1.

    The config decides, as it does for loaders: the first Gemma has Llama's names. It only matters for how well folded
    gains can be undone, never for whether a test is exact.
    """
    if container_format == "gguf":
        return 0.0
    return float((config.architecture or architecture) in _ONE_MORE)
