"""Archives in layers: where their files lie, and what of them is refused."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import AmbiguousArchive, BadMagic, FileError, LimitExceeded, Truncated, UnsupportedFormat
from auditor.limits import LIMITS
from auditor.sources import safepath, tarlayers
from auditor.sources.safepath import Names, folders_among, path_problem
from auditor.sources.tarlayers import Member, find_members

END = bytes(1024)


def header(
    name: bytes = b"a.txt",
    *,
    size: int | bytes = 0,
    kind: bytes = b"0",
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    checksum: bytes | None = None,
) -> bytes:
    """Write one header, field by field (POSIX.1-1988)."""
    digits = b"%011o\0" % size if isinstance(size, int) else size
    raw = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + digits + b"00000000000\0"
    raw += b" " * 8 + kind + bytes(100) + magic + bytes(32 + 32 + 16) + prefix.ljust(155, b"\0") + bytes(12)
    assert len(raw) == 512
    summed = checksum if checksum is not None else b"%06o\0 " % sum(raw)
    return raw[:148] + summed + raw[156:]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def entry(name: bytes = b"a.txt", data: bytes = b"hello", **fields: bytes) -> bytes:
    return header(name, size=len(data), **fields) + padded(data)  # type: ignore[arg-type]


def pax(*records: bytes, kind: bytes = b"x") -> bytes:
    data = b""
    for record in records:
        length = len(record) + 3
        while len(b"%d %s\n" % (length, record)) != length:
            length += 1
        data += b"%d %s\n" % (length, record)
    return entry(b"pax", data, kind=kind)


class Archive:
    """Bytes that count how they are read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.reads: list[tuple[int, int]] = []

    def read(self, start: int, length: int) -> bytes:
        assert 0 < length <= len(self.data) - start
        self.reads.append((start, length))
        return self.data[start : start + length]


def found(data: bytes) -> tuple[dict[str, bytes], list[tuple[str, str]]]:
    """Return the contents of an archive's files, and what is refused of it."""
    archive, names = Archive(data), Names[Member]()
    find_members(archive.read, len(data), layer="layer", names=names)
    files = {path: data[member.start : member.start + member.size] for path, member in names.files().items()}
    return files, [(unread.path, unread.code) for unread in names.refused()]


def refusal(data: bytes) -> FileError:
    with pytest.raises(FileError) as caught:
        found(data)
    assert caught.value.file == "layer"
    return caught.value


# --- honest ----------------------------------------------------------------------------------------------

PATHS = st.lists(
    st.text(alphabet="abc.-_é漢", min_size=1, max_size=90).filter(lambda name: name not in {".", ".."}),
    min_size=1,
    max_size=4,
).map("/".join)


@given(
    files=st.dictionaries(PATHS, st.binary(max_size=1500), max_size=6).filter(lambda files: not folders_among(files)),
    style=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
)
def test_files_that_pythons_own_writer_packs(files: dict[str, bytes], style: int) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=style) as archive:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    assert found(out.getvalue()) == (files, [])


def test_empty_archives() -> None:
    assert found(b"") == found(END) == found(bytes(10_240)) == ({}, [])


def test_end_without_empty_blocks() -> None:
    assert found(entry()) == found(entry() + END) == ({"a.txt": b"hello"}, [])
    assert found(header(size=5) + b"hello") == ({"a.txt": b"hello"}, [])  # nor the last block filled up


def test_long_names() -> None:
    long = b"sub/" + b"n" * 200
    named = entry(b"././@LongLink", long + b"\0", kind=b"L", magic=b"ustar  \0")
    assert found(named + entry(b"n" * 99, magic=b"ustar  \0"))[0] == {long.decode(): b"hello"}
    assert found(pax(b"path=" + long) + entry())[0] == {long.decode(): b"hello"}
    assert found(entry(b"file", prefix=b"in/side"))[0] == {"in/side/file": b"hello"}
    assert found(entry(b"file", prefix=b"atime", magic=b"ustar  \0"))[0] == {"file": b"hello"}  # other fields in GNU's


def test_sizes_above_8_gib() -> None:
    data = b"x" * 700
    sized = header(size=b"\x80" + len(data).to_bytes(11, "big")) + padded(data)
    assert found(sized + entry(b"b"))[0] == {"a.txt": data, "b": b"hello"}
    stated = pax(b"size=700") + header(size=0) + padded(data)
    assert found(stated + entry(b"b"))[0] == {"a.txt": data, "b": b"hello"}


def test_folders_and_leading_dots() -> None:
    assert found(header(b"./", kind=b"5") + header(b"sub/", kind=b"5") + entry(b"./sub/a"))[0] == {"sub/a": b"hello"}


def test_records_that_say_nothing_of_the_content_are_no_matter() -> None:
    archive = pax(b"comment=of git", kind=b"g") + pax(b"mtime=1.5", b"LIBARCHIVE.xattr.a=b\0c") + entry()
    assert found(archive) == ({"a.txt": b"hello"}, [])


def test_files_are_stepped_over_and_not_read() -> None:
    archive = Archive(entry(b"a", b"x" * 1_000_000) + entry(b"b", b"y" * 1_000_000) + entry(b"c") + END)
    find_members(archive.read, len(archive.data), layer="layer", names=Names())
    assert len(archive.reads) == 3
    assert sum(length for _, length in archive.reads) <= 3 * LIMITS.tar_window


# --- files that are refused, beside others that are not ---------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "path", "code"),
    [
        (entry(b"../evil"), "../evil", "unsafe-path"),
        (entry(b"/etc/passwd"), "/etc/passwd", "unsafe-path"),
        (entry(b"a/../b"), "a/../b", "unsafe-path"),
        (entry(b"a//b"), "a//b", "unsafe-path"),
        (entry(b"a\\b"), "a\\b", "unsafe-path"),
        (entry(b""), "?", "unsafe-path"),
        (entry(b"a\nb"), "a\\nb", "bad-name"),
        (entry(b"a\x1b[31m"), "a\\x1b[31m", "bad-name"),
        (entry(b"\xff"), "\\xff", "not-text"),
        (pax(b"path=" + b"d/" * 65 + b"x") + entry(), "d/" * 65 + "x", "limit-exceeded"),
        (pax(b"path=" + b"n" * 1025) + entry(), "n" * 1023 + "…", "limit-exceeded"),
        (header(b"link", kind=b"1"), "link", "unsafe-path"),
        (header(b"link", kind=b"2"), "link", "unsafe-path"),
        (
            entry(b"././@LongLink", b"x" * 200, kind=b"K", magic=b"ustar  \0") + header(b"l", kind=b"2"),
            "l",
            "unsafe-path",
        ),
        (header(b"null", kind=b"3"), "null", "not-regular-file"),
        (header(b"disk", kind=b"4"), "disk", "not-regular-file"),
        (header(b"pipe", kind=b"6"), "pipe", "not-regular-file"),
        (pax(b"GNU.sparse.major=1", b"GNU.sparse.name=s") + entry(b"s"), "s", "unsupported-format"),
        (entry(b"twice", b"1") + entry(b"twice", b"2"), "twice", "duplicate-name"),
        (entry(b"ok.txt/below"), "ok.txt", "duplicate-name"),
    ],
)
def test_files_that_are_refused(bad: bytes, path: str, code: str) -> None:
    kept = {"other": b"hello"} if path == "ok.txt" else {"ok.txt": b"fine", "other": b"hello"}
    files, refused = found(entry(b"ok.txt", b"fine") + bad + entry(b"other") + END)
    assert refused == [(path, code)]
    files.pop("ok.txt/below", None)
    assert files == kept


# --- archives that are refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("archive", "kind"),
    [
        (b"\x1f\x8b" + bytes(600), BadMagic),  # gzip under the media type of a plain archive
        (entry(magic=bytes(8)), BadMagic),  # before POSIX: nothing tells it from chance
        (header(checksum=b"000000\0 "), AmbiguousArchive),
        (header(checksum=b"zzzzzz\0 "), AmbiguousArchive),
        (header(size=b"99999999999\0"), AmbiguousArchive),
        (header(size=b"\xff" * 12), AmbiguousArchive),  # negative
        (header(size=b"\x80" + b"\xff" * 11), AmbiguousArchive),
        (header(size=10**9), Truncated),
        (entry()[:515], Truncated),
        (entry() + entry(b"b")[:300], Truncated),
        (pax(b"path=x"), Truncated),  # about no file
        (pax(), Truncated),
        (header(b"d", size=512, kind=b"5") + entry(b"hidden") + END, AmbiguousArchive),
        (header(b"l", size=512, kind=b"1") + entry(b"hidden") + END, AmbiguousArchive),
        (entry(b"folder/"), AmbiguousArchive),
        (entry() + END + entry(b"behind"), AmbiguousArchive),
        (entry() + bytes(512) + entry(b"behind"), AmbiguousArchive),
        (entry() + bytes(100_000), AmbiguousArchive),
        (pax(b"path=x") + pax(b"path=y") + entry(), AmbiguousArchive),
        (pax(b"path=x", b"path=y") + entry(), AmbiguousArchive),
        (pax(b"path=x\0y") + entry(), AmbiguousArchive),
        (pax(b"size=-1") + entry(), AmbiguousArchive),
        (pax(b"size=" + b"9" * 30) + entry(), AmbiguousArchive),
        (entry(b"pax", b"8 path=x\n", kind=b"x") + entry(), AmbiguousArchive),  # one too few
        (entry(b"pax", b"99 path=x\n", kind=b"x") + entry(), AmbiguousArchive),
        (entry(b"pax", b"0 \n", kind=b"x") + entry(), AmbiguousArchive),
        (entry(b"pax", b"path=x\n", kind=b"x") + entry(), AmbiguousArchive),
        (pax(b"path=all", kind=b"g") + entry(), AmbiguousArchive),
        (pax(b"size=7", kind=b"g") + entry(), AmbiguousArchive),
        (entry(b"L", b"x", kind=b"L") + pax(b"path=y") + entry(), AmbiguousArchive),
        (entry(b"L", b"x\0y", kind=b"L") + entry(), AmbiguousArchive),
        (entry(b"L", b"x" * 70_000, kind=b"L") + entry(), LimitExceeded),
        (entry(b"s", kind=b"S"), UnsupportedFormat),  # GNU's own sparse files: more headers follow
        (entry(b"m", kind=b"M"), UnsupportedFormat),
        (entry(b"v", kind=b"V"), UnsupportedFormat),
    ],
)
def test_archives_that_are_refused(archive: bytes, kind: type[FileError]) -> None:
    assert type(refusal(archive)) is kind


def test_entries_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (tarlayers, safepath):
        monkeypatch.setattr(module, "LIMITS", replace(LIMITS, tar_entries=3))
    assert len(found(entry(b"a") + entry(b"b") + entry(b"c"))[0]) == 3
    assert type(refusal(header(b"d/", kind=b"5") * 4)) is LimitExceeded


@given(st.binary(max_size=200), st.integers(0, 2100))
def test_any_damage_is_refused_by_name_or_harmless(junk: bytes, at: int) -> None:
    whole = pax(b"path=long") + entry(b"a") + entry(b"b") + END
    damaged = whole[:at] + junk + whole[at + len(junk) :]
    try:
        files, _ = found(damaged)
    except FileError:
        return
    assert all(path_problem(path) is None for path in files)


# --- names -----------------------------------------------------------------------------------------------


def test_the_same_file_twice_is_no_contradiction() -> None:
    names: Names[Member] = Names()
    for member in (Member(0, 5), Member(0, 5)):
        names.add("a", member)
    assert (names.files(), names.refused()) == ({"a": Member(0, 5)}, ())
    names.add("a", Member(5, 5))
    names.add("a", Member(0, 5))
    assert (names.files(), len(names.refused())) == ({}, 1)


@given(st.lists(st.text(alphabet="a/b", max_size=6)))
def test_folders_among(paths: list[str]) -> None:
    assert folders_among(paths) == {path for path in paths if any(other.startswith(f"{path}/") for other in paths)}
