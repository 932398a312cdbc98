"""What a file is, by its first bytes.

A name never makes us read a file as something it is not. It can only make us stricter: a file that calls itself
a checkpoint and is none that we can read is unread, not ignored.
"""

from __future__ import annotations

import codecs
from pathlib import PurePosixPath

from auditor.errors import UnsupportedFormat
from auditor.formats import gguf, pickles, safetensors, torchlegacy, torchzip
from auditor.limits import LIMITS

HEAD_BYTES = 512
"""Bytes that `identify` needs of a file: numbers do not pass for text over that length."""

_MARKS: dict[str, tuple[bytes, ...]] = {
    "torch-zip": (torchzip.MAGIC,),
    "torch-legacy": (torchlegacy.MAGIC,),
    "pickle": pickles.MAGICS,
}
_UNREAD_MAGIC = (
    (b"PK\x05\x06", "an empty zip archive"),
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

_TORCH_SUFFIXES = frozenset({".bin", ".ckpt", ".pt", ".pth"})
_PICKLE_SUFFIXES = frozenset({".joblib", ".pickle", ".pkl"})
_SUFFIXES_OF = {
    "safetensors": frozenset({".safetensors"}),
    "gguf": frozenset({".gguf"}),
    "torch-zip": _TORCH_SUFFIXES,
    "torch-legacy": _TORCH_SUFFIXES,
    "pickle": _PICKLE_SUFFIXES | _TORCH_SUFFIXES,
    "unmarked": _PICKLE_SUFFIXES | _TORCH_SUFFIXES,
}
_OWN_SUFFIXES = {".safetensors": "safetensors", ".gguf": "gguf"}
"""Suffixes that name one format: such a file is read as that, and refused where it is something else."""
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
    """Say which parser a file is for, or None where it holds no weights.

    "unmarked" is for those named like torch checkpoints or pickles, which may run code and begin in no known way.

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
    if marked := _by_mark(head, size):
        return marked
    for magic, what in _UNREAD_MAGIC:
        if head.startswith(magic):
            raise UnsupportedFormat(file=path, field="format", problem=f"{what}, which this version does not read")
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in _OWN_SUFFIXES:
        return _OWN_SUFFIXES[suffix]  # its parser will say what is wrong
    if size and suffix in _PICKLE_SUFFIXES | _TORCH_SUFFIXES:
        return "unmarked"
    if suffix in _UNREAD_SUFFIXES:
        what = f"a file named {suffix}, which is how weights are named"
        raise UnsupportedFormat(file=path, field="format", problem=f"{what}, which this version does not read")
    if size > LIMITS.unknown_binary and not (_is_text(head) or _is_known_other(head)):
        raise UnsupportedFormat(file=path, field="format", problem="a large file of unknown content")
    return None


def _by_mark(head: bytes, size: int) -> str | None:
    if gguf.sniff(head, size):
        return "gguf"
    if safetensors.sniff(head, size):  # before all other marks, for the length of its header may spell any of them
        return "safetensors"
    return next((kind for kind, marks in _MARKS.items() if head.startswith(marks)), None)


def name_fits(path: str, kind: str) -> bool:
    """Say whether a file's suffix is that of its format, or of none."""
    suffix = PurePosixPath(path).suffix.lower()
    return suffix in _SUFFIXES_OF[kind] or suffix not in {*_OWN_SUFFIXES, *_UNREAD_SUFFIXES, *_OTHER_SUFFIXES}


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
