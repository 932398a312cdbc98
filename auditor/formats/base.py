"""What every parser returns: where each tensor lies and how its bytes become numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auditor.formats.zipdir import Member
    from auditor.sources.base import Unread


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorEntry:
    """A tensor in a file.

    Attributes
    ----------
    name : str
        As the file spells it.
    dtype : str
        A key of `auditor.formats.dtypes.DTYPES`: "BF16", "Q4_1", ...
    shape : tuple of int
        Row-major, slowest first (GGUF's order is reversed by its parser).
    file : str
        Path inside the target.
    start, stop : int
        Byte range in that file, absolute.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str
    start: int
    stop: int

    @property
    def count(self) -> int:
        """Number of elements."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unproved:
    """A member of an archive whose own header was not held against the directory yet: to be done when it is read."""

    file: str
    member: Member


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A tensor of which several files hold parts, described as if it lay whole in a file that does not exist.

    Attributes
    ----------
    entry : TensorEntry
        The whole; its `file`, `start` and `stop` are what `auditor.formats.assembled` serves it by.
    parts : tuple of TensorEntry
        In order.
    axis : {0, 1} or None
        Dimension that the parts follow each other in; None where each part is the whole.
    """

    entry: TensorEntry
    parts: tuple[TensorEntry, ...]
    axis: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A parsed file, or several that an index joins: tensors and the metadata beside them.

    Attributes
    ----------
    format : str
        "safetensors", "gguf", "torch", "meta" (weights in the layout that Meta published) or "pickle".
    files : tuple of str
        The weight files, sorted.
    tensors : tuple of TensorEntry
        In file order. Names are unique.
    metadata : mapping
        Scalars and short strings of the header. Long arrays are left out.
    unread : tuple of Unread
        Tensors and parts of the files that could not be read, though others could.
    runs : tuple of str
        Code that a file names and that its usual loader would run.
    makes : tuple of str
        Classes of libraries that its usual loader would make, and that run nothing of the file.
    unproved : tuple of Unproved
    joined : tuple of Joined
        The tensors that several files hold parts of, by `Joined.entry` also in `tensors`.
    """

    format: str
    files: tuple[str, ...]
    tensors: tuple[TensorEntry, ...]
    metadata: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    unread: tuple[Unread, ...] = ()
    runs: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    unproved: tuple[Unproved, ...] = ()
    joined: tuple[Joined, ...] = ()
