"""The same weights in other files have the same digest, and other weights have another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import derive
import numpy as np
import pytest
from ggufkit import gguf_bytes, gguf_tensors, llama_gguf, llama_metadata
from modelkit import make_model, safetensors_bytes, write_model

from auditor.digests.weights import weights_digest
from auditor.formats import open_checkpoints
from auditor.formats.serialize import serialize
from auditor.hashing import digest_target
from auditor.model import model_views
from auditor.sources import BytesSource

if TYPE_CHECKING:
    from pathlib import Path

    from modelkit import Model

HEADS, KV_HEADS = 4, 2
F16, BF16 = 1, 30


def rounded(model: Model) -> Model:
    """Round to numbers that bfloat16 and float16 both have."""
    return {name: (np.round(w * 1024) / 1024).astype(np.float32) for name, w in model.items()}


BASE = rounded(make_model(1))
EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def weights(path: Path) -> str:
    """Return the digest of the only model in a target."""
    found = digest_target(str(path), tensors=True)
    assert found.unread == ()
    (digest,) = found.weights.values()
    return digest


def one_file(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.fixture
def expected(tmp_path: Path) -> str:
    return weights(write_model(BASE, tmp_path / "expected"))


# --- the same -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [2, 5])
def test_sharded_again(tmp_path: Path, expected: str, shards: int) -> None:
    assert weights(write_model(BASE, tmp_path / "m", shards=shards)) == expected


@pytest.mark.parametrize("prefix", ["", "language_model.model.", "base_model.model.model."])
def test_under_another_prefix(tmp_path: Path, expected: str, prefix: str) -> None:
    renamed = {name.replace("model.", prefix, 1): w for name, w in BASE.items()}
    assert weights(write_model(renamed, tmp_path / "m")) == expected


@pytest.mark.parametrize("shards", [1, 3])
def test_saved_as_bfloat16(tmp_path: Path, expected: str, shards: int) -> None:
    narrow = derive.write(BASE, tmp_path / "m", shards=shards)
    assert weights(narrow) == expected
    assert weights(write_model(derive.load(narrow), tmp_path / "wide")) == expected


@pytest.mark.parametrize(("dtype", "code"), [("F16", "<f2"), ("F64", "<f8")])
def test_saved_in_another_width(tmp_path: Path, expected: str, dtype: str, code: str) -> None:
    data = serialize({name: (dtype, w.shape, w.astype(code).tobytes()) for name, w in BASE.items()})
    assert weights(one_file(tmp_path / "m" / "model.safetensors", data)) == expected


def as_gguf(model: Model, kind: int, *, architecture: str = "llama") -> bytes:
    """Convert as llama.cpp does: matrices of one type, norms in float32."""
    tensors = gguf_tensors(model, heads=HEADS, kv_heads=KV_HEADS)
    for name, (f32, shape, raw) in tensors.items():
        values = np.frombuffer(raw, "<f4")
        stored = {
            f32: raw,
            F16: values.astype("<f2").tobytes(),
            BF16: (values.view("<u4") >> 16).astype("<u2").tobytes(),
        }
        if len(shape) > 1:
            tensors[name] = (kind, shape, stored[kind])
    return gguf_bytes(tensors, llama_metadata(heads=HEADS, kv_heads=KV_HEADS, name=architecture))


@pytest.mark.parametrize("kind", [0, F16, BF16], ids=["F32", "F16", "BF16"])
def test_converted_to_gguf_with_interleaved_rows(tmp_path: Path, expected: str, kind: int) -> None:
    assert weights(one_file(tmp_path / "m.gguf", as_gguf(BASE, kind))) == expected


def test_rows_interleaved_where_the_architecture_has_them_in_order_are_other_weights(
    tmp_path: Path, expected: str
) -> None:
    assert weights(one_file(tmp_path / "m.gguf", as_gguf(BASE, 0, architecture="qwen2"))) != expected


def test_a_tied_head_saved_or_left_out(tmp_path: Path, expected: str) -> None:
    tied = BASE | {HEAD: BASE[EMBED]}
    assert weights(write_model(tied, tmp_path / "twice")) == expected
    assert weights(one_file(tmp_path / "m.gguf", as_gguf(tied, F16))) == expected
    assert weights(derive.write(tied, tmp_path / "narrow", shards=2)) == expected


def test_tensors_that_belong_to_no_place_are_not_weights_of_the_model(tmp_path: Path, expected: str) -> None:
    more = BASE | {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(8, np.float32)}
    assert weights(write_model(more, tmp_path / "m")) == expected


# --- not the same ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [EMBED, "model.norm.weight", "model.layers.3.self_attn.k_proj.weight", "model.layers.0.input_layernorm.weight"],
)
def test_one_value(tmp_path: Path, expected: str, name: str) -> None:
    changed = BASE | {name: BASE[name].copy()}
    changed[name].flat[-1] = np.nextafter(changed[name].flat[-1], np.float32(9))
    assert weights(write_model(changed, tmp_path / "m")) != expected


def test_layers_swapped(tmp_path: Path, expected: str) -> None:
    assert weights(write_model(derive.restacked(BASE, [1, 0, 2, 3]), tmp_path / "m")) != expected
    assert weights(write_model(derive.restacked(BASE, [0, 1, 2, 3]), tmp_path / "same")) == expected


@pytest.mark.parametrize("layers", [[0, 1, 2], [0, 1, 2, 3, 3]], ids=["dropped", "repeated"])
def test_other_layers(tmp_path: Path, expected: str, layers: list[int]) -> None:
    assert weights(write_model(derive.restacked(BASE, layers), tmp_path / "m")) != expected


def test_roles_swapped(tmp_path: Path, expected: str) -> None:
    swapped = {name.replace("gate", "@").replace("up_", "gate_").replace("@", "up"): w for name, w in BASE.items()}
    assert weights(write_model(swapped, tmp_path / "m")) != expected


def test_a_head_of_its_own(tmp_path: Path, expected: str) -> None:
    head = BASE[EMBED].copy()
    head[0, 0] += 1
    untied = weights(write_model(BASE | {HEAD: head}, tmp_path / "m"))
    assert untied != expected
    swapped = weights(write_model(BASE | {HEAD: BASE[EMBED], EMBED: head}, tmp_path / "n"))
    assert len({expected, untied, swapped}) == 3


def test_a_norm_left_out(tmp_path: Path, expected: str) -> None:
    fewer = {name: w for name, w in BASE.items() if name != "model.norm.weight"}
    assert weights(write_model(fewer, tmp_path / "m")) != expected


# --- what cannot be known -------------------------------------------------------------------------------


def test_a_tensor_without_a_digest_leaves_the_model_without_one() -> None:
    source = BytesSource({"model.safetensors": safetensors_bytes(BASE)})
    (view,) = model_views(source, open_checkpoints(source).containers[0])
    digests = {(entry.file, entry.name): "ab" * 32 for entry in view.entries()}
    assert weights_digest(view, digests) is not None
    digests.popitem()
    assert weights_digest(view, digests) is None


def test_two_models_in_a_file_are_told_apart_by_prefix(tmp_path: Path, expected: str) -> None:
    both = {f"one.{name}": w for name, w in BASE.items()} | {f"two.{name}": w for name, w in make_model(2).items()}
    found = digest_target(str(write_model(both, tmp_path / "m")), tensors=True)
    assert list(found.weights) == ["model.safetensors (one.model.*)", "model.safetensors (two.model.*)"]
    assert found.weights["model.safetensors (one.model.*)"] == expected
    assert found.weights["model.safetensors (two.model.*)"] != expected


def test_an_unknown_row_order_is_said_and_the_file_hashed(tmp_path: Path, expected: str) -> None:
    metadata = {"general.architecture": "llama"}
    one_file(tmp_path / "m" / "no-heads.gguf", gguf_bytes(gguf_tensors(BASE, heads=HEADS), metadata))
    write_model(BASE, tmp_path / "m")
    found = digest_target(str(tmp_path / "m"), tensors=True)
    assert [(unread.path, unread.code) for unread in found.unread] == [("no-heads.gguf", "missing-field")]
    assert [resource.name for resource in found.manifest.resources] == ["model.safetensors", "no-heads.gguf"]
    assert found.weights == {"model.safetensors": expected}  # beside it, all is as ever


def test_two_tensors_for_one_place_are_said_and_the_file_hashed(tmp_path: Path) -> None:
    twice = BASE | {"model.layers.00.mlp.up_proj.weight": BASE["model.layers.0.mlp.up_proj.weight"]}
    found = digest_target(str(write_model(twice, tmp_path / "m")), tensors=True)
    assert [(unread.path, unread.code) for unread in found.unread] == [("model.safetensors", "duplicate-name")]
    assert [resource.name for resource in found.manifest.resources] == ["model.safetensors"]
    assert found.weights == {}


@pytest.mark.parametrize("shape", [(), (64,), (2, 4, 8)], ids=["scalar", "vector", "cube"])
def test_a_query_projection_that_is_no_matrix(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tensors = gguf_tensors(BASE, heads=HEADS)
    raw = np.ones(shape, "<f4").tobytes()
    tensors["blk.0.attn_q.weight"] = (0, shape, raw)
    path = one_file(tmp_path / "m.gguf", gguf_bytes(tensors, llama_metadata(heads=HEADS)))
    found = digest_target(str(path), tensors=True)
    assert found.unread == ()
    assert ("m.gguf", "blk.0.attn_q.weight") in found.tensors


def test_as_many_key_heads_as_query_heads(tmp_path: Path, expected: str) -> None:
    assert weights(one_file(tmp_path / "m.gguf", llama_gguf(BASE, heads=HEADS))) == expected
