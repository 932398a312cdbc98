"""Every file-system case: what a folder may hold, where its links may lead, and what changes under our hands."""

from __future__ import annotations

import os
import signal
import socket
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import AuditError, BadOffset, Changed, TargetError, Truncated, Unavailable
from auditor.limits import LIMITS
from auditor.sources import BytesSource, LocalSource, Range, Source, local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from auditor.sources import Unread


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    """End a test that blocks, as one on a FIFO would."""

    def stop(*_: object) -> None:
        raise AssertionError("blocked for 5 seconds")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 5)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, previous)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a model folder, beside which lies something that is not part of it."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.safetensors").write_bytes(b"other")
    model = tmp_path / "model"
    (model / "sub").mkdir(parents=True)
    (model / "a.safetensors").write_bytes(b"0123456789")
    (model / "sub" / "b.safetensors").write_bytes(b"abc")
    return model


@pytest.fixture
def _unprivileged(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.touch(mode=0)
    if os.access(closed, os.R_OK):
        pytest.skip("permissions do not bind this user")


def paths(source: Source) -> list[str]:
    return [info.path for info in source.files()]


def refused(source: Source) -> dict[str, str]:
    return {unread.path: unread.code for unread in source.refused()}


def only(source: Source) -> Unread:
    (unread,) = source.refused()
    return unread


def whole(source: Source, path: str) -> bytes:
    (size,) = (info.size for info in source.files() if info.path == path)
    return source.read(path, [Range(0, size)])[0]


BOTH = ["a.safetensors", "sub/b.safetensors"]


# --- listing --------------------------------------------------------------------------------------------


def test_folder(folder: Path) -> None:
    source = LocalSource(folder)
    assert isinstance(source, Source)
    assert (source.kind, source.revision, source.uri) == ("local", None, str(folder))
    assert [(info.path, info.size, info.sha256, info.digest_source) for info in source.files()] == [
        ("a.safetensors", 10, None, None),
        ("sub/b.safetensors", 3, None, None),
    ]
    assert source.refused() == ()
    assert whole(source, "sub/b.safetensors") == b"abc"


def test_single_file(folder: Path) -> None:
    source = LocalSource(folder / "a.safetensors")
    assert paths(source) == ["a.safetensors"]
    assert whole(source, "a.safetensors") == b"0123456789"


def test_empty_folder(tmp_path: Path) -> None:
    source = LocalSource(tmp_path)
    assert source.files() == source.refused() == ()


def test_relative_target(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    source = LocalSource("model")
    monkeypatch.chdir("/")
    assert source.uri == "model"
    assert whole(source, "a.safetensors") == b"0123456789"


def test_listing_is_sorted_by_path(tmp_path: Path) -> None:
    names = ["b", "B", "a/z", "a-/y", "a.x", "10", "9", "é"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert paths(LocalSource(tmp_path)) == sorted(names)


def test_refusals_are_sorted_by_path(tmp_path: Path) -> None:
    for name in "cab":
        (tmp_path / name).symlink_to("/etc")
    assert [unread.path for unread in LocalSource(tmp_path).refused()] == ["a", "b", "c"]


def test_hidden_and_oddly_named_files_are_listed(tmp_path: Path) -> None:
    names = [".hidden", "a b", "a\nb", "\x1b[31m", "\u202egnp", "back\\slash", "-rf", "%2e%2e", "~", "..."]
    for name in names:
        (tmp_path / name).write_text(name)
    source = LocalSource(tmp_path)
    assert paths(source) == sorted(names)
    assert all(whole(source, name) == name.encode() for name in names)


@pytest.mark.parametrize("ignored", [".git", ".cache/huggingface"])
def test_bookkeeping_is_ignored(folder: Path, ignored: str) -> None:
    place = folder / ignored / "download"
    place.mkdir(parents=True)
    (place / "x.safetensors").write_bytes(b"x")
    os.mkfifo(place / "fifo")
    source = LocalSource(folder)
    assert paths(source) == BOTH
    assert source.refused() == ()


@pytest.mark.parametrize("name", [".cache/other", ".gitx", "sub/.git", ".github", ".cache/huggingfacex"])
def test_what_only_resembles_bookkeeping_is_listed(folder: Path, name: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "x").write_bytes(b"x")
    assert f"{name}/x" in paths(LocalSource(folder))


def test_depth_is_capped(folder: Path) -> None:
    deepest = folder.joinpath(*["d"] * LIMITS.path_depth)
    deepest.mkdir(parents=True)
    (deepest / "x").write_bytes(b"x")
    assert LocalSource(folder).refused() == ()  # benign twin
    (deepest / "d").mkdir()
    (deepest / "d" / "y").write_bytes(b"y")
    source = LocalSource(folder)
    beyond = "/".join(["d"] * (LIMITS.path_depth + 1))
    assert refused(source) == {beyond: "limit-exceeded"}
    assert paths(source) == ["a.safetensors", f"{beyond[:-2]}/x", "sub/b.safetensors"]


def test_very_deep_tree(folder: Path) -> None:
    folder.joinpath(*["d"] * 500).mkdir(parents=True)
    source = LocalSource(folder)
    assert list(refused(source).values()) == ["limit-exceeded"]
    assert paths(source) == BOTH


def test_path_longer_than_the_system_takes(folder: Path) -> None:
    here = os.open(folder, os.O_RDONLY)
    name = "d" * 250
    for _ in range(20):
        os.mkdir(name, dir_fd=here)
        inner = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    source = LocalSource(folder)
    assert list(refused(source).values()) == ["unavailable"]
    assert "too long" in only(source).reason
    assert paths(source) == BOTH


def test_number_of_entries_is_capped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "LIMITS", replace(LIMITS, files=4))
    (folder / "one").symlink_to("/nowhere")
    assert len(LocalSource(folder).files()) == 2  # benign twin: two files, a folder and a link
    (folder / "empty").mkdir()
    with pytest.raises(TargetError, match="more than 4 files"):
        LocalSource(folder)


# --- what is no regular file ----------------------------------------------------------------------------


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="No such file"):
        LocalSource(tmp_path / "absent")


def test_fifo_is_refused_and_does_not_block(folder: Path) -> None:
    os.mkfifo(folder / "model.safetensors")
    source = LocalSource(folder)
    assert only(source).code == "not-regular-file"
    assert "a FIFO" in only(source).reason
    assert paths(source) == BOTH


def test_socket_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind("model.safetensors")
        source = LocalSource(folder)
    assert "a socket" in only(source).reason
    assert paths(source) == BOTH


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/stdin", "/proc/self/fd/0"])
def test_link_to_a_device_is_refused(folder: Path, device: str) -> None:
    (folder / "model.safetensors").symlink_to(device)
    source = LocalSource(folder)
    assert refused(source) == {"model.safetensors": "unsafe-path"}
    assert paths(source) == BOTH


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser makes devices")
def test_device_inside_is_refused(folder: Path) -> None:
    try:
        os.mknod(folder / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("devices cannot be made here")
    assert "a character device" in only(LocalSource(folder)).reason


@pytest.mark.parametrize("name", ["/dev/zero", "fifo"])
def test_target_that_is_neither_folder_nor_file(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(TargetError, match="neither a folder nor a regular file"):
        LocalSource(tmp_path / name)


def test_names_that_are_not_utf8(folder: Path) -> None:
    (folder / os.fsdecode(b"f\xff")).mkdir()
    for name in (b"m\xff.safetensors", b"f\xff/x", b"latin-\xe9"):
        (folder / os.fsdecode(name)).write_bytes(b"x")
    source = LocalSource(folder)
    assert refused(source) == dict.fromkeys(["f\\xff/x", "latin-\\xe9", "m\\xff.safetensors"], "not-text")
    assert paths(source) == BOTH
    for unread in source.refused():
        (unread.path + unread.reason).encode()


def test_single_file_whose_name_is_not_utf8(folder: Path) -> None:
    path = folder / os.fsdecode(b"m\xff.safetensors")
    path.write_bytes(b"abc")
    source = LocalSource(path)
    assert paths(source) == ["m\\xff.safetensors"]
    assert whole(source, "m\\xff.safetensors") == b"abc"


@pytest.mark.usefixtures("_unprivileged")
def test_unreadable_file_and_folder(folder: Path) -> None:
    (folder / "a.safetensors").chmod(0)
    (folder / "sub").chmod(0)
    try:
        source = LocalSource(folder)
        assert refused(source) == {"sub": "unavailable"}
        assert "Permission denied" in only(source).reason
        with pytest.raises(Unavailable, match="Permission denied"):
            whole(source, "a.safetensors")
    finally:
        (folder / "sub").chmod(0o700)
    assert paths(LocalSource(folder)) == BOTH  # benign twin


@pytest.mark.usefixtures("_unprivileged")
def test_unreadable_target(folder: Path) -> None:
    folder.chmod(0)
    try:
        assert refused(LocalSource(folder)) == {".": "unavailable"}
        with pytest.raises(TargetError, match="Permission denied"):
            LocalSource(folder / "a.safetensors")
    finally:
        folder.chmod(0o700)


# --- links ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("absolute", [False, True])
def test_link_to_a_file_inside(folder: Path, *, absolute: bool) -> None:
    (folder / "link").symlink_to(folder / "sub/b.safetensors" if absolute else "sub/../sub/b.safetensors")
    source = LocalSource(folder)
    assert paths(source) == ["a.safetensors", "link", "sub/b.safetensors"]
    assert whole(source, "link") == b"abc"
    assert source.refused() == ()


@pytest.mark.parametrize("absolute", [False, True])
def test_link_to_a_folder_inside_is_not_entered(folder: Path, *, absolute: bool) -> None:
    (folder / "link").symlink_to(folder / "sub" if absolute else "sub")
    (folder / "sub" / "up").symlink_to(folder if absolute else "..")
    source = LocalSource(folder)
    assert paths(source) == BOTH
    assert source.refused() == ()


@pytest.mark.parametrize("hidden", [".git", ".git/annex", ".cache/huggingface", ".cache/huggingface/x"])
def test_link_to_a_folder_that_is_not_listed_is_refused(folder: Path, hidden: str) -> None:
    """Weights that lie in ignored bookkeeping are part of the model when a link brings them in."""
    (folder / hidden).mkdir(parents=True)
    (folder / hidden / "x.safetensors").write_bytes(b"xyz")
    (folder / "weights").symlink_to(hidden)
    assert refused(LocalSource(folder)) == {"weights": "unsafe-path"}
    (folder / "weights").unlink()
    (folder / "x.safetensors").symlink_to(f"{hidden}/x.safetensors")  # benign twin: git-annex keeps files so
    source = LocalSource(folder)
    assert whole(source, "x.safetensors") == b"xyz"
    assert source.refused() == ()


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("goal", ["secret", "other/model.safetensors", "other", ".", "model2"])
def test_link_out_is_refused(folder: Path, goal: str, *, absolute: bool) -> None:
    (folder.parent / "model2").mkdir()  # has the target's path as a prefix
    spelt = str(folder.parent / goal) if absolute else f"../{goal}"
    (folder / "link").symlink_to(spelt)
    source = LocalSource(folder)
    assert paths(source) == BOTH
    assert refused(source) == {"link": "unsafe-path"}
    assert spelt.removesuffix("/.") in only(source).reason
    with pytest.raises(KeyError):
        source.read("link", [])


def test_refusal_shows_the_link_and_not_this_machine(folder: Path) -> None:
    (folder / "link").symlink_to("../secret")
    (folder / "inner").symlink_to("link")
    for unread in LocalSource(folder).refused():
        assert str(folder.parent) not in unread.reason


def test_link_out_through_a_linked_folder(folder: Path) -> None:
    (folder / "sub" / "out").symlink_to("../../other")
    (folder / "link").symlink_to("sub/out/model.safetensors")
    assert refused(LocalSource(folder)) == {"link": "unsafe-path", "sub/out": "unsafe-path"}


def test_link_that_leaves_and_comes_back(folder: Path) -> None:
    (folder / "link").symlink_to("../model/a.safetensors")
    assert whole(LocalSource(folder), "link") == b"0123456789"


def test_link_in_a_name_that_is_not_utf8(folder: Path) -> None:
    name = os.fsdecode(b"\xff")
    (folder.parent / name).write_bytes(b"x")
    (folder / "link").symlink_to(f"../{name}")
    unread = only(LocalSource(folder))
    assert unread.code == "unsafe-path"
    assert "../\\xff" in unread.reason
    unread.reason.encode()


def test_loops_of_links(folder: Path) -> None:
    (folder / "self").symlink_to("self")
    (folder / "one").symlink_to("two")
    (folder / "two").symlink_to("one")
    (folder / "sub" / "down").symlink_to("down/down")
    source = LocalSource(folder)
    assert refused(source) == dict.fromkeys(["one", "self", "sub/down", "two"], "unavailable")
    for unread in source.refused():
        assert os.strerror(40) in unread.reason
        assert str(folder) not in unread.reason
    assert paths(source) == BOTH


def test_dangling_link(folder: Path) -> None:
    (folder / "link").symlink_to("absent")
    source = LocalSource(folder)
    assert refused(source) == {"link": "unavailable"}
    assert "No such file" in only(source).reason


@pytest.mark.parametrize("name", ["a.safetensors", "."])
def test_target_that_is_itself_a_link(folder: Path, tmp_path: Path, name: str) -> None:
    """What a user names is the target, wherever it lies."""
    link = tmp_path / "link"
    link.symlink_to(folder / name)
    source = LocalSource(link)
    assert paths(source) == (["link"] if name != "." else BOTH)
    assert source.uri == str(link)
    assert whole(source, paths(source)[0]) == b"0123456789"


def test_target_that_is_a_loop(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(TargetError, match="cannot be opened"):
        LocalSource(tmp_path / "loop")


def test_target_with_a_trailing_slash_or_dots(folder: Path) -> None:
    for spelt in (f"{folder}/", f"{folder}/.", f"{folder}/sub/..", f"{folder}//"):
        assert paths(LocalSource(spelt)) == BOTH


# --- changes between listing and reading ----------------------------------------------------------------


def swap_for_another_file(path: Path) -> None:
    status = path.stat()
    path.unlink()
    path.write_bytes(b"9876543210")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def rewrite_in_place_and_set_the_clock_back(path: Path) -> None:
    status = path.stat()
    path.write_bytes(b"9876543210")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def put_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def put_a_link_out(path: Path) -> None:
    path.unlink()
    path.symlink_to("../secret")


def put_a_link_to_a_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def put_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def move_the_folder_and_link_another(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))
    path.parent.symlink_to("other")
    (path.parent / path.name).write_bytes(b"0123456789")


CHANGES: dict[str, tuple[Callable[[Path], object], type[AuditError]]] = {
    "swapped": (swap_for_another_file, Changed),
    "rewritten": (rewrite_in_place_and_set_the_clock_back, Changed),
    "truncated": (lambda path: os.truncate(path, 3), Changed),
    "grown": (lambda path: os.truncate(path, 11), Changed),
    "deleted": (Path.unlink, Unavailable),
    "replaced by a FIFO": (put_a_fifo, Changed),
    "replaced by a link": (put_a_link_out, Changed),
    "replaced by a link to a device": (put_a_link_to_a_device, Changed),
    "replaced by a folder": (put_a_folder, Changed),
    "folder replaced by a link": (move_the_folder_and_link_another, Changed),
}


@pytest.mark.parametrize("change", CHANGES)
def test_change_after_listing(folder: Path, change: str) -> None:
    act, error = CHANGES[change]
    source = LocalSource(folder)
    act(folder / "a.safetensors")
    for ranges in ([Range(0, 3)], []):
        with pytest.raises(error) as caught:
            source.read("a.safetensors", ranges)
        assert caught.value.file == "a.safetensors"  # type: ignore[attr-defined]


def test_benign_twin_of_the_changes(folder: Path) -> None:
    source = LocalSource(folder)
    (folder / "new").write_bytes(b"x")
    (folder / "sub" / "b.safetensors").write_bytes(b"changed")
    os.utime(folder)
    assert whole(source, "a.safetensors") == b"0123456789"
    assert paths(source) == BOTH


def test_socket_in_the_files_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    source = LocalSource(folder)
    (folder / "a.safetensors").unlink()
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind("a.safetensors")
        with pytest.raises(Unavailable):
            source.read("a.safetensors", [Range(0, 3)])


@pytest.mark.parametrize(
    ("length", "error"), [(3, Truncated), (8, Changed)], ids=["before the range ends", "behind the range"]
)
def test_truncation_while_reading(
    folder: Path, monkeypatch: pytest.MonkeyPatch, length: int, error: type[AuditError]
) -> None:
    def pread(descriptor: int, size: int, at: int) -> bytes:
        os.truncate(folder / "a.safetensors", length)
        return original(descriptor, size, at)

    original = os.pread
    source = LocalSource(folder)
    monkeypatch.setattr(os, "pread", pread)
    with pytest.raises(error):
        source.read("a.safetensors", [Range(0, 5)])


def test_reads_that_return_less_than_asked_are_continued(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, size, at: original(descriptor, min(size, 3), at))
    assert LocalSource(folder).read("a.safetensors", [Range(1, 10)]) == [b"123456789"]


def test_error_of_the_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    source = LocalSource(folder)
    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(Unavailable, match="Input/output error"):
        source.read("a.safetensors", [Range(0, 5)])


def test_nothing_stays_open(folder: Path) -> None:
    source = LocalSource(folder)
    before = set(Path("/proc/self/fd").iterdir()) if Path("/proc/self/fd").exists() else None
    if before is None:
        pytest.skip("no list of open files on this system")
    whole(source, "a.safetensors")
    (folder / "a.safetensors").write_bytes(b"")
    with pytest.raises(Changed):
        source.read("a.safetensors", [Range(0, 5)])
    assert len(set(Path("/proc/self/fd").iterdir())) == len(before)


# --- ranges ---------------------------------------------------------------------------------------------


def sources(folder: Path) -> list[Source]:
    return [LocalSource(folder / "a.safetensors"), BytesSource({"a.safetensors": b"0123456789"})]


def test_ranges_come_in_the_order_asked(folder: Path) -> None:
    ranges = [Range(5, 10), Range(0, 6), Range(3, 3), Range(9, 10), Range(0, 6), Range(10, 10)]
    for source in sources(folder):
        assert source.read("a.safetensors", ranges) == [b"56789", b"012345", b"", b"9", b"012345", b""]
        assert source.read("a.safetensors", []) == []


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (Range(0, 11), Truncated),
        (Range(11, 11), Truncated),
        (Range(20, 30), Truncated),
        (Range(0, 2**62), Truncated),  # refused before any memory is taken
        (Range(2**70, 2**71), Truncated),
        (Range(-1, 5), BadOffset),
        (Range(-5, -1), BadOffset),
        (Range(5, 4), BadOffset),
    ],
)
def test_ranges_that_are_not_in_the_file(folder: Path, bad: Range, error: type[AuditError]) -> None:
    for source in sources(folder):
        with pytest.raises(error):
            source.read("a.safetensors", [Range(0, 1), bad])


def test_sparse_file_beyond_memory(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.seek(1 << 42)
        file.write(b"end")
    source = LocalSource(path)
    size = (1 << 42) + 3
    assert source.files()[0].size == size
    assert source.read("large", [Range(size - 3, size), Range(7, 9)]) == [b"end", b"\0\0"]


CONTENT = bytes(range(256)) * 20


@pytest.fixture(scope="module")
def content_source(tmp_path_factory: pytest.TempPathFactory) -> LocalSource:
    path = tmp_path_factory.mktemp("ranges") / "file"
    path.write_bytes(CONTENT)
    return LocalSource(path)


PLACES = st.integers(0, len(CONTENT))


@given(pairs=st.lists(st.tuples(PLACES, PLACES).map(sorted), max_size=12))
def test_any_ranges_give_the_slices(content_source: LocalSource, pairs: list[list[int]]) -> None:
    ranges = [Range(*pair) for pair in pairs]
    assert content_source.read("file", ranges) == [CONTENT[start:stop] for start, stop in ranges]
