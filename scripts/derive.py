"""Make derivatives of a model, with numpy only: what the demo audits, and some tests and benchmarks.

A model here is a dict of Hugging Face tensor names to float32 arrays.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import numpy as np

from auditor.formats import open_checkpoints
from auditor.formats.serialize import serialize
from auditor.model import ROLES, model_views
from auditor.sources import open_source

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Model = dict[str, NDArray[np.float32]]

_HF = {
    "embed": "model.embed_tokens.weight",
    "head": "lm_head.weight",
    "final_norm": "model.norm.weight",
    "attn_norm": "input_layernorm",
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")


def load(path: Path) -> Model:
    """Read a whole model through the auditor's own readers, into Hugging Face names and row order."""
    source = open_source(str(path))
    ((view,),) = (model_views(source, container) for container in open_checkpoints(source).containers)
    model: Model = {}
    for layer in (None, *view.layers("gate", "up")):
        for role in ROLES:
            try:
                shape = view.tensor(layer, role).shape
            except KeyError:
                continue
            name = _HF[role] if layer is None else f"model.layers.{layer}.{_HF[role]}.weight"
            if len(shape) == 1:
                model[name] = view.vector(layer, role)
            else:
                model[name] = view.rows(layer, role, np.arange(shape[0]))
    return model


def fine_tuned(model: Model, *, change: float, seed: int) -> Model:
    """Move every matrix by noise of `change` times its own size: row cosine 1 / sqrt(1 + change**2)."""
    rng = np.random.default_rng(seed)
    return {
        name: w + change * w.std() * rng.standard_normal(w.shape, dtype=np.float32) if w.ndim == 2 else w
        for name, w in model.items()
    }


def restacked(model: Model, layers: list[int]) -> Model:
    """Build a model whose layer `i` is layer `layers[i]` of the given one: dropped, repeated, reordered."""
    out = {name: w for name, w in model.items() if not _LAYER.fullmatch(name)}
    for new, old in enumerate(layers):
        for name, w in model.items():
            match = _LAYER.fullmatch(name)
            if match and int(match[1]) == old:
                out[f"model.layers.{new}.{match[2]}"] = w
    return out


def unrelated(model: Model, *, seed: int) -> Model:
    """Draw a model of the same shapes, norm gains and row lengths, but of other directions."""
    rng = np.random.default_rng(seed)
    out: Model = {}
    for name, w in model.items():
        if w.ndim == 2:
            random = rng.standard_normal(w.shape, dtype=np.float32)
            lengths = rng.permutation(np.linalg.norm(w, axis=1, keepdims=True))
            out[name] = random / np.linalg.norm(random, axis=1, keepdims=True) * lengths
        else:
            out[name] = w
    return out


def bfloat16(values: NDArray[np.float32]) -> bytes:
    """Round to bfloat16, to nearest even, as little-endian bytes."""
    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def write(
    model: Model,
    folder: Path,
    *,
    shards: int = 1,
    shard_name: str = "model-{i:05d}-of-{n:05d}.safetensors",
    texts: Mapping[str, str] | None = None,
) -> Path:
    """Write a bfloat16 checkpoint folder: shards with an index where there are several, and text files."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(model)
    parts = [names[i::shards] for i in range(shards)]
    weight_map: dict[str, str] = {}
    for i, part in enumerate(parts, 1):
        file = "model.safetensors" if shards == 1 else shard_name.format(i=i, n=shards)
        weight_map |= dict.fromkeys(part, file)
        tensors = {name: ("BF16", model[name].shape, bfloat16(model[name])) for name in part}
        (folder / file).write_bytes(serialize(tensors, {"format": "pt"}))
    if shards > 1:
        size = sum(2 * w.size for w in model.values())
        index = {"metadata": {"total_size": size}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
    for name, text in (texts or {}).items():
        (folder / name).write_text(text)
    return folder
