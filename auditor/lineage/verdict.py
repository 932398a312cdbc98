"""What the evidence adds up to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from auditor.lineage.change import Change
    from auditor.lineage.merging import Share
    from auditor.lineage.supporting import Evidence

DERIVED_LOG10_P = -12.0
"""At or below this, after all corrections, the target shares descent with the reference."""

INDEPENDENT_LOG10_P = -3.0
"""Above this nothing was found. Between the two, the evidence is too weak either way, and no verdict is given."""

_NOTHING = "nothing to compare: no model with gated MLP blocks was found, or no reference"
_UNREAD = "nothing to compare: what may be the weights could not be read"

Verdict = Literal["identical", "derived", "embeddings-shared", "adapter", "independent", "inconclusive"]

FOUND: Final = frozenset({"identical", "derived", "embeddings-shared"})
"""Verdicts that some of the reference's weights, changed or not, are in the target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMatch:
    """Where a layer of the target comes from.

    Attributes
    ----------
    target : int
        Its number; of experts, each has that of its layer.
    reference : int or None
        None where no layer of the reference matches.
    fixed_points, n : int
        Neurons matched to their own position (searched: on which both searches agree), of how many. Of the best pair,
        where none matches.
    cosine : float or None
        Mean row cosine of neurons at equal positions; None where none is usable.
    log10_p : float
        Of this pair of layers, exact, before correction.
    """

    target: int
    reference: int | None
    fixed_points: int
    n: int
    cosine: float | None
    log10_p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RungResult:
    """What one test of the ladder found.

    Attributes
    ----------
    rung : {"aligned-neurons", "framed-neurons", "searched-neurons"}
    log10_p : float
        After all corrections.
    exact : bool
    agreeing, tried : int
        Neurons that matched in the pair of layers with most of them, and most neurons that could.
    frame : {"plain", "tokens", "anchors", "moments"} or None
        Coordinates in which neurons were compared.
    """

    rung: str
    log10_p: float
    exact: bool
    agreeing: int
    tried: int
    frame: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """How the target was derived, as far as the data carry it.

    Attributes
    ----------
    kind : {"copy", "modified", "disguised", "embeddings"}
        "copy": every sampled value is equal up to the rounding of a 16-bit format. "disguised": rows differ, and agree
        once the hidden basis or the order of neurons is undone. "embeddings": nothing but these.
    dropped : tuple of int
        Layers of the reference that no target layer matches.
    repeated : tuple of int
        Layers of the reference that several target layers match.
    added : tuple of int
        Layers of the target that match no reference layer.
    reordered : bool
        Matched layers stand in another order.
    experts : int
        Experts whose neurons match, in the layer with most of them; 0 for a dense model.
    change : Change or None
        What became of the sampled rows of matched layers; None where rows cannot be held side by side.
    shares : tuple of Share
        Weights of several references that explain the target together, a merge; empty where there is but one.
    """

    kind: Literal["copy", "modified", "disguised", "embeddings"]
    dropped: tuple[int, ...] = ()
    repeated: tuple[int, ...] = ()
    added: tuple[int, ...] = ()
    reordered: bool = False
    experts: int = 0
    change: Change | None = None
    shares: tuple[Share, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One reference held against one model of the target.

    Attributes
    ----------
    reference : str
    model : str
        Which model of the target: its first file, and the prefix of its names where it has one.
    verdict : {"derived", "embeddings-shared", "independent", "inconclusive"}
        "embeddings-shared": the token embeddings are the reference's, and nothing else was found.
    reason : str or None
        Why it is inconclusive, or what "independent" does not cover.
    rung : {"digest", "aligned-neurons", "framed-neurons", "searched-neurons"} or None
        The rung that decided, or else the first that was climbed; None where none could be.
    log10_p : float or None
        After all corrections. None where no test was run.
    exact : bool
        The p-value is exact in finite samples.
    cosine : float or None
        Mean row cosine over matched layers, or over layers in place where none is matched.
    relation : Relation or None
        For "derived".
    layers : tuple of LayerMatch
        Those that were read.
    layers_in_model : int
        How many the target has.
    stopped : str or None
        Why not every look was taken that would have been needed.
    detection_limit : float or None
        Smallest row cosine that would have been found.
    nonfinite : tuple of str
        Tensors of the target in which a NaN or an infinity was sampled.
    frame : str or None
        Coordinates in which neurons agree, where a rung above the first decided.
    rungs : tuple of RungResult
        Every test that was made, in order.
    """

    reference: str
    model: str
    verdict: Verdict
    reason: str | None = None
    rung: str | None = None
    log10_p: float | None = None
    exact: bool = True
    cosine: float | None = None
    relation: Relation | None = None
    layers: tuple[LayerMatch, ...] = ()
    layers_in_model: int = 0
    stopped: str | None = None
    detection_limit: float | None = None
    nonfinite: tuple[str, ...] = ()
    frame: str | None = None
    rungs: tuple[RungResult, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """The lineage part of a report.

    Attributes
    ----------
    verdict : {"identical", "derived", "embeddings-shared", "adapter", "independent", "inconclusive"}
        "adapter": nothing but changes of a model that is not there.
    reason : str or None
        Why it is inconclusive, what weakens it, or what an adapter says.
    best : Candidate or None
        The candidate that decided, or came nearest.
    candidates : tuple of Candidate
        All of them, strongest first.
    supporting : tuple of Evidence
        Shown, and never deciding.
    """

    verdict: Verdict
    reason: str | None = None
    best: Candidate | None = None
    candidates: tuple[Candidate, ...] = ()
    supporting: tuple[Evidence, ...] = ()


MOST_UNPLACED = 0.1
"""Largest share of matrix bytes without a known place in a model beside which `independent` can be said: room for a
vision tower or an adapter, not for a model hidden beside a decoy."""


def judge(
    candidates: tuple[Candidate, ...],
    *,
    complete: bool,
    unplaced: float = 0.0,
    lacking: Sequence[str] = (),
    obstacles: Sequence[str] = (),
    adapter: str | None = None,
) -> Lineage:
    """Weigh all candidates.

    One reference found in one model of the target decides. `independent` needs every comparison to have been
    made, on a target that was read whole.

    Parameters
    ----------
    candidates : tuple of Candidate
    complete : bool
        Nothing of the target's weights was left unread.
    unplaced : float
        Share of the target's matrix bytes that no model view knows: they were not compared with anything.
    lacking : sequence of str
        References that the target should have been held against and that are not here, each with what to do.
    obstacles : sequence of str
        Why weights could not be read, placed or compared; the first explains a verdict that they prevent.
    adapter : str, optional
        What an adapter says, where the target is nothing else: then only whole modules in it can decide.
    """
    ranked = tuple(sorted(candidates, key=_strength))
    best = ranked[0] if ranked else None
    if best is not None and best.verdict in FOUND:
        return Lineage(verdict=best.verdict, reason=best.reason, best=best, candidates=ranked)
    why = f": {obstacles[0]}" if obstacles else ""
    if adapter is not None and complete:
        return Lineage(verdict="adapter", reason="; ".join([adapter, *lacking]), candidates=ranked)
    if best is None:
        nothing = _NOTHING if complete else _UNREAD
        reason: str | None = "; ".join(lacking) or (f"nothing to compare{why}" if why else nothing)
        return Lineage(verdict="inconclusive", reason=reason)
    undecided = next((c for c in ranked if c.verdict == "inconclusive"), None)
    tested = [c for c in ranked if c.log10_p is not None]
    if not complete:
        reason = f"not all weights could be read{why}"
    elif lacking:
        reason = "; ".join(lacking)
    elif unplaced > MOST_UNPLACED:
        reason = f"{unplaced:.0%} of the weights are under names that this version does not place in a model{why}"
    elif undecided and (undecided.log10_p is not None or not tested):
        reason = undecided.reason
    else:
        # References of another width cannot have been fine-tuned into this model; they are listed, not counted.
        weaker = next((c.reason for c in tested if c.verdict == "independent" and c.reason), None)
        return Lineage(verdict="independent", reason=weaker, best=best, candidates=ranked)
    return Lineage(verdict="inconclusive", reason=reason, best=best, candidates=ranked)


def settle_copies(lineage: Lineage, *, models: Mapping[str, str], references: Mapping[str, str]) -> Lineage:
    """Turn the verdict on a copy into `identical` where every value of every tensor is known to be equal.

    Parameters
    ----------
    lineage : Lineage
    models : mapping of str to str
        Weights digests of the models in the target, by `Candidate.model`.
    references : mapping of str to str
        Weights digests of references, by name.
    """

    def settled(candidate: Candidate) -> Candidate:
        digest = models.get(candidate.model)
        copied = candidate.relation is not None and candidate.relation.kind == "copy"
        same = copied and digest is not None and digest == references.get(candidate.reference)
        return replace(candidate, verdict="identical") if same else candidate

    candidates = tuple(sorted(map(settled, lineage.candidates), key=_strength))
    if not candidates or candidates[0].verdict != "identical":
        return lineage
    return replace(lineage, verdict="identical", best=candidates[0], candidates=candidates)


def _strength(candidate: Candidate) -> tuple[int, float, float, str]:
    order = {"identical": 0, "derived": 1, "embeddings-shared": 2}
    log10_p = candidate.log10_p if candidate.log10_p is not None else 1.0
    cosine = candidate.cosine if candidate.cosine is not None else -1.0
    return (order.get(candidate.verdict, 3), log10_p, -cosine, candidate.reference)
