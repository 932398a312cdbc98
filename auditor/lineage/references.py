"""The library of references: `fingerprints/references.toml` and the sketches it names."""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from auditor.errors import BadReference, FileError, UsageError
from auditor.formats import open_checkpoints
from auditor.lineage.sketch import Sketch, is_sketch, load_sketch, sketch_model
from auditor.model import model_views
from auditor.sources import Blob, LocalSource, open_source

if TYPE_CHECKING:
    from auditor.model import ModelView


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """An entry of the library.

    Attributes
    ----------
    name : str
    title : str
    license : str
    sketch : Path
    sha256 : str
        Of the sketch file.
    origin : str
        Where the weights came from, for people.
    """

    name: str
    title: str
    license: str
    sketch: Path
    sha256: str
    origin: str


def library_folder() -> Path:
    """Return the folder of the library: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_fingerprints"
    return installed if installed.is_dir() else package.parent / "fingerprints"


def resolve_references(names: tuple[str, ...]) -> tuple[Sketch, ...]:
    """Load what a user wants the target held against.

    Parameters
    ----------
    names : tuple of str
        Each a path to a sketch or a model, or a name of the library; a string that exists as a path is the path.
        Empty for the whole library.

    Raises
    ------
    UsageError, TargetError, BadReference
        When one cannot be loaded whole.
    """
    if not names:
        return tuple(load_reference(reference.name) for reference in list_references())
    return tuple(sketch for name in names for sketch in _resolve(name))


def _resolve(name: str) -> tuple[Sketch, ...]:
    if not _exists(name):
        return (load_reference(name),)
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
        sketches = tuple(sketch_model(view, name=_label(name, view, len(views))) for view in views)
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


def list_references(folder: Path | None = None) -> tuple[Reference, ...]:
    """Read the table of references.

    Raises
    ------
    BadReference
        When the table is missing or does not parse.
    """
    folder = folder or library_folder()
    table = folder / "references.toml"
    try:
        entries = tomllib.loads(table.read_text(encoding="utf-8"))["reference"]
        return tuple(
            Reference(
                name=name,
                title=entry["title"],
                license=entry["license"],
                sketch=folder / entry["sketch"],
                sha256=entry["sha256"],
                origin=entry["origin"],
            )
            for name, entry in sorted(entries.items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadReference(f"{table}: not a table of references: {error!r}") from error


def load_reference(name: str, *, folder: Path | None = None) -> Sketch:
    """Load a reference of the library by name, and check that its sketch is the one that was enrolled.

    Raises
    ------
    UsageError
        When there is no such name; says the nearest one.
    BadReference
        When the sketch is missing, damaged or another one.
    """
    known = {reference.name: reference for reference in list_references(folder)}
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known) or 'none'}"
        raise UsageError(f"{name}: no such reference, path or sketch; {hint}")
    reference = known[name]
    try:
        digest = hashlib.sha256(reference.sketch.read_bytes()).hexdigest()
    except OSError as error:
        raise BadReference(f"{reference.sketch}: cannot be read: {error.strerror}") from error
    if digest != reference.sha256:
        raise BadReference(f"{reference.sketch}: sha256 is {digest}, enrolled was {reference.sha256}")
    return load_sketch_file(reference.sketch)


def load_sketch_file(path: Path) -> Sketch:
    """Load a sketch from a path.

    Raises
    ------
    TargetError, BadReference
        When there is no such file, or it is no usable sketch.
    """
    source = LocalSource(path)
    return load_sketch(Blob(source, source.files()[0]))
