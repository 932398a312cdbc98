"""Names of files as archives, registries and buckets give them: taken only where they mean one file below a folder."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from typing import TYPE_CHECKING, Generic, TypeVar

from auditor.errors import BadName, DuplicateName, FileError, LimitExceeded, NotText, UnsafePath
from auditor.escape import visible
from auditor.limits import LIMITS
from auditor.sources.base import Unread

if TYPE_CHECKING:
    from collections.abc import Iterable

File = TypeVar("File")

_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})


def path_problem(path: str) -> FileError | None:
    r"""Say why a path is no path of a file inside a target; None where it is one.

    Examples
    --------
    >>> path_problem("sub/model.safetensors") is None
    True
    >>> print(path_problem("../model.safetensors"))
    ../model.safetensors: file name: a path that leaves the target (found ../model.safetensors)
    """
    label = visible(path, limit=LIMITS.hub_name)
    try:
        length = len(path.encode())
    except UnicodeEncodeError:
        return NotText(file=label, field="file name")
    if length > LIMITS.hub_name:
        return LimitExceeded(file=label, field="file name", actual=length, limit=LIMITS.hub_name)
    if any(unicodedata.category(char) in _CONTROLS for char in path):
        return BadName(file=label, field="file name", problem="holds a control character")
    parts = path.split("/")
    if len(parts) > LIMITS.path_depth + 1:
        return LimitExceeded(file=label, field="folder depth", actual=len(parts) - 1, limit=LIMITS.path_depth)
    if any(part in {"", ".", ".."} for part in parts) or "\\" in path:
        return UnsafePath(file=label or "?", field="file name", actual=path)
    return None


class Names(Generic[File]):
    """Files by name while they come in. Of what is no usable file only the refusal is kept.

    A name that is given twice means one file to one reader and another to the next: neither is taken. So it is with a
    file that is also the folder of another.
    """

    def __init__(self) -> None:
        self._files: dict[str, File] = {}
        self._twice: set[str] = set()
        self._refused: list[Unread] = []

    def __len__(self) -> int:
        return len(self._files) + len(self._refused)

    def add(self, path: str, file: File) -> None:
        """Take a file, or refuse it for its name. The same file again is no contradiction."""
        if problem := path_problem(path):
            self.refuse(problem)
        elif path in self._twice or self._files.get(path, file) != file:
            self._twice.add(path)
        else:
            self._files[path] = file

    def refuse(self, error: FileError) -> None:
        """Keep why something is no usable file."""
        self._refused.append(Unread.from_error(error))

    def keep(self, unread: Unread) -> None:
        """Keep a refusal that was made elsewhere."""
        self._refused.append(unread)

    def files(self) -> dict[str, File]:
        """Return the files, sorted by path."""
        refused = self._twice | self._folders()
        return {path: self._files[path] for path in sorted(self._files) if path not in refused}

    def refused(self) -> tuple[Unread, ...]:
        """Return what is not taken, sorted by path."""
        twice = (DuplicateName(file=path, field="file name") for path in self._twice)
        folders = (
            DuplicateName(file=path, field="file name", problem="of a file and of a folder")
            for path in self._folders() - self._twice
        )
        found = [*self._refused, *map(Unread.from_error, twice), *map(Unread.from_error, folders)]
        return tuple(sorted(found, key=lambda unread: (unread.path, unread.code)))

    def _folders(self) -> set[str]:
        """Return the files that are folders of other files as well."""
        return folders_among(self._files)


def folders_among(paths: Iterable[str]) -> set[str]:
    """Return those paths that other paths lie below.

    Examples
    --------
    >>> folders_among(["a", "a/b", "ab"])
    {'a'}
    """
    ordered = sorted(paths)
    found = set()
    for path in ordered:
        after = bisect_left(ordered, f"{path}/")
        if after < len(ordered) and ordered[after].startswith(f"{path}/"):
            found.add(path)
    return found
