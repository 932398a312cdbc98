"""Which token stands in which row of the embeddings, as the tokenizer beside a model says.

Files read: `tokenizer.json` (BPE and WordPiece keep a map, Unigram a list), `vocab.json`, and SentencePiece's
`tokenizer.model` (protocol buffers: field 1 of the model, repeated, is a piece; field 1 of a piece its text).
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from auditor.errors import FileError
from auditor.formats import strictjson
from auditor.limits import LIMITS
from auditor.sources.base import Blob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from auditor.formats import Container
    from auditor.sources.base import Source

_LENGTH_DELIMITED = 2
_SKIPPED = {1: 8, 5: 4}  # wire types of fixed length


def read_vocabulary(source: Source, container: Container) -> Mapping[str, int]:
    """Read the tokens of a model: text to row, empty where no tokenizer can be read.

    What cannot be read is as good as absent: tokens only help to find a frame, and nothing is concluded without them.
    A space is written as SentencePiece does, so that tokens of different tokenizers can be the same.

    Parameters
    ----------
    source : Source
    container : Container
        Tokenizers beside its first file are read.
    """
    folder = PurePosixPath(container.files[0]).parent
    infos = {info.path: info for info in source.files()}
    for name, parse in _PARSERS.items():
        info = infos.get(str(folder / name))
        if info is None or info.size > LIMITS.tokenizer_bytes:
            continue
        blob = Blob(source, info)
        try:
            found = parse(blob.read(0, blob.size), blob.path)
        except (FileError, ValueError, TypeError, KeyError, IndexError):
            continue
        if found:
            return {_spelled(text): row for text, row in found.items()}
    return {}


def _spelled(text: str) -> str:
    return text.replace("\u0120", "\u2581")  # the byte-level space, as SentencePiece writes it


def _hub(data: bytes, file: str) -> Mapping[str, int]:
    whole = strictjson.loads(data, file=file, field="tokenizer")
    model = whole["model"] if isinstance(whole, dict) else None
    vocabulary = model["vocab"] if isinstance(model, dict) else None
    if isinstance(vocabulary, list):
        return {entry[0]: row for row, entry in enumerate(vocabulary) if isinstance(entry, list) and _is_text(entry[0])}
    return _rows(vocabulary)


def _plain(data: bytes, file: str) -> Mapping[str, int]:
    return _rows(strictjson.loads(data, file=file, field="vocabulary"))


def _rows(vocabulary: object) -> Mapping[str, int]:
    if not isinstance(vocabulary, dict):
        return {}
    return {text: row for text, row in vocabulary.items() if type(row) is int and row >= 0}


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _sentencepiece(data: bytes, file: str) -> Mapping[str, int]:
    del file
    found: dict[str, int] = {}
    row = 0
    for field, piece in _fields(data):
        if field != 1:
            continue
        text = next((value for number, value in _fields(piece) if number == 1), b"")
        found.setdefault(text.decode(errors="replace"), row)
        row += 1
    return found


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the length-delimited fields of a protocol buffer, in order; raises ValueError where it is cut short."""
    at = 0
    for _ in range(LIMITS.tokenizer_fields + 1):
        if at == len(data):
            return
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            _, at = _varint(data, at)
        elif kind == _LENGTH_DELIMITED:
            length, at = _varint(data, at)
            if length > len(data) - at:
                raise ValueError("cut short")
            yield key >> 3, data[at : at + length]
            at += length
        elif kind in _SKIPPED:
            at += _SKIPPED[kind]
        else:
            raise ValueError(f"wire type {kind}")
        if at > len(data):
            raise ValueError("cut short")
    raise ValueError("too many fields")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
    raise ValueError("a number that does not end")


_PARSERS: dict[str, Callable[[bytes, str], Mapping[str, int]]] = {
    "tokenizer.json": _hub,
    "vocab.json": _plain,
    "tokenizer.model": _sentencepiece,
}
