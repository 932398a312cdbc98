"""Which files the layers of a model artifact are, by the media types of those who make them. Opens nothing.

Sources: CNCF ModelPack model-spec 1.0; Docker Model Runner's distribution types; KitOps' media types; Ollama's images.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from auditor.errors import UnsupportedFormat
from auditor.escape import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditor.errors import FileError
    from auditor.sources.oci_manifest import ArtifactManifest, Descriptor

FILEPATH: Final = "org.cncf.model.filepath"
"""The annotation that names a layer's file; ModelPack's, and taken over by Docker."""

Packing = Literal["file", "tar"]


class Layer(NamedTuple):
    """A layer that can be read: a file of this name, or an archive that names its own."""

    blob: Descriptor
    packing: Packing
    name: str


_PACKED: Final = re.compile(
    r"application/vnd\.(?:cncf\.model\.[a-z.]+|kitops\.modelkit\.[a-z]+)\.v1\.(?P<packing>raw|tar)(?:\+(?P<squeezed>[a-z0-9]+))?"
)
"""ModelPack (`weight`, `weight.config`, `doc`, `code`, `dataset`), and KitOps (`model`, `modelpart`, `docs`, ...)."""

_DOCKER: Final = "application/vnd.docker.ai."
_DOCKER_NAMES: Final = {
    "gguf.v3": "model.gguf",
    "safetensors": "model.safetensors",
    "dduf": "model.dduf",
    "license": "LICENSE",
    "mmproj": "mmproj.gguf",
    "chat.template.jinja": "chat_template.jinja",
    "model.file": None,
}
_DOCKER_TARS: Final = frozenset({"vllm.config.tar", "dir.tar"})

_OLLAMA: Final = "application/vnd.ollama.image."
_OLLAMA_NAMES: Final = {
    "model": "model.gguf",
    "adapter": "adapter.gguf",
    "projector": "mmproj.gguf",
    "license": "LICENSE",
    "template": "template",
    "system": "system",
    "params": "params",  # params.json is another file: of Meta's checkpoints
    "messages": "messages",
}

_MODEL_TYPES: Final = ("application/vnd.cncf.model.", "application/vnd.kitops.modelkit.", _DOCKER, _OLLAMA)


def is_model_type(media_type: str) -> bool:
    """Say whether a media type is one of those that models are packed under."""
    return media_type.startswith(_MODEL_TYPES)


def model_layers(manifest: ArtifactManifest) -> Iterator[Layer | FileError]:
    """Say of each layer which file it is, or why it is not read.

    Files that are named by their kind alone get a number from the second of a kind on; sharded weights are numbered
    as llama.cpp and Hugging Face number shards.
    """
    kinds = Counter(layer.media_type for layer in manifest.layers if FILEPATH not in layer.annotations)
    seen: Counter[str] = Counter()
    for blob in manifest.layers:
        seen[blob.media_type] += FILEPATH not in blob.annotations
        yield _layer(blob, number=seen[blob.media_type], of=kinds[blob.media_type])


def _layer(blob: Descriptor, *, number: int, of: int) -> Layer | FileError:
    label = _label(blob)
    given = blob.annotations.get(FILEPATH)
    if not blob.usable:
        return UnsupportedFormat(file=label, field="layer", problem="its digest is not of SHA-256", actual=blob.digest)
    packing, usual = _packing(blob.media_type)
    if packing is None:
        problem = f"of type {visible(blob.media_type, limit=120)}, which is none that models are packed under"
        return UnsupportedFormat(file=label, field="layer", problem=problem)
    if packing == "squeezed":
        problem = "compressed: it cannot be read in part, and is not unpacked"
        return UnsupportedFormat(file=label, field="layer", problem=problem, actual=blob.media_type)
    if packing == "tar":
        return Layer(blob, "tar", label)
    if given is None and usual is None:
        return UnsupportedFormat(file=label, field="layer", problem=f"no annotation {FILEPATH} says which file it is")
    return Layer(blob, "file", _numbered(usual or "", number, of) if given is None else given)


def _packing(media_type: str) -> tuple[Packing | Literal["squeezed"] | None, str | None]:
    """Return how a layer of this type is packed, and the name that its kind has where no other is given."""
    if match := _PACKED.fullmatch(media_type):
        if match["squeezed"]:
            return "squeezed", None
        return ("tar" if match["packing"] == "tar" else "file"), None
    if media_type.startswith(_DOCKER):
        kind = media_type.removeprefix(_DOCKER)
        return ("tar" if kind in _DOCKER_TARS else "file" if kind in _DOCKER_NAMES else None), _DOCKER_NAMES.get(kind)
    if media_type.startswith(_OLLAMA):
        kind = media_type.removeprefix(_OLLAMA)
        return ("file" if kind in _OLLAMA_NAMES else None), _OLLAMA_NAMES.get(kind)
    return None, None


def _label(blob: Descriptor) -> str:
    """Return what a layer is called where it is no file of its own."""
    name = blob.annotations.get(FILEPATH)
    return visible(name, limit=200) if name else f"layer-{visible(blob.sha256[:12])}"


def _numbered(name: str, number: int, of: int) -> str:
    """Tell the files of one kind apart.

    Examples
    --------
    >>> _numbered("model.gguf", 2, 3), _numbered("LICENSE", 2, 2), _numbered("LICENSE", 1, 2)
    ('model-00002-of-00003.gguf', 'LICENSE-2', 'LICENSE')
    """
    stem, point, suffix = name.partition(".")
    if of > 1 and stem == "model":
        return f"{stem}-{number:05d}-of-{of:05d}.{suffix}"
    return name if number == 1 else f"{stem}-{number}{point}{suffix}"
