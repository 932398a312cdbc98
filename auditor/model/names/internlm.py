"""InternLM 2, which keeps the names that Meta gave Llama; its own are those of the attention.

Meta's own q and k stand in another row order, so they are read by what knows Meta's whole layout.
"""

from __future__ import annotations

LAYER = {
    "attention_norm": "attn_norm",
    "attention.wqkv": "qkv",
    "attention.wo": "o",
    "ffn_norm": "mlp_norm",
    "feed_forward.w1": "gate",
    "feed_forward.w2": "down",
    "feed_forward.w3": "up",
}
BARE: dict[str, str] = {}
GLOBAL = {"tok_embeddings": "embed"}
HEADS = {"output": ""}
