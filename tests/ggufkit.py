"""GGUF files for tests, written byte by byte, and small models converted as llama.cpp converts them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelkit import Model
    from numpy.typing import NDArray

F32 = 0

_ALIGNMENT = 32
_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_GLOBAL = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def gguf_bytes(
    tensors: Mapping[str, tuple[int, tuple[int, ...], bytes]], metadata: Mapping[str, object] | None = None
) -> bytes:
    """Write a file of version 3. Tensors are (number of the type, row-major shape, bytes)."""
    pairs = [_text(key) + _typed(value) for key, value in (metadata or {}).items()]
    records, data = [], b""
    for name, (kind, shape, raw) in tensors.items():
        extents = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        records.append(_text(name) + extents + struct.pack("<IQ", kind, len(data)))
        data += raw + bytes(-len(raw) % _ALIGNMENT)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(records), len(pairs)) + b"".join(pairs) + b"".join(records)
    return head + bytes(-len(head) % _ALIGNMENT) + data


def permute(w: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Put the rows of q or k in llama.cpp's order: the published formula of its converter."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(w.shape)


def gguf_tensors(
    model: Model, *, heads: int, kv_heads: int | None = None
) -> dict[str, tuple[int, tuple[int, ...], bytes]]:
    """Rename and reorder a model as the converter does, in float32."""
    out = {}
    for name, values in model.items():
        stem = name.removesuffix(".weight")
        if stem in _GLOBAL:
            new = _GLOBAL[stem]
        else:
            _, _, layer, role = stem.split(".", 3)
            new = f"blk.{layer}.{_LAYER[role]}"
        if new.endswith(("attn_q", "attn_k")):
            values = permute(values, heads if new.endswith("q") else kv_heads or heads)  # noqa: PLW2901
        out[new + ".weight"] = (F32, values.shape, np.ascontiguousarray(values, "<f4").tobytes())
    return out


def llama_metadata(*, heads: object = 4, kv_heads: object = None, name: str = "llama") -> dict[str, object]:
    """Return what a reader needs to put q and k right, of the architecture `name`."""
    metadata = {"general.architecture": name, f"{name}.attention.head_count": heads}
    if kv_heads is not None:
        metadata[f"{name}.attention.head_count_kv"] = kv_heads
    return metadata


def llama_gguf(model: Model, *, heads: int = 4, kv_heads: int | None = None) -> bytes:
    """Write a whole model."""
    return gguf_bytes(
        gguf_tensors(model, heads=heads, kv_heads=kv_heads), llama_metadata(heads=heads, kv_heads=kv_heads)
    )


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def _typed(value: object) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<IB", 7, value)
    if isinstance(value, int):
        return struct.pack("<Iq", 11, value)
    if isinstance(value, float):
        return struct.pack("<Id", 12, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    items = [_typed(item) for item in value]  # type: ignore[attr-defined]
    kind = items[0][:4] if items else struct.pack("<I", 11)
    return struct.pack("<I", 9) + kind + struct.pack("<Q", len(items)) + b"".join(item[4:] for item in items)
