"""A sweep as it is run: processes, a Hub in another process, and each of them killed in the middle.

Ray, and what writes tables, are in an environment of their own: tests/extraskit.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import time
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import extraskit
import pytest
from attestkit import write_sketch, write_tuned
from mlflowkit import MlflowServer
from modelkit import make_model, write_model
from reportkit import HOSTILE, hostile
from sweepkit import KINDS, VERDICTS, auditor, children, environment, held, hub_process, write_store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

pytestmark = pytest.mark.integration

COUNT = 80


@pytest.fixture
def port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        found: int = made.getsockname()[1]
        return found


class Desk:
    def __init__(self, folder: Path, port: int, count: int = COUNT) -> None:
        self.folder, self.port, self.count = folder, port, count
        self.store = folder / "sweep.db"
        self.said = folder / "driver.err"
        self.environment = environment(f"http://127.0.0.1:{port}", folder)
        write_sketch(folder / "base.sketch")

    def command(self, *options: str) -> Sequence[str]:
        return auditor("sweep", "run", "hf:acme/*", "--store", self.store, "-a", "base.sketch", *options)

    def start(self, *options: str) -> subprocess.Popen[str]:
        with self.said.open("w") as said:
            return subprocess.Popen(
                self.command("--workers", "2", *options),
                cwd=self.folder,
                env=self.environment,
                stderr=said,
                text=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (it starts no threads)
            )

    def end(self, driver: subprocess.Popen[str]) -> tuple[int, str]:
        """Wait for the end of what was started; return its exit code, and what it said."""
        return driver.wait(timeout=300), self.said.read_text()

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command("--workers", "2", *options),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def done(self) -> int:
        """Return how many targets are done."""
        with contextlib.suppress(sqlite3.OperationalError):  # it is being made
            return list(held(self.store).states.values()).count("done") if self.store.exists() else 0
        return 0

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 300
        while self.done() < count:
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def check(self, store: Path | None = None) -> None:
        """Every target has exactly one result, and none is wrong."""
        found = held(store or self.store)
        names = {f"acme/m{number:05}": KINDS[number % len(KINDS)] for number in range(self.count)}
        assert found.verdicts == {name: VERDICTS[kind] for name, kind in names.items()}
        assert found.results == dict.fromkeys(names, 1)
        assert set(found.states.values()) == {"done"}


@pytest.fixture
def desk(tmp_path: Path, port: int) -> Desk:
    return Desk(tmp_path, port)


def test_a_driver_that_is_killed_again_and_again_loses_nothing_and_repeats_little(desk: Desk) -> None:
    with hub_process(desk.port, desk.count):
        before = 0
        for part in (1, 2, 3):
            driver = desk.start()
            desk.wait_for(part * desk.count // 4)
            driver.send_signal(signal.SIGKILL)
            driver.wait()
            now = desk.done()
            assert now >= before
            before = now
        done = desk.run()
        assert done.returncode == 3, done.stderr  # some of the repositories hold no weights
        assert f"targets    {desk.count}: {desk.count} done" in done.stderr
    desk.check()
    with sqlite3.connect(desk.store) as connection:
        (again,) = connection.execute("SELECT sum(interrupted) FROM target").fetchone()
    connection.close()
    assert again <= 3 * 2  # what the two workers of three drivers had begun


def test_workers_that_are_killed_cost_their_target_a_try_and_nothing_else(desk: Desk) -> None:
    with hub_process(desk.port, desk.count):
        driver = desk.start("--max-tries", "20")
        killed = 0
        deadline = time.monotonic() + 300
        while driver.poll() is None and killed < 6:
            assert time.monotonic() < deadline
            for worker in children(driver.pid)[:1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
                    killed += 1
            time.sleep(4)  # a new one has to come up
        code, said = desk.end(driver)
        assert code == 3, said
    assert killed >= 2
    desk.check()


def test_a_hub_that_is_killed_makes_nothing_fail(desk: Desk) -> None:
    with hub_process(desk.port, desk.count) as hub:
        driver = desk.start("--patience", "1")
        desk.wait_for(desk.count // 4)
        hub.kill()
        code, said = desk.end(driver)
        assert code == 3
    assert "targets are left; run the same again later" in said
    assert "failed" not in set(held(desk.store).states.values())
    with hub_process(desk.port, desk.count):
        assert desk.run().returncode == 3
    desk.check()


def test_a_hub_that_comes_back_is_noticed_by_the_same_sweep(desk: Desk) -> None:
    with hub_process(desk.port, desk.count) as hub:
        driver = desk.start()
        desk.wait_for(desk.count // 4)
        hub.kill()
        time.sleep(10)
    with hub_process(desk.port, desk.count):
        code, said = desk.end(driver)
        assert code == 3, said
    desk.check()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_sweep_that_is_asked_to_end_gives_everything_back(desk: Desk, how: signal.Signals) -> None:
    with hub_process(desk.port, desk.count):
        driver = desk.start()
        desk.wait_for(10)
        workers = children(driver.pid)
        driver.send_signal(how)
        code, said = desk.end(driver)
        assert code == 130
        assert said.splitlines()[-1] == "auditor: interrupted; run the same again to go on"
        assert set(held(desk.store).states.values()) == {"done", "queued"}
        assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
        assert desk.run().returncode == 3
    desk.check()


def test_two_drivers_at_once(desk: Desk) -> None:
    with hub_process(desk.port, desk.count):
        first = desk.start()
        desk.wait_for(1)
        second = desk.run()
        assert (second.returncode, second.stderr.count("\n")) == (2, 1)
        assert f"process {first.pid} on {socket.gethostname()} is sweeping into it" in second.stderr
        assert desk.end(first)[0] == 3
    desk.check()


def test_shards_on_several_machines_are_one_sweep(tmp_path: Path, port: int) -> None:
    desk = Desk(tmp_path, port, count=40)
    with hub_process(desk.port, desk.count):
        stores = []
        for number in (1, 2):
            desk.store = tmp_path / f"{number}.db"
            stores.append(str(desk.store))
            assert desk.run("--shard", f"{number}/2").returncode in {0, 3}
        merged = auditor("sweep", "merge", *stores, stores[0], "--store", tmp_path / "all.db")
        subprocess.run(merged, check=True, cwd=tmp_path, env=desk.environment)
    desk.check(tmp_path / "all.db")


def test_the_versions_of_a_real_registry(desk: Desk) -> None:
    write_tuned(desk.folder / "tuned")
    write_model(make_model(2, layers=2, hidden=32, neurons=48), desk.folder / "other")
    (desk.folder / "mlflow").mkdir()
    with MlflowServer(desk.folder / "mlflow") as server:
        server.register_run("team chat", desk.folder / "tuned")
        server.register_run("team chat", desk.folder / "other")
        server.register_run("embed", desk.folder / "other")
        desk.environment["MLFLOW_TRACKING_URI"] = server.url

        def sweep(name: str) -> tuple[int, str]:
            command = auditor("sweep", "run", name, "--store", desk.store, "-a", "base.sketch", "--workers", "2")
            done = subprocess.run(
                command, cwd=desk.folder, env=desk.environment, capture_output=True, text=True, check=False
            )
            return done.returncode, done.stderr

        code, said = sweep("models:/team chat/*")
        assert code == 0, said
        assert held(desk.store).verdicts == {
            "models:/team chat/1": ("derived", "base"),
            "models:/team chat/2": ("independent", None),
        }
        assert sweep("models:/*")[0] == 0
        found = held(desk.store)
    assert found.verdicts["models:/embed/1"] == ("independent", None)
    assert found.results == {"models:/team chat/1": 1, "models:/team chat/2": 1, "models:/embed/1": 1}


@pytest.fixture
def ray(desk: Desk) -> Callable[..., subprocess.CompletedProcess[str]]:
    interpreter = extraskit.python()

    def run(*options: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        command = [str(interpreter), *desk.command("--workers", "2", *options)[1:]]
        env = desk.environment | (environment or {})
        return subprocess.run(
            command, cwd=desk.folder, env=env, capture_output=True, text=True, check=False, timeout=600
        )

    return run


def test_ray_answers_as_the_processes_of_this_machine_do(
    desk: Desk, ray: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    with hub_process(desk.port, desk.count):
        done = ray("--engine", "ray")
        assert done.returncode == 3, done.stderr
        desk.check()
        again = desk.run()  # of the other engine, on the same store: nothing is left to do
        assert f"unchanged  {desk.count}" in again.stderr
        desk.store = desk.folder / "local.db"
        assert desk.run().returncode == 3
    by_ray, here = held(desk.folder / "sweep.db"), held(desk.store)
    assert (by_ray.verdicts, by_ray.states) == (here.verdicts, here.states)


def read_anew(store: Path) -> dict[str, int]:
    """Return how many targets of each verdict had their own weights read."""
    connection = sqlite3.connect(store)
    rows = connection.execute("SELECT verdict, report FROM result").fetchall()
    connection.close()
    counts: dict[str, int] = {}
    for verdict, report in rows:
        if json.loads(zlib.decompress(report))["coverage"]["weights_of"] is None:
            counts[verdict] = counts.get(verdict, 0) + 1
    return counts


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_copies_are_judged_once_whatever_the_engine(
    desk: Desk, ray: Callable[..., subprocess.CompletedProcess[str]], engine: str
) -> None:
    desk.count = 40
    with hub_process(desk.port, desk.count, distinct=2):
        done = ray("--engine", "ray") if engine == "ray" else desk.run()
    assert done.returncode == 3, done.stderr
    desk.check()
    # Two files of each kind. "derived" is the verdict of two kinds; what is no checkpoint has nothing to be known by.
    assert read_anew(desk.store) == {"derived": 4, "independent": 2, "inconclusive": 10}


def test_a_ray_worker_that_is_killed_costs_its_target_a_try(desk: Desk) -> None:
    """By a driver that sends one target as what kills the process that unpickles it."""
    script = desk.folder / "poisoned.py"
    script.write_text(
        "import signal, sys\n"
        "from dataclasses import replace\n"
        "from auditor.sweep.engines import rays\n"
        "class Bomb:\n"
        "    def __reduce__(self): return signal.raise_signal, (signal.SIGKILL,)\n"
        "submit = rays.RayEngine.submit\n"
        "def poisoned(self, job):\n"
        "    submit(self, replace(job, options=Bomb()) if job.entry.target.endswith('m00001') else job)\n"
        "rays.RayEngine.submit = poisoned\n"
        "from auditor.cli import main\n"
        "main()\n"
    )
    desk.count = 12
    with hub_process(desk.port, desk.count):
        options = ("--workers", "2", "--engine", "ray", "--max-tries", "2")
        command = [str(extraskit.python()), str(script), *desk.command(*options)[3:]]
        done = subprocess.run(
            command, cwd=desk.folder, env=desk.environment, capture_output=True, text=True, check=False, timeout=600
        )
    assert "failed: worker-died: hf://acme/m00001" in done.stderr, done
    found = held(desk.store)
    assert {name for name, state in found.states.items() if state != "done"} == {"acme/m00001"}
    assert set(found.results.values()) == {1}


def test_without_ray_it_is_said_how_to_get_it(desk: Desk) -> None:
    if find_spec("ray") is not None:
        pytest.skip("Ray is installed here")
    (desk.folder / "list.txt").write_text("acme/x\n")
    command = auditor("sweep", "run", "list.txt", "--store", "s.db", "-a", "base.sketch", "--engine", "ray")
    done = subprocess.run(command, cwd=desk.folder, env=desk.environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "pip install 'provenance-auditor[ray]'" in done.stderr


def test_a_table_that_others_read(tmp_path: Path) -> None:
    """Written by the command, in groups of seven rows, and read by pyarrow alone."""
    store = write_store(tmp_path / "s.db", HOSTILE, reports=True)
    write = "from auditor.cli import main; from auditor.sweep import export; export._GROUP = 7; main()"
    export = ("sweep", "export", "--store", store, "--parquet", "out.parquet")
    done = subprocess.run(
        [extraskit.python(), "-c", write, *export], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, f"out.parquet: {len(HOSTILE) + 1} targets\n")
    read = (
        "import json, pyarrow.parquet as pq; file = pq.ParquetFile('out.parquet');"
        "print(json.dumps([file.num_row_groups, file.read().to_pylist()], default=lambda time: time.isoformat()))"
    )
    table = subprocess.run(
        [extraskit.python(), "-c", read], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    groups, rows = json.loads(table)
    assert groups == 5
    assert [row["target"] for row in rows] == [*(name.replace("\udc80", "\\udc80") for name in HOSTILE), "waits"]
    assert json.loads(rows[0]["report"]) == json.loads(json.dumps(hostile(HOSTILE[0]).as_dict()))
    assert (rows[0]["log10_p"], rows[0]["findings_fail"], rows[0]["exit_code"]) == (-812.4, 1, 0)
    assert rows[0]["finished"] == "2026-05-28T20:26:40+00:00"
    assert rows[-1]["report"] is None
