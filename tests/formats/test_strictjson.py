from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.errors import BadJson, DuplicateName, FileError, LimitExceeded, NotText, WrongType
from auditor.formats.strictjson import expect, loads, quoted
from auditor.limits import LIMITS


def read(data: bytes) -> object:
    return loads(data, file="config.json", field="text")


DEEP = LIMITS.json_depth
DIGITS = LIMITS.json_number

# name: (refused, its benign twin, error)
REFUSED = {
    "empty": (b"", b"{}", BadJson),
    "only white space": (b" \n", b" \n{}", BadJson),
    "vertical tab before": (b"\x0b{}", b"\t{}", BadJson),
    "trailing garbage": (b"{}x", b"{} ", BadJson),
    "trailing nul": (b"{}\0", b"{}\n", BadJson),
    "second value": (b"{}{}", b"[{},{}]", BadJson),
    "bom": (b"\xef\xbb\xbf{}", b'"\xef\xbb\xbf"', BadJson),
    "bad utf8": (b'"\xff"', b'"\xc3\xbf"', NotText),
    "overlong utf8": (b'"\xc0\xaf"', b'"/"', NotText),
    "surrogate in utf8": (b'"\xed\xa0\x80"', b'"\xed\x9f\xbf"', NotText),
    "utf16 with bom": ('{"a":1}'.encode("utf-16"), b'{"a":1}', NotText),
    "utf16 without bom": ('{"a":1}'.encode("utf-16-le"), b'{"a":1}', BadJson),
    "nan": (b"[NaN]", b'["NaN"]', BadJson),
    "infinity": (b"[Infinity]", b'["Infinity"]', BadJson),
    "minus infinity": (b"[-Infinity]", b"[-1]", BadJson),
    "overflowing float": (b"[1e400]", b"[1e300]", BadJson),
    "leading zero": (b"[01]", b"[10]", BadJson),
    "single quotes": (b"{'a':1}", b'{"a":1}', BadJson),
    "comment": (b"{}//", b"{}", BadJson),
    "trailing comma": (b"[1,]", b"[1]", BadJson),
    "raw control character": (b'"\x01"', b'"\\u0001"', BadJson),
    "unterminated": (b'{"a":"', b'{"a":""}', BadJson),
    "unterminated escape": (b'"\\', b'"\\\\"', BadJson),
    "lone high surrogate": (b'"\\ud800"', b'"\\ud7ff"', BadJson),
    "lone low surrogate": (b'"\\uDC00"', b'"\\uE000"', BadJson),
    "lone surrogate in a key": (b'{"\\uD83D":1}', b'{"\\uD83D\\uDE00":1}', BadJson),
    "surrogates swapped": (b'"\\ude00\\ud83d"', b'"\\ud83d\\ude00"', BadJson),
    "two high, one low": (b'"\\ud83d\\ud83d\\ude00"', b'"\\ud83d\\ude00"', BadJson),
    "one high, two low": (b'"\\ud83d\\ude00\\ude00"', b'"\\ud83d\\ude00"', BadJson),
    "surrogates parted by a backslash": (b'"\\ud83d\\\\\\ude00"', b'"\\\\\\ud83d\\ude00"', BadJson),
    "duplicate key": (b'{"a":1,"a":1}', b'{"a":1,"b":1}', DuplicateName),
    "duplicate key inside": (b'[{"x":{"a":1,"b":2,"a":3}}]', b'[{"a":1},{"a":1}]', DuplicateName),
    "duplicate key spelt otherwise": (b'{"a":1,"\\u0061":1}', b'{"a":1,"\\u0062":1}', DuplicateName),
    "too deep": (b"[" * (DEEP + 1) + b"]" * (DEEP + 1), b"[" * DEEP + b"]" * DEEP, LimitExceeded),
    "deep objects": (b'{"":' * 50_000 + b"1" + b"}" * 50_000, b'{"":' * 9 + b"1" + b"}" * 9, LimitExceeded),
    "deep and unclosed": (b"[" * 100_000, b'"' + b"[" * 100_000 + b'"', LimitExceeded),
    "deep behind an escaped quote": (
        b'["\\"",' + b"[" * DEEP + b"]" * DEEP + b"]",
        b'["\\"' + b"[" * 99 + b'"]',
        LimitExceeded,
    ),
    "deep behind an escaped backslash": (
        b'["\\\\",' + b"[" * DEEP + b"]" * DEEP + b"]",
        b'["\\\\\\"' + b"[" * 99 + b'"]',
        LimitExceeded,
    ),
    "huge integer": (b"1" * (DIGITS + 1), b"1" * DIGITS, LimitExceeded),
    "integer of 5000 digits": (b'{"a":' + b"9" * 5000 + b"}", b'{"a":"' + b"9" * 5000 + b'"}', LimitExceeded),
    "huge fraction": (b"0." + b"1" * DIGITS, b"0." + b"1" * (DIGITS - 2), LimitExceeded),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_type(name: str) -> None:
    data, _, error = REFUSED[name]
    with pytest.raises(FileError) as caught:
        read(data)
    assert type(caught.value) is error
    assert (caught.value.file, caught.value.field) == ("config.json", "text")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", REFUSED)
def test_benign_twin_reads_as_python_reads_it(name: str) -> None:
    data = REFUSED[name][1]
    assert read(data) == json.loads(data)


def test_duplicate_is_named() -> None:
    with pytest.raises(DuplicateName) as caught:
        read(b'{"a":1,"b":{"c":1,"d":2,"c":3}}')
    assert caught.value.actual == "c"


def test_too_many_values_are_refused_before_they_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.formats.strictjson.LIMITS", type(LIMITS)(json_values=10))
    # An opening counts as the value inside it, a comma as the next one.
    assert read(b"[1,2,3,4,5,6,7,8,9]") == list(range(1, 10))
    assert read(b'",,,,,,,,,,,,,,,,,,"') == "," * 18
    with pytest.raises(LimitExceeded) as caught:
        read(b"[1,2,3,4,5,6,7,8,9,10]")
    assert (caught.value.actual, caught.value.limit) == (11, 10)


def test_text_longer_than_one_chunk_is_counted_across_chunks() -> None:
    filler = b'"' + b"[" * 700_000 + b'",'
    assert read(b"[" + filler * 4 + b"[[1]]]") == ["[" * 700_000] * 4 + [[[1]]]
    with pytest.raises(LimitExceeded):
        read(b"[" + filler * 4 + b"[" * DEEP + b"]" * DEEP + b"]")


@pytest.mark.skipif(not hasattr(sys, "set_int_max_str_digits"), reason="this Python has no such setting")
def test_long_integers_are_refused_whatever_python_is_set_to() -> None:
    before = sys.get_int_max_str_digits()
    try:
        for digits in (0, 640):
            sys.set_int_max_str_digits(digits)
            assert read(b"7" * DIGITS) == int("7" * DIGITS)
            with pytest.raises(LimitExceeded):
                read(b"7" * (DIGITS + 1))
    finally:
        sys.set_int_max_str_digits(before)


def test_minus_zero_is_no_integer() -> None:
    value = read(b"-0")
    assert type(value) is float
    assert str(value) == "-0.0"
    assert type(read(b"0")) is int


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=40)
@given(VALUES, st.booleans(), st.sampled_from([None, 2]))
def test_whatever_python_writes_is_read_back(value: object, ascii_only: bool, indent: int | None) -> None:  # noqa: FBT001
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert read(text.encode()) == value


@settings(deadline=None, max_examples=60)
@given(st.text(st.sampled_from('"\\[]{},:u d83e0a1'), max_size=40), st.binary(max_size=8))
def test_any_bytes_are_read_as_python_reads_them_or_refused(text: str, tail: bytes) -> None:
    for data in (text.encode(), b'["' + text.encode() + b'"]', text.encode() + tail):
        try:
            value = read(data)
        except FileError:
            continue
        assert value == json.loads(data)
        json.dumps(value, ensure_ascii=False).encode()  # no lone surrogate came through


@pytest.mark.parametrize(
    ("value", "kind", "twin"),
    [
        (True, int, 1),
        (1.0, int, 1),
        ("1", int, 1),
        (None, dict, {}),
        ([], dict, {}),
        ({}, list, []),
        (1, str, "1"),
    ],
)
def test_expect_knows_json_types_apart(value: object, kind: type, twin: object) -> None:
    assert expect(twin, kind, file="f", field="x") is twin
    with pytest.raises(WrongType) as caught:
        expect(value, kind, file="f", field="x")
    assert (caught.value.file, caught.value.field) == ("f", "x")


def test_quoted_cuts_long_names() -> None:
    assert quoted("a") == '"a"'
    assert len(quoted("a" * 10**6)) < 110
