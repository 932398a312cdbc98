from __future__ import annotations

import warnings

import numpy as np
import pytest

from auditor.formats import dtypes
from auditor.formats.dtypes import DTYPES
from auditor.formats.safetensors import SAFETENSORS_DTYPES

NUMPY = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "u1",
}
NAN, INF = float("nan"), float("inf")

# Code: value. From the tables of special values and limits in "OCP 8-bit Floating Point Specification" 1.0
# (E4M3, E5M2), "OCP Microscaling Formats" 1.0 (E8M0) and arXiv:2206.02915 (FNUZ).
LITERALS = {
    "F8_E4M3": {
        0x00: 0.0,
        0x01: 2.0**-9,
        0x07: 0.875 * 2.0**-6,
        0x08: 2.0**-6,
        0x38: 1.0,
        0x39: 1.125,
        0x7E: 448.0,
        0x7F: NAN,
        0x80: -0.0,
        0x81: -(2.0**-9),
        0xB8: -1.0,
        0xFE: -448.0,
        0xFF: NAN,
    },
    "F8_E5M2": {
        0x00: 0.0,
        0x01: 2.0**-16,
        0x03: 0.75 * 2.0**-14,
        0x04: 2.0**-14,
        0x3C: 1.0,
        0x3D: 1.25,
        0x7B: 57344.0,
        0x7C: INF,
        0x7D: NAN,
        0x7E: NAN,
        0x7F: NAN,
        0x80: -0.0,
        0xFB: -57344.0,
        0xFC: -INF,
        0xFD: NAN,
        0xFF: NAN,
    },
    "F8_E4M3FNUZ": {
        0x00: 0.0,
        0x01: 2.0**-10,
        0x07: 0.875 * 2.0**-7,
        0x08: 2.0**-7,
        0x40: 1.0,
        0x7F: 240.0,
        0x80: NAN,
        0x81: -(2.0**-10),
        0xFF: -240.0,
    },
    "F8_E5M2FNUZ": {
        0x00: 0.0,
        0x01: 2.0**-17,
        0x03: 0.75 * 2.0**-15,
        0x04: 2.0**-15,
        0x40: 1.0,
        0x7F: 57344.0,
        0x80: NAN,
        0x81: -(2.0**-17),
        0xFF: -57344.0,
    },
    "F8_E8M0": {0x00: 2.0**-127, 0x01: 2.0**-126, 0x7E: 0.5, 0x7F: 1.0, 0x80: 2.0, 0xFE: 2.0**127, 0xFF: NAN},
}


def decode(name: str, raw: bytes) -> np.ndarray:
    decoder = DTYPES[name].decode
    assert decoder is not None
    values = decoder(np.frombuffer(raw, np.uint8))
    assert values.dtype == np.float32
    return values


@pytest.mark.parametrize("name", NUMPY)
def test_plain_types_decode_as_numpy_does(name: str) -> None:
    raw = np.random.default_rng(5).integers(0, 256, 64 * DTYPES[name].size, dtype=np.uint8).tobytes()
    with np.errstate(over="ignore", invalid="ignore"):
        expected = np.frombuffer(raw, NUMPY[name]).astype(np.float32)
    np.testing.assert_array_equal(decode(name, raw), expected)


def test_bf16_is_the_upper_half_of_float32() -> None:
    codes = np.arange(1 << 16, dtype=np.uint32)
    expected = (codes << 16).view(np.float32)
    np.testing.assert_array_equal(decode("BF16", codes.astype("<u2").tobytes()), expected)
    assert decode("BF16", b"\x80\x3f\x00\xc0\x80\x7f").tolist() == [1.0, -2.0, INF]


@pytest.mark.parametrize("name", LITERALS)
def test_eight_bit_floats_match_the_published_values(name: str) -> None:
    values = decode(name, bytes(range(256)))
    for code, expected in LITERALS[name].items():
        np.testing.assert_array_equal(values[code], np.float32(expected), err_msg=f"{name} 0x{code:02x}")
        assert np.signbit(values[code]) == np.signbit(expected) or np.isnan(expected)
    assert np.isnan(values).sum() == {"F8_E4M3": 2, "F8_E5M2": 6}.get(name, 1)
    assert np.isinf(values).sum() == (2 if name == "F8_E5M2" else 0)


def test_e5m2_is_the_upper_half_of_float16() -> None:
    codes = np.arange(256, dtype=np.uint16)
    np.testing.assert_array_equal(decode("F8_E5M2", bytes(range(256))), (codes << 8).view(np.float16))


@pytest.mark.parametrize(
    ("name", "mantissas", "smallest"),
    [("F8_E4M3", 8, 2.0**-9), ("F8_E4M3FNUZ", 8, 2.0**-10), ("F8_E5M2FNUZ", 4, 2.0**-17)],
)
def test_eight_bit_floats_rise_by_steps_that_double_with_the_exponent(
    name: str, mantissas: int, smallest: float
) -> None:
    values = decode(name, bytes(range(0x7F))).astype(np.float64)
    exponents = np.maximum(np.arange(0x7E) // mantissas, 1)  # subnormals step as the first normals do
    np.testing.assert_array_equal(np.diff(values), smallest * 2.0 ** (exponents - 1))


@pytest.mark.parametrize("name", LITERALS)
def test_tables_are_built_without_a_warning(name: str) -> None:
    for cached in (dtypes._float8_table, dtypes._e8m0_table):  # noqa: SLF001
        cached.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode(name, b"\xff")


@pytest.mark.parametrize("name", [n for n in SAFETENSORS_DTYPES if DTYPES[n].decode is not None])
def test_no_elements_decode_to_no_elements(name: str) -> None:
    assert decode(name, b"").shape == (0,)


def test_float64_beyond_float32_becomes_an_infinity_without_a_warning() -> None:
    assert decode("F64", np.array([1e300, -1e300, 1.0]).tobytes()).tolist() == [INF, -INF, 1.0]


def test_every_type_has_a_whole_number_of_bytes_to_a_block() -> None:
    for name, dtype in SAFETENSORS_DTYPES.items():
        assert name == dtype.name
        assert dtype.block >= 1
        assert dtype.size >= 1
