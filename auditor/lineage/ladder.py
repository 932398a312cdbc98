"""Hold one reference against one model, from the cheapest evidence up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from auditor.errors import SizeMismatch
from auditor.lineage.aligned import AlignedNeurons, aligned_neurons, detection_limit
from auditor.lineage.sample import mlp_shape, read_sample
from auditor.lineage.stats import bonferroni
from auditor.lineage.verdict import (
    DERIVED_LOG10_P,
    INDEPENDENT_LOG10_P,
    Candidate,
    LayerMatch,
    Relation,
    Verdict,
)

if TYPE_CHECKING:
    from auditor.lineage.sample import NeuronSample
    from auditor.lineage.sketch import Sketch
    from auditor.model import ModelView

FIRST_LOOK = 16
"""Neurons a layer read first; all that the sketch holds are read only where these do not decide."""

LOOKS = 2
"""Times the test is made at most; part of the correction."""

_LAYER_LOG10_P = -3.0  # a pair of layers matches at this level, corrected for the number of pairs
_COPY_COSINE = 1.0 - 5e-6  # lowest row cosine under bfloat16 rounding; 8-bit quantisation stays below


def compare(view: ModelView, reference: Sketch, *, tests: int) -> Candidate:
    """Climb the ladder for one pair.

    Parameters
    ----------
    view : ModelView
        Model of the target.
    reference : Sketch
    tests : int
        Pairs of model and reference that are compared in this audit; the verdict is corrected for them.

    Returns
    -------
    Candidate

    Raises
    ------
    FileError
        When rows of the target cannot be read.
    """
    model = view.container.files[0] + (f" ({view.prefix}*)" if view.prefix not in {"", "model."} else "")
    if reason := _incomparable(view, reference):
        return Candidate(reference=reference.name, model=model, verdict="inconclusive", reason=reason)
    looks = LOOKS * tests
    counts = sorted({min(FIRST_LOOK, len(reference.sample.index)), len(reference.sample.index)})
    for count in counts:
        known = reference.sample.first(count)
        target = read_sample(view, known.index)
        found = aligned_neurons(known, target)
        log10_p = bonferroni(found.log10_p, looks)
        if log10_p <= DERIVED_LOG10_P and not found.sorted_by_size:
            break
    return _candidate(reference, model, known, target, found, log10_p, looks)


def _incomparable(view: ModelView, reference: Sketch) -> str | None:
    try:
        neurons, hidden = mlp_shape(view)
    except SizeMismatch as error:
        return error.reason
    wanted = reference.sample
    if hidden != wanted.hidden_size:
        return f"hidden size {hidden} is not the reference's {wanted.hidden_size}: rows cannot be compared"
    if neurons <= int(wanted.index[-1]):
        return f"{neurons} neurons a layer, where the sample reaches to {int(wanted.index[-1]) + 1}"
    return None


def _candidate(
    reference: Sketch,
    model: str,
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
        reason = "neurons are sorted by size in both models, so their order proves nothing"
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
        model=model,
        verdict=verdict,
        reason=reason,
        rung="aligned-neurons",
        log10_p=log10_p,
        cosine=float(np.mean(cosines)) if cosines else None,
        relation=_relation(found, layers, known, target) if verdict == "derived" else None,
        layers=layers,
        detection_limit=limit,
        nonfinite=target.nonfinite,
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
    t_of = {layer: t for t, layer in enumerate(target.layers)}
    lowest = [found.lowest_cosine[r_of[m.reference], t_of[m.target]] for m in layers if m.reference is not None]
    copied = len(sources) == len(layers) and min(lowest, default=0.0) >= _COPY_COSINE
    return Relation(
        kind="copy" if copied else "modified",
        dropped=tuple(layer for layer in known.layers if layer not in sources),
        repeated=tuple(layer for layer in known.layers if sources.count(layer) > 1),
        added=tuple(match.target for match in layers if match.reference is None),
        reordered=sources != sorted(sources),
    )
