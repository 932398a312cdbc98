"""A sweep over many small repositories on a loopback Hub: how fast, how much is read, how much memory the driver takes.

    python benchmarks/sweep.py [--count 2000] [--distinct 5] [--workers 2] [--engine local --engine ray]
                               [--python ray=PATH]

Each engine sweeps the same repositories into a store of its own, one after the other; then again, when nothing has
changed. Weights are of four kinds, a file of its own for each repository; `--distinct` has so many of each kind
instead, and the others are copies. `--python ray=PATH` runs an engine by another interpreter, where Ray is not
installed beside this one. The Hub shares the machine: it takes a part of the cores.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from attestkit import write_sketch  # noqa: E402
from sweepkit import KINDS, VERDICTS, environment, held, hub_process  # noqa: E402

PORT = 18_743


def peak_of(pid: int) -> int:
    """Return the most memory a process has had, in bytes; 0 when it is gone."""
    with suppress(OSError, TypeError):  # a process that is ending has no such line
        status = Path(f"/proc/{pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+([0-9]+) kB", status)[1]) * 1024  # type: ignore[index]
    return 0


def timed(command: list[str], folder: Path, variables: dict[str, str]) -> tuple[float, int]:
    """Run a command; return its seconds and its own peak memory."""
    peak = 0
    said = folder / "said.txt"
    started = time.perf_counter()
    with said.open("w") as file, subprocess.Popen(command, cwd=folder, env=variables, stderr=file) as process:
        while process.poll() is None:
            peak = max(peak, peak_of(process.pid))
            time.sleep(0.2)
    seconds = time.perf_counter() - started
    if process.returncode not in {0, 3}:
        raise SystemExit(said.read_text())
    return seconds, peak


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2_000)
    parser.add_argument("--distinct", type=int)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--engine", action="append", choices=["local", "ray"])
    parser.add_argument("--python", action="append", default=[], metavar="ENGINE=PATH")
    given = parser.parse_args()
    pythons = {engine: str(Path(path).absolute()) for engine, path in (each.split("=", 1) for each in given.python)}
    with tempfile.TemporaryDirectory() as made, hub_process(PORT, given.count, distinct=given.distinct):
        folder = Path(made)
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
            for name in (engine, "  nothing changed"):
                seconds, peak = timed(sweep, folder, variables)
                status = [sys.executable, "-m", "auditor", "sweep", "status", "--store", str(store), "-f", "json"]
                asked = subprocess.run(status, env=variables, capture_output=True, text=True, check=True)
                said = json.loads(asked.stdout)
                read, requests = (said["bytes"], said["requests"]) if name == engine else (0, 0)
                print(
                    f"{name:<18}{seconds:>9.1f}{60 * given.count / seconds:>10.0f}{read / 1e6:>8.1f}MB{requests:>10}"
                    f"{peak / 1e6:>11.0f}MB{store.stat().st_size / 1e6:>7.1f}MB",
                    flush=True,
                )
            expected = {f"acme/m{n:05}": VERDICTS[KINDS[n % len(KINDS)]] for n in range(given.count)}
            if held(store).verdicts != expected:
                raise SystemExit(f"{engine}: a verdict is wrong, or missing")


if __name__ == "__main__":
    main()
