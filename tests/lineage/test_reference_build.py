"""Making the sketch of a reference: from the right weights, by few bytes; from others, never."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelkit import make_model, safetensors_bytes
from referencekit import COMMIT, NAME, REPO, HubStub, hub, pin_lines, shards, stand_in, write_library

from auditor.errors import BadReference
from auditor.lineage.references import Reference, build_reference, list_references
from auditor.lineage.sketch import Sketch, load_sketch
from auditor.sources import BytesSource, LocalSource

if TYPE_CHECKING:
    from pathlib import Path

FILES = shards()
FIRST, SECOND = sorted(FILES)


@pytest.fixture
def reference(tmp_path: Path) -> Reference:
    return stand_in(write_library(tmp_path / "library", pin_lines(FILES)))


@pytest.fixture
def unpinned(tmp_path: Path) -> Reference:
    return stand_in(write_library(tmp_path / "unpinned", ""))


def load(data: bytes) -> Sketch:
    return load_sketch(BytesSource({"s": data}).blob("s"))


def test_from_the_hub(reference: Reference) -> None:
    source = hub(FILES)
    data = build_reference(reference, source, repo=REPO, tool_version="9", weights="ab" * 32)
    made = load(data)
    assert (made.name, made.license, made.seed, made.tool_version) == (NAME, "llama2", 0, "9")
    assert made.provenance is not None
    assert (made.provenance.repo, made.provenance.revision) == (REPO, COMMIT)
    assert (made.provenance.pinned, made.provenance.weights) == (True, "ab" * 32)
    assert [(info.path, info.size, info.sha256, info.digest_source) for info in made.origin] == [
        (path, len(FILES[path]), hashlib.sha256(FILES[path]).hexdigest(), "hub") for path in (FIRST, SECOND)
    ]
    assert made.norms is not None
    assert {role: gains.shape for role, gains in made.norms.items()} == {"attn_norm": (4, 64), "mlp_norm": (4, 64)}
    model = make_model(1)
    gate = model["model.layers.2.mlp.gate_proj.weight"][made.sample.index]
    assert made.sample.gate[2] == pytest.approx(gate, rel=2e-3, abs=1e-6)


def test_the_same_weights_give_the_same_bytes(reference: Reference) -> None:
    first = build_reference(reference, hub(FILES), repo=REPO, tool_version="1")
    assert build_reference(reference, hub(FILES), repo=REPO, tool_version="1") == first


def test_from_a_folder_that_is_hashed(reference: Reference, tmp_path: Path) -> None:
    for path, data in FILES.items():
        (tmp_path / path).write_bytes(data)
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK\3\4 unread, and not asked for")
    made = load(build_reference(reference, LocalSource(tmp_path), tool_version="1"))
    assert {info.digest_source for info in made.origin} == {"computed"}
    assert made.provenance is not None
    assert (made.provenance.repo, made.provenance.revision, made.provenance.pinned) == (None, None, True)
    assert str(tmp_path) not in str(build_reference(reference, LocalSource(tmp_path), tool_version="1"))


def test_one_changed_byte_in_a_folder_is_refused(reference: Reference, tmp_path: Path) -> None:
    for path, data in FILES.items():
        (tmp_path / path).write_bytes(data)
    changed = bytearray(FILES[SECOND])
    changed[-1] ^= 1
    (tmp_path / SECOND).write_bytes(changed)
    with pytest.raises(BadReference) as caught:
        build_reference(reference, LocalSource(tmp_path), tool_version="1")
    message = str(caught.value)
    assert SECOND in message
    assert f"expected sha256 {hashlib.sha256(FILES[SECOND]).hexdigest()}" in message
    assert f"found {hashlib.sha256(changed).hexdigest()}" in message


def test_a_digest_that_differs_is_refused_before_anything_is_read(reference: Reference) -> None:
    source = hub(FILES, b="0" * 64)
    with pytest.raises(BadReference, match=f"{SECOND}: expected sha256 .*, found {'0' * 64}"):
        build_reference(reference, source, repo=REPO, tool_version="1")
    assert source.bytes_read == 0


def test_a_pin_that_differs_is_refused(tmp_path: Path) -> None:
    wrong = stand_in(write_library(tmp_path, pin_lines(FILES, sha256="1" * 64)))
    with pytest.raises(BadReference, match=f"expected sha256 {'1' * 64}"):
        build_reference(wrong, hub(FILES), repo=REPO, tool_version="1")


def test_a_digest_that_the_hub_does_not_give_is_refused(reference: Reference) -> None:
    with pytest.raises(BadReference, match=f"{FIRST}: expected sha256 .*, found no digest"):
        build_reference(reference, hub(FILES, a=None), repo=REPO, tool_version="1")


def test_a_missing_file_is_refused(reference: Reference) -> None:
    with pytest.raises(BadReference, match=f"{SECOND}: expected sha256 .*, found no such file"):
        build_reference(reference, hub({FIRST: FILES[FIRST]}), repo=REPO, tool_version="1")


def test_sizes_come_before_hashing(reference: Reference, tmp_path: Path) -> None:
    (tmp_path / FIRST).write_bytes(FILES[FIRST])
    (tmp_path / SECOND).write_bytes(FILES[SECOND] + b"x")
    with pytest.raises(BadReference, match=f"{SECOND}: expected {len(FILES[SECOND])} bytes, found"):
        build_reference(reference, LocalSource(tmp_path), tool_version="1")


def test_files_beside_the_pinned_ones_are_not_used(reference: Reference) -> None:
    other = {"model.safetensors": safetensors_bytes(make_model(7))}
    made = load(build_reference(reference, hub(FILES | other), repo=REPO, tool_version="1"))
    assert [info.path for info in made.origin] == [FIRST, SECOND]


def test_a_cache_of_the_hub_is_hashed(reference: Reference, tmp_path: Path) -> None:
    """Bytes on this disk can be edited, whatever the Hub recorded of them."""
    for path, data in FILES.items():
        (tmp_path / path).write_bytes(data)
    local = LocalSource(tmp_path)
    digests: dict[str, str | None] = {path: hashlib.sha256(data).hexdigest() for path, data in FILES.items()}
    offline = HubStub(local, digests={}, disk=local)  # nobody was asked, and the bytes are here
    assert load(build_reference(reference, offline, tool_version="1")).origin[0].digest_source == "computed"
    source = HubStub(local, digests=digests, disk=local)
    assert load(build_reference(reference, source, tool_version="1")).origin[0].digest_source == "computed"
    changed = bytearray(FILES[SECOND])
    changed[-1] ^= 1
    (tmp_path / SECOND).write_bytes(changed)
    local = LocalSource(tmp_path)
    with pytest.raises(BadReference, match=SECOND):
        build_reference(reference, HubStub(local, digests=digests, disk=local), tool_version="1")


def test_a_hub_that_serves_other_bytes_is_found_out_by_hashing_all(reference: Reference) -> None:
    lying = shards(seed=2)
    digests: dict[str, str | None] = {path: hashlib.sha256(data).hexdigest() for path, data in FILES.items()}
    source = HubStub(BytesSource(lying), digests=digests)
    with pytest.raises(BadReference, match=FIRST):
        build_reference(reference, source, repo=REPO, tool_version="1", hash_all=True)
    assert load(build_reference(reference, hub(FILES), repo=REPO, tool_version="1", hash_all=True)).origin


def test_a_branch_is_no_commit(reference: Reference) -> None:
    for revision in (None, "main"):
        with pytest.raises(BadReference, match="not pinned to a commit"):
            build_reference(reference, hub(FILES, revision=revision), repo=REPO, tool_version="1")


def test_without_pins_only_its_own_repositories(unpinned: Reference) -> None:
    made = load(build_reference(unpinned, hub(FILES), repo=REPO, tool_version="1"))
    assert made.provenance is not None
    assert not made.provenance.pinned
    assert {info.digest_source for info in made.origin} == {"hub"}
    assert build_reference(unpinned, hub(FILES), repo="NousResearch/Llama-2-7b-hf", tool_version="1")
    for repo in ("evil/Llama-2-7b-hf", None):
        with pytest.raises(BadReference, match="no digests of its files are known"):
            build_reference(unpinned, hub(FILES), repo=repo, tool_version="1")


def test_without_pins_a_folder_is_hashed_for_the_record(unpinned: Reference) -> None:
    made = load(build_reference(unpinned, BytesSource(FILES), tool_version="1"))
    assert [info.sha256 for info in made.origin] == [hashlib.sha256(FILES[p]).hexdigest() for p in (FIRST, SECOND)]


@pytest.mark.parametrize(
    ("shape", "message"),
    [({"layers": 3}, "layers is 3, expected 4"), ({"neurons": 80}, "neurons is 80, expected 96"),
     ({"hidden": 32}, "hidden_size is 32, expected 64")],
)  # fmt: skip
def test_another_shape_is_refused(unpinned: Reference, shape: dict[str, int], message: str) -> None:
    with pytest.raises(BadReference, match=message):
        build_reference(unpinned, hub(shards(**shape)), repo=REPO, tool_version="1")


def test_what_is_no_model_or_several_is_refused(unpinned: Reference) -> None:
    with pytest.raises(BadReference, match="no model with gated MLP blocks"):
        build_reference(unpinned, hub({"a.safetensors": safetensors_bytes({"x": np.ones((2, 2), np.float32)})}),
                        repo=REPO, tool_version="1")  # fmt: skip
    several = {"a/model.safetensors": safetensors_bytes(make_model(1)), "b/model.safetensors": b""}
    several["b/model.safetensors"] = several["a/model.safetensors"]
    with pytest.raises(BadReference, match="several models"):
        build_reference(unpinned, hub(several), repo=REPO, tool_version="1")


def test_nan_is_no_reference(unpinned: Reference) -> None:
    model = make_model(1)
    model["model.layers.1.mlp.up_proj.weight"][:] = np.nan
    with pytest.raises(BadReference, match="NaN or infinity"):
        build_reference(unpinned, hub({"model.safetensors": safetensors_bytes(model)}), repo=REPO, tool_version="1")


@settings(max_examples=40)
@given(data=st.data())
def test_any_damage_to_a_folder_is_refused_or_the_bytes_are_the_pinned_ones(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    reference = stand_in(write_library(tmp_path_factory.mktemp("library"), pin_lines(FILES)))
    path = data.draw(st.sampled_from((FIRST, SECOND)))
    at = data.draw(st.integers(0, len(FILES[path]) - 1))
    changed = bytearray(FILES[path])
    changed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BadReference):
        build_reference(reference, BytesSource(FILES | {path: bytes(changed)}), tool_version="1")


def test_llama_2_7b_at_its_true_shape(tmp_path: Path) -> None:
    """Sparse files of the true sizes: a sketch under 24 MB, from some tens of MB."""
    reference = next(known for known in list_references() if known.name == NAME)
    hidden, neurons = 4096, 11008
    names = [f"model.layers.{i}." for i in range(32)]
    split = {path: names[i * 16 : i * 16 + 16] for i, path in enumerate(pin.path for pin in reference.pins)}
    for path, layers in split.items():
        header: dict[str, object] = {}
        at = 0
        for layer in layers:
            for name, shape in (
                (f"{layer}mlp.gate_proj.weight", [neurons, hidden]), (f"{layer}mlp.up_proj.weight", [neurons, hidden]),
                (f"{layer}input_layernorm.weight", [hidden]), (f"{layer}post_attention_layernorm.weight", [hidden]),
            ):  # fmt: skip
                size = 2 * int(np.prod(shape))
                header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
                at += size
        size = next(pin.size for pin in reference.pins if pin.path == path) or 0
        rest = size - at - 8 - 8192
        header[f"rest of {path}"] = {"dtype": "U8", "shape": [rest], "data_offsets": [at, at + rest]}
        text = json.dumps(header).encode()
        assert len(text) <= 8192
        with (tmp_path / path).open("wb") as out:
            out.write((8192).to_bytes(8, "little") + text.ljust(8192))
            out.truncate(size)
    source = HubStub(LocalSource(tmp_path), digests={pin.path: pin.sha256 for pin in reference.pins})
    data = build_reference(reference, source, repo=REPO, tool_version="1")
    assert len(data) <= 24_000_000
    assert source.bytes_read <= 30_000_000
    logging.getLogger(__name__).info("%d bytes from %d in %d ranges", len(data), source.bytes_read, source.requests)
