"""Torch checkpoints written without torch, with the knobs that a hostile one turns; and real torch, apart from us.

`writer()` gives a Python that has torch and PEFT, installed once into `.cache/`, for tests marked `integration`.
"""

from __future__ import annotations

import struct
import subprocess
import tempfile
import zlib
from dataclasses import dataclass, field
from functools import cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from venvkit import python_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelkit import Model
    from numpy.typing import NDArray

Value = tuple[str, tuple[int, ...], bytes]
"""A tensor: dtype as safetensors spells it, shape, little-endian bytes."""

_STORAGE = {
    "F64": "DoubleStorage", "F32": "FloatStorage", "F16": "HalfStorage", "BF16": "BFloat16Storage",
    "I64": "LongStorage", "I32": "IntStorage", "I16": "ShortStorage", "I8": "CharStorage", "U8": "ByteStorage",
    "BOOL": "BoolStorage",
}  # fmt: skip
_SIZE = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
    "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2,
}  # fmt: skip
_V3_NAME = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "U16": "uint16"}


# --- pickles ---


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def sequence(items: Sequence[bytes]) -> bytes:
    return b"(" + b"".join(items) + b"t"


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def storage(key: str, dtype: str, elements: int, *, legacy: bool = False) -> bytes:
    kind = named("torch", _STORAGE[dtype]) if dtype in _STORAGE else named("torch.storage", "UntypedStorage")
    count = elements if dtype in _STORAGE else elements * _SIZE[dtype]
    parts = [text("storage"), kind, text(key), text("cpu"), number(count), *([b"N"] if legacy else [])]
    return sequence(parts) + b"Q"


def tensor(
    held: bytes, dtype: str, shape: Sequence[int], *, stride: Sequence[int] | None = None, offset: int = 0
) -> bytes:
    steps = stride if stride is not None else [prod(shape[i + 1 :]) for i in range(len(shape))]
    hooks = named("collections", "OrderedDict") + b")R"
    arguments = [held, number(offset), sequence(list(map(number, shape))), sequence(list(map(number, steps)))]
    if dtype in _STORAGE:
        return named("torch._utils", "_rebuild_tensor_v2") + sequence([*arguments, b"\x89", hooks]) + b"R"
    kind = named("torch", _V3_NAME[dtype])
    return named("torch._utils", "_rebuild_tensor_v3") + sequence([*arguments, b"\x89", hooks, kind]) + b"R"


def mapping(items: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(name) + value for name, value in items.items()) + b"u"


def pickled(value: bytes) -> bytes:
    return b"\x80\x02" + value + b"."


def describe(tensors: Mapping[str, Value], *, legacy: bool = False) -> tuple[bytes, dict[str, bytes]]:
    """Return the pickle of a state dict, without PROTO and STOP, and its storages by key."""
    items = {}
    storages = {}
    for i, (name, (dtype, shape, data)) in enumerate(tensors.items()):
        held = storage(str(i), dtype, len(data) // _SIZE[dtype], legacy=legacy)
        items[name] = tensor(held, dtype, shape)
        storages[str(i)] = data
    return mapping(items), storages


# --- archives ---


@dataclass(kw_only=True)
class Entry:
    """A member of an archive. What is None is as it should be."""

    name: str
    data: bytes
    flags: int = 0x0808  # sizes behind the bytes, names in UTF-8: as torch writes
    method: int = 0
    crc: int | None = None
    local_name: str | None = None
    local_extra: int | None = None
    size: int | None = None
    wide: bool = False
    extra: bytes = b""


@dataclass(kw_only=True)
class Archive:
    entries: list[Entry] = field(default_factory=list)
    zip64_end: bool = True
    alignment: int = 64

    def to_bytes(self) -> bytes:
        out = bytearray()
        directory = bytearray()
        for entry in self.entries:
            at = len(out)
            name = entry.name.encode()
            local = (entry.local_name or entry.name).encode()
            crc = zlib.crc32(entry.data) if entry.crc is None else entry.crc
            size = len(entry.data) if entry.size is None else entry.size
            deferred = bool(entry.flags & 8)
            room = -(at + 30 + len(local) + 4) % self.alignment
            extra = b"FB" + struct.pack("<H", room) + b"Z" * room
            claimed = len(extra) if entry.local_extra is None else entry.local_extra
            header = (0, 0, 0) if deferred else (crc, size, size)
            out += struct.pack("<4s5H3I2H", b"PK\3\4", 0, entry.flags, entry.method, 0, 0, *header, len(local), claimed)
            out += local + extra + entry.data
            if deferred:
                out += struct.pack("<4sI2Q" if entry.wide else "<4s3I", b"PK\7\x08", crc, size, size)
            wide = struct.pack("<2H3Q", 1, 24, size, size, at) if entry.wide else b""
            narrow = (0xFFFFFFFF,) * 3 if entry.wide else (size, size, at)
            more = wide + entry.extra
            directory += struct.pack(
                "<4s6H3I5H2I", b"PK\1\2", 0, 0, entry.flags, entry.method, 0, 0, crc, *narrow[:2], len(name), len(more),
                0, 0, 0, 0, narrow[2],
            )  # fmt: skip
            directory += name + more
        at, count = len(out), len(self.entries)
        out += directory
        if self.zip64_end:
            place = len(out)
            out += struct.pack(
                "<4sQ2H2I4Q", b"PK\6\6", 44, 0, 45, 0, 0, count, count, len(directory), at
            ) + struct.pack("<4sIQI", b"PK\6\7", 0, place, 1)
        out += struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(directory), at, 0)
        return bytes(out)


def archive_of(pickle: bytes, storages: Mapping[str, bytes] | None = None, *, root: str = "archive") -> Archive:
    """Lay out an archive as `torch.save` does."""
    entries = [
        Entry(name=f"{root}/data.pkl", data=pickle),
        Entry(name=f"{root}/byteorder", data=b"little"),
        *(Entry(name=f"{root}/data/{key}", data=data) for key, data in (storages or {}).items()),
        Entry(name=f"{root}/version", data=b"3\n"),
        Entry(name=f"{root}/.data/serialization_id", data=b"0" * 40),
    ]
    return Archive(entries=entries)


def torch_zip(tensors: Mapping[str, Value]) -> bytes:
    described, storages = describe(tensors)
    return archive_of(pickled(described), storages).to_bytes()


def torch_legacy(tensors: Mapping[str, Value]) -> bytes:
    described, storages = describe(tensors, legacy=True)
    out = pickled(number(0x1950A86A20F9469CFC6C)) + pickled(b"M\xe9\x03")
    sizes = mapping({"short": number(2), "int": number(4), "long": number(4)})
    out += pickled(mapping({"protocol_version": b"M\xe9\x03", "little_endian": b"\x88", "type_sizes": sizes}))
    out += pickled(described) + pickled(b"](" + b"".join(map(text, storages)) + b"e")
    dtypes = [dtype for dtype, _, _ in tensors.values()]
    for dtype, data in zip(dtypes, storages.values(), strict=True):
        elements = len(data) // _SIZE[dtype] if dtype in _STORAGE else len(data)
        out += struct.pack("<q", elements) + data
    return out


def values_of(model: Model) -> dict[str, Value]:
    """Return a model of `modelkit` as float32 values."""
    return {name: ("F32", w.shape, np.ascontiguousarray(w, "<f4").tobytes()) for name, w in model.items()}


# --- Meta's layout ---

_META = {
    "self_attn.q_proj": "attention.wq", "self_attn.k_proj": "attention.wk", "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3", "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
_META_GLOBAL = {"model.embed_tokens.weight": "tok_embeddings.weight", "model.norm.weight": "norm.weight",
                "lm_head.weight": "output.weight"}  # fmt: skip


def meta_rows(matrix: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Put rows of a Hugging Face q or k projection into Meta's order, rotary pairs side by side, one by one."""
    size = len(matrix) // heads
    half = size // 2
    order = [head * size + which * half + pair for head in range(heads) for pair in range(half) for which in (0, 1)]
    return matrix[order]


def meta_layout(model: Model, *, heads: int, kv_heads: int) -> Model:
    """Give a model of Hugging Face names the names and row order that Meta published Llama in."""
    out = {}
    for name, w in model.items():
        if name in _META_GLOBAL:
            out[_META_GLOBAL[name]] = w
            continue
        _, _, layer, tail = name.split(".", 3)
        meta = _META[tail.removesuffix(".weight")]
        turned = {"attention.wq": heads, "attention.wk": kv_heads}.get(meta)
        out[f"layers.{layer}.{meta}.weight"] = meta_rows(w, turned) if turned else w
    return out


def meta_shards(model: Model, count: int, *, embed_axis: int = 1) -> list[Model]:
    """Split a model in Meta's layout over `count` files."""

    def part(name: str, w: NDArray[np.float32], i: int) -> NDArray[np.float32]:
        if w.ndim == 1:
            return w
        columns = ".attention.wo." in name or ".w2." in name
        axis = embed_axis if name == "tok_embeddings.weight" else 1 if columns else 0
        return np.split(w, count, axis=axis)[i]

    return [{name: part(name, w, i) for name, w in model.items()} for i in range(count)]


# --- real torch ---

REQUIREMENTS = ("torch==2.13.0", "transformers==5.24.0", "numpy", "safetensors", "peft==0.21.2")


@cache
def writer() -> Path:
    """Return a Python with real torch, transformers and PEFT."""
    return python_of("torch", REQUIREMENTS)


def run_torch(script: str, *arguments: str | Path) -> str:
    """Run a script where torch is, and return what it prints."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "script.py")  # a file, for TorchScript wants the source
        path.write_text(script)
        command = [writer(), "-P", path, *map(str, arguments)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
