"""A sweep over many small repositories on a loopback Hub: how fast, how much is read, how much memory the driver takes.

    python benchmarks/sweep.py [--count 2000] [--distinct 5] [--workers 2] [--engine local --engine ray]
                               [--python ray=PATH] [--kill]

Each engine sweeps the same repositories into a store of its own, one after the other; then again, when nothing has
changed. Weights are of four kinds, a file of its own for each repository; `--distinct` has so many of each kind
instead, and the others are copies. `--python ray=PATH` runs an engine by another interpreter, where Ray is not
installed beside this one. `--kill` kills the driver, a worker (of the local engine) and the Hub on the way, at a
quarter, at half and at three quarters of the targets. The Hub shares the machine: it takes a part of the cores.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import sysconfig
import tempfile
import time
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from attestkit import write_sketch  # noqa: E402
from sweepkit import KINDS, VERDICTS, children, environment, held, hub_process  # noqa: E402

PORT = 18_743


def peak_of(pid: int) -> int:
    """Return the most memory a process has had, in bytes; 0 when it is gone."""
    with suppress(OSError, TypeError):  # a process that is ending has no such line
        status = Path(f"/proc/{pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+([0-9]+) kB", status)[1]) * 1024  # type: ignore[index]
    return 0


def timed(
    command: list[str], folder: Path, variables: dict[str, str], *, assassin: Assassin | None = None
) -> tuple[float, int]:
    """Run a command; return its seconds and its own peak memory. One that was killed is run again."""
    peak = 0
    said = folder / "said.txt"
    started = time.perf_counter()
    with said.open("w") as file, subprocess.Popen(command, cwd=folder, env=variables, stderr=file) as process:
        while process.poll() is None:
            peak = max(peak, peak_of(process.pid))
            if assassin is not None:
                assassin.look(process)
            time.sleep(0.2)
    seconds = time.perf_counter() - started
    if process.returncode == -signal.SIGKILL:
        more, higher = timed(command, folder, variables, assassin=assassin)
        return seconds + more, max(peak, higher)
    if process.returncode not in {0, 3}:
        raise SystemExit(said.read_text())
    return seconds, peak


@dataclass
class Assassin:
    """Kills what takes part in a sweep, once each, as it goes on.

    Attributes
    ----------
    store : Path
    count : int
        Of targets.
    start : callable
        Serves the Hub anew.
    """

    store: Path
    count: int
    hub: subprocess.Popen[str]
    start: Callable[[], subprocess.Popen[str]]
    at: dict[str, int] = field(default_factory=dict)

    def look(self, driver: subprocess.Popen[bytes]) -> None:
        """Kill what is due."""
        for number, what in enumerate(("driver", "worker", "hub"), 1):
            if what in self.at or (done := self._done()) < number * self.count / 4:
                continue
            self.at[what] = done
            if what == "driver":
                driver.kill()
            elif what == "worker":
                for worker in children(driver.pid)[:1]:
                    os.kill(worker, signal.SIGKILL)
            else:
                self.hub.kill()
                self.hub.wait()
                time.sleep(5)
                self.hub = self.start()

    def _done(self) -> int:
        with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{self.store}?mode=ro", uri=True)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM target WHERE state = 'done'").fetchone()
            return int(count)
        return 0


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2_000)
    parser.add_argument("--distinct", type=int)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--engine", action="append", choices=["local", "ray"])
    parser.add_argument("--python", action="append", default=[], metavar="ENGINE=PATH")
    parser.add_argument("--kill", action="store_true")
    given = parser.parse_args()
    pythons = {engine: str(Path(path).absolute()) for engine, path in (each.split("=", 1) for each in given.python)}
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:

        def start() -> subprocess.Popen[str]:
            return stack.enter_context(hub_process(PORT, given.count, distinct=given.distinct))

        folder, hub = Path(made), start()
        write_sketch(folder / "base.sketch")
        variables = environment(f"http://127.0.0.1:{PORT}", folder)
        variables["PYTHONPATH"] = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")])
        files = f"{given.distinct} files of each kind of weights" if given.distinct else "no two of the same weights"
        print(f"{given.count} repositories, {files}, {given.workers} workers")
        print(f"{'':<18}{'seconds':>9}{'a minute':>10}{'read':>10}{'requests':>10}{'driver peak':>13}{'store':>9}")
        for engine in given.engine or ["local"]:
            store = folder / f"{engine}.db"
            sweep = [
                pythons.get(engine, sys.executable), "-m", "auditor", "sweep", "run", "hf:acme/*", "--store",
                str(store), "-a", "base.sketch", "--workers", str(given.workers), "--engine", engine,
            ]  # fmt: skip
            assassin = Assassin(store, given.count, hub, start) if given.kill else None
            for name in (engine, "  nothing changed"):
                seconds, peak = timed(sweep, folder, variables, assassin=assassin)
                status = [sys.executable, "-m", "auditor", "sweep", "status", "--store", str(store), "-f", "json"]
                asked = subprocess.run(status, env=variables, capture_output=True, text=True, check=True)
                said = json.loads(asked.stdout)
                read, requests = (said["bytes"], said["requests"]) if name == engine else (0, 0)
                print(
                    f"{name:<18}{seconds:>9.1f}{60 * given.count / seconds:>10.0f}{read / 1e6:>8.1f}MB{requests:>10}"
                    f"{peak / 1e6:>11.0f}MB{store.stat().st_size / 1e6:>7.1f}MB",
                    flush=True,
                )
            if assassin is not None:
                hub = assassin.hub
                print(
                    "  killed: " + ", ".join(f"the {what} at {done}" for what, done in assassin.at.items()), flush=True
                )
            expected = {f"acme/m{n:05}": VERDICTS[KINDS[n % len(KINDS)]] for n in range(given.count)}
            found = held(store)
            if found.verdicts != expected or set(found.results.values()) != {1}:
                raise SystemExit(f"{engine}: a verdict is wrong, missing, or there twice")


if __name__ == "__main__":
    main()
