"""Rows of a checkpoint by layer and role, decoded to float32 only where asked for."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from auditor.errors import SizeMismatch
from auditor.formats.assembled import assembled
from auditor.formats.strictjson import quoted
from auditor.limits import LIMITS
from auditor.model.architecture import gain_offset
from auditor.model.config import Config
from auditor.model.experts import blocks
from auditor.model.layout import interleaved_heads, interleaved_rows
from auditor.model.part import Part, whole
from auditor.model.quantised import PackedEntry, PackedRows, band_of, check_readable, packed_rows
from auditor.model.reading import check_row, columns_wanted, rows_wanted
from auditor.model.vocabulary import read_vocabulary
from auditor.sources.ranges import coalesce

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from auditor.formats import Container, TensorEntry
    from auditor.model.experts import Block
    from auditor.model.placing import Unplaced
    from auditor.model.reading import Rows
    from auditor.sources.base import Range, Source


class ModelView:
    """One model inside a container.

    Parameters
    ----------
    source : Source
        Where the container's files live.
    container : Container
    prefix : str
        Of the names that belong to this model; "" for most.
    tensors : mapping of (layer or None, role) to TensorEntry or Part
        A part where several matrices share a tensor.
    architecture : str
        Family, as its names (in GGUF: the header) have it: "llama" for all that are shaped and named like it.
    unplaced : tuple of Unplaced
        Tensors of known names of which it is not known which rows are what, each with the reason.
    """

    def __init__(
        self,
        *,
        source: Source,
        container: Container,
        prefix: str,
        tensors: Mapping[tuple[int | None, str], TensorEntry | Part],
        architecture: str = "llama",
        unplaced: tuple[Unplaced, ...] = (),
    ) -> None:
        self._source = assembled(source, container)
        self._parts = {
            place: tensor if isinstance(tensor, Part) else whole(tensor) for place, tensor in tensors.items()
        }
        self.container = container
        self.prefix = prefix
        self.architecture = architecture
        self.unplaced = unplaced

    @property
    def on_disk(self) -> bool:
        """Every file of the model lies on this machine: reading it costs next to nothing."""
        return all(self._source.on_disk(file) is not None for file in self.container.files)

    @cached_property
    def vocabulary(self) -> Mapping[str, int]:
        """Rows of the embeddings by token, as the tokenizer beside the model says; empty where there is none."""
        return read_vocabulary(self._source, self.container)

    def layers(self, *roles: str) -> tuple[int, ...]:
        """Numbers of the layers that have every one of `roles`, ascending."""
        numbers = {layer for layer, _ in self._parts if layer is not None}
        return tuple(sorted(n for n in numbers if all((n, role) in self._parts for role in roles)))

    def blocks(self) -> tuple[Block, ...]:
        """Every MLP block that has gate and up, by layer and then by expert; a dense one comes before experts."""
        return self._blocks

    @cached_property
    def _blocks(self) -> tuple[Block, ...]:
        return blocks(self._parts)

    @property
    def gated(self) -> bool:
        """The MLPs have a gate; where none has, nothing of the model can be compared with a Llama."""
        return bool(self._blocks)

    def entries(self) -> tuple[TensorEntry, ...]:
        """Return every tensor whose place in the model is known, as its file has it."""
        return tuple({(part.stored.file, part.stored.name): part.stored for part in self._parts.values()}.values())

    def compared(self) -> tuple[TensorEntry, ...]:
        """Return the tensors of `entries` less those of MLPs without a gate: no test here says anything of them."""
        layers = {block.layer for block in self._blocks}
        return tuple(
            {
                (part.stored.file, part.stored.name): part.stored
                for (layer, role), part in self._parts.items()
                if layer in layers or role not in {"up", "down"}
            }.values()
        )

    def places(self) -> tuple[tuple[int | None, str, TensorEntry], ...]:
        """Return every tensor whose place is known, with its layer and role."""
        return tuple((layer, role, part.entry) for (layer, role), part in self._parts.items())

    def tensor(self, layer: int | None, role: str) -> TensorEntry:
        """Return the entry behind a role.

        Of a part of a tensor it has the shape of the part, and the bytes in which that lies.

        Raises
        ------
        KeyError
            When this model has no such tensor.
        FileError
            When it is a quantised matrix that cannot be put together.
        """
        part = self._parts[layer, role]
        check_readable(part.stored)
        return part.entry

    def stored(self, layer: int | None, role: str) -> TensorEntry:
        """Return the tensor behind a role as its file has it, with all else that it holds.

        Raises
        ------
        KeyError
            When this model has no such tensor.
        """
        return self._parts[layer, role].stored

    def rows(self, layer: int | None, role: str, index: NDArray[np.intp]) -> NDArray[np.float32]:
        """Decode some rows of a matrix.

        Parameters
        ----------
        layer : int or None
        role : str
        index : ndarray of int, shape (n,)
            Rows wanted, in Hugging Face order; rows that lie side by side are read as one range.

        Returns
        -------
        ndarray of float32, shape (n, columns)

        Raises
        ------
        KeyError
            When this model has no such tensor.
        IndexError
            When a row is asked for that the matrix does not have.
        FileError
            When the tensor is no matrix, is longer than `LIMITS.row_elements` a row, is of a type that is not
            decoded, its row order cannot be known, or its bytes cannot be read.
        """
        wanted = self._wanted(layer, role, index)
        return wanted.decode([part for file, ranges in wanted.reads for part in self._source.read(file, ranges)])

    def rows_of(self, places: Sequence[tuple[int | None, str]], index: NDArray[np.intp]) -> list[NDArray[np.float32]]:
        """Decode the same rows of several matrices, asking the source once for each file.

        A source that is far away can fetch all ranges of a file side by side; files are asked for side by side too.

        Parameters
        ----------
        places : sequence of (layer, role)
        index : ndarray of int, shape (n,)

        Returns
        -------
        list of ndarray of float32, each of shape (n, columns)

        Raises
        ------
        KeyError, IndexError, FileError
            As `rows`.
        """
        wanted = [self._wanted(layer, role, index) for layer, role in places]
        if any(isinstance(rows, PackedRows) for rows in wanted) and self.on_disk:
            return [self.rows(layer, role, index) for layer, role in places]  # some read far more than they give
        by_file: dict[str, list[Range]] = defaultdict(list)
        for rows in wanted:
            for file, ranges in rows.reads:
                by_file[file] += ranges

        def fetch(file: str) -> list[bytes]:
            return self._source.read(file, by_file[file])

        if len(by_file) > 1 and self._source.on_disk(next(iter(by_file))) is None:
            with ThreadPoolExecutor(LIMITS.files_at_once) as pool:
                fetched = dict(zip(by_file, pool.map(fetch, by_file), strict=True))
        else:
            fetched = {file: fetch(file) for file in by_file}
        parts = {file: iter(data) for file, data in fetched.items()}
        return [rows.decode([next(parts[file]) for file, ranges in rows.reads for _ in ranges]) for rows in wanted]

    def band(self, start: int, stop: int) -> ModelView | None:
        """Return the model with only some columns of gate and up, where these lie side by side and rows do not.

        A checkpoint that is packed along the inputs keeps a row in a piece of each packed row: a few rows take all of
        it, and all rows of a few columns take little. None for a model that keeps rows in one piece.

        Parameters
        ----------
        start, stop : int
            Columns.
        """
        parts = dict(self._parts)
        for block in self.blocks():
            for kind in ("gate", "up"):
                place = (block.layer, block.role("gate" if kind == "gate" else "up"))
                part = parts[place]
                band = band_of(part.stored, start, stop)
                if band is None or not part.is_whole:
                    return None
                parts[place] = whole(band)
        return ModelView(
            source=self._source,
            container=self.container,
            prefix=self.prefix,
            tensors=parts,
            architecture=self.architecture,
            unplaced=self.unplaced,
        )

    def cost(self, places: Sequence[tuple[int | None, str]], index: NDArray[np.intp]) -> tuple[int, int]:
        """Return (ranges, bytes) that the same rows of several matrices take.

        Where the model is far away, with what lies between ranges of one tensor that are asked for as one: of a matrix
        that is packed by columns that is nearly all of it.

        Raises
        ------
        KeyError, IndexError, FileError
            As `rows`.
        """
        reads = [wanted for place in places for _, wanted in self._wanted(*place, index).reads]
        if not self.on_disk:
            reads = [coalesce(wanted, gap=LIMITS.hub_gap, longest=LIMITS.hub_piece) for wanted in reads]
        return sum(map(len, reads)), sum(stop - start for wanted in reads for start, stop in wanted)

    def _wanted(self, layer: int | None, role: str, index: NDArray[np.intp]) -> Rows | PackedRows:
        """Work out which bytes hold some rows of a matrix, see `rows`."""
        part = self._parts[layer, role]
        check_readable(part.stored)
        entry = part.plane
        if len(entry.shape) != 2:
            raise SizeMismatch(
                file=entry.file, field=f"tensor {quoted(entry.name)}", problem="not a matrix", actual=entry.shape
            )
        check_row(part.entry)
        if index.size and not 0 <= index.min() <= index.max() < part.count:
            raise IndexError(f"rows of {entry.name}: 0 to {part.count - 1}, asked for {index.min()} to {index.max()}")
        heads = interleaved_heads(self.container, part.entry, role=role, layer=layer)
        if heads is not None:
            index = interleaved_rows(index, part.count, heads)
        index = part.locate(index)
        if isinstance(entry, PackedEntry):
            return packed_rows(entry, index, transposed=part.transposed)
        return columns_wanted(entry, index) if part.transposed else rows_wanted(entry, index)

    def vector(self, layer: int | None, role: str) -> NDArray[np.float32]:
        """Decode a one-dimensional tensor, a norm's gains: float32, shape (length,).

        Raises
        ------
        KeyError
            When this model has no such tensor.
        FileError
            As `rows`.
        """
        part = self._parts[layer, role]
        check_readable(part.stored)
        entry = part.plane
        if len(entry.shape) != 1:
            raise SizeMismatch(
                file=entry.file, field=f"tensor {quoted(entry.name)}", problem="not a vector", actual=entry.shape
            )
        check_row(entry)
        wanted = rows_wanted(replace(entry, shape=(1, *entry.shape)), np.arange(1))
        values = wanted.decode(self._source.read(wanted.file, wanted.ranges)).reshape(-1)
        index = np.arange(part.count)
        heads = interleaved_heads(self.container, part.entry, role=role.removesuffix(".bias"), layer=layer)
        if heads is not None:  # biases stand in the order of their rows
            index = interleaved_rows(index, part.count, heads)
        return values[part.locate(index)]

    def gain(self, layer: int | None, role: str) -> NDArray[np.float32]:
        """Decode the gains of a norm as they are applied: Gemma multiplies by one more than it stores.

        Parameters
        ----------
        layer : int or None
        role : str
            "attn_norm", "mlp_norm", "final_norm" or another norm.

        Raises
        ------
        KeyError
            When this model has no such norm.
        FileError
            As `rows`.
        """
        return self.vector(layer, role) + np.float32(self.gain_offset)

    def kv_heads(self, layer: int) -> int | None:
        """Key heads of a layer's attention, as the configuration says; None where it does not."""
        return self._config.kv_heads(layer)

    @cached_property
    def _config(self) -> Config:
        return Config(self._source, self.container)

    @cached_property
    def gain_offset(self) -> float:
        """What is added to the stored gains of norms: 1 for Gemma, else 0."""
        return gain_offset(self.architecture, self._config, self.container.format)
