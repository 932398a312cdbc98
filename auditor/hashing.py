"""Digests of a target without an audit: its files, all of them together, its tensors, its models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from auditor.attest.manifest import IGNORED_PATHS, hash_target
from auditor.errors import FileError
from auditor.sources import Unread, open_source

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from auditor.attest import Manifest
    from auditor.digests.files import Hashing, Progress
    from auditor.digests.values import TensorLayout
    from auditor.model import ModelView
    from auditor.sources import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetDigests:
    """What came of hashing a target.

    Attributes
    ----------
    uri : str
    manifest : Manifest
        Files, and the root digest over them.
    tensors : mapping of (file, tensor name) to str
        Value digests, where they were asked for.
    weights : mapping of str to str
        Digest of all weights of each model in the target, by its first file and prefix.
    unread : tuple of Unread
        What could not be hashed: files, and models whose tensors cannot be placed or have no known row order.
    """

    uri: str
    manifest: Manifest
    tensors: Mapping[tuple[str, str], str]
    weights: Mapping[str, str]
    unread: tuple[Unread, ...]

    def as_dict(self) -> dict[str, object]:
        """Return all of it for JSON."""
        return {
            "uri": self.uri,
            "root": self.manifest.root,
            "serialization": self.manifest.serialization,
            "files": [
                {"path": r.name, "sha256": r.sha256, "digest_source": r.digest_source} for r in self.manifest.resources
            ],
            "tensors": [
                {"file": file, "name": name, "values": digest} for (file, name), digest in sorted(self.tensors.items())
            ],
            "weights": dict(self.weights),
            "unread": [{"path": u.path, "code": u.code, "reason": u.reason} for u in self.unread],
        }


def digest_target(
    target: str, *, tensors: bool = False, progress: Progress | None = None, hashing: Hashing | None = None
) -> TargetDigests:
    """Hash a target.

    Parameters
    ----------
    target : str
        Folder, file or repository.
    tensors : bool
        Also the values of every tensor, from the same read.
    progress : callable, optional
        See `digest_files`.
    hashing : Hashing, optional
        Of the target's files, under way already; not together with `tensors`.

    Raises
    ------
    TargetError
        When there is no such target.
    """
    source = hashing.source if hashing else open_source(target)
    always = () if Path(target).is_file() else IGNORED_PATHS
    if not tensors:
        hashed = hash_target(source, always=always, progress=progress, hashing=hashing)
        return TargetDigests(uri=source.uri, manifest=hashed.manifest, tensors={}, weights={}, unread=hashed.unread)
    return _with_tensors(source, always, progress)


def _with_tensors(source: Source, always: Collection[str], progress: Progress | None) -> TargetDigests:
    # Imported here: files alone are hashed without numpy, which takes as long to import as a GB to hash.
    from auditor.digests.layout import tensor_layouts  # noqa: PLC0415
    from auditor.digests.weights import weights_digest  # noqa: PLC0415
    from auditor.formats import open_checkpoints  # noqa: PLC0415
    from auditor.model import model_views  # noqa: PLC0415

    layouts: dict[str, tuple[TensorLayout, ...]] = {}
    models: list[ModelView] = []
    checkpoints = open_checkpoints(source)
    unread = list(checkpoints.unread)
    for container in checkpoints.containers:
        try:
            views = model_views(source, container)
            layouts |= tensor_layouts([container], views)
        except FileError as error:
            unread.append(Unread.from_error(error))
        else:
            models += views
    hashed = hash_target(source, always=always, tensors=layouts, progress=progress)
    weights = {
        f"{model.container.files[0]}{f' ({model.prefix}*)' if len(models) > 1 else ''}": digest
        for model in models
        if (digest := weights_digest(model, hashed.tensors))
    }
    return TargetDigests(
        uri=source.uri,
        manifest=hashed.manifest,
        tensors=hashed.tensors,
        weights=weights,
        unread=tuple(dict.fromkeys([*unread, *hashed.unread])),
    )
