"""What it costs to find a model's relatives among many: memory and time of a look-up, by the number of models.

    python benchmarks/compact_index.py [--models 1000,100000,1000000]

Samples are drawn (fair coins, as unrelated models give), with one relative at row cosine .5 among them, which has to be
the answer. Beyond what fits, both grow in proportion: a look-up is a pass over memory.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import time
from dataclasses import replace

import numpy as np

from auditor.lineage.compact import BITS, NEURONS, CompactIndex, CompactSample


def drawn(rng: np.random.Generator) -> CompactSample:
    """Draw a sample of the shape of Llama 2 7B."""
    return CompactSample(
        hidden_size=4096,
        neurons=11008,
        layers=(0, 10, 21, 31),
        signs=rng.integers(0, 256, (4, NEURONS, 2, BITS // 8), np.uint8),
        lengths=np.ones((4, NEURONS, 2), np.float16),
    )


def relative(sample: CompactSample, rng: np.random.Generator, *, cosine: float) -> CompactSample:
    """Turn as many signs as rows at this cosine turn."""
    turned = rng.random((4, NEURONS, 2, BITS)) < np.arccos(cosine) / np.pi
    return replace(sample, signs=sample.signs ^ np.packbits(turned, axis=-1))


def main() -> None:
    """Print a line for each number of models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="1000,100000,1000000")
    counts = [int(text) for text in parser.parse_args().models.split(",")]
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}\n")
    print("| models of one shape | signs | process | added, a second | look-up, median of 20 | log10 p of relative |")
    print("| --- | --- | --- | --- | --- | --- |")
    rng = np.random.default_rng(0)
    index, known = CompactIndex(), drawn(rng)
    index.add(known)
    for count in counts:
        before, started = len(index), time.perf_counter()
        shared = np.ones((4, NEURONS, 2), np.float16)
        while len(index) < count:
            index.add(replace(drawn(rng), lengths=shared))
        added = (count - before) / (time.perf_counter() - started)
        took, found = [], []
        for _ in range(20):
            asked = relative(known, rng, cosine=0.5)
            started = time.perf_counter()
            best = index.relatives(asked, at_most=4)[0]
            took.append(time.perf_counter() - started)
            found.append(best.log10_p)
            if best.place != 0:
                raise SystemExit("the relative was not found")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        size = count * known.signs.size / 1e6
        print(
            f"| {count:,} | {size:,.0f} MB | {peak:,.0f} MB | {added:,.0f} | {statistics.median(took) * 1e3:.1f} ms "
            f"| {max(found):.0f} |"
        )


if __name__ == "__main__":
    main()
