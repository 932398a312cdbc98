"""What a target is held against: known files, references that are here or can be made, evidence beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditor.digests.files import digest_files
from auditor.enrolling import build as make
from auditor.errors import AuditError, HubUnreachable
from auditor.lineage import FOUND, Candidate, Sketch, width_of
from auditor.lineage.known import load_known
from auditor.lineage.references import list_references, plan_references
from auditor.lineage.supporting import (
    Evidence,
    config_agreement,
    known_files,
    shape_of,
    supporting_evidence,
    tokenizer_agreement,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from auditor.enrolling import Notify
    from auditor.lineage import Lineage
    from auditor.lineage.known import KnownFiles, KnownMatch, KnownVerdict
    from auditor.lineage.references import Reference
    from auditor.model import ModelView
    from auditor.sources import FileInfo, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """What there is to hold a target against.

    Attributes
    ----------
    references : tuple of Sketch
    known : tuple of Candidate
        What rung 0 decides; nothing else is compared then.
    lacking : tuple of str
        References that are needed and not here, each with what to do.
    entries : tuple of Reference
        Of the table: those above, and those that lack.
    evidence : tuple of Evidence
        From digests alone.
    """

    references: tuple[Sketch, ...]
    known: tuple[Candidate, ...]
    lacking: tuple[str, ...]
    entries: tuple[Reference, ...]
    evidence: tuple[Evidence, ...]

    def supporting(self, models: Sequence[ModelView], lineage: Lineage) -> tuple[Evidence, ...]:
        """Gather what is shown beside a verdict.

        Where the verdict is sure and the target far away, nothing more is read of it.
        """
        sketches = {sketch.name: sketch for sketch in self.references}
        pieces = list(self.evidence)
        for model in models:
            shape = shape_of(model)
            frugal = lineage.verdict in FOUND and not model.on_disk
            for entry in self.entries:
                if entry.hidden_size is not None and entry.hidden_size == shape["hidden_size"]:
                    pieces += (
                        [config_agreement(entry, **shape)]
                        if frugal
                        else supporting_evidence(model, entry, sketches.get(entry.name))
                    )
        return tuple(dict.fromkeys(pieces))


def gather(
    source: Source,
    models: Sequence[ModelView],
    against: tuple[str, ...],
    *,
    build: bool,
    seed: int | None = None,
    notify: Notify | None = None,
) -> Library:
    """Find everything that a target is to be held against.

    Parameters
    ----------
    source : Source
        Of the target.
    models : sequence of ModelView
        In the target.
    against : tuple of str
        References as the user names them; empty for the whole library.
    build : bool
        Make references that are needed and not here, where their repositories can be reached.
    seed : int, optional
        Of the neurons sampled; see `plan_references`.
    notify : callable, optional
        Told what takes a while.

    Raises
    ------
    UsageError, TargetError, BadReference
        When a reference that was named cannot be used.
    """
    matches, infos, known = _known_files(source)
    decided = decide_by_digests(known, matches, against)
    candidates: tuple[Candidate, ...] = ()
    if decided is not None:
        candidates = (
            Candidate(
                reference=decided.reference,
                model=", ".join(match.path for match in decided.matches),
                verdict=decided.verdict,
                rung="digest",
            ),
        )
    sizes = hidden_sizes(models)
    plan = plan_references(against, hidden_sizes=sizes, seed=seed)
    problems: dict[str, str] = {}
    if plan.missing and build and decided is None:
        problems = _build_all(plan.missing, notify)
        plan = plan_references(against, hidden_sizes=sizes, seed=seed)
    names = {sketch.name for sketch in plan.sketches}
    return Library(
        references=plan.sketches,
        known=candidates,
        lacking=() if decided else tuple(_lacking(entry, problems) for entry in plan.missing),
        entries=(*(entry for entry in list_references() if entry.name in names), *plan.missing),
        evidence=known_files(matches) + tokenizer_agreement(infos, known),
    )


def hidden_sizes(models: Iterable[ModelView]) -> set[int]:
    """Return the widths in which references are wanted.

    A model without a gate is only held against what is here: no reference is made for its embeddings alone.
    """
    sizes = [
        shape_of(model)["hidden_size"] or width_of(model) for model in models if model.gated or not model.layers("up")
    ]
    return {size for size in sizes if size is not None}


def decide_by_digests(
    known: KnownFiles, matches: Iterable[KnownMatch], against: tuple[str, ...]
) -> KnownVerdict | None:
    """Climb rung 0. Files of a model that was not asked about are shown, and decide nothing."""
    asked = [match for match in matches if not against or match.known.reference in against]
    return known.decide(asked, list_references())


def files_to_hash(source: Source, known: KnownFiles) -> tuple[FileInfo, ...]:
    """Return the files on this machine that may be known ones: those of the size of one, tokenizers included."""
    shared = {row.size for row in known.rows if row.relation == "shared"}
    infos = source.files()
    worth = (*known.worth_hashing(infos), *(info for info in infos if info.sha256 is None and info.size in shared))
    return tuple(info for info in dict.fromkeys(worth) if source.on_disk(info.path) is not None)


def _known_files(source: Source) -> tuple[tuple[KnownMatch, ...], list[FileInfo], KnownFiles]:
    known = load_known()
    infos = source.files()
    worth = {info.path for info in files_to_hash(source, known)}
    hashed = {info.path: info for info in digest_files(source, worth).files} if worth else {}
    files = [hashed.get(info.path, info) for info in infos]
    return known.match(files), files, known


def _build_all(missing: tuple[Reference, ...], notify: Notify | None) -> dict[str, str]:
    problems: dict[str, str] = {}
    unreachable = None
    for reference in missing:
        try:
            if unreachable is None:
                make(reference.name, notify=notify)
        except HubUnreachable as error:
            unreachable = str(error)
        except AuditError as error:
            problems[reference.name] = str(error)
        if unreachable is not None:  # and so are all others
            problems[reference.name] = unreachable
    return problems


def _lacking(reference: Reference, problems: dict[str, str]) -> str:
    problem = f" ({problems[reference.name]})" if reference.name in problems else ""
    return f"{reference.name} is needed and not on this machine{problem}; run: {reference.command}"
