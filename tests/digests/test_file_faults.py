"""What changes, vanishes or dies while files are hashed costs that file, and nothing else."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from modelkit import make_model, write_model

from auditor.audit import Options, audit, scan
from auditor.digests import files, worker
from auditor.digests.files import FileDigests, Hashing, digest_files
from auditor.formats.serialize import serialize
from auditor.sources import LocalSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEPT = {"a": b"small", "z": bytes(20_000)}
"""Files that stay as they are, beside one called "m"."""
SPARSE = 1 << 30
REPORTED = 64 << 20
"""Bytes after which a mapped file's first report of progress comes."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SMALL", 4096)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    model.mkdir()
    for name, data in KEPT.items():
        (model / name).write_bytes(data)
    return model


def sparse(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def check_others(found: FileDigests) -> None:
    assert {info.path: info.sha256 for info in found.files} == {
        name: hashlib.sha256(data).hexdigest() for name, data in KEPT.items()
    }
    assert found.bytes_read == sum(map(len, KEPT.values()))


def at_first_report(act: Callable[[], object], calls: list[int]) -> Callable[[int, int], None]:
    """Return a listener that acts once, when the first file is hashed in part, and keeps what it is told."""

    def listen(done: int, _: int) -> None:
        if not calls:
            act()
        calls.append(done)

    return listen


# --- between listing and hashing ------------------------------------------------------------------------


def rewritten(path: Path) -> None:
    path.write_bytes(b"R" * path.stat().st_size)


def replaced(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    other.replace(path)


def longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def shorter(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def deleted(path: Path) -> None:
    path.unlink()


def a_link(path: Path) -> None:
    """Put a link to the very same bytes in its place."""
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to("../elsewhere")


def a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("size", [3000, 30_000], ids=["read", "mapped"])
@pytest.mark.parametrize(
    ("act", "code"),
    [
        (rewritten, "changed"),
        (replaced, "changed"),
        (longer, "changed"),
        (shorter, "changed"),
        (emptied, "changed"),
        (deleted, "unavailable"),
        (a_link, "changed"),
        (a_fifo, "changed"),
        (a_folder, "changed"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_another_file_than_the_one_listed(folder: Path, size: int, act: Callable[[Path], None], code: str) -> None:
    (folder / "m").write_bytes(b"M" * size)
    source = LocalSource(folder)
    act(folder / "m")
    done: list[int] = []
    found = digest_files(source, progress=lambda at, _: done.append(at))
    assert [(unread.path, unread.code) for unread in found.unread] == [("m", code)]
    check_others(found)
    assert done[-1] == size + sum(map(len, KEPT.values()))  # progress ends where it said it would


@pytest.mark.usefixtures("small")
def test_a_file_that_must_not_be_read(folder: Path) -> None:
    (folder / "m").write_bytes(bytes(30_000))
    (folder / "m").chmod(0)
    if os.access(folder / "m", os.R_OK):
        pytest.skip("permissions do not bind this user")
    found = digest_files(LocalSource(folder))
    assert [(unread.path, unread.code) for unread in found.unread] == [("m", "unavailable")]
    assert "Permission denied" in found.unread[0].reason
    check_others(found)


# --- while it is hashed ---------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [0, REPORTED + 4097], ids=["whole", "in part"])
def test_a_file_truncated_while_it_is_mapped(folder: Path, left: int) -> None:
    path = sparse(folder / "m", SPARSE)
    calls: list[int] = []
    listener = at_first_report(lambda: os.truncate(path, left), calls)
    found = digest_files(LocalSource(folder), processes=1, progress=listener)
    assert [(unread.path, unread.code) for unread in found.unread] == [("m", "changed")]
    check_others(found)
    assert calls == sorted(calls)
    assert calls[0] == REPORTED
    assert calls[-1] == SPARSE + sum(map(len, KEPT.values()))


def one_byte(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"1")


@pytest.mark.parametrize("act", [longer, one_byte], ids=["appended to", "written into"])
def test_a_file_changed_while_it_is_mapped(folder: Path, act: Callable[[Path], None]) -> None:
    path = sparse(folder / "m", 4 * REPORTED)  # so that there is time to change it
    listener = at_first_report(lambda: act(path), [])
    found = digest_files(LocalSource(folder), processes=1, progress=listener)
    assert [(unread.path, unread.code) for unread in found.unread] == [("m", "changed")]  # its status is not as before
    check_others(found)


def test_an_audit_goes_on_without_a_truncated_file(tmp_path: Path) -> None:
    base = write_model(make_model(1), tmp_path / "base")
    target = write_model(make_model(1), tmp_path / "target")
    path = sparse(target / "zeros.txt", SPARSE)
    hashing = Hashing(LocalSource(target), progress=at_first_report(lambda: os.truncate(path, 10), []))
    report = audit(str(target), Options(against=(str(base),), digests="files"), hashing=hashing).report
    assert report.lineage.verdict == "derived"
    assert ("zeros.txt", "changed") in {(unread.path, unread.code) for unread in report.coverage.unread}
    assert {unread.path for unread in report.coverage.unread} == {"zeros.txt"}
    assert {info.path for info in report.target.files if info.sha256} == {"model.safetensors"}
    assert report.exit_code == 3
    assert scan(str(target), Options(against=(str(base),), digests="files")).exit_code == 0  # as it is now


# --- processes that die ---------------------------------------------------------------------------------


def test_a_process_that_is_killed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []

    class Recorded(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)  # type: ignore[call-overload]
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    (folder / "n").write_bytes(bytes(files.SMALL + 1))
    sparse(folder / "m", SPARSE)
    listener = at_first_report(lambda: os.kill(started[0].pid, signal.SIGKILL), [])
    found = digest_files(LocalSource(folder), processes=1, progress=listener)
    assert [(unread.path, unread.code) for unread in found.unread] == [("m", "unavailable")]
    assert f"ended by signal {signal.SIGKILL.value}" in found.unread[0].reason
    assert {info.path for info in found.files} == {"a", "n", "z"}
    assert len(started) == 2  # another for the file after it
    assert all(process.poll() is not None for process in started)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("raise SystemExit(7)", "exit code 7"),
        ("raise RuntimeError", "exit code 1"),
        ("input(); print('{\"sha256\": \"ab', end='', flush=True)", "exit code 0"),
        ("input(); import os; os.close(1); os._exit(9)", "exit code 9"),
    ],
    ids=["at once", "by an error", "amid an answer", "without an answer"],
)
def test_a_process_that_ends_is_an_unread_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, says: str
) -> None:
    dying = tmp_path / "dying.py"
    dying.write_text(script)
    monkeypatch.setattr(worker, "__file__", str(dying))
    (folder / "m").write_bytes(bytes(30_000))
    found = digest_files(LocalSource(folder))
    assert [(unread.path, unread.code) for unread in found.unread] == [("m", "unavailable"), ("z", "unavailable")]
    assert all(says in unread.reason for unread in found.unread)
    assert [info.path for info in found.files] == ["a"]


# --- where it runs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--tensors",)], ids=["files", "tensors"])
def test_nothing_is_imported_from_the_folder_it_runs_in(tmp_path: Path, options: tuple[str, ...]) -> None:
    canary = tmp_path / "canary"
    hostile = tmp_path / "hostile"
    (hostile / "auditor" / "digests").mkdir(parents=True)
    trap = f"open({str(canary)!r}, 'w').close()\n"
    modules = (
        "numpy",
        "hashlib",
        "json",
        "mmap",
        "values",
        "sitecustomize",
        "auditor/__init__",
        "auditor/digests/values",
    )
    for name in modules:
        (hostile / f"{name}.py").write_text(trap)
    weights = np.zeros(files.SMALL // 2 + 1, "<u2")
    data = serialize({"w": ("BF16", weights.shape, weights.tobytes())})
    (hostile / "model.safetensors").write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "auditor", "digest", ".", *options],
        cwd=hostile,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert f"{hashlib.sha256(data).hexdigest()}  model.safetensors\n" in done.stdout
    assert ("model.safetensors: w\n" in done.stdout) == bool(options)
    assert not canary.exists()
    subprocess.run([sys.executable, "-c", "import hashlib"], cwd=hostile, capture_output=True, check=False, timeout=60)
    assert canary.exists()  # the trap is one
