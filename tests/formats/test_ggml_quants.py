"""Sizes and values of ggml's tensor types, against gguf-py and against the layouts written out."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from auditor.formats.dtypes import DTYPES
from auditor.formats.quant.ggml import GGML_DTYPES, GGML_TYPES, REMOVED_TYPES

if TYPE_CHECKING:
    from numpy.typing import NDArray

gguf = pytest.importorskip("gguf")

QUANTISED = {kind: dtype for kind, dtype in GGML_TYPES.items() if dtype.block > 1}
NOT_IN_GGUF_PY = {"Q1_0", "Q2_0", "Q8_1", "Q8_K"}
"""Types that gguf-py cannot decode; tested below against their layouts."""
SCALES = {
    # Bytes of a block that hold float16 scales. The codes may be anything, these must be finite numbers.
    "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,), "Q8_1": (0, 2),
    "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,),
    "IQ2_XXS": (0,), "IQ2_XS": (0,), "IQ2_S": (0,), "IQ3_XXS": (0,), "IQ3_S": (0,), "IQ1_S": (0,),
    "IQ4_NL": (0,), "IQ4_XS": (0,), "TQ1_0": (52,), "TQ2_0": (64,), "Q1_0": (0,), "Q2_0": (0,),
}  # fmt: skip


def random_blocks(name: str, count: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """Return `count` blocks of any codes and finite scales of either sign, shape (count, block bytes)."""
    rng = np.random.default_rng([seed, *name.encode()])
    raw = rng.integers(0, 256, (count, GGML_DTYPES[name].size), dtype=np.uint8)
    for place in SCALES.get(name, ()):
        scales = rng.normal(0, 0.1, (count, 1)).astype("<f2")
        raw[:, place : place + 2] = scales.view(np.uint8)
    if name == "IQ1_M":
        raw[:, 55] &= 0x3F  # its scale is spread over the top nibbles of four words: keep the exponent low
    if name == "MXFP4":
        raw[:, 0] &= 0x7F  # its scale is a power of two
    return raw


def decode(name: str, raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    function = GGML_DTYPES[name].decode
    assert function is not None
    return function(raw.reshape(-1))


def same_bits(left: NDArray[np.float32], right: NDArray[np.float32]) -> bool:
    return np.array_equal(left.view(np.uint32), right.view(np.uint32))


# --- the table ------------------------------------------------------------------------------------------


def test_numbers_and_sizes_are_those_of_gguf_py() -> None:
    stale = {"Q8_1"}  # gguf-py still has the 40 bytes of before its scales became float16
    for quant in gguf.GGMLQuantizationType:
        ours = GGML_TYPES[quant.value]
        assert ours.name == quant.name
        if quant.name not in stale:
            assert (ours.block, ours.size) == gguf.GGML_QUANT_SIZES[quant]


def test_types_newer_than_gguf_py() -> None:
    known = {quant.value for quant in gguf.GGMLQuantizationType}
    assert set(GGML_TYPES) - known <= {42}


def test_every_number_is_known_or_removed() -> None:
    assert sorted([*GGML_TYPES, *REMOVED_TYPES]) == list(range(43))


def test_names_are_unique() -> None:
    assert len(GGML_DTYPES) == len(GGML_TYPES)
    assert not set(GGML_DTYPES) & set(REMOVED_TYPES.values())


def test_plain_types_are_the_plain_dtypes() -> None:
    shared = set(GGML_DTYPES) & set(DTYPES)
    assert shared == {"F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64"}
    assert all(GGML_DTYPES[name] is DTYPES[name] for name in shared)


def test_every_type_decodes() -> None:
    assert all(dtype.decode for dtype in GGML_TYPES.values())


def test_table_does_not_import_gguf_py() -> None:
    code = (
        "import sys, numpy; from auditor.formats.quant.ggml import GGML_DTYPES as types;"
        "types['Q4_K'].decode(numpy.zeros(144, numpy.uint8)); sys.exit('gguf' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# --- values ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [k for k, d in QUANTISED.items() if d.name not in NOT_IN_GGUF_PY])
def test_values_are_those_of_gguf_py(kind: int) -> None:
    dtype = GGML_TYPES[kind]
    raw = random_blocks(dtype.name, 200)
    theirs = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(kind)).reshape(-1)
    ours = decode(dtype.name, raw)
    assert ours.dtype == np.float32
    assert ours.shape == (200 * dtype.block,)
    assert np.isfinite(ours).all()
    assert len(np.unique(ours)) > 100
    assert same_bits(ours, theirs)


@pytest.mark.parametrize("name", ["MXFP4", "NVFP4"])
def test_every_8_bit_scale(name: str) -> None:
    raw = random_blocks(name, 256)
    raw[:, : {"MXFP4": 1, "NVFP4": 4}[name]] = np.arange(256)[:, None]
    with np.errstate(over="ignore"):  # the largest scales of MXFP4 leave float32
        theirs = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[name]).reshape(-1)
    assert same_bits(decode(name, raw), theirs)


@pytest.mark.parametrize("name", [d.name for d in QUANTISED.values()])
def test_rows_decode_alone_as_they_do_together(name: str) -> None:
    raw = random_blocks(name, 12).reshape(4, -1)  # four rows of three blocks
    rows = [decode(name, row) for row in raw]
    assert same_bits(decode(name, raw), np.concatenate(rows))


@pytest.mark.parametrize("name", [d.name for d in QUANTISED.values()])
def test_more_than_a_chunk(name: str) -> None:
    dtype = GGML_DTYPES[name]
    count = (1 << 17) // dtype.block + 1
    raw = np.repeat(random_blocks(name, 1), count, axis=0)
    values = decode(name, raw).reshape(count, -1)
    assert same_bits(values, np.repeat(values[:1], count, axis=0))


@pytest.mark.parametrize("name", [d.name for d in QUANTISED.values()])
def test_no_blocks(name: str) -> None:
    assert decode(name, np.empty(0, dtype=np.uint8)).shape == (0,)


@pytest.mark.parametrize("name", [d.name for d in QUANTISED.values()])
def test_input_is_left_alone(name: str) -> None:
    raw = random_blocks(name, 2).reshape(-1)
    raw.flags.writeable = False  # as `np.frombuffer` gives it
    decode(name, raw)


@pytest.mark.parametrize("fill", [0x00, 0x7C, 0x7E, 0xFF])
@pytest.mark.parametrize("name", [d.name for d in QUANTISED.values()])
def test_hostile_scales_give_no_warning(name: str, fill: int) -> None:
    raw = np.full((3, GGML_DTYPES[name].size), fill, dtype=np.uint8)
    assert decode(name, raw).shape == (3 * GGML_DTYPES[name].block,)


def half(value: float) -> bytes:
    return np.array(value, "<f2").tobytes()


def test_q1_0_is_one_sign_bit_an_element() -> None:
    raw = np.frombuffer(half(0.5) + b"\x01" + bytes(14) + b"\x80", np.uint8)
    expected = np.full(128, -0.5)
    expected[[0, 127]] = 0.5
    assert decode("Q1_0", raw).tolist() == expected.tolist()


def test_q2_0_keeps_four_neighbours_in_a_byte() -> None:
    raw = np.frombuffer(half(2) + b"\xe4" * 16, np.uint8)  # 0xe4: codes 0, 1, 2, 3 from the lowest bits
    assert decode("Q2_0", raw).tolist() == [-2, 0, 2, 4] * 16


def test_q8_1_ignores_the_sum() -> None:
    raw = np.frombuffer(half(0.25) + half(99) + np.arange(-16, 16, dtype=np.int8).tobytes(), np.uint8)
    assert decode("Q8_1", raw).tolist() == [code / 4 for code in range(-16, 16)]


def test_q8_k_has_a_float32_scale() -> None:
    codes = np.arange(-128, 128, dtype=np.int8)
    raw = np.frombuffer(np.float32(0.5).tobytes() + codes.tobytes() + bytes(32), np.uint8)
    assert decode("Q8_K", raw).tolist() == [code / 2 for code in range(-128, 128)]


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4", "TQ2_0"])
def test_quantised_numbers_come_back(name: str) -> None:
    original = np.random.default_rng(7).normal(0, 0.02, (8, 512)).astype(np.float32)
    raw = gguf.quants.quantize(original, gguf.GGMLQuantizationType[name])
    values = decode(name, raw).reshape(original.shape)
    cosine = (values * original).sum() / np.linalg.norm(values) / np.linalg.norm(original)
    assert cosine > (0.6 if name == "TQ2_0" else 0.99)
