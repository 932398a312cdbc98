"""Small Llama-shaped models for tests: built from a seed, in memory or as a folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from auditor.formats.serialize import serialize
from auditor.lineage.sample import NeuronSample

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Model = dict[str, "NDArray[np.float32]"]


def make_model(seed: int, *, layers: int = 4, hidden: int = 64, neurons: int = 96, vocabulary: int = 50) -> Model:
    """Draw a model with Hugging Face tensor names."""
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> NDArray[np.float32]:
        return rng.normal(0, 0.02, (rows, columns)).astype(np.float32)

    model = {
        "model.embed_tokens.weight": matrix(vocabulary, hidden),
        "model.norm.weight": np.ones(hidden, np.float32),
    }
    for layer in range(layers):
        at = f"model.layers.{layer}."
        model[at + "mlp.gate_proj.weight"] = matrix(neurons, hidden)
        model[at + "mlp.up_proj.weight"] = matrix(neurons, hidden)
        model[at + "mlp.down_proj.weight"] = matrix(hidden, neurons)
        for role in "qkvo":
            model[at + f"self_attn.{role}_proj.weight"] = matrix(hidden, hidden)
        model[at + "input_layernorm.weight"] = np.ones(hidden, np.float32)
        model[at + "post_attention_layernorm.weight"] = np.ones(hidden, np.float32)
    return model


def drifted(model: Model, *, cosine: float, seed: int = 99) -> Model:
    """Move every matrix so that rows keep this cosine to their origin."""
    rng = np.random.default_rng(seed)
    sine = np.sqrt(1 - cosine**2)
    return {
        name: (cosine * w + sine * w.std() * rng.standard_normal(w.shape)).astype(np.float32) if w.ndim == 2 else w
        for name, w in model.items()
    }


def safetensors_bytes(model: Model) -> bytes:
    """Write a model as one float32 safetensors file."""
    return serialize({name: ("F32", w.shape, np.ascontiguousarray(w, "<f4").tobytes()) for name, w in model.items()})


def write_model(model: Model, folder: Path, *, shards: int = 1) -> Path:
    """Write a model folder, sharded with an index where asked."""
    folder.mkdir(parents=True, exist_ok=True)
    if shards == 1:
        (folder / "model.safetensors").write_bytes(safetensors_bytes(model))
        return folder
    weight_map = {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: model[name] for name in sorted(model)[i::shards]}
        (folder / file).write_bytes(safetensors_bytes(part))
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def make_sample(seed: int, *, layers: int = 6, neurons: int = 32, hidden: int = 128, of: int = 1000) -> NeuronSample:
    """Draw the sampled neurons of a model directly."""
    rng = np.random.default_rng(seed)
    gate, up = rng.standard_normal((2, layers, neurons, hidden))
    return NeuronSample(layers=tuple(range(layers)), neurons=of, index=np.arange(neurons), gate=gate, up=up)
