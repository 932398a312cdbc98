"""A model of the true shape of Llama 2 7B, 13.5 GB in two shards, of which only what a sketch is made of exists."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
from loopback_hub import Sparse

from auditor.lineage.sample import SAMPLE_NEURONS, sample_index

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHAPE = {"layers": 32, "hidden_size": 4096, "neurons": 11008, "vocabulary": 32000}
_LAYERS, _HIDDEN, _NEURONS, _VOCABULARY = SHAPE.values()
_SHARD = 10_000_000_000  # bytes at most, as transformers splits


def llama_7b(seed: int) -> dict[str, Sparse]:
    """Return the shards: real numbers where the sample lies and in the norms, zeros elsewhere."""
    rng = np.random.default_rng(seed)
    first = int(sample_index(_NEURONS)[0])
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    room = _SHARD
    for name, dims in _tensors().items():
        if 2 * math.prod(dims) > room:
            shards.append({})
            room = _SHARD
        shards[-1][name] = dims
        room -= 2 * math.prod(dims)
    return {
        f"model-{number:05d}-of-{len(shards):05d}.safetensors": _shard(shard, first, rng)
        for number, shard in enumerate(shards, 1)
    }


def _tensors() -> dict[str, tuple[int, ...]]:
    out: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (_VOCABULARY, _HIDDEN)}
    for layer in range(_LAYERS):
        at = f"model.layers.{layer}."
        out |= {f"{at}self_attn.{role}_proj.weight": (_HIDDEN, _HIDDEN) for role in "qkvo"}
        out |= {f"{at}mlp.{role}_proj.weight": (_NEURONS, _HIDDEN) for role in ("gate", "up")}
        out[f"{at}mlp.down_proj.weight"] = (_HIDDEN, _NEURONS)
        out |= {f"{at}{role}_layernorm.weight": (_HIDDEN,) for role in ("input", "post_attention")}
    return out | {"model.norm.weight": (_HIDDEN,), "lm_head.weight": (_VOCABULARY, _HIDDEN)}


def _shard(tensors: dict[str, tuple[int, ...]], first: int, rng: np.random.Generator) -> Sparse:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    values: dict[int, bytes] = {}
    at = 0
    for name, dims in tensors.items():
        size = 2 * math.prod(dims)
        header[name] = {"dtype": "BF16", "shape": list(dims), "data_offsets": [at, at + size]}
        if "gate_proj" in name or "up_proj" in name:
            rows = rng.standard_normal((SAMPLE_NEURONS, _HIDDEN), dtype=np.float32) * np.float32(0.02)
            values[at + 2 * first * _HIDDEN] = _bfloat16(rows)
        elif "norm" in name:
            values[at] = _bfloat16(np.abs(rng.standard_normal(_HIDDEN, dtype=np.float32)))
        at += size
    text = json.dumps(header).encode()
    start = 8 + len(text)
    begin = {0: len(text).to_bytes(8, "little") + text}
    return Sparse(start + at, begin | {start + place: data for place, data in values.items()})


def _bfloat16(values: NDArray[np.float32]) -> bytes:
    return (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
