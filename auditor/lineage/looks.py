"""How much of a model is read before a verdict: planned from headers alone, the same for a plan and for a scan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from auditor.lineage.reader import ModelReader

if TYPE_CHECKING:
    from auditor.lineage.disguised import Rung
    from auditor.lineage.sketch import Sketch
    from auditor.model import Block, ModelView
    from auditor.model.experts import Kind

FIRST_LOOK = 16
"""Neurons a layer read first; all that the sketch holds are read only where these do not decide."""

FirstLayers = Literal["auto", "few", "all"]
"""Which layers the first look is at; "auto": all of a model that lies on this machine, few of one that is far away."""

FIRST_LAYERS = 4
"""How many are few: four of them match by chance once in 16!**4 = 1e53 models."""

BAND_COLUMNS = 128
"""Columns read first of a model that is far away and keeps its rows in pieces all over: one group of most checkpoints.
Rows that agree at cosine .5 stand out by five standard deviations in as many."""

BAND_LAYERS = 2
"""Of such a model: two layers of 32 neurons match by chance once in 32!**2 = 1e70 models."""


Depth = Literal["quick", "auto"]
"""How far up the ladder: "auto" reads whole layers of a model on this machine where nothing less decides."""


class Look(NamedTuple):
    """How much of a model is read for one try at an answer.

    Attributes
    ----------
    blocks : tuple of Block
        MLP blocks: one a layer, or its experts.
    neurons : int
        Of each block.
    band : (int, int) or None
        Columns that are read of their rows; all where None.
    """

    blocks: tuple[Block, ...]
    neurons: int
    band: tuple[int, int] | None = None

    @property
    def layers(self) -> tuple[int, ...]:
        """Numbers of the layers looked at."""
        return tuple(dict.fromkeys(block.layer for block in self.blocks))

    def cost(self, view: ModelView) -> tuple[int, int]:
        """Return (ranges, bytes) to read for this look alone."""
        kinds: tuple[Kind, ...] = ("gate", "up")
        places = [(block.layer, block.role(kind)) for block in self.blocks for kind in kinds]
        view = (view.band(*self.band) if self.band else None) or view
        return view.cost(places, np.arange(self.neurons))  # neurons that are sampled lie side by side


def looks(view: ModelView, reference: Sketch, *, first_layers: FirstLayers = "auto") -> tuple[Look, ...]:
    """Plan the looks at a model, from the cheapest on. Each includes the one before.

    The same plan finds the same evidence wherever the model lies; but of one that is far away and keeps the pieces of
    a row all over its matrices, only a band of columns is read, and rungs above the first are not climbed.
    """
    blocks = ModelReader(view).blocks_with(int(reference.sample.index[-1]))
    sampled = len(reference.sample.index)
    first = min(FIRST_LOOK, sampled)
    planned = [Look(blocks, first), Look(blocks, sampled)]
    if blocks and (first_layers == "few" or (first_layers == "auto" and not view.on_disk)):
        planned.insert(0, Look(spread_blocks(blocks, FIRST_LAYERS), first))
        middle = reference.sample.hidden_size // 2 // BAND_COLUMNS * BAND_COLUMNS
        band = (middle, middle + BAND_COLUMNS)
        if reference.sample.hidden_size >= 4 * BAND_COLUMNS and view.band(*band) is not None:
            planned = [Look(spread_blocks(blocks, BAND_LAYERS, ends=False), sampled, band), Look(blocks, sampled, band)]
    return tuple(dict.fromkeys(planned))


def spread_blocks(blocks: tuple[Block, ...], count: int, *, ends: bool = True) -> tuple[Block, ...]:
    """Return the blocks of `count` layers, evenly spread, with or without the first and the last layer."""
    layers = tuple(dict.fromkeys(block.layer for block in blocks))
    at = np.linspace(0, len(layers) - 1, count if ends else count + 2).round().astype(int)
    spread = {layers[i] for i in (at if ends else at[1:-1])}
    return tuple(block for block in blocks if block.layer in spread)


class Cost(NamedTuple):
    """What a rung above the first would read, at most.

    Attributes
    ----------
    rung : {"framed-neurons", "searched-neurons"}
    layers : int
    ranges, bytes : int
    """

    rung: Rung
    layers: int
    ranges: int
    bytes: int


def upper_costs(
    view: ModelView, reference: Sketch, *, depth: Depth = "auto", first_layers: FirstLayers = "auto"
) -> tuple[Cost, ...]:
    """Say what the rungs above the first would read beside the looks, where nothing below decides."""
    planned = looks(view, reference, first_layers=first_layers)
    if planned and planned[-1].band:
        return ()
    reader = ModelReader(view)
    tokens = reference.token_rows()
    out = []
    if reference.folded() is not None:
        entries = [view.tensor(layer, "mlp_norm") for layer in reader.layers if layer in view.layers("mlp_norm")]
        ranges, size = len(entries), sum(entry.stop - entry.start for entry in entries)
        if tokens is not None and (rows := int((tokens.ids < reader.vocabulary()).sum())):
            embed = view.tensor(None, "embed")
            ranges, size = ranges + 1, size + (embed.stop - embed.start) // embed.shape[0] * rows
        out.append(Cost("framed-neurons", len(reader.layers), ranges, size))
    if depth != "quick" and view.on_disk:
        kinds: tuple[Kind, ...] = ("gate", "up", "down")
        roles = [(block.layer, block.role(kind)) for block in reader.blocks for kind in kinds]
        whole = [view.tensor(*place) for place in roles if place[0] in view.layers(place[1])]
        out.append(Cost("searched-neurons", len(reader.layers), len(whole), sum(e.stop - e.start for e in whole)))
    return tuple(out)
