"""Data types: how many bytes a block of elements takes, and how those bytes become float32.

Decoding is vectorised and exact where float32 can hold the value. Sources: the safetensors format, IEEE
754, the OCP 8-bit floating point specification (E4M3 without infinities, E5M2 with them), and for the
FNUZ types of AMD hardware "8-bit Numerical Formats for Deep Neural Networks" (Noune et al.,
arXiv:2206.02915).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Dtype:
    """How elements are stored.

    Attributes
    ----------
    name : str
    block : int
        Elements that are stored together; 1 for plain types.
    size : int
        Bytes a block takes.
    decode : callable or None
        uint8 array of whole blocks, shape (bytes,), to float32, shape (elements,). None where the type is
        recognised but its values are not decoded.
    """

    name: str
    block: int
    size: int
    decode: Callable[[Bytes], Floats] | None


def _plain(code: str) -> Callable[[Bytes], Floats]:
    dtype = np.dtype(code).newbyteorder("<")

    def decode(raw: Bytes) -> Floats:
        # Beyond float32 lies an infinity, and a signalling NaN is a NaN: values to report, not warnings.
        with np.errstate(over="ignore", invalid="ignore"):
            return raw.view(dtype).astype(np.float32)

    return decode


def _bf16(raw: Bytes) -> Floats:
    return (raw.view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)


@cache
def _float8_table(exponent_bits: int, specials: Literal["ieee", "fn", "fnuz"]) -> Floats:
    """Return the 256 values of an 8-bit float with a sign bit.

    Parameters
    ----------
    exponent_bits : int
    specials : {"ieee", "fn", "fnuz"}
        "ieee": the top exponent holds infinities and NaN. "fn": no infinities, NaN is the code of all ones.
        "fnuz": likewise, and NaN takes the code of negative zero; the bias is one more.
    """
    mantissa_bits = 7 - exponent_bits
    bias = (1 << (exponent_bits - 1)) - (0 if specials == "fnuz" else 1)
    codes = np.arange(256)
    exponent = (codes >> mantissa_bits) & ((1 << exponent_bits) - 1)
    mantissa = codes & ((1 << mantissa_bits) - 1)
    fraction = mantissa / (1 << mantissa_bits)
    value = np.where(
        exponent == 0,
        np.ldexp(fraction, 1 - bias),
        np.ldexp(1.0 + fraction, exponent - bias),
    )
    top = exponent == (1 << exponent_bits) - 1
    if specials == "ieee":
        value[top] = np.where(mantissa[top] == 0, np.inf, np.nan)
    elif specials == "fn":
        value[top & (mantissa == (1 << mantissa_bits) - 1)] = np.nan
    else:
        value[0x80] = np.nan
    table: Floats = np.where(codes & 0x80, -value, value).astype(np.float32)
    return table


@cache
def _e8m0_table() -> Floats:
    value = np.ldexp(1.0, np.arange(256) - 127)
    value[255] = np.nan  # before the cast: 2**128 does not fit float32
    return value.astype(np.float32)


def _e4m3(raw: Bytes) -> Floats:
    return _float8_table(4, "fn")[raw]


def _e5m2(raw: Bytes) -> Floats:
    return _float8_table(5, "ieee")[raw]


def _e4m3fnuz(raw: Bytes) -> Floats:
    return _float8_table(4, "fnuz")[raw]


def _e5m2fnuz(raw: Bytes) -> Floats:
    return _float8_table(5, "fnuz")[raw]


def _e8m0(raw: Bytes) -> Floats:
    return _e8m0_table()[raw]


DTYPES: dict[str, Dtype] = {
    d.name: d
    for d in (
        Dtype("F64", 1, 8, _plain("f8")),
        Dtype("F32", 1, 4, _plain("f4")),
        Dtype("F16", 1, 2, _plain("f2")),
        Dtype("BF16", 1, 2, _bf16),
        Dtype("F8_E4M3", 1, 1, _e4m3),
        Dtype("F8_E5M2", 1, 1, _e5m2),
        Dtype("F8_E4M3FNUZ", 1, 1, _e4m3fnuz),
        Dtype("F8_E5M2FNUZ", 1, 1, _e5m2fnuz),
        Dtype("F8_E8M0", 1, 1, _e8m0),
        Dtype("F6_E2M3", 4, 3, None),
        Dtype("F6_E3M2", 4, 3, None),
        Dtype("F4", 2, 1, None),
        Dtype("C64", 1, 8, None),
        Dtype("I64", 1, 8, _plain("i8")),
        Dtype("I32", 1, 4, _plain("i4")),
        Dtype("I16", 1, 2, _plain("i2")),
        Dtype("I8", 1, 1, _plain("i1")),
        Dtype("U64", 1, 8, _plain("u8")),
        Dtype("U32", 1, 4, _plain("u4")),
        Dtype("U16", 1, 2, _plain("u2")),
        Dtype("U8", 1, 1, _plain("u1")),
        Dtype("BOOL", 1, 1, _plain("u1")),
    )
}
"""Plain types by the name that safetensors gives them."""
