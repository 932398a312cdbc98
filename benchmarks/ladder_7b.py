"""What the whole ladder costs at the shape of Llama 2 7B, where nothing decides: every rung is climbed.

    python benchmarks/ladder_7b.py [--layers 32]

Two checkpoints of drawn numbers, one after the other (13.5 GB each, whole: rung 3 reads whole layers). A deep sketch is
made of the first; the second is held against it, in a process of its own. Prints seconds and peak memory of each.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from llama_shape import LLAMA_7B, Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AT_ONCE = 1 << 24


def normal_table() -> NDArray[np.uint16]:
    """Return bfloat16 bits of 65,536 draws of a normal distribution of deviation .02."""
    draws = np.random.default_rng(0).standard_normal(1 << 16).astype(np.float32) * np.float32(0.02)
    return (draws.view(np.uint32) >> 16).astype(np.uint16)


def write(folder: Path, shape: Shape, *, seed: int) -> Path:
    """Write a checkpoint of drawn numbers, in shards as transformers splits them; gains of norms are one."""
    folder.mkdir(parents=True)
    rng, table = np.random.default_rng(seed), normal_table()
    tensors, parts = shape.tensors(), shape.shards()
    weight_map: dict[str, str] = {}
    for i, part in enumerate(parts, 1):
        file = f"model-{i:05d}-of-{len(parts):05d}.safetensors"
        weight_map |= dict.fromkeys(part, file)
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        at = 0
        for name in part:
            size = 2 * int(np.prod(tensors[name]))
            header[name] = {"dtype": "BF16", "shape": list(tensors[name]), "data_offsets": [at, at + size]}
            at += size
        text = json.dumps(header).encode()
        with (folder / file).open("wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            for name in part:
                left = int(np.prod(tensors[name]))
                while left:
                    count = min(left, _AT_ONCE)
                    drawn = table[rng.integers(0, 1 << 16, count, dtype=np.uint16)]
                    out.write((np.full(count, 0x3F80, np.uint16) if "norm" in name else drawn).tobytes())
                    left -= count
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def measured(code: str, *arguments: str) -> str:
    """Run a piece of Python in a process of its own; return what it costs, in words."""
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 (a pipe was asked for)
        said = process.stdout.read().strip()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"exit code {process.returncode}")
    return f"{time.perf_counter() - started:6.1f} s  {usage.ru_maxrss / 1024:6.0f} MB  {said}"


SKETCH = """
import sys
from auditor.formats import open_checkpoints
from auditor.lineage import dump_sketch, sketch_model
from auditor.model import model_views
from auditor.sources import open_source
source = open_source(sys.argv[1])
(view,) = (view for container in open_checkpoints(source).containers for view in model_views(source, container))
data = dump_sketch(sketch_model(view, name="base", norms=True, tokens=True, moments=True), tool_version="0")
open(sys.argv[2], "wb").write(data)
print(f"deep sketch, {len(data) / 1e6:.1f} MB")
"""

SCAN = """
import sys
from auditor.audit import Options, scan
report = scan(sys.argv[1], Options(against=(sys.argv[2],), licence=False, depth=sys.argv[3]))
best = report.lineage.best
rungs = ", ".join(f"{rung.rung.partition('-')[0]} {rung.frame or ''}".strip() for rung in best.rungs)
print(f"{sys.argv[3]}: {report.lineage.verdict}; {rungs}; {report.coverage.bytes_read / 1e6:.0f} MB read")
"""


def main() -> None:
    """Write, sketch, write, scan."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--layers", type=int, default=LLAMA_7B.layers)
    shape = replace(LLAMA_7B, layers=parser.parse_args().layers)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {platform.platform()}")
    print(f"Python {platform.python_version()}, numpy {version('numpy')}; {shape.layers} layers of a 7B\n")
    with tempfile.TemporaryDirectory() as temporary:
        base, sketch, target = (Path(temporary) / name for name in ("base", "base.sketch", "target"))
        write(base, shape, seed=1)
        print(measured(SKETCH, str(base), str(sketch)), flush=True)
        for file in base.iterdir():
            file.unlink()
        write(target, shape, seed=2)
        for depth in ("quick", "auto"):
            print(measured(SCAN, str(target), str(sketch), depth), flush=True)


if __name__ == "__main__":
    main()
