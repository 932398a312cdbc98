"""The compact record of a reference, and its file.

A sketch is a safetensors file that holds, for each layer, the directions of the sampled neurons and their
lengths, and in its metadata what is needed to rebuild it: which neurons, of which files, read by which version.
What a version may add (norm gains; where the files were had) is optional, so that sketches made before stay readable.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from auditor.errors import BadReference, FileError, LimitExceeded
from auditor.formats import dtype_of, safetensors, strictjson
from auditor.formats.serialize import serialize
from auditor.limits import LIMITS
from auditor.lineage.sample import NeuronSample, mlp_shape, read_sample, sample_index
from auditor.lineage.stats import log_length, unit_rows
from auditor.sources import BytesSource, FileInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from auditor.formats import Container
    from auditor.model import ModelView
    from auditor.sources import Blob

SKETCH_FORMAT = "auditor-sketch"
SKETCH_VERSION = "1"
NORM_ROLES: Final[tuple[str, ...]] = ("attn_norm", "mlp_norm")
"""Norms whose gains a sketch may carry, one vector a layer."""

_ROW_TENSORS = ("gate", "up")
_LONGEST = 200.0  # log of a row's length; float32 values cannot reach 110
_NAMES = {"<i4": "I32", "<f2": "F16", "<f4": "F32"}
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """How a sketch of the library was made, as it says itself.

    Attributes
    ----------
    repo : str or None
        Hub repository that was read; None where it was a folder of the user's.
    revision : str or None
        Commit that every read was pinned to.
    pinned : bool
        Every weight file had the digest that the table of references pins.
    weights : str or None
        Digest of the values of all weights, whatever files they are in.
    """

    repo: str | None = None
    revision: str | None = None
    pinned: bool = False
    weights: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """A reference as it is compared.

    Attributes
    ----------
    name : str
    sample : NeuronSample
    seed : int
        Of `sample_index`.
    origin : tuple of FileInfo
        Weight files it was made from, with their digests; empty for one made in passing.
    license : str or None
        SPDX id or Hub name of the licence of the reference, for people.
    norms : mapping of str to ndarray of float, shape (L, d)
        Gains by role, of `NORM_ROLES`; empty where they were not kept.
    provenance : Provenance or None
        None for one that was not made by `build_reference`.
    tool_version, sha256 : str or None
        Of the file it was read from: which auditor wrote it, and its digest. None for one made in passing.
    """

    name: str
    sample: NeuronSample
    seed: int = 0
    origin: tuple[FileInfo, ...] = ()
    license: str | None = None
    norms: Mapping[str, NDArray[np.floating]] | None = None
    provenance: Provenance | None = None
    tool_version: str | None = None
    sha256: str | None = None


def sketch_model(
    view: ModelView,
    *,
    name: str,
    seed: int = 0,
    origin: tuple[FileInfo, ...] = (),
    license: str | None = None,  # noqa: A002 (the word the field uses)
    norms: bool = False,
    provenance: Provenance | None = None,
) -> Sketch:
    """Read a reference from a model.

    Parameters
    ----------
    view : ModelView
    name : str
    seed : int
    origin, license, provenance
        See `Sketch`.
    norms : bool
        Also keep the norm gains, where every layer has them: supporting evidence, two short reads a layer.

    Raises
    ------
    FileError
        When the model has no MLP blocks of one shape, or they cannot be read.
    """
    neurons, _ = mlp_shape(view)
    sample = read_sample(view, sample_index(neurons, seed=seed))
    return Sketch(
        name=name,
        sample=sample,
        seed=seed,
        origin=origin,
        license=license,
        norms=read_norms(view, sample.layers, sample.hidden_size) if norms else None,
        provenance=provenance,
    )


def read_norms(view: ModelView, layers: tuple[int, ...], hidden_size: int) -> dict[str, NDArray[np.float32]]:
    """Read the norm gains of a model by role, each of shape (layers, hidden size).

    A role that a layer lacks, has in another width, or with a gain that is not finite, is left out.

    Raises
    ------
    FileError
        When a gain cannot be read or decoded.
    """
    found = {}
    for role in NORM_ROLES:
        if not set(layers) <= set(view.layers(role)):
            continue
        if any(view.tensor(layer, role).shape != (hidden_size,) for layer in layers):
            continue
        gains = np.stack([view.vector(layer, role) for layer in layers])
        if np.isfinite(gains).all():
            found[role] = gains
    return found


def dump_sketch(sketch: Sketch, *, tool_version: str) -> bytes:
    """Serialise a sketch. The same sketch gives the same bytes.

    Directions are stored as float16 after scaling to a root mean square of one (relative error below 5e-4 of a
    typical entry, so a cosine moves by some 1e-7), lengths as float32 logarithms.
    """
    sample = sketch.sample
    tensors: dict[str, NDArray[np.generic]] = {
        "layers": np.array(sample.layers, dtype="<i4"),
        "index": np.asarray(sample.index, dtype="<i4"),
    }
    for role in _ROW_TENSORS:
        rows = getattr(sample, role)
        units, _ = unit_rows(rows)
        tensors[role] = (units * np.sqrt(sample.hidden_size)).astype("<f2")
        tensors[f"{role}.log_length"] = log_length(rows).astype("<f4")
    for role, gains in (sketch.norms or {}).items():
        tensors[role] = gains.astype("<f4")
    metadata = {
        "format": SKETCH_FORMAT,
        "version": SKETCH_VERSION,
        "name": sketch.name,
        "neurons": str(sample.neurons),
        "seed": str(sketch.seed),
        "license": sketch.license or "",
        "tool_version": tool_version,
        "origin": json.dumps([_file_entry(info) for info in sketch.origin], sort_keys=True),
    }
    if sketch.provenance is not None:
        metadata["provenance"] = json.dumps(
            {
                "repo": sketch.provenance.repo,
                "revision": sketch.provenance.revision,
                "pinned": sketch.provenance.pinned,
                "weights": sketch.provenance.weights,
            },
            sort_keys=True,
        )
    return serialize({name: (_NAMES[a.dtype.str], a.shape, a.tobytes()) for name, a in tensors.items()}, metadata)


def _file_entry(info: FileInfo) -> dict[str, object]:
    entry: dict[str, object] = {"path": info.path, "size": info.size, "sha256": info.sha256}
    if info.digest_source not in {"computed", None}:  # left out for one: as it was written before there were others
        entry["digest_source"] = info.digest_source
    return entry


def load_sketch(blob: Blob) -> Sketch:
    """Read a sketch file. It is as untrusted as any other.

    Raises
    ------
    BadReference
        When it is no sketch, is damaged, or is of another version.
    """
    try:
        if blob.size > LIMITS.sketch_bytes:
            raise LimitExceeded(file=blob.path, field="size", actual=blob.size, limit=LIMITS.sketch_bytes)
        data = blob.read(0, blob.size)  # once: what is hashed is what is parsed
        whole = BytesSource({blob.path: data}).blob(blob.path)
        sketch = _from_container(whole, safetensors.parse(whole))
        return replace(sketch, sha256=hashlib.sha256(data).hexdigest())
    except (FileError, KeyError, ValueError, TypeError) as error:
        reason = str(error) if isinstance(error, FileError) else f"{type(error).__name__}: {error}"
        raise BadReference(f"{blob.path}: not a usable sketch: {reason}") from error


def is_sketch(container: Container) -> bool:
    """Say whether a parsed safetensors file is a sketch rather than a model."""
    return container.metadata.get("format") == SKETCH_FORMAT


def _from_container(blob: Blob, container: Container) -> Sketch:
    metadata = container.metadata
    if not is_sketch(container):
        raise BadReference(f"{blob.path}: not a sketch, but a {container.format} file")
    if metadata.get("version") != SKETCH_VERSION:
        raise BadReference(
            f"{blob.path}: sketch version {metadata.get('version')!r}; this auditor reads {SKETCH_VERSION}"
        )
    arrays = {entry.name: _array(blob, container, entry.name) for entry in container.tensors}
    layers, index = arrays["layers"], arrays["index"]
    gate, up = (_rows(arrays[role], arrays[f"{role}.log_length"]) for role in _ROW_TENSORS)
    neurons = int(str(metadata["neurons"]))
    _check(gate.shape == up.shape == (layers.size, index.size, gate.shape[2]), "shapes disagree")
    _check(0 < layers.size <= LIMITS.layers and index.size > 0, "no layers or no neurons")
    _check(bool((np.diff(layers) > 0).all() and (np.diff(index) > 0).all()), "layers or neurons out of order")
    _check(index[0] >= 0 and index[-1] < neurons, "neurons out of range")
    norms = {role: arrays[role] for role in NORM_ROLES if role in arrays}
    for role, gains in norms.items():
        _check(gains.shape == (layers.size, gate.shape[2]), f"{role}: shapes disagree")
        _check(bool(np.isfinite(gains).all()), f"{role}: gains that are not finite")
    sample = NeuronSample(
        layers=tuple(int(layer) for layer in layers),
        neurons=neurons,
        index=index.astype(np.intp),
        gate=gate,
        up=up,
    )
    return Sketch(
        name=str(metadata["name"]),
        sample=sample,
        seed=int(str(metadata["seed"])),
        origin=_origin(str(metadata["origin"]), blob.path),
        license=str(metadata["license"]) or None,
        norms=norms or None,
        provenance=_provenance(metadata, blob.path),
        tool_version=str(metadata["tool_version"]) if "tool_version" in metadata else None,
    )


def _rows(directions: NDArray[np.float32], log_length: NDArray[np.float32]) -> NDArray[np.float32]:
    """Undo what `dump_sketch` did: rows of their own length, from scaled directions and logarithms."""
    _check(bool(np.isfinite(directions).all()), "rows that are not finite")
    _check(bool((log_length < _LONGEST).all()), "lengths that are not finite")  # -inf is an empty row
    length = np.exp(log_length.astype(np.float64)) / np.sqrt(directions.shape[-1])
    rows = np.empty(directions.shape, dtype=np.float32)
    with np.errstate(over="ignore", under="ignore"):  # beyond float32 a row is infinite or zero: not usable
        np.multiply(directions, length[..., None], out=rows, casting="same_kind")
    return rows


def _origin(text: str, path: str) -> tuple[FileInfo, ...]:
    entries = strictjson.loads(text.encode(), file=path, field="origin")
    if not isinstance(entries, list):
        raise TypeError("origin is no list")
    return tuple(_file_info(entry) for entry in entries)


def _file_info(entry: object) -> FileInfo:
    if not isinstance(entry, dict):
        raise TypeError("an entry of origin is no object")
    path, size, sha256 = entry["path"], entry["size"], entry["sha256"]
    source = entry.get("digest_source", "computed")
    if not isinstance(path, str) or type(size) is not int or source not in {"computed", "hub"}:
        raise TypeError("an entry of origin is not a path, a size and a digest")
    if sha256 is None:
        return FileInfo(path=path, size=size)
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise ValueError("a digest of origin is no SHA-256")
    return FileInfo(path=path, size=size, sha256=sha256, digest_source=source)


def _provenance(metadata: Mapping[str, object], path: str) -> Provenance | None:
    if "provenance" not in metadata:
        return None
    entry = strictjson.loads(str(metadata["provenance"]).encode(), file=path, field="provenance")
    if not isinstance(entry, dict):
        raise TypeError("provenance is no object")
    texts = {key: entry[key] for key in ("repo", "revision", "weights")}
    if not all(value is None or isinstance(value, str) for value in texts.values()):
        raise TypeError("provenance: repo, revision and weights must be texts or null")
    if not isinstance(entry["pinned"], bool):
        raise TypeError("provenance: pinned must be true or false")
    return Provenance(pinned=entry["pinned"], **texts)


def _check(condition: bool, problem: str) -> None:  # noqa: FBT001 (an assertion's shape)
    if not condition:
        raise ValueError(problem)


def _array(blob: Blob, container: Container, name: str) -> NDArray[np.float32]:
    entry = next(entry for entry in container.tensors if entry.name == name)
    dtype = dtype_of(entry.dtype)
    if dtype.decode is None:
        raise ValueError(f"tensor {name} is of type {entry.dtype}")
    raw = np.frombuffer(blob.read(entry.start, entry.stop - entry.start, field=f"tensor {name}"), np.uint8)
    return dtype.decode(raw).reshape(entry.shape)
