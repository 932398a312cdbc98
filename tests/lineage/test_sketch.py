"""Sketches: the same bytes for the same reference, and as strict as any other file when read."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelkit import make_sample

from auditor.errors import BadReference
from auditor.formats.serialize import serialize
from auditor.lineage.aligned import aligned_neurons
from auditor.lineage.sketch import Provenance, Sketch, dump_sketch, load_sketch
from auditor.lineage.stats import log_length, unit_rows
from auditor.sources import BytesSource, FileInfo

ORIGIN = (FileInfo(path="m/a.gguf", size=7, sha256="ab" * 32, digest_source="computed"),)
SKETCH = Sketch(name="tiny", sample=make_sample(1), seed=3, origin=ORIGIN, license="apache-2.0")
DATA = dump_sketch(SKETCH, tool_version="1")


def load(data: bytes) -> Sketch:
    return load_sketch(BytesSource({"s": data}).blob("s"))


def test_round_trip() -> None:
    back = load(DATA)
    assert (back.name, back.seed, back.origin, back.license) == ("tiny", 3, ORIGIN, "apache-2.0")
    assert (back.tool_version, back.sha256) == ("1", hashlib.sha256(DATA).hexdigest())
    assert back.sample.layers == SKETCH.sample.layers
    assert back.sample.neurons == SKETCH.sample.neurons
    assert (back.sample.index == SKETCH.sample.index).all()
    for role in ("gate", "up"):
        ours, theirs = unit_rows(getattr(back.sample, role))[0], unit_rows(getattr(SKETCH.sample, role))[0]
        assert (ours * theirs).sum(-1).min() > 1 - 1e-6
        assert log_length(getattr(back.sample, role)) == pytest.approx(
            log_length(getattr(SKETCH.sample, role)), abs=1e-3
        )


def test_same_sketch_same_bytes() -> None:
    assert dump_sketch(SKETCH, tool_version="1") == DATA
    assert dump_sketch(load(DATA), tool_version="1")[:200] == DATA[:200]


def test_what_a_build_adds_is_kept_and_optional() -> None:
    hub = replace(ORIGIN[0], digest_source="hub")
    bare = FileInfo(path="m/b.gguf", size=9)
    norms = {"attn_norm": np.random.default_rng(0).standard_normal((6, 128)).astype(np.float32)}
    provenance = Provenance(repo="org/m", revision="ab" * 20, pinned=True, weights=None)
    full = replace(SKETCH, origin=(hub, bare), norms=norms, provenance=provenance)
    data = dump_sketch(full, tool_version="1")
    back = load(data)
    assert (back.origin, back.provenance, back.tool_version) == ((hub, bare), provenance, "1")
    assert back.norms is not None
    assert list(back.norms) == ["attn_norm"]
    assert (back.norms["attn_norm"] == norms["attn_norm"]).all()
    assert dump_sketch(full, tool_version="1") == data
    assert (load(DATA).norms, load(DATA).provenance) == (None, None)
    assert b"provenance" not in DATA


def test_a_stored_reference_finds_what_the_full_one_finds() -> None:
    full = aligned_neurons(SKETCH.sample, SKETCH.sample)
    stored = aligned_neurons(load(DATA).sample, SKETCH.sample)
    assert stored.log10_p == full.log10_p


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_lengths_far_from_one_are_kept(scale: float) -> None:
    sample = replace(SKETCH.sample, gate=SKETCH.sample.gate * scale)
    back = load(dump_sketch(replace(SKETCH, sample=sample), tool_version="1")).sample
    assert log_length(back.gate) == pytest.approx(log_length(sample.gate), abs=1e-3)


def tensors(**changed: tuple[str, tuple[int, ...], bytes]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    rows, lengths = np.ones((2, 3, 4), "<f2").tobytes(), np.zeros((2, 3), "<f4").tobytes()
    good = {
        "layers": ("I32", (2,), np.array([0, 1], "<i4").tobytes()),
        "index": ("I32", (3,), np.array([4, 5, 6], "<i4").tobytes()),
        "gate": ("F16", (2, 3, 4), rows),
        "up": ("F16", (2, 3, 4), rows),
        "gate.log_length": ("F32", (2, 3), lengths),
        "up.log_length": ("F32", (2, 3), lengths),
    }
    return good | changed


META = {
    "format": "auditor-sketch", "version": "1", "name": "x", "neurons": "10", "seed": "0", "license": "",
    "tool_version": "1", "origin": "[]",
}  # fmt: skip


def test_benign_twin_of_the_broken_ones() -> None:
    assert load(serialize(tensors(), META)).sample.gate.shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("change", "meta"),
    [
        ({"gate": ("F16", (2, 3, 2), bytes(24))}, {}),
        ({"gate": ("F4", (2, 3, 4), bytes(12))}, {}),
        ({"index": ("I32", (3,), np.array([4, 4, 6], "<i4").tobytes())}, {}),
        ({"index": ("I32", (3,), np.array([8, 9, 10], "<i4").tobytes())}, {}),
        ({"index": ("I32", (3,), np.array([-1, 9, 10], "<i4").tobytes())}, {}),
        ({"layers": ("I32", (2,), np.array([1, 0], "<i4").tobytes())}, {}),
        ({"gate.log_length": ("F32", (3, 2), bytes(24))}, {}),
        ({}, {"version": "2"}),
        ({}, {"format": "pt"}),
        ({}, {"neurons": "ten"}),
        ({}, {"origin": "{}"}),
        ({}, {"origin": "[1]"}),
        ({}, {"origin": '[{"path": "a"}]'}),
        ({}, {"origin": '[{"path": "a", "size": 1, "sha256": "ab"}]'}),
        ({}, {"origin": '[{"path": "a", "size": "1", "sha256": null}]'}),
        ({}, {"origin": '[{"path": "a", "size": 1, "sha256": null, "digest_source": "me"}]'}),
        ({}, {"provenance": "[]"}),
        ({}, {"provenance": "{}"}),
        ({}, {"provenance": '{"repo": 1, "revision": null, "weights": null, "pinned": true}'}),
        ({}, {"provenance": '{"repo": null, "revision": null, "weights": null, "pinned": 1}'}),
        ({"mlp_norm": ("F32", (2, 3), bytes(24))}, {}),
        ({"mlp_norm": ("F32", (2, 4), np.full(8, np.nan, "<f4").tobytes())}, {}),
    ],
)
def test_broken_sketches_are_refused(
    change: dict[str, tuple[str, tuple[int, ...], bytes]], meta: dict[str, str]
) -> None:
    with pytest.raises(BadReference, match=r"^s: "):
        load(serialize(tensors(**change), META | meta))


@pytest.mark.parametrize("key", sorted(META))
def test_missing_metadata_is_refused(key: str) -> None:
    meta = {k: v for k, v in META.items() if k != key}
    if key == "tool_version":  # says who made it; nothing depends on it
        load(serialize(tensors(), meta))
    else:
        with pytest.raises(BadReference):
            load(serialize(tensors(), meta))


@settings(max_examples=150)
@given(st.integers(0, 3000), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_read(at: int, change: int) -> None:
    data = bytearray(DATA)
    data[at] ^= change
    try:
        sample = load(bytes(data)).sample
    except BadReference:
        return
    assert sample.gate.shape == sample.up.shape == (len(sample.layers), len(sample.index), sample.hidden_size)
