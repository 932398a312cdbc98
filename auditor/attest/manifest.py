"""What was audited, file by file, and one digest for all of it: that of OpenSSF Model Signing.

The root is `sha256` over the digests of all files, sorted by the parts of their paths, as `model_signing` 1.1 makes it
("files" serialization). It leaves out the names, so manifests are compared by name as well.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from auditor.digests.files import digest_files

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from auditor.digests.files import Hashing, Progress
    from auditor.digests.values import TensorLayout
    from auditor.sources import FileInfo, Source, Unread

GIT_PATHS = (".git", ".gitattributes", ".github", ".gitignore")
"""Bookkeeping of git, which Model Signing leaves out; see `model_signing.hashing.Config`."""

IGNORED_PATHS = (*GIT_PATHS, ".cache/huggingface", "model.sig")
"""What no manifest holds: the above, the notes of a Hub download, and a signature of the model itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A file as it was audited.

    Attributes
    ----------
    name : str
        Path inside the target, POSIX separators.
    sha256 : str
        64 hex digits.
    digest_source : {"computed", "hub", "registry"}
        Who vouches for the digest: this machine, having read every byte, the Hub, or an OCI registry.
    """

    name: str
    sha256: str
    digest_source: Literal["computed", "hub", "registry"] = "computed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All files of a target.

    Attributes
    ----------
    resources : tuple of Resource
        Sorted by the parts of their names.
    ignored : tuple of str
        Paths left out, with everything below them, sorted.
    follows_links : bool
        A file was reached through a symbolic link.
    """

    resources: tuple[Resource, ...]
    ignored: tuple[str, ...] = IGNORED_PATHS
    follows_links: bool = False

    @property
    def root(self) -> str:
        """The root digest, in hex."""
        return hashlib.sha256(b"".join(bytes.fromhex(resource.sha256) for resource in self.resources)).hexdigest()

    @property
    def serialization(self) -> dict[str, object]:
        """How the manifest was made, in Model Signing's words."""
        return {
            "method": "files",
            "hash_type": "sha256",
            "allow_symlinks": self.follows_links,
            "ignore_paths": list(self.ignored),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """What one manifest has and another has not, by name.

    Attributes
    ----------
    added, missing, changed : tuple of str
    renamed : tuple of (str, str)
        Old and new name of files whose contents are the same.
    """

    added: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.missing or self.changed or self.renamed)


def make_manifest(
    files: Iterable[FileInfo],
    *,
    always: Collection[str] = IGNORED_PATHS,
    ignore: Collection[str] = (),
    follows_links: bool = False,
) -> Manifest:
    """Make a manifest of files whose digests are known.

    Parameters
    ----------
    files : iterable of FileInfo
        All with a digest.
    always : collection of str
        Paths that are left out of every manifest of a folder. None of a target that is a single file.
    ignore : collection of str
        Paths to leave out beside these.
    follows_links : bool
    """
    ignored = tuple(sorted({*always, *ignore}))
    resources = [
        Resource(name=info.path, sha256=info.sha256, digest_source=info.digest_source or "computed")
        for info in files
        if info.sha256 is not None and not is_ignored(info.path, ignored)
    ]
    return Manifest(resources=tuple(sorted(resources, key=_by_parts)), ignored=ignored, follows_links=follows_links)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashed:
    """A target, hashed.

    Attributes
    ----------
    manifest : Manifest
    unread : tuple of Unread
        What is not in it though it belongs there: entries that the source refused, and files that cannot be read.
    tensors : mapping of (file, tensor name) to str
        Value digests, where they were asked for.
    """

    manifest: Manifest
    unread: tuple[Unread, ...]
    tensors: Mapping[tuple[str, str], str]


def hash_target(
    source: Source,
    *,
    always: Collection[str] = IGNORED_PATHS,
    ignore: Collection[str] = (),
    tensors: Mapping[str, tuple[TensorLayout, ...]] | None = None,
    progress: Progress | None = None,
    hashing: Hashing | None = None,
) -> Hashed:
    """Hash every file of a target.

    Parameters
    ----------
    source : Source
    always, ignore : collection of str
        See `make_manifest`.
    tensors, progress
        See `digest_files`.
    hashing : Hashing, optional
        Of all files of this source, under way already.
    """
    ignored = {*always, *ignore}
    paths = {info.path for info in source.files() if not is_ignored(info.path, ignored)}
    done = hashing.result() if hashing else digest_files(source, paths, tensors=tensors, progress=progress)
    refused = tuple(unread for unread in source.refused() if not is_ignored(unread.path, ignored))
    return Hashed(
        manifest=make_manifest(done.files, always=always, ignore=ignore, follows_links=follows_links(source, paths)),
        unread=refused + tuple(unread for unread in done.unread if unread.path in paths),
        tensors=done.tensors,
    )


def follows_links(source: Source, paths: Iterable[str]) -> bool:
    """Say whether any of these files of a source is reached through a symbolic link."""
    return any((disk := source.on_disk(path)) is not None and disk.linked for path in paths)


def is_ignored(path: str, ignored: Iterable[str]) -> bool:
    """Say whether a path is one of these, or below one."""
    return any(path == entry or path.startswith(f"{entry}/") for entry in ignored)


def compare(signed: Manifest, found: Manifest) -> Differences:
    """Name every file that is not what it was.

    Parameters
    ----------
    signed, found : Manifest
        As audited, and as it is now.
    """
    before = {resource.name: resource.sha256 for resource in signed.resources}
    now = {resource.name: resource.sha256 for resource in found.resources}
    elsewhere: dict[str, list[str]] = defaultdict(list)
    for name in reversed([name for name in now if name not in before]):
        elsewhere[now[name]].append(name)
    missing, renamed = [], []
    for name in (name for name in before if name not in now):
        if new := elsewhere[before[name]]:
            renamed.append((name, new.pop()))
        else:
            missing.append(name)
    return Differences(
        added=tuple(sorted(name for names in elsewhere.values() for name in names)),
        missing=tuple(missing),
        changed=tuple(name for name in before if name in now and now[name] != before[name]),
        renamed=tuple(renamed),
    )


def _by_parts(resource: Resource) -> tuple[str, ...]:
    return PurePosixPath(resource.name).parts
