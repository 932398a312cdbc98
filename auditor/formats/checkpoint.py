"""Find every set of weights in a source, read its headers, and say what could not be read."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from auditor.errors import AmbiguousArchive, FileError, LimitExceeded, MissingShard
from auditor.findings import file_finding
from auditor.formats import gguf, metashards, parts, pickles, safetensors, shards, sniff, torchlegacy, torchzip
from auditor.formats.strictjson import quoted
from auditor.limits import LIMITS
from auditor.sources.base import Blob, Unread

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from auditor.findings import Finding
    from auditor.formats.base import Container
    from auditor.formats.shards import Index
    from auditor.sources.base import Source

PARSERS = {
    "safetensors": safetensors.parse,
    "gguf": gguf.parse,
    "torch-zip": torchzip.parse,
    "torch-legacy": torchlegacy.parse,
    "pickle": pickles.parse,
    "unmarked": pickles.parse_unmarked,
}
"""What is read, or looked into. One module each; `sniff` says by content which one a file is for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """Everything in a source that holds weights.

    Attributes
    ----------
    containers : tuple of Container
        Each a whole set of weights: an index with its shards, files without an index that complete each other,
        or a single file.
    unread : tuple of Unread
        Files that hold or may hold weights and could not be read, tensors of others, sets of which parts are
        missing, and entries that the source refused.
    findings : tuple of Finding
        Rules FILE-001, FILE-002, FILE-004, FILE-007 and FILE-008.
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
    ambiguous: list[str] = []
    blobs = [(info, Blob(source, info)) for info in source.files()]
    _fetch_heads(source, [blob for _, blob in blobs])
    for info, blob in blobs:
        try:
            kind = sniff.identify(info.path, blob.head(sniff.HEAD_BYTES), info.size)
            if kind in PARSERS:
                parsed[info.path] = PARSERS[kind](blob)
                unread += parsed[info.path].unread
                if not sniff.name_fits(info.path, kind):
                    misnamed.append(f"{info.path} is a {kind} file")
            elif info.path.endswith(tuple(shards.INDEX_SUFFIXES)):
                indexes[info.path] = shards.parse_index(blob)
        except FileError as error:
            unread.append(Unread.from_error(error))
            if isinstance(error, AmbiguousArchive):
                ambiguous.append(str(error))
    joined: dict[str, Container] = {}
    broken = {entry.path for entry in unread}
    for path, index in indexes.items():
        try:
            joined[path] = _join(index, parsed, broken)
        except FileError as error:
            unread.append(Unread.from_error(error))
    indexed = {path for container in joined.values() for path in container.files}
    loose = {path: container for path, container in parsed.items() if path not in indexed and _holds(container)}
    listed = {info.path for info in source.files()} | broken
    by_path = {info.path: blob for info, blob in blobs}
    rest, meta, torn = metashards.join(loose, lambda path: _small(by_path.get(path)))
    together, incomplete = parts.join(rest, listed=listed)
    containers, unfit = _with_params((*_distinct(joined), *meta, *together), by_path)
    unread += [entry for container in meta for entry in container.unread]
    unread += [Unread.from_error(error) for error in (*incomplete, *torn, *unfit)]
    return Checkpoints(
        containers=containers,
        unread=tuple(unread),
        findings=(
            _unindexed(joined, loose),
            _ambiguous(joined, loose),
            _misnamed(misnamed),
            _executable(parsed),
            _several_meanings(parsed, ambiguous),
        ),
    )


def _fetch_heads(source: Source, blobs: Sequence[Blob]) -> None:
    """Fetch the first bytes of all files side by side, where they are far away; each blob keeps its own."""
    far = [blob for blob in blobs if source.on_disk(blob.path) is None]
    if len(far) < 2:
        return

    def fetch(blob: Blob) -> None:
        with suppress(FileError):  # asked for again when its turn comes, and reported then
            blob.head(sniff.HEAD_BYTES)

    with ThreadPoolExecutor(LIMITS.files_at_once) as pool:
        tuple(pool.map(fetch, far))


def _join(index: Index, parsed: Mapping[str, Container], broken: Collection[str]) -> Container:
    for path in index.shards:
        if path in broken:
            problem = "a file that the index names could not be read"
            raise MissingShard(file=index.file, field="weight_map", problem=problem, actual=path)
    return shards.join(index, parsed)


def _with_params(
    containers: Sequence[Container], blobs: Mapping[str, Blob]
) -> tuple[tuple[Container, ...], list[FileError]]:
    """Read the heads of models in Meta's layout; where they do not fit, the model is taken without them."""
    out: list[Container] = []
    unfit: list[FileError] = []
    for container in containers:
        try:
            out.append(metashards.with_params(container, lambda path: _small(blobs.get(path))))
        except FileError as error:
            out.append(container)
            unfit.append(error)
    return tuple(out), unfit


def _small(blob: Blob | None) -> bytes | None:
    """Return the contents of a small file, or None where there is none."""
    if blob is None:
        return None
    if blob.size > LIMITS.config_bytes:
        raise LimitExceeded(file=blob.path, field="size", actual=blob.size, limit=LIMITS.config_bytes)
    return blob.read(0, blob.size)


def _distinct(joined: Mapping[str, Container]) -> tuple[Container, ...]:
    """Leave out what is empty, and a second index of the same shards."""
    by_files = {container.files: container for container in joined.values() if container.tensors}
    return tuple(by_files.values())


def _unindexed(joined: Mapping[str, Container], loose: Mapping[str, Container]) -> Finding:
    folders = {_folder(path) for index, container in joined.items() for path in (index, *container.files)}
    extra = [
        path for path, container in loose.items() if container.format == "safetensors" and _folder(path) in folders
    ]
    if not extra:
        return file_finding("FILE-001", "pass" if folders else "n/a")
    # An original-format copy or an adapter beside the index has names of its own, and no loader confuses them.
    indexed = {entry.name for container in joined.values() for entry in container.tensors}
    shared = any(entry.name in indexed for path in extra for entry in loose[path].tensors)
    return file_finding("FILE-001", "fail" if shared else "warn", f"weights that no index names: {_listed(extra)}")


def _ambiguous(joined: Mapping[str, Container], loose: Mapping[str, Container]) -> Finding:
    indexes = {container.files: path for path, container in joined.items()}
    sets = {path: joined[path] for path in indexes.values()}
    sets |= {path: container for path, container in loose.items() if container.format == "safetensors"}
    folders: dict[PurePosixPath, list[str]] = defaultdict(list)
    for path in sets:
        folders[_folder(path)].append(path)
    clashing = []
    for paths in folders.values():
        holders: dict[str, list[str]] = defaultdict(list)
        for path in paths:
            for entry in sets[path].tensors:
                holders[entry.name].append(path)
        shared: dict[tuple[str, ...], str] = {}
        for name, holding in holders.items():
            if len(holding) > 1:
                shared.setdefault(tuple(holding), name)
        clashing += [f"{quoted(name)} is in {_listed(holding, ', ')}" for holding, name in shared.items()]
    if clashing:
        return file_finding("FILE-002", "fail", f"loaders may pick different weights: {_listed(clashing)}")
    return file_finding("FILE-002", "pass" if sets else "n/a")


def _misnamed(misnamed: list[str]) -> Finding:
    return file_finding(
        "FILE-004", "fail" if misnamed else "pass", f"by content: {_listed(misnamed)}" if misnamed else ""
    )


def _holds(container: Container) -> bool:
    """Leave out pickles without tensors: the state of a training run, or of which nothing could be read."""
    return bool(container.tensors) or container.format not in _TORCH_FORMATS


_TORCH_FORMATS = frozenset({"torch", "pickle"})


def _executable(parsed: Mapping[str, Container]) -> Finding:
    """FILE-007: what pickles would run or make when they are loaded."""
    runs = [f"{path}: {_listed(container.runs)}" for path, container in parsed.items() if container.runs]
    if runs:
        return file_finding("FILE-007", "fail", f"executable pickle: {_listed(runs)}")
    makes = [f"{path}: {_listed(container.makes, ', ')}" for path, container in parsed.items() if container.makes]
    if makes:
        return file_finding("FILE-007", "warn", f"a loader must trust the file, for it makes {_listed(makes)}")
    pickled = any(container.format in _TORCH_FORMATS for container in parsed.values())
    return file_finding("FILE-007", "pass" if pickled else "n/a")


def _several_meanings(parsed: Mapping[str, Container], ambiguous: Sequence[str]) -> Finding:
    """FILE-008: archives that readers would read differently."""
    within = [
        f"{entry.path}: {entry.reason}"
        for container in parsed.values()
        for entry in container.unread
        if entry.code == AmbiguousArchive.code
    ]
    if ambiguous or within:
        return file_finding("FILE-008", "fail", _listed([*ambiguous, *within]))
    return file_finding("FILE-008", "pass" if any(c.format == "torch" for c in parsed.values()) else "n/a")


def _folder(path: str) -> PurePosixPath:
    return PurePosixPath(path).parent


def _listed(things: Sequence[str], separator: str = "; ", *, shown: int = 5) -> str:
    more = [f"and {len(things) - shown} more"] if len(things) > shown else []
    return separator.join([*things[:shown], *more])
