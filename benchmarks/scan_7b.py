"""What a scan costs at the shape of Llama 2 7B, and what the command costs before it does anything.

    make bench                           # or: python benchmarks/scan_7b.py

Whole-process wall time and peak memory, the median of five runs after one to warm up. `python -c 'import numpy'` runs
in turn with them: no tool that computes with numpy can be faster.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

RUNS = 5
AUDITOR = [sys.executable, "-m", "auditor"]


def measure(command: list[str], cwd: Path) -> tuple[float, float]:
    """Run once; return wall seconds and peak resident MB."""
    started = time.perf_counter()
    # Byte code is cached, as it is for anyone who has run the command before.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command} exited {process.returncode}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def main() -> None:
    """Write the checkpoints, run everything in turn, print one table."""
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {platform.platform()}")
    print(f"Python {platform.python_version()}, numpy {version('numpy')}; {RUNS} runs each, in turn\n")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        # In a process of its own: a child's peak memory starts at what its parent held when it was made.
        subprocess.run([sys.executable, Path(__file__).with_name("llama_shape.py"), work], check=True)
        commands = {
            "python -c 'import numpy'": [sys.executable, "-c", "import numpy"],
            "auditor --help": [*AUDITOR, "--help"],
            "compare, derived (cosine .5)": [*AUDITOR, "compare", "base.sketch", "tuned"],
            "compare --quick, independent": [*AUDITOR, "compare", "base.sketch", "other", "--quick"],
            "scan, derived (cosine .5)": [*AUDITOR, "scan", "tuned", "--against", "base.sketch"],
            "scan --quick, independent": [*AUDITOR, "scan", "other", "--against", "base.sketch", "--quick"],
        }
        results: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for run in range(RUNS + 1):
            for name, command in commands.items():
                result = measure(command, work)
                if run:
                    results[name].append(result)
        print(f"{'':<28} {'wall s':>8} {'min':>6} {'max':>6} {'peak MB':>8}")
        for name, runs in results.items():
            wall = [seconds for seconds, _ in runs]
            peak = max(memory for _, memory in runs)
            print(f"{name:<28} {statistics.median(wall):8.2f} {min(wall):6.2f} {max(wall):6.2f} {peak:8.0f}")
        print()
        for target in ("tuned", "other"):
            command = [*AUDITOR, "scan", target, "--against", "base.sketch", "--quick", "--format", "json"]
            report = json.loads(subprocess.run(command, cwd=work, check=True, capture_output=True).stdout)
            lineage, coverage = report["lineage"], report["coverage"]
            total = sum(file["size"] for file in report["target"]["files"])
            print(
                f"{target}: {lineage['verdict']}, log10 p {lineage['log10_p']}, cosine {lineage['cosine']}, detection "
                f"limit {lineage['detection_limit']}, {coverage['bytes_read'] / 1e6:.1f} MB of {total / 1e9:.1f} GB"
            )


if __name__ == "__main__":
    main()
