"""Commits and branches, with the digests that git and LFS give files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

LFS_SUFFIXES = (".safetensors", ".gguf", ".bin", ".model")


class Sparse:
    """A large file of zeros with some other bytes in it, of which only the ranges that are asked for exist.

    Its digest is that of the bytes that are no zeros, and where they lie: the whole would take minutes to hash.
    """

    def __init__(self, size: int, parts: Mapping[int, bytes]) -> None:
        self._size = size
        self._parts = dict(parts)
        digest = hashlib.sha256(f"sparse {size}".encode())
        for at, part in sorted(parts.items()):
            digest.update(b"%d %d " % (at, len(part)) + part)
        self.sha256 = digest.hexdigest()

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, span: slice) -> bytes:
        start, stop, _ = span.indices(self._size)
        out = bytearray(stop - start)
        for at, part in self._parts.items():
            first, last = max(at, start), min(at + len(part), stop)
            if first < last:
                out[first - start : last - start] = part[first - at : last - at]
        return bytes(out)


Content = bytes | Sparse


@dataclass(slots=True)
class Repository:
    commits: dict[str, dict[str, Content]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def publish(self, files: Mapping[str, Content], *, ref: str = "main") -> str:
        """Make a commit of these files, and the branch point to it."""
        digests = {path: sha256_of(data) for path, data in files.items()}
        commit = hashlib.sha1(json.dumps([digests, len(self.commits)]).encode(), usedforsecurity=False).hexdigest()
        self.commits[commit] = dict(files)
        self.refs[ref] = commit
        return commit

    def commit(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.refs.get(revision)

    def tree(self, commit: str) -> list[dict[str, object]]:
        files = self.commits[commit]
        folders = {path.rsplit("/", 1)[0] for path in files if "/" in path}
        entries: list[dict[str, object]] = [
            {"type": "directory", "oid": "0" * 40, "size": 0, "path": folder} for folder in folders
        ]
        return entries + [entry(path, data) for path, data in files.items()]


def sha256_of(data: Content) -> str:
    return data.sha256 if isinstance(data, Sparse) else hashlib.sha256(data).hexdigest()


def is_lfs(path: str) -> bool:
    return path.endswith(LFS_SUFFIXES)


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def pointer(data: Content) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256_of(data)}\nsize {len(data)}\n".encode()


def entry(path: str, data: Content) -> dict[str, object]:
    if not is_lfs(path):
        assert isinstance(data, bytes)
        return {"type": "file", "path": path, "size": len(data), "oid": blob_id(data)}
    text = pointer(data)
    lfs = {"oid": sha256_of(data), "size": len(data), "pointerSize": len(text)}
    return {"type": "file", "path": path, "size": len(data), "oid": blob_id(text), "lfs": lfs}
