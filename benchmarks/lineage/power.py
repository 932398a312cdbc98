"""How small a row cosine is found, from how many bytes; and what becomes of pairs whose distance was published.

    python benchmarks/lineage/power.py                 # some 2 minutes on two cores
    python benchmarks/lineage/power.py --draws 40

Models are drawn: gate and up rows of the reference are Gaussian, those of the target are c times these and
sqrt(1 - c^2) times others, so every row has cosine c to its origin but for chance. Found means log10 p <= -12 after all
corrections that a scan of one reference makes (combinations of layers, two tests, looks and tries). A cosine is called
found where it is in nine of ten draws. Bytes are those of the target's rows at 16 bits.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import table

from auditor.lineage.aligned import COMBINATIONS, TESTS, aligned_neurons, detection_limit, exchanges
from auditor.lineage.disguised import TRIES
from auditor.lineage.looks import FIRST_LAYERS, FIRST_LOOK
from auditor.lineage.sample import SAMPLE_NEURONS, NeuronSample
from auditor.lineage.stats import bonferroni, fisher, fixed_points, log10_fixed_point_tail
from auditor.lineage.tails import log10_swap_tail
from auditor.lineage.verdict import DERIVED_LOG10_P, INDEPENDENT_LOG10_P

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Rows = NDArray[np.float32]

PUBLISHED = Path(__file__).with_name("published_pair_distances.csv")

LOOKS = 2
"""Of rung 1 at one model that lies here: 16 neurons of every layer, and all that were sampled."""

CORRECTIONS = LOOKS + TRIES
"""Tests that a scan of one reference can come to."""

WIDTHS = {192: 4, 576: 30, 4096: 32}
"""Hidden size, and layers of a model that has it: the battery's small models, SmolLM2-135M, Llama 2 7B."""

FIXED_POINT_NEURONS = 64
"""Largest number for which fixed points are counted here: for more, exchanges always find the smaller cosine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is read."""

    width: int
    layers: int
    neurons: int

    @property
    def megabytes(self) -> float:
        """Of the target's gate and up rows, at 16 bits."""
        return 4.0 * self.width * self.layers * self.neurons / 1e6


def sizes() -> list[Size]:
    """Return what is tried: few and all layers, and more neurons a layer."""
    out = []
    for width, layers in WIDTHS.items():
        for count in sorted({FIRST_LAYERS, layers}):
            out += [Size(width=width, layers=count, neurons=n) for n in (16, 32, 64, 128)]
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both tables; return the number of published pairs that are judged wrongly."""
    options = _parser().parse_args(arguments)
    started = time.perf_counter()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # of the workers, which are one a core
    with ProcessPoolExecutor(options.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        published = [pool.submit(published_draw, seed) for seed in range(options.published_draws)]
        smallest = list(pool.map(smallest_cosines, sizes(), itertools.repeat(options.draws)))
        pairs = [future.result() for future in published]
    print(f"Smallest row cosine found (log10 p <= {DERIVED_LOG10_P:.0f}), nine of {options.draws} draws in ten\n")
    print(_page(("d", "layers", "neurons a layer", "MB read", "fixed points", "exchanges", "claimed limit"), smallest))
    rows, wrong = published_rows(pairs)
    print(f"\nPublished pairs at d = 4096, {options.published_draws} draws each: log10 p, median (worst)\n")
    print(_page(("pair", "cosine", "32 neurons, 32 layers", "16 neurons, 4 layers", ""), rows))
    print(f"\n{wrong} pairs are judged wrongly.\n")
    print(table.machine(time.perf_counter() - started).replace(" for the auditor's part", ""))
    return wrong


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=20, help="of each size (default %(default)s)")
    parser.add_argument("--published-draws", type=int, default=3, help="of each published pair (default %(default)s)")
    parser.add_argument("--processes", type=int, default=2)
    return parser


def _page(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (columns, ["---"] * len(columns), *rows))


# The smallest cosine


def smallest_cosines(size: Size, draws: int) -> list[str]:
    """Return a row of the first table."""
    tail = np.array(log10_fixed_point_tail(size.neurons))
    usable = np.ones((size.layers, size.neurons), dtype=bool)

    def by_fixed_points(similarity: Floats) -> float:
        return bonferroni(fisher(tail[fixed_points(similarity, usable)]), COMBINATIONS * TESTS * CORRECTIONS)

    def by_swaps(similarity: Floats) -> float:
        differences = np.concatenate([exchanges(s, ok) for s, ok in zip(similarity, usable, strict=True)])
        return bonferroni(log10_swap_tail(differences), TESTS * CORRECTIONS)

    few = size.neurons <= FIXED_POINT_NEURONS
    ways: dict[Callable[[Floats], float], list[float]] = {by_swaps: []}
    if few:
        ways[by_fixed_points] = []
    for i in range(draws):
        parts = list(_products(size, np.random.default_rng([size.width, size.layers, size.neurons, i])))
        for way, found in ways.items():
            found.append(_smallest(parts, way))
    told = [_nine_of_ten(ways[way]) if way in ways else "" for way in (by_fixed_points, by_swaps)]
    claimed = _claimed(size, draws=min(draws, 5)) if few else ""
    return [str(size.width), str(size.layers), str(size.neurons), f"{size.megabytes:.2f}", *told, claimed]


def _products(size: Size, rng: np.random.Generator) -> Iterator[Floats]:
    """Yield, of gate and up, what similarities at any cosine are made of: shape (layers, 3, n, n).

    Products of reference rows with themselves, with the noise, and of noise rows with themselves on the diagonal.
    """
    for _ in ("gate", "up"):
        out = np.empty((size.layers, 3, size.neurons, size.neurons))
        for layer in range(size.layers):
            a, b = rng.standard_normal((2, size.neurons, size.width), dtype=np.float32)
            out[layer] = a @ a.T, a @ b.T, np.diag((b * b).sum(axis=1))
        yield out


def _similarity(parts: list[Floats], cosine: float) -> Floats:
    """Sum of gate and up cosines between rows a_i and c a_j + s b_j, shape (layers, n, n)."""
    sine = np.sqrt(1.0 - cosine**2)
    total: Floats = np.zeros(())
    for part in parts:
        same, other, noise = part[:, 0], part[:, 1], part[:, 2]
        square, cross, own = (np.diagonal(p, axis1=1, axis2=2) for p in (same, other, noise))
        length = np.sqrt(cosine**2 * square + 2.0 * cosine * sine * cross + sine**2 * own)
        dot = cosine * same + sine * other
        total = total + dot / np.sqrt(square)[:, :, None] / length[:, None, :]
    return total


def _smallest(parts: list[Floats], log10_p: Callable[[Floats], float]) -> float:
    """Return the smallest cosine at which one draw is found, by bisection; infinity where copies are not."""
    if log10_p(_similarity(parts, 1.0)) > DERIVED_LOG10_P:
        return np.inf
    low, high = 1e-3, 1.0
    while high / low > 1.03:
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if log10_p(_similarity(parts, middle)) <= DERIVED_LOG10_P else (middle, high)
    return high


def _nine_of_ten(smallest: list[float]) -> str:
    value = float(np.quantile(smallest, 0.9, method="higher"))
    return f"{value:.3f}" if np.isfinite(value) else "none"


def _claimed(size: Size, *, draws: int) -> str:
    """Return what the auditor says of an independent model that it would have found, mean over draws."""
    limits = []
    for i in range(draws):
        rng = np.random.default_rng([1, size.width, size.layers, size.neurons, i])
        # Only similarities matter to the limit: of unrelated rows they are normal, with variance 1 / d.
        found = aligned_neurons(*(_sample(rows) for rows in rng.standard_normal((2, 2, 1, 2, 64), dtype=np.float32)))
        noise = rng.normal(0.0, np.sqrt(2.0 / size.width), (size.layers, size.neurons, size.neurons))
        limits.append(detection_limit(replace(found, noise=noise), log10_alpha=DERIVED_LOG10_P - np.log10(CORRECTIONS)))
    known = [limit for limit in limits if limit is not None]
    return f"{np.mean(known):.3f}" if known else "none"


def _sample(rows: Rows) -> NeuronSample:
    """Make a sample of gate and up rows, (2, layers, n, d)."""
    return NeuronSample(
        layers=tuple(range(rows.shape[1])), neurons=11008, index=np.arange(rows.shape[2]), gate=rows[0], up=rows[1]
    )


# Published pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A pair of public models.

    Attributes
    ----------
    names : str
    cosine : float
        Mean over aligned rows, from the distances.
    related : bool
        As its authors found: the smallest p-value that 99 permutations can give.
    """

    names: str
    cosine: float
    related: bool


def published() -> list[Published]:
    """Read the table."""
    lines = [line for line in PUBLISHED.read_text().splitlines() if not line.startswith("#")]
    return [
        Published(names=row["pair"], cosine=float(row["cosine"]), related=float(row["p"]) <= 0.01)
        for row in csv.DictReader(lines)
    ]


def published_draw(seed: int) -> list[tuple[float, float]]:
    """Draw each pair once: log10 p with the standard sketch on every layer, and with the first look at few."""
    rng = np.random.default_rng([2, seed])
    layers = WIDTHS[4096]
    reference, noise = rng.standard_normal((2, 2, layers, SAMPLE_NEURONS, 4096), dtype=np.float32)
    few = np.linspace(0, layers - 1, FIRST_LAYERS).round().astype(int)
    known, out = _sample(reference), []
    for pair in published():
        target = _sample(np.float32(pair.cosine) * reference + np.float32(np.sqrt(1.0 - pair.cosine**2)) * noise)
        first = replace(
            target.first(FIRST_LOOK), layers=tuple(few.tolist()), gate=target.gate[few, :FIRST_LOOK],
            up=target.up[few, :FIRST_LOOK],
        )  # fmt: skip
        tests = (known, target), (known.first(FIRST_LOOK), first)
        whole, short = (bonferroni(aligned_neurons(ours, theirs).log10_p, CORRECTIONS) for ours, theirs in tests)
        out.append((whole, short))
    return out


def published_rows(draws: list[list[tuple[float, float]]]) -> tuple[list[list[str]], int]:
    """Return the second table, and how many pairs are judged wrongly in any draw."""
    rows, wrong = [], 0
    for i, pair in enumerate(published()):
        p = np.array([draw[i] for draw in draws])
        right = (p <= DERIVED_LOG10_P).all() if pair.related else (p > INDEPENDENT_LOG10_P).all()
        wrong += not right
        worst = p.max(axis=0) if pair.related else p.min(axis=0)
        cells = [f"{middle:.1f} ({end:.1f})" for middle, end in zip(np.median(p, axis=0), worst, strict=True)]
        said = ("found" if pair.related else "nothing found") if right else "WRONG"
        rows.append([pair.names, f"{pair.cosine:.5f}", *cells, said])
    return rows, wrong


if __name__ == "__main__":
    sys.exit(min(1, main()))
