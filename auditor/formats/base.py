"""What every parser returns: where each tensor lies and how its bytes become numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


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
class Container:
    """A parsed file, or several that an index joins: tensors and the metadata beside them.

    Attributes
    ----------
    format : str
        "safetensors" or "gguf".
    files : tuple of str
        The weight files, sorted.
    tensors : tuple of TensorEntry
        In file order. Names are unique.
    metadata : mapping
        Scalars and short strings of the header. Long arrays are left out.
    """

    format: str
    files: tuple[str, ...]
    tensors: tuple[TensorEntry, ...]
    metadata: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
