"""A folder or a single file on this machine, contained: no path leads out of the target."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from auditor.errors import (
    Changed,
    FileError,
    LimitExceeded,
    NotRegularFile,
    NotText,
    TargetError,
    Truncated,
    Unavailable,
    UnsafePath,
)
from auditor.escape import visible
from auditor.limits import LIMITS
from auditor.sources.base import FileInfo, Unread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from auditor.sources.base import Range

IGNORED_FOLDERS = frozenset({".git", ".cache/huggingface"})
"""Bookkeeping of git and of Hub downloads beside the artifact; not part of what is published."""


class _Identity(NamedTuple):
    """What must stay the same between listing a file and reading it."""

    device: int
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> _Identity:
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class LocalSource:
    """Files below a folder, or one file.

    Symbolic links to files are followed when they stay inside the target, or when the target is a snapshot of
    the Hugging Face cache and they lead to its `blobs/`. Linked folders inside the target are not entered: what
    they hold is listed under its own name. Everything else that is no regular file is refused, and said so.

    Parameters
    ----------
    target : str or Path
        Folder or file.

    Raises
    ------
    TargetError
        When there is no such path, or it is neither a folder nor a regular file.
    """

    kind = "local"
    revision = None

    def __init__(self, target: str | Path) -> None:
        path = Path(target)
        self.uri = str(target)
        try:
            resolved = path.resolve(strict=True)
            status = resolved.stat()
        except (OSError, ValueError, RuntimeError) as error:
            raise TargetError(f"{self.uri}: cannot be opened: {_os_reason(error)}") from error
        self._real: dict[str, Path] = {}
        self._identity: dict[str, _Identity] = {}
        self._refused: list[Unread] = []
        if stat.S_ISDIR(status.st_mode):
            self._allowed = _allowed_roots(resolved)
            self._walk(resolved)
        elif stat.S_ISREG(status.st_mode):
            self._allowed = (resolved,)
            self._admit(path.name, resolved, status)
        else:
            raise TargetError(f"{self.uri}: neither a folder nor a regular file")

    def files(self) -> tuple[FileInfo, ...]:
        """See `Source.files`."""
        return tuple(FileInfo(path=path, size=self._identity[path].size) for path in sorted(self._identity))

    def refused(self) -> tuple[Unread, ...]:
        """See `Source.refused`."""
        return tuple(sorted(self._refused, key=lambda unread: unread.path))

    def read(self, path: str, ranges: Sequence[Range]) -> list[bytes]:
        """See `Source.read`. The file must be the one that was listed, before and after."""
        expected = self._identity[path]
        # O_NONBLOCK: a FIFO put in the file's place must not hang us; O_NOFOLLOW: nor a link lead us away.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        try:
            descriptor = os.open(self._real[path], flags)
        except OSError as error:
            raise Unavailable(file=path, field="file", actual=_os_reason(error)) from error
        try:
            self._check(path, descriptor, expected)
            out = [_pread_exactly(descriptor, start, stop, path) for start, stop in ranges]
            self._check(path, descriptor, expected)
        except OSError as error:
            raise Unavailable(file=path, field="file", actual=_os_reason(error)) from error
        finally:
            os.close(descriptor)
        return out

    @staticmethod
    def _check(path: str, descriptor: int, expected: _Identity) -> None:
        if _Identity.of(os.fstat(descriptor)) != expected:
            raise Changed(file=path, field="file")

    def _walk(self, root: Path) -> None:
        for path, entry in _entries(root, self._refuse):
            try:
                self._admit_entry(path, entry)
            except FileError as error:
                self._refuse(error)
            except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
                self._refuse(Unavailable(file=path, field="file", actual=_os_reason(error)))
            if len(self._identity) > LIMITS.files:
                raise TargetError(f"{self.uri}: more than {LIMITS.files} files")

    def _admit_entry(self, path: str, entry: os.DirEntry[str]) -> None:
        if not _is_text(path):
            raise NotText(file=visible(path), field="file name")
        if not entry.is_symlink():
            self._admit(path, Path(entry.path), entry.stat(follow_symlinks=False))
            return
        real = Path(entry.path).resolve(strict=True)
        if not any(real.is_relative_to(root) for root in self._allowed):
            raise UnsafePath(file=path, field="symbolic link", actual=str(real))
        status = real.stat()
        if not stat.S_ISDIR(status.st_mode):
            self._admit(path, real, status)

    def _admit(self, path: str, real: Path, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise NotRegularFile(file=path, field="file", actual=stat.filemode(status.st_mode)[0])
        self._real[path] = real
        self._identity[path] = _Identity.of(status)

    def _refuse(self, error: FileError) -> None:
        self._refused.append(Unread.from_error(error))


def _entries(root: Path, refuse: Callable[[FileError], None]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield every entry below `root` that is no folder, depth first, with its POSIX path inside `root`."""
    pending = [(root, PurePosixPath())]
    while pending:
        folder, inside = pending.pop()
        if len(inside.parts) > LIMITS.path_depth:
            refuse(
                LimitExceeded(
                    file=str(inside), field="folder depth", actual=len(inside.parts), limit=LIMITS.path_depth
                )
            )
            continue
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            refuse(Unavailable(file=visible(str(inside)), field="folder", actual=_os_reason(error)))
            continue
        for entry in entries:
            path = inside / entry.name
            if not entry.is_dir(follow_symlinks=False):
                yield str(path), entry
            elif str(path) not in IGNORED_FOLDERS:
                pending.append((Path(entry.path), path))


def _allowed_roots(root: Path) -> tuple[Path, ...]:
    """Return the folders that links may lead into: the target, and `blobs/` of a Hugging Face cache entry."""
    if root.parent.name == "snapshots" and "--" in root.parent.parent.name:
        return (root, root.parent.parent / "blobs")
    return (root,)


def _pread_exactly(descriptor: int, start: int, stop: int, path: str) -> bytes:
    parts: list[bytes] = []
    at = start
    while at < stop:
        part = os.pread(descriptor, stop - at, at)
        if not part:
            raise Truncated(file=path, field="contents", actual=at, limit=stop)
        parts.append(part)
        at += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _is_text(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _os_reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
