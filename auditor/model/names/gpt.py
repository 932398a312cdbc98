"""Those whose MLP has no gate: GPT-2, StarCoder, GPT-NeoX, MPT, Falcon, BLOOM, OPT, Phi-2. And ChatGLM, named alike.

An MLP without a gate has `up` and `down` only; where a name is also used for a fused gate and up, shapes tell.
"""

from __future__ import annotations

LAYER = {
    # GPT-2, StarCoder; StarCoder 2 mixes them with Llama's
    "ln_1": "attn_norm",
    "attn.c_attn": "qkv",
    "attn.c_proj": "o",
    "ln_2": "mlp_norm",
    "mlp.c_fc": "up",
    "mlp.c_fc2": "gate",  # Jais, which is GPT-2 with a gate
    "mlp.c_proj": "down",
    # GPT-NeoX
    "attention.query_key_value": "qkv",
    "attention.dense": "o",
    "mlp.dense_h_to_4h": "up",
    "mlp.dense_4h_to_h": "down",
    # BLOOM, Falcon, ChatGLM
    "self_attention.query_key_value": "qkv",
    "self_attention.dense": "o",
    "ln_attn": "attn_norm",
    "ln_mlp": "mlp_norm",
    # MPT
    "norm_1": "attn_norm",
    "attn.Wqkv": "qkv",
    "attn.out_proj": "o",
    "norm_2": "mlp_norm",
    "ffn.up_proj": "up",
    "ffn.down_proj": "down",
    # OPT; also the towers of CLIP and SigLIP
    "self_attn_layer_norm": "attn_norm",
    "self_attn.out_proj": "o",
    "final_layer_norm": "mlp_norm",
    "fc1": "up",
    "fc2": "down",
    "mlp.fc1": "up",
    "mlp.fc2": "down",
    "self_attn.dense": "o",  # Phi-2
}
BARE: dict[str, str] = {}
GLOBAL = {
    "wte": "embed",
    "wpe": "positions",
    "ln_f": "final_norm",
    "norm_f": "final_norm",
    "embed_in": "embed",
    "final_layer_norm": "final_norm",
    "final_layernorm": "final_norm",
    "word_embeddings": "embed",
    "word_embeddings_layernorm": "embed_norm",
    "embed_positions": "positions",
}
HEADS = {"embed_out": "gpt_neox.", "output_layer": "encoder."}
