"""Where files lie in a tar archive, found by reading headers only, so that they can be read in place.

Formats: POSIX.1-1988 ustar, POSIX.1-2001 pax and GNU tar's long names. Whatever one reader takes for another file than
the next reader does is refused with the whole archive.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from auditor.errors import (
    AmbiguousArchive,
    BadMagic,
    FileError,
    LimitExceeded,
    NotRegularFile,
    NotText,
    Truncated,
    UnsafePath,
    UnsupportedFormat,
)
from auditor.escape import visible
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditor.sources.safepath import Names

    ReadAt = Callable[[int, int], bytes]

BLOCK: Final = 512

_OCTAL = re.compile(rb" *([0-7]{1,12})[ \0]*")
_MAGICS: Final = {b"ustar\x0000": "posix", b"ustar  \0": "gnu"}
_FILE, _FOLDER = frozenset({b"0", b"\0"}), b"5"
_LINKS: Final = {b"1": "a hard link", b"2": "a symbolic link"}
_DEVICES: Final = {b"3": "a character device", b"4": "a block device", b"6": "a FIFO"}
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_ABOUT_THE_NEXT = frozenset({_LONG_NAME, _LONG_LINK, _PAX})
_SPARSE = (b"GNU.sparse.", b"SCHILY.realsize")
_MEANINGFUL = (b"path", b"size", b"linkpath", *_SPARSE)
"""Records of a pax header that say which bytes a file has, and under which name."""


class Member(NamedTuple):
    """A file in an archive: `size` bytes from `start` of the archive on."""

    start: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    at: int
    kind: bytes
    name: bytes
    size: int


@dataclass(slots=True)
class _Said:
    """What headers before a file's own say about it."""

    kinds: set[bytes] = field(default_factory=set)
    name: bytes | None = None
    records: dict[bytes, bytes] = field(default_factory=dict)


def find_members(read: ReadAt, size: int, *, layer: str, names: Names[Member]) -> None:
    """Find the files of an archive.

    Parameters
    ----------
    read : callable
        Returns exactly as many bytes as its second argument says, from its first on.
    size : int
        Of the archive.
    layer : str
        What the archive is called in errors.
    names : Names of Member
        Takes the files, and what is none: links, devices, sparse files, unsafe names.

    Raises
    ------
    FileError
        The archive is damaged, or can be read in two ways: then nothing of it is a file of the target.
    """
    _Walk(_Window(read, size), layer, names).all()


class _Window:
    """Reads an archive in pieces somewhat larger than what is asked for: small files lie side by side."""

    def __init__(self, read: ReadAt, size: int) -> None:
        self.size = size
        self._read = read
        self._start = 0
        self._data = b""

    def bytes(self, start: int, length: int) -> bytes:
        stop = start + length
        if not self._start <= start <= stop <= self._start + len(self._data):
            self._start = start
            self._data = self._read(start, min(max(length, LIMITS.tar_window), self.size - start))
        return self._data[start - self._start : stop - self._start]


class _Walk:
    def __init__(self, window: _Window, layer: str, names: Names[Member]) -> None:
        self._window = window
        self._layer = layer
        self._names = names

    def all(self) -> None:
        at, entries, said = 0, 0, _Said()
        while at < self._window.size:  # not every writer leaves two empty blocks at the end
            raw = self._bytes(at, BLOCK)
            if not any(raw):
                self._check_end(at)
                break
            entries += 1
            if entries > LIMITS.tar_entries:
                raise LimitExceeded(file=self._layer, field="tar entries", limit=LIMITS.tar_entries)
            header = self._parse(at, raw)
            if header.kind in _ABOUT_THE_NEXT:
                self._hear(header, said)
            elif header.kind == _PAX_GLOBAL:
                self._check_global(header)
            else:
                header = self._completed(header, said)
                self._take(header, said)
                said = _Said()
            at = self._after(header)
        if said.kinds:
            raise Truncated(file=self._layer, field="tar", problem="it ends where a file is announced")

    def _bytes(self, start: int, length: int) -> bytes:
        if start + length > self._window.size:
            problem = f"the archive ends at byte {self._window.size}, before byte {start + length}"
            raise Truncated(file=self._layer, field="tar", problem=problem)
        return self._window.bytes(start, length) if length else b""

    def _check_end(self, at: int) -> None:
        """Refuse an archive that goes on after its end: some readers stop there, others do not."""
        left = self._window.size - at
        if left > LIMITS.tar_padding:
            raise self._ambiguous("more bytes after its end than padding takes", actual=left, limit=LIMITS.tar_padding)
        if any(self._bytes(at, left)):
            raise self._ambiguous("it goes on after its end")

    def _parse(self, at: int, raw: bytes) -> _Header:
        flavour = _MAGICS.get(raw[257:265])
        if flavour is None:
            raise BadMagic(file=self._layer, field="tar header", problem=f"none at byte {at}")
        if self._number(raw[148:156], "checksum") != sum(raw[:148]) + 8 * ord(" ") + sum(raw[156:]):
            raise self._ambiguous(f"the checksum of the header at byte {at} is wrong")
        name = raw[:100].partition(b"\0")[0]
        if flavour == "posix" and raw[345]:
            name = raw[345:500].partition(b"\0")[0] + b"/" + name
        return _Header(at=at, kind=raw[156:157], name=name, size=self._number(raw[124:136], "size"))

    def _number(self, raw: bytes, what: str) -> int:
        if raw[0] == 0x80:  # in base 256: sizes from 8 GiB on
            value = int.from_bytes(raw[1:], "big")
            if value < 1 << 63:
                return value
        elif match := _OCTAL.fullmatch(raw):
            return int(match[1], 8)
        raise self._ambiguous(f"a {what} that is no number")

    def _after(self, header: _Header) -> int:
        """Return where the next header is."""
        stop = header.at + BLOCK + header.size
        if stop > self._window.size:
            problem = f"the archive ends at byte {self._window.size}, before byte {stop}"
            raise Truncated(file=self._layer, field="tar", problem=problem)
        return min(stop + -stop % BLOCK, self._window.size)

    def _hear(self, header: _Header, said: _Said) -> None:
        if header.kind in said.kinds:
            raise self._ambiguous("two headers of one kind about one file")
        said.kinds.add(header.kind)
        if header.kind == _PAX:
            said.records = self._records(header)
            return
        text = self._text(header).rstrip(b"\0")
        if b"\0" in text:
            raise self._ambiguous("a NUL in a long name")
        if header.kind == _LONG_NAME:
            said.name = text

    def _text(self, header: _Header) -> bytes:
        if header.size > LIMITS.tar_text:
            raise LimitExceeded(file=self._layer, field="tar header", actual=header.size, limit=LIMITS.tar_text)
        return self._bytes(header.at + BLOCK, header.size)

    def _records(self, header: _Header) -> dict[bytes, bytes]:
        """Read a pax header: records of `<length> <key>=<value>` and a line break, the length counting itself."""
        data = self._text(header)
        records: dict[bytes, bytes] = {}
        at = 0
        while at < len(data):
            digits, space, _ = data[at : at + 10].partition(b" ")
            length = int(digits) if space and digits.isdigit() else 0
            record = data[at : at + length]
            key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
            if len(record) != length or not record.endswith(b"\n") or not key or not equals:
                raise self._ambiguous("a pax header that is not of whole records")
            if key in records or (key.startswith(_MEANINGFUL) and b"\0" in value):
                raise self._ambiguous("a pax header with a record twice, or a NUL in a name")
            records[key] = value
            at += length
        return records

    def _check_global(self, header: _Header) -> None:
        if any(key.startswith(_MEANINGFUL) for key in self._records(header)):
            raise self._ambiguous("a global header that names or sizes all files to come")

    def _completed(self, header: _Header, said: _Said) -> _Header:
        """Return a header with what was said before it."""
        if said.name is not None and b"path" in said.records:
            raise self._ambiguous("two long names of one file")
        name = said.records.get(b"path", said.name if said.name is not None else header.name)
        size = header.size
        if (stated := said.records.get(b"size")) is not None:
            if not stated.isdigit() or len(stated) > 18:
                raise self._ambiguous("a size that is no number")
            size = int(stated)
        return replace(header, name=name, size=size)

    def _take(self, header: _Header, said: _Said) -> None:
        name = header.name.removeprefix(b"./")
        label = visible(name.decode("utf-8", "surrogateescape"), limit=LIMITS.hub_name) or "?"
        if header.kind == _FOLDER or header.kind in _LINKS or header.kind in _DEVICES:
            if header.size:
                # Some readers step over that many bytes, and others find a header in them.
                raise self._ambiguous(f"{label} has a size but is no file")
            if header.kind in _LINKS:
                self._names.refuse(UnsafePath(file=label, field="tar", problem=f"{_LINKS[header.kind]} in an archive"))
            elif header.kind in _DEVICES:
                self._names.refuse(NotRegularFile(file=label, field="tar", actual=_DEVICES[header.kind]))
        elif header.kind not in _FILE:
            raise UnsupportedFormat(
                file=self._layer, field="tar", problem=f"{label} is of type {header.kind!r}, which is not read"
            )
        elif any(key.startswith(_SPARSE) for key in said.records):
            self._names.refuse(UnsupportedFormat(file=label, field="tar", problem="a sparse file"))
        else:
            self._take_file(header, name, label)

    def _take_file(self, header: _Header, name: bytes, label: str) -> None:
        if name.endswith(b"/"):  # a folder to readers that go by the name, as before POSIX
            raise self._ambiguous(f"{label} is a file named like a folder")
        try:
            path = name.decode()
        except UnicodeDecodeError:
            self._names.refuse(NotText(file=label, field="file name"))
            return
        self._names.add(path, Member(header.at + BLOCK, header.size))

    def _ambiguous(self, problem: str, **numbers: int) -> FileError:
        return AmbiguousArchive(file=self._layer, field="tar", problem=problem, **numbers)
