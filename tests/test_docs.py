"""README and docs: every block with commands is run by some test, and every other one is held against what reads it."""

from __future__ import annotations

import re
import shlex
import tomllib
from datetime import date
from typing import TYPE_CHECKING

import pytest
import typer
import yaml
from check_docs import commands
from docskit import ROOT, SHELL, Block, blocks, read, spans

from auditor.cli import app
from auditor.compliance.check import WAIVABLE_RULES
from auditor.compliance.statements import parse_statements
from auditor.listing import parse_list
from auditor.settings import parse_settings

if TYPE_CHECKING:
    from pathlib import Path

MAKEFILE = (ROOT / "Makefile").read_text()
RUNNER = (ROOT / "tests" / "integration" / "test_docs_commands.py").read_text()
READ = {"toml", "yaml", "python"}
"""Kinds of blocks without commands: tests below read the first two, and `test_docs_commands.py` runs the third."""
PROGRAM = re.compile(r"(\$ )?(auditor|bash|curl|docker|export|make|mlflow|openssl|pip|python3?|sh)\b")


def shown(kind: str) -> list[str]:
    return [block.text for block in blocks(kind)]


def unrun(block: Block) -> str:
    """Say why no test runs the commands of a block; empty where one does."""
    if block.kind == "console":
        (pages,) = re.findall(r"check_docs\.py (.+)", MAKEFILE)
        if block.page not in pages.split():
            return "make docs does not read this page"
        return "" if block.text.startswith("$ ") else "starts with no command"
    if block.kind == "sh":
        names = [name for name, (page, mark) in SHELL.items() if page == block.page and mark in block.text]
        return "" if len(names) == 1 and f'shell("{names[0]}"' in RUNNER else f"{names} of docskit.SHELL run it"
    if block.kind in READ:
        return ""
    return "commands in a block of no kind that is run" if PROGRAM.search(block.text) or block.kind else ""


# --- what is run


@pytest.mark.parametrize("block", blocks(), ids=str)
def test_every_command_is_run(block: Block) -> None:
    assert unrun(block) == ""


def test_what_is_run_stands_there_once() -> None:
    assert len(SHELL) == len(blocks("sh"))
    assert "pytestmark = pytest.mark.integration" in RUNNER
    assert all(commands(text) for text in shown("console"))
    steps = [
        line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith(("step ", "together "))
    ]
    assert all(any(re.search(rf"make {what}\b", step) for step in steps) for what in ("docs", "test-integration"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("```console\n$ auditor scan x\n```\n", "make docs does not read this page"),
        ("```sh\nauditor scan x\n```\n", "[] of docskit.SHELL run it"),
        ("```\nauditor scan x\n```\n", "commands in a block of no kind that is run"),
        ("```text\nauditor scan x\n```\n", "commands in a block of no kind that is run"),
        ("```bash\nls\n```\n", "commands in a block of no kind that is run"),
        ("    pip install x\n", "commands in a block of no kind that is run"),
        ("    $ auditor scan x\n", "commands in a block of no kind that is run"),
        ("1. ~~~sh\n   curl x\n   ~~~\n", "[] of docskit.SHELL run it"),
        ("    r = x M y\n", ""),
    ],
)
def test_a_block_that_nobody_runs_is_noticed(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "page.md").write_text(text)
    (block,) = read(tmp_path / "page.md")
    assert unrun(block) == why


# --- what only names commands


@pytest.mark.parametrize(("page", "text"), [span for span in spans() if span[1].startswith("auditor ")])
def test_a_command_in_a_sentence_exists_with_its_options(page: str, text: str) -> None:
    assert page
    command = typer.main.get_command(app)
    words = shlex.split(text)[1:]
    while words and (inner := getattr(command, "commands", {}).get(words[0])):
        command, words = inner, words[1:]
    assert not hasattr(command, "commands") or words in ([], ["--help"]), f"no such command: {words}"
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("-")} <= known | {"--help"}


@pytest.mark.parametrize(("page", "text"), [span for span in spans() if re.match("(make|python) ", span[1])])
def test_what_a_sentence_says_to_make_or_to_run_is_there(page: str, text: str) -> None:
    assert page
    program, what, *_ = text.split()
    assert re.search(f"^{what}:", MAKEFILE, re.MULTILINE) if program == "make" else (ROOT / what).is_file()


def test_every_extra_that_is_spoken_of_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    sources = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "auditor").rglob("*.py")]
    spoken = {extra for path in sources for extra in re.findall(r"provenance-auditor\[(\w+)\]", path.read_text())}
    assert {"parquet", "ray", "s3"} <= spoken <= project["optional-dependencies"].keys()


# --- what is read


def test_lists_settings_and_other_tools_files_are_what_they_are_said_to_be() -> None:
    models, workflow, hooks = (yaml.safe_load(text) for text in shown("yaml"))
    (text, *_) = shown("yaml")
    assert [entry.target for entry in parse_list(text.encode(), file="models.yaml")] == [
        *("acme/chat-7b@3f1c0de", "acme/assistant", "./models/on-prem")
    ]
    assert models.keys() == {"models"}
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    steps = [step for step in workflow["jobs"]["provenance"]["steps"] if "acme/auditor" in step.get("uses", "")]
    assert [step["with"].keys() <= action["inputs"].keys() for step in steps] == [True]
    assert set(re.findall(r"steps\.audit\.outputs\.([\w-]+)", shown("yaml")[1])) <= action["outputs"].keys()
    (repository,) = hooks["repos"]
    known = {hook["id"] for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    assert {hook["id"] for hook in repository["hooks"]} == known


def test_settings_are_read() -> None:
    (text,) = shown("toml")
    settings = parse_settings(text.encode(), file="auditor.toml")
    assert settings.values.keys() == {"targets", "against", "fail-on", "output"}
    found = parse_statements(text.encode(), file="auditor.toml", rules=WAIVABLE_RULES, today=date(2026, 6, 1))
    assert [waiver.rule for waiver in found.waivers] == ["NOT-001"]
