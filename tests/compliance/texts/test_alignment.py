"""The aligner and the hash table of official texts: on made-up words, and on the codes of every official text."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.compliance.texts.alignment import Edit, align, gram_starts, leftmost
from auditor.compliance.texts.license_hashes import UNKNOWN, OfficialText, gram_index, hash_table, hexadecimal, parse

OFFICIAL = {text.id: text for text in hash_table().texts}
LLAMA2_CLAUSES = (
    *("preamble", "1", "1.a", "1.b", "1.b.i", "1.b.ii", "1.b.iii", "1.b.iv", "1.b.v", "2", "3", "4"),
    *("5", "5.a", "5.b", "5.c", "6", "7"),
)
OTHER = "\u4e00"  # a code that no official text uses


def edits_of(official: OfficialText, codes: str) -> tuple[Edit, ...] | None:
    alignment = align(official.codes, official.grams, codes, gram_starts(codes, official.grams, limit=10**6))
    return alignment.edits if alignment else None


def test_the_table_holds_hashes_and_no_text() -> None:
    raw = files("auditor.compliance.texts").joinpath("data/license_hashes.json").read_text("utf-8")
    assert len(raw) < 300_000
    for text in json.loads(raw)["texts"]:
        for words in (*text["clauses"], *text["alternatives"]):
            assert all(len(word) == 16 and int(word, 16) >= 0 for word in words["words"].split())


def test_every_text_is_there_once() -> None:
    products = ("llama-2", "llama-3", "llama-3.1", "llama-3.2", "llama-3.3", "llama-4")
    assert list(OFFICIAL) == [f"{product}-{document}" for product in products for document in ("license", "policy")]
    for text in OFFICIAL.values():
        assert hash_table().get(text.product, text.document) is text


def test_clauses_cover_a_text_without_gaps() -> None:
    assert tuple(clause.name for clause in OFFICIAL["llama-2-license"].clauses) == LLAMA2_CLAUSES
    for text in OFFICIAL.values():
        assert text.clauses[0].start == 0
        assert text.clauses[-1].stop == len(text.codes)
        assert all(a.stop == b.start for a, b in zip(text.clauses, text.clauses[1:], strict=False))
        for index, clause in enumerate(text.clauses):
            assert text.clause_index(clause.start) == text.clause_index(clause.stop - 1) == index


def test_a_ban_that_llama_3_1_dropped_is_no_clause_of_it() -> None:
    names = {text.id: {clause.name for clause in text.clauses} for text in OFFICIAL.values()}
    assert "1.b.v" in names["llama-2-license"] & names["llama-3-license"]
    assert "1.b.v" not in names["llama-3.1-license"] | names["llama-4-license"]


def test_official_variants_are_known() -> None:
    assert sorted(OFFICIAL["llama-2-license"].alternatives) == [(0, 5, ""), (870, 871, "")]


def test_a_table_of_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="license table of format 'x'"):
        parse({"format": "x", "texts": []})


def test_unknown_words_have_one_code() -> None:
    assert hash_table().encode(["agreement", "xyzzy", "agreement"])[1] == UNKNOWN
    assert len(set(hash_table().encode(["agreement", "the", "agreement"]))) == 2
    assert hexadecimal(["agreement"]) == hexadecimal(["agreement"]) != hexadecimal(["agreements"])


@pytest.mark.parametrize("name", OFFICIAL)
def test_each_text_is_found_in_noise_without_edits(name: str) -> None:
    official = OFFICIAL[name]
    noise = UNKNOWN * 300 + official.codes[50:53] + UNKNOWN * 40
    codes = noise + official.codes + noise
    alignment = align(official.codes, official.grams, codes, gram_starts(codes, official.grams, limit=10**6))
    assert alignment is not None
    assert (alignment.edits, alignment.start, alignment.matched) == ((), len(noise), len(official.codes))


@pytest.mark.parametrize("name", OFFICIAL)
def test_each_edited_word_of_each_text_is_one_edit_in_its_place(name: str) -> None:
    official = OFFICIAL[name]
    codes = official.codes
    for at in range(0, len(codes), 7):
        changed, deleted = edits_of(official, codes[:at] + OTHER + codes[at + 1 :]), codes[:at] + codes[at + 1 :]
        assert changed is not None
        assert [(edit.a0, edit.a1) for edit in changed] == [(at, at + 1)]
        missing = edits_of(official, deleted)
        assert missing is not None
        assert len(missing) == 1
        assert leftmost(codes, missing[0], "")[:2] == leftmost(codes, Edit(at, at + 1, at, at), "")[:2]
        added = edits_of(official, codes[: at + 1] + OTHER + codes[at + 1 :])
        if at + 1 < len(codes):  # after the last word it is not part of the text
            assert added == (Edit(at + 1, at + 1, at + 1, at + 2),)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_edits_rebuild_the_file(data: st.DataObject) -> None:
    """Law: the text with its edits applied is the file, whatever was done to it."""
    official = OFFICIAL[data.draw(st.sampled_from(sorted(OFFICIAL)))]
    codes = official.codes
    for _ in range(data.draw(st.integers(0, 12))):
        at = data.draw(st.integers(0, len(codes)))
        gone = data.draw(st.integers(0, 30))
        new = data.draw(st.text(alphabet=[*codes[:40], OTHER, UNKNOWN], max_size=20))
        codes = codes[:at] + new + codes[at + gone :]
    alignment = align(official.codes, official.grams, codes, gram_starts(codes, official.grams, limit=10**6))
    if alignment is None:
        return
    rebuilt, at = "", 0
    for edit in alignment.edits:
        assert at <= edit.a0 <= edit.a1
        rebuilt += official.codes[at : edit.a0] + codes[edit.b0 : edit.b1]
        at = edit.a1
    assert rebuilt + official.codes[at:] == codes[alignment.start : alignment.stop]
    assert alignment.matched == len(official.codes) - sum(edit.a1 - edit.a0 for edit in alignment.edits)


def test_the_better_of_two_copies_is_chosen() -> None:
    official = OFFICIAL["llama-2-license"]
    worse = official.codes[:400] + OTHER * 30 + official.codes[450:]
    for codes in (worse + official.codes, official.codes + worse):
        assert edits_of(official, codes) == ()


def test_nothing_in_common_is_no_alignment() -> None:
    official = OFFICIAL["llama-2-license"]
    assert edits_of(official, UNKNOWN * 500) is None
    assert edits_of(official, "") is None


@pytest.mark.parametrize(
    ("edit", "inserted", "expected"),
    [
        (Edit(2, 3, 2, 2), "", (1, 2, "")),  # either of "bb" left out
        (Edit(3, 3, 3, 4), "b", (1, 1, "b")),  # a third "b"
        (Edit(3, 4, 3, 4), "x", (3, 4, "x")),  # a change has one place
    ],
)
def test_the_leftmost_form_of_an_edit(edit: Edit, inserted: str, expected: tuple[int, int, str]) -> None:
    assert leftmost("abbc", edit, inserted) == expected


def test_gram_index_keeps_four_places() -> None:
    assert gram_index("ab" * 20)["ababa"] == (0, 2, 4, 6)
    assert gram_index("abc") == {}
