"""Checkpoints of Llama-2-7B's shape as sparse files, with real numbers only where the sample lies.

The files have the true sizes (13.5 GB in two shards) and take a few tens of MB of disk; headers, offsets and the
index are those of a real one, so a scan costs what it costs on the real thing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from auditor.lineage import dump_sketch, resolve_references
from auditor.lineage.sample import sample_index

if TYPE_CHECKING:
    from numpy.typing import NDArray

HIDDEN, NEURONS, LAYERS, VOCABULARY = 4096, 11008, 32, 32000


def shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor of the model."""
    out: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        out |= {f"{at}self_attn.{role}_proj.weight": (HIDDEN, HIDDEN) for role in "qkvo"}
        out |= {f"{at}mlp.{role}_proj.weight": (NEURONS, HIDDEN) for role in ("gate", "up")}
        out[f"{at}mlp.down_proj.weight"] = (HIDDEN, NEURONS)
        out |= {f"{at}{role}_layernorm.weight": (HIDDEN,) for role in ("input", "post_attention")}
    return out | {"model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCABULARY, HIDDEN)}


def sampled_rows(seed: int, name: str) -> NDArray[np.float32]:
    """Draw the sampled rows of one tensor of the model with this seed."""
    rng = np.random.default_rng([seed, *name.encode()])
    return rng.normal(0, 0.02, (32, HIDDEN)).astype(np.float32)


def write(folder: Path, *, seed: int, drift_from: int | None = None, cosine: float = 1.0) -> Path:
    """Write a checkpoint folder; with `drift_from`, its rows keep `cosine` to those of the model with that seed."""
    folder.mkdir(parents=True, exist_ok=True)
    first = int(sample_index(NEURONS)[0])
    names = list(shapes())
    weight_map = {}
    for i, part in enumerate((names[:217], names[217:]), 1):
        file = f"model-{i:05d}-of-00002.safetensors"
        weight_map |= dict.fromkeys(part, file)
        header, at = {}, 0
        for name in part:
            size = 2 * int(np.prod(shapes()[name]))
            header[name] = {"dtype": "BF16", "shape": list(shapes()[name]), "data_offsets": [at, at + size]}
            at += size
        text = json.dumps(header).encode()
        with (folder / file).open("wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            out.truncate(8 + len(text) + at)
            for name in part:
                if "gate_proj" in name or "up_proj" in name:
                    rows = sampled_rows(seed, name)
                    if drift_from is not None:
                        rows = cosine * sampled_rows(drift_from, name) + np.sqrt(1 - cosine**2) * rows
                    out.seek(8 + len(text) + header[name]["data_offsets"][0] + first * HIDDEN * 2)
                    out.write((rows.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes())
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def main() -> None:
    """Write a base, its sketch, a derivative at row cosine .5 and an independent model below a folder."""
    work = Path(sys.argv[1])
    write(work / "base", seed=1)
    write(work / "tuned", seed=2, drift_from=1, cosine=0.5)
    write(work / "other", seed=3)
    # Not by `auditor sketch`, which would hash 13.5 GB of zeros for the origin.
    (base,) = resolve_references((str(work / "base"),))
    (work / "base.sketch").write_bytes(dump_sketch(base, tool_version="0"))


if __name__ == "__main__":
    main()
