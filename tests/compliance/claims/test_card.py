"""The model card: every way in which front matter can be broken, each with a benign twin beside it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.compliance.claims.card import Card, parse_card
from auditor.compliance.claims.values import PROBLEMS
from auditor.escape import visible
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from auditor.compliance.claims.values import Value


def card(front: str, body: str = "# A model\n") -> Card:
    return parse_card(f"---\n{front}\n---\n{body}".encode(), file="README.md")


def codes(parsed: Card) -> set[str]:
    return {problem.code for problem in parsed.problems}


def texts(values: tuple[Value, ...]) -> list[str]:
    return [value.text for value in values]


def test_every_field_is_read_with_its_line() -> None:
    parsed = card(
        "license: other\n"
        "license_name: my-terms\n"
        "license_link: LICENSE\n"
        "base_model:\n"
        "- meta-llama/Llama-2-7b-hf\n"
        '- "https://huggingface.co/codellama/CodeLlama-7b-hf"\n'
        "base_model_relation: merge\n"
        "datasets: [a/b]\n"
        "tags:\n"
        "- text-generation\n"
        "- 7\n"
        "model_name: Thing 7B\n"
        "library_name: transformers\n"
        "pipeline_tag: text-generation\n"
        "extra_gated_heading: Accept\n"
        "extra_gated_prompt: |\n"
        "  LLAMA 2 COMMUNITY LICENSE AGREEMENT\n"
        "  second line\n"
        "extra_gated_fields:\n"
        "  Name: text\n"
        "  Country: country"
    )
    assert parsed.problems == ()
    assert parsed.complete
    assert parsed.has_front_matter
    assert [(value.text, value.line, value.key) for value in parsed.base_model] == [
        ("meta-llama/Llama-2-7b-hf", 6, "base_model[0]"),
        ("https://huggingface.co/codellama/CodeLlama-7b-hf", 7, "base_model[1]"),
    ]
    assert (parsed.license[0].text, parsed.license[0].line) == ("other", 2)
    assert (parsed.license_name.text, parsed.license_link.text) == ("my-terms", "LICENSE")
    assert parsed.base_model_relation.text == "merge"
    assert texts(parsed.datasets) == ["a/b"]
    assert texts(parsed.tags) == ["text-generation", "7"]
    assert (parsed.model_name.text, parsed.library_name.text) == ("Thing 7B", "transformers")
    assert parsed.pipeline_tag.text == "text-generation"
    assert parsed.extra_gated_heading.text == "Accept"
    assert parsed.extra_gated_prompt.text == "LLAMA 2 COMMUNITY LICENSE AGREEMENT\nsecond line\n"
    assert texts(parsed.extra_gated_fields) == ["Name", "Country"]
    assert parsed.body == "# A model\n"
    assert parsed.body_line == 24


def test_no_front_matter_is_no_problem() -> None:
    parsed = parse_card(b"# Title\n\nlicense: mit\n", file="README.md")
    assert parsed == Card(path="README.md", body="# Title\n\nlicense: mit\n")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"\n---\nlicense: mit\n---\n", 2),
        (b"# Title\n\n---\nlicense: mit\n---\n", 3),
        (b"<!-- x -->\n---\nbase_model: a/b\n---\n", 2),
    ],
)
def test_metadata_below_line_1_declares_nothing_and_is_reported(data: bytes, line: int) -> None:
    parsed = parse_card(data, file="README.md")
    assert parsed.license == ()
    assert not parsed.has_front_matter
    assert [(problem.code, problem.line) for problem in parsed.problems] == [("front-matter-late", line)]


def test_rules_and_tables_further_down_are_not_metadata() -> None:
    body = b"# T\n\n---\n\nlicensed under: MIT, said the page\n\n---\n\n| a | b |\n|---|---|\n"
    assert parse_card(body, file="README.md").problems == ()


def test_unterminated_front_matter_is_reported_and_its_text_is_body() -> None:
    parsed = parse_card(b"---\nlicense: mit\n# Title\n", file="README.md")
    assert codes(parsed) == {"front-matter-unterminated"}
    assert not parsed.complete
    assert parsed.license == ()
    assert parsed.body_line == 2


def test_a_markdown_rule_on_line_1_is_not_unterminated_front_matter() -> None:
    parsed = parse_card(b"---\n\n# Clinical Something\n\nText.\n", file="README.md")
    assert parsed.problems == ()
    assert parsed.complete
    assert "# Clinical Something" in parsed.body


# what is refused, and the benign card next to it -----------------------------------------------------------------

BOMB = "\n".join(
    ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 11)] + ["license: mit"]
)

BROKEN = {
    "yaml bomb": (BOMB, "alias"),
    "yaml cycle": ("a: &a [*a]", "alias"),
    "python tag": ("license: !!python/object/apply:os.system ['id']", "tag"),
    "local tag": ("license: !mine mit", "tag"),
    "merge key": ("<<: {license: mit}", "yaml-merge"),
    "duplicate licence": ("license: mit\nlicense: llama2", "duplicate-key"),
    "norway": ("license: no", "yaml-boolean"),
    "licence is a map": ("license: {name: mit}", "wrong-type"),
    "licence is a number": ("license: 2.0", "wrong-type"),
    "licence list of lists": ("license: [[mit]]", "wrong-type"),
    "base model is a date": ("base_model: 2023-07-18", "wrong-type"),
    "empty base model": ("base_model: []", "empty-value"),
    "null licence": ("license:", "empty-value"),
    "blank licence": ("license: '  '", "empty-value"),
    "tabs": ("license:\tmit", "yaml-syntax"),
    "tab indent": ("base_model:\n\t- a/b", "yaml-syntax"),
    "NUL": ("license: mit\nx: \x00", "yaml-syntax"),
    "deep flow": ("a: " + "[" * 50_000, "too-deep"),
    "deep map": ("a: " + "{a: " * 50_000, "too-deep"),
    "deep dashes": ("- " * 20_000, "too-deep"),
    "deep questions": ("? " * 20_000, "too-deep"),
    "not a map": ("just words", "not-a-mapping"),
    "a list": ("- license", "not-a-mapping"),
    "two documents": ("license: mit\n--- {license: llama2}", "document-count"),
    "complex key": ("? [a, b]\n: c", "complex-key"),
    "misspelt": ("licence: mit", "misspelt-key"),
    "capital": ("License: mit", "misspelt-key"),
    "bad escape": ('a: "\\xZZ"', "yaml-syntax"),
    "escape past Unicode": ('a: "\\UFFFFFFFF"', "yaml-syntax"),
    "absurd directive": ("%YAML 1." + "9" * 5000, "yaml-syntax"),
    "token": ("base_model: hf_" + "a" * 34, "secret"),
    "too many values": ("tags: [" + "a," * 5000 + "]", "too-large"),
    "too many nodes": ("x: [" + "1," * (LIMITS.yaml_nodes + 1) + "]", "too-large"),
    "too long": ("x: " + "y" * (LIMITS.front_matter + 1), "too-large"),
}

BENIGN = {
    "yaml bomb": "a0: [x, x]\nlicense: mit",
    "yaml cycle": "a: &a [b]\nlicense: mit",
    "python tag": "license: '!!python/object/apply:os.system'",
    "local tag": "license: !!str mit",
    "merge key": "'<<': {license: mit}",
    "duplicate licence": "license: mit\nx: {license: llama2}",
    "norway": "license: 'no'",
    "licence is a map": "license: [mit]",
    "licence is a number": "license: '2.0'",
    "licence list of lists": "license: [mit, apache-2.0]",
    "base model is a date": "base_model: a/2023-07-18",
    "empty base model": "base_model: [a/b]",
    "null licence": "license: other",
    "blank licence": "license: ' mit '",
    "tabs": "license: mit\t",
    "tab indent": "base_model:\n  - a/b",
    "NUL": "license: mit\nx: '\\0'",
    "deep flow": "a: " + "[" * 20 + "]" * 20,
    "deep map": "a: " + "{a: " * 20 + "1" + "}" * 20,
    "deep dashes": "a:\n" + "- " * 20,
    "deep questions": "license: mit?",
    "not a map": "",
    "a list": "license: [mit]",
    "two documents": "license: mit\n# ...\n",
    "complex key": "? a\n: c",
    "misspelt": "spelling_of_licence: mit",
    "capital": "LICENSES_NOTE: mit",
    "bad escape": 'a: "\\x41"',
    "escape past Unicode": 'a: "\\U0001F999"',
    "absurd directive": "%YAML 1.1\n--- # metadata\nlicense: mit",
    "token": "base_model: hf_mirror/model",
    "too many values": "tags: [" + "a," * 500 + "]",
    "too many nodes": "x: [" + "1," * 1000 + "]",
    "too long": "x: " + "y" * 1000,
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_metadata_is_a_problem_and_never_an_exception(case: str) -> None:
    front, code = BROKEN[case]
    start = time.monotonic()
    parsed = card(front)
    assert codes(parsed) <= set(PROBLEMS)
    assert code in codes(parsed)
    assert time.monotonic() - start < 60  # seconds in place of hours
    assert parsed.body == "# A model\n"


@pytest.mark.parametrize("case", BENIGN)
def test_the_benign_twin_has_no_problem(case: str) -> None:
    parsed = card(BENIGN[case])
    assert parsed.problems == ()
    assert parsed.complete


def test_both_of_two_licences_are_handed_over() -> None:
    parsed = card("license: mit\nlicense: llama2")
    assert [(value.text, value.line) for value in parsed.license] == [("mit", 2), ("llama2", 3)]


def test_a_licence_that_could_not_be_taken_makes_the_card_incomplete() -> None:
    assert not card("license: no").complete
    assert not card("a: &a mit\nlicense: *a").complete
    assert card("a: &a mit\nb: *a\nlicense: mit").complete


def test_values_before_the_break_are_kept_and_the_rest_is_said_to_be_missing() -> None:
    parsed = card("license: llama2\nbase_model: a/b\nx: [")
    assert texts(parsed.license) == ["llama2"]
    assert not parsed.complete


@pytest.mark.parametrize("data", ["---\nlicense: mit\n---\n".encode("utf-16"), b"---\nlicense: m\xffit\n---\n"])
def test_text_that_is_not_utf8_is_reported(data: bytes) -> None:
    parsed = parse_card(data, file="README.md")
    assert "not-text" in codes(parsed)
    assert not parsed.complete


def test_a_byte_order_mark_is_reported_and_read_past() -> None:
    parsed = parse_card(b"\xef\xbb\xbf---\nlicense: mit\n---\n", file="README.md")
    assert codes(parsed) == {"byte-order-mark"}
    assert texts(parsed.license) == ["mit"]


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
def test_any_line_end_will_do(end: str) -> None:
    parsed = parse_card(f"---{end}license: mit{end}---{end}body{end}".encode(), file="README.md")
    assert texts(parsed.license) == ["mit"]
    assert (parsed.body, parsed.body_line) == ("body\n", 4)


def test_an_over_long_card_is_cut_even_within_a_character() -> None:
    data = b"---\nlicense: mit\n---\n" + "é".encode() * (LIMITS.card_bytes // 2)
    parsed = parse_card(data, file="README.md")
    assert codes(parsed) == {"too-large"}
    assert texts(parsed.license) == ["mit"]
    assert not parsed.complete


def test_hostile_characters_are_kept_for_the_escaping_at_the_exit() -> None:
    parsed = card('license: "\\x1b[31m\\u202e\\x9b"\nmodel_name: "<script>\\n::set-output"')
    assert parsed.license[0].text == "\x1b[31m\u202e\x9b"
    assert visible(parsed.license[0].text) == "\\x1b[31m\\u202e\\x9b"
    assert "\n" not in visible(parsed.model_name.text)


def test_an_access_token_is_not_repeated() -> None:
    token = "hf_" + "Ab1" * 12
    parsed = card(f"license_link: https://x.example/?t={token}")
    assert token not in repr(parsed)
    assert codes(parsed) == {"secret"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "front",
    [
        "k: v\n" * 90_000,
        "- \n" * 170_000,
        "a: '" + "''" * 250_000,
        "a: " + "x\n " * 170_000,
        "a: |\n" + " x\n" * 170_000,
        "#" * 500_000,
        "a: " + "!" * 500_000,
        'a: "' + "\\\n" * 250_000,
        "&a " * 170_000,
        "a: {" * 120_000,
        "[" * 500_000,
        "%a\n" * 170_000,
    ],
    ids=[
        "keys",
        "dashes",
        "quotes",
        "folded",
        "block",
        "comment",
        "bangs",
        "breaks",
        "anchors",
        "maps",
        "lists",
        "%",
    ],
)
def test_large_metadata_stays_within_five_seconds(front: str) -> None:
    start = time.monotonic()
    card(front)
    assert time.monotonic() - start < 60  # seconds in place of hours


@given(st.binary(max_size=400))
def test_any_bytes_give_a_card(data: bytes) -> None:
    assert isinstance(parse_card(data, file="README.md"), Card)


YAML_ISH = st.text(alphabet="---\n: []{}&*!?|>'\"%#@`,abclicense0\\xuU\t\x00\x85\u2028\ufeff~<", max_size=120)


@settings(max_examples=400)
@given(YAML_ISH)
def test_anything_like_yaml_gives_a_card(front: str) -> None:
    parsed = card(front)
    assert all(problem.line is None or problem.line >= 1 for problem in parsed.problems)


@given(
    st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9-]{0,20}/[A-Za-z0-9][A-Za-z0-9.-]{0,20}", fullmatch=True), max_size=9)
)
def test_base_models_round_trip(names: list[str]) -> None:
    front = "base_model:\n" + "".join(f"- {name}\n" for name in names) if names else "base_model: x/y"
    assert texts(card(front).base_model) == (names or ["x/y"])
