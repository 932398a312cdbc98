"""Editing single fields of a card: the field says what it shall, and every other byte is the author's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml
from cardkit import apply_diff, bare, cards
from hypothesis import given
from hypothesis import strategies as st

from auditor.compliance.claims.card import parse_card
from auditor.compliance.fixes.cardpatch import CardPatch, FieldEdit, patch_card
from auditor.compliance.fixes.lineedit import LineEdit, NotEdited

if TYPE_CHECKING:
    from collections.abc import Sequence

WRONG = {"mit", "apache-2.0", "cc-by-4.0"}
LICENSE = FieldEdit(key="license", value="llama2", wrong=lambda text: text in WRONG)
LINK = FieldEdit(key="license_link", value="https://example.org/terms", after="license")
BASE = FieldEdit(key="base_model", value="acme/base-7b", wrong=lambda text: "mistral" in text)
RELATION = FieldEdit(key="base_model_relation", value="finetune", after="base_model")
ALL = (LICENSE, LINK, BASE, RELATION)


def patched(text: str, edits: Sequence[FieldEdit] = (LICENSE,)) -> str:
    patch = patch_card(text, edits, file="README.md")
    assert isinstance(patch, CardPatch), patch
    again = patch_card(patch.after, edits, file="README.md")
    assert isinstance(again, CardPatch)
    assert (again.after, again.written, again.diff) == (patch.after, (), ())
    return patch.after


def refused(text: str, edits: Sequence[FieldEdit] = ALL) -> str:
    patch = patch_card(text, edits, file="README.md")
    assert isinstance(patch, NotEdited), patch
    return patch.reason


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("license: mit\n", "license: llama2\n"),
        ("license:   mit   # ours\nx: 1\n", "license:   llama2   # ours\nx: 1\n"),
        ("license: 'mit'\n", "license: 'llama2'\n"),
        ('license: "apache-2.0" # a\n', 'license: "llama2" # a\n'),
        ("license:\n  mit\n", "license:\n  llama2\n"),
        ("license: >-\n  mit\n# c\nx: 1\n", "license: llama2\n# c\nx: 1\n"),
        ("license:\nx: 1\n", "license: llama2\nx: 1\n"),
        ("license: # to do\nx: 1\n", "license: llama2 # to do\nx: 1\n"),
        ("license: ~\n", "license: llama2\n"),
        ("license: ''\n", "license: 'llama2'\n"),
        ("license: []\n", "license: llama2\n"),
        ("license: [mit]\n", "license: [llama2]\n"),
        ("license: [mit, agpl-3.0, 'apache-2.0']\n", "license: [llama2, agpl-3.0]\n"),
        ("license: [agpl-3.0,   mit]\n", "license: [agpl-3.0,   llama2]\n"),
        ("license: [\n  mit,\n  apache-2.0,\n]\n", "license: [\n  llama2,\n]\n"),
        ("license:\n- mit # a\n- agpl-3.0\n- apache-2.0 # b\n", "license:\n- llama2 # a\n- agpl-3.0\n"),
        ("license:\n  -\n  - \nx: 1\n", "license:\n  - llama2\n  - \nx: 1\n"),
        ("x: 1\n", "x: 1\nlicense: llama2\n"),
        ("  x: 1\n", "  x: 1\n  license: llama2\n"),
        ("# only a comment\n", "# only a comment\nlicense: llama2\n"),
        ("", "license: llama2\n"),
        ("x: |\n  license: mit\n\n", "x: |\n  license: mit\n\nlicense: llama2\n"),
        ("tags:\n- a\n", "tags:\n- a\nlicense: llama2\n"),
        ("? license\n: mit\n", "? license\n: llama2\n"),
        ("license: &a mit\n", "license: llama2\n"),
        ("license: mit\t\nx: 1\n", "license: llama2\t\nx: 1\n"),
        ("m:\n- license: mit\n  base_model: x\n", "m:\n- license: mit\n  base_model: x\nlicense: llama2\n"),
        ("t: 'a\u2028b'\nlicense: mit\n", "t: 'a\u2028b'\nlicense: llama2\n"),
        ("license: agpl-3.0\n", "license: agpl-3.0\n"),
        ("license: [llama2, agpl-3.0]\n", "license: [llama2, agpl-3.0]\n"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["", "bom"])
def test_only_the_field_changes(before: str, after: str, end: str, mark: str) -> None:
    before, after = (
        mark + f"---\n{front}---\n# Title\n\n---\nlicense: mit\n".replace("\n", end) for front in (before, after)
    )
    assert patched(before) == after


def test_new_fields_stand_with_their_kin() -> None:
    card = "---\nlicense: mit # x\nbase_model:\n- mistral-7b\n\ntags: [a]\n---\n"
    expected = (
        "---\nlicense: llama2 # x\nlicense_link: https://example.org/terms\n"
        "base_model:\n- acme/base-7b\nbase_model_relation: finetune\n\ntags: [a]\n---\n"
    )
    assert patched(card, ALL) == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "---\nlicense: llama2\n---\n"),
        ("# Title\n", "---\nlicense: llama2\n---\n\n# Title\n"),
        ("\nText", "---\nlicense: llama2\n---\n\nText"),
        ("# Title\r\n\r\n---\r\n", "---\r\nlicense: llama2\r\n---\r\n\r\n# Title\r\n\r\n---\r\n"),
        ("\ufeff# Title\n", "\ufeff---\nlicense: llama2\n---\n\n# Title\n"),
        ("---\n\nA rule, and text\n", "---\nlicense: llama2\n---\n\n---\n\nA rule, and text\n"),
    ],
)
def test_front_matter_where_there_is_none(before: str, after: str) -> None:
    assert patched(before) == after


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("---\nlicense: mit\n", "no closing ---"),
        ("\n---\nlicense: mit\n---\n", "not at line 1"),
        ("---\nlicense: mit\nlicense: mit\n---\n", "line 3: 'license' occurs again"),
        ("---\na: &x mit\nlicense: *x\n---\n", "alias"),
        ("---\na: &x [1]\nb: *x\nlicense: mit\n---\n", "alias"),
        ("---\n<<: {license: mit}\n---\n", "merge key"),
        ("---\nlicense: !!python/name:os.system mit\n---\n", "tag"),
        ("---\nlicense: {a: b}\n---\n", "a map, not text"),
        ("---\nlicense: [a, [mit]]\n---\n", "a list, not text"),
        ("---\nlicense: no\n---\n", "boolean"),
        ("---\nlicense: 'mit\n---\n", "unexpected end"),
        ("---\n{license: mit}\n---\n", "one key to a line"),
        ("---\n- license\n---\n", "not a map"),
        ("---\nlicense: mit\n...\n---\n", "document marks"),
        ("---\n%YAML 1.1\n--- # x\nlicense: mit\n---\n", "document marks"),
        ("---\nlicense: [mit, # a\n  apache-2.0]\n---\n", "line 2: a value of several lines, with a comment"),
        ("---\nlicense:\n- agpl-3.0\n- mit\n-\n  apache-2.0\n---\n", "line 6: an item that shares its lines"),
    ],
)
def test_what_is_left_alone(text: str, says: str) -> None:
    assert says in refused(text)


def test_words_that_yaml_reads_as_something_else_are_quoted() -> None:
    for value in ("1.0", "no", "2024-01-01", "a: b", "a #b", "*x", "é", 'a"b', "null"):
        edit = FieldEdit(key="base_model", value=value, comment="look")
        card = parse_card(patched("---\nx: 1\n---\n", [edit]).encode(), file="README.md")
        assert [v.text for v in card.base_model] == [value]
        assert card.complete


def _loaded(text: str) -> dict[str, object]:
    front = re.match(r"\ufeff?---\r?\n(.*?)^---", text, re.DOTALL | re.MULTILINE)
    if front is None:
        return {}
    return yaml.safe_load(re.sub(r"[ \t]+(?=\r?$)", "", front[1], flags=re.MULTILINE)) or {}


@given(cards())
def test_any_card_is_put_right_once(text: str) -> None:
    after = patched(text, ALL)
    old, new = _loaded(text), _loaded(after)
    keys = {edit.key for edit in ALL}
    assert {k: v for k, v in old.items() if k not in keys} == {k: v for k, v in new.items() if k not in keys}
    said = new["license"] if isinstance(new["license"], list) else [new["license"]]
    was = old.get("license") or []
    kept = [value for value in ([was] if isinstance(was, str) else was) if value not in WRONG]
    assert [value for value in said if value != "llama2"] == [value for value in kept if value != "llama2"]
    assert not WRONG & set(said)
    assert after.startswith("\ufeff") == text.startswith("\ufeff")
    assert ("\r\n" in after) == ("\r\n" in text) or "\n" not in text
    assert not re.search(r"(?<!\r)\n", after) or not re.search(r"\r\n", text)


@given(cards())
def test_the_diff_is_the_change(text: str) -> None:
    patch = patch_card(text, ALL, file="README.md")
    assert isinstance(patch, CardPatch)
    assert apply_diff(text.removeprefix("\ufeff"), patch.diff) == bare(patch.after.removeprefix("\ufeff"))


_WORDS = ("license", "base_model", "mit", "llama2", "a", "&x", "*x", "!!str", "...", "---", "é", *":-,[]{}'\"|>#?%")
_PIECES = st.sampled_from([*_WORDS, ": ", "- ", " # ", "&x ", "\n", "\n  ", "\n- ", "\t", "\r", "\u2028", "\x85", "\0"])


@given(st.lists(_PIECES, max_size=25).map("".join), st.sampled_from(["\n---\n", "\n---\nText", "\n"]))
def test_no_card_breaks_it(front: str, rest: str) -> None:
    text = f"---\n{front}{rest}"
    patch = patch_card(text, ALL, file="README.md")
    if isinstance(patch, CardPatch):
        assert patched(patch.after, ALL) == patch.after
        card = parse_card(patch.after.encode(), file="README.md")
        assert card.complete
        assert not WRONG & {value.text for value in card.license}


@given(st.text("ab\n", max_size=60), st.data())
def test_line_edits_and_their_diff_agree(text: str, data: st.DataObject) -> None:
    edit = LineEdit(text)
    for _ in range(data.draw(st.integers(0, 5))):
        line = data.draw(st.integers(0, len(edit.lines)))
        if line == len(edit.lines) or data.draw(st.booleans()):
            if line < len(edit.lines) or text.endswith("\n") or not text:
                edit.insert(line, data.draw(st.lists(st.sampled_from(["a", "b", "c"]), max_size=3)))
        elif data.draw(st.booleans()):
            edit.delete(line)
        else:
            edit.replace((line, 0), (line, len(edit.lines[line])), data.draw(st.sampled_from(["x", "a"])))
    assert apply_diff(text, edit.diff()) == bare(edit.text)
