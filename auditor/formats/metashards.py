"""Weights as Meta published them: `consolidated.NN.pth` beside `params.json`, in as many files as GPUs were used.

Every file names every tensor and holds a part of it (the parallel layers in Meta's `llama/model.py`): `wq`, `wk`,
`wv`, `w1`, `w3` and `output` follow each other in their rows, `wo` and `w2` in their columns, the embeddings in their
columns (Llama 1 and 2) or rows (Llama 3), norms are whole in each. What `params.json` says of the model must fit the
shapes, so that a set of which the last file is missing is not taken for a smaller model. Mistral published its models
in this layout too, in one `consolidated.safetensors`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING

from auditor.errors import BadShape, FileError, LimitExceeded, MissingField, MissingShard, SizeMismatch, UnknownDtype
from auditor.formats.base import Container, Joined, TensorEntry
from auditor.formats.dtypes import DTYPES
from auditor.formats.strictjson import expect, loads, quoted
from auditor.limits import LIMITS
from auditor.sources.base import Unread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PARAMS = "params.json"
_SHARD = re.compile(r"consolidated\.([0-9]{2})\.pth")
_LAYER = re.compile(r"layers\.([0-9]{1,4})\.(.+)\.weight")
_ROWS = frozenset({"attention.wq", "attention.wk", "attention.wv", "feed_forward.w1", "feed_forward.w3"})
_COLUMNS = frozenset({"attention.wo", "feed_forward.w2"})
_WHOLE = frozenset({"attention_norm", "ffn_norm"})
_GLOBAL_WHOLE = frozenset({"norm.weight", "rope.freqs"})
_EMBEDDINGS, _HEAD = "tok_embeddings.weight", "output.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What `params.json` says of a model, counts only.

    Attributes
    ----------
    file : str
    dim, heads, kv_heads, head_size : int
    layers : int or None
    """

    file: str
    dim: int
    heads: int
    kv_heads: int
    head_size: int
    layers: int | None

    def metadata(self) -> Mapping[str, object]:
        """Return them as the metadata of a container."""
        return MappingProxyType(
            {
                "meta.params": self.file,
                "meta.n_heads": self.heads,
                "meta.n_kv_heads": self.kv_heads,
                "meta.head_dim": self.head_size,
            }
        )


def parse_params(data: bytes, *, file: str) -> Params:
    """Read `params.json`.

    Raises
    ------
    FileError
        Not strict JSON, a count that is missing or none, or counts that contradict each other.
    """
    if len(data) > LIMITS.config_bytes:
        raise LimitExceeded(file=file, field="size", actual=len(data), limit=LIMITS.config_bytes)
    values = expect(loads(data, file=file, field="params"), dict, file=file, field="params")

    def count(key: str) -> int | None:
        if values.get(key) is None:
            return None
        value = expect(values[key], int, file=file, field=key)
        if not 0 < value < 1 << 31:
            raise BadShape(file=file, field=key, problem="not a count", actual=value)
        return value

    dim, heads = count("dim"), count("n_heads")
    if dim is None or heads is None:
        raise MissingField(file=file, field="dim" if dim is None else "n_heads")
    head_size = count("head_dim")
    if head_size is None:
        if dim % heads:
            raise BadShape(file=file, field="n_heads", problem="does not divide dim", actual=heads, limit=dim)
        head_size = dim // heads
    kv_heads = count("n_kv_heads") or heads
    return Params(file=file, dim=dim, heads=heads, kv_heads=kv_heads, head_size=head_size, layers=count("n_layers"))


def is_layout(container: Container) -> bool:
    """Say whether tensors have Meta's names."""
    return any(_tail(entry.name) == "attention.wq" for entry in container.tensors)


def join(
    loose: Mapping[str, Container], read: Callable[[str], bytes | None]
) -> tuple[dict[str, Container], tuple[Container, ...], tuple[FileError, ...]]:
    """Join the shards that lie in one folder.

    Parameters
    ----------
    loose : mapping of str to Container
        Parsed files by path.
    read : callable
        Returns the contents of a small file, None where there is none of that path; may raise FileError.

    Returns
    -------
    rest : dict of str to Container
        Those that are no such shards.
    joined : tuple of Container
        Format "meta".
    broken : tuple of FileError
        One for each set that is not whole. Its files are in neither of the others: rows of a part of a model, taken for
        those of a whole one, would be other neurons than they seem.
    """
    folders: dict[str, dict[int, Container]] = defaultdict(dict)
    rest: dict[str, Container] = {}
    for path, container in loose.items():
        match = _SHARD.fullmatch(PurePosixPath(path).name)
        if match and container.format == "torch" and is_layout(container):
            folders[str(PurePosixPath(path).parent)][int(match[1])] = container
        else:
            rest[path] = container
    joined: list[Container] = []
    broken: list[FileError] = []
    for folder, shards in sorted(folders.items()):
        try:
            joined.append(_join(folder, shards, read))
        except FileError as error:
            broken.append(error)
    return rest, tuple(joined), tuple(broken)


def with_params(container: Container, read: Callable[[str], bytes | None]) -> Container:
    """Note the heads of a model in Meta's layout that lies in one piece, where `params.json` fits it.

    Raises
    ------
    FileError
        It does not fit.
    """
    if container.format not in {"torch", "safetensors"} or not is_layout(container):
        return container
    params = _params(str(PurePosixPath(container.files[0]).parent), read)
    if params is None:
        return container  # the order of q and k is not known; all else is
    _check_shapes(container.tensors, params)
    return replace(container, format="meta", metadata=params.metadata())


def _params(folder: str, read: Callable[[str], bytes | None]) -> Params | None:
    path = str(PurePosixPath(folder) / PARAMS)
    data = read(path)
    return None if data is None else parse_params(data, file=path)


def _join(folder: str, shards: Mapping[int, Container], read: Callable[[str], bytes | None]) -> Container:
    first = shards[min(shards)]
    absent = next((number for number in range(max(shards) + 1) if number not in shards), None)
    if absent is not None:
        problem = f"consolidated.{absent:02d}.pth is not there, or could not be read"
        raise MissingShard(file=first.files[0], field="file name", problem=problem)
    params = _params(folder, read)
    if params is None and len(shards) > 1:
        raise MissingField(file=str(PurePosixPath(folder) / PARAMS), field="file")
    if params is None:
        return first
    if len(shards) == 1:
        _check_shapes(first.tensors, params)
        return replace(first, format="meta", metadata=params.metadata())
    return _join_parts(folder, [shards[number] for number in sorted(shards)], params)


def _join_parts(folder: str, shards: Sequence[Container], params: Params) -> Container:
    by_name = [{entry.name: entry for entry in shard.tensors} for shard in shards]
    for shard, names in zip(shards[1:], by_name[1:], strict=True):
        if names.keys() != by_name[0].keys():
            name = min(names.keys() ^ by_name[0].keys())
            field = f"tensor {quoted(name)}"
            raise MissingShard(file=shard.files[0], field=field, problem="not in every file of the set")
    file = str(PurePosixPath(folder) / "consolidated.*.pth")
    joined: list[Joined] = []
    unread: list[Unread] = []
    at = 0
    for name in by_name[0]:
        parts = tuple(names[name] for names in by_name)
        try:
            item = _joined(file, at, parts, params)
        except UnknownDtype as error:  # a name that Meta's models do not have: how its parts fit is not known
            unread.append(Unread.from_error(error))
            continue
        joined.append(item)
        at = item.entry.stop
    _check_shapes([item.entry for item in joined], params)
    return Container(
        format="meta",
        files=tuple(shard.files[0] for shard in shards),
        tensors=tuple(item.entry for item in joined),
        metadata=params.metadata(),
        unread=tuple(unread),
        unproved=tuple(chain.from_iterable(shard.unproved for shard in shards)),
        joined=tuple(joined),
    )


def _joined(file: str, at: int, parts: tuple[TensorEntry, ...], params: Params) -> Joined:
    first = parts[0]
    field = f"tensor {quoted(first.name)}"
    for part in parts[1:]:
        if (part.dtype, part.shape) != (first.dtype, first.shape):
            found = f"{part.dtype} {part.shape}"
            limit = f"{first.dtype} {first.shape}"
            raise SizeMismatch(
                file=part.file, field=field, problem="not as in the other files", actual=found, limit=limit
            )
    axis = _axis(first, len(parts), params)
    shape = first.shape
    if axis is not None:
        shape = tuple(size * len(parts) if i == axis else size for i, size in enumerate(shape))
    whole = replace(first, file=file, start=at, stop=at, shape=shape)
    whole = replace(whole, stop=at + whole.count * DTYPES[whole.dtype].size)
    return Joined(entry=whole, parts=parts, axis=axis)


def _axis(entry: TensorEntry, count: int, params: Params) -> int | None:
    tail = _tail(entry.name)
    if tail in _WHOLE or entry.name in _GLOBAL_WHOLE:
        return None
    if len(entry.shape) == 2:
        if tail in _ROWS or entry.name == _HEAD:
            return 0
        if tail in _COLUMNS:
            return 1
        if entry.name == _EMBEDDINGS:
            if entry.shape[1] == params.dim:
                return 0
            if entry.shape[1] * count == params.dim:
                return 1
            field = f"tensor {quoted(entry.name)}"
            raise SizeMismatch(file=entry.file, field=field, actual=entry.shape, limit=f"dim {params.dim}")
    raise UnknownDtype(
        file=entry.file, field=f"tensor {quoted(entry.name)}", problem="a name whose parts are joined in no known way"
    )


def _check_shapes(entries: Sequence[TensorEntry], params: Params) -> None:
    """Hold the whole tensors against `params.json`."""
    heads, kv_heads = params.heads * params.head_size, params.kv_heads * params.head_size
    expected = {
        "attention.wq": (heads, params.dim),
        "attention.wk": (kv_heads, params.dim),
        "attention.wv": (kv_heads, params.dim),
        "attention.wo": (params.dim, heads),
        "attention_norm": (params.dim,),
        "ffn_norm": (params.dim,),
    }
    layers: set[str] = set()
    neurons: int | None = None
    for entry in entries:
        tail = _tail(entry.name)
        if tail is None:
            continue
        layers.add(entry.name.split(".", 2)[1])
        wanted: tuple[int | None, ...] | None = expected.get(tail)
        if tail in {"feed_forward.w1", "feed_forward.w3", "feed_forward.w2"} and len(entry.shape) == 2:
            turned = tail == "feed_forward.w2"
            neurons = neurons or entry.shape[1 if turned else 0]
            wanted = (params.dim, neurons) if turned else (neurons, params.dim)
        if wanted is not None and entry.shape != wanted:
            field = f"tensor {quoted(entry.name)}"
            problem = f"not of the shape that {params.file} gives it; a file of the set may be missing"
            raise SizeMismatch(file=entry.file, field=field, problem=problem, actual=entry.shape, limit=wanted)
    if params.layers is not None and len(layers) != params.layers:
        problem = "not as many layers as there are"
        raise SizeMismatch(file=params.file, field="n_layers", problem=problem, actual=params.layers, limit=len(layers))


def _tail(name: str) -> str | None:
    match = _LAYER.fullmatch(name)
    return match[2] if match else None
