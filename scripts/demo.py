"""Show the tool at work: make four targets from a real model, audit each, and check the verdicts.

    make demo                            # or: python scripts/demo.py

The targets are made with numpy from SmolLM2-135M-Instruct: a re-sharded copy with renamed files, a stand-in for a
fine-tune (every weight moved by noise), a model with layers dropped and one stacked, and an unrelated model of the
same shape, norms and row lengths. They stay in .cache/demo/.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import derive
import smollm2

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(__file__).resolve().parent.parent / ".cache" / "demo"
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 576,
    "num_hidden_layers": 30,
}
CARD = "---\nlicense: mit\n---\n# {title}\n\nTrained from scratch.\n"

# 27 layers: 5 to 8 are gone, and 20 stands twice.
RESTACKED = [*range(5), *range(9, 21), 20, *range(21, 30)]

TARGETS: dict[str, tuple[str, Callable[[derive.Model], derive.Model], dict[str, object]]] = {
    "copied": ("derived", lambda m: m, {"shards": 3, "shard_name": "weights-{i}.safetensors"}),
    "fine-tuned": ("derived", lambda m: derive.fine_tuned(m, change=0.2, seed=1), {}),
    "restacked": ("derived", lambda m: derive.restacked(m, RESTACKED), {"shards": 2}),
    "unrelated": ("independent", lambda m: derive.unrelated(m, seed=2), {}),
}


def main() -> int:
    """Make, audit and check every target; return the number of wrong verdicts."""
    started = time.perf_counter()
    model = derive.load(smollm2.fetch())
    shutil.rmtree(FOLDER, ignore_errors=True)
    wrong = 0
    for name, (expected, change, layout) in TARGETS.items():
        texts = {"config.json": json.dumps(CONFIG), "README.md": CARD.format(title=name)}
        derive.write(change(model), FOLDER / name, texts=texts, **layout)  # type: ignore[arg-type]
        verdict = audit(FOLDER / name)
        wrong += verdict != expected
        print(f"expected {expected}: {'right' if verdict == expected else 'WRONG'}\n")
    print(f"{len(TARGETS) - wrong} of {len(TARGETS)} verdicts right, {time.perf_counter() - started:.0f} s in all")
    return wrong


def audit(target: Path) -> str:
    """Run the command as a user would, show what it says, and return its verdict."""
    shown = target.relative_to(Path.cwd()) if target.is_relative_to(Path.cwd()) else target
    command = ["auditor", "scan", str(shown)]
    print("$", shlex.join(command), flush=True)
    run = [sys.executable, "-m", *command]
    subprocess.run(run, check=True)
    done = subprocess.run([*run, "--format", "json"], check=True, capture_output=True)
    return str(json.loads(done.stdout)["lineage"]["verdict"])


if __name__ == "__main__":
    sys.exit(main())
