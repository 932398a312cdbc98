"""Show the tool at work: audit five targets made from a real model, sign one audit, verify it, and refuse a forgery.

    make demo                            # or: python scripts/demo.py

The targets are made with numpy from SmolLM2-135M-Instruct: a re-sharded copy with renamed files, a stand-in for a
fine-tune (every weight moved by noise), a model with layers dropped and one stacked, an unrelated model of the same
shape, norms and row lengths, and a relicensed derivative with a wrong notice, for which SmolLM2 stands in as a base
under the Llama 2 licence (scripts/demo_policy.toml). They stay in .cache/demo/, with a key, an attestation of the
re-sharded copy, and a copy of that in which one bit of one weight is another.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import derive
import smollm2

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".cache" / "demo"
POLICY = "demo-policy.toml"
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 576, "num_hidden_layers": 30}
CARD = "---\nlicense: mit\n---\n# {title}\n\nTrained from scratch.\n"
WRONG_NOTICE = (
    "Meta Llama 3 is licensed under the Meta Llama 3 Community License,\n"
    "Copyright (c) Meta Platforms, Inc. All Rights Reserved.\n"
)

# 27 layers: 5 to 8 are gone, and 20 stands twice.
RESTACKED = [*range(5), *range(9, 21), 20, *range(21, 30)]


@dataclass(frozen=True, kw_only=True)
class Target:
    """What to make, and what the audit must say of it."""

    change: Callable[[derive.Model], derive.Model]
    verdict: str
    shards: int = 1
    shard_name: str = "model-{i:05d}-of-{n:05d}.safetensors"
    texts: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    fails: frozenset[str] = frozenset()


TARGETS = {
    "copied": Target(change=lambda m: m, verdict="derived", shards=3, shard_name="weights-{i}.safetensors"),
    "fine-tuned": Target(change=lambda m: derive.fine_tuned(m, change=0.2, seed=1), verdict="derived"),
    "restacked": Target(change=lambda m: derive.restacked(m, RESTACKED), verdict="derived", shards=2),
    "unrelated": Target(change=lambda m: derive.unrelated(m, seed=2), verdict="independent"),
    "relicensed": Target(
        change=lambda m: derive.fine_tuned(m, change=0.1, seed=3),
        verdict="derived",
        texts={"NOTICE.txt": WRONG_NOTICE},
        options=("--policy", POLICY),
        fails=frozenset({"AUP-G4", "BASE-001", "CARD-001", "LIC-001", "NOT-002"}),
    ),
}


def main() -> int:
    """Make, audit and check every target; return the number of wrong answers."""
    started = time.perf_counter()
    model = derive.load(smollm2.fetch())
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "demo_policy.toml", FOLDER / POLICY)
    wrong = 0
    for name, target in TARGETS.items():
        texts = {"config.json": json.dumps(CONFIG), "README.md": CARD.format(title=name), **target.texts}
        derive.write(
            target.change(model), FOLDER / name, shards=target.shards, shard_name=target.shard_name, texts=texts
        )
        verdict, fails = audit(name, target.options)
        right = (verdict, fails) == (target.verdict, target.fails)
        wrong += not right
        expected = target.verdict + (f", failing {', '.join(sorted(target.fails))}" if target.fails else "")
        print(f"expected {expected}: {'right' if right else 'WRONG'}\n")
    wrong += sign_and_verify()
    answers = len(TARGETS) + 1
    print(f"{answers - wrong} of {answers} answers right, {time.perf_counter() - started:.0f} s in all")
    print("the targets are in .cache/demo/; try .venv/bin/auditor scan .cache/demo/copied")
    return wrong


def sign_and_verify() -> bool:
    """Sign the audit of a copy, verify it offline, change one bit of one weight, and see that refused."""
    shutil.copytree(FOLDER / "copied", FOLDER / "tampered")
    with (FOLDER / "tampered" / "weights-2.safetensors").open("r+b") as file:
        file.seek(-1000, 2)
        (byte,) = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    steps = (
        (0, "keygen", "--output", "demo", "--no-passphrase"),
        (0, "attest", "copied", "--output", "copied.sigstore.json", "--key", "demo.key"),
        (0, "verify", "copied.sigstore.json", "copied", "--key", "demo.pub"),
        (1, "verify", "copied.sigstore.json", "tampered", "--key", "demo.pub"),
    )
    wrong = False
    for code, *arguments in steps:
        print("$", shlex.join(["auditor", *arguments]), flush=True)
        done = subprocess.run([sys.executable, "-m", "auditor", *arguments], check=False, cwd=FOLDER)
        wrong |= done.returncode != code
        print(f"expected exit {code}: {'right' if done.returncode == code else 'WRONG'}\n", flush=True)
    return wrong


def audit(target: str, options: tuple[str, ...]) -> tuple[str, frozenset[str]]:
    """Run the command as a user would, show what it says, and return its verdict and the rules that failed."""
    command = ["auditor", "scan", target, *options]
    print("$", shlex.join(command), flush=True)
    run = [sys.executable, "-m", *command]
    subprocess.run(run, check=False, cwd=FOLDER)
    done = subprocess.run([*run, "--format", "json"], check=False, capture_output=True, cwd=FOLDER)
    report = json.loads(done.stdout)
    fails = frozenset(finding["id"] for finding in report["findings"] if finding["status"] == "fail")
    return str(report["lineage"]["verdict"]), fails


if __name__ == "__main__":
    sys.exit(main())
