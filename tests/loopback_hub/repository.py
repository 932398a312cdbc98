"""Commits and branches, with the digests that git and LFS give files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

LFS_SUFFIXES = (".safetensors", ".gguf", ".bin", ".model")


@dataclass(slots=True)
class Repository:
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def publish(self, files: dict[str, bytes], *, ref: str = "main") -> str:
        """Make a commit of these files, and the branch point to it."""
        digests = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
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


def is_lfs(path: str) -> bool:
    return path.endswith(LFS_SUFFIXES)


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def pointer(data: bytes) -> bytes:
    digest = hashlib.sha256(data).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(data)}\n".encode()


def entry(path: str, data: bytes) -> dict[str, object]:
    if not is_lfs(path):
        return {"type": "file", "path": path, "size": len(data), "oid": blob_id(data)}
    text = pointer(data)
    lfs = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": len(text)}
    return {"type": "file", "path": path, "size": len(data), "oid": blob_id(text), "lfs": lfs}
