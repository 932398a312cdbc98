"""A value digest knows the numbers, their order and their shape, and nothing else."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ggufkit import permute
from hypothesis import assume, example, given
from hypothesis import strategies as st
from slow_values import FORMATS, recode, slow_digest

from auditor.digests import values
from auditor.digests.values import BLOCK, TensorLayout, ValueDigest, value_digest
from auditor.formats import dtype_of
from auditor.formats.dtypes import DTYPES
from auditor.formats.quant.ggml import GGML_DTYPES

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEW = 8
"""Elements of a block in most of these tests."""
FLOATS = sorted(FORMATS)
RAW = sorted(set(DTYPES) - set(FORMATS) - {name for name in DTYPES if name.startswith("F8")})
"""Types that are hashed as they are stored."""
QUANTISED = sorted(name for name, dtype in GGML_DTYPES.items() if dtype.block > 1)


@pytest.fixture(autouse=True)
def _small_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "real_blocks" not in request.fixturenames:
        monkeypatch.setattr(values, "BLOCK", FEW)


@pytest.fixture
def real_blocks() -> int:
    return BLOCK


def digest(raw: bytes, dtype: str, shape: tuple[int, ...] | None = None, *, heads: int | None = None) -> str:
    kind = dtype_of(dtype)
    shape = (len(raw) // kind.size * kind.block,) if shape is None else shape
    layout = TensorLayout(name="any", dtype=dtype, shape=shape, start=0, stop=len(raw), heads=heads)
    return value_digest(layout, np.frombuffer(raw, np.uint8))


def f32(*numbers: float) -> bytes:
    return np.array(numbers, "<f4").tobytes()


@st.composite
def stored(draw: st.DrawFn, dtypes: list[str] = FLOATS) -> tuple[bytes, str]:
    """Draw codes of any kind: NaN, infinities, subnormals and both zeros are as frequent as ordinary numbers."""
    dtype = draw(st.sampled_from(dtypes))
    form = FORMATS[dtype]
    bits = 8 * form.size
    special = [
        number << form.mantissa | low | sign << bits - 1
        for number, low, sign in itertools.product(
            (0, 1, (1 << form.exponent) - 1, (1 << form.exponent - 1) - 1), (0, 1, 1 << form.mantissa - 1), (0, 1)
        )
    ]
    if dtype == "F64":
        special += [code << 29 | 0x3FF << 52 for code in range(4)] + [code << 42 | 0x3F5 << 52 for code in range(4)]
    codes = draw(st.lists(st.sampled_from(special) | st.integers(0, (1 << bits) - 1), max_size=3 * FEW + 2))
    if dtype == "F64":  # a signalling NaN does not survive a cast, so that no tool can save it in another width
        codes = [code | 1 << 51 if code >> 52 & 0x7FF == 0x7FF and code & (1 << 52) - 1 else code for code in codes]
    return b"".join(code.to_bytes(form.size, "little") for code in codes), dtype


# --- floats: what is the same ---------------------------------------------------------------------------


@given(stored())
@example((b"", "F32"))
@example((f32(1, 2, 3, 4, 5, 6, 7, 2**-24), "F32"))  # F16's smallest subnormal decides for its block
@example((f32(*range(FEW), 1 / 3), "F32"))  # the second block is wider than the first
def test_the_description_gives_the_same_digest(tensor: tuple[bytes, str]) -> None:
    raw, dtype = tensor
    assert digest(raw, dtype) == slow_digest(raw, dtype, (len(raw) // FORMATS[dtype].size,), block=FEW)


@given(stored(["BF16", "F16", "F32"]), st.sampled_from(FLOATS))
def test_the_same_numbers_in_another_width_have_the_same_digest(tensor: tuple[bytes, str], other: str) -> None:
    raw, dtype = tensor
    again = recode(raw, dtype, other)
    assume(again is not None)
    assert again is not None
    if other == "F64":  # see `stored`
        wide = np.frombuffer(again, "<u8")
        assume(not (np.isnan(wide.view("<f8")) & ((wide >> np.uint64(51) & np.uint64(1)) == 0)).any())
    assert digest(again, other) == digest(raw, dtype)


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_16_bit_codes_of_every_kind_have_the_digest_of_their_float32(dtype: str) -> None:
    codes = np.arange(0, 1 << 16, 7, dtype="<u2").tobytes()
    wide = recode(codes, dtype, "F32")
    assert wide is not None
    assert digest(wide, "F32") == digest(codes, dtype)


@pytest.mark.parametrize("name", [name for name in DTYPES if name.startswith("F8")])
def test_8_bit_floats_have_the_digest_of_their_float32(name: str) -> None:
    codes = np.arange(256, dtype=np.uint8)
    decode = dtype_of(name).decode
    assert decode is not None
    decoded = decode(codes)
    assert digest(codes.tobytes(), name) == digest(decoded.astype("<f4").tobytes(), "F32")
    single = {code: digest(bytes([code]), name) for code in range(256)}
    for left, right in itertools.combinations(range(0, 256, 3), 2):
        same = decoded[left : left + 1].tobytes() == decoded[right : right + 1].tobytes()
        assert (single[left] == single[right]) == same


def test_the_digest_stays_what_it_is_in_sketches_already_made() -> None:
    raw = f32(1.0, -0.5)
    expected = "acd681d1ba15655ad82bf73e63cbe74dbced96802a7efa3eba7f5766213f188c"
    assert digest(raw, "F32") == slow_digest(raw, "F32", (2,), block=FEW) == expected


# --- floats: what is different --------------------------------------------------------------------------


@given(stored(), st.data())
def test_any_bit_of_any_value_changes_the_digest(tensor: tuple[bytes, str], data: st.DataObject) -> None:
    raw, dtype = tensor
    assume(raw)
    bit = data.draw(st.integers(0, 8 * len(raw) - 1))
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << bit % 8
    assert digest(bytes(changed), dtype) != digest(raw, dtype)


@given(stored(), st.randoms(use_true_random=False))
def test_another_order_is_another_tensor(tensor: tuple[bytes, str], random: object) -> None:
    raw, dtype = tensor
    size = FORMATS[dtype].size
    codes = [raw[at : at + size] for at in range(0, len(raw), size)]
    other = list(codes)
    random.shuffle(other)  # type: ignore[attr-defined]
    assert (digest(b"".join(other), dtype) == digest(raw, dtype)) == (other == codes)


def test_the_sign_of_zero_counts() -> None:
    assert digest(f32(0.0), "F32") != digest(f32(-0.0), "F32")


def test_nan_has_a_payload() -> None:
    quiet, other, signalling = (np.array([code], "<u4").tobytes() for code in (0x7FC00000, 0x7FC00001, 0x7FA00000))
    assert len({digest(raw, "F32") for raw in (quiet, other, signalling)}) == 3


@pytest.mark.parametrize("number", [1e300, -1e300, 1e-300, float("inf"), float("nan"), 5e-324])
def test_numbers_that_float32_cannot_hold_are_no_warning_and_no_infinity(number: float) -> None:
    raw = np.array([number, 1.0], "<f8").tobytes()
    wide = digest(raw, "F64")
    assert wide == slow_digest(raw, "F64", (2,), block=FEW)
    with np.errstate(over="ignore"):
        narrow = np.array([number, 1.0], "<f8").astype("<f4")
    assert (wide == digest(narrow.tobytes(), "F32")) == (not np.isfinite(number))


# --- shapes and blocks ----------------------------------------------------------------------------------


def test_the_shape_is_part_of_the_value() -> None:
    raw = f32(*range(6))
    shapes = [(6,), (2, 3), (3, 2), (1, 6), (6, 1), (1, 2, 3)]
    assert len({digest(raw, "F32", shape) for shape in shapes}) == len(shapes)


def test_a_scalar_is_no_vector_of_one() -> None:
    assert digest(f32(2.5), "F32", ()) == slow_digest(f32(2.5), "F32", (), block=FEW)
    assert digest(f32(2.5), "F32", ()) != digest(f32(2.5), "F32", (1,))


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (2**63, 0), (0, 2**63)])
@pytest.mark.parametrize("heads", [None, 2])
def test_no_elements(shape: tuple[int, ...], heads: int | None) -> None:
    assert digest(b"", "BF16", shape, heads=heads) == slow_digest(b"", "F32", shape, block=FEW)
    assert digest(b"", "BF16", shape) != digest(b"", "BF16", (0, 0))


@pytest.mark.parametrize("count", [1, FEW - 1, FEW, FEW + 1, 2 * FEW, 2 * FEW + 1])
@pytest.mark.parametrize("dtype", FLOATS)
def test_around_a_block(count: int, dtype: str) -> None:
    numbers = np.arange(1, count + 1)
    codes = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
    raw = (
        (numbers.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
        if dtype == "BF16"
        else numbers.astype(codes[dtype]).tobytes()
    )
    assert digest(raw, dtype) == slow_digest(f32(*numbers), "F32", (count,), block=FEW)


def test_a_block_is_whole_blocks_of_every_type(real_blocks: int) -> None:
    for dtype in (*DTYPES.values(), *GGML_DTYPES.values()):
        assert real_blocks % dtype.block == 0


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_real_blocks(real_blocks: int, more: int) -> None:
    count = real_blocks + more
    codes = np.random.default_rng(0).integers(0, 1 << 16, count, dtype="<u2")
    whole = hashlib.sha256(b"auditor-tensor-values-1" + f"[{count}]".encode())
    for part in (codes[:real_blocks], codes[real_blocks:]):
        if part.size:
            whole.update(hashlib.sha256(b"bf16\0" + part.tobytes()).digest())
    wide = (codes.astype("<u4") << 16).tobytes()
    assert digest(codes.tobytes(), "BF16") == digest(wide, "F32") == whole.hexdigest()


@given(st.sampled_from(["F32", "BF16", "I8", "Q8_0"]), st.integers(0, 5), st.sampled_from([None, 1, 2]))
def test_what_is_needed_next_is_what_is_read_next(dtype: str, rows: int, heads: int | None) -> None:
    kind = dtype_of(dtype)
    shape = (4 * rows, 32)
    raw = np.zeros(4 * rows * 32 // kind.block * kind.size, np.uint8)
    layout = TensorLayout(name="any", dtype=dtype, shape=shape, start=0, stop=raw.size, heads=heads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(values, "BLOCK", 96)
        needed = list(ValueDigest(layout, raw).blocks())
    assert max(needed, default=0) == raw.size  # all of it, and nothing beyond it
    if heads is None:
        assert needed == sorted(set(needed))


# --- interleaved rows -----------------------------------------------------------------------------------


@given(
    heads=st.integers(1, 4),
    half=st.integers(1, 3),
    columns=st.integers(1, 11),
    dtype=st.sampled_from(["F32", "BF16"]),
    seed=st.integers(0, 9),
)
def test_interleaved_rows_have_the_digest_of_their_hugging_face_order(
    heads: int, half: int, columns: int, dtype: str, seed: int
) -> None:
    shape = (2 * heads * half, columns)
    w = np.random.default_rng(seed).standard_normal(shape).astype("<f4")
    if dtype == "BF16":
        w = (w.view("<u4") & 0xFFFF0000).view("<f4")
    mixed = permute(w, heads)
    raw = mixed.tobytes() if dtype == "F32" else (mixed.view("<u4") >> 16).astype("<u2").tobytes()
    assert digest(raw, dtype, shape, heads=heads) == digest(w.tobytes(), "F32", shape)
    assert (digest(raw, dtype, shape) == digest(w.tobytes(), "F32", shape)) == (half == 1)  # two rows keep their order


@pytest.mark.parametrize("name", ["Q4_0", "Q8_0", "Q6_K", "Q4_K"])
def test_interleaved_rows_of_quantised_types(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "BLOCK", 1024)
    kind = GGML_DTYPES[name]
    heads, rows, columns = 3, 24, 3 * 256
    raw = quantised(name, rows * columns // kind.block)
    mixed = permute(raw.reshape(rows, -1), heads)  # type: ignore[arg-type]
    hugging_face = digest(decoded(raw, name).tobytes(), "F32", (rows, columns))
    assert digest(mixed.tobytes(), name, (rows, columns), heads=heads) == hugging_face
    assert digest(mixed.tobytes(), name, (rows, columns)) != hugging_face


# --- quantised types ------------------------------------------------------------------------------------


def quantised(name: str, blocks: int) -> NDArray[np.uint8]:
    """Draw blocks of small bytes: their scales are finite, whatever their layout."""
    return np.random.default_rng(list(name.encode())).integers(1, 64, blocks * GGML_DTYPES[name].size, dtype=np.uint8)


def decoded(raw: NDArray[np.uint8], name: str) -> NDArray[np.float32]:
    decode = dtype_of(name).decode
    assert decode is not None
    return decode(raw)


@pytest.mark.parametrize("name", QUANTISED)
def test_quantised_values_are_their_float32(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "BLOCK", 512)
    raw = quantised(name, 1280 // GGML_DTYPES[name].block)
    numbers = decoded(raw, name).astype("<f4")
    assert np.isfinite(numbers).all()
    assert numbers.any()
    assert digest(raw.tobytes(), name) == digest(numbers.tobytes(), "F32")
    numbers[-1] = np.nextafter(numbers[-1], np.float32(np.inf))
    assert digest(raw.tobytes(), name) != digest(numbers.tobytes(), "F32")


# --- integers, and types that are not decoded -----------------------------------------------------------


@pytest.mark.parametrize("name", RAW)
def test_other_types_are_hashed_as_they_are_stored(name: str) -> None:
    kind = dtype_of(name)
    count = FEW + FEW // 2 if FEW % kind.block == 0 else FEW
    raw = np.random.default_rng(1).integers(0, 2, count // kind.block * kind.size, dtype=np.uint8).tobytes()
    cut = FEW // kind.block * kind.size
    expected = hashlib.sha256(b"auditor-tensor-values-1" + f"[{count}]".encode())
    for part in (raw[:cut], raw[cut:]):
        expected.update(hashlib.sha256(name.lower().encode() + b"\0" + part).digest())
    assert digest(raw, name) == expected.hexdigest()
    for bit in range(8 * len(raw)):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        assert digest(bytes(changed), name) != expected.hexdigest()


def test_integers_of_another_type_are_other_numbers() -> None:
    ones = {
        name: digest(np.ones(4, code).tobytes(), name) for name, code in (("I8", "i1"), ("U8", "u1"), ("I64", "<i8"))
    }
    ones["BOOL"] = digest(bytes([1] * 4), "BOOL")
    ones["F32"] = digest(f32(1, 1, 1, 1), "F32")
    assert len(set(ones.values())) == len(ones)


# --- where it lies --------------------------------------------------------------------------------------


def test_name_and_place_are_not_part_of_the_value() -> None:
    raw = np.frombuffer(f32(1, 2, 3), np.uint8)
    layout = TensorLayout(name="a", dtype="F32", shape=(3,), start=0, stop=12)
    moved = replace(layout, name="b", start=100, stop=112)
    assert value_digest(layout, raw) == value_digest(moved, raw)


@pytest.mark.parametrize("offset", [1, 2, 3])
@pytest.mark.parametrize("dtype", FLOATS)
def test_bytes_need_no_alignment(offset: int, dtype: str) -> None:
    raw = np.random.default_rng(2).integers(0, 60, 8 * FEW, dtype=np.uint8)
    moved = np.concatenate([np.zeros(offset, np.uint8), raw])[offset:]
    assert digest(moved.tobytes(), dtype) == value_digest(
        TensorLayout(name="a", dtype=dtype, shape=(raw.size // FORMATS[dtype].size,), start=0, stop=raw.size), moved
    )
