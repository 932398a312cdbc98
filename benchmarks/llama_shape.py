"""Checkpoints of the shapes of Llama 2 as sparse files, with real numbers only where the sample lies.

The files have the true sizes (13.5 GB in two shards, 138 GB in fifteen) and take a few tens of MB of disk; headers,
offsets and the index are those of a real one, so a scan costs what it costs on the real thing.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from auditor.lineage import dump_sketch, resolve_references
from auditor.lineage.sample import SAMPLE_NEURONS, sample_index

if TYPE_CHECKING:
    from numpy.typing import NDArray

VOCABULARY = 32000
SHARD = 10_000_000_000  # bytes at most, as transformers splits


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of a Llama model.

    Attributes
    ----------
    hidden, neurons, layers : int
    heads, shared : int
        Attention heads, and those of keys and values.
    """

    hidden: int
    neurons: int
    layers: int
    heads: int
    shared: int

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of the model, in its own order."""
        narrow = self.hidden // self.heads * self.shared
        out: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, self.hidden)}
        for layer in range(self.layers):
            at = f"model.layers.{layer}."
            out |= {f"{at}self_attn.{role}_proj.weight": (self.hidden, self.hidden) for role in "qo"}
            out |= {f"{at}self_attn.{role}_proj.weight": (narrow, self.hidden) for role in "kv"}
            out |= {f"{at}mlp.{role}_proj.weight": (self.neurons, self.hidden) for role in ("gate", "up")}
            out[f"{at}mlp.down_proj.weight"] = (self.hidden, self.neurons)
            out |= {f"{at}{role}_layernorm.weight": (self.hidden,) for role in ("input", "post_attention")}
        return out | {"model.norm.weight": (self.hidden,), "lm_head.weight": (VOCABULARY, self.hidden)}

    def shards(self) -> list[list[str]]:
        """Names of the tensors of each shard."""
        parts: list[list[str]] = [[]]
        room = SHARD
        for name, dims in self.tensors().items():
            size = 2 * int(np.prod(dims))
            if size > room:
                parts.append([])
                room = SHARD
            parts[-1].append(name)
            room -= size
        return parts

    def sampled_rows(self, seed: int, name: str) -> NDArray[np.float32]:
        """Draw the sampled rows of one tensor of the model with this seed."""
        rng = np.random.default_rng([seed, *name.encode()])
        return rng.standard_normal((SAMPLE_NEURONS, self.hidden), dtype=np.float32) * np.float32(0.02)


LLAMA_7B = Shape(hidden=4096, neurons=11008, layers=32, heads=32, shared=32)
LLAMA_70B = Shape(hidden=8192, neurons=28672, layers=80, heads=64, shared=8)


def write(
    folder: Path, shape: Shape = LLAMA_7B, *, seed: int, drift_from: int | None = None, cosine: float = 1.0
) -> Path:
    """Write a checkpoint folder; with `drift_from`, its rows keep `cosine` to those of the model with that seed."""
    folder.mkdir(parents=True, exist_ok=True)
    first = int(sample_index(shape.neurons)[0])
    tensors, parts = shape.tensors(), shape.shards()
    weight_map: dict[str, str] = {}
    for i, part in enumerate(parts, 1):
        file = f"model-{i:05d}-of-{len(parts):05d}.safetensors"
        weight_map |= dict.fromkeys(part, file)
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        starts, at = {}, 0
        for name in part:
            size = 2 * int(np.prod(tensors[name]))
            header[name] = {"dtype": "BF16", "shape": list(tensors[name]), "data_offsets": [at, at + size]}
            starts[name] = at
            at += size
        text = json.dumps(header).encode()
        with (folder / file).open("wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            out.truncate(8 + len(text) + at)
            for name in part:
                if "gate_proj" in name or "up_proj" in name:
                    rows = shape.sampled_rows(seed, name)
                    if drift_from is not None:
                        old = shape.sampled_rows(drift_from, name)
                        rows = np.float32(cosine) * old + np.float32(np.sqrt(1 - cosine**2)) * rows
                    out.seek(8 + len(text) + starts[name] + first * shape.hidden * 2)
                    out.write((rows.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes())
    index = {"metadata": {"total_size": sum(2 * int(np.prod(d)) for d in tensors.values())}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    return folder


def write_sketch(model: Path, to: Path) -> Path:
    """Make a reference of a checkpoint folder, and not by `auditor sketch`, which would hash gigabytes of zeros."""
    (base,) = resolve_references((str(model),))
    to.write_bytes(dump_sketch(base, tool_version="0"))
    return to


def main() -> None:
    """Write a base, its sketch, a derivative at row cosine .5 and an independent model below a folder."""
    work = Path(sys.argv[1])
    write(work / "base", seed=1)
    write(work / "tuned", seed=2, drift_from=1, cosine=0.5)
    write(work / "other", seed=3)
    write_sketch(work / "base", work / "base.sketch")


if __name__ == "__main__":
    main()
