"""Run the commands that the documentation shows, so that none of them rots.

    python scripts/check_docs.py README.md

Every fenced block marked `console` is run, in order, in a folder of its own that holds the demo's targets; a line
that starts with `$ ` is a command, the lines below it are what it prints. A comment `# exit N` behind a command says
which exit code it has (0 where none is said). Shown output must appear, in order, in what is printed; `...` stands
for anything, and numbers of time are not compared.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
TIME = re.compile(r"\d+(\.\d+)? s\b")


def main() -> int:
    """Run the blocks of every file given; return the number of commands that did not do as shown."""
    wrong = 0
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "CI": ""}
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as temporary:
            for target in (ROOT / ".cache" / "demo").iterdir():
                Path(temporary, target.name).symlink_to(target)
            for block in BLOCK.findall(Path(name).read_text()):
                for command, expected in commands(block):
                    wrong += not run(command, expected, cwd=temporary, env=env)
    return wrong


def commands(block: str) -> list[tuple[str, list[str]]]:
    """Split a block into commands and the lines shown below each."""
    out: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            out.append((line[2:], []))
        elif line.strip() and out:
            out[-1][1].append(line)
    return out


def run(command: str, expected: list[str], *, cwd: str, env: dict[str, str]) -> bool:
    """Run one command and compare; say what differs."""
    text, _, note = command.partition("  # exit ")
    code = int(note or 0)
    done = subprocess.run(text, shell=True, cwd=cwd, env=env, capture_output=True, text=True, check=False)  # noqa: S602
    printed = TIME.sub("T s", done.stdout + done.stderr)
    at = 0
    problem = "" if done.returncode == code else f"exit code {done.returncode}, shown {code}"
    for line in expected:
        if line.strip() == "..." or problem:
            continue
        found = printed.find(TIME.sub("T s", line), at)
        if found < 0:
            problem = f"not printed: {line!r}"
        at = max(found, at)
    print(f"{'ok   ' if not problem else 'WRONG'} $ {text}" + (f"\n      {problem}\n{printed}" if problem else ""))
    return not problem


if __name__ == "__main__":
    sys.exit(main())
