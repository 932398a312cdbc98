"""Fit a frame to the moments of two models, and find which of their layers belong together on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from auditor.lineage.alignment import align, deviation
from auditor.lineage.frames import Frame
from auditor.lineage.moments import MOMENT_LAYERS, fitted_layers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from auditor.lineage.alignment import Alignment
    from auditor.lineage.moments import Moments

    Units = NDArray[np.float32]

_ROUNDS = 3  # of layer maps


@dataclass(frozen=True, slots=True, kw_only=True)
class MomentFrame:
    """A frame that needed neither tokens nor an order of neurons, nor of layers.

    Attributes
    ----------
    frame : Frame
    layers : tuple of (int, int)
        Layers of the reference and of the target whose neurons had a say in it: what is found among them proves
        less than what is found among the rest.
    cosine : float
        Mean, of matrices of the reference and those of the target in the frame.
    """

    frame: Frame
    layers: tuple[tuple[int, int], ...]
    cosine: float


def moment_frame(ours: Moments, theirs: Moments, layers: tuple[int, ...]) -> MomentFrame:
    """Fit a frame to the moments of a reference and a target; it need not fit well.

    Layers of the same number are taken to belong together first. Where the rotation fitted to that does not confirm
    it, a first one is fitted to means over all layers and to the vocabulary; then each layer of the reference takes
    the layer of the target that is most like it, and the rotation is fitted anew. The map that fits better is kept.

    Parameters
    ----------
    ours, theirs : Moments
    layers : tuple of int
        All layers of the reference.
    """
    k = min(ours.basis.shape[1], theirs.basis.shape[1])
    used = fitted_layers(layers)
    asked = [n for n in ours.layers if n in used or len(ours.layers) <= MOMENT_LAYERS]
    fitted = [n in used for n in asked]
    found, aligned = _found(ours, theirs, asked, fitted, k)
    left, right = (1.0 / deviation(one.strength[:k]) for one in (ours, theirs))
    return MomentFrame(
        frame=Frame(
            name="moments",
            reference=(ours.basis[:, :k] * left) @ aligned.rotation,
            target=theirs.basis[:, :k] * right,
        ),
        layers=tuple((a, b) for a, b, counts in zip(asked, found, fitted, strict=True) if counts),
        cosine=aligned.cosine,
    )


def _found(ours: Moments, theirs: Moments, asked: list[int], fitted: list[bool], k: int) -> tuple[list[int], Alignment]:
    """Find which layer of the target each layer of the reference is most like, and the rotation."""
    in_place = None
    if set(asked) <= set(theirs.layers):
        in_place = _aligned(ours, theirs, asked, asked, fitted, k)
        if _closest(ours, theirs, asked, fitted, in_place.rotation) == asked:
            return asked, in_place
    used = [n for n, counts in zip(asked, fitted, strict=True) if counts]
    moved = align(ours.pooled(used, directions=k), theirs.pooled(theirs.layers, directions=k))
    found: list[int] = []
    for _ in range(_ROUNDS):
        closest = _closest(ours, theirs, asked, fitted, moved.rotation)
        if closest == found:
            break
        found = closest
        moved = _aligned(ours, theirs, asked, found, fitted, k)
    if in_place is not None and in_place.cosine >= moved.cosine:
        return asked, in_place
    return found, moved


def _aligned(
    ours: Moments, theirs: Moments, asked: list[int], found: list[int], fitted: list[bool], k: int
) -> Alignment:
    a = ours.invariants(asked, fitted=fitted, directions=k)
    b = theirs.invariants(found, fitted=fitted, directions=k)
    return align(a, b)


def _closest(ours: Moments, theirs: Moments, asked: list[int], fitted: list[bool], rotation: Units) -> list[int]:
    """Layer of the target that each layer asked is most like, in the rotation: highest sum of cosines."""
    likeness = _likeness(ours, theirs, asked, fitted, rotation)
    return [theirs.layers[t] for t in likeness.argmax(axis=1)]


def _likeness(ours: Moments, theirs: Moments, asked: list[int], fitted: list[bool], rotation: Units) -> Units:
    """Sum of cosines of the matrices of every layer asked with those of every layer of the target, shape (A, T)."""
    k = len(rotation)
    a = ours.invariants(asked, fitted=fitted, directions=k)
    b = theirs.invariants(theirs.layers, fitted=[True] * len(theirs.layers), directions=k)
    total = np.zeros((len(asked), len(theirs.layers)), dtype=np.float32)
    for one, other, more in ((a.symmetric, b.symmetric, 2), (a.general, b.general, 1)):
        turned = rotation @ other[:-more] @ rotation.T
        left, right = (m.reshape(n, -1) for m, n in ((one[:-more], len(asked)), (turned, len(theirs.layers))))
        total += left @ right.T
    vectors = (a.vectors[:-2] @ rotation) @ b.vectors[:-2].T
    return np.asarray(total + vectors)
