"""What a store becomes for other tools and for people: no hostile text in it, and pages no longer than they may be."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from reportkit import HOSTILE, UNSAFE, hostile
from sweepkit import write_store

from auditor.errors import UsageError
from auditor.limits import LIMITS
from auditor.sweep import export, pages
from auditor.sweep.connection import opened_reading
from auditor.sweep.export import write_jsonl, write_parquet, write_sarif
from auditor.sweep.pages import write_pages
from auditor.sweep.reading import records, totals
from auditor.sweep.store import Store

if TYPE_CHECKING:
    from pathlib import Path


def test_a_line_of_json_a_target_in_ascii(tmp_path: Path) -> None:
    path = write_store(tmp_path / "s.db", HOSTILE, reports=True)
    with opened_reading(path) as connection:
        assert write_jsonl(tmp_path / "out.jsonl", records(connection, path)) == len(HOSTILE) + 1
    lines = (tmp_path / "out.jsonl").read_bytes().decode("ascii").split("\n")
    assert lines.pop() == ""
    rows = [json.loads(line) for line in lines]
    assert [row["target"] for row in rows] == [*HOSTILE, "waits"]
    assert rows[0]["report"] == json.loads(json.dumps(hostile(HOSTILE[0]).as_dict()))
    assert rows[-1]["state"] == "queued"
    assert rows[-1]["report"] is None
    assert (rows[4]["state"], rows[4]["error_code"]) == ("failed", "worker-died")
    assert rows[0]["finished"] == "2026-05-28T20:26:40+00:00"


def test_without_pyarrow_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With it, the table is read in tests/integration/test_sweep_real.py."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'provenance-auditor\[parquet\]'"):
        write_parquet(tmp_path / "out.parquet", [])
    assert list(tmp_path.iterdir()) == []


def test_sarif_in_as_many_files_as_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "LIMITS", replace(LIMITS, sweep_joint=4))
    path = write_store(tmp_path / "s.db", [f"t{n}" for n in range(10)])
    with opened_reading(path) as connection:
        files = write_sarif(tmp_path / "out.sarif", records(connection, path))
    assert [file.name for file in files] == ["out.sarif", "out-2.sarif", "out-3.sarif"]
    for file in files:
        assert json.loads(file.read_text())["version"] == "2.1.0"


def test_nothing_is_left_of_a_file_that_could_not_be_written_whole(tmp_path: Path) -> None:
    path = write_store(tmp_path / "s.db", ["a", "b"])
    with Store(path) as store:
        store.connection.execute("UPDATE result SET report = x'00' WHERE id = 2")
    (tmp_path / "out.jsonl").write_text("before\n")
    with opened_reading(path) as connection, pytest.raises(Exception, match=r"damaged|cut off"):
        write_jsonl(tmp_path / "out.jsonl", records(connection, path))
    assert (tmp_path / "out.jsonl").read_text() == "before\n"
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []
    with opened_reading(path) as connection, pytest.raises(UsageError, match="cannot be written"):
        write_jsonl(tmp_path / "nowhere" / "out.jsonl", records(connection, path))


class Page(HTMLParser):
    """Elements and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def write_folder(path: Path, folder: Path) -> int:
    with opened_reading(path) as connection:
        return write_pages(folder, records(connection, path, gravest_first=True), totals(connection, path))


def test_hostile_names_become_text_and_never_markup_or_names_of_files(tmp_path: Path) -> None:
    path = write_store(tmp_path / "s.db", [*HOSTILE, "../../../etc/passwd", "a" * 5000], reports=True)
    assert write_folder(path, tmp_path / "out") == 1
    text = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert not UNSAFE.search(text)
    page = Page(text)
    known = {
        "html", "head", "meta", "title", "style", "body", "h1", "p", "input", "fieldset", "legend", "label", "main",
        "details", "summary", "b", "i", "div", "a",
    }  # fmt: skip
    assert {name for name, _ in page.elements} <= known
    assert {name for _, attributes in page.elements for name in attributes} <= {
        "lang", "charset", "http-equiv", "content", "name", "class", "type", "id", "checked", "for", "href",
    }  # fmt: skip
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert len(page.all("details")) == len(HOSTILE) + 3
    assert len(text) < 200_000  # the long name was cut
    files = [file.name for file in (tmp_path / "out" / "targets").iterdir()]
    assert all(re.fullmatch(r"[0-9]{6}\.html", name) for name in files)
    links = {str(link["href"]) for link in page.all("a")}
    assert links == {f"targets/{name}" for name in files}


def test_the_policy_allows_the_style_that_stands_there_and_nothing_else(tmp_path: Path) -> None:
    path = write_store(tmp_path / "s.db", ["a"])
    write_folder(path, tmp_path / "out")
    page = Page((tmp_path / "out" / "index.html").read_text())
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    (style,) = re.findall("<style>(.*?)</style>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert str(policy).startswith("default-src 'none'; style-src 'sha256-")
    assert f"'sha256-{digest}'" in str(policy)
    assert "unsafe" not in str(policy)


def test_filters_are_radio_buttons_that_the_style_knows(tmp_path: Path) -> None:
    path = write_store(tmp_path / "s.db", [f"t{n}" for n in range(10)])
    write_folder(path, tmp_path / "out")
    page = Page((tmp_path / "out" / "index.html").read_text())
    (style,) = re.findall("<style>(.*?)</style>", page.text, re.DOTALL)
    ids = [str(box["id"]) for box in page.all("input")]
    assert [str(label["for"]) for label in page.all("label")] == ids
    groups = {str(drawer["class"]) for drawer in page.all("details")}
    assert groups == {"failed", "open", "fine", "waiting"}
    for group in groups:
        assert f"#f-{group}:checked~main details:not(.{group}){{display:none}}" in style
    order = [str(drawer["class"]) for drawer in page.all("details")]
    assert order[0] == "failed"  # what needs a look comes first
    assert order[-1] == "fine"


def test_many_targets_are_several_pages_of_bounded_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "LIMITS", replace(LIMITS, sweep_page=4))
    path = write_store(tmp_path / "s.db", [f"t{n}" for n in range(10)])
    assert write_folder(path, tmp_path / "out") == 3
    names = ["index.html", "index-2.html", "index-3.html"]
    drawers = [len(Page((tmp_path / "out" / name).read_text()).all("details")) for name in names]
    assert drawers == [4, 4, 3]
    first = Page((tmp_path / "out" / "index.html").read_text())
    assert {str(link["href"]) for link in first.all("a") if "targets" not in str(link["href"])} == set(names)


def test_a_folder_of_others_is_left_alone_and_one_of_ours_replaced(tmp_path: Path) -> None:
    path = write_store(tmp_path / "s.db", ["a", "b"])
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds other files"):
        write_folder(path, folder)
    assert [file.name for file in folder.iterdir()] == ["thesis.txt"]
    (folder / "thesis.txt").unlink()
    write_folder(path, folder)
    with Store(path) as store:
        store.connection.execute("UPDATE target SET result = NULL")
        store.connection.execute("DELETE FROM result")
    write_folder(path, folder)
    assert list((folder / "targets").iterdir()) == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out", "s.db"]


def test_each_target_has_its_own_report(tmp_path: Path) -> None:
    path = write_store(tmp_path / "s.db", ["a"])
    write_folder(path, tmp_path / "out")
    own = (tmp_path / "out" / "targets" / "000001.html").read_text()
    assert html.escape("llama-2-7b") in own
    assert "Content-Security-Policy" in own
