"""Targets for fuzzing: each takes bytes and asserts a typed error or a right answer, never only that nothing crashed.

    python tests/fuzz_targets.py quant --seconds 60

A target is valid inputs to start from, a function that takes any, and a way to damage them. Damage is drawn from a
seed, which is printed with the input where a target fails, so that a failure can be had again.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import gguf
import numpy as np
import quantkit
import safetensors
import torchkit
import torchreference
from ggufkit import gguf_bytes
from modelkit import safetensors_bytes

from auditor.errors import FileError
from auditor.formats import open_checkpoints
from auditor.formats.dtypes import DTYPES
from auditor.formats.serialize import serialize
from auditor.model import canonical_name, model_views
from auditor.model.adapter import find_adapters
from auditor.model.merged import merge
from auditor.model.vocabulary import read_vocabulary
from auditor.sources import BytesSource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Change a few places of an input: bits, bytes, digits, stretches moved, lost or doubled."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        at = rng.randrange(len(out) + 1) if rng.random() < 0.5 else rng.randrange(min(len(out), 2048) + 1)
        length = rng.choice([1, 1, 2, 4, 8, 64])
        match rng.randrange(6):
            case 0 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                out[at : at + length] = rng.randbytes(min(length, len(out) - at))
            case 2:
                out[at : at + length] = bytes([rng.choice([0, 0xFF, 0x7F, 0x80])]) * min(length, len(out) - at)
            case 3:
                digits = [i for i, byte in enumerate(out[:4096]) if chr(byte).isdigit()]
                if digits:
                    out[rng.choice(digits)] = rng.choice(b"0123456789-")
            case 4:
                del out[at : at + length]
            case _:
                out[at:at] = out[at : at + length]
    return bytes(out)


class Target(NamedTuple):
    """Something to fuzz.

    Attributes
    ----------
    seeds : callable
        Returns valid inputs.
    run : callable
        Takes an input; raises AssertionError where the answer is wrong, and anything but FileError where it crashes.
    mutate : callable
        Changes an input; by default anywhere, which containers with a strict header mostly refuse.
    """

    seeds: Callable[[], Sequence[bytes]]
    run: Callable[[bytes], None]
    mutate: Callable[[bytes, random.Random], bytes] = mutated


# --- quantised matrices ---------------------------------------------------------------------------------


def quant_seeds() -> list[bytes]:
    """Return a small matrix of every format, as JSON: its configuration; type, shape and hex bytes of each piece."""
    out = []
    for make in quantkit.CASES.values():
        case = make(1)
        pieces = {leaf: [dtype, list(shape), raw.hex()] for leaf, (dtype, shape, raw) in case.tensors.items()}
        out.append(json.dumps({"config": case.config, "pieces": pieces}).encode())
    return out


def mutated_quant(data: bytes, rng: random.Random) -> bytes:
    """Change a few things that keep the file whole: shapes, types, names, contents, values of the configuration."""
    found = json.loads(data)
    pieces, config = found["pieces"], found["config"]
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        leaf = rng.choice(list(pieces))
        dtype, shape, text = pieces[leaf]
        raw = bytearray.fromhex(text)
        match rng.randrange(8):
            case 0 if shape:
                at = rng.randrange(len(shape))
                size = shape[at]
                shape[at] = max(0, rng.choice([size + 1, size - 1, size * 2, size // 2, 0, 1]))
            case 1:
                shape = rng.choice([[*shape, 1], [1, *shape], shape[:1], shape[::-1], []])
            case 2:
                dtype = rng.choice(["I32", "I64", "U8", "I8", "U32", "F16", "F32", "BF16", "F8_E4M3", "I16"])
            case 3 if len(pieces) > 1:
                del pieces[leaf]
                continue
            case 4:
                key = rng.choice([*config, "checkpoint_format", "weight_block_size", "mode"])
                numbers = [0, -1, 1, 2, 3, 4, 8, 16, 32, 64, 2**40, 1.5]
                config[key] = rng.choice([*numbers, True, None, "gptq", "x", [], [16, 32], {}])
            case 5 if leaf in quantkit.STATED:
                raw = bytearray(mutated(bytes(raw), rng))
                shape = [len(raw)] if dtype == "U8" else shape
            case _:
                for _ in range(rng.choice([1, 4, 64])):
                    if raw:
                        raw[rng.randrange(len(raw))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        pieces[leaf] = [dtype, shape, raw.hex()]
    return json.dumps(found).encode()


def quant_files(data: bytes) -> dict[str, bytes]:
    """Return the files that such an input stands for, every tensor as long as its type and shape want it."""
    found = json.loads(data)
    tensors = {}
    for leaf, (dtype, shape, text) in found["pieces"].items():
        length = math.prod(shape) * DTYPES[dtype].size
        tensors[leaf] = (dtype, tuple(shape), bytes.fromhex(text).ljust(length, b"\1")[:length])
    width = next(iter(tensors.values()))[1][-1:] or (1,)
    return quantkit.Case(tensors=tensors, config=found["config"], expected=np.ones((1, *width), np.float32)).contents()


def fuzz_quant(data: bytes) -> None:
    """Assert that each row, read alone, is what it is in the whole matrix, and that shapes are as said."""
    source = BytesSource(quant_files(data))
    for container in open_checkpoints(source).containers:
        try:
            views = model_views(source, container)
        except FileError:
            continue
        for view in views:
            for layer, role, _ in view.places():
                try:
                    shape = view.tensor(layer, role).shape
                    if len(shape) != 2:
                        continue
                    whole = view.rows(layer, role, np.arange(shape[0]))
                    index = np.array(sorted({0, shape[0] // 2, shape[0] - 1} & set(range(shape[0]))), dtype=np.intp)
                    alone = [view.rows(layer, role, index[i : i + 1]) for i in range(len(index))]
                except FileError:
                    continue
                assert whole.shape == shape
                assert whole.dtype == np.float32
                for row, number in zip(alone, index, strict=True):
                    assert np.array_equal(row[0], whole[number], equal_nan=True), (role, number)


# --- torch checkpoints ----------------------------------------------------------------------------------


def torch_seeds() -> list[bytes]:
    """Return checkpoints in both formats: small, with views, with code in them, and as other tools write archives."""
    pair: dict[str, torchkit.Value] = {
        "a.weight": ("F32", (2, 3), bytes(range(24))),
        "b": ("BF16", (4,), bytes(range(8))),
        "c": ("F8_E4M3", (3,), b"abc"),
    }
    held = torchkit.storage("0", "F32", 6)
    hooks = torchkit.named("collections", "OrderedDict") + b")R"
    views = torchkit.mapping(
        {
            "whole": torchkit.tensor(held, "F32", (2, 3)),
            "row": torchkit.tensor(held, "F32", (3,), offset=3),
            "turned": torchkit.tensor(held, "F32", (3, 2), stride=(1, 3)),
            "inner": hooks + torchkit.mapping({"_metadata": hooks}) + b"b",
            "list": b"]q\x05(" + torchkit.tensor(held, "F32", (1,)) + b"K\x01eq\x06",
        }
    )
    evil = torchkit.mapping(
        {
            "w": torchkit.tensor(held, "F32", (2, 3)),
            "x": b"cposix\nsystem\n(X\x02\x00\x00\x00idtR",
            "y": b"\x8c\x05posix\x94\x8c\x06system\x93\x8c\x02id\x85R",
        }
    )
    out = [torchkit.torch_zip(pair), torchkit.torch_legacy(pair)]
    for body in (views, evil):
        archive = torchkit.archive_of(torchkit.pickled(body), {"0": bytes(range(24))})
        out.append(archive.to_bytes())
        for entry in archive.entries:
            entry.crc = 0  # not computed, so that changes of the pickle get past the checksum
        out += [archive.to_bytes()] * 2
    narrow = torchkit.archive_of(torchkit.pickled(views), {"0": bytes(range(24))})
    narrow.zip64_end, narrow.alignment = False, 4
    return [*out, narrow.to_bytes()]


def fuzz_torch(data: bytes) -> None:
    """Assert that each tensor is what a loader sees under that name, and that no global a loader asks for is missed."""
    source = BytesSource({"pytorch_model.bin": data})
    found = open_checkpoints(source)
    tensors = {
        entry.name: (entry.dtype, entry.shape, data[entry.start : entry.stop])
        for container in found.containers
        for entry in container.tensors
    }
    if not found.unread or tensors:
        asked = torchreference.asked_before_failing(data)
        named = " ".join(item.evidence for item in found.findings if item.id == "FILE-007")
        assert all(name in named or name in HARMLESS or "more" in named for name in asked), (asked, named)
    try:
        loaded = torchreference.load(data)
    except Exception:  # noqa: BLE001 (no loader takes it: there is nothing that would be right)
        return
    for name, seen in tensors.items():
        assert loaded.tensors[name] == seen, (name, seen, loaded.tensors[name])
    if not found.unread:
        assert tensors.keys() == loaded.tensors.keys()


HARMLESS = {
    "torch.Size", "torch.device", "torch.Tensor", "torch.nn.parameter.Parameter", "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state", "torch._tensor._rebuild_from_type_v2", "_codecs.encode",
    *(f"torch.{alias}" for alias in ("double", "float", "half", "long", "int", "short")),
}  # fmt: skip
"""Globals that torch itself takes for data, with the other names that it has for its dtypes."""


# --- safetensors, held against the library --------------------------------------------------------------

SMALL = serialize(
    {"a.weight": ("F32", (2, 3), bytes(range(24))), "b": ("BF16", (0, 2), b""), "c": ("U8", (3,), b"abc")},
    {"format": "pt"},
)


def fuzz_safetensors(data: bytes) -> None:
    """Assert that what is read is what the library reads."""
    found = open_checkpoints(BytesSource({"model.safetensors": data}))
    assert found.containers or found.unread
    for container in found.containers:
        theirs = {
            name: (held["dtype"], tuple(held["shape"]), bytes(held["data"]))
            for name, held in safetensors.deserialize(data)  # type: ignore[no-untyped-call]
        }
        ours = {entry.name: (entry.dtype, entry.shape, data[entry.start : entry.stop]) for entry in container.tensors}
        assert ours == theirs


# --- indices --------------------------------------------------------------------------------------------

SHARDS = {
    "model-00001-of-00002.safetensors": serialize({"a.weight": ("F32", (2, 3), bytes(range(24)))}),
    "model-00002-of-00002.safetensors": serialize({"b": ("U8", (3,), b"abc"), "c": ("U8", (1,), b"d")}),
}
INDEX = "model.safetensors.index.json"
_HOLDS = {"a.weight": "model-00001-of-00002.safetensors"} | dict.fromkeys("bc", "model-00002-of-00002.safetensors")


def fuzz_index(data: bytes) -> None:
    """Assert that an index joins its shards just where it maps each of their tensors to the file that holds it."""
    found = open_checkpoints(BytesSource({INDEX: data, **SHARDS}))
    if not found.unread:
        said = json.loads(data)["weight_map"]
        assert said.items() <= _HOLDS.items()
        listed = {entry.name for container in found.containers for entry in container.tensors}
        assert listed == _HOLDS.keys()


# --- GGUF, held against gguf's own reader ---------------------------------------------------------------

GGUF_SEEDS = (
    gguf_bytes(
        {
            "blk.0.ffn_gate.weight": (0, (4, 32), bytes(512)),
            "token_embd.weight": (8, (2, 64), bytes(4 * 34)),
            "output_norm.weight": (1, (3,), bytes(6)),
        },
        {"general.architecture": "llama", "llama.block_count": 1, "general.name": "x"},
    ),
    gguf_bytes({"w": (0, (3,), bytes(12))}, {"general.architecture": "llama"}),
)


def fuzz_gguf(data: bytes) -> None:
    """Assert that what is read is what gguf's own reader reads, where that does not give up."""
    found = open_checkpoints(BytesSource({"model.gguf": data}))
    assert found.containers or found.unread
    if not found.containers:
        return
    with tempfile.NamedTemporaryFile(suffix=".gguf") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file.write(data)
        file.flush()
        try:
            theirs = gguf.GGUFReader(file.name)
        except Exception:  # noqa: BLE001 (it wants more than a file must have)
            return
        tensors = {
            held.name: (held.tensor_type.name, tuple(reversed(held.shape.tolist())), held.data_offset, held.n_bytes)
            for held in theirs.tensors
        }
    (container,) = found.containers
    ours = {
        entry.name: (entry.dtype, entry.shape, entry.start, entry.stop - entry.start) for entry in container.tensors
    }
    stale = {name for name, held in tensors.items() if held[0] == "Q8_1"}  # 40 bytes there, 36 in llama.cpp since 2023
    assert ours.keys() == tensors.keys()
    assert all(ours[name] == held for name, held in tensors.items() if name not in stale)


# --- adapters, merged by hand ---------------------------------------------------------------------------

_BASE = {
    "model.embed_tokens.weight": (10, 8), "model.layers.0.self_attn.q_proj.weight": (8, 8),
    "model.layers.0.mlp.gate_proj.weight": (12, 8), "model.layers.0.mlp.up_proj.weight": (12, 8),
    "model.layers.0.mlp.down_proj.weight": (8, 12),
}  # fmt: skip
_CHANGED = ("model.layers.0.mlp.gate_proj", "model.layers.0.self_attn.q_proj")
_ADAPTER = {
    "peft_type": "LORA", "base_model_name_or_path": "org/base", "r": 2, "lora_alpha": 6, "use_rslora": False,
    "fan_in_fan_out": False, "rank_pattern": {}, "alpha_pattern": {"mlp.gate_proj": 3}, "bias": "none",
    "use_dora": False, "init_lora_weights": True, "target_modules": ["gate_proj", "q_proj"], "modules_to_save": None,
}  # fmt: skip


def _drawn(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: rng.integers(-4, 5, shape).astype(np.float32) for name, shape in shapes.items()}


def adapter_seeds() -> list[bytes]:
    """Return a base and an adapter, as JSON: the config, and the names and shapes of the halves."""
    halves = {
        f"base_model.model.{module}.lora_{side}.weight": shape
        for module in _CHANGED
        for side, shape in (("A", (2, 8)), ("B", (_BASE[f"{module}.weight"][0], 2)))
    }
    return [json.dumps({"config": _ADAPTER, "halves": halves}).encode()]


def mutated_adapter(data: bytes, rng: random.Random) -> bytes:
    """Change values of the config, and names and shapes of the halves."""
    found = json.loads(data)
    config, halves = found["config"], found["halves"]
    for _ in range(rng.choice([1, 1, 2, 3])):
        name = rng.choice(list(halves))
        match rng.randrange(5):
            case 0:
                halves[name] = [max(0, size + rng.choice([-1, 0, 1])) for size in halves[name]]
            case 1:
                halves[mutated(name.encode(), rng).decode("latin-1")] = halves.pop(name)
            case 2:
                halves[name.replace(".lora_A", rng.choice([".lora_B", ".lora_A.default", ""]))] = halves.pop(name)
            case 3:
                config.pop(rng.choice(list(config)), None)
            case _:
                values: list[object] = [
                    0,
                    -1,
                    1,
                    2,
                    4,
                    2**40,
                    0.5,
                    True,
                    None,
                    "LORA",
                    "gate_proj",
                    [],
                    {},
                    {"q_proj": 4},
                ]
                config[rng.choice(list(_ADAPTER))] = rng.choice(values)
        if not halves:
            break
    return json.dumps(found).encode()


def fuzz_adapters(data: bytes) -> None:
    """Assert that rows of a merged model are those of `W + scaling * B @ A`, as PEFT defines the scaling."""
    found = json.loads(data)
    weights, halves = _drawn(_BASE), _drawn({name: tuple(shape) for name, shape in found["halves"].items()})
    base = BytesSource({"model.safetensors": safetensors_bytes(weights)})
    (view,) = model_views(base, open_checkpoints(base).containers[0])
    files = {
        "adapter_model.safetensors": safetensors_bytes(halves),
        "adapter_config.json": json.dumps(found["config"]).encode(),
    }
    source = BytesSource(files)
    adapters, _ = find_adapters(source, open_checkpoints(source).containers)
    for adapter in adapters:
        try:
            merged = merge(view, adapter, source)
        except FileError:
            continue
        for name, w in weights.items():
            canonical = canonical_name(name)
            assert canonical is not None
            expected = w + _change(name.removesuffix(".weight"), halves, found["config"])
            try:
                ours = merged.rows(canonical.layer, canonical.role, np.arange(len(w)))
            except FileError:
                continue
            whole = [held for kept, held in halves.items() if "lora_" not in kept and kept.endswith(name)]
            if not whole:
                assert np.allclose(ours, expected, rtol=1e-4, atol=1e-3), name


def _change(module: str, halves: Mapping[str, np.ndarray], config: dict[str, Any]) -> np.ndarray | float:
    sides = {}
    for name, held in halves.items():
        at, _, rest = name.removeprefix("base_model.model.").partition(".lora_")
        if at == module:
            sides[rest[0]] = held
    if sides.keys() != {"A", "B"}:
        return 0.0

    def pattern(key: str, default: float) -> float:
        found = config.get(key) or {}
        fits = (value for end, value in found.items() if re.match(rf"(.*\.)?({end})$", module))
        return float(next(fits, default))

    rank = pattern("rank_pattern", config["r"])
    scaling = pattern("alpha_pattern", config["lora_alpha"]) / (rank**0.5 if config.get("use_rslora") else rank)
    return np.asarray(scaling * sides["B"] @ sides["A"])


# --- vocabularies ---------------------------------------------------------------------------------------


def _piece(text: bytes) -> bytes:
    inner = b"\x0a" + bytes([len(text)]) + text + b"\x15\0\0\0\0"
    return b"\x0a" + bytes([len(inner)]) + inner


_TOKENIZERS = {
    b"j": ("tokenizer.json", b'{"model": {"type": "BPE", "vocab": {"a": 0, "\\u0120b": 1, "c": 7}, "merges": []}}'),
    b"u": ("tokenizer.json", b'{"model": {"type": "Unigram", "vocab": [["a", -1.5], ["b", 0.0]]}}'),
    b"v": ("vocab.json", b'{"a": 0, "b": 1, "\\u0120c": 2}'),
    b"s": ("tokenizer.model", _piece(b"<unk>") + _piece(b"a") + _piece("\u2581b".encode()) + b"\x12\x02\x08\x01"),
}
"""By the first byte of an input, which says whose file the rest is."""


def fuzz_vocabulary(data: bytes) -> None:
    """Assert that rows are numbers of the file's own, and that two readings are one; nothing is ever raised."""
    name, _ = _TOKENIZERS.get(data[:1], _TOKENIZERS[b"j"])
    files = {name: data[1:], "model.safetensors": SMALL}
    source = BytesSource(files)
    container = open_checkpoints(BytesSource({"model.safetensors": SMALL})).containers[0]
    found = read_vocabulary(source, container)
    assert all(type(text) is str and type(row) is int and row >= 0 for text, row in found.items())
    if not found or name == "tokenizer.model":
        assert len(found) <= len(data) // 2 + 1
        return
    said = json.loads(data[1:])
    said = said["model"]["vocab"] if name == "tokenizer.json" else said
    pairs = said.items() if isinstance(said, dict) else ((entry[0], row) for row, entry in enumerate(said) if entry)
    rows = {(text.replace("\u0120", "\u2581"), row) for text, row in pairs if isinstance(text, str)}
    assert found.items() <= rows


TARGETS = {
    "torch": Target(torch_seeds, fuzz_torch),
    "gguf": Target(lambda: GGUF_SEEDS, fuzz_gguf),
    "safetensors": Target(lambda: [SMALL], fuzz_safetensors),
    "index": Target(lambda: [json.dumps({"metadata": {}, "weight_map": _HOLDS}).encode()], fuzz_index),
    "quant": Target(quant_seeds, fuzz_quant, mutated_quant),
    "adapters": Target(adapter_seeds, fuzz_adapters, mutated_adapter),
    "vocabulary": Target(lambda: [mark + held for mark, (_, held) in _TOKENIZERS.items()], fuzz_vocabulary),
}


def run(name: str, *, seconds: float, seed: int) -> int:
    """Fuzz one target for a while; return how many inputs were tried."""
    target = TARGETS[name]
    seeds = target.seeds()
    for valid in seeds:
        target.run(valid)
    stop, tried = time.monotonic() + seconds, 0
    while time.monotonic() < stop:
        rng = random.Random(f"{seed} {tried}")  # noqa: S311 (nothing secret)
        data = target.mutate(rng.choice(seeds), rng)
        try:
            target.run(data)
        except BaseException:
            failed = {"target": name, "seed": seed, "input": tried, "bytes": data.hex()}
            sys.stderr.write(json.dumps(failed) + "\n")
            raise
        tried += 1
    return tried


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for each in TARGETS if arguments.target == "all" else [arguments.target]:
        tried = run(each, seconds=arguments.seconds, seed=arguments.seed)
        sys.stdout.write(f"{each}: {tried} inputs, each refused by a typed error or read right\n")
