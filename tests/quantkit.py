"""Quantised matrices for tests: codes, scales and zero points drawn at random, packed bit by bit as each format does.

Every maker packs in plain loops over single elements, by the layout as its tool documents it, and computes what the
matrix is from the same codes. Nothing here is shared with the code under test.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from auditor.formats import open_checkpoints
from auditor.formats.serialize import serialize
from auditor.model import model_views
from auditor.sources import BytesSource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from auditor.model import ModelView

    Floats = NDArray[np.float32]
    Tensor = tuple[str, tuple[int, ...], bytes]

STEM = "model.layers.0.mlp.gate_proj"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One quantised matrix: its pieces by what their names end in, its config, and what it stands for."""

    tensors: dict[str, Tensor]
    config: dict[str, Any] | None
    expected: Floats
    texts: dict[str, bytes] = field(default_factory=dict)

    def with_tensor(self, leaf: str, tensor: Tensor | None) -> Case:
        """Replace a piece, or leave it out."""
        rest = {name: t for name, t in self.tensors.items() if name != leaf}
        return replace(self, tensors=rest | ({leaf: tensor} if tensor is not None else {}))

    def stating(self, **values: object) -> Case:
        """Change what the configuration says; None takes a value out."""
        config = {k: v for k, v in {**(self.config or {}), **values}.items() if v is not None}
        return replace(self, config=config)

    def contents(self, *, key: str = "quantization_config") -> dict[str, bytes]:
        """Return the files of a model of one block, whose gate is this matrix."""
        hidden = self.expected.shape[1]
        norm, up = "model.layers.0.post_attention_layernorm.weight", "model.layers.0.mlp.up_proj.weight"
        plain = {norm: f32(np.ones(hidden)), up: f32(np.ones(self.expected.shape))}
        pieces = {f"{STEM}.{leaf}": tensor for leaf, tensor in self.tensors.items()}
        files = {"model.safetensors": serialize(plain | pieces), **self.texts}
        if self.config is not None:
            key = "quantization" if "quant_method" not in self.config and "mode" in self.config else key
            files["config.json"] = json.dumps({"model_type": "llama", key: self.config}).encode()
        return files

    def source(self) -> BytesSource:
        return BytesSource(self.contents())

    def view(self) -> ModelView:
        return view_of(self.source())

    def rows(self, *index: int) -> Floats:
        return self.view().rows(0, "gate", np.array(index, dtype=np.intp))

    def matrix(self) -> Floats:
        return self.view().rows(0, "gate", np.arange(len(self.expected)))


def view_of(source: BytesSource) -> ModelView:
    """Open the only model of a source."""
    found = open_checkpoints(source)
    assert found.unread == ()
    (view,) = (view for container in found.containers for view in model_views(source, container))
    return view


# --- tensors --------------------------------------------------------------------------------------------


def f32(values: object) -> Tensor:
    array = np.asarray(values, "<f4")
    return "F32", array.shape, array.tobytes()


def f16(values: object) -> Tensor:
    array = np.asarray(values, "<f2")
    return "F16", array.shape, array.tobytes()


def ints(values: object, dtype: str) -> Tensor:
    array = np.asarray(values, {"U": "<u", "I": "<i"}[dtype[0]] + str(int(dtype[1:]) // 8))
    return dtype, array.shape, array.tobytes()


def words_of(codes: Sequence[int], bits: int) -> list[int]:
    """Write codes one after another, lowest bits first, into 32-bit words; the last one is filled with zeros."""
    stream = 0
    for place, code in enumerate(codes):
        stream |= int(code) << (bits * place)
    count = -(-len(codes) * bits // 32)
    return [(stream >> (32 * i)) & 0xFFFFFFFF for i in range(count)]


def draw_scales(rng: np.random.Generator, *shape: int) -> NDArray[np.float16]:
    return (rng.uniform(0.001, 0.1, shape) * rng.choice([-1.0, 1.0], shape)).astype(np.float16)


# --- formats --------------------------------------------------------------------------------------------


def gptq(
    seed: int,
    *,
    outputs: int = 64,
    inputs: int = 128,
    bits: int = 4,
    group_size: int = 32,
    act_order: bool = False,
    g_idx: bool = True,
    layout: str = "gptq",
) -> Case:
    """AutoGPTQ's packing: codes go down the columns of `qweight`; v1 stores words of zero points less a one in each."""
    rng = np.random.default_rng(seed)
    size = inputs if group_size == -1 else group_size
    groups = -(-inputs // size)
    codes = rng.integers(0, 2**bits, (outputs, inputs))
    zeros = rng.integers(0, 2**bits, (groups, outputs))
    scales = draw_scales(rng, groups, outputs)
    group = np.arange(inputs) // size
    if act_order:
        rng.shuffle(group)
    less = layout == "gptq"
    stored = (zeros - 1) % 8 if less and bits == 3 else zeros
    ones = sum(1 << place for place in range(0, 32, bits)) if less and bits != 3 else 0
    qweight = np.array([words_of(codes[o], bits) for o in range(outputs)]).T
    qzeros = np.array([[(word - ones) % 2**32 for word in words_of(stored[g], bits)] for g in range(groups)])
    expected = np.empty((outputs, inputs), np.float32)
    for o in range(outputs):
        for i in range(inputs):
            g = group[i]
            expected[o, i] = np.float32(scales[g, o]) * np.float32(codes[o, i] - zeros[g, o])
    tensors = {
        "qweight": ints(qweight.astype(np.uint32).view(np.int32), "I32"),
        "qzeros": ints(qzeros.astype(np.uint32).view(np.int32), "I32"),
        "scales": f16(scales),
        "bias": f16(np.zeros(outputs)),
    }
    if g_idx:
        tensors["g_idx"] = ints(group, "I32")
    config = {"quant_method": "gptq", "bits": bits, "group_size": group_size, "desc_act": act_order, "sym": False}
    config |= {"checkpoint_format": layout}
    return Case(tensors=tensors, config=config, expected=expected)


def awq(seed: int, *, outputs: int = 64, inputs: int = 128, group_size: int = 32) -> Case:
    """AutoAWQ's GEMM packing: eight outputs a word, in the order 0, 2, 4, 6, 1, 3, 5, 7."""
    rng = np.random.default_rng(seed)
    size = inputs if group_size == -1 else group_size
    groups = inputs // size
    codes, zeros = rng.integers(0, 16, (outputs, inputs)), rng.integers(0, 16, (outputs, groups))
    scales = draw_scales(rng, groups, outputs)

    def packed(table: NDArray[np.int64]) -> NDArray[np.int32]:
        words = np.zeros((table.shape[1], outputs // 8), np.uint64)
        for column in range(table.shape[1]):
            for word in range(outputs // 8):
                for place, output in enumerate([0, 2, 4, 6, 1, 3, 5, 7]):
                    words[column, word] |= np.uint64(int(table[word * 8 + output, column]) << (4 * place))
        return words.astype(np.uint32).view(np.int32)

    expected = np.empty((outputs, inputs), np.float32)
    for o in range(outputs):
        for i in range(inputs):
            expected[o, i] = np.float32(codes[o, i] - zeros[o, i // size]) * np.float32(scales[i // size, o])
    tensors = {"qweight": ints(packed(codes), "I32"), "qzeros": ints(packed(zeros), "I32"), "scales": f16(scales)}
    config = {"quant_method": "awq", "bits": 4, "group_size": group_size, "zero_point": True, "version": "gemm"}
    return Case(tensors=tensors, config=config, expected=expected)


NF4 = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
]  # fmt: skip
BNB_FP4 = [
    0.0, 0.0052083334885537624, 0.6666666865348816, 1.0, 0.3333333432674408, 0.5, 0.1666666716337204, 0.25, 0.0,
    -0.0052083334885537624, -0.6666666865348816, -1.0, -0.3333333432674408, -0.5, -0.1666666716337204, -0.25,
]  # fmt: skip
"""As bitsandbytes 0.50 writes them."""


def bnb4(
    seed: int, *, outputs: int = 24, inputs: int = 96, kind: str = "nf4", block: int = 64, double: bool = False
) -> Case:
    """bitsandbytes' packing: the flattened matrix, two codes a byte, the first in the high nibble."""
    rng = np.random.default_rng(seed)
    count = outputs * inputs
    codes = rng.integers(0, 16, count)
    table = np.array(NF4 if kind == "nf4" else BNB_FP4, np.float32)
    blocks = -(-count // block)
    state: dict[str, object] = {"quant_type": kind, "blocksize": block, "dtype": "float16", "shape": [outputs, inputs]}
    tensors: dict[str, Tensor] = {"weight.quant_map": f32(table)}
    if double:
        outer = np.sort(rng.uniform(-1, 1, 256)).astype(np.float32)
        scale_codes = rng.integers(0, 256, blocks)
        nested = rng.uniform(0.01, 0.1, -(-blocks // 256)).astype(np.float32)
        offset = float(np.float32(rng.uniform(0.1, 0.5)))
        absmax = np.array(
            [outer[scale_codes[b]] * nested[b // 256] + np.float32(offset) for b in range(blocks)], np.float32
        )
        state |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": offset}
        tensors |= {
            "weight.absmax": ints(scale_codes, "U8"),
            "weight.nested_absmax": f32(nested),
            "weight.nested_quant_map": f32(outer),
        }
    else:
        absmax = rng.uniform(0.01, 0.1, blocks).astype(np.float32)
        tensors["weight.absmax"] = f32(absmax)
    packed = [(int(codes[i]) << 4) | (int(codes[i + 1]) if i + 1 < count else 0) for i in range(0, count, 2)]
    tensors["weight"] = "U8", (len(packed), 1), bytes(packed)
    text = json.dumps(state).encode()
    tensors[f"weight.quant_state.bitsandbytes__{kind}"] = "U8", (len(text),), text
    flat = np.array([table[codes[i]] * absmax[i // block] for i in range(count)], np.float32)
    config = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": kind}
    return Case(tensors=tensors, config=config, expected=flat.reshape(outputs, inputs))


def bnb8(seed: int, *, outputs: int = 24, inputs: int = 96) -> Case:
    """LLM.int8(): a scale a row, the largest magnitude in it."""
    rng = np.random.default_rng(seed)
    codes, largest = rng.integers(-127, 128, (outputs, inputs)), rng.uniform(0.01, 1, outputs).astype(np.float32)
    expected = codes.astype(np.float32) * (largest / np.float32(127))[:, None]
    tensors = {"weight": ints(codes, "I8"), "SCB": f32(largest), "weight_format": ints(0, "U8")}
    return Case(tensors=tensors, config={"quant_method": "bitsandbytes", "load_in_8bit": True}, expected=expected)


def mlx(seed: int, *, outputs: int = 24, inputs: int = 128, bits: int = 4, group_size: int = 32) -> Case:
    """MLX's affine packing along the inputs."""
    rng = np.random.default_rng(seed)
    codes, groups = rng.integers(0, 2**bits, (outputs, inputs)), inputs // group_size
    scales, biases = draw_scales(rng, outputs, groups), draw_scales(rng, outputs, groups)
    expected = np.empty((outputs, inputs), np.float32)
    for o in range(outputs):
        for i in range(inputs):
            g = i // group_size
            expected[o, i] = np.float32(codes[o, i]) * np.float32(scales[o, g]) + np.float32(biases[o, g])
    tensors = {
        "weight": ints([words_of(row, bits) for row in codes], "U32"),
        "scales": f16(scales),
        "biases": f16(biases),
    }
    return Case(tensors=tensors, config={"bits": bits, "group_size": group_size, "mode": "affine"}, expected=expected)


def hqq(seed: int, *, outputs: int = 16, inputs: int = 80, bits: int = 4, group_size: int = 8, axis: int = 1) -> Case:
    """HQQ's packing: parts of the grouped matrix one above another, the first in the highest bits."""
    rng = np.random.default_rng(seed)
    count = outputs * inputs
    groups = count // group_size
    codes = rng.integers(0, 2**bits, count)
    scale, zero = draw_scales(rng, groups), rng.uniform(0, 2**bits, groups).astype(np.float16)
    expected = np.empty(count, np.float32)
    for e in range(count):
        g = e // group_size if axis == 1 else e % groups
        expected[e] = (np.float32(codes[e]) - np.float32(zero[g])) * np.float32(scale[g])
    table = codes.reshape(groups, group_size) if axis == 1 else codes.reshape(group_size, groups)
    parts, width, dtype = {8: (1, 8, "U8"), 4: (2, 4, "U8"), 3: (10, 3, "I32"), 2: (4, 2, "U8"), 1: (8, 1, "U8")}[bits]
    step = -(-table.shape[0] // parts)
    words = np.zeros((step, table.shape[1]), np.int64)
    for row in range(table.shape[0]):
        for column in range(table.shape[1]):
            words[row % step, column] |= int(table[row, column]) << (width * (parts - 1 - row // step))
    packing = {8: "8bit_u8", 4: "4bit_u8", 3: "3bit_32", 2: "2bit_u8", 1: "1bit_u8"}[bits].encode()
    tensors = {
        "W_q": ints(words, dtype),
        "scale": f16(scale.reshape((groups, 1) if axis == 1 else (1, groups))),
        "zero": f16(zero.reshape((groups, 1) if axis == 1 else (1, groups))),
        "nbits": ints(bits, "I32"),
        "group_size": ints(group_size, "I32"),
        "axis": ints(axis, "I32"),
        "shape": ints([outputs, inputs], "I64"),
        "packing": ("U8", (len(packing),), packing),
        "quant_scale": ints(0, "U8"),
        "quant_zero": ints(0, "U8"),
    }
    weights = {"nbits": bits, "group_size": group_size, "axis": axis}
    config = {"quant_method": "hqq", "quant_config": {"weight_quant_params": weights}}
    return Case(tensors=tensors, config=config, expected=expected.reshape(outputs, inputs))


def packed_integers(
    seed: int,
    *,
    outputs: int = 24,
    inputs: int = 128,
    bits: int = 4,
    group_size: int | None = 32,
    symmetric: bool = True,
    act_order: bool = False,
) -> Case:
    """compressed-tensors' "pack-quantized": along the inputs, codes shifted to be positive."""
    rng = np.random.default_rng(seed)
    size = group_size or inputs
    groups = inputs // size
    codes = rng.integers(0, 2**bits, (outputs, inputs))
    zeros = np.full((outputs, groups), 2 ** (bits - 1)) if symmetric else rng.integers(0, 2**bits, (outputs, groups))
    scales = draw_scales(rng, outputs, groups)
    group = np.arange(inputs) // size
    if act_order:
        rng.shuffle(group)
    expected = np.empty((outputs, inputs), np.float32)
    for o in range(outputs):
        for i in range(inputs):
            expected[o, i] = np.float32(codes[o, i] - zeros[o, group[i]]) * np.float32(scales[o, group[i]])
    packed = np.array([words_of(row, bits) for row in codes]).astype(np.uint32).view(np.int32)
    tensors = {
        "weight_packed": ints(packed, "I32"),
        "weight_scale": f16(scales),
        "weight_shape": ints([outputs, inputs], "I64"),
    }
    if not symmetric:
        down = np.array([words_of(zeros[:, g], bits) for g in range(groups)]).T
        tensors["weight_zero_point"] = ints(down.astype(np.uint32).view(np.int32), "I32")
    if act_order:
        tensors["weight_g_idx"] = ints(group, "I32")
    strategy = {"strategy": "channel"} if group_size is None else {"strategy": "group", "group_size": group_size}
    return Case(
        tensors=tensors, config=ct_config(num_bits=bits, type="int", symmetric=symmetric, **strategy), expected=expected
    )


def ct_config(**weights: object) -> dict[str, Any]:
    """Return a compressed-tensors configuration of one group."""
    group = {"targets": ["Linear"], "weights": weights}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}


E4M3 = [
    np.float32(sign * (m * 2.0**-9 if e == 0 else (1 + m / 8) * 2.0 ** (e - 7)))
    for sign in (1, -1)
    for e in range(16)
    for m in range(8)
]
"""Values of E4M3 by code; 0x7F and 0xFF are NaN and not used here."""


def scaled(
    seed: int,
    *,
    outputs: int = 24,
    inputs: int = 96,
    kind: str = "float",
    block: tuple[int, int] = (1, 96),
    shape: tuple[int, ...] | None = None,
) -> Case:
    """One code an element, and scales for blocks of elements; compressed-tensors' config, by channel."""
    rng = np.random.default_rng(seed)
    down, across = -(-outputs // block[0]), -(-inputs // block[1])
    scales = np.abs(draw_scales(rng, down, across)).astype(np.float32)
    if kind == "float":
        codes = rng.integers(0, 127, (outputs, inputs)) | rng.choice([0, 128], (outputs, inputs))
        values = [[E4M3[code] for code in row] for row in codes]
        weight: Tensor = "F8_E4M3", (outputs, inputs), codes.astype(np.uint8).tobytes()
    else:
        signed = rng.integers(-128, 128, (outputs, inputs))
        values = signed.tolist()
        weight = ints(signed, "I8")
    expected = np.empty((outputs, inputs), np.float32)
    for o in range(outputs):
        for i in range(inputs):
            expected[o, i] = np.float32(values[o][i]) * scales[o // block[0], i // block[1]]
    stored = scales.reshape(shape) if shape is not None else scales
    config = ct_config(num_bits=8, type=kind, symmetric=True, strategy="channel")
    return Case(tensors={"weight": weight, "weight_scale": f32(stored)}, config=config, expected=expected)


def deepseek(seed: int, *, outputs: int = 40, inputs: int = 72, block: tuple[int, int] = (16, 32)) -> Case:
    """FP8 with scales of blocks, the last of which are cut."""
    case = scaled(seed, outputs=outputs, inputs=inputs, block=block)
    tensors = {"weight": case.tensors["weight"], "weight_scale_inv": case.tensors["weight_scale"]}
    config = {"quant_method": "fp8", "weight_block_size": list(block), "activation_scheme": "dynamic"}
    return replace(case, tensors=tensors, config=config)


FP4 = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6]


def float4(seed: int, *, outputs: int = 24, inputs: int = 96, kind: str = "nvfp4") -> Case:
    """NVFP4 of compressed-tensors and of ModelOpt, and MXFP4: two codes a byte, the first in the low nibble."""
    rng = np.random.default_rng(seed)
    group = 32 if kind == "mxfp4" else 16
    codes = rng.integers(0, 16, (outputs, inputs))
    packed = bytes(int(row[i]) | (int(row[i + 1]) << 4) for row in codes for i in range(0, inputs, 2))
    scale_codes = rng.integers(100, 120, (outputs, inputs // group))
    factor = np.float32(rng.uniform(0.5, 2))
    expected = np.empty((outputs, inputs), np.float32)
    for o in range(outputs):
        for i in range(inputs):
            code = int(scale_codes[o, i // group])
            if kind == "mxfp4":
                scale = np.float32(2.0 ** (code - 127))
            elif kind == "nvfp4":
                scale = E4M3[code] / factor
            else:
                scale = E4M3[code] * factor
            expected[o, i] = np.float32(FP4[codes[o, i]]) * scale
    scales = scale_codes.astype(np.uint8).tobytes()
    name = "weight" if kind == "modelopt" else "weight_packed"
    tensors: dict[str, Tensor] = {
        name: ("U8", (outputs, inputs // 2), packed),
        "weight_scale": ("U8" if kind == "mxfp4" else "F8_E4M3", scale_codes.shape, scales),
    }
    if kind == "nvfp4":
        tensors["weight_global_scale"] = f32([factor])
    if kind == "modelopt":
        tensors["weight_scale_2"] = f32(factor)
    config = ct_config(num_bits=4, type="float", symmetric=True, strategy="group", group_size=group)
    return Case(
        tensors=tensors, config={"quant_method": "modelopt"} if kind == "modelopt" else config, expected=expected
    )


CASES: dict[str, Callable[[int], Case]] = {
    "gptq-2": lambda seed: gptq(seed, bits=2),
    "gptq-3": lambda seed: gptq(seed, bits=3),
    "gptq-4": gptq,
    "gptq-8": lambda seed: gptq(seed, bits=8),
    "gptq-act-order": lambda seed: gptq(seed, act_order=True),
    "gptq-v2": lambda seed: gptq(seed, layout="gptq_v2"),
    "awq": awq,
    "nf4": bnb4,
    "fp4": lambda seed: bnb4(seed, kind="fp4"),
    "nf4-double": lambda seed: bnb4(seed, double=True),
    "int8": bnb8,
    **{f"mlx-{bits}": (lambda seed, bits=bits: mlx(seed, bits=bits)) for bits in (2, 3, 4, 5, 6, 8)},
    **{f"hqq-{bits}": (lambda seed, bits=bits: hqq(seed, bits=bits)) for bits in (1, 2, 3, 4, 8)},
    "hqq-axis-0": lambda seed: hqq(seed, axis=0),
    "int4-packed": packed_integers,
    "int4-asymmetric": lambda seed: packed_integers(seed, symmetric=False),
    "int4-act-order": lambda seed: packed_integers(seed, act_order=True),
    "int3-packed": lambda seed: packed_integers(seed, bits=3),
    "int8-packed": lambda seed: packed_integers(seed, bits=8, group_size=None),
    "int8-channel": lambda seed: scaled(seed, kind="int", shape=(24, 1)),
    "float8-channel": lambda seed: scaled(seed, shape=(24, 1)),
    "float8-blocks": deepseek,
    "nvfp4": float4,
    "nvfp4-modelopt": lambda seed: float4(seed, kind="modelopt"),
    "mxfp4": lambda seed: float4(seed, kind="mxfp4"),
}
"""One small matrix of every format."""

STATED = ("weight.quant_state.bitsandbytes__nf4", "weight.quant_state.bitsandbytes__fp4", "packing")
"""Pieces that hold text."""


# --- whole models ---------------------------------------------------------------------------------------


def packed_model(
    model: Mapping[str, NDArray[np.floating]], method: str, *, group_size: int = 128, act_order: bool = False
) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Round the MLPs of a model to 4 bits in GPTQ's or AWQ's layout; return its tensors, and the configuration."""
    tensors: dict[str, Tensor] = {}
    for name, values in model.items():
        if ".mlp." not in name:
            tensors[name] = f16(values)
            continue
        outputs, inputs = values.shape
        group = np.arange(inputs) // group_size
        if act_order:
            np.random.default_rng(0).shuffle(group)
        groups = [values[:, group == g] for g in range(inputs // group_size)]
        scales = np.stack([np.abs(part).max(axis=1) / 7 for part in groups]).astype(np.float16)
        codes = np.clip(np.rint(values / scales[group].T.astype(np.float64)) + 8, 0, 15).astype(np.uint32)
        stem = name.removesuffix(".weight")
        if method == "gptq":
            places = np.arange(8, dtype=np.uint32)[:, None] * 4
            words = (codes.T.reshape(inputs // 8, 8, outputs) << places).sum(axis=1, dtype=np.uint32)
            zeros = np.full((len(groups), outputs // 8), 0x77777777, np.uint32)  # 8, less one
            tensors[f"{stem}.g_idx"] = ints(group, "I32")
        else:
            places = np.array([0, 4, 1, 5, 2, 6, 3, 7], np.uint32) * 4
            words = (codes.T.reshape(inputs, outputs // 8, 8) << places).sum(axis=2, dtype=np.uint32)
            zeros = np.full((len(groups), outputs // 8), 0x88888888, np.uint32)
        tensors[f"{stem}.qweight"] = ints(words.view(np.int32), "I32")
        tensors[f"{stem}.qzeros"] = ints(zeros.view(np.int32), "I32")
        tensors[f"{stem}.scales"] = f16(scales)
    config = {"quant_method": method, "bits": 4, "group_size": group_size, "desc_act": act_order, "version": "gemm"}
    if method == "gptq":
        del config["version"]
    return tensors, {"model_type": "llama", "quantization_config": config}
