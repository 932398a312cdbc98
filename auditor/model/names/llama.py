"""Llama and those that are named like it: Mistral, Qwen 2 and 3, Gemma, Phi-3, Baichuan, GLM-4, OLMo 2, StableLM."""

from __future__ import annotations

LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.o_proj": "o",
    "self_attn.q_norm": "q_norm",  # Qwen 3, Gemma 3, OLMo 2
    "self_attn.k_norm": "k_norm",
    "self_attn.q_layernorm": "q_norm",
    "self_attn.k_layernorm": "k_norm",
    "self_attn.qkv_proj": "qkv",  # Phi-3
    "self_attn.W_pack": "qkv",  # Baichuan
    "post_attention_layernorm": "mlp_norm",  # of Gemma 2 and OLMo 2 it is another, see `placing`
    "pre_feedforward_layernorm": "pre_mlp_norm",  # Gemma 2
    "post_feedforward_layernorm": "post_mlp_norm",
    "post_self_attn_layernorm": "post_attn_norm",  # GLM-4
    "post_mlp_layernorm": "post_mlp_norm",
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.down_proj": "down",
    "mlp.gate_up_proj": "gate_up",  # Phi-3, GLM-4
    "mlp.w1": "up",  # the first Qwen: its activation is on the second
    "mlp.w2": "gate",
    # latent attention of DeepSeek
    "self_attn.q_a_proj": "q_a",
    "self_attn.q_a_layernorm": "q_a_norm",
    "self_attn.q_b_proj": "q_b",
    "self_attn.kv_a_proj_with_mqa": "kv_a",
    "self_attn.kv_a_layernorm": "kv_a_norm",
    "self_attn.kv_b_proj": "kv_b",
}
BARE: dict[str, str] = {"self_attn.sinks": "sinks"}
GLOBAL = {"embed_tokens": "embed", "norm": "final_norm"}
HEADS = {"lm_head": "model."}
