"""Models in several files that no index joins: loose safetensors shards, and the splits of llama.cpp.

A set of which a part is missing is never taken for a whole. What is there is still returned, as evidence.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import chain, count
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from auditor.errors import FileError, MissingShard
from auditor.formats.base import Container

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_PART = re.compile(r"(?s)(.+-)([0-9]{5})-of-([0-9]{5})((?:\.[^.]*)?)")
_DIGITS = re.compile("[0-9]+")
_SPLIT_NUMBER, _SPLIT_COUNT, _SPLIT_TENSORS = "split.no", "split.count", "split.tensors.count"


class _Set(NamedTuple):
    """What the names of all parts of a set share: `<before>00001-of-<size><after>`."""

    before: str
    size: str
    after: str

    def name(self, number: int) -> str:
        return f"{self.before}{number:05d}-of-{self.size}{self.after}"


def join(
    loose: Mapping[str, Container], *, listed: Collection[str]
) -> tuple[tuple[Container, ...], tuple[FileError, ...]]:
    """Join what belongs together.

    Safetensors files of one folder that share no tensor name are taken for shards of one model, torch files likewise;
    those of llama.cpp say so in their metadata. An adapter is no part of the model that lies beside it.

    Parameters
    ----------
    loose : mapping of str to Container
        Parsed files that no index names, by path.
    listed : collection of str
        All paths of the source, readable or not.

    Returns
    -------
    containers : tuple of Container
    incomplete : tuple of MissingShard
        One for each set that lacks a part, about its first file.
    """
    splits: dict[str, Container] = {}
    whole: list[Container] = []
    shards: list[Container] = []
    for path, container in sorted(loose.items()):
        if container.format != "gguf":
            shards.append(container)
        elif container.metadata.get(_SPLIT_COUNT, 1) in (0, 1):
            whole.append(container)
        else:
            splits[path] = container
    joined, incomplete = _join_splits(splits)
    incomplete += _missing_parts(sorted(loose.keys() - splits.keys()), listed)
    return (*joined, *whole, *_join_folders(shards)), tuple(incomplete)


def _join_folders(containers: Iterable[Container]) -> list[Container]:
    folders: dict[tuple[str, ...], list[Container]] = defaultdict(list)
    for container in containers:
        folders[_kin(container)].append(container)
    out: list[Container] = []
    for group in folders.values():
        out.extend([_concatenated(group)] if len(group) > 1 and _share_no_name(group) else group)
    return out


def _kin(container: Container) -> tuple[str, ...]:
    """Return what files share that may be parts of one model."""
    path = PurePosixPath(container.files[0])
    # Beside the parts of a torch checkpoint lie files of other content that is tensors too: an optimizer's state.
    kind = _DIGITS.sub("#", path.name) if container.format == "torch" else str(path.stem == "adapter_model")
    return str(path.parent), container.format, kind


def _join_splits(splits: Mapping[str, Container]) -> tuple[list[Container], list[FileError]]:
    groups: dict[object, list[Container]] = defaultdict(list)
    for path, container in splits.items():
        belongs = _set_of(path)
        groups[belongs[0] if belongs else path].append(container)
    out: list[Container] = []
    incomplete: list[FileError] = []
    for group in groups.values():
        if _is_whole(group):
            out.append(_concatenated(sorted(group, key=_split_number)))
        else:
            out.extend(group)
            incomplete.append(
                MissingShard(
                    file=group[0].files[0],
                    field=f'metadata "{_SPLIT_COUNT}"',
                    problem="not all parts of the split are there, each once",
                    actual=f"{len(group)} under this name",
                    limit=group[0].metadata[_SPLIT_COUNT],
                )
            )
    return out, incomplete


def _is_whole(group: list[Container]) -> bool:
    total = sum(len(container.tensors) for container in group)
    return (
        sorted(map(_split_number, group)) == list(range(len(group)))
        and all(container.metadata[_SPLIT_COUNT] == len(group) for container in group)
        and all(container.metadata.get(_SPLIT_TENSORS, total) == total for container in group)
        and _share_no_name(group)
    )


def _split_number(container: Container) -> int:
    number = container.metadata.get(_SPLIT_NUMBER)
    return number if isinstance(number, int) else -1


def _missing_parts(paths: Iterable[str], listed: Iterable[str]) -> list[FileError]:
    """Hold the files that call themselves one of several against the names that are there."""
    numbers: dict[_Set, set[int]] = defaultdict(set)
    for path in listed:
        if belongs := _set_of(path):
            numbers[belongs[0]].add(belongs[1])
    first: dict[_Set, str] = {}
    for path in paths:
        if belongs := _set_of(path):
            first.setdefault(belongs[0], path)
    missing: list[FileError] = []
    for parts, path in first.items():
        size, start = int(parts.size), 0 if 0 in numbers[parts] else 1
        there = {number for number in numbers[parts] if start <= number < start + size}
        if len(there) < size:
            absent = parts.name(next(number for number in count(start) if number not in there))
            problem = f"{len(there)} of {size} parts are there; {PurePosixPath(absent).name} is not"
            missing.append(MissingShard(file=path, field="file name", problem=problem))
    return missing


def _set_of(path: str) -> tuple[_Set, int] | None:
    match = _PART.fullmatch(path)
    return (_Set(match[1], match[3], match[4]), int(match[2])) if match else None


def _share_no_name(group: list[Container]) -> bool:
    names = Counter(entry.name for container in group for entry in container.tensors)
    return max(names.values(), default=0) <= 1


def _concatenated(group: list[Container]) -> Container:
    """Join parts of one format; the first part of a GGUF split carries the metadata of all."""
    first = group[0]
    return Container(
        format=first.format,
        files=tuple(sorted(path for container in group for path in container.files)),
        tensors=tuple(chain.from_iterable(container.tensors for container in group)),
        metadata=first.metadata if first.format == "gguf" else MappingProxyType({}),
        unproved=tuple(chain.from_iterable(container.unproved for container in group)),
    )
