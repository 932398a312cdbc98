"""The HTML report: what it says, that it is sound and self-contained, and that it stays small and readable."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import replace
from functools import cache
from hashlib import sha256
from importlib.resources import files
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

import pytest
from reportkit import (
    ADAPTER,
    CASES,
    DERIVED,
    FAIL,
    HOSTILE,
    INDEPENDENT,
    PASS,
    UNREAD,
    hostile,
    layer,
    rendered,
    report,
)
from tinyhtml5.parser import HTMLParser

from auditor.compliance.rules import RULES
from auditor.findings import Finding
from auditor.lineage import Candidate, Lineage, Relation
from auditor.lineage.merging import Share
from auditor.report import Place
from auditor.report.html import MOST_BYTES
from auditor.report.html_claims import CLAIMS
from auditor.report.html_layers import layers_of
from auditor.report.words import evidence_in_words, layers_in_words, relation_in_words, verdict_in_words
from auditor.sources import FileInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditor.report import Report

GOLDENS = Path(__file__).parent / "goldens"
STYLE = files("auditor.report").joinpath("report.css").read_text(encoding="utf-8")

SEVEN = replace(
    DERIVED,
    layers=tuple(layer(i, i, 0.95 - 0.01 * (i % 13)) for i in range(32)),
    layers_in_model=32,
    relation=Relation(kind="modified"),
)


def seven() -> Report:
    """Return a report of the size that a 7B model and the Llama 2 policy make."""
    findings = [
        Finding(id=rule.id, title=rule.title, status=status, evidence=rule.why, clause=rule.clause, fix=rule.fix)
        for rule, status in zip(RULES, ["fail", "warn", "manual", "pass", "n/a"] * len(RULES), strict=False)
    ]
    made = report(Lineage(verdict="derived", best=SEVEN, candidates=(SEVEN,)), findings=tuple(findings))
    listed = [FileInfo(path=f"model-{i:05}.safetensors", size=10**9, sha256="ab" * 32) for i in range(12)]
    return replace(made, target=replace(made.target, files=tuple(listed)))


def too_much(text: str) -> Report:
    """Return a report that was made to be large, in every list and every text."""
    made = hostile(text * 500)
    (fail,), (unread,), (file,), (adapter,) = (
        made.findings, made.coverage.unread, made.target.files, made.target.adapters,
    )  # fmt: skip
    assert made.lineage.best is not None
    layers = tuple(layer(i % 200, j, 0.5, 3) for i, j in product(range(200), range(5)))
    shares = tuple(Share(reference=text * 500, weight=1e300, low=-1e300, high=1e300) for _ in range(1000))
    best = replace(
        made.lineage.best, layers=layers, layers_in_model=200, relation=Relation(kind="modified", shares=shares)
    )
    statuses = ("fail", "warn", "manual", "pass", "n/a", "unknown")
    findings = tuple(
        replace(fail, id=rule, status=status)  # type: ignore[arg-type]
        for rule, status, _ in product((*CLAIMS, "LIC-001"), statuses, range(105))
    )
    return replace(
        made,
        findings=findings,
        coverage=replace(made.coverage, unread=(unread,) * 10_000),
        target=replace(made.target, files=(file,) * 10_000, adapters=(adapter,) * 1_000),
        lineage=replace(made.lineage, best=best, candidates=(best, *([made.lineage.candidates[1]] * 1_000))),
    )


PAGES = {
    **CASES,
    "seven": seven(),
    "merge": report(
        Lineage(
            verdict="derived",
            best=replace(
                SEVEN,
                relation=Relation(
                    kind="modified", shares=(Share(reference="llama-2-7b", weight=0.6, low=0.58, high=0.63),)
                ),
            ),
        )
    ),
    "list": report(
        Lineage(
            verdict="independent",
            best=replace(INDEPENDENT, layers=tuple(layer(i, None, 0.01, 1) for i in range(30))),
            candidates=(INDEPENDENT,),
        ),
        unread=(UNREAD,),
    ),
    "hostile": hostile("".join(HOSTILE)),
    "too much": too_much("<"),
}


@cache
def page(case: str) -> str:
    return rendered("html", PAGES[case], Place(path="models.yaml", line=3))


@cache
def parsed(case: str) -> Element:
    parser = HTMLParser(namespace_html_elements=False)
    tree = parser.parse(page(case))
    assert parser.errors == []
    assert isinstance(tree, Element)
    return tree


INLINE = {"a", "code", "span", "strong", "sup"}


def words(element: Element) -> str:
    """Return the text of an element as a reader takes it in: blocks do not run into one another."""

    def pieces(of: Element) -> Iterator[str]:
        yield of.text or ""
        for child in of:
            apart = "" if child.tag in INLINE else " "
            yield apart
            yield from pieces(child)
            yield apart + (child.tail or "")

    return " ".join("".join(pieces(element)).split())


def section(case: str, name: str) -> Element:
    return next(each for each in parsed(case).iter("section") if each.get("aria-labelledby") == name)


def of_report(made: Report) -> Element:
    tree = HTMLParser(namespace_html_elements=False).parse(rendered("html", made))
    assert isinstance(tree, Element)
    return tree


@pytest.mark.parametrize("case", CASES)
def test_goldens(case: str, update_goldens: bool) -> None:  # noqa: FBT001 (a fixture)
    path = GOLDENS / f"{case}.html"
    text = rendered("html", CASES[case])
    if update_goldens:
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("case", PAGES)
def test_nothing_runs_and_nothing_is_loaded(case: str) -> None:
    known = {
        "html", "head", "meta", "title", "style", "body", "a", "header", "nav", "main", "section", "footer", "h1", "h2",
        "h3", "p", "ul", "ol", "li", "dl", "dt", "dd", "div", "span", "strong", "code", "sup", "table", "caption",
        "thead", "tbody", "tr", "th", "td", "details", "summary",
    }  # fmt: skip
    attributes = {
        "charset", "http-equiv", "content", "name", "lang", "class", "id", "href", "tabindex", "scope",
        "colspan", "rowspan", "aria-label", "aria-labelledby",
    }  # fmt: skip
    for element in parsed(case).iter():
        assert element.tag in known
        assert set(element.keys()) <= attributes
        assert element.get("href", "#").startswith("#")
    assert not re.search(r"url\(|@import|@font-face|expression\(|</", STYLE)


@pytest.mark.parametrize("case", PAGES)
def test_the_policy_allows_this_style_sheet_and_nothing_else(case: str) -> None:
    head = parsed(case).find("head")
    assert head is not None
    kinds = [child.tag for child in head]
    policies = [child.get("content") for child in head if child.get("http-equiv") == "Content-Security-Policy"]
    style = "".join(head.find("style").itertext())  # type: ignore[union-attr]
    digest = b64encode(sha256(style.encode()).digest()).decode()
    expected = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert policies == [expected]
    assert style == STYLE
    assert kinds.count("style") == 1 == len(list(parsed(case).iter("style")))


@pytest.mark.parametrize("case", PAGES)
def test_a_screen_reader_finds_its_way(case: str) -> None:
    tree = parsed(case)
    assert tree.get("lang") == "en"
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for element in tree.iter():
        for name in ("href", "aria-labelledby"):
            assert (element.get(name) or f"#{ids[0]}").removeprefix("#") in ids
    levels = [int(element.tag[1]) for element in tree.iter() if re.fullmatch("h[1-6]", str(element.tag))]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for table in tree.iter("table"):
        assert words(table.find("caption"))  # type: ignore[arg-type]
        assert all(cell.get("scope") in {"row", "col", "colgroup"} for cell in table.iter("th"))
    regions = [region for region in tree.iter("section") if region.get("class") == "scroll"]
    assert len(regions) == len(list(tree.iter("table")))  # each can be scrolled, with the keyboard too
    assert all(region.get("tabindex") == "0" and region.get("aria-label") for region in regions)
    body = tree.find("body")
    assert [child.tag for child in body] == ["a", "header", "main", "footer"]  # type: ignore[union-attr]


@pytest.mark.parametrize("case", PAGES)
def test_it_says_what_every_format_says(case: str) -> None:
    made, said = PAGES[case], words(parsed(case))
    lineage = made.lineage
    if case == "too much":
        return
    headline = verdict_in_words(replace(lineage, reason=None))
    assert f"{headline[0].upper()}{headline[1:]}" in said
    assert lineage.verdict in {"derived", "independent"} or (lineage.reason or "") in said
    best = lineage.best
    if best is not None and best.rung is not None:
        assert words_of(evidence_in_words(best)) in said
        assert words_of(layers_in_words(best.layers)) in said
        assert words_of(relation_in_words(best)) in said
    assert "Evidence, not legal advice." in said
    assert "named in models.yaml, line 3" in said


def words_of(text: str) -> str:
    return " ".join(text.split())


def test_key_numbers_are_read_at_a_glance() -> None:
    numbers = {words(div.find("dt")): words(div.find("dd")) for div in section("derived", "verdict").iter("div")}  # type: ignore[arg-type]
    assert numbers == {
        "p-value": "4.0 \u00d7 10\u2212813",
        "Mean row cosine": "0.9300",
        "Neurons matched": "80 of 80",
        "Read": "3.1 MB",
    }
    numbers = {words(div.find("dt")): words(div.find("dd")) for div in section("independent", "verdict").iter("div")}  # type: ignore[arg-type]
    assert numbers["Could have seen"] == "0.019"
    assert numbers["p-value"] == "0.63"


def test_the_map_has_a_number_in_each_pair_that_matches() -> None:
    rows = list(section("seven", "layers").iter("tr"))[2:]
    assert len(rows) == 32
    for number, row in enumerate(rows):
        head, *cells, neurons = list(row)
        assert words(head) == str(number)
        assert sum(int(cell.get("colspan", "1")) for cell in cells) == 32
        (filled,) = [cell for cell in cells if cell.get("class")]
        before = cells[: cells.index(filled)]
        assert sum(int(cell.get("colspan", "1")) for cell in before) == number  # it stands under its own layer
        cosine = SEVEN.layers[number].cosine
        assert words(filled) == f"{cosine:.2f}".removeprefix("0")
        assert filled.get("class") == f"h{str(words(filled))[1]}"
        assert words(neurons) == "16/16"


def test_moved_and_new_layers_stand_where_they_come_from() -> None:
    rows = list(section("derived", "layers").iter("tr"))[2:]
    filled = []
    for row in rows:
        at, columns = 0, []
        for cell in list(row)[1:-1]:
            columns += [at] if cell.get("class") else []
            at += int(cell.get("colspan", "1"))
        filled.append(columns)
    assert filled == [[0], [1], [3], [3], [4], []]


def test_experts_of_a_layer_share_a_cell() -> None:
    experts = (layer(0, 0, 0.2), layer(0, 0, 0.4), layer(0, None, 0.0, 0))
    shown = layers_of(replace(DERIVED, layers=experts))
    assert shown is not None
    (row,) = shown.rows
    assert row.cells[0].text == ".30"
    assert row.neurons == "32/48"


def test_neurons_found_in_another_order_are_counted_not_measured() -> None:
    searched = replace(DERIVED, rung="searched-neurons", layers=(layer(0, 0, 0.001, 12),))
    shown = layers_of(searched)
    assert shown is not None
    assert not shown.of_rows
    assert shown.rows[0].cells[0].text == ".75"


@pytest.mark.parametrize(
    "layers",
    [
        (layer(0, 10**9, 0.5),),
        (layer(0, 10**4000, 0.5), layer(10**4000, 3, 1e300)),
        (layer(0, -1, float("nan")), layer(1, 0, 2.0)),
        tuple(layer(i, j) for i, j in product(range(100), range(100))),
    ],
    ids=["far", "digits", "no number", "all pairs"],
)
def test_layers_that_no_map_can_hold_are_a_list(layers: tuple[object, ...]) -> None:
    best: Candidate = replace(DERIVED, layers=layers)  # type: ignore[arg-type]
    shown = layers_of(best)
    assert shown is not None
    assert shown.columns == 0
    text = rendered("html", report(Lineage(verdict="derived", best=best, candidates=(best,))))
    assert len(text) < 60_000
    assert all(re.fullmatch(r"\.\d\d|\u2013", cell.text) for row in shown.rows for cell in row.cells)


def test_a_layer_with_no_reference_is_said_to_match_none() -> None:
    assert "0-29 from none" in words(section("list", "layers"))
    assert not list(section("list", "layers").iter("table"))


def test_findings_stand_gravest_first_and_what_is_covered_last() -> None:
    findings = (
        replace(FAIL, id="A", waived_until="2999-01-01"), replace(FAIL, id="B", status="warn"), PASS,
        replace(FAIL, id="C"), replace(FAIL, id="D", status="manual"), replace(FAIL, id="E", in_baseline=True),
    )  # fmt: skip
    tree = of_report(report(CASES["derived"].lineage, findings=findings))
    acts = [each for each in tree.iter("li") if (each.get("class") or "").startswith("act ")]
    assert [words(act.find("h3")).split()[:2] for act in acts] == [  # type: ignore[arg-type]
        ["fail", "C"], ["fail", "A"], ["fail", "E"], ["warn", "B"],
    ]  # fmt: skip
    assert "covered waived until 2999-01-01" in words(acts[1])
    assert "covered in the baseline" in words(acts[2])
    assert "fix Keep one set of weights in a folder." in words(acts[0])
    assert "clause 1.b.i" in words(acts[0])
    (folded,) = tree.iter("details")
    assert PASS.title in words(folded)
    assert FAIL.title not in words(folded)


def test_what_was_not_read_is_never_folded_or_left_out() -> None:
    made = report(CASES["independent"].lineage, unread=tuple(replace(UNREAD, path=f"{i}.bin") for i in range(10_000)))
    text = rendered("html", made)
    assert "10,000 files, or parts of them," in text
    assert "more unread files" in text
    assert "and 9999 more, see Not read" in text  # one finding, not ten thousand
    (listed,) = [each for each in parsed("list").iter("section") if each.get("class") == "alarm"]
    assert UNREAD.path in words(listed)
    assert not list(listed.iter("details"))
    assert "Nothing that could hold weights was left unread." in words(section("derived", "unread"))


def test_claims_stand_beside_what_the_weights_show() -> None:
    claims = (
        Finding(id="CARD-001", status="fail", title="t", evidence='license: "apache-2.0"', path="README.md"),
        Finding(id="BASE-001", status="pass", title="t", evidence="line 3: llama", path="README.md"),
        Finding(id="NAME-001", status="pass", title="t", evidence="no name or sentence implies it"),
        Finding(id="CARD-005", status="pass", title="t", evidence="a licence", path="README.md"),
        Finding(id="OSI-001", status="n/a", title="t", evidence="silence"),
        Finding(id="LIC-001", status="fail", title="t", evidence="no agreement"),
    )
    made = report(CASES["derived"].lineage, findings=claims)
    tree = of_report(replace(made, target=replace(made.target, adapters=(ADAPTER,))))
    (both,) = [each for each in tree.iter("div") if each.get("class") == "sides"]
    says, shows = list(both)
    said = [words(each) for each in says.iter("li")]
    assert said[:2] == [
        "Base model BASE-001 line 3: llama fits",
        'Licence of the weights CARD-001 license: "apache-2.0" does not fit',
    ]
    assert len(said) == 3
    assert "it names meta-llama/Llama-2-7b-hf as its base" in said[2]
    assert "The weights share descent with llama-2-7b" in words(shows)


def test_every_claim_is_about_a_rule_that_there_is() -> None:
    assert set(CLAIMS) <= {rule.id for rule in RULES}


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("acme/model@1", "auditor scan acme/model@1"),
        ("my model; rm -rf ~", "auditor scan 'my model; rm -rf ~'"),
        ("--help", "auditor scan TARGET"),
        ("zero\u200bwidth", "auditor scan TARGET"),
        ("x" * 5000, "auditor scan TARGET"),
    ],
)
def test_commands_can_be_copied_into_a_shell(uri: str, shown: str) -> None:
    made = CASES["derived"]
    tree = of_report(replace(made, target=replace(made.target, uri=uri)))
    assert shown in [words(code) for code in tree.iter("code")]


def test_backticks_become_code_only_in_pairs() -> None:
    texts = ("Declare `license: <b>` now.", "a ` stray <b>")
    tree = of_report(report(CASES["derived"].lineage, findings=tuple(replace(FAIL, fix=text) for text in texts)))
    fixes = [next(each.iter("dd")) for each in tree.iter("div") if each.get("class") == "fix"]
    assert [words(each) for each in fixes] == ["Declare license: <b> now.", "a ` stray <b>"]
    assert [words(code) for each in fixes for code in each.iter("code")] == ["license: <b>"]


def test_a_7b_page_is_small() -> None:
    assert len(page("seven").encode()) < 60_000


@pytest.mark.parametrize(
    "text",
    ["<", "x ", *(pytest.param(text, marks=pytest.mark.slow) for text in ('"', "\U000e0041", "\u202e", "\u00e9"))],
)
def test_no_report_makes_a_large_page(text: str) -> None:
    shown = rendered("html", too_much(text))
    assert len(shown.encode()) <= MOST_BYTES
    for what in (
        "findings to act on",
        "duties",
        "of these",
        "claims",
        "files",
        "unread files",
        "comparisons",
        "references",
    ):
        assert re.search(rf"And [\d,]+ more {what}", shown)


def test_a_page_of_200_layers_holds_them_all() -> None:
    best = replace(DERIVED, layers=tuple(layer(i, i, 0.4) for i in range(200)), layers_in_model=200)
    tree = of_report(report(Lineage(verdict="derived", best=best, candidates=(best,))))
    (table,) = [each for each in tree.iter("table") if "map" in (each.get("class") or "")]
    assert len(list(table.iter("tr"))) == 202
    assert table.get("class") == "map widest"


def palette(*, dark: bool) -> dict[str, str]:
    """Return the colours by name, as a theme has them."""
    light, _, rest = STYLE.partition("@media screen and (prefers-color-scheme: dark)")
    colours = dict(re.findall(r"--([\w]+): (#[0-9a-f]{6});", light))
    if dark:
        colours |= dict(re.findall(r"--([\w]+): (#[0-9a-f]{6});", rest.partition("\n}\n")[0]))
    return colours


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of WCAG 2.2: (L1 + 0.05) / (L2 + 0.05), L the relative luminance, L1 >= L2."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


GROUNDS = ("page", "card", "soft")
TEXTS = ("ink", "mute", "link", "fail", "warn", "pass", "ask", "gap")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_can_be_read_on_every_ground(dark: bool) -> None:  # noqa: FBT001 (a parameter of the test)
    colours = palette(dark=dark)
    ratios = {(text, ground): contrast(colours[text], colours[ground]) for text, ground in product(TEXTS, GROUNDS)}
    cells = dict(re.findall(r"\.(h\d) \{ background: var\(--h\d\) !important; color: var\(--(\w+)\)", STYLE))
    assert len(cells) == 10
    ratios |= {(text, cell): contrast(colours[text], colours[cell]) for cell, text in cells.items()}
    assert {pair: ratio for pair, ratio in ratios.items() if ratio < 4.5} == {}


def test_the_style_sheet_has_no_colour_that_is_not_held_against_its_ground() -> None:
    after = STYLE.partition("* { box-sizing")[2]
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b", after) == ["#ffffff", "#ffffff"]  # paper
    used = set(re.findall(r"(?<![\w-])color: var\(--(\w+)\)", after))
    assert used <= {*TEXTS, "tone", "low", "mid", "high"}
    assert set(re.findall(r"--tone: var\(--(\w+)\)", after)) <= set(TEXTS)
    grounds = set(re.findall(r"background: var\(--(\w+)\)", after))
    assert grounds <= {*GROUNDS, *(f"h{level}" for level in range(10))}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_scale_goes_one_way(dark: bool) -> None:  # noqa: FBT001 (a parameter of the test)
    colours = palette(dark=dark)
    steps = [contrast(colours[f"h{level}"], colours["page"]) for level in range(10)]
    assert steps == sorted(steps)  # the more alike, the further from the page
