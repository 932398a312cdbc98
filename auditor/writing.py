"""Write files: each whole or not at all, and never through a link that leads out of a folder."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from auditor.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. A file that is there keeps its permissions.

    Raises
    ------
    UsageError
        When it cannot be written; nothing is left behind.
    """
    made: Path | None = None
    try:
        mode = stat.S_IMODE(path.stat().st_mode) if path.is_file() else 0o666 & ~_umask()
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            made = Path(file.name)
            file.write(data)
        made.chmod(mode)
        made.replace(path)
    except OSError as error:
        if made is not None:
            made.unlink(missing_ok=True)
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error


def write_new(path: Path, data: bytes, *, mode: int) -> None:
    """Write a file that was not there, with these permissions from the first byte on.

    Raises
    ------
    UsageError
        When there is something of that name, or it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error


def locked(root: Path, path: str) -> str | None:
    """Say why a file below a folder is not to be written; None where it may be.

    Parameters
    ----------
    root : Path
        An existing folder.
    path : str
        Relative, POSIX separators. The file need not exist.
    """
    inside = PurePosixPath(path)
    if inside.is_absolute() or ".." in inside.parts:
        return "a path that leaves the folder"
    folder = root.resolve()
    for part in inside.parts:
        folder = folder / part
        if folder.is_symlink():
            return "a symbolic link, or in a linked folder"
    if folder.exists() and not folder.is_file():
        return "not a regular file"
    return None


def check_unchanged(root: Path, path: str, *, old: bytes | None) -> None:
    """Refuse to write where the file is not what it was when the change was planned.

    Parameters
    ----------
    root, path
        As for `locked`.
    old : bytes or None
        What the file held; None where there was none.

    Raises
    ------
    UsageError
    """
    if reason := locked(root, path):
        raise UsageError(f"{path}: {reason}: nothing was written")
    file = root / path
    try:
        now = file.read_bytes() if file.exists() else None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}: nothing was written") from error
    if now != old:
        raise UsageError(f"{path}: it changed since it was audited: nothing was written")


def inside(target: str, paths: Iterable[Path | None]) -> tuple[str, ...]:
    """Return those of our own files that lie in a target folder, as paths inside it."""
    root = Path(target)
    if not root.is_dir():
        return ()
    root = root.resolve()
    resolved = [path.parent.resolve() / path.name for path in paths if path is not None]
    return tuple(path.relative_to(root).as_posix() for path in resolved if path.is_relative_to(root))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
