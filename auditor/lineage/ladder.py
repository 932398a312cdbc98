"""Hold one reference against one model, from the cheapest evidence up."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from auditor.errors import OverBudget, SizeMismatch
from auditor.lineage.aligned import AlignedNeurons, aligned_neurons, detection_limit
from auditor.lineage.change import describe_change
from auditor.lineage.disguised import TRIES, in_order, many_in_place, searches
from auditor.lineage.embeddings import shared_embeddings
from auditor.lineage.looks import BAND_COLUMNS, Depth, FirstLayers, Look, looks
from auditor.lineage.reader import ModelReader
from auditor.lineage.stats import bonferroni
from auditor.lineage.verdict import (
    DERIVED_LOG10_P,
    INDEPENDENT_LOG10_P,
    Candidate,
    LayerMatch,
    Relation,
    RungResult,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditor.lineage.disguised import Try
    from auditor.lineage.sample import NeuronSample
    from auditor.lineage.sketch import Sketch
    from auditor.model import ModelView

_BANDED = (
    "compared in place by {} of {} columns: more, and other tests, read whole packed matrices, which are far away "
    "(--layers all reads them)"
)
_SORTED = "neurons are sorted by size in both models, so their order proves nothing"
_CHANGED_LAYERS = 8  # spread over the matched ones, to say what became of the rows
_LAYER_LOG10_P = -3.0  # a pair of layers matches at this level, corrected for the number of pairs
_COPY_COSINE = 1.0 - 5e-6  # lowest row cosine under bfloat16 rounding; 8-bit quantisation stays below


def model_label(view: ModelView) -> str:
    """Return what a candidate calls a model of the target: its first file, and the prefix of its names."""
    return view.container.files[0] + (f" ({view.prefix}*)" if view.prefix not in {"", "model."} else "")


def compare(
    model: ModelView | ModelReader,
    reference: Sketch,
    *,
    tests: int,
    first_layers: FirstLayers = "auto",
    depth: Depth = "auto",
) -> Candidate:
    """Climb the ladder for one pair, as far as is needed and allowed.

    Parameters
    ----------
    model : ModelView or ModelReader
        Model of the target; a reader where it is compared with several references.
    reference : Sketch
    tests : int
        Pairs of model and reference that are compared in this audit; the verdict is corrected for them, and for the
        tests that one comparison can come to.
    first_layers : {"auto", "few", "all"}
    depth : {"quick", "auto"}
        "quick" stops before whole layers are read.

    Returns
    -------
    Candidate

    Raises
    ------
    FileError
        When rows of the target cannot be read.
    """
    reader = model if isinstance(model, ModelReader) else ModelReader(model)
    view = reader.view
    label = model_label(view)
    layers_in_model = len(reader.layers)
    try:
        width = reader.shape[1]
    except SizeMismatch as error:
        return Candidate(reference=reference.name, model=label, verdict="inconclusive", reason=error.reason)
    if width > reference.sample.hidden_size:
        reason = f"hidden size {width} is not the reference's {reference.sample.hidden_size}: rows cannot be compared"
        return Candidate(reference=reference.name, model=label, verdict="inconclusive", reason=reason)
    planned = looks(view, reference, first_layers=first_layers)
    corrections = (len(planned) + TRIES) * tests
    candidate = _aligned(reader, reference, planned, corrections=corrections)
    if planned and planned[-1].band:
        if candidate.verdict == "independent":
            candidate = replace(candidate, reason=_BANDED.format(BAND_COLUMNS, width))
    elif candidate.verdict != "derived" and candidate.stopped is None:
        candidate = _disguised(reader, reference, candidate, corrections=corrections, depth=depth)
    if candidate.verdict == "independent":
        candidate = _embeddings(reader, reference, candidate, corrections=corrections)
    return replace(candidate, model=label, layers_in_model=layers_in_model)


def _aligned(reader: ModelReader, reference: Sketch, planned: tuple[Look, ...], *, corrections: int) -> Candidate:
    """Climb rung 1."""
    if reason := _incomparable(reader, reference):
        return Candidate(reference=reference.name, model="", verdict="inconclusive", reason=reason)
    stopped = None
    known = target = found = None
    for look in planned:
        band = reader.band(*look.band) if look.band else None
        try:
            sample = (band or reader).sample(reference.sample.index, look.blocks, count=look.neurons)
        except OverBudget as error:
            if found is None:
                raise
            stopped = error.reason
            break
        known, target = reference.sample.first(look.neurons), sample
        if look.band and band:
            known = known.columns(*look.band)
        found = aligned_neurons(known, target)
        log10_p = bonferroni(found.log10_p, corrections)
        if log10_p <= DERIVED_LOG10_P and not found.sorted_by_size:
            break
    assert known is not None and target is not None and found is not None  # noqa: PT018, S101 (there is a first look)
    candidate = _candidate(reference, known, target, found, log10_p, corrections)
    whole = len(target.layers) == len(reader.blocks)
    if not whole and candidate.relation is not None:
        candidate = replace(
            candidate, relation=Relation(kind=candidate.relation.kind, change=candidate.relation.change)
        )
    if stopped is not None and candidate.verdict != "derived":
        reason = f"stopped before the last look: {stopped}"
        candidate = replace(candidate, verdict="inconclusive", reason=reason, stopped=reason)
    return candidate


class _Climb(NamedTuple):
    """What the rungs above the first came to."""

    rungs: tuple[RungResult, ...]
    found: Try | None = None
    stopped: str | None = None
    decidable: bool = False


def _climb(tries: Iterator[Try], *, corrections: int, ordered: bool) -> _Climb:
    """Make tests until one decides. Where neurons are sorted, no test that goes by their order does."""
    rungs: list[RungResult] = []
    decidable = False
    while True:
        try:
            one = next(tries, None)
        except OverBudget as error:
            return _Climb(tuple(rungs), stopped=f"stopped before the last rung: {error.reason}", decidable=decidable)
        if one is None:
            return _Climb(tuple(rungs), decidable=decidable)
        decidable |= bonferroni(one.best_log10_p, corrections) <= DERIVED_LOG10_P
        log10_p = bonferroni(one.log10_p, corrections)
        rungs.append(
            RungResult(
                rung=one.rung,
                frame=one.frame,
                log10_p=log10_p,
                exact=one.rung != "searched-neurons",
                agreeing=int(one.agreeing.max(initial=0)),
                tried=int(one.tried.max(initial=0)),
            )
        )
        if log10_p <= DERIVED_LOG10_P and (ordered or one.rung == "searched-neurons"):
            return _Climb(tuple(rungs), found=one, decidable=decidable)


def _disguised(
    reader: ModelReader, reference: Sketch, candidate: Candidate, *, corrections: int, depth: Depth
) -> Candidate:
    """Climb rungs 2 and 3 until one decides. What they find, and that they were climbed, is kept."""
    blocks = reader.blocks_with(int(reference.sample.index[-1]))
    whole = depth != "quick" and reader.view.on_disk
    tries = itertools.chain(
        many_in_place(reference, reader) if whole else (),
        in_order(reference, reader, blocks, whole=whole),
        searches(reference, reader) if whole else (),
    )
    climb = _climb(tries, corrections=corrections, ordered=candidate.reason != _SORTED)
    rungs = candidate.rungs + climb.rungs
    if climb.found is not None:
        return _found(candidate, climb.found, rungs)
    candidate = replace(candidate, rungs=rungs)
    if climb.stopped is not None:
        return replace(candidate, verdict="inconclusive", reason=climb.stopped, stopped=climb.stopped)
    return _nothing_found(candidate, climb, searched=whole, depth=depth) if climb.rungs else candidate


def _nothing_found(candidate: Candidate, climb: _Climb, *, searched: bool, depth: Depth) -> Candidate:
    """Say what it means that no rung above the first found anything."""
    weak = min(climb.rungs, key=lambda rung: rung.log10_p)
    if candidate.rung is None:  # rows could not be compared as they are, but in a frame they could
        if not climb.decidable:
            return replace(candidate, reason=f"{candidate.reason}; too few to be found in another order")
        if not searched:
            return replace(candidate, reason=f"{candidate.reason}, and neurons in another order were not searched for")
        candidate = replace(
            candidate, verdict="independent", reason=None, rung=climb.rungs[-1].rung, log10_p=weak.log10_p
        )
    if candidate.verdict == "independent" and weak.log10_p <= INDEPENDENT_LOG10_P:
        reason = f"weak evidence: log10 p {weak.log10_p:.1f} ({weak.rung}), where {DERIVED_LOG10_P:.0f} decides"
        return replace(candidate, verdict="inconclusive", reason=reason)
    if candidate.verdict == "independent" and not searched:
        why = "the scan was told to be quick" if depth == "quick" else "that reads whole layers, which are far away"
        return replace(candidate, reason=f"neurons in another order were not searched for: {why}")
    return candidate


def _embeddings(reader: ModelReader, reference: Sketch, candidate: Candidate, *, corrections: int) -> Candidate:
    """Look whether the token embeddings are the reference's, where its neurons are not."""
    tokens = reference.token_rows()
    if tokens is None or reader.shape[1] != reference.sample.hidden_size:
        return candidate
    same = tokens.ids < reader.vocabulary()
    found = shared_embeddings(tokens.rows[same], reader.tokens(tokens.ids[same])) if same.any() else None
    if found is None or bonferroni(found.log10_p, corrections) > DERIVED_LOG10_P:
        return candidate
    reason = f"the embeddings of {found.tokens} tokens agree (mean cosine {found.cosine:.3f}), and no neurons do"
    return replace(
        candidate,
        verdict="embeddings-shared",
        reason=reason,
        log10_p=bonferroni(found.log10_p, corrections),
        cosine=found.cosine,
        relation=Relation(kind="embeddings"),
    )


def _found(candidate: Candidate, one: Try, rungs: tuple[RungResult, ...]) -> Candidate:
    layers = tuple(_layer_match(one, t, number) for t, number in enumerate(one.target_layers))
    cosines = [layer.cosine for layer in layers if layer.reference is not None and layer.cosine is not None]
    return replace(
        candidate,
        verdict="derived",
        reason=None,
        rung=one.rung,
        frame=one.frame,
        log10_p=rungs[-1].log10_p,
        exact=rungs[-1].exact,
        cosine=float(np.mean(cosines)) if cosines else None,
        relation=Relation(kind="modified" if one.rung == "aligned-neurons" else "disguised"),
        layers=layers,
        rungs=rungs,
    )


def _layer_match(one: Try, t: int, number: int) -> LayerMatch:
    p = one.log10_p_pair[:, t]
    r = int(np.argmin(p))
    sure = bonferroni(float(p[r]), p.size) <= _LAYER_LOG10_P
    cosine = float(one.cosine[r, t])
    return LayerMatch(
        target=number,
        reference=one.reference_layers[r] if sure else None,
        fixed_points=int(one.agreeing[r, t]),
        n=int(one.tried[r, t]),
        cosine=cosine if np.isfinite(cosine) else None,
        log10_p=float(p[r]),
    )


def _incomparable(reader: ModelReader, reference: Sketch) -> str | None:
    neurons, hidden = reader.shape
    wanted = reference.sample
    if hidden != wanted.hidden_size:
        return f"hidden size {hidden} is not the reference's {wanted.hidden_size}: rows cannot be compared"
    if not reader.blocks_with(int(wanted.index[-1])):
        return f"{neurons} neurons a layer, where the sample reaches to {int(wanted.index[-1]) + 1}"
    return None


def _candidate(
    reference: Sketch,
    known: NeuronSample,
    target: NeuronSample,
    found: AlignedNeurons,
    log10_p: float,
    looks: int,
) -> Candidate:
    layers = _layer_map(found, known.layers, target.layers)
    matched = [m for m in layers if m.reference is not None]
    cosines = [m.cosine for m in matched if m.cosine is not None] or _in_place_cosines(found, known, target)
    limit = detection_limit(found, log10_alpha=DERIVED_LOG10_P - np.log10(looks))
    verdict: Verdict = "inconclusive"
    reason = None
    if not found.usable.any():
        reason = "no usable rows: all are zero, repeated or not finite"
    elif found.sorted_by_size:
        reason = _SORTED
    elif log10_p <= DERIVED_LOG10_P:
        verdict = "derived"
    elif limit is None:
        reason = "too few rows to have found even identical layers"
    elif log10_p <= INDEPENDENT_LOG10_P:
        reason = f"weak evidence: log10 p {log10_p:.1f}, where {DERIVED_LOG10_P:.0f} decides"
    else:
        verdict = "independent"
    return Candidate(
        reference=reference.name,
        model="",
        verdict=verdict,
        reason=reason,
        rung="aligned-neurons",
        log10_p=log10_p,
        cosine=float(np.mean(cosines)) if cosines else None,
        relation=_relation(found, layers, known, target) if verdict == "derived" else None,
        layers=layers,
        detection_limit=limit,
        nonfinite=target.nonfinite,
        rungs=(
            RungResult(
                rung="aligned-neurons",
                log10_p=log10_p,
                exact=True,
                agreeing=int(found.fixed.max(initial=0)),
                tried=int(found.usable.max(initial=0)),
            ),
        ),
    )


def _layer_map(found: AlignedNeurons, reference: tuple[int, ...], target: tuple[int, ...]) -> tuple[LayerMatch, ...]:
    """For each target layer, the reference layer that fits best where that is beyond chance.

    Where it is not, the figures are those of the reference layer of the same number, if there is one.
    """
    out = []
    place = {layer: r for r, layer in enumerate(reference)}
    for t, number in enumerate(target):
        p = found.log10_p_pair[:, t]
        cosine = np.nan_to_num(found.cosine[:, t], nan=-2.0)
        r = int(np.lexsort((-cosine, p))[0])
        sure = bonferroni(float(p[r]), found.log10_p_pair.size) <= _LAYER_LOG10_P
        r = r if sure else place.get(number, r)
        out.append(
            LayerMatch(
                target=number,
                reference=reference[r] if sure else None,
                fixed_points=int(found.fixed[r, t]),
                n=int(found.usable[r, t]),
                cosine=float(found.cosine[r, t]) if found.usable[r, t] else None,
                log10_p=float(p[r]),
            )
        )
    return tuple(out)


def _in_place_cosines(found: AlignedNeurons, known: NeuronSample, target: NeuronSample) -> list[float]:
    place = {layer: t for t, layer in enumerate(target.layers)}
    pairs = [(r, place[layer]) for r, layer in enumerate(known.layers) if layer in place]
    return [float(found.cosine[pair]) for pair in pairs if found.usable[pair]]


def _relation(
    found: AlignedNeurons, layers: tuple[LayerMatch, ...], known: NeuronSample, target: NeuronSample
) -> Relation:
    sources = [match.reference for match in layers if match.reference is not None]
    r_of = {layer: r for r, layer in enumerate(known.layers)}
    lowest = [found.lowest_cosine[r_of[m.reference], t] for t, m in enumerate(layers) if m.reference is not None]
    copied = len(sources) == len(layers) and min(lowest, default=0.0) >= _COPY_COSINE
    pairs = [(r_of[match.reference], t) for t, match in enumerate(layers) if match.reference is not None]
    some = (
        [pairs[i] for i in np.unique(np.linspace(0, max(0, len(pairs) - 1), _CHANGED_LAYERS).round().astype(int))]
        if pairs
        else []
    )
    rows = [(a[r], b[t]) for r, t in some for a, b in ((known.gate, target.gate), (known.up, target.up))]
    numbers = [match.target for match in layers if match.reference is not None]
    experts = max((numbers.count(number) for number in numbers), default=0)
    once = sources if experts <= 1 else list(dict.fromkeys(sources))
    return Relation(
        kind="copy" if copied else "modified",
        dropped=tuple(layer for layer in known.layers if layer not in sources),
        repeated=tuple(layer for layer in known.layers if once.count(layer) > 1),
        added=tuple(match.target for match in layers if match.reference is None),
        reordered=sources != sorted(sources),
        experts=experts if experts > 1 else 0,
        change=describe_change(rows),
    )
