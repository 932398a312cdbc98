"""Matrices that several tensors make up, each seen as one: what a quantised checkpoint holds in place of weights."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from auditor.errors import FileError, LimitExceeded, UnsupportedDtype
from auditor.formats import TensorEntry
from auditor.formats.quant.config import CONFIG_FILES, parse_configs
from auditor.formats.quant.methods import LEFT, PLAIN, is_mark, method_of
from auditor.formats.quant.packed import Bandable, Pieces
from auditor.formats.strictjson import quoted
from auditor.limits import LIMITS
from auditor.sources.base import Blob, Range

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from auditor.formats import Container
    from auditor.formats.quant.config import QuantConfig
    from auditor.formats.quant.methods import Method, Stated
    from auditor.formats.quant.packed import PackedMatrix, Read
    from auditor.sources.base import Source

    _Texts = Mapping[str, bytes] | FileError  # contents of describing tensors, or why they could not be read

_MIDDLE = ".weight."
"""Some tools name pieces after the weight, `gate_proj.weight.absmax`, most after the module, `gate_proj.scales`."""

_AT_ONCE = 256
"""Matrices whose descriptions are read side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedEntry(TensorEntry):
    """A matrix that several tensors make up, under the name that it would have as one.

    `file`, `start` and `stop` are those of its largest piece, the codes; `dtype` is the name of the method, and no key
    of any table of types. The shape is the matrix's own; () where the matrix cannot be put together.

    Attributes
    ----------
    pieces : tuple of TensorEntry
    matrix : PackedMatrix or FileError
        An error where it cannot be put together: raised whenever its rows are asked for.
    """

    pieces: tuple[TensorEntry, ...]
    matrix: PackedMatrix | FileError


@dataclass(frozen=True, slots=True)
class PackedRows:
    """Some rows of such a matrix: which bytes to read, and what to make of them.

    Attributes
    ----------
    matrix : PackedMatrix
    rows : ndarray of int
        Those read, each once, ascending.
    place : ndarray of int
        Of the rows wanted among those read.
    wanted : tuple of Read
    """

    matrix: PackedMatrix
    rows: NDArray[np.intp]
    place: NDArray[np.intp]
    wanted: tuple[Read, ...]

    @property
    def reads(self) -> list[tuple[str, Sequence[Range]]]:
        """Files, and byte ranges of each, in the order in which `decode` takes their contents."""
        return [(read.entry.file, read.ranges) for read in self.wanted]

    def decode(self, parts: Sequence[bytes]) -> NDArray[np.float32]:
        """Turn the contents of all ranges, one after another, into the rows wanted."""
        if not self.rows.size:
            return np.empty((0, self.matrix.shape[1]), dtype=np.float32)
        data, at = [], 0
        for read in self.wanted:
            data.append(b"".join(parts[at : at + len(read.ranges)]))
            at += len(read.ranges)
        rows = self.matrix.decode(self.rows, data)
        return rows if np.array_equal(self.place, np.arange(len(rows))) else rows[self.place]


def packed_rows(entry: PackedEntry, index: NDArray[np.intp], *, transposed: bool = False) -> PackedRows:
    """Plan the reading of some rows.

    Raises
    ------
    FileError
        When the matrix cannot be put together, is one whose columns are meant, or its rows take more bytes than
        `LIMITS.packed_read`.
    """
    if transposed:
        raise UnsupportedDtype(file=entry.file, field=f"columns of {quoted(entry.name)}", actual=entry.dtype)
    matrix = readable(entry)
    rows, place = np.unique(index, return_inverse=True)
    return PackedRows(matrix, rows, place, tuple(matrix.reads(rows)) if rows.size else ())


def readable(entry: PackedEntry) -> PackedMatrix:
    """Return the matrix, or raise what is wrong with it."""
    if isinstance(entry.matrix, FileError):
        raise entry.matrix.with_traceback(None)
    return entry.matrix


def band_of(entry: TensorEntry, start: int, stop: int) -> PackedEntry | None:
    """Return a band of columns of a matrix whose rows lie across all of it, as a matrix of its own.

    None for every other tensor, and where the band is no whole number of groups.
    """
    if not isinstance(entry, PackedEntry) or not isinstance(entry.matrix, Bandable) or stop > entry.shape[1]:
        return None
    band = entry.matrix.band(start, stop)
    return None if band is None else replace(entry, shape=band.shape, matrix=band)


def check_readable(entry: TensorEntry) -> None:
    """Raise what is wrong with a matrix that cannot be put together; a plain tensor passes.

    Raises
    ------
    FileError
    """
    if isinstance(entry, PackedEntry):
        readable(entry)


def stored_pieces(entry: TensorEntry) -> tuple[TensorEntry, ...]:
    """Return the tensors of the file that a matrix is made of: itself, for most."""
    return entry.pieces if isinstance(entry, PackedEntry) else (entry,)


def with_packed(source: Source, container: Container) -> Container:
    """See the pieces of each quantised matrix as one tensor.

    What cannot be put together becomes a tensor too, which raises when it is read, so that nothing quantised looks as
    if it were not there. Containers without quantised matrices come back as they are, and cost nothing.

    Parameters
    ----------
    source : Source
        Of the container's files, and of the configuration beside them.
    container : Container

    Returns
    -------
    Container

    Raises
    ------
    LimitExceeded
        When there are more quantised matrices than `LIMITS.packed_matrices`.
    """
    if container.format == "gguf":  # quantised types are the format's own
        return container
    claimed = [(pieces, method) for pieces in _grouped(container) if (method := _claiming(pieces))]
    if not claimed:
        return container
    config = _config(source, container)
    if config is None:  # plain integers are plain integers
        claimed = [(pieces, method) for pieces, method in claimed if method is not LEFT]
    replaced: dict[int, TensorEntry | None] = {}
    for entry in _entries(source, claimed, config):
        replaced |= dict.fromkeys(map(id, entry.pieces))
        replaced[id(entry.pieces[0])] = entry
    tensors = (replaced.get(id(tensor), tensor) for tensor in container.tensors)
    return replace(container, tensors=tuple(tensor for tensor in tensors if tensor is not None))


def _claiming(pieces: Pieces) -> Method | None:
    return method_of(pieces) or (LEFT if LEFT.claims(pieces) else None)


class _Named(NamedTuple):
    stem: str
    leaf: str


def _split(name: str) -> _Named:
    before, middle, after = name.rpartition(_MIDDLE)
    if middle:
        return _Named(before, f"weight.{after}")
    stem, _, leaf = name.rpartition(".")
    return _Named(stem, leaf)


def _grouped(container: Container) -> list[Pieces]:
    """Group the tensors of every module of which one may be a piece of a quantised matrix.

    Raises
    ------
    LimitExceeded
        When there are more of them than `LIMITS.packed_matrices`.
    """
    wanted: set[str] = set()
    for entry in container.tensors:
        if entry.dtype in PLAIN and entry.name.endswith(".weight"):  # most of all: need not be split
            continue
        named = _split(entry.name)
        if is_mark(named.leaf, entry.dtype):
            wanted.add(named.stem)
    if len(wanted) > LIMITS.packed_matrices:
        raise LimitExceeded(
            file=container.files[0], field="quantised matrices", actual=len(wanted), limit=LIMITS.packed_matrices
        )
    groups: dict[str, dict[str, TensorEntry]] = defaultdict(dict)
    for entry in container.tensors if wanted else ():
        named = _split(entry.name)
        if named.stem in wanted:
            groups[named.stem][named.leaf] = entry
    return [Pieces(stem=stem, entries=entries) for stem, entries in groups.items()]


def _entries(source: Source, claimed: list[tuple[Pieces, Method]], config: Stated) -> Iterator[PackedEntry]:
    """Put all matrices together, reading the description of one of those that are alike."""
    known: dict[Hashable, _Texts] = {}
    first: list[tuple[Pieces, Method]] = []
    for pieces, method in claimed:
        key = method.alike(pieces)
        if key is None or key not in known:
            first.append((pieces, method))
            known[key] = {}
    own: dict[int, _Texts] = {}
    for start in range(0, len(first), _AT_ONCE):
        batch = first[start : start + _AT_ONCE]
        for (pieces, method), texts in zip(batch, _described(source, batch), strict=True):
            own[id(pieces)] = known[method.alike(pieces)] = texts
    for pieces, method in claimed:
        entry = _entry(pieces, method, own.get(id(pieces), known[method.alike(pieces)]), config)
        if isinstance(entry.matrix, FileError) and id(pieces) not in own:
            (texts,) = _described(source, [(pieces, method)])
            entry = _entry(pieces, method, texts, config)
        yield entry


def _entry(pieces: Pieces, method: Method, texts: _Texts, config: Stated) -> PackedEntry:
    members = tuple(entry for leaf, entry in pieces.entries.items() if leaf != "bias")
    largest = max(members, key=lambda entry: entry.stop - entry.start)
    matrix: PackedMatrix | FileError
    try:
        if method.apart and "weight" in pieces.entries:
            raise pieces.mismatch("both plain and quantised weights")
        matrix = texts if isinstance(texts, FileError) else method.build(pieces, texts, config)
    except FileError as error:
        matrix = error
    return PackedEntry(
        name=f"{pieces.stem}.weight",
        dtype=method.name,
        shape=() if isinstance(matrix, FileError) else matrix.shape,
        file=largest.file,
        start=largest.start,
        stop=largest.stop,
        pieces=members,
        matrix=matrix,
    )


def _described(source: Source, batch: list[tuple[Pieces, Method]]) -> list[_Texts]:
    """Read the tensors that describe matrices, those of all at once."""
    wanted = [[(leaf, pieces.entries[leaf]) for leaf in method.describing(pieces)] for pieces, method in batch]
    by_file: dict[str, list[TensorEntry]] = defaultdict(list)
    for _, entry in chain.from_iterable(wanted):
        if entry.stop - entry.start <= LIMITS.packed_stated:
            by_file[entry.file].append(entry)
    contents: dict[int, bytes | FileError] = {}
    for file, entries in by_file.items():
        contents.update(zip(map(id, entries), _contents(source, file, entries), strict=True))
    return [_texts(group, contents) for group in wanted]


def _contents(source: Source, file: str, entries: list[TensorEntry]) -> Sequence[bytes | FileError]:
    try:
        return source.read(file, [Range(entry.start, entry.stop) for entry in entries])
    except FileError as error:
        return [error] * len(entries)


def _texts(group: list[tuple[str, TensorEntry]], contents: Mapping[int, bytes | FileError]) -> _Texts:
    found: dict[str, bytes] = {}
    for leaf, entry in group:
        content = contents.get(id(entry))
        if content is None:
            size, field = entry.stop - entry.start, f"tensor {quoted(entry.name)}"
            return LimitExceeded(file=entry.file, field=field, actual=size, limit=LIMITS.packed_stated)
        if isinstance(content, FileError):
            return content
        found[leaf] = content
    return found


def _config(source: Source, container: Container) -> QuantConfig | FileError | None:
    """Read what the checkpoint says of its quantisation; what is wrong with it where it cannot be read."""
    folder = PurePosixPath(container.files[0]).parent
    wanted = {str(folder / name) for name in CONFIG_FILES}
    try:
        texts = {}
        for info in source.files():
            if info.path in wanted:
                if info.size > LIMITS.config_bytes:
                    return LimitExceeded(file=info.path, field="size", actual=info.size, limit=LIMITS.config_bytes)
                texts[info.path] = Blob(source, info).read(0, info.size)
        return parse_configs(texts)
    except FileError as error:
        return error
