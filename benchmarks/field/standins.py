"""A Hub that serves stand-ins under the names of the listed models, and a library of references that fits them.

    python benchmarks/field/standins.py FOLDER [--shrink N] [--delay MS] [--gated REPO] [--missing REPO]

Writes the library into FOLDER, prints the endpoint and serves until its input ends. `run.py --stand-ins` does this by
itself. The files have the true sizes (shapes, vocabularies and formats as remembered of the models' public configs, not
checked) and exist only in memory. Numbers are drawn where a scan can look: the neurons that the reference of the
width samples, the tokens that it keeps, norm gains. Those of a derived model keep a cosine to the rows of its origin:
the published one where there is one, else .99 (made up); those of others are drawn apart. So this proves the
benchmark's machinery and what a scan costs, and nothing of the real models.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from drawn import DTYPES, Block, Stored, checkpoint
from families import Tensor, tensors
from loopback_hub import LoopbackHub

from auditor.lineage.references import library_folder
from auditor.lineage.sample import sample_index
from auditor.lineage.sketch import token_index

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drawn import Drawn
    from loopback_hub import Answer, Request
    from numpy.typing import NDArray

HERE = Path(__file__).parent
TOWER = 1024
README = "---\nlicense: other\n---\n# A stand-in\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """A model to be drawn.

    Attributes
    ----------
    repo, family : str
    sizes : dict of str to int
        By the letters of `families`.
    layers : int
    kind : {"safetensors", "torch"}
    origin : str
        Whose rows it keeps a `cosine` to; its own name for one that was drawn apart.
    cosine : float
    wide : tuple of int
        Hidden size and neurons of the reference that a model of this width is held against: of its origin, if listed.
    """

    repo: str
    family: str
    sizes: dict[str, int]
    layers: int
    kind: str
    origin: str
    cosine: float
    wide: tuple[int, int]

    @property
    def pruned(self) -> bool:
        """Whether it has not all neurons of its origin: then those at sampled positions were others there."""
        return self.sizes["m"] < self.wide[1]

    def files(self) -> dict[str, Drawn | bytes]:
        """Return the files of its repository."""
        found = list(tensors(self.family, self.sizes, layers=self.layers))
        stored = {tensor.name: Stored(tensor.shape, self._block(tensor)) for tensor in found}
        config = {
            "model_type": self.family.partition("_")[0],
            "hidden_size": self.sizes["d"],
            "intermediate_size": self.sizes["m"],
            "num_hidden_layers": self.layers,
            "num_attention_heads": max(1, self.sizes["q"] // 128),
            "num_key_value_heads": max(1, self.sizes["k"] // 128),
            "vocab_size": self.sizes["v"],
        }
        rest = {"README.md": README.encode(), "config.json": json.dumps(config, indent=2).encode()}
        return checkpoint(self.repo, stored, kind=self.kind) | rest

    def _block(self, tensor: Tensor) -> Block | None:
        if tensor.role == "-":
            return None
        rows, width = (tensor.shape[0], tensor.shape[1]) if len(tensor.shape) == 2 else (1, tensor.shape[0])
        wanted = {"embed": token_index(rows), "gate": sample_index(self.wide[1]), "up": sample_index(self.wide[1])}
        index = wanted.get(tensor.role, np.arange(1))
        if int(index[-1]) >= rows:
            return None
        return Block(int(index[0]) * width * 2, len(index) * width * 2, partial(self._draw, tensor, len(index), width))

    def _draw(self, tensor: Tensor, rows: int, width: int) -> bytes:
        key = f"{tensor.role} {tensor.place}"
        own = _normal(self.repo, key, (rows, width))
        if self.origin == self.repo or (self.pruned and tensor.role in {"gate", "up"}):
            values = own
        else:
            values = _normal(self.origin, key, (rows, self.wide[0]))[:, :width]
        if self.cosine < 1:
            values = np.float32(self.cosine) * values + np.float32(np.sqrt(1 - self.cosine**2)) * own
        values = (
            np.float32(0.4) + np.float32(0.05) * values if tensor.role.endswith("norm") else values * np.float32(0.02)
        )
        if DTYPES[self.kind] == "F16":
            return values.astype("<f2").tobytes()
        return (np.ascontiguousarray(values, "<f4").view("<u4") >> 16).astype("<u2").tobytes()


def _normal(name: str, key: str, shape: tuple[int, int]) -> NDArray[np.float32]:
    rng = np.random.default_rng(list(f"{name} {key}".encode()))
    return rng.standard_normal(shape, dtype=np.float32)


def reference_models(shrink: int = 1) -> dict[str, StandIn]:
    """Return the stand-ins of the references, by name."""
    shapes = {"llama-2-7b": (4096, 11008, 32, 4096), "llama-2-13b": (5120, 13824, 40, 5120)}
    shapes["llama-2-70b"] = (8192, 28672, 80, 1024)
    repos = {"llama-2-7b": "meta-llama/Llama-2-7b-hf", "llama-2-13b": "meta-llama/Llama-2-13b-hf"}
    repos["llama-2-70b"] = "meta-llama/Llama-2-70b-hf"
    return {
        name: StandIn(
            repo=repos[name],
            family="llama",
            sizes=_shrunk({"d": d, "m": m, "q": d, "k": k, "v": 32000, "e": 0, "t": TOWER}, shrink),
            layers=_fewer(layers, shrink),
            kind="safetensors",
            origin=name,
            cosine=1.0,
            wide=(d // shrink, m // shrink),
        )
        for name, (d, m, layers, k) in shapes.items()
    }


def stand_ins(shrink: int = 1) -> dict[str, StandIn]:
    """Return the stand-ins of all listed models, by repository.

    Parameters
    ----------
    shrink : int
        Divides every size: small models in the shapes' proportions, for tests.
    """
    references = reference_models(shrink)
    wide = sorted(model.wide for model in references.values())
    found = {}
    with (HERE / "standins.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            hidden = int(row["hidden"])
            sizes = {
                "d": hidden,
                "m": int(row["neurons"]),
                "q": int(row["queries"] or hidden),
                "k": int(row["keys"] or hidden),
                "v": int(row["vocabulary"]),
                "e": int(row["experts"] or 0) * shrink,
                "t": TOWER,
            }
            held = next(pair for pair in wide if pair[0] * shrink >= hidden)
            origin = references.get(row["origin"])
            found[row["repo"]] = StandIn(
                repo=row["repo"],
                family=row["family"],
                sizes=_shrunk(sizes, shrink),
                layers=_fewer(int(row["layers"]), shrink),
                kind=row["format"],
                origin=row["origin"] or row["repo"],
                cosine=float(row["cosine"] or 1),
                wide=origin.wide if origin else held,
            )
    return found


def _shrunk(sizes: dict[str, int], shrink: int) -> dict[str, int]:
    return {letter: size // shrink for letter, size in sizes.items()}


def _fewer(layers: int, shrink: int) -> int:
    return layers if shrink == 1 else max(4, layers // shrink)


def publish(hub: LoopbackHub, folder: Path, repos: Iterable[str], *, shrink: int = 1) -> None:
    """Put stand-ins into a Hub, with the references', and write a library whose pins fit these."""
    models = stand_ins(shrink)
    references = reference_models(shrink)
    table = []
    for name, model in references.items():
        files = model.files()
        hub.publish(model.repo, files)
        table.append(_entry(name, model, files))
    for repo in repos:
        hub.publish(repo, models[repo].files())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "references.toml").write_text("\n".join(table))
    shutil.copy(library_folder() / "known_digests.csv", folder)  # none of which any stand-in has


def _entry(name: str, model: StandIn, files: dict[str, Drawn | bytes]) -> str:
    pins = [
        f'  {{ path = "{path}", sha256 = "{data.sha256}", size = {len(data)} }},'
        for path, data in files.items()
        if not isinstance(data, bytes)
    ]
    shape = f"layers = {model.layers}\nhidden_size = {model.sizes['d']}\nneurons = {model.sizes['m']}\n"
    head = f'[reference.{name}]\ntitle = "Stand-in"\nlicense = "llama2"\nrepo = "{model.repo}"\n'
    return f"{head}vocabulary = {model.sizes['v']}\n{shape}pins = [\n" + "\n".join(pins) + "\n]\n"


def _late(seconds: float, _: Request, answer: Answer) -> Answer:
    time.sleep(seconds)
    return answer


def main() -> None:
    """Serve until the input ends."""
    parser = argparse.ArgumentParser(description="Serve stand-ins of the listed models.")
    parser.add_argument("folder", type=Path, help="where the library of references is written")
    parser.add_argument("--shrink", type=int, default=1, help="divide every size")
    parser.add_argument("--delay", type=float, default=0, metavar="MS", help="wait before each answer")
    parser.add_argument("--gated", action="append", default=[], metavar="REPO")
    parser.add_argument("--missing", action="append", default=[], metavar="REPO")
    options = parser.parse_args()
    with LoopbackHub() as hub:
        publish(hub, options.folder, stand_ins().keys() - options.missing, shrink=options.shrink)
        hub.gated.update(options.gated)
        hub.twist = partial(_late, options.delay / 1000)
        print(hub.endpoint, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
