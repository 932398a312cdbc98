"""Where sketches lie: those that ship in the library, those built here in the user's cache.

    $XDG_CACHE_HOME/auditor/references/<name>.json                      the record: which file, of what digest
    $XDG_CACHE_HOME/auditor/references/<name>-<16 hex>.safetensors      the sketch

The record is written last, so what it names is whole. It finds damage and edits, not an intruder who can write both:
what a sketch was made of is held against the pins of the table each time it is loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from auditor.errors import BadReference, FileError, UsageError
from auditor.formats import strictjson
from auditor.limits import LIMITS
from auditor.lineage.references.build import check_digest, check_shape
from auditor.lineage.references.table import Reference, find_reference, is_sha256, list_references, nearest
from auditor.lineage.sample import sample_index
from auditor.lineage.sketch import Sketch, load_sketch
from auditor.sources import BytesSource
from auditor.writing import write_whole

if TYPE_CHECKING:
    from auditor.sources import FileInfo

_RECORD_KEYS: Final = frozenset({"version", "name", "file", "size", "sha256"})
_RECORD_VERSION: Final = 1
_RECORD_BYTES: Final = 4096  # a record has some 250 bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A sketch of the library that is there and was checked.

    Attributes
    ----------
    name : str
    path : Path
    sha256 : str
        Of the sketch file.
    size : int
        Bytes of it.
    shipped : bool
        It came with the project.
    pinned : bool
        The files that it says it was made from have the digests that the table pins.
    origin : tuple of FileInfo
        Those files.
    repo, revision, tool_version : str or None
        Where from, and by which version, as it says itself.
    """

    name: str
    path: Path
    sha256: str
    size: int
    shipped: bool
    pinned: bool
    origin: tuple[FileInfo, ...]
    repo: str | None
    revision: str | None
    tool_version: str | None


def cache_folder() -> Path:
    """Return the folder of built sketches, by the XDG base directory specification. It need not exist."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if Path(base).is_absolute() else Path("~/.cache").expanduser()  # the specification: absolute
    return root / "auditor" / "references"


def has_sketch(reference: Reference, *, cache: Path | None = None) -> bool:
    """Say whether a sketch is there, shipped or built; whether it is a good one, `load_reference` says."""
    return reference.sketch is not None or _record_path(reference, cache).exists()


def load_reference(name: str, *, folder: Path | None = None, cache: Path | None = None) -> Sketch:
    """Load a reference of the library by name, and check that its sketch is the one that was enrolled or built.

    Parameters
    ----------
    name : str
    folder : Path, optional
        Of the library.
    cache : Path, optional
        Of built sketches.

    Raises
    ------
    UsageError
        When there is no such name; says the nearest one.
    BadReference
        When there is no sketch of it, or it is damaged, edited, of another name or shape, or made of other files
        than the table pins.
    """
    return _load(find_reference(name, folder=folder), cache)[0]


def verify_reference(name: str, *, folder: Path | None = None, cache: Path | None = None) -> Installed:
    """Check a sketch again: its bytes against the digest recorded, its structure, and its origin against the pins.

    Raises
    ------
    UsageError, BadReference
        As `load_reference`.
    """
    reference = find_reference(name, folder=folder)
    sketch, path, data = _load(reference, cache)
    return _installed(reference, sketch, path, data)


def export_reference(name: str, *, folder: Path | None = None, cache: Path | None = None) -> tuple[bytes, str]:
    """Return a checked sketch as bytes, and their SHA-256, to be handed on beside them.

    Raises
    ------
    UsageError, BadReference
        As `load_reference`.
    """
    _, _, data = _load(find_reference(name, folder=folder), cache)
    return data, hashlib.sha256(data).hexdigest()


def import_reference(
    path: Path, expected_sha256: str, *, folder: Path | None = None, cache: Path | None = None
) -> Installed:
    """Install a sketch that was exported elsewhere.

    Parameters
    ----------
    path : Path
        The sketch file.
    expected_sha256 : str
        As `export_reference` gave it. Its name is read from the file.
    folder, cache : Path, optional

    Raises
    ------
    UsageError
        When the digest is no SHA-256.
    BadReference
        When the file has another digest, is no usable sketch, or is of no reference of the table; when its shape or
        the origin it states contradicts the table. Nothing is installed.
    """
    expected = expected_sha256.strip().lower().removeprefix("sha256:")
    if not is_sha256(expected):
        raise UsageError(f"{expected_sha256}: not a SHA-256, which has 64 hex digits")
    data = _read(path)
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise BadReference(f"{path}: expected sha256 {expected}, found {found}")
    name = _parse(data, str(path)).name
    known = {reference.name: reference for reference in list_references(folder)}
    if name not in known:
        raise BadReference(f"{path}: a sketch of {name!r}, which the library does not list; {nearest(name, known)}")
    return install_sketch(known[name], data, cache=cache, where=str(path))


def install_sketch(
    reference: Reference, data: bytes, *, cache: Path | None = None, where: str | None = None
) -> Installed:
    """Check a sketch and put it into the cache, whole or not at all; an older one of the same reference goes.

    Parameters
    ----------
    reference : Reference
    data : bytes
        As `build_reference` made it.
    cache : Path, optional
    where : str, optional
        What errors call it.

    Raises
    ------
    BadReference
        When it is no usable sketch of this reference.
    UsageError
        When it cannot be written.
    """
    where = where or reference.name
    if len(data) > LIMITS.sketch_bytes:
        raise BadReference(f"{where}: {len(data)} bytes, over the limit of {LIMITS.sketch_bytes} for a sketch")
    sketch = _parse(data, where)
    check_sketch(reference, sketch, where=where)
    sha256 = hashlib.sha256(data).hexdigest()
    if reference.sketch is not None:  # the shipped one decides; it needs no second copy
        if sha256 != reference.sha256:
            raise BadReference(f"{where}: {reference.name} ships with sha256 {reference.sha256}, found {sha256}")
        return _installed(reference, sketch, reference.sketch, data)
    folder = cache or cache_folder()
    path = folder / f"{reference.name}-{sha256[:16]}.safetensors"
    record = {
        "version": _RECORD_VERSION,
        "name": reference.name,
        "file": path.name,
        "size": len(data),
        "sha256": sha256,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
        write_whole(_record_path(reference, folder), (json.dumps(record, indent=1) + "\n").encode())
        for old in folder.glob(f"{reference.name}-????????????????.safetensors"):
            if old != path:
                old.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}") from error
    return _installed(reference, sketch, path, data)


def check_sketch(reference: Reference, sketch: Sketch, *, where: str) -> None:
    """Hold a sketch against the table.

    Raises
    ------
    BadReference
        When its name, licence, shape, sampled positions or origin is not the reference's.
    """
    if sketch.name != reference.name:
        raise BadReference(f"{where}: a sketch of {sketch.name!r}, expected {reference.name}")
    if sketch.license not in {None, reference.license}:
        raise BadReference(f"{where}: licence {sketch.license!r}, expected {reference.license}")
    sample = sketch.sample
    check_shape(
        reference, layers=len(sample.layers), neurons=sample.neurons, hidden_size=sample.hidden_size, where=where
    )
    if not np.array_equal(sample.index, sample_index(sample.neurons, seed=sketch.seed)):
        raise BadReference(f"{where}: not the neurons that seed {sketch.seed} samples")
    if not reference.pins:
        return
    origin = {info.path: info for info in sketch.origin}
    for pin in reference.pins:
        info = origin.get(pin.path)
        if info is None:
            raise BadReference(f"{where}: {pin.path}: expected sha256 {pin.sha256}, found no record of the file")
        check_digest(reference, pin, info, where=where)
    if extra := sorted(set(origin) - {pin.path for pin in reference.pins}):
        raise BadReference(f"{where}: made from {extra[0]}, which is not pinned")


def _load(reference: Reference, cache: Path | None) -> tuple[Sketch, Path, bytes]:
    if reference.sketch is not None:
        path, expected, said = reference.sketch, str(reference.sha256), "enrolled was"
    else:
        path, expected = _read_record(reference, cache)
        said = "recorded was"
    data = _read(path)
    digest = hashlib.sha256(data).hexdigest()
    if digest != expected:
        again = "" if reference.sketch is not None else f"; make it again: {reference.command}"
        raise BadReference(f"{path}: sha256 is {digest}, {said} {expected}{again}")
    sketch = _parse(data, str(path))
    check_sketch(reference, sketch, where=str(path))
    return sketch, path, data


def _read_record(reference: Reference, cache: Path | None) -> tuple[Path, str]:
    path = _record_path(reference, cache)
    if not path.exists():
        raise BadReference(f"{reference.name}: its sketch is not on this machine; run: {reference.command}")
    problem = f"{path}: not a record of a sketch; make it again: {reference.command}"
    try:
        record = strictjson.loads(_read(path, limit=_RECORD_BYTES), file=str(path), field="record")
    except FileError as error:
        raise BadReference(problem) from error
    if not isinstance(record, dict) or set(record) != _RECORD_KEYS or record["version"] != _RECORD_VERSION:
        raise BadReference(problem)
    sha256 = record["sha256"]
    if not isinstance(sha256, str) or not is_sha256(sha256) or record["name"] != reference.name:
        raise BadReference(problem)
    if record["file"] != f"{reference.name}-{sha256[:16]}.safetensors":  # never a path of the record's choosing
        raise BadReference(problem)
    return path.with_name(str(record["file"])), sha256


def _record_path(reference: Reference, cache: Path | None) -> Path:
    return (cache or cache_folder()) / f"{reference.name}.json"


def _read(path: Path, *, limit: int = LIMITS.sketch_bytes) -> bytes:
    try:
        if not path.is_file():
            raise BadReference(f"{path}: cannot be read: {'not a file' if path.exists() else 'no such file'}")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadReference(f"{path}: cannot be read: {reason}") from error
    if len(data) > limit:
        raise BadReference(f"{path}: over the limit of {limit} bytes for such a file")
    return data


def _parse(data: bytes, where: str) -> Sketch:
    return load_sketch(BytesSource({where: data}).blob(where))


def _installed(reference: Reference, sketch: Sketch, path: Path, data: bytes) -> Installed:
    provenance = sketch.provenance
    return Installed(
        name=reference.name,
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        shipped=reference.sketch is not None,
        pinned=bool(reference.pins),
        origin=sketch.origin,
        repo=provenance.repo if provenance else None,
        revision=provenance.revision if provenance else None,
        tool_version=sketch.tool_version,
    )
