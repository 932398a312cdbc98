"""Start-up and scan times beside other scanners of model files, on one small repository, in turn, in one run.

They ask another question (does loading these files run code?) and none of them tells where weights come from; what is
held side by side is what a user waits for. Each peer lives in an environment of its own below `.cache/peers`.

    python benchmarks/peers.py [--repeat 7]
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache" / "peers"
sys.path.insert(0, str(ROOT / "tests"))


@dataclass(frozen=True)
class Tool:
    """A scanner, and how it is asked.

    Attributes
    ----------
    name : str
        Of the distribution and the command.
    scan : tuple of str
        Arguments before the target.
    """

    name: str
    scan: tuple[str, ...]

    @property
    def environment(self) -> Path:
        """Where it is installed."""
        return CACHE / self.name

    @property
    def command(self) -> str:
        """What is run."""
        return str(self.environment / "bin" / self.name)


PEERS = (
    Tool("hayward", ("scan",)),
    Tool("modelscan", ("scan", "-p")),
    Tool("purser", ("scan",)),
    Tool("modelaudit", ("scan",)),
)


def install(tool: Tool) -> str:
    """Install a peer where it is missing; return its version."""
    python = tool.environment / "bin" / "python"
    if not Path(tool.command).exists():
        shutil.rmtree(tool.environment, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(tool.environment)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", tool.name], check=True)
    code = f"from importlib.metadata import version; print(version({tool.name!r}))"
    return subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def make_target(folder: Path) -> Path:
    """Write a small repository: a drifted model of four layers in two shards, a card, a config and a tokenizer."""
    from modelkit import drifted, make_model, write_model  # noqa: PLC0415

    model = drifted(make_model(1, layers=4, hidden=512, neurons=1408, vocabulary=4000), cosine=0.8)
    write_model({name: values.astype(np.float32) for name, values in model.items()}, folder, shards=2)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    (folder / "config.json").write_text('{"model_type": "llama", "hidden_size": 512}')
    (folder / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}')
    return folder


def timed(command: list[str], folder: Path) -> tuple[float, int]:
    """Run a command; return its wall-clock time in seconds, and its exit code."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "NO_COLOR": "1", "XDG_CACHE_HOME": str(folder / "cache")}
    environment |= {"PROMPTFOO_DISABLE_TELEMETRY": "1", "NO_ANALYTICS": "1"}
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=300
    )
    return time.perf_counter() - started, done.returncode


def size_of(folder: Path) -> float:
    """Megabytes that an environment takes, without its cache of byte code."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and path.suffix != ".pyc")
    return sum(path.stat().st_size for path in files) / 1e6


def main() -> None:
    """Run everything in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=7)
    repeat = parser.parse_args().repeat
    CACHE.mkdir(parents=True, exist_ok=True)
    versions = {tool.name: install(tool) for tool in PEERS}
    ours = str(Path(sys.executable).parent / "auditor")
    commands = {"auditor": ([ours, "--help"], [ours, "scan"])}
    commands |= {tool.name: ([tool.command, "--help"], [tool.command, *tool.scan]) for tool in PEERS}
    folder = CACHE / "run"
    shutil.rmtree(folder, ignore_errors=True)
    target = make_target(folder / "target")
    took: dict[tuple[str, str], list[float]] = {}
    codes: dict[str, int] = {}
    for round_ in range(repeat + 1):
        for name, (start, scan) in commands.items():
            for kind, command in (("help", start), ("scan", [*scan, str(target)])):
                seconds, code = timed(command, folder)
                if round_:  # the first fills caches
                    took.setdefault((name, kind), []).append(seconds)
                if kind == "scan":
                    codes[name] = code
    mine = {kind: statistics.median(took["auditor", kind]) for kind in ("help", "scan")}
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"median of {repeat} runs (min, max), all tools in turn")
    print(f"target: {sum(p.stat().st_size for p in target.iterdir()) / 1e6:.0f} MB, two shards of safetensors\n")
    print("| tool | `--help` | scan | times the auditor's | exit code of the scan | installed |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in commands:
        cells = []
        for kind in ("help", "scan"):
            values = took[name, kind]
            cells.append(f"{statistics.median(values):.2f} s ({min(values):.2f}, {max(values):.2f})")
        ratios = ", ".join(f"{statistics.median(took[name, kind]) / mine[kind]:.1f}" for kind in ("help", "scan"))
        label = f"{name} {versions.get(name) or version('provenance-auditor')}"
        installed = f"{size_of(CACHE / name):.0f} MB" if name in versions else ""
        print(f"| {label} | {cells[0]} | {cells[1]} | {ratios} | {codes[name]} | {installed} |")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
