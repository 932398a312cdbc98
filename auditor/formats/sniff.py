"""What a file is, by its first bytes.

A name never makes us read a file as something it is not. It can only make us stricter: a file that calls itself
a checkpoint and is none that we can read is unread, not ignored.
"""

from __future__ import annotations

import codecs
from pathlib import PurePosixPath

from auditor.errors import UnsupportedFormat
from auditor.formats import gguf, safetensors
from auditor.limits import LIMITS

HEAD_BYTES = 512
"""Bytes that `identify` needs of a file: numbers do not pass for text over that length."""

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
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer: the file itself was not downloaded"),
)
_UNREAD_SUFFIXES = frozenset({
    ".bin", ".ckpt", ".distcp", ".engine", ".ggml", ".h5", ".joblib", ".keras", ".llamafile", ".mlmodel",
    ".msgpack", ".nemo", ".npy", ".npz", ".onnx", ".onnx_data", ".ot", ".params", ".pb", ".pdparams", ".pickle",
    ".pkl", ".pt", ".pte", ".pth", ".tflite", ".weights",
})  # fmt: skip
"""How weights are named that are not read, whatever the files begin with."""

_OTHER_SUFFIXES = frozenset({
    ".csv", ".gif", ".gz", ".html", ".jpeg", ".jpg", ".json", ".jsonl", ".md", ".model", ".mp3", ".mp4",
    ".parquet", ".pdf", ".png", ".py", ".svg", ".tar", ".toml", ".txt", ".wav", ".webp", ".yaml", ".yml", ".zip",
})  # fmt: skip
"""What files in model repositories are called that hold no weights."""

_SUFFIX_OF = {"safetensors": ".safetensors", "gguf": ".gguf"}
_KNOWN_OTHERS = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"RIFF",
    b"%PDF",
    b"\x1aE\xdf\xa3",
    b"ID3",
    b"OggS",
    b"fLaC",
)
"""Images, sound and documents. MPEG-4 has its mark after a length: see `_is_known_other`."""


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
    if gguf.sniff(head, size):
        return "gguf"
    if safetensors.sniff(head, size):  # before all other marks, for the length of its header may spell any of them
        return "safetensors"
    for magic, what in _UNREAD_MAGIC:
        if head.startswith(magic):
            raise UnsupportedFormat(file=path, field="format", problem=f"{what}, which this version does not read")
    suffix = PurePosixPath(path).suffix.lower()
    for kind, own in _SUFFIX_OF.items():
        if suffix == own:
            return kind  # its parser will say what is wrong
    if suffix in _UNREAD_SUFFIXES:
        what = f"a file named {suffix}, which is how weights are named"
        raise UnsupportedFormat(file=path, field="format", problem=f"{what}, which this version does not read")
    if size > LIMITS.unknown_binary and not (_is_text(head) or _is_known_other(head)):
        raise UnsupportedFormat(file=path, field="format", problem="a large file of unknown content")
    return None


def name_fits(path: str, kind: str) -> bool:
    """Say whether a file's suffix is that of its format, or of none."""
    suffix = PurePosixPath(path).suffix.lower()
    return suffix == _SUFFIX_OF[kind] or suffix not in {*_SUFFIX_OF.values(), *_UNREAD_SUFFIXES, *_OTHER_SUFFIXES}


def _is_text(head: bytes) -> bool:
    """Say whether bytes are the beginning of a UTF-8 text; the last character may be cut."""
    if any(byte < 9 or 13 < byte < 32 for byte in head):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _is_known_other(head: bytes) -> bool:
    return head.startswith(_KNOWN_OTHERS) or head[4:8] == b"ftyp"
