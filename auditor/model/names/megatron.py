"""Megatron Core: gate and up in one tensor, queries, keys and values in another, norms kept with what they feed."""

from __future__ import annotations

LAYER = {
    "self_attention.linear_qkv": "qkv",
    "self_attention.linear_proj": "o",
    "mlp.linear_fc1": "up",  # with a gate of the same size where the MLP has one
    "mlp.linear_fc2": "down",
    "pre_mlp_layernorm": "mlp_norm",
}
BARE = {
    "self_attention.linear_qkv.layer_norm_weight": "attn_norm",
    "mlp.linear_fc1.layer_norm_weight": "mlp_norm",
}
GLOBAL: dict[str, str] = {}
HEADS: dict[str, str] = {}
