"""The store of a sweep: whole or not at all, one writer, and nothing lost when that one is killed."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from reportkit import CASES
from sweepkit import entry, result

from auditor.errors import StoreError, StoreInUse, StoreMissing, StoreNewer
from auditor.limits import LIMITS
from auditor.sweep import schema
from auditor.sweep.connection import opened_reading
from auditor.sweep.reading import records, totals
from auditor.sweep.store import Queued, Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditor.sweep.records import Record

DOCUMENT = CASES["derived"].as_dict()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sweep.db"


def fill(store: Store, *names: str, scope: str = "s") -> int:
    round_ = store.begin_round(scope, "list.txt")
    store.enqueue(round_, [(entry(name), None, None) for name in names])
    return round_


def lease(store: Store, round_: int) -> Queued:
    queued = store.lease(round_, seconds=60)
    assert queued is not None
    return queued


def stored(path: Path) -> dict[str, Record]:
    with opened_reading(path) as connection:
        return {record.entry.target: record for record in records(connection, path)}


def test_a_result_comes_back_as_it_was_written(path: Path) -> None:
    with Store(path) as store:
        queued = lease(store, fill(store, "a"))
        store.finish(queued.id, result(DOCUMENT))
    record = stored(path)["a"]
    assert record.state == "done"
    assert record.result == result(DOCUMENT)
    report = record.report()
    assert report is not None
    assert json.loads(json.dumps(report.as_dict())) == json.loads(json.dumps(DOCUMENT))


def test_tries_that_failed_are_paid_for_and_forgotten_once_one_is_done(path: Path) -> None:
    with Store(path) as store:
        round_ = fill(store, "a")
        queued = lease(store, round_)
        store.put_back(queued.id, due=0, cost=(7, 2, 1.5), error=("hub-unreachable", "down"))
        queued = lease(store, round_)
        assert queued.tries == 1
        store.finish(queued.id, result(DOCUMENT, revision="", state="failed", error_code="x", error="y"))
        store.end_round(round_)
    assert stored(path)["a"].state == "failed"
    with Store(path) as store:
        round_ = fill(store, "a")
        store.put_back(lease(store, round_).id, due=0, cost=(7, 2, 1.5), error=("hub-unreachable", "down"))
        store.finish(lease(store, round_).id, result(DOCUMENT))
    record = stored(path)["a"]
    assert record.result is not None
    assert (record.state, record.error) == ("done", None)
    assert (record.result.bytes, record.result.requests, record.result.seconds) == (107, 7, 2.0)
    assert record.result.tries == 2
    assert sqlite3.connect(path).execute("SELECT count(*) FROM result").fetchone() == (1,)


def test_a_failed_try_takes_no_finished_result_away(path: Path) -> None:
    with Store(path) as store:
        round_ = fill(store, "a")
        store.finish(lease(store, round_).id, result(DOCUMENT, revision=""))
        store.end_round(round_)
        round_ = fill(store, "a")
        queued = lease(store, round_)
        store.finish(queued.id, result(DOCUMENT, revision="", state="failed", error_code="x", error="y"))
        assert sqlite3.connect(path).execute("SELECT state FROM result ORDER BY id").fetchall() == [
            ("done",),
            ("failed",),
        ]


def test_a_round_goes_on_only_in_its_own_scope_and_while_it_has_not_ended(path: Path) -> None:
    with Store(path) as store:
        first = fill(store, "a", "b")
        store.finish(lease(store, first).id, result(DOCUMENT))
        assert fill(store, "a", "b", "c") == first
        assert [lease(store, first).entry.target for _ in range(2)] == ["b", "c"]
        assert store.lease(first, seconds=60) is None
        assert fill(store, "a", scope="other options") != first
        second = store.begin_round("s", "list.txt")
        store.end_round(second)
        assert store.begin_round("s", "list.txt") != second


def test_only_revisions_under_the_same_key_and_library_are_known(path: Path) -> None:
    with Store(path) as store:
        queued = lease(store, fill(store, "a"))
        store.finish(queued.id, result(DOCUMENT, revision="r1"))
        store.finish(queued.id, result(DOCUMENT, revision="r2", library="l1"))
        store.finish(queued.id, result(DOCUMENT, revision="r3", state="failed"))
        assert store.known(queued.id, "k", "l1") == ("r1", "r2")
        assert store.known(queued.id, "k", "l2") == ("r1",)
        assert store.known(queued.id, "k2", "l1") == ()


def test_hosts_that_must_wait_and_targets_that_are_not_due_are_passed_over(path: Path) -> None:
    with Store(path) as store:
        round_ = store.begin_round("s", "x")
        store.enqueue(round_, [(entry("a"), "h1", None), (entry("b"), "h2", None), (entry("c"), None, None)])
        first = store.lease(round_, seconds=60, without=["h1", "x'); DROP TABLE target; --"])
        assert first is not None
        assert first.entry.target == "b"
        store.put_back(first.id, due=9e9, cost=(0, 0, 0.0), error=("x", "y"))
        assert lease(store, round_).entry.target == "a"
        assert lease(store, round_).entry.target == "c"
        assert store.lease(round_, seconds=60) is None
        assert store.next_due(round_) == 9e9


def in_another_process(code: str, path: Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run code with `store` open in a process that ends as the code says."""
    start = (
        "import sys, os, signal; sys.path.insert(0, 'tests')\n"
        "from pathlib import Path; from sweepkit import entry, result; from reportkit import CASES\n"
        "from auditor.sweep.store import Store; from auditor.errors import *\n"
        f"path = Path({str(path)!r})\n"
    )
    command = [sys.executable, "-c", start + code]
    root = Path(__file__).parents[2]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload, no-any-return]


BEGIN = (
    "store = Store(path)\n"
    "round_ = store.begin_round('s', 'x')\n"
    "store.enqueue(round_, [(entry('a'), None, None), (entry('b'), None, None)])\n"
    "store.lease(round_, seconds=60)\n"
)


def test_what_a_killed_driver_had_begun_is_queued_again_and_costs_no_try(path: Path) -> None:
    done = in_another_process(BEGIN + "os.kill(os.getpid(), signal.SIGKILL)", path)
    assert done.returncode == -9, done.stderr
    assert stored(path)["a"].state == "running"
    with Store(path) as store:
        round_ = store.begin_round("s", "x")
        assert store.left(round_) == 2
        queued = lease(store, round_)
        assert (queued.entry.target, queued.tries) == ("a", 0)
        assert store.worn(round_) == ()


def test_what_ends_every_driver_is_found_out(path: Path) -> None:
    times = LIMITS.sweep_interruptions
    body = BEGIN.replace("\n", "\n        ")
    code = (
        f"for _ in range({times}):\n    if not (pid := os.fork()):\n        {body}"
        "os.kill(os.getpid(), signal.SIGKILL)\n    os.waitpid(pid, 0)\n"
    )
    done = in_another_process(code, path)
    assert done.returncode == 0, done
    with Store(path) as store:
        assert [queued.entry.target for queued in store.worn(store.begin_round("s", "x"))] == ["a"]


def test_an_orderly_end_costs_no_try_and_is_nobodys_fault(path: Path) -> None:
    with Store(path) as store:
        lease(store, fill(store, "a"))
    assert (stored(path)["a"].state, stored(path)["a"].tries) == ("queued", 0)
    assert sqlite3.connect(path).execute("SELECT sum(interrupted) FROM target").fetchone() == (0,)


def test_a_second_driver_is_refused_while_the_first_lives(path: Path) -> None:
    with Store(path) as store:
        fill(store, "a")
        before = sqlite3.connect(path).execute("SELECT token FROM driver").fetchone()
        done = in_another_process("Store(path)", path)
        assert f"StoreInUse: {path}: process {os.getpid()} on " in done.stderr
        assert sqlite3.connect(path).execute("SELECT token FROM driver").fetchone() == before
        lease(store, store.begin_round("s", "list.txt"))  # and the first goes on
    assert in_another_process("Store(path).__exit__()", path).returncode == 0


@pytest.mark.parametrize(("silent", "refused"), [(1.0, True), (LIMITS.sweep_stale_seconds + 1, False)])
def test_a_driver_on_another_machine_counts_as_dead_after_a_while(path: Path, silent: float, *, refused: bool) -> None:
    with Store(path) as other:
        other.connection.execute("UPDATE driver SET machine = 'elsewhere', heartbeat = heartbeat - ?", (silent,))
        if refused:
            with pytest.raises(StoreInUse, match="is sweeping into it"):
                Store(path)
            return
        with Store(path) as store:
            round_ = fill(store, "a")
            queued = lease(store, round_)
            with pytest.raises(StoreInUse, match="took it over"):  # it was only asleep: it must not write any more
                other.finish(queued.id, result(DOCUMENT))
            assert store.left(round_) == 1
        assert stored(path)["a"].result is None


def test_a_store_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    with Store(path) as store:
        fill(store, "a")
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreNewer, match="update it"):
        Store(path)
    with pytest.raises(StoreNewer), opened_reading(path):
        pass
    assert path.read_bytes() == before


def old_store(path: Path) -> None:
    """Write a store as the first version did."""
    connection = sqlite3.connect(path, isolation_level=None)
    schema.migrate(connection, 0, to=1)
    connection.execute("INSERT INTO round VALUES (1, 's', 'list.txt', 0.0, 1.0)")
    connection.execute(
        "INSERT INTO target (id, identity, entry, round, state, result) VALUES (1, ?, ?, 1, 'done', NULL)",
        ("0" * 64, json.dumps(asdict(entry("a")))),
    )
    made = result(DOCUMENT)
    names = [name for name in asdict(made) if name not in {"library", "compact", "weights"}]  # of later versions
    connection.execute(
        f"INSERT INTO result (id, target, {', '.join(names)}) VALUES (1, 1, {', '.join('?' * len(names))})",  # noqa: S608
        [getattr(made, name) for name in names],
    )
    connection.execute("UPDATE target SET result = 1")
    connection.close()


def test_an_older_store_is_migrated_and_loses_nothing(path: Path) -> None:
    old_store(path)
    before = path.read_bytes()
    assert stored(path)["a"].result == result(DOCUMENT)
    assert path.read_bytes() == before  # reading changes nothing
    with Store(path) as store:
        assert store.known(1, "k", "") == ("a" * 40,)
    assert sqlite3.connect(path).execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
    assert stored(path)["a"].result == result(DOCUMENT)


def not_sqlite(path: Path) -> None:
    path.write_bytes(b"a text, and a long one\n" * 100)


def of_others(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE cookies (x)")
    connection.close()


@pytest.mark.parametrize("make", [not_sqlite, of_others, Path.mkdir])
def test_what_is_no_store_is_refused_and_left_alone(path: Path, make: Callable[[Path], None]) -> None:
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreError):
        Store(path)
    with pytest.raises(StoreError), opened_reading(path):
        pass
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_store_that_is_not_there(path: Path) -> None:
    with pytest.raises(StoreMissing), opened_reading(path):
        pass
    assert not path.exists()
    with pytest.raises(StoreMissing, match="no such folder"):
        Store(path / "sweep.db")


FINISH_ALL = (
    "store = Store(path); round_ = store.begin_round('s', 'x')\n"
    "store.enqueue(round_, [(entry(f't{n}'), None, None) for n in range(2000)])\n"
    "document = CASES['derived'].as_dict(); document['noise'] = os.urandom(4000).hex()\n"
    "try:\n"
    "    while queued := store.lease(round_, seconds=60):\n"
    "        store.finish(queued.id, result(document)); print(queued.entry.target, flush=True)\n"
    "except StoreUnwritable as error:\n"
    "    print('full:', error); os._exit(0)\n"
)


def whole(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def check_full(done: subprocess.CompletedProcess[str], path: Path) -> None:
    *finished, last = done.stdout.splitlines()
    assert last.startswith("full:"), done
    assert "kept" in last
    assert 0 < len(finished) < 2000
    whole(path)
    kept = {name for name, record in stored(path).items() if record.state == "done"}
    assert kept >= set(finished)  # what was said to be finished is there
    for name in kept:
        assert stored(path)[name].report() is not None
        break
    with Store(path) as store:  # and the rest can be done later
        assert store.left(store.begin_round("s", "x")) == 2000 - len(kept)


def test_a_limit_on_the_size_of_files_loses_nothing(path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1500000, 1500000))\n"
    check_full(in_another_process(limit + FINISH_ALL, path), path)


@pytest.mark.skipif(shutil.which("mount") is None or os.getuid() != 0, reason="only root mounts a small file system")
def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1500k", "x", small], capture_output=True, check=False
    ).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        done = in_another_process(FINISH_ALL, small / "sweep.db")
        for file in small.iterdir():  # with what SQLite keeps beside it
            shutil.copy(file, tmp_path / file.name)
    finally:
        subprocess.run(["umount", small], check=True)
    check_full(done, tmp_path / "sweep.db")


def test_a_store_that_may_not_be_written_can_be_read() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sweep.db"
        with Store(path) as store:
            store.finish(lease(store, fill(store, "a")).id, result(DOCUMENT))
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        code = (
            "import sqlite3; from auditor.sweep.connection import opened_reading\n"
            "from auditor.sweep.reading import records\n"
            "import auditor.report.reading\n"
            "if os.getuid() == 0: os.setuid(65534)\n"
            "with opened_reading(path) as c: print([r.state for r in records(c, path)])\n"
            "try: Store(path)\n"
            "except StoreUnwritable as error: print(error)\n"
        )
        done = in_another_process(code, path)
        Path(folder).chmod(0o755)
    states, error = done.stdout.splitlines()
    assert states == "['done']"
    assert "may not be written" in error


def test_a_damaged_report_is_told(path: Path) -> None:
    with Store(path) as store:
        store.finish(lease(store, fill(store, "a")).id, result(DOCUMENT))
        store.connection.execute("UPDATE result SET report = substr(report, 1, length(report) / 2)")
    with pytest.raises(StoreError, match=r"damaged|cut off"):
        stored(path)["a"].report()


def test_totals_count_what_is_there(path: Path) -> None:
    with Store(path) as store:
        round_ = fill(store, "a", "b", "c")
        store.finish(lease(store, round_).id, result(DOCUMENT))
        store.finish(lease(store, round_).id, result(DOCUMENT, verdict="inconclusive", exit_code=3, state="failed"))
        with opened_reading(path) as connection:  # while it is written
            found = totals(connection, path)
    assert (found.targets, found.states) == (3, {"done": 1, "failed": 1, "queued": 1})
    assert found.verdicts == {"derived": 1, "inconclusive": 1}
    assert sorted(found.exit_codes) == [0, 3]
    assert (found.bytes, found.requests, found.ended) == (200, 10, False)
    assert f"process {os.getpid()} on" in str(found.driver)
