"""Rungs 2 and 3: what is tried where neurons do not lie in place, from the cheapest frame on.

Each try is one test with its own p-value. In-order tests (rung 2) are exact: a frame is fitted without the neurons
tested, or by sums over neurons that do not depend on their order. Searches (rung 3) are nominal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from auditor.lineage.aligned import aligned_neurons, combine_layers
from auditor.lineage.frames import PLAIN, Frame, matched_frame, plain_frame
from auditor.lineage.layermap import moment_frame
from auditor.lineage.measuring import moments_of
from auditor.lineage.sample import NeuronSample
from auditor.lineage.searched import search
from auditor.lineage.stats import log10_fixed_point_tail, unit_rows
from auditor.lineage.tails import log10_swap_tail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from auditor.lineage.aligned import AlignedNeurons
    from auditor.lineage.frames import FrameName
    from auditor.lineage.layermap import MomentFrame
    from auditor.lineage.reader import ModelReader
    from auditor.lineage.sketch import Sketch
    from auditor.model import Block

    Units = NDArray[np.float32]

Rung = Literal["digest", "aligned-neurons", "framed-neurons", "searched-neurons"]

TRIES: Final = 9
"""Tests beyond the first looks that a comparison can come to: many neurons in place; in order by tokens (two ways),
anchors and moments; searched as they are, by tokens (two ways) and by moments."""

QUERIES: Final = 2048
"""Neurons that search, of all layers of a reference that is here whole; a sketch has those it has."""

LAYER_QUERIES: Final = (32, 256)
"""Fewest and most neurons of one layer that search."""

MANY_NEURONS: Final = 256
"""Neurons of a layer that are tried in place once more, where the whole reference is here."""

PLAIN_CHANNELS: Final = 1024
"""Coordinates in which neurons are searched as they are; of wider models every second channel, or fewer."""

SEARCH_WORK: Final = 3e11
"""Multiplications and additions that one search may take, over at least two layers: some seconds on two cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One test of the upper rungs.

    Attributes
    ----------
    rung : {"aligned-neurons", "framed-neurons", "searched-neurons"}
    frame : {"plain", "tokens", "anchors", "moments"}
    log10_p : float
        Over all layers, uncorrected.
    reference_layers, target_layers : tuple of int
    agreeing, tried : ndarray of int, shape (R, T)
        Neurons that matched, of how many; for exchanges, pairs of neighbours that are better off in place.
    best_log10_p : float
        The smallest that `log10_p` could have been.
    log10_p_pair, cosine : ndarray of float, shape (R, T)
        Of each pair of layers; mean cosine in the frame, of neurons in place or of those that agree (NaN without).
    """

    rung: Rung
    frame: FrameName
    log10_p: float
    best_log10_p: float
    reference_layers: tuple[int, ...]
    target_layers: tuple[int, ...]
    agreeing: NDArray[np.intp]
    tried: NDArray[np.intp]
    log10_p_pair: NDArray[np.float64]
    cosine: NDArray[np.float64]


def many_in_place(reference: Sketch, reader: ModelReader) -> Iterator[Try]:
    """Try rung 1 once more with neurons from all over each layer, where the whole reference is here: weak traces.

    Only exchanges of neighbours are tested, see `log10_swap_tail`, so that thousands of neurons cost next to nothing.
    """
    if reference.reader is None or reader.shape != reference.reader.shape or not reader.view.on_disk:
        return
    known = reference.queries(MANY_NEURONS)
    if known is None or len(known.index) < 2:
        return
    blocks = {block.layer: block for block in reversed(reader.blocks_with(int(known.index.max())))}
    layers = [layer for layer in reference.sample.layers if layer in blocks]
    if not layers:
        return
    target = reader.folded(reader.sample(known.index, tuple(blocks[layer] for layer in layers)))
    place = [known.layers.index(layer) for layer in layers]
    even = len(known.index) // 2 * 2
    differences = np.zeros((len(layers), even // 2))
    usable = np.ones_like(differences, dtype=bool)
    cosine = np.zeros(len(layers))
    for ours, theirs in ((known.gate[place], target.gate), (known.up[place], target.up)):
        (a, a_ok), (b, b_ok) = unit_rows(ours), unit_rows(theirs)
        ok = a_ok & b_ok
        usable &= ok[:, 0:even:2] & ok[:, 1:even:2]
        moved = (side[:, 0:even:2] - side[:, 1:even:2] for side in (a, b))
        differences += np.einsum("lnd,lnd->ln", *moved, dtype=np.float64)
        cosine += np.einsum("lnd,lnd->l", a, b, dtype=np.float64) / np.maximum(1, ok.sum(axis=1)) / 2.0
    differences = np.where(usable, differences, 0.0)
    square = (len(layers), len(layers))
    log10_p_pair, agreeing, tried = np.zeros(square), np.zeros(square, dtype=np.intp), np.zeros(square, dtype=np.intp)
    cosines = np.full(square, np.nan)
    for i, row in enumerate(differences):
        log10_p_pair[i, i] = log10_swap_tail(row)
        agreeing[i, i], tried[i, i] = int((row > 0.0).sum()), int(usable[i].sum())
        cosines[i, i] = cosine[i]
    yield Try(
        rung="aligned-neurons",
        frame="plain",
        log10_p=log10_swap_tail(differences),
        best_log10_p=-float(np.log10(2.0)) * int(usable.sum()),
        reference_layers=tuple(layers),
        target_layers=tuple(layers),
        agreeing=agreeing,
        tried=tried,
        log10_p_pair=log10_p_pair,
        cosine=cosines,
    )


def in_order(reference: Sketch, reader: ModelReader, blocks: tuple[Block, ...], *, whole: bool) -> Iterator[Try]:
    """Try rung 2: neurons in order, in every frame that both sides can give.

    Parameters
    ----------
    reference : Sketch
    reader : ModelReader
        Of the target.
    blocks : tuple of Block
        Of the target, those that have the sampled neurons.
    whole : bool
        Whole layers may be read, as moments want.

    Raises
    ------
    FileError
        When rows of the target cannot be read.
    """
    known = reference.folded()
    if known is None or not blocks:
        return
    target = reader.folded(reader.sample(known.index, blocks))
    for frame in token_frames(reference, reader):
        yield _in_frame(frame, known, target)
    anchors = _anchor_frame(known, target)
    if anchors is not None:
        tested = slice(1, None, 2)
        yield _in_frame(anchors, known.take(tested), target.take(tested))
    if whole and (turned := moments_frame(reference, reader)):
        yield _in_frame(turned.frame, known, target)


def searches(reference: Sketch, reader: ModelReader) -> Iterator[Try]:
    """Try rung 3: neurons wherever they are, in every frame that both sides can give.

    Raises
    ------
    FileError
        When rows of the target cannot be read.
    """
    few, many = LAYER_QUERIES
    queries = reference.queries(min(many, max(few, QUERIES // len(reference.sample.layers))))
    if queries is None:
        return
    if reference.sample.hidden_size == reader.shape[1]:
        step = max(1, reader.shape[1] // PLAIN_CHANNELS)
        yield _searched(plain_frame(reader.shape[1], step) if step > 1 else PLAIN, queries, reader)
    for frame in token_frames(reference, reader):
        yield _searched(frame, queries, reader)
    turned = moments_frame(reference, reader)
    if turned is not None:
        yield _searched(turned.frame, queries, reader, fitted=turned.layers)


def token_frames(reference: Sketch, reader: ModelReader) -> Iterator[Frame]:
    """Fit frames to the embeddings of the same tokens: those of the same number, and those of the same text.

    The second is another one only where the two tokenizers number their tokens differently.
    """
    tokens = reference.token_rows()
    vocabulary = reader.vocabulary()
    if tokens is None or not vocabulary:
        return
    same = np.flatnonzero(tokens.ids < vocabulary)
    if same.size and (frame := matched_frame("tokens", tokens.rows[same], reader.tokens(tokens.ids[same]))):
        yield frame
    if tokens.texts and reader.view.on_disk:
        own, other = tokens.matched(reader.view.vocabulary, vocabulary)
        moved = own.size > 0 and not np.array_equal(tokens.ids[own], other)
        if moved and (frame := matched_frame("tokens", tokens.rows[own], reader.tokens(other))):
            yield frame


def moments_frame(reference: Sketch, reader: ModelReader) -> MomentFrame | None:
    """Fit a frame to the moments of both models; None where either side is not here whole."""
    ours = reference.moments_of_model()
    if ours is None or not reader.view.on_disk:
        return None
    numbers = reference.sample.layers
    return moment_frame(ours, moments_of(reader, every=reader.layers != numbers), numbers)


def _anchor_frame(known: NeuronSample, target: NeuronSample) -> Frame | None:
    """Fit a frame to every other sampled neuron, by gate rows (whose sign no rewrite changes), in layers in place."""
    place = {layer: t for t, layer in reversed(list(enumerate(target.layers)))}
    pairs = [(r, place[layer]) for r, layer in enumerate(known.layers) if layer in place]
    if not pairs:
        return None
    ours = np.concatenate([known.gate[r, ::2] for r, _ in pairs])
    theirs = np.concatenate([target.gate[t, ::2] for _, t in pairs])
    return matched_frame("anchors", ours, theirs)


def _in_frame(frame: Frame, known: NeuronSample, target: NeuronSample) -> Try:
    coordinates = [
        NeuronSample(
            layers=sample.layers, neurons=sample.neurons, index=sample.index, gate=onto(sample.gate), up=onto(sample.up)
        )
        for sample, onto in ((known, frame.of_reference), (target, frame.of_target))
    ]
    found: AlignedNeurons = aligned_neurons(*coordinates, signed_up=False)
    return Try(
        rung="framed-neurons",
        frame=frame.name,
        log10_p=found.log10_p,
        best_log10_p=combine_layers(
            np.array([log10_fixed_point_tail(int(n))[-1] for n in found.usable.ravel()]).reshape(found.usable.shape),
            known.layers,
            target.layers,
        ),
        reference_layers=known.layers,
        target_layers=target.layers,
        agreeing=found.fixed,
        tried=found.usable,
        log10_p_pair=found.log10_p_pair,
        cosine=found.cosine,
    )


def _searched(
    frame: Frame, queries: NeuronSample, reader: ModelReader, *, fitted: tuple[tuple[int, int], ...] = ()
) -> Try:
    """Search the layers of the target for neurons of every reference layer but those that the frame was fitted on."""
    ours, theirs = {a for a, _ in fitted}, {b for _, b in fitted}
    keep = [r for r, layer in enumerate(queries.layers) if layer not in ours] or list(range(len(queries.layers)))
    gate, up = frame.of_reference(queries.gate[keep]), frame.of_reference(queries.up[keep])
    numbers = tuple(queries.layers[r] for r in keep)
    targets = _layers_within(reader, gate.shape, theirs)
    found = []
    for layer in targets:
        target_gate, target_up = reader.neurons(layer)
        found.append(search(gate, up, frame.of_target(target_gate), frame.of_target(target_up)))
        del target_gate, target_up
    agreeing = np.stack([one.agreeing for one in found], axis=1)
    cosine = np.full(agreeing.shape, np.nan)
    for t, one in enumerate(found):
        hit = one.match >= 0
        with np.errstate(invalid="ignore"):
            cosine[:, t] = np.where(hit, one.cosine, 0.0).sum(axis=1) / np.where(
                hit.any(axis=1), hit.sum(axis=1), np.nan
            )
    log10_p_pair = np.stack([one.log10_p for one in found], axis=1)
    return Try(
        rung="searched-neurons",
        frame=frame.name,
        log10_p=combine_layers(log10_p_pair, numbers, targets),
        best_log10_p=combine_layers(np.stack([one.best_log10_p for one in found], axis=1), numbers, targets),
        reference_layers=numbers,
        target_layers=targets,
        agreeing=agreeing,
        tried=np.stack([one.tried for one in found], axis=1),
        log10_p_pair=log10_p_pair,
        cosine=cosine,
    )


def _layers_within(reader: ModelReader, queries: tuple[int, ...], fitted: set[int]) -> tuple[int, ...]:
    """Choose target layers to search, spread over the model: as many as the work allows, at least two."""
    layers = [layer for layer in reader.layers if layer not in fitted] or list(reader.layers)
    neurons = sum(reader.view.tensor(b.layer, b.role("gate")).shape[0] for b in reader.blocks if b.layer == layers[0])
    asked, k, width = queries[0] * queries[1], queries[2], reader.shape[1]
    work = 4.0 * neurons * k * (asked + (width if k < width else 0)) + 1.0
    count = min(len(layers), max(2, int(SEARCH_WORK / work)))
    return tuple(layers[i] for i in np.unique(np.linspace(0, len(layers) - 1, count).round().astype(int)))
