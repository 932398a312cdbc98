"""Manifests and indexes of OCI artifacts: bytes in, checked values out. Opens nothing.

Formats: OCI image manifest and index 1.1, and Docker's own of schema 2, which they grew from.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

from auditor.errors import BadManifest
from auditor.escape import visible
from auditor.limits import LIMITS
from auditor.sources.oci_target import DIGEST

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_TYPE: Final = 255  # characters of a media type (RFC 6838: 127 on each side of the slash)


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What a manifest says of a blob or of another manifest.

    Attributes
    ----------
    media_type : str
    digest : str
        `sha256:` and 64 hex digits; of another algorithm as it stands, see `usable`.
    size : int
    annotations : mapping of str to str
    artifact_type : str or None
        Of a manifest in an index.
    """

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str | None = None

    @property
    def usable(self) -> bool:
        """Whether the digest is of the one algorithm that is used here."""
        return DIGEST.fullmatch(self.digest) is not None

    @property
    def sha256(self) -> str:
        """The digest's hex digits."""
        return self.digest.partition(":")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactManifest:
    """A manifest: what the artifact is made of."""

    artifact_type: str | None
    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """A list of manifests, for several platforms or of several kinds."""

    manifests: tuple[Descriptor, ...]


def parse_manifest(data: bytes, *, where: str) -> ArtifactManifest | Index:
    """Read a manifest or an index.

    Parameters
    ----------
    data : bytes
    where : str
        What it is called in errors.

    Raises
    ------
    BadManifest
        It is neither, or both: one client would see other files than the next.
    """
    document = parse_json(data, where=where)
    if not isinstance(document, dict) or document.get("schemaVersion") != 2:
        raise BadManifest(f"{where}: no manifest of schema version 2")
    layers, manifests = document.get("layers"), document.get("manifests")
    if (layers is None) == (manifests is None) or (manifests is not None and "config" in document):
        raise BadManifest(f"{where}: neither a manifest nor an index, or both at once")
    entries = layers if manifests is None else manifests
    if not isinstance(entries, list) or len(entries) > LIMITS.files:
        raise BadManifest(f"{where}: its entries are no list of at most {LIMITS.files}")
    descriptors = tuple(_descriptor(entry, where) for entry in entries)
    if manifests is not None:
        return Index(manifests=descriptors)
    return ArtifactManifest(
        artifact_type=_media_type(document.get("artifactType"), where) if document.get("artifactType") else None,
        config=_descriptor(document.get("config"), where),
        layers=descriptors,
    )


def parse_json(data: bytes, *, where: str) -> object:
    """Read JSON in which no key stands twice.

    Raises
    ------
    BadManifest
    """

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise BadManifest(f"{where}: a key stands twice in it")
        return found

    def refuse(name: str) -> NoReturn:
        raise BadManifest(f"{where}: {name} is no JSON")

    try:
        return json.loads(data.decode(), object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise BadManifest(f"{where}: no JSON") from error


def _descriptor(entry: object, where: str) -> Descriptor:
    if not isinstance(entry, dict):
        raise BadManifest(f"{where}: an entry that is no object")
    digest, size, annotations = entry.get("digest"), entry.get("size"), entry.get("annotations")
    if not isinstance(digest, str) or len(digest) > LIMITS.value_chars or ":" not in digest:
        raise BadManifest(f"{where}: an entry without a digest")
    if type(size) is not int or not 0 <= size < 1 << 63:
        raise BadManifest(f"{where}: {visible(digest, limit=80)}: its size is not usable")
    annotations = {} if annotations is None else annotations
    if not isinstance(annotations, dict) or not all(isinstance(value, str) for value in annotations.values()):
        raise BadManifest(f"{where}: {visible(digest, limit=80)}: its annotations are no texts")
    kind = entry.get("artifactType")
    return Descriptor(
        media_type=_media_type(entry.get("mediaType"), where),
        digest=digest,
        size=size,
        annotations=annotations,
        artifact_type=_media_type(kind, where) if kind else None,
    )


def _media_type(value: object, where: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TYPE:
        raise BadManifest(f"{where}: an entry without a media type")
    return value
