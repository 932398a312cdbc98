"""The value digest of floats again, written from its description alone: integers, one element at a time."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Float(NamedTuple):
    """A binary format of IEEE 754: bits of exponent and mantissa, bytes of all."""

    exponent: int
    mantissa: int
    size: int


FORMATS = {"BF16": Float(8, 7, 2), "F16": Float(5, 10, 2), "F32": Float(8, 23, 4), "F64": Float(11, 52, 8)}
"""The narrowest first."""

Number = tuple[int, str, int, int]
"""Sign; "finite" with an odd integer and the power of two that it is multiplied by (0, 0 for zero), "infinity", or
"nan" with its mantissa and the bits of that: without the zeros at the end, so that every width agrees."""


def read(code: int, form: Float) -> Number:
    """Say what a code means."""
    sign = code >> (form.exponent + form.mantissa)
    exponent = code >> form.mantissa & (1 << form.exponent) - 1
    mantissa = code & (1 << form.mantissa) - 1
    bias = (1 << form.exponent - 1) - 1
    if exponent == (1 << form.exponent) - 1:
        return (sign, "nan", *_odd(mantissa, -form.mantissa)) if mantissa else (sign, "infinity", 0, 0)
    if exponent:
        return (sign, "finite", *_odd(mantissa | 1 << form.mantissa, exponent - bias - form.mantissa))
    return (sign, "finite", *_odd(mantissa, 1 - bias - form.mantissa))


def write(number: Number, form: Float) -> int | None:
    """Return the code of a number; None where this format does not have it."""
    sign, kind, odd, power = number
    top = (1 << form.exponent) - 1
    bias = (1 << form.exponent - 1) - 1
    code: int | None
    if kind == "infinity":
        code = top << form.mantissa
    elif kind == "nan":
        shift = power + form.mantissa
        code = top << form.mantissa | odd << shift if shift >= 0 else None
    elif odd == 0:
        code = 0
    else:
        lead = power + odd.bit_length() - 1
        lowest = max(lead, 1 - bias) - form.mantissa  # the power of two of the last bit
        if lead > bias or power < lowest:
            code = None
        else:
            mantissa = odd << power - lowest
            code = mantissa if lead < 1 - bias else (lead + bias << form.mantissa) + mantissa - (1 << form.mantissa)
    return None if code is None else sign << (form.exponent + form.mantissa) | code


def _odd(integer: int, power: int) -> tuple[int, int]:
    if not integer:
        return 0, 0
    zeros = (integer & -integer).bit_length() - 1
    return integer >> zeros, power + zeros


def codes_of(raw: bytes, dtype: str) -> list[int]:
    """Split stored bytes into codes."""
    size = FORMATS[dtype].size
    return [int.from_bytes(raw[at : at + size], "little") for at in range(0, len(raw), size)]


def recode(raw: bytes, dtype: str, other: str) -> bytes | None:
    """Store the same numbers in another format; None where it does not have all of them."""
    numbers = [read(code, FORMATS[dtype]) for code in codes_of(raw, dtype)]
    return _stored(numbers, FORMATS[other])


def slow_digest(raw: bytes, dtype: str, shape: Sequence[int], *, block: int) -> str:
    """Return the value digest of floats."""
    digest = hashlib.sha256(b"auditor-tensor-values-1" + json.dumps(list(shape)).encode())
    numbers = [read(code, FORMATS[dtype]) for code in codes_of(raw, dtype)]
    for first in range(0, len(numbers), block):
        stored = {name: _stored(numbers[first : first + block], form) for name, form in FORMATS.items()}
        name, data = next((name, data) for name, data in stored.items() if data is not None)
        digest.update(hashlib.sha256(name.lower().encode() + b"\0" + data).digest())
    return digest.hexdigest()


def _stored(numbers: Sequence[Number], form: Float) -> bytes | None:
    codes = [write(number, form) for number in numbers]
    return None if None in codes else b"".join(code.to_bytes(form.size, "little") for code in codes if code is not None)
