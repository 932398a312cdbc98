"""Every tensor type that llama.cpp writes into GGUF, and how its blocks become float32.

A quantised type stores a fixed number of elements in a block of a fixed number of bytes: one or two scales
and small integer codes. Layouts are those of the structures in llama.cpp's `ggml-common.h`; arithmetic is
that of `dequantize_row_*` in its `ggml-quants.c`: float32, in the same order, so results agree bit for bit.
Types whose codebooks are large tables (IQ*, TQ*) are decoded by the `gguf` package, which is imported only
when such a row is read.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np

from auditor.formats.dtypes import DTYPES, Dtype

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Floats = NDArray[np.float32]
    Decode = Callable[[Bytes], Floats]
    Blocks = NDArray[np.void]
    Fill = Callable[[Blocks, Floats], None]

_CHUNK = 1 << 17
"""Elements decoded at a time: temporaries stay in the cache and do not grow with the input."""


def _blocks(elements: int, layout: Sequence[tuple[Any, ...]]) -> Callable[[Fill], Decode]:
    """Turn `fill(blocks, out)` into a decoder of any number of blocks.

    Parameters
    ----------
    elements : int
        Elements in a block.
    layout : sequence of tuple
        The block's fields in order, as numpy describes a structure without padding.

    Returns
    -------
    callable
        Decorator of `fill`, which gets `blocks`, a structured array of shape (n,), and writes `out`, float32
        of shape (n, elements), which it finds uninitialised.
    """
    struct = np.dtype(list(layout))
    step = _CHUNK // elements

    def decorate(fill: Fill) -> Decode:
        @wraps(fill)
        def decode(raw: Bytes) -> Floats:
            blocks = raw.view(struct)
            out = np.empty((blocks.size, elements), dtype=np.float32)
            # A hostile scale may be infinite or NaN: that is a value to report, not a warning.
            with np.errstate(over="ignore", invalid="ignore"):
                for start in range(0, blocks.size, step):
                    fill(blocks[start : start + step], out[start : start + step])
            return out.reshape(-1)

        return decode

    return decorate


def _by_gguf(name: str, elements: int, size: int) -> Decode:
    """Return a decoder that leaves the work to the `gguf` package."""
    step = _CHUNK // elements * size

    def decode(raw: Bytes) -> Floats:
        # The package costs more to import than most audits run, and few of them meet these types.
        from gguf import GGMLQuantizationType  # noqa: PLC0415
        from gguf.quants import dequantize  # noqa: PLC0415

        out = np.empty(raw.size // size * elements, dtype=np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, raw.size, step):
                part = dequantize(raw[start : start + step].reshape(1, -1), GGMLQuantizationType[name])
                at = start // size * elements
                out[at : at + part.size] = part[0]
        return out

    return decode


def _f32(scale: NDArray[Any]) -> Floats:
    """Widen scales, (n, ...), to float32, (n, ..., 1), to multiply the elements that share one."""
    return scale.astype(np.float32)[..., None]


def _planes(packed: Bytes, bits: int) -> Bytes:
    """Split bytes into their bit fields, the lowest first, each field a plane of its own.

    Shape (n, groups, width) becomes (n, groups, 8 // bits, width): llama.cpp keeps elements j, j + width,
    j + 2 width, ... of a group in the same byte, so that one shift unpacks a whole vector register.
    """
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    return (packed[..., None, :] >> shifts) & np.uint8((1 << bits) - 1)


def _bits(packed: Bytes) -> Bytes:
    """Return the bits of (n, bytes) in order, the lowest of each byte first, as 0 or 1: (n, 8 bytes)."""
    return np.unpackbits(packed, axis=1, bitorder="little")


@_blocks(128, [("d", "<f2"), ("qs", "u1", 16)])
def _q1_0(b: Blocks, out: Floats) -> None:
    out[:] = _bits(b["qs"])
    out *= 2
    out -= 1
    out *= _f32(b["d"])


@_blocks(64, [("d", "<f2"), ("qs", "u1", (16, 1))])
def _q2_0(b: Blocks, out: Floats) -> None:
    out[:] = _planes(b["qs"], 2).reshape(out.shape)  # four neighbours in a byte: planes one element wide
    out -= 1
    out *= _f32(b["d"])


@_blocks(32, [("d", "<f2"), ("qs", "u1", 16)])
def _q4_0(b: Blocks, out: Floats) -> None:
    _nibbles(b["qs"], out)
    out -= 8
    out *= _f32(b["d"])


@_blocks(32, [("d", "<f2"), ("m", "<f2"), ("qs", "u1", 16)])
def _q4_1(b: Blocks, out: Floats) -> None:
    _nibbles(b["qs"], out)
    out *= _f32(b["d"])
    out += _f32(b["m"])


@_blocks(32, [("d", "<f2"), ("qh", "u1", 4), ("qs", "u1", 16)])
def _q5_0(b: Blocks, out: Floats) -> None:
    _nibbles(b["qs"], out)
    out += _bits(b["qh"]) << 4
    out -= 16
    out *= _f32(b["d"])


@_blocks(32, [("d", "<f2"), ("m", "<f2"), ("qh", "u1", 4), ("qs", "u1", 16)])
def _q5_1(b: Blocks, out: Floats) -> None:
    _nibbles(b["qs"], out)
    out += _bits(b["qh"]) << 4
    out *= _f32(b["d"])
    out += _f32(b["m"])


@_blocks(32, [("d", "<f2"), ("qs", "i1", 32)])
def _q8_0(b: Blocks, out: Floats) -> None:
    np.multiply(b["qs"], _f32(b["d"]), out=out)


@_blocks(32, [("d", "<f2"), ("sum", "<f2"), ("qs", "i1", 32)])
def _q8_1(b: Blocks, out: Floats) -> None:
    np.multiply(b["qs"], _f32(b["d"]), out=out)


@_blocks(256, [("d", "<f4"), ("qs", "i1", 256), ("sums", "<i2", 16)])
def _q8_k(b: Blocks, out: Floats) -> None:
    np.multiply(b["qs"], _f32(b["d"]), out=out)


@_blocks(256, [("scales", "u1", 16), ("qs", "u1", (2, 32)), ("d", "<f2"), ("dmin", "<f2")])
def _q2_k(b: Blocks, out: Floats) -> None:
    out[:] = _planes(b["qs"], 2).reshape(out.shape)
    groups = out.reshape(-1, 16, 16)
    groups *= (_f32(b["d"]) * (b["scales"] & 15))[..., None]
    groups -= (_f32(b["dmin"]) * (b["scales"] >> 4))[..., None]


@_blocks(256, [("hmask", "u1", (1, 32)), ("qs", "u1", (2, 32)), ("scales", "u1", 12), ("d", "<f2")])
def _q3_k(b: Blocks, out: Floats) -> None:
    high = _planes(b["hmask"], 1).reshape(out.shape)
    out[:] = _planes(b["qs"], 2).reshape(out.shape) | (high << 2)
    out -= 4  # the third bit counts as 0 when set and as -4 when not
    # 16 scales of 6 bits: low halves in 8 bytes of two nibbles, high parts in 4 bytes of four pairs of bits.
    low = _planes(b["scales"][:, None, :8], 4).reshape(-1, 16)
    scale = (low | (_planes(b["scales"][:, None, 8:], 2).reshape(-1, 16) << 4)).astype(np.int8) - np.int8(32)
    groups = out.reshape(-1, 16, 16)
    groups *= (_f32(b["d"]) * scale)[..., None]


@_blocks(256, [("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("qs", "u1", (4, 32))])
def _q4_k(b: Blocks, out: Floats) -> None:
    out[:] = _planes(b["qs"], 4).reshape(out.shape)
    _scale_and_shift(b, out)


@_blocks(256, [("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("qh", "u1", (1, 32)), ("qs", "u1", (4, 32))])
def _q5_k(b: Blocks, out: Floats) -> None:
    high = _planes(b["qh"], 1).reshape(out.shape)
    out[:] = _planes(b["qs"], 4).reshape(out.shape) | (high << 4)
    _scale_and_shift(b, out)


@_blocks(256, [("ql", "u1", (2, 64)), ("qh", "u1", (2, 32)), ("scales", "i1", 16), ("d", "<f2")])
def _q6_k(b: Blocks, out: Floats) -> None:
    high = _planes(b["qh"], 2).reshape(out.shape)
    out[:] = _planes(b["ql"], 4).reshape(out.shape) | (high << 4)
    out -= 32
    groups = out.reshape(-1, 16, 16)
    groups *= (_f32(b["d"]) * b["scales"])[..., None]


_FP4 = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], dtype=np.float32)
"""Twice the values of E2M1; the other half is in the scales. Code 8 is +0, as llama.cpp has it."""

_E8M0_HALF = np.ldexp(1.0, np.arange(256) - 128).astype(np.float32)
"""Half of 2^(e - 127). llama.cpp reads 255 as a number too, not as the NaN of the OCP specification."""

_UE4M3_HALF = np.array(
    [
        0.0 if code in {0, 0x7F} else (m * 2.0**-10 if e == 0 else (1 + m / 8) * 2.0 ** (e - 8))
        for code in range(256)
        for e, m in [((code >> 3) & 15, code & 7)]
    ],
    dtype=np.float32,
)
"""Half of an unsigned E4M3. Its top bit is ignored, and 0x7F is zero."""


@_blocks(32, [("e", "u1"), ("qs", "u1", 16)])
def _mxfp4(b: Blocks, out: Floats) -> None:
    _nibbles(b["qs"], out, _FP4)
    out *= _f32(_E8M0_HALF[b["e"]])


@_blocks(64, [("d", "u1", 4), ("qs", "u1", (4, 8))])
def _nvfp4(b: Blocks, out: Floats) -> None:
    groups = out.reshape(-1, 4, 16)
    groups[:] = _FP4[_planes(b["qs"], 4)].reshape(groups.shape)
    groups *= _f32(_UE4M3_HALF[b["d"]])


def _nibbles(packed: Bytes, out: Floats, table: Floats | None = None) -> None:
    """Write the low nibbles of (n, 16) to the first half of (n, 32) and the high ones to the second."""
    for nibble, half in ((packed & 15, out[:, :16]), (packed >> 4, out[:, 16:])):
        half[:] = nibble if table is None else table[nibble]


def _scale_and_shift(b: Blocks, out: Floats) -> None:
    """Apply the eight 6-bit scales and minima that Q4_K and Q5_K pack into 12 bytes.

    Bytes 0 to 3 hold scales 0 to 3 and bytes 4 to 7 minima 0 to 3 in their low 6 bits. Bytes 8 to 11 hold the
    low 4 bits of scales 4 to 7 (low nibble) and minima 4 to 7 (high nibble), whose top 2 bits are those left
    over in bytes 0 to 7.
    """
    first, second, third = b["scales"][:, :4], b["scales"][:, 4:8], b["scales"][:, 8:]
    scale = np.concatenate([first & 63, (third & 15) | ((first >> 2) & 48)], axis=1)
    least = np.concatenate([second & 63, (third >> 4) | ((second >> 2) & 48)], axis=1)
    groups = out.reshape(-1, 8, 32)
    groups *= (_f32(b["d"]) * scale)[..., None]
    groups -= (_f32(b["dmin"]) * least)[..., None]


def _delegated(name: str, elements: int, size: int) -> Dtype:
    return Dtype(name, elements, size, _by_gguf(name, elements, size))


GGML_TYPES: dict[int, Dtype] = {
    0: DTYPES["F32"],
    1: DTYPES["F16"],
    2: Dtype("Q4_0", 32, 18, _q4_0),
    3: Dtype("Q4_1", 32, 20, _q4_1),
    6: Dtype("Q5_0", 32, 22, _q5_0),
    7: Dtype("Q5_1", 32, 24, _q5_1),
    8: Dtype("Q8_0", 32, 34, _q8_0),
    9: Dtype("Q8_1", 32, 36, _q8_1),
    10: Dtype("Q2_K", 256, 84, _q2_k),
    11: Dtype("Q3_K", 256, 110, _q3_k),
    12: Dtype("Q4_K", 256, 144, _q4_k),
    13: Dtype("Q5_K", 256, 176, _q5_k),
    14: Dtype("Q6_K", 256, 210, _q6_k),
    15: Dtype("Q8_K", 256, 292, _q8_k),
    16: _delegated("IQ2_XXS", 256, 66),
    17: _delegated("IQ2_XS", 256, 74),
    18: _delegated("IQ3_XXS", 256, 98),
    19: _delegated("IQ1_S", 256, 50),
    20: _delegated("IQ4_NL", 32, 18),
    21: _delegated("IQ3_S", 256, 110),
    22: _delegated("IQ2_S", 256, 82),
    23: _delegated("IQ4_XS", 256, 136),
    24: DTYPES["I8"],
    25: DTYPES["I16"],
    26: DTYPES["I32"],
    27: DTYPES["I64"],
    28: DTYPES["F64"],
    29: _delegated("IQ1_M", 256, 56),
    30: DTYPES["BF16"],
    34: _delegated("TQ1_0", 256, 54),
    35: _delegated("TQ2_0", 256, 66),
    39: Dtype("MXFP4", 32, 17, _mxfp4),
    40: Dtype("NVFP4", 64, 36, _nvfp4),
    41: Dtype("Q1_0", 128, 18, _q1_0),
    42: Dtype("Q2_0", 64, 18, _q2_0),
}
"""Types by the number that a GGUF file gives them (`enum ggml_type` of llama.cpp's `ggml.h`)."""

GGML_DTYPES: dict[str, Dtype] = {dtype.name: dtype for dtype in GGML_TYPES.values()}
"""The same by name. A plain type is the very entry of `DTYPES`, so joining the two tables changes neither."""

REMOVED_TYPES: dict[int, str] = {
    4: "Q4_2",
    5: "Q4_3",
    31: "Q4_0_4_4",
    32: "Q4_0_4_8",
    33: "Q4_0_8_8",
    36: "IQ4_NL_4_4",
    37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
}
"""Numbers that llama.cpp once wrote and no longer reads."""
