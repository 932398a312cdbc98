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
from auditor.lineage.measuring import moments_of
from auditor.lineage.moments import Moments, moments_from
from auditor.lineage.reader import ModelReader
from auditor.lineage.sample import NeuronSample, sample_index
from auditor.lineage.stats import log_length, unit_rows
from auditor.sources import BytesSource, FileInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from auditor.formats import Container
    from auditor.model import Block, ModelView
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
    tokens : TokenRows or None
        Embeddings of some tokens, for the token frame.
    moments : Moments or None
        Second moments of its layers, in a deep sketch.
    reader : ModelReader or None
        Of the whole reference, where that is here: then nothing else is needed.
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
    tokens: TokenRows | None = None
    moments: Moments | None = None
    reader: ModelReader | None = None

    def folded(self) -> NeuronSample | None:
        """Return the sampled rows times the gains of the norm before them; None where those are not known."""
        if self.reader is not None:
            return self.reader.folded(self.sample)
        gains = (self.norms or {}).get("mlp_norm")
        if gains is None:
            return None
        folded = np.asarray(gains)[:, None, :]
        return replace(self.sample, gate=self.sample.gate * folded, up=self.sample.up * folded)

    def queries(self, count: int) -> NeuronSample | None:
        """Return folded neurons to search with, up to `count` a layer: spread over all of them, or the sampled ones."""
        if self.reader is None or self.sample.neurons <= len(self.sample.index):
            return self.folded()
        index = np.unique(np.linspace(0, self.sample.neurons - 1, count).round().astype(np.intp))
        return self.reader.folded(self.reader.sample(index, first_blocks(self.reader)))

    def token_rows(self) -> TokenRows | None:
        """Return embeddings of tokens, where the reference has them in its own width."""
        if self.reader is None:
            return self.tokens
        return read_tokens(self.reader, count=MANY_TOKENS)

    def moments_of_model(self) -> Moments | None:
        """Return second moments, where the sketch carries them or the whole reference is on this machine."""
        if self.reader is not None and self.reader.view.on_disk:
            return moments_of(self.reader)
        return self.moments


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRows:
    """Embeddings of some tokens.

    Attributes
    ----------
    ids : ndarray of int, shape (k,)
    rows : ndarray of float, shape (k, d)
    texts : tuple of str, length k
        What the tokenizer calls them, "" where it does not say; empty without a tokenizer.
    """

    ids: NDArray[np.intp]
    rows: NDArray[np.floating]
    texts: tuple[str, ...] = ()

    def matched(self, vocabulary: Mapping[str, int], rows: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Find the same tokens in another vocabulary of `rows` rows.

        Returns
        -------
        own, other : ndarray of int, shape (m,)
            Positions among these tokens, and rows of the other embeddings; in the order of those.
        """
        found = {vocabulary[text]: i for i, text in enumerate(self.texts) if text and text in vocabulary}
        other = np.array(sorted(row for row in found if row < rows), dtype=np.intp)
        return np.array([found[row] for row in other.tolist()], dtype=np.intp), other


SKETCH_TOKENS: Final = 512
"""Tokens of which a sketch keeps the embeddings: 4 MB at width 4096."""

MANY_TOKENS: Final = 2048
"""Tokens that are read of a reference which is here whole."""


def token_index(vocabulary: int, *, count: int = SKETCH_TOKENS) -> NDArray[np.intp]:
    """Choose tokens: one contiguous block, past the bytes and special tokens where the vocabulary has room for that.

    Examples
    --------
    >>> token_index(32_000, count=3).tolist()
    [512, 513, 514]
    """
    count = min(count, vocabulary)
    start = min(512, vocabulary - count)
    return np.arange(start, start + count)


def read_tokens(reader: ModelReader, *, count: int) -> TokenRows | None:
    """Read embeddings of some tokens of a model, and what they are called; None where it has none in its width."""
    ids = token_index(reader.vocabulary(), count=count)
    if not ids.size:
        return None
    names = {row: text for text, row in reader.view.vocabulary.items()}
    texts = tuple(names.get(row, "") for row in ids.tolist()) if names else ()
    return TokenRows(ids=ids, rows=reader.tokens(ids), texts=texts)


def first_blocks(reader: ModelReader) -> tuple[Block, ...]:
    """Return one MLP block of each layer: the only one, or the first expert."""
    return tuple({block.layer: block for block in reversed(reader.blocks)}[layer] for layer in reader.layers)


def sketch_model(  # noqa: PLR0913 (each part is kept or not)
    view: ModelView,
    *,
    name: str,
    seed: int = 0,
    origin: tuple[FileInfo, ...] = (),
    license: str | None = None,  # noqa: A002 (the word the field uses)
    norms: bool = False,
    tokens: bool = False,
    moments: bool = False,
    whole: bool = False,
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
        Also keep the norm gains, where every layer has them: two short reads a layer.
    tokens : bool
        Also keep embeddings of some tokens.
    moments : bool
        Also keep second moments: the whole model is read.
    whole : bool
        The model stays here to be read further: for a reference that is used in passing.

    Raises
    ------
    FileError
        When the model has no MLP blocks of one shape, or they cannot be read.
    """
    reader = ModelReader(view)
    sample = reader.sample(sample_index(reader.shape[0], seed=seed), first_blocks(reader))
    return Sketch(
        name=name,
        sample=sample,
        seed=seed,
        origin=origin,
        license=license,
        norms=read_norms(view, sample.layers, sample.hidden_size) if norms else None,
        provenance=provenance,
        tokens=read_tokens(reader, count=SKETCH_TOKENS) if tokens else None,
        moments=moments_of(reader) if moments else None,
        reader=reader if whole else None,
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
        gains = np.stack([view.gain(layer, role) for layer in layers])
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
    if sketch.tokens is not None:
        units, _ = unit_rows(sketch.tokens.rows)
        tensors["tokens.ids"] = np.asarray(sketch.tokens.ids, dtype="<i4")
        tensors["tokens.rows"] = (units * np.sqrt(sample.hidden_size)).astype("<f2")
    if sketch.moments is not None:
        tensors |= sketch.moments.tensors()
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
    if sketch.tokens is not None and sketch.tokens.texts:
        metadata["tokens"] = json.dumps(sketch.tokens.texts)
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
    hidden = gate.shape[2]
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
        tokens=_tokens(arrays, hidden, metadata, blob.path),
        moments=moments_from(arrays, hidden=hidden, sampled=sample.layers),
    )


def _tokens(
    arrays: Mapping[str, NDArray[np.float32]], hidden: int, metadata: Mapping[str, object], path: str
) -> TokenRows | None:
    if "tokens.ids" not in arrays:
        return None
    ids, rows = arrays["tokens.ids"], arrays["tokens.rows"]
    _check(ids.ndim == 1 and ids.size > 0 and rows.shape == (ids.size, hidden), "tokens: shapes disagree")
    _check(bool((np.diff(ids) > 0).all() and ids[0] >= 0), "tokens out of order")
    _check(bool(np.isfinite(rows).all()), "tokens that are not finite")
    texts = strictjson.loads(str(metadata.get("tokens", "[]")).encode(), file=path, field="tokens")
    _check(isinstance(texts, list) and len(texts) in {0, ids.size}, "tokens: as many texts as rows")
    names = tuple(text for text in texts if isinstance(text, str)) if isinstance(texts, list) else ()
    _check(len(names) in {0, ids.size}, "tokens: texts that are none")
    return TokenRows(ids=ids.astype(np.intp), rows=rows, texts=names)


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
    if not isinstance(path, str) or type(size) is not int or source not in {"computed", "hub", "registry"}:
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
