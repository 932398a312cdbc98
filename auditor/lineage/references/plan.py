"""Which references a scan holds its target against, and which of them it would need first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from auditor.errors import BadReference, FileError, UsageError
from auditor.formats import open_checkpoints
from auditor.lineage.references.store import has_sketch, load_reference
from auditor.lineage.references.table import Reference, find_reference, list_references
from auditor.lineage.sketch import Sketch, is_sketch, load_sketch, sketch_model
from auditor.model import model_views
from auditor.sources import Blob, LocalSource, open_source

if TYPE_CHECKING:
    from collections.abc import Collection

    from auditor.model import ModelView


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferencePlan:
    """What a scan uses and what it lacks.

    Attributes
    ----------
    sketches : tuple of Sketch
        To hold the target against.
    missing : tuple of Reference
        Needed, and without a sketch on this machine: as long as there are any, nothing is independent of the
        library. `Reference.command` makes each, from `Reference.repos`.
    left_out : tuple of Reference
        Not loaded: of another hidden size than every model of the target, or optional and not built.
    """

    sketches: tuple[Sketch, ...]
    missing: tuple[Reference, ...] = ()
    left_out: tuple[Reference, ...] = ()


def plan_references(
    names: tuple[str, ...] = (),
    *,
    hidden_sizes: Collection[int] | None = None,
    seed: int | None = None,
    folder: Path | None = None,
    cache: Path | None = None,
) -> ReferencePlan:
    """Decide which references a target is held against.

    Where none is named, every sketch that ships is used, and every built one whose rows can be compared. Needed are
    the roots: a model that was trained on from an enrolled one (a chat model, Code Llama) is found through its root,
    and only sharpens the answer to which is nearest.

    Parameters
    ----------
    names : tuple of str
        Each a path to a sketch or a model, or a name of the library; a string that exists as a path is the path.
        Empty for the whole library.
    hidden_sizes : collection of int, optional
        Row lengths of the models in the target. None where they are not known: then nothing is left out for them.
    seed : int, optional
        Of the neurons sampled. A sketch holds those of its own seed and no others, so this needs models (or sketches
        made with it).
    folder, cache : Path, optional
        Of the library, and of built sketches.

    Returns
    -------
    ReferencePlan

    Raises
    ------
    UsageError, TargetError, BadReference
        When one cannot be loaded whole. One that was named and not built is `missing`, no error.
    """
    if names:
        plan = _named(names, folder, cache, seed or 0)
        _check_seed(plan.sketches, seed)
        return plan
    if seed is not None:
        raise UsageError("--sample-seed needs --against: the sketches of the library hold the public sample only")
    sketches, missing, left_out = [], [], []
    for reference in list_references(folder):
        fits = hidden_sizes is None or reference.hidden_size is None or reference.hidden_size in hidden_sizes
        if reference.sketch is not None or (fits and has_sketch(reference, cache=cache)):
            sketches.append(load_reference(reference.name, folder=folder, cache=cache))
        elif fits and reference.descends_from is None:
            missing.append(reference)
        else:
            left_out.append(reference)
    return ReferencePlan(sketches=tuple(sketches), missing=tuple(missing), left_out=tuple(left_out))


def resolve_references(
    names: tuple[str, ...], *, folder: Path | None = None, cache: Path | None = None
) -> tuple[Sketch, ...]:
    """Load what a user wants the target held against, of what is on this machine.

    Parameters
    ----------
    names, folder, cache
        As for `plan_references`.

    Raises
    ------
    UsageError, TargetError, BadReference
        When one that was named is not there, or one cannot be loaded whole.
    """
    plan = plan_references(names, folder=folder, cache=cache)
    if names and plan.missing:
        reference = plan.missing[0]
        raise BadReference(f"{reference.name}: its sketch is not on this machine; run: {reference.command}")
    return plan.sketches


def load_sketch_file(path: Path) -> Sketch:
    """Load a sketch from a path.

    Raises
    ------
    TargetError, BadReference
        When there is no such file, or it is no usable sketch.
    """
    source = LocalSource(path)
    return load_sketch(Blob(source, source.files()[0]))


def _named(names: tuple[str, ...], folder: Path | None, cache: Path | None, seed: int) -> ReferencePlan:
    sketches: list[Sketch] = []
    missing: list[Reference] = []
    for name in names:
        if _exists(name):
            sketches.extend(_of_path(name, seed))
            continue
        reference = find_reference(name, folder=folder)
        if has_sketch(reference, cache=cache):
            sketches.append(load_reference(name, folder=folder, cache=cache))
        else:
            missing.append(reference)
    return ReferencePlan(sketches=tuple(sketches), missing=tuple(missing))


def _check_seed(sketches: tuple[Sketch, ...], seed: int | None) -> None:
    for sketch in sketches:
        if seed is not None and sketch.seed != seed:
            raise UsageError(
                f"{sketch.name}: a sketch of the neurons of seed {sketch.seed}, which holds no others: give the model "
                "itself, or a sketch made with --sample-seed"
            )


def _of_path(name: str, seed: int) -> tuple[Sketch, ...]:
    source = open_source(name)
    files = source.files()
    checkpoints = open_checkpoints(source)
    if checkpoints.unread:
        unread = checkpoints.unread[0]
        raise BadReference(f"{name}: cannot be read whole: {unread.path}: {unread.reason}")
    if len(files) == 1 and checkpoints.containers and is_sketch(checkpoints.containers[0]):
        return (load_sketch(Blob(source, files[0])),)
    try:
        views = [view for container in checkpoints.containers for view in model_views(source, container)]
        sketches = tuple(
            sketch_model(view, name=_label(name, view, len(views)), seed=seed, whole=True) for view in views
        )
    except FileError as error:
        raise BadReference(f"{name}: cannot serve as a reference: {error}") from error
    if not sketches:
        raise BadReference(f"{name}: cannot serve as a reference: no model with gated MLP blocks in it")
    return sketches


def _label(name: str, view: ModelView, count: int) -> str:
    return name if count == 1 else f"{name}:{view.container.files[0]}"


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False
