"""Hold one reference against one model, from the cheapest evidence up."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from auditor.errors import OverBudget, SizeMismatch
from auditor.lineage.aligned import AlignedNeurons, aligned_neurons, detection_limit
from auditor.lineage.sample import SampleReader, mlp_shape
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

FirstLayers = Literal["auto", "few", "all"]
"""Which layers the first look is at; "auto": all of a model that lies on this machine, few of one that is far away."""

FIRST_LAYERS = 4
"""How many are few: four of them match by chance once in 16!**4 = 1e53 models."""


class Look(NamedTuple):
    """How much of a model is read for one try at an answer.

    Attributes
    ----------
    layers : tuple of int
    neurons : int
        Of each layer.
    """

    layers: tuple[int, ...]
    neurons: int

    def cost(self, view: ModelView) -> tuple[int, int]:
        """Return (ranges, bytes) to read for this look alone."""
        entries = [view.tensor(layer, role) for layer in self.layers for role in ("gate", "up")]
        return len(entries), sum((e.stop - e.start) // max(1, e.shape[0]) * self.neurons for e in entries)


def looks(view: ModelView, reference: Sketch, *, first_layers: FirstLayers = "auto") -> tuple[Look, ...]:
    """Plan the looks at a model, from the cheapest on. Each includes the one before.

    The same plan finds the same evidence wherever the model lies.
    """
    layers = view.layers("gate", "up")
    sampled = len(reference.sample.index)
    first = min(FIRST_LOOK, sampled)
    planned = [Look(layers, first), Look(layers, sampled)]
    if first_layers == "few" or (first_layers == "auto" and not view.on_disk):
        spread = np.unique(np.linspace(0, len(layers) - 1, FIRST_LAYERS).round().astype(int))
        planned.insert(0, Look(tuple(layers[i] for i in spread), first))
    return tuple(dict.fromkeys(planned))


_LAYER_LOG10_P = -3.0  # a pair of layers matches at this level, corrected for the number of pairs
_COPY_COSINE = 1.0 - 5e-6  # lowest row cosine under bfloat16 rounding; 8-bit quantisation stays below


def model_label(view: ModelView) -> str:
    """Return what a candidate calls a model of the target: its first file, and the prefix of its names."""
    return view.container.files[0] + (f" ({view.prefix}*)" if view.prefix not in {"", "model."} else "")


def compare(
    model: ModelView | SampleReader, reference: Sketch, *, tests: int, first_layers: FirstLayers = "auto"
) -> Candidate:
    """Climb the ladder for one pair.

    Parameters
    ----------
    model : ModelView or SampleReader
        Model of the target; a reader where it is compared with several references.
    reference : Sketch
    tests : int
        Pairs of model and reference that are compared in this audit; the verdict is corrected for them, and for the
        looks at the model.
    first_layers : {"auto", "few", "all"}

    Returns
    -------
    Candidate

    Raises
    ------
    FileError
        When rows of the target cannot be read.
    """
    reader = model if isinstance(model, SampleReader) else SampleReader(model)
    view = reader.view
    label = model_label(view)
    if reason := _incomparable(view, reference):
        return Candidate(reference=reference.name, model=label, verdict="inconclusive", reason=reason)
    planned = looks(view, reference, first_layers=first_layers)
    corrections = len(planned) * tests
    stopped = None
    known = target = found = None
    for look in planned:
        try:
            sample = reader.read(reference.sample.index, look.layers, count=look.neurons)
        except OverBudget as error:
            if found is None:
                raise
            stopped = error.reason
            break
        known, target = reference.sample.first(look.neurons), sample
        found = aligned_neurons(known, target)
        log10_p = bonferroni(found.log10_p, corrections)
        if log10_p <= DERIVED_LOG10_P and not found.sorted_by_size:
            break
    assert known is not None and target is not None and found is not None  # noqa: PT018, S101 (there is a first look)
    candidate = _candidate(reference, label, known, target, found, log10_p, corrections)
    whole = target.layers == view.layers("gate", "up")
    if not whole and candidate.relation is not None:
        candidate = replace(candidate, relation=Relation(kind=candidate.relation.kind))
    if stopped is not None and candidate.verdict != "derived":
        reason = f"stopped before the last look: {stopped}"
        candidate = replace(candidate, verdict="inconclusive", reason=reason, stopped=reason)
    return replace(candidate, layers_in_model=len(view.layers("gate", "up")))


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
