"""From bytes to words: encodings, markup, what is hidden, and lines that stay where they were."""

from __future__ import annotations

import html
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.compliance.texts.normalize import Text, decode, fold

SAMPLE = "Licensee\u2019s \u201cNotice\u201d \u2013 Copyright \u00a9 Example"


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "mac_roman"],
)
def test_decode_reads_each_encoding(encoding: str) -> None:
    assert decode(SAMPLE.encode(encoding)) == SAMPLE


@given(st.binary(max_size=300))
def test_decode_never_raises(data: bytes) -> None:
    assert isinstance(decode(data), str)


def test_decode_keeps_utf8_with_one_bad_byte() -> None:
    assert decode((SAMPLE * 9).encode() + b"\xff") == SAMPLE * 9 + "\ufffd"


@given(st.text(max_size=200))
def test_decode_undoes_utf8(text: str) -> None:
    if "\x00" not in text and "\ufeff" not in text[:1]:
        assert decode(text.encode("utf-8", "ignore")) == text.encode("utf-8", "ignore").decode()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Meta's Meta\u2019s Meta`s Meta?s", ["metas"] * 4),
        ("non-exclusive non\u2011exclusive non-\nexclusive non-\n> exclusive non- exclusive", ["nonexclusive"] * 5),
        ("non\u00ad\nexclusive non\u00adexclusive", ["nonexclusive"] * 2),
        ("one - two \u2013 three \u2014 four", ["one", "two", "three", "four"]),
        ("(c) \u00a9 &copy; (C)", ["\u00a9"] * 4),
        ("Copyright ? Example", ["copyright", "\u00a9", "example"]),
        ("\ufb01ne \uff2deta", ["fine", "meta"]),
        ("**Llama** _Materials_ `x` # 3\\. \\[y\\]", ["llama", "materials", "x", "3", "y"]),
        ('[the text](https://example.org/a_(b) "title") after', ["the", "text", "after"]),
        ("[a](b)[)](c)", ["a"]),
        ("<https://example.org/x> https://example.org/x example.org/x", ["example", "org", "x"] * 3),
        ("https\n://example.org ht\n> tps://example.org", ["example", "org"] * 2),
        ("<p>one</p><p>two</p>th<b>r</b>ee<br/>four", ["one", "two", "three", "four"]),
        ("a <NAME> b <unk> c < d > e", ["a", "name", "b", "unk", "c", "d", "e"]),
        ("one&nbsp;two &quot;three&quot; &#x66;our &bogus; five", ["one", "two", "three", "four", "bogus", "five"]),
        ('say \\"one\\"\\ntwo\\tthree \\u201cfour\\u201d', ["say", "one", "two", "three", "four"]),
        ("Llama\u2122 a\u200bb \u202eabc\u202c", ["llama", "ab", "abc"]),
        ("Licensee\u00e2\u20ac\u2122s \u00c2\u00a9", ["licensees", "\u00a9"]),
    ],
)
def test_words_of(text: str, words: list[str]) -> None:
    assert list(Text.of(text).folded) == words


@pytest.mark.parametrize(
    ("text", "words", "hidden"),
    [
        ("a <!-- b --> c", ["a", "c"], [" b "]),
        ("a ~~b c~~ d", ["a", "d"], ["b c"]),
        ("~~~\na b\n~~~", ["a", "b"], []),  # a code fence
        ("a <del>b <b>c</b></del> d", ["a", "d"], ["b <b>c</b>"]),
        ("a <div hidden>b</div> c", ["a", "c"], ["b"]),
        ('a <span style="display: none">b</span> c', ["a", "c"], ["b"]),
        ("a <script>b</script> c <style>d</style>", ["a", "c"], ["b", "d"]),
        ("<s> [INST] a\n\nb </s> c", ["inst", "a", "b", "c"], []),  # a prompt, not struck out
        ("a <s>b</s> c", ["a", "c"], ["b"]),
        ("a <!-- b", ["a", "b"], []),  # never closed: shown
        ("a <del>b", ["a", "b"], []),
    ],
)
def test_what_is_not_shown_is_left_out_and_kept_beside(text: str, words: list[str], hidden: list[str]) -> None:
    read = Text.of(text)
    assert (list(read.folded), [remark.text for remark in read.hidden]) == (words, hidden)
    assert "b" in Text.of(text, with_hidden=True).folded


@pytest.mark.parametrize(
    "between",
    ["\n\n", "\r\n\r\n", "\r\r", "<br>\n\n", "<!-- x\n -->\n", "~~x\ny~~\n", "[a](http:\n//b)\n", "\\n\n\n"],
)
def test_lines_stay_where_they_were(between: str) -> None:
    text = Text.of(f"first{between}second")
    assert text.line(0) == 1
    assert text.line(len(text.words) - 1) == text.line(99) == 3


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("1. One\n  a) two\n> iv. three\n* (b) four", ["1", "a", "iv", "b"]),
        ("<li>2. x</li>", ["2"]),
        ("**3**. x\n4\\. y", ["3", "4"]),
        ("see 5. here", []),
        ("Inc. x\n2023. y\nwe. z", []),
    ],
)
def test_list_marks(text: str, marks: list[str]) -> None:
    read = Text.of(text)
    assert [word for index, word in enumerate(read.words) if read.is_list_mark(index)] == marks


def test_quotes_are_short_and_on_one_line() -> None:
    text = Text.of("one\n  two\tthree " + "word " * 5000)
    assert text.quote(0, 3) == "one two three"
    assert len(text.quote(0, 4000)) <= 160
    assert text.quote(2, 2) == ""


def test_invisible_characters_inside_words_are_told_by_line() -> None:
    assert Text.of("one\ntw\u200bo\nthree \u200b\n\u202efour").invisible == (2, 4)


@given(st.text(max_size=40))
def test_folding_is_stable(word: str) -> None:
    assert fold(fold(word)) == fold(word) or not word.isascii()


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_any_text_is_read(text: str) -> None:
    read = Text.of(text)
    assert len(read.words) == len(read.starts) == len(read.folded)
    assert all(read.clean[i : i + len(w)] == w for w, i in zip(read.words, read.starts, strict=True))
    assert read.clean.count("\n") <= text.replace("\r\n", "\n").replace("\r", "\n").count("\n")


@given(st.text(alphabet="abc <>&;\"'\n", max_size=60))
def test_escaped_html_reads_as_itself(text: str) -> None:
    assert Text.of(html.escape(text)).folded == Text.of(text.replace("<", " ").replace(">", " ")).folded or "&" in text


def test_only_single_words_are_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    """`unicodedata.normalize` takes quadratic time on runs of combining marks: minutes for half a megabyte."""
    longest = 0

    def normalize(form: str, text: str) -> str:
        nonlocal longest
        longest = max(longest, len(text))
        return unicodedata.normalize(form, text)

    monkeypatch.setattr("auditor.compliance.texts.normalize.unicodedata", type("U", (), {"normalize": normalize}))
    assert Text.of("a" + "\u0300\u0327" * 200_000 + "\u00e9" * 10_000).folded
    assert 0 < longest <= 64
