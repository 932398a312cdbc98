"""JSON of a hostile file: one meaning or a typed refusal.

Python's own reader guesses the encoding, keeps the last of two equal keys, takes `NaN` and lone surrogates,
and recurses as deep as the text says. Each of these lets one file mean different things to different readers,
or ends the process, so each is refused here.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Never, TypeVar

import numpy as np

from auditor.errors import BadJson, DuplicateName, LimitExceeded, NotText, WrongType
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

_KIND = {
    dict: "an object",
    list: "an array",
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}

_QUOTE = ord('"')
_NO_MARK = bytes(set(range(256)) - set(b'"[]{},'))
_CHUNK = 1 << 20
# A high surrogate without a low one behind it, or a low one without a high one before it.
_LONE_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)


def _byte_table(values: dict[bytes, int]) -> NDArray[np.int8]:
    table = np.zeros(256, np.int8)
    for characters, value in values.items():
        table[list(characters)] = value
    return table


_STEP = _byte_table({b"[{": 1, b"]}": -1})
_STARTS_VALUE = _byte_table({b"[{,": 1})


def loads(data: bytes, *, file: str, field: str) -> object:
    r"""Parse a whole JSON text.

    Parameters
    ----------
    data : bytes
        UTF-8, no byte order mark.
    file, field : str
        What errors name.

    Returns
    -------
    object
        dict (keys unique), list, str (encodable), int, float (finite), bool or None. `-0` is the float -0.0.

    Raises
    ------
    NotText
        Not UTF-8.
    LimitExceeded
        Nesting, number of values (both before anything is built) or length of a number is over its cap.
    DuplicateName
        An object, at any level, holds a key twice; `actual` is the key.
    BadJson
        Anything else that strict JSON does not allow.

    Examples
    --------
    >>> loads(b' {"a": [1, 2.5, null]} ', file="config.json", field="text")
    {'a': [1, 2.5, None]}
    >>> loads(b'{"a": 1, "\\u0061": 2}', file="config.json", field="text")
    Traceback (most recent call last):
        ...
    auditor.errors.DuplicateName: config.json: text: the same name twice (found a)
    """
    if data.startswith(codecs.BOM_UTF8):
        raise BadJson(file=file, field=field, problem="a byte order mark before the text")
    text = _decode(data, file=file, field=field)
    _check_structure(data, file=file, field=field)
    try:
        return _decoder(file, field).decode(text)
    except json.JSONDecodeError as error:
        found = f"{error.msg} at character {error.pos}"
    # Raised out here, so that our error does not keep the whole text alive through its context.
    raise BadJson(file=file, field=field, actual=found)


def expect(value: object, kind: type[T], *, file: str, field: str) -> T:
    """Return `value` if it is exactly of the JSON type `kind` (so `true` is no integer).

    Raises
    ------
    WrongType
    """
    if isinstance(value, kind) and type(value) is kind:
        return value
    raise WrongType(file=file, field=field, actual=_KIND[type(value)], limit=_KIND[kind])


def quoted(name: str) -> str:
    """Return a name of the file as an error's `field` shows it: quoted, and cut where it is very long."""
    return f'"{name}"' if len(name) <= 100 else f'"{name[:97]}..."'


def _decode(data: bytes, *, file: str, field: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte 0x{data[error.start]:02x} at {error.start}"
    raise NotText(file=file, field=field, actual=found)


def _check_structure(data: bytes, *, file: str, field: str) -> None:
    """Bound nesting and values without parsing.

    On text that is not JSON the counts are right up to the character that the parser will stop at, and it
    acts on nothing behind that. Works on quotes, brackets and commas only, a chunk at a time, so memory
    stays near the size of `data`.
    """
    if b"\\" in data:
        # Escaped backslashes first, left to right: what is then left of a backslash belongs to its next byte.
        data = data.replace(b"\\\\", b"..").replace(b'\\"', b"..")
        if lone := _LONE_SURROGATE.search(data):
            raise BadJson(file=file, field=field, problem="a lone surrogate", actual=lone.group().decode("ascii"))
    marks = np.frombuffer(data.translate(None, _NO_MARK), np.uint8)
    inside = depth = 0
    values = 1
    for start in range(0, marks.size, _CHUNK):
        chunk = marks[start : start + _CHUNK]
        quotes = np.cumsum(chunk == _QUOTE, dtype=np.int64) + inside
        inside = int(quotes[-1] & 1)
        plain = chunk[quotes & 1 == 0]  # closing quotes too, which count for nothing
        levels = np.cumsum(_STEP[plain], dtype=np.int64) + depth
        if levels.size:
            depth = int(levels[-1])
            _cap("nesting", int(levels.max()), LIMITS.json_depth, file=file, field=field)
        values += int(np.count_nonzero(_STARTS_VALUE[plain]))
        _cap("number of values", values, LIMITS.json_values, file=file, field=field)


def _cap(what: str, actual: int, limit: int, *, file: str, field: str) -> None:
    if actual > limit:
        raise LimitExceeded(file=file, field=field, problem=f"{what} over the limit", actual=actual, limit=limit)


def _decoder(file: str, field: str) -> json.JSONDecoder:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            (repeated, _), *_ = Counter(key for key, _ in pairs).most_common(1)
            raise DuplicateName(file=file, field=field, actual=repeated)
        return found

    def integer(text: str) -> int | float:
        _cap("length of a number", len(text), LIMITS.json_number, file=file, field=field)
        return -0.0 if text == "-0" else int(text)  # no integer is negative zero; other readers see a float

    def real(text: str) -> float:
        _cap("length of a number", len(text), LIMITS.json_number, file=file, field=field)
        value = float(text)
        return value if math.isfinite(value) else constant(text)

    def constant(text: str) -> Never:
        raise BadJson(file=file, field=field, problem="not a finite number", actual=text)

    return json.JSONDecoder(object_pairs_hook=unique, parse_int=integer, parse_float=real, parse_constant=constant)
