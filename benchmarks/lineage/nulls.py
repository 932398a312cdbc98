"""Draw from the null, 10,000 times for every rung and frame, to see whether p-values mean what they say.

    python benchmarks/lineage/nulls.py                      # some 3 minutes on two quiet cores
    python benchmarks/lineage/nulls.py --draws 2000 --only searched

Each row is one p-value on one kind of null. `<= .1` and so on are the shares of draws at or below; a row fails where a
one-sided Clopper-Pearson bound (1e-4) says that the true share is above the level. `D` is Kolmogorov's distance to the
uniform distribution; counts are spread over their steps first (p = P(K > k) + U P(K = k)), so that D is small where
their distribution is as said. `D+` is how far p-values are too small, which matters; the rest of D is power given away,
as bounds and corrections do. Rows marked (raw) are not used by the auditor: they show what the search would be if
chance alone ruled it, and are called uniform where neither D+ nor the mean count is above what 1e-4 of uniform samples
have.

Draws that share a trained model are not quite independent. Small models come from `train.py`, SmolLM2 from
`smollm.py`; rows whose models are not there are left out, and named.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
import multiprocessing
import os
import sys
import time
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import draws
import nulltests
import numpy as np
import table
from draws import Pair
from nulltests import Drawn
from recipes import TINY

from auditor.lineage.disguised import moments_frame, token_frames
from auditor.lineage.frames import PLAIN, Frame, matched_frame
from auditor.lineage.searched import UNIVERSAL
from auditor.lineage.sketch import Sketch, sketch_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from auditor.lineage.layermap import MomentFrame

    Framed = Iterator[tuple[Pair, Frame]]
    Make = Callable[[int, int], list[Drawn]]

LEVELS = (0.1, 0.01, 0.001)
_SURE = 1e-4
_DEVIATIONS = 3.72  # of the normal distribution, above which that share lies
_COLUMNS = ("rung", "frame", "null", "p-value", "draws", "<= .1", "<= .01", "<= .001", "D", "D+", "mean count", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Rows of the page: a rung, a frame, a kind of null, and what draws so many of them by a seed."""

    rung: str
    frame: str
    null: str
    make: Make

    @property
    def cells(self) -> list[str]:
        """What a row begins with."""
        return [self.rung, self.frame, self.null]


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw what is asked for, print the page; return the number of rows that fail."""
    options = _parser().parse_args(arguments)
    started = time.perf_counter()
    wanted = [(i, job) for i, job in enumerate(JOBS) if options.only in " ".join(job.cells)]
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # of the workers, which are one a core
    with ProcessPoolExecutor(options.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        results = list(pool.map(_run, [(i, options.draws) for i, _ in wanted]))
    lines = [_COLUMNS, ["---"] * len(_COLUMNS)]
    failed = 0
    for (_, job), found in zip(wanted, results, strict=True):
        if not found:
            lines.append([*job.cells, "left out: its models are not here", *[""] * 8])
        for one in found:
            cells, ok = describe(one)
            failed += not ok
            lines.append([*job.cells, one.test, *cells])
    print("\n".join("| " + " | ".join(line) + " |" for line in lines))
    print(f"\n{failed} of the p-values in use are too small. The search takes {UNIVERSAL} of neurons for chance.\n")
    print(table.machine(time.perf_counter() - started).replace(" for the auditor's part", ""))
    return failed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=10_000, help="of every row, at least (default %(default)s)")
    parser.add_argument("--only", default="", help="rows whose rung, frame and null hold this text")
    parser.add_argument("--processes", type=int, default=2)
    return parser


def _run(task: tuple[int, int]) -> list[Drawn]:
    job, started = JOBS[task[0]], time.perf_counter()
    found = job.make(task[1], zlib.crc32(" ".join(job.cells).encode()))
    print(f"{', '.join(job.cells)}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return found


def describe(one: Drawn) -> tuple[list[str], bool]:
    """Return a row's cells, and whether its p-values are as large as they say."""
    count = one.log10_p.size
    hits = [int((one.log10_p <= np.log10(level) + 1e-9).sum()) for level in LEVELS]
    over = [f"{level:g}" for level, k in zip(LEVELS, hits, strict=True) if _exceeds(k, count, level)]
    both, above = nulltests.distance(one, np.random.default_rng(0))
    mean = "" if one.mean is None else f"{one.mean:.3f} ({one.expected:.3f})"
    if one.used:
        said = f"FAIL at {', '.join(over)}" if over else "ok"
    else:
        said = "not uniform" if over or above > math.sqrt(-math.log(_SURE) / 2.0 / count) or _many(one) else "uniform"
    shares = [f"{k / count:.4f}" for k in hits]
    return [str(count), *shares, f"{both:.3f}", f"{above:.3f}", mean, said], not (over and one.used)


def _exceeds(hits: int, count: int, level: float) -> bool:
    return hits / count > level and table.clopper_pearson(hits, count, level=1.0 - 2.0 * _SURE)[0] > level


def _many(one: Drawn) -> bool:
    """Say whether the mean of a rare count is too large to be chance, by the normal approximation."""
    if one.mean is None or one.expected is None:
        return False
    return one.mean - one.expected > _DEVIATIONS * math.sqrt(one.expected / one.log10_p.size)


# Pairs, with the frame in which they are tested


_LAYERS = [((0, 1), (0, 1)), ((2, 3), (2, 3)), ((0, 1), (2, 3)), ((2, 3), (0, 1))]


def _trained(reference: str, target: str, *, folded: bool = True) -> Pair:
    return Pair(reference=draws.tiny(reference, folded=folded), target=draws.tiny(target, folded=folded))


def _plain(names: list[tuple[str, str]], *, folded: bool = True) -> Framed:
    """Yield pairs of small trained models, two layers of each, again and again."""
    for pair in itertools.cycle(names):
        for choice in _LAYERS:
            yield _trained(*pair, folded=folded).layers(*choice), PLAIN


@functools.cache
def _sketch(name: str) -> Sketch:
    return sketch_model(draws.reader(name).view, name=name, whole=True)


@functools.cache
def _token_frame(reference: str, target: str) -> Frame:
    return next(token_frames(_sketch(reference), draws.reader(target)))


@functools.cache
def _fitted_to_moments(reference: str, target: str) -> MomentFrame:
    found = moments_frame(_sketch(reference), draws.reader(target))
    assert found is not None  # noqa: S101 (both are here whole)
    return found


def _moment_frame(reference: str, target: str) -> Frame:
    return _fitted_to_moments(reference, target).frame


def _framed(names: list[tuple[str, str]], fit: Callable[[str, str], Frame]) -> Framed:
    """Yield pairs of small models in the frame that the auditor fits."""
    for pair in itertools.cycle(names):
        for choice in _LAYERS:
            yield _trained(*pair).layers(*choice), fit(*pair)


def _held_out(names: list[tuple[str, str]]) -> Framed:
    """Yield pairs of small models in the frame of their moments, in layers that had no say in it."""
    for pair in itertools.cycle(names):
        found = _fitted_to_moments(*pair)
        ours, theirs = ({layers[side] for layers in found.layers} for side in (0, 1))
        reference, target = (tuple(layer for layer in range(4) if layer not in fitted) for fitted in (ours, theirs))
        yield _trained(*pair).layers(reference, target), found.frame


def _smollm(seed: int, *, reference: int, target: int) -> Framed:
    """Yield layers of SmolLM2 against other layers of it."""
    rng = np.random.default_rng(seed)
    rows = draws.smollm()
    while True:
        chosen = tuple(rng.choice(len(rows[0]), reference + target, replace=False).tolist())
        yield Pair(reference=rows, target=rows).layers(chosen[:reference], chosen[reference:]), PLAIN


def _made_up(kind: str, seed: int, *, layers: tuple[int, int], neurons: int) -> Framed:
    for pair in draws.drawn(kind, layers=layers, neurons=neurons, width=48, seed=seed):
        frame = PLAIN if pair.tokens is None else matched_frame("tokens", *pair.tokens)
        assert frame is not None  # noqa: S101 (tokens are as drawn)
        yield pair, frame


# What is drawn


def _in_order(pairs: Callable[[int], Framed], *, signed_up: bool = False, shuffled: bool = True) -> Make:
    return lambda count, seed: nulltests.in_order(
        pairs(seed), count, signed_up=signed_up, shuffle=np.random.default_rng(seed) if shuffled else None
    )


def _on_anchors(pairs: Callable[[int], Framed], *, shuffled: bool = True) -> Make:
    return lambda count, seed: nulltests.in_order(
        nulltests.on_anchors(pairs(seed), np.random.default_rng(seed) if shuffled else None), count, signed_up=False,
        shuffle=None,
    )  # fmt: skip


def _searched(pairs: Callable[[int], Framed], **options: int) -> Make:
    return lambda count, seed: nulltests.searched(pairs(seed), count, shuffle=np.random.default_rng(seed), **options)


def _if_here(make: Make, *, smollm: bool = False) -> Make:
    """Draw nothing where the models are not there."""
    names = {name for pair in (*_UNRELATED, *_DESCENDANTS) for name in pair}
    folders = [draws.SMOLLM] if smollm else [TINY / name for name in names]
    return lambda count, seed: [] if draws.missing(*folders) else make(count, seed)


_UNRELATED, _DESCENDANTS = draws.unrelated_pairs(), draws.descendant_pairs()
_SEEDS, _BOTH = "trained, other seeds", "trained, descendants of A and of B"
_ITS_LAYERS = "SmolLM2, layers against others"
_NEIGHBOURS = 64 * nulltests.NEURONS


_PLAIN = ("isotropic", "low-rank rows", "large common mean", "hubs", "outlier channels", "repeated and padded rows")
_TOKENS = ("same embeddings", "tokens mean the same")


def _aligned() -> Iterator[Job]:
    def drawn(kind: str) -> Make:
        pairs = functools.partial(_made_up, kind, layers=(2, 2), neurons=_NEIGHBOURS)
        return _in_order(pairs, signed_up=True, shuffled=False)

    def raw(names: list[tuple[str, str]]) -> Make:
        return _if_here(_in_order(lambda _: _plain(names, folded=False), signed_up=True))

    layers = _if_here(_in_order(functools.partial(_smollm, reference=2, target=2), signed_up=True), smollm=True)
    nulls = {kind: drawn(kind) for kind in _PLAIN}
    nulls |= {_SEEDS: raw(_UNRELATED), _BOTH: raw(_DESCENDANTS), _ITS_LAYERS: layers}
    for null, make in nulls.items():
        yield Job(rung="aligned", frame="plain", null=null, make=make)


def _in_frames() -> Iterator[Job]:
    def by_tokens(kind: str) -> Make:  # few neurons share a frame
        return _in_order(
            functools.partial(_made_up, kind, layers=(2, 2), neurons=8 * nulltests.NEURONS), shuffled=False
        )

    def on_anchors(kind: str) -> Make:
        return _on_anchors(functools.partial(_made_up, kind, layers=(2, 2), neurons=_NEIGHBOURS), shuffled=False)

    tokens = {kind: by_tokens(kind) for kind in _TOKENS}
    for null, names in ((_SEEDS, _UNRELATED), (_BOTH, _DESCENDANTS)):
        tokens[null] = _if_here(_in_order(functools.partial(_fitted, names, _token_frame)))
    anchors = {kind: on_anchors(kind) for kind in _PLAIN[:4]}
    anchors[_SEEDS] = _if_here(_on_anchors(lambda _: _plain(_UNRELATED)))
    moments = {_SEEDS: _if_here(_in_order(functools.partial(_fitted, _UNRELATED, _moment_frame)))}
    for frame, nulls in (("tokens", tokens), ("anchors", anchors), ("moments", moments)):
        for null, make in nulls.items():
            yield Job(rung="framed", frame=frame, null=null, make=make)


def _in_search() -> Iterator[Job]:
    def drawn(kind: str) -> Make:
        return _searched(functools.partial(_made_up, kind, layers=(4, 1), neurons=256))

    plain = {kind: drawn(kind) for kind in (*_PLAIN, "gate and up coupled")}
    plain[_SEEDS] = _if_here(_searched(lambda _: _plain(_UNRELATED)))
    plain[_BOTH] = _if_here(_searched(lambda _: _plain(_DESCENDANTS)))
    plain[_ITS_LAYERS] = _if_here(_searched(functools.partial(_smollm, reference=4, target=1)), smollm=True)
    tokens = {kind: drawn(kind) for kind in _TOKENS}
    tokens[_SEEDS] = _if_here(_searched(functools.partial(_fitted, _UNRELATED, _token_frame)))
    moments = {_SEEDS: _if_here(_searched(lambda _: _held_out(_UNRELATED), queries=8))}
    for frame, nulls in (("plain", plain), ("tokens", tokens), ("moments", moments)):
        for null, make in nulls.items():
            yield Job(rung="searched", frame=frame, null=null, make=make)


def _of_tokens() -> Iterator[Job]:
    nulls = {
        kind: functools.partial(_embeddings, functools.partial(draws.drawn_embeddings, kind))
        for kind in draws.EMBEDDINGS
    }
    trained = {"columns permuted": draws.permuted_embeddings, "as they are": draws.found_embeddings}
    made = {f"trained, {what}": _if_here(functools.partial(_embeddings, pairs)) for what, pairs in trained.items()}
    for null, make in {**nulls, **made}.items():
        yield Job(rung="embeddings", frame="columns", null=null, make=make)


def _fitted(names: list[tuple[str, str]], fit: Callable[[str, str], Frame], seed: int) -> Framed:
    del seed
    return _framed(names, fit)


def _embeddings(pairs: Callable[[int], Iterator[tuple[draws.Rows, draws.Rows]]], count: int, seed: int) -> list[Drawn]:
    return nulltests.embeddings(pairs(seed), count)


JOBS = (*_aligned(), *_in_frames(), *_in_search(), *_of_tokens())


if __name__ == "__main__":
    sys.exit(min(1, main()))
