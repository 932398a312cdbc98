"""What a file is, by its first bytes.

A name never makes us read a file as something it is not. It can only make us stricter: a file that calls itself
a checkpoint and is none that we can read is unread, not ignored.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from auditor.errors import UnsupportedFormat
from auditor.formats import gguf, safetensors
from auditor.limits import LIMITS

HEAD_BYTES = 16
"""Bytes that `identify` needs of a file."""

_UNREAD_MAGIC = (
    (b"PK\x03\x04", "a zip archive (torch checkpoints and NumPy archives are)"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x80\x02", "a pickle"),
    (b"\x80\x03", "a pickle"),
    (b"\x80\x04", "a pickle"),
    (b"\x80\x05", "a pickle"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"FUGG", "a big-endian GGUF file"),
    (b"lmgg", "a GGML file older than GGUF"),
    (b"fmgg", "a GGML file older than GGUF"),
    (b"tjgg", "a GGML file older than GGUF"),
)
_UNREAD_SUFFIXES = {
    suffix: f"a file named {suffix}, which is how weights are named"
    for suffix in (
        ".bin", ".ckpt", ".ggml", ".h5", ".joblib", ".keras", ".mlmodel", ".msgpack", ".nemo", ".npy", ".npz",
        ".onnx", ".ot", ".pkl", ".pt", ".pth", ".tflite",
    )
}  # fmt: skip
_SUFFIX_OF = {"safetensors": ".safetensors", "gguf": ".gguf"}
_KNOWN_OTHERS = (
    b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"%PDF", b"\x00\x00\x00\x18ftyp", b"\x00\x00\x00\x1cftyp",
    b"\x00\x00\x00\x20ftyp", b"\x1aE\xdf\xa3", b"ID3", b"OggS", b"fLaC",
)  # fmt: skip


def identify(path: str, head: bytes, size: int) -> str | None:
    """Say which readable format a file is, or None where it holds no weights.

    Parameters
    ----------
    path : str
    head : bytes
        The first `HEAD_BYTES` of the file, all of it where it is shorter.
    size : int
        Of the file, in bytes.

    Raises
    ------
    UnsupportedFormat
        When it holds weights, or may, in a format that is not read.
    """
    suffix = PurePosixPath(path).suffix.lower()
    for magic, what in _UNREAD_MAGIC:
        if head.startswith(magic) and not safetensors.sniff(head, size):
            raise UnsupportedFormat(file=path, field="format", actual=what)
    if gguf.sniff(head, size) or suffix == ".gguf":
        return "gguf"
    if safetensors.sniff(head, size) or suffix == ".safetensors":
        return "safetensors"
    if suffix in _UNREAD_SUFFIXES:
        raise UnsupportedFormat(file=path, field="format", actual=_UNREAD_SUFFIXES[suffix])
    if size > LIMITS.unknown_binary and not _is_text(head) and not head.startswith(_KNOWN_OTHERS):
        raise UnsupportedFormat(file=path, field="format", actual="a large file of unknown content")
    return None


def name_fits(path: str, kind: str) -> bool:
    """Say whether a file's suffix is that of its format, or of none."""
    suffix = PurePosixPath(path).suffix.lower()
    claims = {*_SUFFIX_OF.values(), *_UNREAD_SUFFIXES, ".json", ".txt", ".md", ".model"}
    return suffix == _SUFFIX_OF[kind] or suffix not in claims


def _is_text(head: bytes) -> bool:
    return not any(byte < 9 or 13 < byte < 32 for byte in head)
