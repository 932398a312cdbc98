"""Snapshots of repositories that huggingface_hub has downloaded before. Read, never written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from auditor.errors import TargetError
from auditor.limits import LIMITS
from auditor.sources.hub_target import COMMIT
from auditor.sources.local import LocalSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auditor.sources.hub_api import HubFile
    from auditor.sources.hub_target import HubTarget

_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_TREE_VERSION = 1


class Snapshot(NamedTuple):
    """A snapshot that holds all files of its commit.

    Attributes
    ----------
    files : LocalSource
    vouched : frozenset of str
        Files that lie in the cache under the very digest that the Hub has for them.
    """

    files: LocalSource
    vouched: frozenset[str]


class HubCache:
    """One repository in the cache.

    Parameters
    ----------
    folder : Path
        The cache.
    target : HubTarget
        Its name is checked already: it leads to no other place.
    """

    def __init__(self, folder: Path, target: HubTarget) -> None:
        self._entry = folder / f"models--{target.repo.replace('/', '--')}"
        self._revision = target.revision or "main"

    def commit(self) -> str | None:
        """Return the commit that the revision was when it was last downloaded."""
        if COMMIT.fullmatch(self._revision):
            return self._revision
        found = _read(self._entry / "refs" / self._revision, limit=len("0" * 40) + 1)
        text = found.decode("ascii", "replace").strip() if found else ""
        return text if COMMIT.fullmatch(text) else None

    def entries(self, commit: str) -> list[object] | None:
        """Return the list of files that huggingface_hub keeps, as the Hub would send it; None where it keeps none."""
        found = _read(self._entry / "trees" / f"{commit}.json", limit=LIMITS.hub_json)
        try:
            stored = json.loads(found.decode()) if found else None
        except (ValueError, RecursionError):
            return None
        if not isinstance(stored, dict) or stored.get("format_version") != _TREE_VERSION:
            return None
        files = stored.get("files")
        if not isinstance(files, dict) or not all(isinstance(record, dict) for record in files.values()):
            return None
        return [_entry(path, record) for path, record in files.items()]

    def snapshot(self, commit: str) -> LocalSource | None:
        """Return what the cache holds of a commit, be it all of it or not."""
        try:
            return LocalSource(self._entry / "snapshots" / commit)
        except TargetError:
            return None

    def whole(self, commit: str, files: Iterable[HubFile]) -> Snapshot | None:
        """Return the snapshot of a commit if it holds every file, of the right size; None where it does not."""
        source = self.snapshot(commit)
        if source is None:
            return None
        sizes = {info.path: info.size for info in source.files()}
        vouched = set()
        for file in files:
            if sizes.get(file.path) != file.size:
                return None
            recorded = _recorded_digest(source, file.path)
            if recorded and recorded != (file.sha256 or file.blob_id):
                return None
            if recorded:
                vouched.add(file.path)
        return Snapshot(source, frozenset(vouched))


def _recorded_digest(source: LocalSource, path: str) -> str | None:
    """Return the name of the blob behind a link of the snapshot, where that is a digest."""
    place = source.on_disk(path)
    name = Path(place.path).name if place else ""
    return name if _DIGEST.fullmatch(name) else None


def _entry(path: object, record: dict[str, object]) -> dict[str, object]:
    sha256 = record.get("lfs_sha256")
    return {
        "type": "file",
        "path": path,
        "size": record.get("size"),
        "oid": record.get("blob_id"),
        "lfs": None if sha256 is None else {"oid": sha256, "size": record.get("lfs_size")},
    }


def _read(path: Path, *, limit: int) -> bytes | None:
    try:
        if path.is_file() and path.stat().st_size <= limit:
            return path.read_bytes()
    except OSError:
        pass
    return None
