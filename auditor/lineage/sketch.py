"""The compact record of a reference, and its file.

A sketch is a safetensors file that holds, for each layer, the directions of the sampled neurons and their
lengths, and in its metadata what is needed to rebuild it: which neurons, of which files, read by which version.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from auditor.errors import BadReference, FileError
from auditor.formats import dtype_of, safetensors, strictjson
from auditor.formats.serialize import serialize
from auditor.limits import LIMITS
from auditor.lineage.sample import NeuronSample, mlp_shape, read_sample, sample_index
from auditor.lineage.stats import log_length, unit_rows
from auditor.sources import FileInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from auditor.formats import Container
    from auditor.model import ModelView
    from auditor.sources import Blob

SKETCH_FORMAT = "auditor-sketch"
SKETCH_VERSION = "1"
_ROW_TENSORS = ("gate", "up")
_LONGEST = 200.0  # log of a row's length; float32 values cannot reach 110
_NAMES = {"<i4": "I32", "<f2": "F16", "<f4": "F32"}


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
    """

    name: str
    sample: NeuronSample
    seed: int = 0
    origin: tuple[FileInfo, ...] = ()
    license: str | None = None


def sketch_model(
    view: ModelView,
    *,
    name: str,
    seed: int = 0,
    origin: tuple[FileInfo, ...] = (),
    license: str | None = None,  # noqa: A002 (the word the field uses)
) -> Sketch:
    """Read a reference from a model.

    Raises
    ------
    FileError
        When the model has no MLP blocks of one shape, or they cannot be read.
    """
    neurons, _ = mlp_shape(view)
    sample = read_sample(view, sample_index(neurons, seed=seed))
    return Sketch(name=name, sample=sample, seed=seed, origin=origin, license=license)


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
    metadata = {
        "format": SKETCH_FORMAT,
        "version": SKETCH_VERSION,
        "name": sketch.name,
        "neurons": str(sample.neurons),
        "seed": str(sketch.seed),
        "license": sketch.license or "",
        "tool_version": tool_version,
        "origin": json.dumps(
            [{"path": f.path, "size": f.size, "sha256": f.sha256} for f in sketch.origin], sort_keys=True
        ),
    }
    return serialize({name: (_NAMES[a.dtype.str], a.shape, a.tobytes()) for name, a in tensors.items()}, metadata)


def load_sketch(blob: Blob) -> Sketch:
    """Read a sketch file. It is as untrusted as any other.

    Raises
    ------
    BadReference
        When it is no sketch, is damaged, or is of another version.
    """
    try:
        container = safetensors.parse(blob)
        return _from_container(blob, container)
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
    return tuple(
        FileInfo(path=str(e["path"]), size=int(e["size"]), sha256=str(e["sha256"]), digest_source="computed")
        for e in entries
    )


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
