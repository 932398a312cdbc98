"""The blocks of README and docs, read as GitHub reads them, and which test runs the commands in them.

`console` blocks show what is printed: scripts/check_docs.py runs them (`make docs`). `sh` blocks want servers, which
tests/integration/test_docs_commands.py starts. tests/test_docs.py holds that there is no other block with commands.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

SHELL = {
    "gate": ("docs/mlflow.md", "auditor gate mlflow"),
    "receiver": ("docs/mlflow.md", "scripts/mlflow_webhook.py"),
    "webhook": ("docs/mlflow.md", "curl --fail"),
    "registry": ("docs/sources.md", "auditor scan oci://"),
    "buckets": ("docs/sources.md", "auditor scan s3://"),
    "shards": ("docs/sweep.md", "--shard"),
    "ray": ("docs/sweep.md", "--engine ray"),
    "table": ("docs/sweep.md", "--parquet"),
}
"""A name for every `sh` block: the page, and what stands in this block of it and in no other."""


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a page: a fenced block of some kind, or an indented one, which has none."""

    page: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def read(page: Path) -> tuple[Block, ...]:
    """Return the blocks of a page."""
    name = page.relative_to(ROOT).as_posix() if page.is_relative_to(ROOT) else page.name
    return tuple(
        Block(page=name, line=token.map[0] + 1, kind=token.info.strip(), text=token.content)
        for token in MarkdownIt().parse(page.read_text(encoding="utf-8"))
        if token.type in {"fence", "code_block"} and token.map
    )


def blocks(*kinds: str) -> tuple[Block, ...]:
    """Return the blocks of these kinds on all pages; all blocks where none is named."""
    return tuple(block for page in PAGES for block in read(page) if not kinds or block.kind in kinds)


def spans() -> tuple[tuple[str, str], ...]:
    """Return every piece of code that stands in a sentence, with its page."""
    found = []
    for page in PAGES:
        for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
            parts = [child.content for child in token.children or () if child.type == "code_inline"]
            found += [(page.relative_to(ROOT).as_posix(), part) for part in parts]
    return tuple(found)


def shell(name: str, put: Mapping[str, str] | None = None) -> str:
    """Return the text of one `sh` block with other words put in place of some: servers of the tests for examples.

    Each of them must stand there, so that no substitution outlives what it was made for.
    """
    page, mark = SHELL[name]
    (found,) = (block for block in blocks("sh") if block.page == page and mark in block.text)
    return replaced(found.text, put or {})


def replaced(text: str, put: Mapping[str, str]) -> str:
    for old, new in put.items():
        assert old in text, f"{old!r} does not stand in:\n{text}"
        text = text.replace(old, new)
    return text


def exports(text: str) -> str:
    """Return the lines that set variables: a reader of a later block has entered them before."""
    return "".join(f"{line}\n" for line in text.splitlines() if line.startswith("export "))


def bash(script: str, *, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a block as a person does who pastes it, but that the first command that fails ends it."""
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def surroundings(home: Path, *, python: Path = Path(sys.executable), **variables: str) -> dict[str, str]:
    """Return an environment that has the commands which lie beside an interpreter, and knows of no server."""
    foreign = re.compile("(HF|AUDITOR|MLFLOW|AWS|GOOGLE)_|CI$|DOCKER_CONFIG$")
    kept = {name: value for name, value in os.environ.items() if not foreign.match(name)}
    return kept | {
        "PATH": f"{python.parent}:{kept['PATH']}",
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "HF_HUB_OFFLINE": "1",
        "NO_PROXY": "127.0.0.1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        **variables,
    }
