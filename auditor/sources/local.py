"""A folder or a single file on this machine, contained: no path leads out of the target."""

from __future__ import annotations

import errno
import itertools
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
from auditor.sources.base import FileInfo, OnDisk, Unread, check_ranges
from auditor.sources.hfcache import is_blob

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from auditor.sources.base import Range

IGNORED_FOLDERS = frozenset({".git", ".cache/huggingface"})
"""Bookkeeping of git and of Hub downloads beside the artifact; not part of what is published."""

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


class _Identity(NamedTuple):
    """What must stay the same between listing a file and reading it."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int  # unlike the time of modification, nobody can set it back

    @classmethod
    def of(cls, status: os.stat_result) -> _Identity:
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class LocalSource:
    """Files below a folder, or one file.

    Symbolic links to files are followed when they stay inside the target, or when the target is a snapshot of
    the Hugging Face cache and they lead to its blobs. Linked folders inside the target are not entered: what
    they hold is listed under its own name. Everything else that is no regular file is refused, and said so.

    Parameters
    ----------
    target : str or Path
        Folder or file.

    Raises
    ------
    TargetError
        When there is no such path, it is neither a folder nor a regular file, or it holds more than
        `LIMITS.files` entries.
    """

    kind = "local"
    revision = None

    def __init__(self, target: str | Path) -> None:
        path = Path(target)
        self.uri = str(target)
        try:
            self._root = path.resolve(strict=True)
            status = self._root.stat()
        except (OSError, ValueError, RuntimeError) as error:
            raise TargetError(f"{self.uri}: cannot be opened: {_os_reason(error)}") from error
        self._real: dict[str, Path] = {}
        self._identity: dict[str, _Identity] = {}
        self._linked: set[str] = set()
        self._refused: list[Unread] = []
        if stat.S_ISDIR(status.st_mode):
            self._walk()
        elif stat.S_ISREG(status.st_mode):
            self._admit(_label(path.name), self._root, status)
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
        check_ranges(path, ranges, size=expected.size)
        # O_NONBLOCK: a FIFO put in the file's place must not hang us; O_NOFOLLOW: nor a link lead us away.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        try:
            descriptor = os.open(self._real[path], flags)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise Changed(file=path, field="file", actual="a symbolic link in its place") from error
            raise Unavailable(file=path, field="file", problem=_os_reason(error)) from error
        try:
            self._check(path, descriptor, expected)
            out = [_pread_exactly(descriptor, start, stop, path) for start, stop in ranges]
            self._check(path, descriptor, expected)
        except OSError as error:
            raise Unavailable(file=path, field="file", problem=_os_reason(error)) from error
        finally:
            os.close(descriptor)
        return out

    def on_disk(self, path: str) -> OnDisk | None:
        """See `Source.on_disk`."""
        return OnDisk(str(self._real[path]), tuple(self._identity[path]), linked=path in self._linked)

    @staticmethod
    def _check(path: str, descriptor: int, expected: _Identity) -> None:
        if _Identity.of(os.fstat(descriptor)) != expected:
            raise Changed(file=path, field="file")

    def _walk(self) -> None:
        for path, entry in self._entries():
            try:
                self._admit_entry(path, entry)
            except FileError as error:
                self._refuse(error)
            except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
                self._refuse(Unavailable(file=_label(path), field="file", problem=_os_reason(error)))

    def _entries(self) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Yield every entry below the root that is no folder, with its POSIX path inside the root."""
        pending = [PurePosixPath()]
        room = LIMITS.files
        while pending:
            inside = pending.pop()
            depth = len(inside.parts)
            if depth > LIMITS.path_depth:
                self._refuse(
                    LimitExceeded(file=_label(str(inside)), field="folder depth", actual=depth, limit=LIMITS.path_depth)
                )
                continue
            try:
                with os.scandir(self._root / inside) as listing:
                    entries = list(itertools.islice(listing, room + 1))
            except OSError as error:
                self._refuse(Unavailable(file=_label(str(inside)), field="folder", problem=_os_reason(error)))
                continue
            room -= len(entries)
            if room < 0:
                raise TargetError(f"{self.uri}: more than {LIMITS.files} files and folders")
            for entry in entries:
                path = inside / entry.name
                if not _is_folder(entry):
                    yield str(path), entry
                elif str(path) not in IGNORED_FOLDERS:
                    pending.append(path)

    def _admit_entry(self, path: str, entry: os.DirEntry[str]) -> None:
        if not _is_text(path):
            raise NotText(file=_label(path), field="file name")
        if not entry.is_symlink():
            self._admit(path, Path(entry.path), entry.stat(follow_symlinks=False))
            return
        real = Path(entry.path).resolve(strict=True)
        inside = real.is_relative_to(self._root)
        status = real.stat() if inside or is_blob(real, root=self._root) else None
        if status and not stat.S_ISDIR(status.st_mode):
            self._admit(path, real, status)
            self._linked.add(path)
        elif not (inside and self._is_walked(real)):
            # The link as the artifact spells it: the path behind it would tell about this machine.
            raise UnsafePath(file=path, field="symbolic link", actual=_label(str(Path(entry.path).readlink())))

    def _is_walked(self, folder: Path) -> bool:
        """Say whether a folder below the root is listed under its own name."""
        inside = PurePosixPath(folder.relative_to(self._root))
        return not any(str(part) in IGNORED_FOLDERS for part in (inside, *inside.parents))

    def _admit(self, path: str, real: Path, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            found = _KINDS.get(stat.S_IFMT(status.st_mode), "of another kind")
            raise NotRegularFile(file=path, field="file", actual=found)
        self._real[path] = real
        self._identity[path] = _Identity.of(status)

    def _refuse(self, error: FileError) -> None:
        self._refused.append(Unread.from_error(error))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:  # of some file systems it must be asked, and asking for its status will say what is wrong
        return False


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


def _label(path: str) -> str:
    """Return a path as reports can carry it: bytes that are not UTF-8 are spelled out."""
    return path if _is_text(path) else visible(path)


def _os_reason(error: Exception) -> str:
    if isinstance(error, RuntimeError):
        return os.strerror(errno.ELOOP)
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
