"""Find every set of weights in a source, read its headers, and say what could not be read."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from auditor.errors import FileError
from auditor.findings import Finding
from auditor.formats import gguf, safetensors, shards, sniff
from auditor.formats.base import Container
from auditor.sources.base import Blob, Unread

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from auditor.formats.shards import Index
    from auditor.sources.base import FileInfo, Source

PARSERS = {"safetensors": safetensors.parse, "gguf": gguf.parse}
"""Formats that are read. One module each; `sniff` says by content which one a file is."""

_INDEX_SUFFIX = ".safetensors.index.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """Everything in a source that holds weights.

    Attributes
    ----------
    containers : tuple of Container
        Each a whole set of weights: an index with its shards, files without an index that complete each other,
        or a single file.
    unread : tuple of Unread
        Files that hold or may hold weights and could not be read, and entries that the source refused.
    findings : tuple of Finding
        Rules FILE-001, FILE-002 and FILE-004.
    """

    containers: tuple[Container, ...]
    unread: tuple[Unread, ...]
    findings: tuple[Finding, ...]


def open_checkpoints(source: Source) -> Checkpoints:
    """Read the header of every file that holds weights. No tensor data is read."""
    parsed: dict[str, Container] = {}
    indexes: dict[str, Index] = {}
    unread = list(source.refused())
    misnamed: list[str] = []
    for info in source.files():
        try:
            kind = sniff.identify(info.path, _head(source, info), info.size)
            if kind in PARSERS:
                parsed[info.path] = PARSERS[kind](Blob(source, info))
                if not sniff.name_fits(info.path, kind):
                    misnamed.append(f"{info.path} is a {kind} file")
            elif info.path.endswith(_INDEX_SUFFIX):
                indexes[info.path] = shards.parse_index(Blob(source, info))
        except FileError as error:
            unread.append(Unread.from_error(error))
    joined: list[Container] = []
    for path, index in list(indexes.items()):
        try:
            joined.append(shards.join(index, parsed))
        except FileError as error:
            unread.append(Unread.from_error(error))
            del indexes[path]
    indexed = {path for container in joined for path in container.files}
    loose = {path: container for path, container in parsed.items() if path not in indexed}
    return Checkpoints(
        containers=tuple(joined) + _complete_each_other(loose),
        unread=tuple(unread),
        findings=(
            _unindexed(indexes, loose),
            _ambiguous(joined, loose),
            _misnamed(misnamed),
        ),
    )


def _head(source: Source, info: FileInfo) -> bytes:
    return Blob(source, info).read(0, min(info.size, sniff.HEAD_BYTES)) if info.size else b""


def _complete_each_other(loose: Mapping[str, Container]) -> tuple[Container, ...]:
    """Join safetensors files of one folder that share no tensor name: shards that came without an index."""
    folders: dict[PurePosixPath, list[Container]] = defaultdict(list)
    out: list[Container] = []
    for path, container in sorted(loose.items()):
        if container.format == "safetensors":
            folders[PurePosixPath(path).parent].append(container)
        else:
            out.append(container)
    for group in folders.values():
        names = Counter(entry.name for container in group for entry in container.tensors)
        if len(group) > 1 and max(names.values(), default=0) == 1:
            out.append(
                Container(
                    format="safetensors",
                    files=tuple(path for container in group for path in container.files),
                    tensors=tuple(entry for container in group for entry in container.tensors),
                )
            )
        else:
            out.extend(group)
    return tuple(out)


def _unindexed(indexes: Mapping[str, Index], loose: Mapping[str, Container]) -> Finding:
    folders = {PurePosixPath(path).parent for path in indexes}
    extra = [
        path
        for path, container in loose.items()
        if container.format == "safetensors" and PurePosixPath(path).parent in folders
    ]
    return _finding(
        "FILE-001",
        "Every safetensors file beside an index is named in it",
        extra,
        "weights that no index names: ",
        applies=bool(folders),
        fix="Add the file to the index or remove it. It was audited as a model of its own.",
    )


def _ambiguous(joined: Iterable[Container], loose: Mapping[str, Container]) -> Finding:
    sets = [(c.files[0], c) for c in joined] + [
        (path, c) for path, c in loose.items() if c.format == "safetensors"
    ]
    folders: dict[PurePosixPath, list[tuple[str, Container]]] = defaultdict(list)
    for path, container in sets:
        folders[PurePosixPath(path).parent].append((path, container))
    clashing = []
    for group in folders.values():
        names = Counter(entry.name for _, container in group for entry in container.tensors)
        shared = [name for name, count in names.items() if count > 1]
        if shared:
            clashing.append(f"{' and '.join(path for path, _ in group)} both hold {shared[0]}")
    return _finding(
        "FILE-002",
        "One folder holds one set of safetensors weights",
        clashing,
        "loaders may pick different weights: ",
        applies=bool(sets),
        fix="Keep one set of weights in a folder. Each set was audited.",
    )


def _misnamed(misnamed: list[str]) -> Finding:
    return _finding(
        "FILE-004",
        "File names say what the files hold",
        misnamed,
        "by content: ",
        fix="Rename the file; loaders that go by suffix will misread it.",
    )


def _finding(
    rule: str, title: str, broken: list[str], lead: str, *, fix: str, applies: bool = True
) -> Finding:
    if broken:
        evidence = lead + "; ".join(broken[:5]) + (f"; and {len(broken) - 5} more" if len(broken) > 5 else "")
        return Finding(id=rule, status="fail", title=title, evidence=evidence, fix=fix)
    return Finding(id=rule, status="pass" if applies else "n/a", title=title, evidence="")
