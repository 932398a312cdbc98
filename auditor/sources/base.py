"""What every place that holds a model's bytes must offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

from auditor.errors import BadOffset, FileError, Truncated

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInfo:
    """A file of the target.

    Attributes
    ----------
    path : str
        Relative to the target, POSIX separators, never leaving it.
    size : int
        Bytes.
    sha256 : str or None
        Hex digest, where the source knows it without reading the file.
    digest_source : {"computed", "hub", "registry"} or None
        Who vouches for `sha256`.
    """

    path: str
    size: int
    sha256: str | None = None
    digest_source: Literal["computed", "hub", "registry"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """A file, or a part of one, that could not be read, and why. Ends in `coverage.unread`."""

    path: str
    code: str
    reason: str

    @classmethod
    def from_error(cls, error: FileError) -> Unread:
        """Turn a refusal into the value that the report carries."""
        return cls(path=error.file, code=error.code, reason=error.reason)


class OnDisk(NamedTuple):
    """Where a file lies on this machine, for whole-file passes that map it.

    Attributes
    ----------
    path : str
        Absolute, without links.
    identity : tuple of int
        Device, inode, size, time of modification and of change (ns): what must be the same before and after.
    linked : bool
        The target holds a symbolic link to it.
    """

    path: str
    identity: tuple[int, ...]
    linked: bool = False


class Range(NamedTuple):
    """Bytes `start` up to, not including, `stop`."""

    start: int
    stop: int


@runtime_checkable
class Source(Protocol):
    """Where bytes live. Reading is by range only, so a remote repository and a folder look the same."""

    @property
    def uri(self) -> str:
        """What names this target in a report."""

    @property
    def kind(self) -> str:
        """`local`, `hub`, ..."""

    @property
    def revision(self) -> str | None:
        """The commit that all reads are pinned to, where the source has such a thing."""

    def files(self) -> tuple[FileInfo, ...]:
        """Every file of the target that may be read, sorted by path."""

    def refused(self) -> tuple[Unread, ...]:
        """Entries that were found but are not readable files of this target (a link out of it, a FIFO)."""

    def read(self, path: str, ranges: Sequence[Range]) -> list[bytes]:
        """Return the bytes of each range, in the order asked.

        Parameters
        ----------
        path : str
            A `FileInfo.path` of this source.
        ranges : sequence of Range
            May overlap and come in any order.

        Raises
        ------
        FileError
            When not every byte of every range can be returned. Short answers do not exist.
        """

    def on_disk(self, path: str) -> OnDisk | None:
        """Say where a file lies on this machine; None where it does not."""


@runtime_checkable
class Stamped(Protocol):
    """A source that has no revision, and knows by something else whether a file is the one that it was."""

    def stamp(self, path: str) -> str | None:
        """Return what changes with the bytes of a file; None where nothing does for sure."""


@runtime_checkable
class Counting(Protocol):
    """A source that knows what reading it really took: requests and bytes, its own overhead included."""

    @property
    def http_requests(self) -> int:
        """Requests sent."""

    @property
    def http_bytes(self) -> int:
        """Bytes received."""


def check_ranges(path: str, ranges: Iterable[Range], *, size: int) -> None:
    """Refuse ranges that are not whole inside a file of `size` bytes, before anything is read or allocated.

    Raises
    ------
    Truncated
        A range ends beyond the file.
    BadOffset
        A range begins before the file, or after its own end.
    """
    for start, stop in ranges:
        if not 0 <= start <= stop:
            raise BadOffset(file=path, field="range", problem="begins before the file or after its end", actual=start)
        if stop > size:
            problem = f"the file ends at byte {size}, before byte {stop}"
            raise Truncated(file=path, field="contents", problem=problem)


class Blob:
    """One file of a source: the handle that format parsers get.

    Parameters
    ----------
    source : Source
    info : FileInfo
    """

    __slots__ = ("_head", "_source", "path", "size")

    def __init__(self, source: Source, info: FileInfo) -> None:
        self._source = source
        self._head = b""
        self.path = info.path
        self.size = info.size

    @property
    def on_disk(self) -> bool:
        """The file lies on this machine: reading a part of it costs next to nothing."""
        return self._source.on_disk(self.path) is not None

    def head(self, length: int) -> bytes:
        """Return the first `length` bytes, all of a shorter file; no later read asks the source for them again."""
        if len(self._head) < min(length, self.size):
            self._head = self.read(0, min(length, self.size))
        return self._head

    def read(self, start: int, length: int, *, field: str = "contents") -> bytes:
        """Return exactly `length` bytes from `start`.

        Raises
        ------
        Truncated
            When the file is shorter; `field` names what was being read.
        """
        stop = start + length
        if start < 0 or length < 0 or stop > self.size:
            problem = f"the file ends at byte {self.size}, before byte {stop}"
            raise Truncated(file=self.path, field=field, problem=problem)
        known = self._head[start:stop]
        if known and len(known) == length:
            return known
        return known + self._source.read(self.path, [Range(start + len(known), stop)])[0]


class BytesSource:
    """A source in memory: `{path: content}`. For tests, and for callers that already hold the bytes."""

    kind = "memory"
    revision = None

    def __init__(self, contents: dict[str, bytes], *, uri: str = "memory:") -> None:
        self.uri = uri
        self._contents = contents

    def files(self) -> tuple[FileInfo, ...]:
        """See `Source.files`."""
        return tuple(FileInfo(path=path, size=len(data)) for path, data in sorted(self._contents.items()))

    def refused(self) -> tuple[Unread, ...]:
        """See `Source.refused`."""
        return ()

    def read(self, path: str, ranges: Sequence[Range]) -> list[bytes]:
        """See `Source.read`."""
        data = self._contents[path]
        check_ranges(path, ranges, size=len(data))
        return [data[start:stop] for start, stop in ranges]

    def on_disk(self, path: str) -> OnDisk | None:  # noqa: ARG002
        """See `Source.on_disk`."""
        return None

    def blob(self, path: str) -> Blob:
        """Open one file for a parser."""
        return Blob(self, FileInfo(path=path, size=len(self._contents[path])))
