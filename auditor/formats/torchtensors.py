"""From what a torch pickle describes to the tensors of a container: names, views and where their bytes lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from auditor.errors import (
    BadOffset,
    BadShape,
    DuplicateName,
    ExecutablePickle,
    FileError,
    LimitExceeded,
    MissingField,
    NotContiguous,
    SizeMismatch,
    UnsupportedDtype,
)
from auditor.formats.base import TensorEntry
from auditor.formats.dtypes import DTYPES
from auditor.formats.strictjson import quoted
from auditor.formats.torchvalues import DATA_CLASSES, Foreign, Tensor
from auditor.limits import LIMITS
from auditor.sources.base import Unread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from auditor.formats.picklemachine import Reading
    from auditor.formats.torchvalues import Storage

_SHOWN = 32  # reasons listed one by one
_MODULE_PARTS = frozenset({"_parameters", "_buffers", "_modules"})
"""Attributes of a `torch.nn.Module` that are no part of its tensors' names."""


class Span(NamedTuple):
    """Where the bytes of a storage lie in the file."""

    start: int
    stop: int


@dataclass(slots=True)
class Found:
    """Tensors of a pickle, what is wrong with others, and the storages that are accounted for."""

    tensors: list[TensorEntry] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    storages: set[str] = field(default_factory=set)
    _left_out: int = 0

    def refuse(self, error: FileError) -> None:
        """Note what is not read, up to a number of reasons."""
        if len(self.unread) < _SHOWN:
            self.unread.append(Unread.from_error(error))
        else:
            self._left_out += 1

    def refuse_code(self, reading: Reading, *, file: str, label: str) -> None:
        """Note what a pickle would run: what that would make is not read."""
        if executed := code_of(reading):
            what = f"{label}: what it would run is not run, and what that would make is not read"
            self.refuse(ExecutablePickle(file=file, field=what, problem="; ".join(executed)))

    def problems(self, file: str) -> tuple[Unread, ...]:
        """Return what was not read, and how many more reasons there were."""
        if not self._left_out:
            return tuple(self.unread)
        more = Unread(path=file, code=FileError.code, reason=f"and {self._left_out} more tensors")
        return (*self.unread, more)


def find(reading: Reading, place: Callable[[Storage], Span], *, file: str, label: str) -> Found:
    """Place every tensor that a pickle describes.

    Parameters
    ----------
    reading : Reading
        Of a pickle that could be followed to its end.
    place : callable
        Says where a storage lies; raises FileError where it cannot.
    file, label : str
        What errors name.

    Returns
    -------
    Found
        A tensor that cannot be read is noted and left out; the others are there.
    """
    found = Found()
    names: set[str] = set()
    try:
        for name, value in _walk(reading.value, file=file, label=label):
            if name in names:
                raise DuplicateName(file=file, field=f"tensor {quoted(name)}", actual=name)
            names.add(name)
            if len(names) > LIMITS.pickle_tensors:
                raise LimitExceeded(
                    file=file, field="number of tensors", actual=len(names), limit=LIMITS.pickle_tensors
                )
            try:
                found.tensors.append(_entry(name, value, place, file=file))
            except FileError as error:
                found.refuse(error)
            if isinstance(value, Tensor):
                found.storages.add(value.storage.key)
    except FileError as error:  # which of two readers would be right is not known: none of it is used
        found.tensors.clear()
        found.refuse(error)
    found.tensors.sort(key=lambda entry: (entry.start, entry.stop, entry.name))
    found.refuse_code(reading, file=file, label=label)
    if reading.unread > LIMITS.pickle_unread:
        problem = "long texts and byte strings, which may hold anything"
        limit = LIMITS.pickle_unread
        found.refuse(LimitExceeded(file=file, field=label, problem=problem, actual=reading.unread, limit=limit))
    return found


def code_of(reading: Reading) -> tuple[str, ...]:
    """Say which code a loader of a pickle would run: opcode, name, and where."""
    return tuple(
        f"{problem.opcode} {problem.name} at byte {problem.at}"
        for problem in reading.problems
        if problem.name not in DATA_CLASSES
    )


def settings_of(reading: Reading) -> tuple[str, ...]:
    """Say which classes of libraries, with nothing of the file to run, a loader would make."""
    return tuple(problem.name for problem in reading.problems if problem.name in DATA_CLASSES)


def _walk(value: object, *, file: str, label: str) -> Iterator[tuple[str, Tensor | Foreign]]:
    """Yield every tensor in dicts, lists and modules, named by its path, in their order."""
    left = LIMITS.pickle_nodes
    stack: list[tuple[tuple[str, ...], int, object]] = [((), 0, value)]
    while stack:
        path, depth, node = stack.pop()
        left -= 1
        if left < 0:
            raise LimitExceeded(file=file, field=f"{label}: values", limit=LIMITS.pickle_nodes)
        if isinstance(node, Tensor) or (isinstance(node, Foreign) and node.state is None and not node.reported):
            yield ".".join(path), node
            continue
        inner = node.state if isinstance(node, Foreign) else node
        if not isinstance(inner, (dict, list, tuple)) or not inner:
            continue
        if depth == LIMITS.pickle_depth:
            raise LimitExceeded(file=file, field=f"{label}: nesting", limit=LIMITS.pickle_depth)
        left -= len(inner)
        if left < 0:
            raise LimitExceeded(file=file, field=f"{label}: values", limit=LIMITS.pickle_nodes)
        keys: list[object] = [*inner] if isinstance(inner, dict) else [*range(len(inner))]
        values: list[object] = [*inner.values()] if isinstance(inner, dict) else [*inner]
        for key, child in zip(reversed(keys), reversed(values), strict=True):
            if isinstance(child, (dict, list, tuple, Foreign)):
                at = path if isinstance(node, Foreign) and key in _MODULE_PARTS else (*path, str(key))
                stack.append((at, depth + 1, child))


def _entry(name: str, value: Tensor | Foreign, place: Callable[[Storage], Span], *, file: str) -> TensorEntry:
    label = f"tensor {quoted(name)}"
    if isinstance(value, Foreign):
        raise UnsupportedDtype(file=file, field=label, problem=f"{value}, which is not read")
    dtype = DTYPES[value.dtype]
    span = place(value.storage)
    held = value.storage.elements * (DTYPES[value.storage.dtype].size if value.storage.dtype else 1)
    if held != span.stop - span.start:
        raise SizeMismatch(file=file, field=f"{label} storage", actual=span.stop - span.start, limit=held)
    if value.reach * dtype.size > held:
        problem = "a view that reaches out of its storage"
        raise BadOffset(file=file, field=label, problem=problem, actual=value.reach * dtype.size, limit=held)
    if not value.contiguous:
        raise NotContiguous(file=file, field=f"{label} stride", actual=value.stride)
    start = span.start + value.offset * dtype.size
    entry = TensorEntry(name=name, dtype=value.dtype, shape=value.shape, file=file, start=start, stop=start)
    if entry.count >= 1 << 62:
        raise BadShape(file=file, field=f"{label} size", problem="too large to address", actual=value.shape)
    return TensorEntry(
        name=name, dtype=value.dtype, shape=value.shape, file=file, start=start, stop=start + entry.count * dtype.size
    )


def missing_storage(file: str, storage: Storage) -> MissingField:
    """Build the error of a storage that the file does not hold."""
    return MissingField(file=file, field=f"storage {quoted(storage.key)}")
