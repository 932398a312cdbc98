"""Llama as Meta published it, and Mistral likewise: `consolidated.00.pth`, `consolidated.safetensors`.

Their q and k stand in a row order of their own, see `auditor.model.metalayout`. What InternLM 2 calls alike is in its
table.
"""

from __future__ import annotations

LAYER = {
    "attention.wq": "q",
    "attention.wk": "k",
    "attention.wv": "v",
}
BARE: dict[str, str] = {}
GLOBAL: dict[str, str] = {}
HEADS: dict[str, str] = {}
