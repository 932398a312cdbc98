"""What the weights of a target show, before anything that is written about them is read."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from auditor.errors import FileError, OverBudget
from auditor.findings import Finding, file_finding
from auditor.lineage import (
    Candidate,
    Depth,
    FirstLayers,
    Lineage,
    ModelReader,
    Sketch,
    compare,
    compare_plain,
    explain_merge,
    judge,
    model_label,
)
from auditor.lineage.compact import CompactSample, compact_sample
from auditor.model import ModelView, Subjects, told
from auditor.sources import Unread

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auditor.formats import Checkpoints
    from auditor.library import Library
    from auditor.recalling import Earlier


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What weighing came to.

    Attributes
    ----------
    lineage : Lineage
    findings : tuple of Finding
        Of the files and their values.
    unread : tuple of Unread
    compact : tuple of CompactSample
    """

    lineage: Lineage
    findings: tuple[Finding, ...]
    unread: tuple[Unread, ...]
    compact: tuple[CompactSample, ...] = ()


def weigh(
    checkpoints: Checkpoints,
    subjects: Subjects,
    library: Library,
    *,
    first_layers: FirstLayers = "auto",
    depth: Depth = "auto",
    compact: bool = False,
) -> Weights:
    """Hold every model of a target against every reference, and judge. What cannot be read becomes a part of it.

    Parameters
    ----------
    checkpoints, subjects
        Of the target.
    library : Library
    first_layers, depth, compact
        See `Options`.
    """
    unread = list(subjects.unread)
    candidates: list[Candidate] = list(library.known)
    pairs = [] if library.known else list(itertools.product(subjects.models, library.references))
    readers = {model: ModelReader(model) for model in subjects.models if model.gated}
    for model, reference in pairs:
        try:
            if model in readers:
                candidate = compare(
                    readers[model],
                    reference,
                    tests=len(pairs),
                    first_layers=first_layers,
                    depth=depth,
                )
            else:
                candidate = compare_plain(model, reference, tests=len(pairs), reason=_incomparable(model, subjects))
            candidates.append(candidate)
        except FileError as error:
            unread.append(Unread.from_error(error))
            candidates += _what_is_plain(model, reference, tests=len(pairs), error=error)
    candidates = [_with_shares(candidate, candidates, readers, library) for candidate in candidates]
    unread += [
        Unread(path=candidate.model, code=OverBudget.code, reason=candidate.stopped)
        for candidate in candidates
        if candidate.stopped is not None
    ]
    unread = list(dict.fromkeys(unread))
    lineage = judge(
        tuple(candidates),
        complete=not unread,
        unplaced=subjects.unplaced,
        lacking=library.lacking,
        obstacles=(
            *(f"{entry.path}: {entry.reason}" for entry in unread),
            *subjects.left_out,
            *(_incomparable(model, subjects) for model in subjects.own if not model.gated),
        ),
        adapter="; ".join(map(told, subjects.adapters)) if subjects.alone else None,
    )
    return Weights(
        lineage=replace(lineage, supporting=library.supporting(subjects.models, lineage)),
        findings=(*checkpoints.findings, _finite_values(candidates)),
        unread=tuple(unread),
        compact=_samples(readers.values()) if compact else (),
    )


def taken_over(earlier: Earlier, checkpoints: Checkpoints, subjects: Subjects, library: Library) -> Weights:
    """Return what an earlier audit found of the same weights, beside what this target shows by itself."""
    return Weights(
        lineage=replace(earlier.lineage, supporting=library.supporting(subjects.models, earlier.lineage)),
        findings=(*checkpoints.findings, *earlier.findings),
        unread=(),
        compact=earlier.compact,
    )


def _samples(readers: Iterable[ModelReader]) -> tuple[CompactSample, ...]:
    """Take the samples that can be taken: what cannot be read of a model is told where it is compared."""
    found = []
    for reader in readers:
        try:
            found.append(compact_sample(reader))
        except FileError:
            continue
    return tuple(sample for sample in found if sample is not None)


def _incomparable(model: ModelView, subjects: Subjects) -> str:
    """Say why the neurons of a model without gated MLP blocks are not compared."""
    if model in subjects.saved:
        return "an adapter holds no neurons"
    return f"the MLPs have no gate ({model.architecture}), and those of every reference have one"


def _what_is_plain(model: ModelView, reference: Sketch, *, tests: int, error: FileError) -> list[Candidate]:
    """Compare what can be read of a model whose neurons cannot, where the budget is not what stops it."""
    if isinstance(error, OverBudget):
        return []
    try:
        return [compare_plain(model, reference, tests=tests, reason=error.reason)]
    except FileError:
        return []


def _with_shares(
    candidate: Candidate, candidates: list[Candidate], readers: dict[ModelView, ModelReader], library: Library
) -> Candidate:
    """Add the shares of a merge to what was found in place, where one model descends from several references."""
    if candidate.rung != "aligned-neurons" or candidate.relation is None or candidate.relation.kind != "modified":
        return candidate
    same = {c.reference for c in candidates if c.model == candidate.model and c.verdict == "derived"}
    reader = next((reader for view, reader in readers.items() if model_label(view) == candidate.model), None)
    if len(same) < 2 or reader is None:
        return candidate
    try:
        shares = explain_merge(reader, [reference for reference in library.references if reference.name in same])
    except FileError:  # of rows that were not needed for the verdict
        return candidate
    return replace(candidate, relation=replace(candidate.relation, shares=shares))


def _finite_values(candidates: list[Candidate]) -> Finding:
    broken = sorted({name for candidate in candidates for name in candidate.nonfinite})
    if broken:
        more = f" and {len(broken) - 5} more tensors" if len(broken) > 5 else ""
        return file_finding("FILE-003", "warn", f"NaN or infinity in {', '.join(broken[:5])}{more}")
    return file_finding("FILE-003", "pass" if any(candidate.rung for candidate in candidates) else "n/a")
