"""What a file is, by content; its name can only make us stricter."""

from __future__ import annotations

import contextlib
import io
import zipfile

import numpy as np
import pytest
from ggufkit import gguf_bytes
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import UnsupportedFormat
from auditor.formats.checkpoint import PARSERS
from auditor.formats.serialize import serialize
from auditor.formats.sniff import HEAD_BYTES, identify, name_fits
from auditor.limits import LIMITS

SAFETENSORS = serialize({"x": ("U8", (2,), b"ab")})
GGUF = gguf_bytes({"w": (0, (2,), bytes(8))})
REDUCE = b"cposix\nsystem\nX\x02\x00\x00\x00id\x85R."
PICKLES = {protocol: bytes([0x80, protocol]) + REDUCE for protocol in (2, 3, 4, 5)}
LARGE = LIMITS.unknown_binary + 1


def zipped(name: str = "data.pkl") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"x")
    return buffer.getvalue()


def kind(path: str, content: bytes, size: int | None = None) -> str | None:
    return identify(path, content[:HEAD_BYTES], len(content) if size is None else size)


def problem(path: str, content: bytes, size: int | None = None) -> str:
    with pytest.raises(UnsupportedFormat) as caught:
        kind(path, content, size)
    assert (caught.value.file, caught.value.field) == (path, "format")
    return caught.value.problem


NAMES = ["model.safetensors", "model.gguf", "model", "pytorch_model.bin", "a.json", "x.png", "README.md", "a.1"]


@pytest.mark.parametrize("name", NAMES)
def test_readable_content_is_read_whatever_its_name(name: str) -> None:
    assert kind(name, SAFETENSORS) == "safetensors"
    assert kind(name, GGUF) == "gguf"


MARKED = {
    **{f"pickle {protocol}": (content, "pickle") for protocol, content in PICKLES.items()},
    "zip": (zipped(), "torch-zip"),
    "npz": (zipped("w.npy"), "torch-zip"),  # its parser looks inside
    "torch before zip": (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "torch-legacy"),
}
UNREAD = {
    "empty zip": (b"PK\5\6" + bytes(18), "an empty zip archive"),
    "npy": (b"\x93NUMPY\x01\x00" + bytes(120), "a NumPy array"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file"),
    "big-endian gguf": (b"FUGG" + bytes(100), "a big-endian GGUF file"),
    "ggml": (b"lmgg" + bytes(100), "a GGML file"),
    "ggjt": (b"tjgg" + bytes(100), "a GGML file"),
    "lfs pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 13476835328\n",
        "a Git LFS pointer",
    ),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content", UNREAD)
def test_unreadable_content_is_refused_whatever_its_name(name: str, content: str) -> None:
    data, what = UNREAD[content]
    assert problem(name, data).startswith(what)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content", MARKED)
def test_pickles_and_archives_are_looked_into_whatever_their_name(name: str, content: str) -> None:
    data, parser = MARKED[content]
    assert kind(name, data) == parser


def test_renamed_pickle_without_a_mark_goes_to_the_parser() -> None:
    """Pickle protocol 0 is plain text: only the name says that it means to be weights."""
    content = b"cposix\nsystem\n(S'id'\ntR."
    assert kind("model.safetensors", content) == "safetensors"
    assert kind("model.gguf", content) == "gguf"
    assert kind("model.pkl", content) == kind("model.bin", content) == "unmarked"
    assert kind("notes.txt", content) is None


@pytest.mark.parametrize("name", ["model.safetensors", "MODEL.SAFETENSORS", "model.gguf", "model.GGUF"])
@pytest.mark.parametrize("content", [b"", b"\0", b"{}", bytes(100), b"<!DOCTYPE html>"])
def test_suffix_sends_broken_files_to_their_parser(name: str, content: bytes) -> None:
    assert kind(name, content) == name.lower().rpartition(".")[2]


@pytest.mark.parametrize("magic", ["PK\x03\x04", "\x80\x02", "\x80\x05", "GGUF", "FUGG", "lmgg"])
def test_length_of_a_header_may_spell_any_mark(magic: str) -> None:
    head = magic.encode("latin-1").ljust(4, b"\0") + bytes(4) + b'{"__metadata__":{'
    expected = "gguf" if magic == "GGUF" else "safetensors"  # no header is 1.2 GB long
    assert identify("model.safetensors", head, 1 << 32) == expected


def test_numpy_object_is_a_pickle_and_is_not_opened() -> None:
    """`np.save` of an object array writes a pickle behind the header, which `np.load(allow_pickle=True)` would run."""
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
    evil = b"\x80\x02cposix\nsystem\n(X\x02\x00\x00\x00idtR."
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + evil
    for name in ("w.npy", "pytorch_model.bin"):
        assert "NumPy" in problem(name, content)


UNMARKED = [".bin", ".BIN", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"]
SUFFIXES = [
    ".onnx", ".onnx_data", ".h5", ".keras", ".msgpack", ".npz", ".npy",
    ".tflite", ".pb", ".nemo", ".ggml", ".distcp", ".pte",
]  # fmt: skip


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"text", bytes(64)])
def test_names_of_weights_are_never_ignored(suffix: str, content: bytes) -> None:
    assert f"named {suffix.lower()}" in problem(f"model{suffix}", content)
    assert kind(f"model{suffix}.txt", content) is None  # benign twin
    assert kind(suffix, content) is None  # a hidden file, not a suffix


@pytest.mark.parametrize("suffix", UNMARKED)
def test_names_of_pickles_are_never_ignored(suffix: str) -> None:
    assert kind(f"model{suffix}", b"text") == kind(f"model{suffix}", bytes(64)) == "unmarked"
    assert f"named {suffix.lower()}" in problem(f"model{suffix}", b"")
    assert kind(f"model{suffix}.txt", b"text") is None  # benign twin
    assert kind(suffix, b"text") is None  # a hidden file, not a suffix


OTHERS = {
    "README.md": "# Modèle\n\u4f60\u597d\n".encode() * 100,
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b'{\n  "version": "1.0",\n',
    "merges.txt": "#version: 0.2\nĠ t\n".encode() * 50,
    "modeling.py": b"import os\n",
    "LICENSE": b"\x0c\n\tApache License\n",
    "empty": b"",
    "logo.png": b"\x89PNG\r\n\x1a\n" + bytes(600),
    "photo.jpg": b"\xff\xd8\xff\xe0" + bytes(600),
    "anim.gif": b"GIF89a" + bytes(600),
    "sound.wav": b"RIFF\x00\x00\x00\x00WAVE" + bytes(600),
    "paper.pdf": b"%PDF-1.7\n" + bytes(600),
    "demo.mp4": b"\0\0\0\x14ftypisom" + bytes(600),
    "long.mp4": b"\0\0\0\x28ftypmp42" + bytes(600),
    "demo.webm": b"\x1aE\xdf\xa3" + bytes(600),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("size", [None, LARGE])
def test_other_files_are_ignored_whatever_their_size(name: str, size: int | None) -> None:
    assert kind(name, OTHERS[name], size) is None


def test_character_cut_by_the_end_of_the_head_is_text() -> None:
    for shift in range(4):
        assert kind("vocab.txt", b"x" * shift + "\u4f60".encode() * HEAD_BYTES, LARGE) is None


def test_large_binary_of_unknown_content_is_refused() -> None:
    binary = bytes(range(256)) * 4
    assert kind("blob", binary, LIMITS.unknown_binary) is None  # benign twin: a tokenizer model is this large
    assert "large file of unknown content" in problem("blob", binary, LARGE)
    assert "large file of unknown content" in problem("tokenizer.model", b"\n\x0e" + binary, LARGE)
    assert "large file of unknown content" in problem("text-and-more", b"text\n" * 50 + bytes(300), LARGE)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", "bf16", "i1", "q4"])
def test_numbers_without_a_header_never_pass_for_text(dtype: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = rng.normal(0, 0.02, HEAD_BYTES).astype("<f4")
        raw = {
            "bf16": (values.view("<u4") >> 16).astype("<u2").tobytes(),
            "i1": rng.normal(0, 30, HEAD_BYTES).astype("i1").tobytes(),
            "q4": rng.integers(0x20, 0x100, HEAD_BYTES, dtype=np.uint8).tobytes(),
        }.get(dtype) or values.astype(dtype).tobytes()
        assert "unknown content" in problem("weights", raw[:HEAD_BYTES], LARGE)


@given(head=st.binary(max_size=HEAD_BYTES), size=st.integers(0, 1 << 40), name=st.sampled_from(NAMES))
def test_any_bytes_get_an_answer(head: bytes, size: int, name: str) -> None:
    with contextlib.suppress(UnsupportedFormat):
        assert identify(name, head, max(size, len(head))) in {*PARSERS, None}


@pytest.mark.parametrize(
    ("path", "format_", "fits"),
    [
        ("model.safetensors", "safetensors", True),
        ("a/model.SafeTensors", "safetensors", True),
        ("model.gguf", "gguf", True),
        ("model", "safetensors", True),
        (".hidden", "gguf", True),
        ("blobs/0f3a.9", "gguf", True),
        ("model.safetensors.bak", "safetensors", True),
        ("model.gguf.part", "gguf", True),
        ("model.gguf", "safetensors", False),
        ("model.safetensors", "gguf", False),
        ("pytorch_model.bin", "safetensors", False),
        ("pytorch_model.bin", "torch-zip", True),
        ("consolidated.00.pth", "torch-legacy", True),
        ("model.safetensors", "torch-zip", False),
        ("model.safetensors", "pickle", False),
        ("x.pkl", "pickle", True),
        ("model.safetensors.index.json", "safetensors", False),
        ("README.md", "gguf", False),
        ("logo.png", "gguf", False),
        ("tokenizer.model", "safetensors", False),
    ],
)
def test_name_fits(path: str, format_: str, *, fits: bool) -> None:
    assert name_fits(path, format_) == fits
