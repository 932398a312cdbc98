"""Make the sketch of a reference from its weights, wherever these are, and refuse other weights.

Only the sampled rows are read. What makes them the reference's is the digest of the files they stand in: the Hub's
own record of it where the files lie there, computed from the bytes where they lie here.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from auditor.digests.files import digest_files
from auditor.errors import BadReference, FileError
from auditor.formats import open_checkpoints
from auditor.lineage.reader import mlp_shape
from auditor.lineage.sketch import Provenance, dump_sketch, sketch_model
from auditor.model import model_views

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from auditor.lineage.references.table import Pin, Reference
    from auditor.model import ModelView
    from auditor.sources import FileInfo, OnDisk, Range, Source, Unread

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


def build_reference(
    reference: Reference,
    source: Source,
    *,
    tool_version: str,
    repo: str | None = None,
    seed: int = 0,
    weights: str | None = None,
    deep: bool = False,
    hash_all: bool = False,
) -> bytes:
    """Make the sketch of a reference.

    Parameters
    ----------
    reference : Reference
    source : Source
        A repository of the Hub, pinned to a commit, or a folder.
    tool_version : str
        Recorded in the sketch.
    repo : str, optional
        Id of the repository, where `source` is one. Recorded.
    seed : int
        Of `sample_index`. A sketch that is to be installed has 0.
    weights : str, optional
        Digest of the values of all weights, where the caller computed it. Recorded.
    deep : bool
        Also keep second moments, for which the model is read whole: with them disguised derivatives are found where
        tokens do not help.
    hash_all : bool
        Hash every weight file from its bytes, also where the Hub vouches for it. A Hub that records one digest and
        serves other bytes cannot be told from their ranges; this reads the files whole.

    Returns
    -------
    bytes
        The sketch file. The same weights, repository and version give the same bytes.

    Raises
    ------
    BadReference
        When the files are not those that the table pins, or hold no model of the reference's shape; when nothing is
        pinned and the repository is none of the reference's; when they cannot be read. Names the file, what was
        expected and what was found.
    """
    remote = source.kind == "hub"
    if remote and not (source.revision and _COMMIT.fullmatch(source.revision)):
        raise BadReference(f"{reference.name}: {source.uri} is not pinned to a commit")
    if remote and not reference.pins and repo not in reference.repos:
        known = ", ".join(reference.repos) or "none"
        raise BadReference(
            f"{reference.name}: no digests of its files are known, so only its own repositories are taken, not "
            f"{repo or source.uri} (known: {known})"
        )
    try:
        # Sizes, and digests that are recorded, before a byte is read.
        files = _pinned(reference, source) if reference.pins else source.files()
        view = _the_model(reference, _Only(source, files))
        used = [info for info in files if info.path in view.container.files]
        origin = tuple(_vouched(reference, source, info, hash_all=hash_all) for info in used)
        provenance = Provenance(
            repo=repo if remote else None, revision=source.revision, pinned=bool(reference.pins), weights=weights
        )
        made = sketch_model(
            view,
            name=reference.name,
            seed=seed,
            origin=origin,
            license=reference.license,
            norms=True,
            tokens=True,
            moments=deep,
            provenance=provenance,
        )
    except FileError as error:
        raise BadReference(f"{reference.name}: cannot be built from {source.uri}: {error}") from error
    if made.sample.nonfinite:
        raise BadReference(f"{reference.name}: NaN or infinity in {made.sample.nonfinite[0]} of {source.uri}")
    return dump_sketch(made, tool_version=tool_version)


def check_shape(reference: Reference, *, layers: int, neurons: int, hidden_size: int, where: str) -> None:
    """Refuse weights or a sketch of another shape than the table's.

    Raises
    ------
    BadReference
    """
    found = {"layers": layers, "neurons": neurons, "hidden_size": hidden_size}
    for key, value in found.items():
        wanted = getattr(reference, key)
        if wanted is not None and value != wanted:
            raise BadReference(f"{where}: not {reference.name}: {key} is {value}, expected {wanted}")


def check_digest(reference: Reference, pin: Pin, info: FileInfo, *, where: str) -> None:
    """Refuse a file whose digest or size is not the pinned one.

    Raises
    ------
    BadReference
    """
    if pin.size is not None and info.size != pin.size:
        raise BadReference(
            f"{where}: not {reference.name}: {pin.path}: expected {pin.size} bytes, found {info.size} bytes"
        )
    if info.sha256 != pin.sha256:
        found = info.sha256 or "no digest"
        raise BadReference(f"{where}: not {reference.name}: {pin.path}: expected sha256 {pin.sha256}, found {found}")


def _pinned(reference: Reference, source: Source) -> tuple[FileInfo, ...]:
    by_path = {info.path: info for info in source.files()}
    found = []
    for pin in reference.pins:
        info = by_path.get(pin.path)
        if info is None:
            raise BadReference(f"{reference.name}: {pin.path}: expected sha256 {pin.sha256}, found no such file")
        # Bytes at hand are hashed later, once all sizes are right.
        hashed_later = info.sha256 is None and _at_hand(source, info)
        stated = replace(info, sha256=pin.sha256) if hashed_later else info
        check_digest(reference, pin, stated, where=reference.name)
        found.append(info)
    return tuple(found)


def _vouched(reference: Reference, source: Source, info: FileInfo, *, hash_all: bool) -> FileInfo:
    """Return a file with a digest: the recorded one, or computed where the bytes are at hand or the caller asks."""
    local = _at_hand(source, info)
    if info.digest_source == "computed" or (info.sha256 is not None and not local and not hash_all):
        return info
    if not (local or hash_all):
        return info  # not recorded, not pinned: too large to fetch unasked
    done = digest_files(source, {info.path}, recompute=True)
    if done.unread:
        raise BadReference(f"{reference.name}: {source.uri}: {info.path}: {done.unread[0].reason}")
    (computed,) = done.files
    pin = next((pin for pin in reference.pins if pin.path == info.path), None)
    if pin is not None:
        check_digest(reference, pin, computed, where=source.uri)
    elif info.sha256 not in {None, computed.sha256}:
        where = f"{reference.name}: {info.path}"
        raise BadReference(f"{where}: the Hub records sha256 {info.sha256}, found {computed.sha256}")
    return computed


def _at_hand(source: Source, info: FileInfo) -> bool:
    """Say whether the bytes of a file need no network: those of a cache do not either, and can have been edited."""
    return source.kind in {"local", "memory"} or source.on_disk(info.path) is not None


def _the_model(reference: Reference, source: Source) -> ModelView:
    """Return the one model, of the reference's shape. Files beside it that cannot be read are left out."""
    checkpoints = open_checkpoints(source)
    views = [view for container in checkpoints.containers for view in model_views(source, container)]
    where = source.uri
    if len(views) == 1:
        neurons, hidden = mlp_shape(views[0])
        layers = len(views[0].layers("gate", "up"))
        check_shape(reference, layers=layers, neurons=neurons, hidden_size=hidden, where=where)
        return views[0]
    if not views:
        unread = "; ".join(f"{entry.path}: {entry.reason}" for entry in checkpoints.unread[:3])
        raise BadReference(f"{where}: not {reference.name}: no model with gated MLP blocks{unread and f' ({unread})'}")
    found = ", ".join(view.container.files[0] for view in views[:5])
    raise BadReference(f"{where}: several models, of which none can be taken for {reference.name}: {found}")


class _Only:
    """Some files of a source."""

    def __init__(self, source: Source, files: Iterable[FileInfo]) -> None:
        self._source = source
        self._files = tuple(sorted(files, key=lambda info: info.path))

    @property
    def uri(self) -> str:
        return self._source.uri

    @property
    def kind(self) -> str:
        return self._source.kind

    @property
    def revision(self) -> str | None:
        return self._source.revision

    def files(self) -> tuple[FileInfo, ...]:
        return self._files

    def refused(self) -> tuple[Unread, ...]:
        return ()

    def read(self, path: str, ranges: Sequence[Range]) -> list[bytes]:
        return self._source.read(path, ranges)

    def on_disk(self, path: str) -> OnDisk | None:
        return self._source.on_disk(path)
