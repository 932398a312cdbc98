"""The directory of a zip archive, read by ranges, for archives that mean the same to every reader.

Layout (APPNOTE.TXT of PKWARE, sections 4.3 to 4.5): members, each behind a header of its own; the central directory,
which lists them again; in large archives a zip64 end record and its locator; the end record. Readers differ in which
of the two descriptions of a member they believe, in what they do with bytes around the archive, with a name given
twice, or with a checksum that is wrong, so that one archive can show a scanner another model than a loader. Each of
these is refused. Compressed members are listed, and never inflated.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from auditor.errors import AmbiguousArchive, BadMagic, LimitExceeded, Truncated, UnsafePath, UnsupportedFormat
from auditor.formats.strictjson import quoted
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from auditor.errors import FileError
    from auditor.sources.base import Blob

_HEADER = struct.Struct("<4s5H3I2H")  # signature, version, flags, method, time, date, crc, sizes, lengths
_ENTRY = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_HEADER_MAGIC, _ENTRY_MAGIC, _END_MAGIC = b"PK\3\4", b"PK\1\2", b"PK\5\6"
_LOCATOR_MAGIC, _END64_MAGIC = b"PK\6\7", b"PK\6\6"
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ZIP64_EXTRA = 1
_DESCRIPTOR, _UTF8 = 1 << 3, 1 << 11
_ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13
_TAIL = 64 * 1024  # the end of the file in one read: also the whole directory of most archives


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file in an archive, as the central directory has it.

    Attributes
    ----------
    name : str
    at : int
        Where its own header begins.
    start, stop : int
        Its bytes, as they follow from where the next member begins; `prove` holds them against its own header.
    crc : int
        CRC-32 of the bytes; torch writes 0 where it was told to compute none.
    method : int
        How it is compressed; 0 for stored as it is.
    """

    name: str
    at: int
    start: int
    stop: int
    crc: int
    method: int

    @property
    def size(self) -> int:
        """Bytes it holds."""
        return self.stop - self.start

    @property
    def header_size(self) -> int:
        """Bytes of its own header up to the end of its name: what `prove` wants."""
        return _HEADER.size + len(self.name.encode())


def read_directory(blob: Blob) -> tuple[Member, ...]:
    """Read the central directory of an archive. No member is read.

    Parameters
    ----------
    blob : Blob

    Returns
    -------
    tuple of Member
        In the order of their bytes.

    Raises
    ------
    BadMagic
        No end record at the end of the file.
    Truncated
        It claims more than the file holds.
    LimitExceeded
        The directory is longer, or lists more members, than `LIMITS` allows.
    AmbiguousArchive
        Readers would see different archives: see the module docstring.
    UnsafePath
        A member's name leads out of the folder that it is unpacked in.
    UnsupportedFormat
        An archive in several parts, or one with flags that are not known.
    """
    tail_at = max(0, blob.size - _TAIL)
    tail = blob.read(tail_at, blob.size - tail_at, field="end of the archive")
    begin, length, count, end = _end(blob, tail, tail_at)
    if length > LIMITS.zip_directory:
        raise LimitExceeded(file=blob.path, field="zip directory", actual=length, limit=LIMITS.zip_directory)
    if count > LIMITS.zip_members:
        raise LimitExceeded(file=blob.path, field="zip members", actual=count, limit=LIMITS.zip_members)
    if begin + length != end:
        problem = "bytes before the archive, or between its directory and its end"
        raise AmbiguousArchive(file=blob.path, field="zip directory", problem=problem, actual=begin, limit=end - length)
    within = begin - tail_at
    raw = tail[within : within + length] if within >= 0 else blob.read(begin, length, field="zip directory")
    return _placed(blob, _entries(blob, raw, count), begin)


def prove(file: str, member: Member, header: bytes) -> None:
    """Hold a member's own header against what the central directory says of it.

    Parameters
    ----------
    file : str
        What errors name.
    member : Member
    header : bytes
        The first `member.header_size` bytes from `member.at`.

    Raises
    ------
    AmbiguousArchive
        Readers that go by one of the two would not read what those that go by the other do.
    """
    field = f"zip member {quoted(member.name)}"
    magic, _, flags, method, _, _, crc, packed, plain, name_length, extra_length = _HEADER.unpack_from(header)
    name = header[_HEADER.size :]
    checks = (
        ("signature", magic == _HEADER_MAGIC),
        ("name", name_length == len(name) and name == member.name.encode()),
        ("flags", not flags & _ENCRYPTED),
        ("compression", method == 0),
        ("checksum", crc in {0, member.crc}),  # 0: said after the bytes, or not at all
        ("size", {packed, plain} <= {0, _FULL32, member.size}),
        ("place", member.at + _HEADER.size + name_length + extra_length == member.start),
    )
    for what, same in checks:
        if not same:
            problem = f"its own header and the directory differ in its {what}"
            raise AmbiguousArchive(file=file, field=field, problem=problem)


def contents(blob: Blob, member: Member, *, limit: int) -> bytes:
    """Return the bytes of a member, header and checksum checked.

    Raises
    ------
    LimitExceeded
        It is longer than `limit`.
    UnsupportedFormat
        It is compressed.
    AmbiguousArchive
        As `prove`, or the checksum is not that of the bytes.
    """
    field = f"zip member {quoted(member.name)}"
    if member.method:
        raise UnsupportedFormat(file=blob.path, field=field, problem="compressed", actual=member.method, limit=0)
    if member.size > limit:
        raise LimitExceeded(file=blob.path, field=field, actual=member.size, limit=limit)
    raw = blob.read(member.at, member.stop - member.at, field=field)
    prove(blob.path, member, raw[: member.header_size])
    data = raw[member.start - member.at :]
    if member.crc not in {0, zlib.crc32(data)}:
        raise AmbiguousArchive(file=blob.path, field=field, problem="not the checksum of its bytes")
    return data


def _end(blob: Blob, tail: bytes, tail_at: int) -> tuple[int, int, int, int]:
    """Return where the directory begins, its length, its number of entries, and where it must end."""
    at = len(tail) - _END.size
    if at < 0 or not tail.startswith(_END_MAGIC, at):
        found = tail.rfind(_END_MAGIC)
        if found >= 0:
            problem = "a comment, or other bytes, after its end record"
            raise AmbiguousArchive(file=blob.path, field="end of the archive", problem=problem)
        raise BadMagic(file=blob.path, field="end of the archive", problem="no zip archive ends here")
    _, disk, first_disk, here, count, length, begin, comment = _END.unpack_from(tail, at)
    if comment:
        raise Truncated(file=blob.path, field="comment of the archive", actual=0, limit=comment)
    if disk or first_disk or here != count:
        raise UnsupportedFormat(file=blob.path, field="archive", problem="a zip archive in several parts")
    end = tail_at + at
    found64 = _end64(blob, tail, tail_at, at)
    if found64 is None:
        if count == _FULL16 or _FULL32 in {length, begin}:
            raise AmbiguousArchive(file=blob.path, field="end of the archive", problem="a zip64 end record is missing")
        return begin, length, count, end
    end, wide = found64
    for narrow, full, value in zip((count, length, begin), (_FULL16, _FULL32, _FULL32), wide, strict=True):
        if narrow not in {full, value}:
            problem = "its two end records differ"
            raise AmbiguousArchive(file=blob.path, field="end of the archive", problem=problem, actual=narrow)
    count, length, begin = wide
    return begin, length, count, end


def _end64(blob: Blob, tail: bytes, tail_at: int, at: int) -> tuple[int, tuple[int, int, int]] | None:
    """Return where the zip64 end record begins, and count, length and begin as it has them."""
    at -= _LOCATOR.size
    if at < 0 or not tail.startswith(_LOCATOR_MAGIC, at):
        return None
    _, disk, place, disks = _LOCATOR.unpack_from(tail, at)
    at -= _END64.size
    if disk or disks > 1 or at < 0 or place != tail_at + at or not tail.startswith(_END64_MAGIC, at):
        raise AmbiguousArchive(file=blob.path, field="zip64 end record", problem="not where its locator says")
    _, size, _, _, disk, first_disk, here, count, length, begin = _END64.unpack_from(tail, at)
    if disk or first_disk or here != count or size != _END64.size - 12:
        raise AmbiguousArchive(file=blob.path, field="zip64 end record", problem="it contradicts itself")
    return place, (count, length, begin)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A member before its bytes are placed; `after` is the length of the descriptor behind them."""

    name: str
    at: int
    size: int
    crc: int
    after: int
    method: int


def _entries(blob: Blob, raw: bytes, count: int) -> list[_Entry]:
    """Walk the central directory, which must hold `count` entries and nothing else."""
    if count * _ENTRY.size > len(raw):
        raise Truncated(file=blob.path, field="zip directory", actual=len(raw), limit=count * _ENTRY.size)
    entries: list[_Entry] = []
    names: set[str] = set()
    at = 0
    for number in range(count):
        if at + _ENTRY.size > len(raw) or not raw.startswith(_ENTRY_MAGIC, at):
            raise AmbiguousArchive(file=blob.path, field=f"zip directory entry {number}", problem="no entry here")
        entry, at = _entry(blob, raw, at, number)
        # Some systems take no notice of case, so these would be one file to a loader there.
        if entry.name.casefold() in names:
            problem = "two members of this name"
            raise AmbiguousArchive(file=blob.path, field="zip directory", problem=problem, actual=entry.name)
        names.add(entry.name.casefold())
        entries.append(entry)
    if at != len(raw):
        raise AmbiguousArchive(file=blob.path, field="zip directory", problem="bytes that belong to no entry")
    return entries


def _entry(blob: Blob, raw: bytes, at: int, number: int) -> tuple[_Entry, int]:
    _, _, _, flags, method, _, _, crc, packed, plain, name_length, extra_length, comment, disk, _, _, offset = (
        _ENTRY.unpack_from(raw, at)
    )
    at += _ENTRY.size
    name = _name(blob, raw[at : at + name_length], number)
    field = f"zip member {quoted(name)}"
    extra = raw[at + name_length : at + name_length + extra_length]
    at += name_length + extra_length + comment
    if at > len(raw):
        raise Truncated(file=blob.path, field=field, actual=len(raw), limit=at)
    if flags & _ENCRYPTED:
        raise AmbiguousArchive(file=blob.path, field=field, problem="marked as encrypted, which only some readers heed")
    if flags & ~(_DESCRIPTOR | _UTF8) or disk:
        raise UnsupportedFormat(file=blob.path, field=field, problem="flags that are not read", actual=flags)
    plain, packed, offset, wide = _wide(blob, extra, (plain, packed, offset), field)
    if plain != packed and not method:
        raise AmbiguousArchive(file=blob.path, field=field, problem="stored, yet of two sizes", actual=packed)
    after = (24 if wide else 16) if flags & _DESCRIPTOR else 0
    return _Entry(name=name, at=offset, size=packed, crc=crc, after=after, method=method), at


def _name(blob: Blob, raw: bytes, number: int) -> str:
    field = f"name of zip member {number}"
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise AmbiguousArchive(file=blob.path, field=field, problem="not UTF-8", actual=raw) from None
    if not name or not name.isprintable():
        raise AmbiguousArchive(file=blob.path, field=field, problem="not a usable name", actual=name)
    if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
        raise UnsafePath(file=blob.path, field=field, problem="leads out of the archive", actual=name)
    return name


def _wide(blob: Blob, extra: bytes, values: tuple[int, int, int], field: str) -> tuple[int, int, int, bool]:
    """Replace sizes and offset that do not fit 32 bits by those of the zip64 extra field."""
    found: bytes | None = None
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == _ZIP64_EXTRA:
            if found is not None:
                raise AmbiguousArchive(file=blob.path, field=field, problem="two zip64 fields")
            found = extra[4 : 4 + length]
        extra = extra[4 + length :]
    out: list[int] = []
    at = 0
    for value in values:
        if value == _FULL32:
            if found is None or at + 8 > len(found):
                raise AmbiguousArchive(file=blob.path, field=field, problem="a zip64 field is missing")
            (value,) = struct.unpack_from("<Q", found, at)  # noqa: PLW2901 (the wide one stands for it)
            at += 8
        out.append(value)
    return out[0], out[1], out[2], found is not None


def _placed(blob: Blob, entries: list[_Entry], directory: int) -> tuple[Member, ...]:
    """Work out where each member's bytes lie, from where the next one begins. Nothing may lie between them."""
    entries.sort(key=lambda entry: entry.at)
    if entries and entries[0].at != 0:
        raise AmbiguousArchive(file=blob.path, field="archive", problem="bytes before the first member")
    bounds = [entry.at for entry in entries] + [directory]
    members = []
    for entry, (at, following) in zip(entries, pairwise(bounds), strict=True):
        stop = following - entry.after
        start = stop - entry.size
        field = f"zip member {quoted(entry.name)}"
        room = start - at - _HEADER.size - len(entry.name.encode())
        if room < 0:
            raise _does_not_fit(blob, field, entry, following - at)
        if room > _FULL16:
            raise AmbiguousArchive(file=blob.path, field=field, problem="bytes that belong to no member after it")
        members.append(Member(name=entry.name, at=at, start=start, stop=stop, crc=entry.crc, method=entry.method))
    return tuple(members)


def _does_not_fit(blob: Blob, field: str, entry: _Entry, room: int) -> FileError:
    problem = "it reaches into the next member"
    return AmbiguousArchive(file=blob.path, field=field, problem=problem, actual=entry.size, limit=room)
