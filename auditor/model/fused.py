"""Several matrices in one tensor: gate with up, and queries with keys and values.

Each function returns where the rows of each matrix lie, or raises `CannotSplit` with the reason. Nothing is read, and
nothing guessed: rows taken for others look like the rows of another model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from auditor.errors import FileError
from auditor.formats import dtype_of
from auditor.model.quantised import PackedEntry

if TYPE_CHECKING:
    from auditor.model.part import Part

HalfOrder = Literal["halves", "alternating"]
"""Gate before up, or their rows in turn."""


class CannotSplit(Exception):  # noqa: N818 (no error: an answer, and caught where it is asked for)
    """It is not known which rows are which."""


def split_gate_up(fused: Part, *, order: HalfOrder) -> dict[str, Part]:
    """Part gate from up.

    Parameters
    ----------
    fused : Part
        Of 2n rows.
    order : {"halves", "alternating"}
        Phi-3, GLM, Megatron and Llama 4 keep all rows of gate before those of up; GPT-OSS keeps neuron by neuron.

    Raises
    ------
    CannotSplit
    """
    _check_rows(fused)
    n, odd = divmod(fused.count, 2)
    if odd or n == 0:
        raise CannotSplit(f"{fused.count} rows are no gate and up of one size")
    if order == "halves":
        return {"gate": fused.take(0, n), "up": fused.take(n, n)}
    return {"gate": fused.take(0, n, run=1, stride=2), "up": fused.take(1, n, run=1, stride=2)}


def split_qkv_blocks(fused: Part, *, queries: int) -> dict[str, Part]:
    """Part queries, keys and values that follow one another, as Phi-3, Baichuan, MPT and GGUF keep them.

    Parameters
    ----------
    fused : Part
    queries : int
        Rows of the queries; keys and values share the rest.

    Raises
    ------
    CannotSplit
    """
    _check_rows(fused)
    keys, odd = divmod(fused.count - queries, 2)
    if odd or queries < 1 or keys < 1 or queries % keys:
        raise CannotSplit(f"{fused.count} rows are no {queries} of queries with keys and values")
    return {"q": fused.take(0, queries), "k": fused.take(queries, keys), "v": fused.take(queries + keys, keys)}


def split_qkv_groups(fused: Part, *, groups: int, queries: int) -> dict[str, Part]:
    """Part queries, keys and values that are kept together for each key-value head.

    A group holds the query heads that share a key head, then that, then the value head: InternLM 2, Megatron and the
    larger Falcons. With as many groups as heads it is the order of GPT-NeoX and BLOOM.

    Parameters
    ----------
    fused : Part
    groups : int
        Key-value heads.
    queries : int
        Rows of all queries.

    Raises
    ------
    CannotSplit
    """
    _check_rows(fused)
    keys, odd = divmod(fused.count - queries, 2)
    if odd or groups < 1 or queries < 1 or keys < 1 or keys % groups or queries % keys:
        raise CannotSplit(f"{fused.count} rows are no {groups} groups with {queries} rows of queries in all")
    head, own = keys // groups, queries // groups
    step = own + 2 * head
    return {
        "q": fused.take(0, queries, run=own, stride=step),
        "k": fused.take(own, keys, run=head, stride=step),
        "v": fused.take(own + head, keys, run=head, stride=step),
    }


def _check_rows(fused: Part) -> None:
    if isinstance(fused.plane, PackedEntry) and isinstance(fused.plane.matrix, FileError):
        raise CannotSplit(fused.plane.matrix.reason)
    if not fused.plane.shape:
        raise CannotSplit("a number")
    if isinstance(fused.plane, PackedEntry):  # read row by row, whatever blocks it has
        return
    block = dtype_of(fused.plane.dtype).block
    if block > 1 and (fused.transposed or len(fused.plane.shape) < 2 or fused.plane.shape[-1] % block):
        raise CannotSplit(f"rows are no whole number of blocks of {fused.plane.dtype}")
