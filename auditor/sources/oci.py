"""A model in an OCI registry, packed as ModelPack, Docker, KitOps or Ollama pack models."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditor.errors import (
    AmbiguousIndex,
    BadManifest,
    FileError,
    LimitExceeded,
    MissingArtifact,
    NoModelLayers,
    OciMismatch,
    OciUnreachable,
    TargetError,
)
from auditor.limits import LIMITS
from auditor.sources.base import FileInfo, Range
from auditor.sources.hub_http import ExchangeError
from auditor.sources.oci_blobs import OciBlobs
from auditor.sources.oci_http import INDEX_TYPES, MANIFEST_TYPES, OciHttp
from auditor.sources.oci_layers import is_model_type, model_layers
from auditor.sources.oci_login import stored_login
from auditor.sources.oci_manifest import ArtifactManifest, Index, parse_json, parse_manifest
from auditor.sources.oci_target import parse_target
from auditor.sources.ranged import RangedReader
from auditor.sources.safepath import Names
from auditor.sources.tarlayers import Member, find_members

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditor.sources.base import OnDisk, Unread
    from auditor.sources.hub_http import Head
    from auditor.sources.oci_layers import Layer
    from auditor.sources.oci_login import Login
    from auditor.sources.oci_manifest import Descriptor


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a file's bytes are: `size` of them, from `start` of a blob on."""

    blob: Descriptor
    start: int
    size: int

    @property
    def is_blob(self) -> bool:
        return (self.start, self.size) == (0, self.blob.size)


class OciSource:
    """Files of one artifact of a registry.

    The tag becomes the digest of a manifest once, and every byte that is read after that is named by a digest: by its
    own, or by that of the layer that it lies in. Layers are read by ranges, files in tar archives in place; compressed
    layers cannot be, and are unread.

    Parameters
    ----------
    target : str
        `oci://registry/repository`, with `:tag` or `@sha256:...` behind it.
    login : Login, optional
        What Docker's config file has for the registry where left out.

    Attributes
    ----------
    uri : str
        `oci://registry/repository`.
    revision : str
        `sha256:` and the digest of the manifest; where the target names an index, of the one manifest taken from it.

    Raises
    ------
    OciError
        The name is none, there is no such artifact or no access to it, it is no model, or the registry gives no
        usable answer. The message says what to do.
    """

    kind = "oci"

    def __init__(self, target: str, login: Login | None = None) -> None:
        self._target = parse_target(target)
        self.uri = self._target.uri
        self._http = OciHttp(self._target, login or stored_login(self._target))
        self._blobs = OciBlobs(self._http, self._target)
        self._reader = RangedReader(self._fetch)
        try:
            self.revision, manifest = self._resolve()
            self._check_config(manifest.config)
        except ExchangeError as error:
            raise OciUnreachable(f"{self._target}: {error.problem}") from error
        names: Names[_Place] = Names()
        self._find_files(manifest, names)
        self._places = names.files()
        self._refused = names.refused()

    @property
    def http_requests(self) -> int:
        """Requests sent: those for tokens, manifests, redirects and repetitions included."""
        return self._http.requests

    @property
    def http_bytes(self) -> int:
        """Bytes of bodies received."""
        return self._http.bytes

    def files(self) -> tuple[FileInfo, ...]:
        """See `Source.files`. A file that is a layer of its own carries the layer's digest."""
        return tuple(
            FileInfo(path=path, size=place.size, sha256=place.blob.sha256, digest_source="registry")
            if place.is_blob
            else FileInfo(path=path, size=place.size)
            for path, place in self._places.items()
        )

    def refused(self) -> tuple[Unread, ...]:
        """See `Source.refused`."""
        return self._refused

    def read(self, path: str, ranges: Sequence[Range]) -> list[bytes]:
        """See `Source.read`.

        Raises
        ------
        FileError
        OciDenied
            The registry no longer lets us in.
        """
        return self._reader.read(path, self._places[path].size, ranges)

    def on_disk(self, path: str) -> OnDisk | None:  # noqa: ARG002
        """See `Source.on_disk`: nothing lies on this machine."""
        return None

    def _fetch(self, path: str, span: Range) -> bytes:
        place = self._places[path]
        return self._blobs.fetch(place.blob, Range(place.start + span.start, place.start + span.stop), path=path)

    def _resolve(self) -> tuple[str, ArtifactManifest]:
        """Return the manifest that is meant, and its digest."""
        digest, document = self._manifest(self._target.reference)
        if isinstance(document, Index):
            digest, document = self._manifest(self._only_one(document).digest)
            if isinstance(document, Index):
                raise BadManifest(f"{self._target}: an index in an index")
        return digest, document

    def _only_one(self, index: Index) -> Descriptor:
        """Return the one entry of an index that may be a model."""
        fits = [
            entry
            for entry in index.manifests
            if entry.media_type in MANIFEST_TYPES
            and entry.usable
            and (entry.artifact_type is None or is_model_type(entry.artifact_type))
            and "vnd.docker.reference.type" not in entry.annotations  # build attestations beside an image
        ]
        if len(fits) == 1:
            return fits[0]
        shown = "".join(f"\n  {self.uri}@{entry.digest}" for entry in fits[:10])
        raise AmbiguousIndex(
            f"{self._target}: an index of {len(index.manifests)} artifacts, of which {len(fits)} may be a model"
            + (f"; name one of them:{shown}" if fits else "")
        )

    def _manifest(self, reference: str) -> tuple[str, ArtifactManifest | Index]:
        def want(head: Head) -> int:
            if head.status != 200:
                raise ExchangeError(f"{head.host} answers {head.status}")
            return LIMITS.oci_manifest

        url = f"{self._target.endpoint}/v2/{self._target.path}/manifests/{reference}"
        for _ in range(LIMITS.hub_hops + 1):
            head, body = self._http.ask(url, want=want, at_most=True)
            if not head.is_redirect:
                break
            url = self._http.redirect(head)
        if head.status == 404:
            raise MissingArtifact(f"{self._target}: {head.host} knows no such repository, tag or digest")
        if head.status in {401, 403}:
            raise self._http.denied("they lack the right to read" if self._http.has_token else "")
        if head.status != 200:
            raise OciUnreachable(f"{self._target}: {head.host} answers {head.status}")
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        named = reference if ":" in reference else head.headers.get("docker-content-digest")
        if named is not None and named.startswith("sha256:") and named != digest:
            raise OciMismatch(f"{self._target}: {head.host} sends another manifest than its digest names")
        document = parse_manifest(body, where=str(self._target))
        stated = head.headers.get("content-type", "").partition(";")[0].strip()
        expected = INDEX_TYPES if isinstance(document, Index) else MANIFEST_TYPES
        if stated in {*INDEX_TYPES, *MANIFEST_TYPES} and stated not in expected:
            raise OciMismatch(f"{self._target}: {head.host} calls a manifest an index, or the other way round")
        return digest, document

    def _check_config(self, config: Descriptor) -> None:
        """Fetch the config and hold it against its digest: what the artifact says it is. None of it is a file."""
        if not config.usable or config.size > LIMITS.oci_manifest:
            raise BadManifest(f"{self._target}: its config has no usable digest, or over {LIMITS.oci_manifest} bytes")
        try:
            data = self._blobs.fetch(config, Range(0, config.size), path="config") if config.size else b""
        except FileError as error:
            raise OciMismatch(f"{self._target}: {error}") from error
        if not isinstance(parse_json(data, where=f"{self._target}: config"), dict):
            raise BadManifest(f"{self._target}: its config is no JSON object")

    def _find_files(self, manifest: ArtifactManifest, names: Names[_Place]) -> None:
        layers = list(model_layers(manifest))
        if not any(is_model_type(layer.media_type) for layer in manifest.layers):
            raise NoModelLayers(
                f"{self._target}: no layer of a type that models are packed under (ModelPack, Docker, KitOps, Ollama)"
            )
        archives = 0
        for layer in layers:
            if isinstance(layer, FileError):
                names.refuse(layer)
            elif layer.packing == "file":
                names.add(layer.name, _Place(blob=layer.blob, start=0, size=layer.blob.size))
            else:
                archives += 1
                self._search(layer, names, number=archives)
            if len(names) > LIMITS.files:
                raise TargetError(f"{self._target}: more than {LIMITS.files} files")

    def _search(self, layer: Layer, names: Names[_Place], *, number: int) -> None:
        """Take the files of an archive, or none where it is not one that every reader reads alike."""

        def read(start: int, length: int) -> bytes:
            return self._blobs.fetch(layer.blob, Range(start, start + length), path=layer.name)

        members: Names[Member] = Names()
        try:
            if number > LIMITS.oci_tars:
                raise LimitExceeded(file=layer.name, field="archives", limit=LIMITS.oci_tars)
            find_members(read, layer.blob.size, layer=layer.name, names=members)
        except FileError as error:
            names.refuse(error)
            return
        for unread in members.refused():
            names.keep(unread)
        for path, member in members.files().items():
            names.add(path, _Place(blob=layer.blob, start=member.start, size=member.size))
