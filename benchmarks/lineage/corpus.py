"""Text to train on, found on any machine with Python, and byte-pair vocabularies of it.

Three corpora that share no file: `first` and `second`, sources of the standard library, and `prose`, its language
reference (`pydoc_data`) and the docstrings of modules that are in neither. The text is that of the running
interpreter, so another Python gives other models: its version belongs to their recipes.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]

CORPORA = ("first", "second", "prose")
_BYTES = 1_500_000  # of each corpus: more than any run here sees
_LEARN = 300_000  # of which the vocabulary is learnt
_TESTS = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Which byte pairs were merged, in order: token 256 + i is `merges[i]`."""

    name: str
    merges: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        """Number of tokens."""
        return 256 + len(self.merges)


@functools.cache
def text(corpus: str) -> bytes:
    """Return the bytes of a corpus."""
    parts: list[bytes] = []
    size = 0
    for path in _sources():
        if _corpus_of(path) == corpus and size < _BYTES:
            parts.append(_strings(path) if corpus == "prose" else path.read_bytes())
            size += len(parts[-1])
    return b"\n".join(parts)[:_BYTES]


@functools.cache
def vocabulary(name: str) -> Vocabulary:
    """Return a vocabulary: `base` (512, of `first`), `extended` (base and 64 more, of `second`), `other` (640)."""
    if name == "base":
        return Vocabulary(name=name, merges=_learn(text("first"), (), 256))
    if name == "extended":
        return Vocabulary(name=name, merges=_learn(text("second"), vocabulary("base").merges, 64))
    if name == "other":
        return Vocabulary(name=name, merges=_learn(text("prose"), (), 384))
    raise KeyError(name)


@functools.cache
def tokens(corpus: str, vocabulary_name: str) -> Tokens:
    """Return a corpus as token ids."""
    out = np.frombuffer(text(corpus), dtype=np.uint8).astype(np.int64)
    for i, pair in enumerate(vocabulary(vocabulary_name).merges):
        out = merge(out, pair, 256 + i)
    return out


def tokenizer_files(vocabulary_name: str) -> dict[str, str]:
    """Return the files of a Hugging Face tokenizer that splits text as `tokens` does."""
    merges = vocabulary(vocabulary_name).merges
    spelt = [_spelling(byte) for byte in range(256)]
    for first, second in merges:
        spelt.append(spelt[first] + spelt[second])
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    model = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
        "vocab": {token: i for i, token in enumerate(spelt)}, "merges": [[spelt[a], spelt[b]] for a, b in merges],
    }  # fmt: skip
    whole = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level, "model": model,
    }  # fmt: skip
    return {
        "tokenizer.json": json.dumps(whole, indent=1),
        "tokenizer_config.json": json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}),
    }


def _spelling(byte: int) -> str:
    """Return the character that byte-level tokenizers write for a byte: itself where it can be seen."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return chr(byte if byte in seen else 256 + byte - sum(other < byte for other in seen))


def merge(sequence: Tokens, pair: tuple[int, int], token: int) -> Tokens:
    """Replace each occurrence of a pair by one token, from left to right.

    Examples
    --------
    >>> merge(np.array([7, 7, 7, 1]), (7, 7), 256).tolist()
    [256, 7, 1]
    """
    at = np.flatnonzero((sequence[:-1] == pair[0]) & (sequence[1:] == pair[1]))
    if pair[0] == pair[1] and len(at):  # in a run of equal tokens, every second place
        starts = np.flatnonzero(np.diff(at, prepend=at[0] - 2) > 1)
        run = np.repeat(at[starts], np.diff(starts, append=len(at)))
        at = at[(at - run) % 2 == 0]
    out = sequence.copy()
    out[at] = token
    return np.delete(out, at + 1)


def _learn(data: bytes, merges: tuple[tuple[int, int], ...], count: int) -> tuple[tuple[int, int], ...]:
    sequence = np.frombuffer(data[:_LEARN], dtype=np.uint8).astype(np.int64)
    for i, pair in enumerate(merges):
        sequence = merge(sequence, pair, 256 + i)
    learnt = list(merges)
    size = 256 + len(merges) + count
    for _ in range(count):
        counts = np.bincount(sequence[:-1] * size + sequence[1:])
        first, second = divmod(int(counts.argmax()), size)
        sequence = merge(sequence, (first, second), 256 + len(learnt))
        learnt.append((first, second))
    return tuple(learnt)


def _sources() -> list[Path]:
    library = Path(sysconfig.get_path("stdlib"))
    found = (path for path in library.rglob("*.py") if not _TESTS & set(path.relative_to(library).parts))
    return sorted(found, key=lambda path: path.relative_to(library).as_posix())


def _corpus_of(path: Path) -> str:
    if path.parent.name == "pydoc_data":
        return "prose"
    return ("first", "first", "second", "prose")[hashlib.sha256(path.name.encode()).digest()[0] % 4]


def _strings(path: Path) -> bytes:
    """Return the long strings of a module: its docstrings and texts."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # a module that is bad on purpose, or of another Python
        return b""
    found = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return "\n".join(value for value in found if len(value) > 80).encode(errors="replace")
