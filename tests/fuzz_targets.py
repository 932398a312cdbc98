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
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import numpy as np
import quantkit
import torchkit
import torchreference

from auditor.errors import FileError
from auditor.formats import open_checkpoints
from auditor.formats.dtypes import DTYPES
from auditor.model import model_views
from auditor.sources import BytesSource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


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
}  # fmt: skip
"""Globals that torch itself takes for data, and that no mutation of the seeds should come near."""


TARGETS = {"quant": Target(quant_seeds, fuzz_quant, mutated_quant), "torch": Target(torch_seeds, fuzz_torch)}


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
