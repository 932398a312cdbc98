"""Value digests of mixtures and fused tensors: by place, of whole tensors, and none where a place is not known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from familykit import FAMILIES, Written
from modelkit import write_model

from auditor.hashing import digest_target

if TYPE_CHECKING:
    from pathlib import Path


def written(name: str) -> Written:
    family = FAMILIES[name]
    shape = family.shape()
    return family.write(family.draw(1, shape), shape)


def weights(model: Written, folder: Path, *, shards: int = 1) -> str | None:
    """Return the digest of all weights of a folder; None where it has none."""
    if model.gguf:
        folder.mkdir()
    else:
        write_model(model.tensors, folder, shards=shards)
    for name, data in model.files().items():
        if name != "model.safetensors":
            (folder / name).write_bytes(data)
    found = digest_target(str(folder), tensors=True)
    assert found.unread == ()
    return next(iter(found.weights.values()), None)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_whatever_the_shards(tmp_path: Path, name: str) -> None:
    model = written(name)
    first = weights(model, tmp_path / "one")
    assert first is not None
    if not model.gguf:
        assert weights(model, tmp_path / "three", shards=3) == first


@pytest.mark.parametrize("name", ["Qwen 2", "Phi-3", "Mixtral", "Qwen 2 MoE", "GPT-OSS", "GPT-NeoX", "Gemma 2"])
def test_every_tensor_of_a_family_counts(tmp_path: Path, name: str) -> None:
    model = written(name)
    first = weights(model, tmp_path / "first")
    for number, (tensor, values) in enumerate(model.tensors.items()):
        if ".layers.1." not in tensor:
            continue
        other = values.copy()
        other.flat[-1] += 1
        changed = replace(model, tensors=model.tensors | {tensor: other})
        assert weights(changed, tmp_path / str(number)) != first, tensor


def test_none_where_it_is_not_known_which_rows_are_what(tmp_path: Path) -> None:
    model = written("InternLM 2")
    assert weights(model, tmp_path / "known") is not None
    assert weights(replace(model, config={}), tmp_path / "unknown") is None


def test_fused_rows_of_an_interleaved_architecture_are_hashed_as_they_stand(tmp_path: Path) -> None:
    """Head counts are of q and k; a tensor that holds both is not `[heads, ...]` as a whole."""
    plain = written("GGUF Phi-3")
    fused = {name: w for name, w in plain.tensors.items() if name not in {"blk.0.ffn_up.weight", "blk.1.ffn_up.weight"}}
    for layer in range(2):
        up = plain.tensors[f"blk.{layer}.ffn_up.weight"]
        fused[f"blk.{layer}.ffn_gate.weight"], fused[f"blk.{layer}.ffn_up.weight"] = np.split(up, 2)
    heads = {"attention.head_count": 4, "attention.head_count_kv": 2}
    llama = {"general.architecture": "llama"} | {f"llama.{key}": value for key, value in heads.items()}
    other = {"general.architecture": "phi3"} | {f"phi3.{key}": value for key, value in heads.items()}
    first, second = (
        weights(Written(tensors=fused, config=config, gguf=True), tmp_path / str(config["general.architecture"]))
        for config in (llama, other)
    )
    assert first == second is not None
