"""Markdown: what a parser of GitHub's dialect makes of it, above all of text that a model put there."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from modelkit import drifted, make_model, write_model
from reportkit import CASES, DERIVED, FAIL, HOSTILE, PASS, hostile, rendered

from auditor.audit import Options, scan
from auditor.enrolling import sketch
from auditor.lineage import Lineage
from auditor.lineage.merging import Share
from auditor.report import Place, Placed, render
from auditor.report.catalogue import known_rules
from auditor.report.gfm import code
from auditor.sources import Unread

if TYPE_CHECKING:
    from markdown_it.token import Token

GOLDENS = Path(__file__).parent / "goldens"
PARSER = MarkdownIt("gfm-like", {"html": True, "linkify": True})
LIVE = {"link_open", "image", "html_inline", "html_block", "fence", "code_block", "hr", "em_open", "hardbreak"}
REFERENCE = re.compile(r"[@#~!%$^&*<>\[\]]|://|www\.|\b[0-9a-f]{7,}\b")
MORE = [
    "https://tracker.example/x", "www.tracker.example", "a@b.example", "GH-1", "org/repo#1", "org/repo@0123abcdef0",
    "```", "~~~", "`", "``", "` `", "\\", "\\|", "a|b", "`|`", "\\`", "*a* _b_ ~~c~~", ":tada:", "- [ ] x", "# h",
    "> q", "&#64;everyone", "&lt;b&gt;", "<https://x.example>", "!1 ~label %m $1", "$`x`$", "\ue000", "\ue001\ue010",
    "/close", "[^1]", "[[x]]", "<details>", "{+ a +}", "  padded  ", "a" * 5000, "`" * 600,
]  # fmt: skip


def flat(text: str) -> list[Token]:
    return [inner for token in PARSER.parse(text) for inner in (token, *(token.children or ()))]


def skeleton(text: str) -> list[tuple[str, str]]:
    """Everything but what stands in code spans: what kind of thing, and the words."""
    return [(token.type, "" if token.type in {"code_inline", "inline"} else token.content) for token in flat(text)]


@pytest.mark.parametrize("case", CASES)
def test_goldens(case: str, update_goldens: bool) -> None:  # noqa: FBT001 (a fixture)
    path = GOLDENS / f"{case}.markdown"
    text = rendered("markdown", CASES[case])
    if update_goldens:
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("text", [*HOSTILE, *MORE])
def test_text_of_the_model_is_code_and_nothing_else(text: str) -> None:
    placed = [Placed(report=hostile(text), place=Place(path=text)), Placed(report=hostile(text))]
    for shown in (rendered("markdown", hostile(text)), render("markdown", placed)):
        tokens = flat(shown)
        assert not {token.type for token in tokens} & LIVE
        words = "".join(token.content for token in tokens if token.type == "text")
        assert not REFERENCE.search(words.replace("[!CAUTION]", "").replace("[!WARNING]", ""))


@pytest.mark.parametrize("text", ["@everyone #1", "![x](http://tracker/x.png)", "``x`", "*a* _b_ ~~c~~", "\\"])
def test_it_is_shown_as_it_is(text: str) -> None:
    spans = [token.content for token in flat(rendered("markdown", hostile(text))) if token.type == "code_inline"]
    assert spans.count(text) >= 5


SPECIAL = "`\\|<>[]()!*_~@#&:;/-+={}$^%\"'.\n\t 0aZ\u00e9\u202e\u200b\x1b\ue000"


@given(text=(st.text(SPECIAL, min_size=1) | st.text(min_size=1)).filter(lambda text: text.strip()))
def test_whatever_the_text_is_the_rest_of_the_page_is_the_same(text: str) -> None:
    assert skeleton(rendered("markdown", hostile(text))) == skeleton(rendered("markdown", hostile("plain")))


@given(text=st.text(SPECIAL, min_size=1) | st.text(min_size=1))
def test_a_code_span_is_one_span(text: str) -> None:
    shown = code(text)
    kinds = [token.type for token in PARSER.parseInline(f"a {shown} b")[0].children or ()]
    assert kinds == (["text"] if shown == "(empty)" else ["text", "code_inline", "text"])


def test_parents_of_a_merge_are_code_too() -> None:
    assert DERIVED.relation is not None
    shares = (
        Share(reference="@a", weight=0.5, low=0.4, high=0.6),
        Share(reference="#1", weight=0.5, low=0.4, high=0.6),
    )
    best = replace(DERIVED, relation=replace(DERIVED.relation, shares=shares))
    shown = rendered("markdown", replace(CASES["derived"], lineage=Lineage(verdict="derived", best=best)))
    assert "a merge: 0.50 (0.40 to 0.60) of `@a`, 0.50 (0.40 to 0.60) of `#1`" in shown


def test_the_rules_own_words_are_shown_as_words() -> None:
    for rule in known_rules().values():
        for text in (rule.title, rule.fix):
            kinds = {token.type for token in PARSER.parseInline(text)[0].children or ()}
            assert kinds <= {"text", "code_inline", "text_special"} | (
                {"link_open", "link_close"} if ".md" in text else set()
            )
            assert not re.search(r"[|<>@#]", text)
    assert f"| {FAIL.title} |" in rendered("markdown", CASES["derived"])
    other = replace(CASES["derived"], findings=(replace(FAIL, title="Another title"),))
    assert "| `Another title` |" in rendered("markdown", other)


def test_the_verdict_comes_first_and_its_alert_follows_the_exit_code() -> None:
    for case, alert in (("derived", "CAUTION"), ("adapter-merged", "NOTE"), ("inconclusive", "WARNING")):
        lines = rendered("markdown", CASES[case]).splitlines()
        assert lines[2] == f"> [!{alert}]"
        assert lines[3].startswith(f"> **{CASES[case].lineage.verdict.upper()}**: ")


def test_findings_are_a_table_gravest_first_and_covered_last() -> None:
    findings = (
        PASS,
        replace(FAIL, status="manual", id="LIT-001"),
        replace(FAIL, waived_until="2999-01-01"),
        replace(FAIL, status="warn"),
        FAIL,
    )
    shown = rendered("markdown", replace(CASES["derived"], findings=findings))
    tokens = PARSER.parse(shown)
    assert sum(token.type == "tr_open" for token in tokens) == 4
    assert [line.split(" | ")[0] for line in shown.splitlines() if line.startswith(("| **", "| ~~"))] == [
        "| **fail**", "| **warn**", "| ~~fail~~ `waived until 2999-01-01`"
    ]  # fmt: skip
    assert "Only a person can say, by a statement in `auditor.toml`: LIT-001." in shown


def test_what_only_a_person_can_say_is_one_line_and_its_ids_are_code_where_they_are_not_ours() -> None:
    findings = tuple(replace(FAIL, status="manual", id=name) for name in ("LIT-001", "@everyone", "LIT-001"))
    shown = rendered("markdown", replace(CASES["derived"], findings=findings))
    assert "`auditor.toml`: LIT-001, `@everyone`." in shown
    assert "| status |" not in shown


@pytest.mark.parametrize("filler", ["\U0001f600" * 2000, "`" * 2000, "\u202e" * 2000])
def test_the_largest_report_fits_in_a_summary(filler: str) -> None:
    findings = tuple(replace(FAIL, title=filler, evidence=filler, path=filler, fix=filler) for _ in range(500))
    unread = tuple(Unread(path=f"{filler}{number}", code="x", reason=filler) for number in range(500))
    big = replace(CASES["derived"], findings=findings)
    big = replace(big, coverage=replace(big.coverage, unread=unread))
    shown = rendered("markdown", big)
    assert len(shown.encode()) < 1024 * 1024
    assert "And 950 more (450 fail, 500 unknown)." in shown or "more (" in shown


def test_many_models_fit_in_a_summary_and_all_are_counted() -> None:
    findings = tuple(replace(FAIL, evidence="e" * 400, path=f"{number}") for number in range(60))
    big = [Placed(report=replace(CASES["derived"], findings=findings)) for _ in range(300)]
    shown = render("markdown", big)
    assert len(shown.encode()) < 1024 * 1024
    assert "## Audit of 300 models" in shown
    assert "And 100 more." in shown
    sections = sum(line == "## `./suspect`" for line in shown.splitlines())
    assert sections > 10
    assert f"The sections of {300 - sections} more models have no room here." in shown


def test_a_list_of_models_says_where_each_is_named() -> None:
    shown = render("markdown", [Placed(report=CASES["derived"], place=Place(path="models.yaml", line=9))] * 2)
    assert "| `./suspect` at `models.yaml:9` | derived | `llama-2-7b` | 1 fail | 1 |" in shown


def test_a_real_report(tmp_path: Path) -> None:
    base = make_model(1)
    (tmp_path / "s").write_bytes(sketch(str(write_model(base, tmp_path / "base")), name="llama-2-7b"))
    folder = write_model(drifted(base, cosine=0.8), tmp_path / "target")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# @everyone [x](http://x.example)\n")
    found = scan(str(folder), Options(against=(str(tmp_path / "s"),)))
    shown = rendered("markdown", found)
    assert "**DERIVED**: the weights share descent with `llama-2-7b`. Exit 1" in shown
    acts = [finding for finding in found.findings if finding.status in {"fail", "unknown", "warn"}]
    assert sum(token.type == "tr_open" for token in PARSER.parse(shown)) == len(acts) + 1 > 5
