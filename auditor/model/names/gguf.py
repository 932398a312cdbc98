"""GGUF: what llama.cpp's converters make of all families."""

from __future__ import annotations

LAYER = {
    "attn_norm": "attn_norm",
    "attn_q": "q",
    "attn_k": "k",
    "attn_v": "v",
    "attn_output": "o",
    "attn_q_norm": "q_norm",
    "attn_k_norm": "k_norm",
    "attn_qkv": "qkv",
    "attn_q_a": "q_a",
    "attn_q_a_norm": "q_a_norm",
    "attn_q_b": "q_b",
    "attn_kv_a_mqa": "kv_a",
    "attn_kv_a_norm": "kv_a_norm",
    "attn_kv_b": "kv_b",
    "attn_sinks": "sinks",
    "post_attention_norm": "post_attn_norm",
    "ffn_norm": "mlp_norm",
    "post_ffw_norm": "post_mlp_norm",
    "ffn_gate": "gate",
    "ffn_up": "up",
    "ffn_down": "down",
    "ffn_gate_inp": "router",
    "ffn_gate_inp_shexp": "shared_router",
    "exp_probs_b": "router.correction",
    **{f"ffn_{role}_exps": f"experts.{role}" for role in ("gate", "up", "down", "gate_up")},
    **{f"ffn_{role}_shexp": f"shared.{role}" for role in ("gate", "up", "down")},
    **{f"ffn_{role}.#": f"experts.#.{role}" for role in ("gate", "up", "down")},  # Mixtral as of 2023
}
GLOBAL = {
    "token_embd": "embed",
    "token_embd_norm": "embed_norm",
    "position_embd": "positions",
    "output_norm": "final_norm",
    "output": "head",
}
