"""Models in several files: read `*.safetensors.index.json` or `*.bin.index.json`, and join the shards that it names.

An index is an invitation to open other files, so every name in it is checked before anything acts on it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING

from auditor.errors import (
    IndexMismatch,
    LimitExceeded,
    MissingField,
    MissingShard,
    UnsafePath,
    UnsupportedFormat,
)
from auditor.formats.base import Container
from auditor.formats.strictjson import expect, loads, quoted
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from auditor.sources.base import Blob

_FIELD = "weight_map"
INDEX_SUFFIXES = {".safetensors.index.json": ".safetensors", ".bin.index.json": ".bin"}
"""How indexes are named, and the shards of each."""

_FORMAT_OF = {".safetensors": "safetensors", ".bin": "torch"}
# Characters to which some file system, shell or URL gives a meaning: separators, drives and schemes,
# wildcards, query, fragment, percent escapes, controls.
_NOT_PLAIN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|#]|%[0-9A-Fa-f]{2}')


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """A checked index.

    Attributes
    ----------
    file : str
        Path of the index inside the target.
    weight_map : mapping of str to str
        Tensor name to the path of its shard inside the target.
    """

    file: str
    weight_map: Mapping[str, str]

    @property
    def format(self) -> str:
        """What its shards are: "safetensors" or "torch"."""
        return _FORMAT_OF[_suffix(self.file)]

    @property
    def shards(self) -> tuple[str, ...]:
        """The paths that the index names, sorted, each once."""
        return tuple(sorted(set(self.weight_map.values())))


def parse_index(blob: Blob) -> Index:
    """Read an index. No file that it names is touched.

    Parameters
    ----------
    blob : Blob

    Returns
    -------
    Index
        Paths are taken relative to the folder of the index, and stay inside it.

    Raises
    ------
    LimitExceeded
        Larger than `LIMITS.index_bytes`, or over a cap of `strictjson.loads`.
    NotText, BadJson, DuplicateName
        Not strict JSON; a tensor that is mapped twice is a duplicate name.
    MissingField, WrongType
        There is no `weight_map`, or it is not an object of strings.
    UnsafePath
        A shard that is anything but a plain relative path.
    IndexMismatch
        The index names itself as a shard.
    UnsupportedFormat
        A shard that is not named as the index says that its shards are.
    """
    file = blob.path
    if blob.size > LIMITS.index_bytes:
        raise LimitExceeded(file=file, field="index size", actual=blob.size, limit=LIMITS.index_bytes)
    text = blob.read(0, blob.size, field="index")
    top = expect(loads(text, file=file, field="index"), dict, file=file, field="index")
    if _FIELD not in top:
        raise MissingField(file=file, field=_FIELD)
    raw = expect(top[_FIELD], dict, file=file, field=_FIELD)
    paths: dict[str, str] = {}  # few shards, many tensors: look at each shard once
    weight_map = {}
    for name, value in raw.items():
        shard = expect(value, str, file=file, field=f"{_FIELD} {quoted(name)}")
        if shard not in paths:
            paths[shard] = _resolve(shard, index=file, field=f"{_FIELD} {quoted(name)}")
        weight_map[name] = paths[shard]
    return Index(file=file, weight_map=MappingProxyType(weight_map))


def join(index: Index, shards: Mapping[str, Container]) -> Container:
    """Make one container of the shards that an index names. Shards that it does not name are left out.

    Parameters
    ----------
    index : Index
    shards : mapping of str to Container
        Parsed shards by path inside the target.

    Returns
    -------
    Container
        Tensors shard by shard, by path; `metadata` holds the items on which all shards agree.

    Raises
    ------
    MissingShard
        `shards` lacks one that the index names.
    UnsupportedFormat
        A shard turned out to be of another format.
    IndexMismatch
        A shard lacks a tensor of the index, or holds one that the index leaves out or places elsewhere.
    """
    parts: list[Container] = []
    for path in index.shards:
        if path not in shards:
            raise MissingShard(file=index.file, field=_FIELD, actual=path)
        if shards[path].format != index.format:
            raise UnsupportedFormat(file=path, field="format", actual=shards[path].format, limit=index.format)
        parts.append(shards[path])
    held = {(tensor.name, path) for path in index.shards for tensor in shards[path].tensors}
    listed = set(index.weight_map.items())
    if held != listed:
        _refuse_difference(index, held - listed, listed - held)
    return Container(
        format=index.format,
        files=index.shards,
        tensors=tuple(chain.from_iterable(part.tensors for part in parts)),
        metadata=_agreed([part.metadata for part in parts]),
        unproved=tuple(chain.from_iterable(part.unproved for part in parts)),
    )


def _resolve(shard: str, *, index: str, field: str) -> str:
    """Return the path of a shard inside the target."""
    parts = shard.split("/")
    if found := _NOT_PLAIN.search(shard):
        raise UnsafePath(
            file=index,
            field=field,
            problem=f"not a plain relative path, for its {found.group()!r}",
            actual=shard,
        )
    # Some systems drop dots and blanks at the end of a name, so ".. " and "..." may lead upwards too.
    if not all(part.strip(". ") for part in parts):
        raise UnsafePath(file=index, field=field, problem="not a plain relative path", actual=shard)
    if len(parts) > LIMITS.path_depth:
        raise UnsafePath(file=index, field=field, problem="too deep", actual=len(parts), limit=LIMITS.path_depth)
    path = str(PurePosixPath(index).parent / shard)
    if path == index:
        raise IndexMismatch(file=index, field=field, problem="the index names itself", actual=shard)
    if not shard.endswith(_suffix(index)):
        raise UnsupportedFormat(file=index, field=field, actual=shard, limit="*" + _suffix(index))
    return path


def _suffix(index: str) -> str:
    """Return how the shards of an index are named; those of an index of another name are safetensors."""
    return next((own for ending, own in INDEX_SUFFIXES.items() if index.endswith(ending)), ".safetensors")


def _refuse_difference(index: Index, unlisted: set[tuple[str, str]], lacking: set[tuple[str, str]]) -> None:
    """Raise for the first difference by name, so that the message does not change from run to run."""
    name, path = min(unlisted | lacking)
    if (name, path) in lacking:
        problem, actual = "the shard lacks this tensor", path
    elif name in index.weight_map:
        problem, actual = "held by a shard that the index does not give it", path
    else:
        problem, actual = "in a shard but not in the index", path
    raise IndexMismatch(
        file=index.file,
        field=f"{_FIELD} {quoted(name)}",
        problem=problem,
        actual=actual,
        limit=index.weight_map.get(name),
    )


def _agreed(metadata: Sequence[Mapping[str, object]]) -> Mapping[str, object]:
    if not metadata:
        return MappingProxyType({})
    first, *others = metadata
    return MappingProxyType(
        {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    )
