"""Pairs of models that have nothing to do with each other, to draw from the null: made up, or really trained.

What is made up is made as bad as a null may be: both models share directions, spectra, hubs, outliers, padding, even
embeddings, and only the order of neurons (or which two belong together) is by chance.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import arrays
import numpy as np
from recipes import CACHE, TINY

from auditor.formats import open_checkpoints
from auditor.lineage.reader import ModelReader
from auditor.model import model_views
from auditor.sources import LocalSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Rows = NDArray[np.float32]

UNRELATED = (
    "A", "B", "C", "D", "start-zero", "start-orthogonal", "start-constant-norms", "start-tied", "start-all-30",
    "start-all-31",
)  # fmt: skip
"""Small models trained from other seeds, of one shape. A, B and C saw the same data in the same order."""

DESCENDANTS = ("fine-tune", "cpt-83", "cpt-50", "cpt-20", "lora", "reinit", "half", "two-of-four")
"""What was trained on from A and from B, alike: those of the one are unrelated to those of the other."""

SMOLLM = CACHE / "smollm" / "base"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Rows of a reference and of a target that is unrelated to it.

    Attributes
    ----------
    reference : tuple of two ndarrays, shape (R, m, d)
        Gate and up of all neurons.
    target : tuple of two ndarrays, shape (T, m', d)
    tokens : tuple of two ndarrays, shape (k, d), or None
        Embeddings of the same tokens, of the reference and of the target.
    """

    reference: tuple[Rows, Rows]
    target: tuple[Rows, Rows]
    tokens: tuple[Rows, Rows] | None = None

    def layers(self, reference: tuple[int, ...], target: tuple[int, ...]) -> Pair:
        """Return the same pair with some of its layers only."""
        return replace(
            self,
            reference=(self.reference[0][list(reference)], self.reference[1][list(reference)]),
            target=(self.target[0][list(target)], self.target[1][list(target)]),
        )


def drawn(kind: str, *, layers: tuple[int, int], neurons: int, width: int, seed: int) -> Iterator[Pair]:
    """Yield pairs made up anew, without end.

    Parameters
    ----------
    kind : str
        A row of `KINDS`.
    layers : tuple of int
        Of the reference and of the target.
    neurons, width : int
    seed : int
    """
    change = KINDS[kind]
    rng = np.random.default_rng(seed)
    while True:
        rows = [rng.standard_normal((2, count, neurons, width), dtype=np.float32) for count in layers]
        yield change(Pair(reference=(rows[0][0], rows[0][1]), target=(rows[1][0], rows[1][1])), rng)


def _isotropic(pair: Pair, rng: np.random.Generator) -> Pair:
    del rng
    return pair


def _each(pair: Pair, change: Callable[[Rows, int], Rows]) -> Pair:
    """Change gate (0) and up (1) of both models."""
    return replace(
        pair,
        reference=(change(pair.reference[0], 0), change(pair.reference[1], 1)),
        target=(change(pair.target[0], 0), change(pair.target[1], 1)),
    )


def _low_rank(pair: Pair, rng: np.random.Generator) -> Pair:
    """Let the variance of directions fall as 1 / k^2, the same in both models: a few directions hold nearly all."""
    del rng
    scale = 1.0 / np.arange(1, pair.reference[0].shape[-1] + 1, dtype=np.float32)
    return _each(pair, lambda rows, _: rows * scale)


def _common_mean(pair: Pair, rng: np.random.Generator) -> Pair:
    """Add one vector to all rows of both models, three times as long as they are."""
    means = 3.0 * rng.standard_normal((2, pair.reference[0].shape[-1]), dtype=np.float32)
    return _each(pair, lambda rows, kind: rows + means[kind])


def _hubs(pair: Pair, rng: np.random.Generator) -> Pair:
    """Give all rows a common part, and make one target neuron in sixteen nothing but that, by gate and by up."""
    means = rng.standard_normal((2, pair.reference[0].shape[-1]), dtype=np.float32)
    pair = _each(pair, lambda rows, kind: rows + means[kind])
    for kind, rows in enumerate(pair.target):
        rows[:, ::16] = means[kind] + 0.1 * rows[:, ::16]
    return pair


def _outliers(pair: Pair, rng: np.random.Generator) -> Pair:
    """Make three channels of all rows thirty times as large, the same in both models."""
    scale = np.ones(pair.reference[0].shape[-1], dtype=np.float32)
    scale[rng.choice(scale.size, 3, replace=False)] = 30.0
    return _each(pair, lambda rows, _: rows * scale)


def _repeated(pair: Pair, rng: np.random.Generator) -> Pair:
    """Of every 16 neurons, at the same places in both models, make two copies of a third, and pad two with zeros."""
    del rng

    def change(rows: Rows, _: int) -> Rows:
        rows = rows.copy()
        for copy in (1, 2):
            rows[:, copy::16] = rows[:, ::16]
        for empty in (14, 15):
            rows[:, empty::16] = 0.0
        return rows

    return _each(pair, change)


def _coupled(pair: Pair, rng: np.random.Generator) -> Pair:
    """Let each neuron follow the common directions as much by its gate as by its up, one neuron more than another.

    What a neuron's gate says of it then tells something of its up, in both models: what the search takes for chance
    (that it finds the same neuron twice) is not.
    """
    means = rng.standard_normal((2, pair.reference[0].shape[-1]), dtype=np.float32)
    return replace(
        pair,
        reference=_following(pair.reference, means, rng),
        target=_following(pair.target, means, rng),
    )


def _following(rows: tuple[Rows, Rows], means: Rows, rng: np.random.Generator) -> tuple[Rows, Rows]:
    share = rng.lognormal(-1.0, 1.0, (*rows[0].shape[:2], 1)).astype(np.float32)
    return rows[0] + share * means[0], rows[1] + share * means[1]


def _transplanted(pair: Pair, rng: np.random.Generator) -> Pair:
    """Give both models the same embeddings, and rows of few directions."""
    pair = _low_rank(pair, rng)
    tokens = rng.standard_normal((96, pair.reference[0].shape[-1]), dtype=np.float32)
    return replace(pair, tokens=(tokens, tokens))


def _words(pair: Pair, rng: np.random.Generator) -> Pair:
    """Let tokens mean the same in both models, in bases of their own: equal Gram matrices but for noise."""
    width = pair.reference[0].shape[-1]
    meaning = rng.standard_normal((96, 24), dtype=np.float32)
    bases = rng.standard_normal((2, 24, width), dtype=np.float32)
    noise = 0.3 * rng.standard_normal((2, 96, width), dtype=np.float32)
    tokens = meaning @ bases + noise
    return replace(_common_mean(pair, rng), tokens=(tokens[0], tokens[1]))


KINDS: dict[str, Callable[[Pair, np.random.Generator], Pair]] = {
    "isotropic": _isotropic,
    "low-rank rows": _low_rank,
    "large common mean": _common_mean,
    "hubs": _hubs,
    "outlier channels": _outliers,
    "repeated and padded rows": _repeated,
    "gate and up coupled": _coupled,
    "same embeddings": _transplanted,
    "tokens mean the same": _words,
}


EMBEDDINGS = ("independent", "tokens mean the same", "large common mean", "outlier columns")
"""Kinds of embeddings that are not shared."""


def drawn_embeddings(kind: str, seed: int) -> Iterator[tuple[Rows, Rows]]:
    """Yield embeddings of 24 tokens, 64 wide, that two models do not share."""
    rng = np.random.default_rng(seed)
    while True:
        x, y = rng.standard_normal((2, 24, 64), dtype=np.float32)
        if kind == "tokens mean the same":
            meaning = rng.standard_normal((24, 6), dtype=np.float32)
            bases = rng.standard_normal((2, 6, 64), dtype=np.float32)
            x, y = meaning @ bases[0] + 0.2 * x, meaning @ bases[1] + 0.2 * y
        elif kind == "large common mean":
            x, y = (rows + 5.0 * rng.standard_normal(64, dtype=np.float32) for rows in (x, y))
        elif kind == "outlier columns":
            for rows in (x, y):
                rows[:, rng.choice(64, 3, replace=False)] *= 30.0
        yield x, y


def permuted_embeddings(seed: int) -> Iterator[tuple[Rows, Rows]]:
    """Yield a small model's embeddings against those of itself or another, their columns in an order drawn anew."""
    rng = np.random.default_rng(seed)
    tables = [reader(name).tokens(np.arange(512)) for name in ("A", "B")]
    for i in itertools.count():
        some = rng.choice(512, 48, replace=False)
        target = tables[i % 2][some]
        yield tables[0][some], target[:, rng.permutation(target.shape[1])]


def found_embeddings(seed: int) -> Iterator[tuple[Rows, Rows]]:
    """Yield the embeddings of all pairs of unrelated small models, as they are."""
    del seed
    for a, b in unrelated_pairs():
        yield reader(a).tokens(np.arange(512)), reader(b).tokens(np.arange(512))


def missing(*folders: Path) -> bool:
    """Say whether any of these models is not there."""
    return not all((folder / "model.safetensors").exists() for folder in folders)


def unrelated_pairs() -> list[tuple[str, str]]:
    """Return all pairs of unrelated small models."""
    return list(itertools.combinations(UNRELATED, 2))


def descendant_pairs() -> list[tuple[str, str]]:
    """Return all pairs of a descendant of A and one of B."""
    return [(f"A-{a}", f"B-{b}") for a in DESCENDANTS for b in DESCENDANTS]


@functools.cache
def tiny(name: str, *, folded: bool) -> tuple[Rows, Rows]:
    """Gate and up of a small model, each (layers, m, d); `folded` with the gains of the norm before them."""
    return _rows(arrays.read(TINY / name), folded=folded)


@functools.cache
def smollm() -> tuple[Rows, Rows]:
    """Gate and up of SmolLM2-135M, each (30, 1536, 576), folded."""
    return _rows(arrays.read(SMOLLM), folded=True)


def _rows(model: dict[str, Rows], *, folded: bool) -> tuple[Rows, Rows]:
    count = sum(name.endswith("mlp.gate_proj.weight") for name in model)
    gate, up = (
        np.stack([model[f"model.layers.{i}.mlp.{kind}_proj.weight"] for i in range(count)]) for kind in ("gate", "up")
    )
    if folded:
        gains = np.stack([model[f"model.layers.{i}.post_attention_layernorm.weight"] for i in range(count)])[:, None]
        return gate * gains, up * gains
    return gate, up


@functools.cache
def reader(name: str) -> ModelReader:
    """Open a small model as the auditor does."""
    source = LocalSource(TINY / name)
    (container,) = open_checkpoints(source).containers
    (view,) = model_views(source, container)
    return ModelReader(view)
