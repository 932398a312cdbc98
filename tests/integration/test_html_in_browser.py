"""The HTML report in a real browser: light and dark, on a telephone, on paper, and by rules of accessibility.

It wants `chromium` (a package of most distributions), `node` (20 or later) and `npm`. Where they are missing, the tests
fail and do not skip.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from reportkit import ADAPTER, DERIVED, HOSTILE, INDEPENDENT, UNREAD, hostile, layer, rendered, report

from auditor.compliance.rules import RULES
from auditor.findings import Finding, Status
from auditor.lineage import Lineage, Relation
from auditor.lineage.merging import Share
from auditor.sources import FileInfo

if TYPE_CHECKING:
    from auditor.report import Report

pytestmark = pytest.mark.integration

SOURCES = Path(__file__).parent / "browser"
CACHE = Path(__file__).parents[2] / ".cache" / "node-browser"
SCREENS = ("light", "dark", "narrow", "narrow-dark")


def everything() -> Report:
    """Return a report that has every section: a merge of 32 layers, all rules in all states, claims, files, unread."""
    statuses: tuple[Status, ...] = ("fail", "warn", "manual", "pass", "unknown", "n/a")
    findings = [
        Finding(
            id=rule.id, title=rule.title, status=statuses[i % 6], evidence=rule.why, path="README.md",
            clause=rule.clause, fix=rule.fix, waived_until="2999-01-01" if i % 5 == 0 else None,
        )
        for i, rule in enumerate(RULES)
    ]  # fmt: skip
    shares = (
        Share(reference="llama-2-7b", weight=0.6, low=0.58, high=0.63),
        Share(reference="other", weight=0.4, low=0.38, high=0.42),
    )
    best = replace(
        DERIVED,
        layers=tuple(layer(i, i, i / 32) for i in range(32)),  # every colour of the scale
        layers_in_model=32,
        relation=Relation(kind="modified", shares=shares),
    )
    other = replace(INDEPENDENT, reason="a reason that is long enough to need a second line in a table of six columns")
    made = report(
        Lineage(verdict="derived", reason="weakened by something", best=best, candidates=(best, other)),
        findings=tuple(findings),
        unread=(UNREAD, replace(UNREAD, path="a/rather/long/path/of/a/file/in/folders/" * 3 + "x.bin")),
    )
    listed = tuple(
        FileInfo(path=f"m-{i}.safetensors", size=10**9, sha256="ab" * 32, digest_source="hub") for i in range(9)
    )
    return replace(made, target=replace(made.target, files=listed, adapters=(ADAPTER,), revision="8f2c" * 10))


def deep() -> Report:
    best = replace(DERIVED, layers=tuple(layer(i, i, 0.4) for i in range(200)), layers_in_model=200)
    return report(Lineage(verdict="derived", best=best, candidates=(best,)))


def in_a_list() -> Report:
    best = replace(INDEPENDENT, layers=tuple(layer(i, None, 0.01, 1) for i in range(64)))
    return report(Lineage(verdict="independent", best=best, candidates=(best,)))


PAGES = {
    "everything": everything(),
    "deep": deep(),
    "list": in_a_list(),
    "hostile": hostile("".join(HOSTILE) + "W" * 400),
}


@cache
def install() -> Path:
    """Install what `browser/` asks for, unless that was done before, and return the folder."""
    sources = sorted(path for path in SOURCES.iterdir() if path.is_file())
    version = hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in sources)).hexdigest()[:16]
    target = CACHE / version
    if target.exists():
        return target
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="installing-") as folder:
        made = Path(folder, version)
        made.mkdir()
        for path in sources:
            shutil.copy(path, made)
        run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=made)
        try:
            made.rename(target)  # whole or not at all, since other tests may be waiting for it
        except OSError:
            if not target.exists():  # else another process was quicker
                raise
    return target


def run(program: str, *arguments: str, cwd: Path) -> str:
    path = shutil.which(program)
    assert path, f"{program} is not installed"
    environment = {name: value for name, value in os.environ.items() if name != "NODE_OPTIONS"}
    done = subprocess.run(
        [path, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def look(page: str, folder: Path, *screens: str) -> dict[str, Any]:
    """Have a browser open a page; pictures and a PDF are left in the folder."""
    chromium = shutil.which("chromium")
    assert chromium, "chromium is not installed"
    (folder / "page.html").write_text(page)
    installed = install()
    told = run(
        "node", str(installed / "look.mjs"), str(folder / "page.html"), str(folder), chromium, *screens, cwd=installed
    )
    said: dict[str, Any] = json.loads(told)
    return said


def pixels(picture: Path) -> tuple[int, int]:
    """Return width and height of a PNG."""
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    return width, height


@pytest.mark.parametrize("case", PAGES)
def test_a_page_is_drawn_as_it_should_be(case: str, tmp_path: Path) -> None:
    said = look(rendered("html", PAGES[case]), tmp_path)
    for screen in SCREENS:
        seen = said[screen]
        assert seen["styled"]  # the policy let the style sheet in
        assert seen["messages"] == []
        assert seen["requests"] == 1  # the page, and nothing that it loads
        assert (seen["overflow"], seen["wide"]) == (0, []), screen
        assert seen["violations"] == [], screen
        assert {"color-contrast", "page-has-heading-one", "region"} <= set(seen["passes"])
        assert pixels(tmp_path / f"{screen}.png")[0] == (360 if "narrow" in screen else 1200)
    assert said["light"]["background"] != said["dark"]["background"]
    first = said["first_stop"]
    assert first == {"text": "Skip to the report", "outline": "solid", "top": first["top"]}
    assert first["top"] >= 0  # it is out of sight until the keyboard comes to it
    assert (said["print"]["rows"] > 0) == (case != "hostile")  # which has no rule that is kept
    assert said["print"]["folded"] == 0  # what is folded on a screen is unfolded on paper
    paper = (tmp_path / "print.pdf").read_bytes()
    boxes = {tuple(round(float(side)) for side in box.split()) for box in re.findall(rb"/MediaBox \[([^]]+)\]", paper)}
    assert boxes == {(0, 0, 595, 842)}  # A4, in points


BROKEN = {
    "a style sheet that the policy does not know": ("style-src 'sha256-", "style-src 'sha256-AAAA", "messages"),
    "a script": ("</main>", "<script>1</script></main>", "messages"),
    "a picture from elsewhere": ("</main>", '<img alt="" src="https://example.invalid/x"></main>', "messages"),
    "a word that is wider than the page": ("</h1>", f"<code class=value>{'_' * 400}</code></h1>", "wide"),
    "a heading out of order": ("<h2 id=files>Files</h2>", "<h5 id=files>Files</h5>", "violations"),
    "a table that only a mouse can scroll": ("tabindex=0", "tabindex=-1", "violations"),
    "a faint text": ("<p class=meaning>", '<p class=meaning><font color="#cccccc">', "violations"),
}


@pytest.mark.parametrize("wrong", BROKEN)
def test_the_look_would_see_what_is_wrong(wrong: str, tmp_path: Path) -> None:
    old, new, where = BROKEN[wrong]
    page = rendered("html", PAGES["everything"])
    assert old in page
    assert look(page.replace(old, new), tmp_path, "narrow")["narrow"][where]


def test_the_markup_passes_a_validator(tmp_path: Path) -> None:
    installed = install()
    for case, made in PAGES.items():
        (tmp_path / f"{case}.html").write_text(rendered("html", made))
    pages = map(str, sorted(tmp_path.glob("*.html")))
    run("npx", "--no", "--", "html-validate", "--config", str(installed / "validate.json"), *pages, cwd=installed)
