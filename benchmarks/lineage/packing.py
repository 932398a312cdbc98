"""Quantised layouts of safetensors, written by round-to-nearest: what the file formats hold, without their fitting.

Real quantisers (llama.cpp, bitsandbytes) are in `smollm_tools.py`; those that want a GPU are stood in for by these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from surgery import is_block_matrix

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

Tensors = dict[str, tuple[str, tuple[int, ...], bytes]]
"""What `auditor.formats.serialize` writes: dtype, shape, bytes."""

GROUP = 64
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """The tensors of a quantised checkpoint, and what its config says of them."""

    tensors: Tensors
    quantization: dict[str, object]


def gptq(model: Mapping[str, NDArray[np.float32]]) -> Packed:
    """Pack int4 in groups of `GROUP` inputs, as AutoGPTQ's first format does (a stored zero point is one too low)."""

    def pack(front: str, w: NDArray[np.float32]) -> Tensors:
        codes, zeros, scales = _affine(w)
        group_of = np.arange(w.shape[1]) // GROUP
        return {
            front + "qweight": _i32(_nibbles(codes.T.reshape(-1, 8, len(w)).swapaxes(1, 2))),
            front + "qzeros": _i32(_nibbles((zeros.T - 1).reshape(zeros.shape[1], -1, 8))),
            front + "scales": _f16(scales.T),
            front + "g_idx": _i32(group_of),
        }

    config = {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": False}
    return Packed(tensors=_packed(model, pack), quantization=config)


def awq(model: Mapping[str, NDArray[np.float32]]) -> Packed:
    """Pack int4 in groups of `GROUP` inputs, as AutoAWQ's GEMM version does."""

    def pack(front: str, w: NDArray[np.float32]) -> Tensors:
        codes, zeros, scales = _affine(w)

        def ordered(values: NDArray[np.int64]) -> NDArray[np.int64]:
            return _nibbles(values.reshape(len(values), -1, 8)[..., _AWQ_ORDER])

        return {
            front + "qweight": _i32(ordered(np.ascontiguousarray(codes.T))),
            front + "qzeros": _i32(ordered(np.ascontiguousarray(zeros.T))),
            front + "scales": _f16(scales.T),
        }

    config = {"quant_method": "awq", "bits": 4, "group_size": GROUP, "version": "gemm", "zero_point": True}
    return Packed(tensors=_packed(model, pack), quantization=config)


def int8(model: Mapping[str, NDArray[np.float32]]) -> Packed:
    """Store int8 with a scale for each row, as compressed-tensors does."""

    def pack(front: str, w: NDArray[np.float32]) -> Tensors:
        scale = np.maximum(np.abs(w).max(axis=1, keepdims=True) / 127.0, 1e-12)
        codes = np.rint(w / scale).astype(np.int8)
        return {front + "weight": ("I8", w.shape, codes.tobytes()), front + "weight_scale": _f32(scale)}

    return Packed(tensors=_packed(model, pack), quantization=_compressed("int-quantized", "int"))


def fp8(model: Mapping[str, NDArray[np.float32]]) -> Packed:
    """Store float8 e4m3 with a scale for each row, as compressed-tensors does."""
    table = _e4m3()
    order = np.argsort(table, kind="stable")
    values = table[order]

    def pack(front: str, w: NDArray[np.float32]) -> Tensors:
        scale = np.maximum(np.abs(w).max(axis=1, keepdims=True) / 448.0, 1e-12)
        near = np.clip(np.searchsorted(values, w / scale), 1, len(values) - 1)
        lower = (w / scale - values[near - 1]) < (values[near] - w / scale)
        codes = order[near - lower].astype(np.uint8)
        return {front + "weight": ("F8_E4M3", w.shape, codes.tobytes()), front + "weight_scale": _f32(scale)}

    return Packed(tensors=_packed(model, pack), quantization=_compressed("float-quantized", "float"))


PACKERS: dict[str, Callable[[Mapping[str, NDArray[np.float32]]], Packed]] = {
    "gptq": gptq, "awq": awq, "int8": int8, "fp8": fp8,
}  # fmt: skip


def _packed(model: Mapping[str, NDArray[np.float32]], pack: Callable[[str, NDArray[np.float32]], Tensors]) -> Tensors:
    out: Tensors = {}
    for name, w in model.items():
        out |= pack(name.removesuffix("weight"), w) if is_block_matrix(name) else {name: _f16(w)}
    return out


def _affine(w: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return codes (out, in), zero points and scales (out, groups) of 4 bits.

    Zero points begin at 1, so that GPTQ can store them less one.
    """
    parts = w.reshape(len(w), -1, GROUP)
    low, high = np.minimum(parts.min(axis=-1), 0.0), np.maximum(parts.max(axis=-1), 0.0)
    scales = np.maximum((high - low) / 15.0, 1e-8).astype(np.float16).astype(np.float32)
    scales = np.maximum(scales, np.float32(6e-8))
    zeros = np.clip(np.rint(-low / scales), 1, 15).astype(np.int64)
    codes = np.clip(np.rint(parts / scales[..., None]) + zeros[..., None], 0, 15).astype(np.int64)
    return codes.reshape(w.shape), zeros, scales


def _nibbles(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Join eight 4-bit numbers along the last axis, the first lowest."""
    return np.asarray((values << (4 * np.arange(8))).sum(axis=-1))


def _i32(values: NDArray[np.int64]) -> tuple[str, tuple[int, ...], bytes]:
    return "I32", values.shape, values.astype(np.uint32).tobytes()


def _f16(values: NDArray[np.float32]) -> tuple[str, tuple[int, ...], bytes]:
    return "F16", values.shape, np.ascontiguousarray(values, dtype="<f2").tobytes()


def _f32(values: NDArray[np.float32]) -> tuple[str, tuple[int, ...], bytes]:
    return "F32", values.shape, np.ascontiguousarray(values, dtype="<f4").tobytes()


def _compressed(kind: str, number: str) -> dict[str, object]:
    weights = {"num_bits": 8, "type": number, "strategy": "channel", "symmetric": True, "dynamic": False}
    group = {"targets": ["Linear"], "weights": weights, "input_activations": None, "output_activations": None}
    return {
        "quant_method": "compressed-tensors", "format": kind, "quantization_status": "compressed",
        "config_groups": {"group_0": group}, "ignore": ["lm_head"],
    }  # fmt: skip


def _e4m3() -> NDArray[np.float64]:
    """Return the value of each code; the two NaN codes as the largest value of their sign, which they never win."""
    codes = np.arange(256)
    exponent, fraction = codes >> 3 & 15, codes & 7
    value = np.where(exponent == 0, fraction / 8 * 2.0**-6, (1 + fraction / 8) * 2.0 ** (exponent - 7.0))
    value[codes & 127 == 127] = 1e9  # above the range
    return np.where(codes & 128, -value, value)
