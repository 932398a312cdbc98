"""Row orders in which tools store the query and key projections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from auditor.errors import BadShape, MissingField, WrongType
from auditor.formats.strictjson import quoted
from auditor.model.metalayout import heads_key, meta_heads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from auditor.formats import Container, TensorEntry

    Index = NDArray[np.intp]

INTERLEAVED_ARCHITECTURES = frozenset({
    "arcee", "arctic", "baichuan", "bailingmoe", "deci", "deepseek", "granite", "granitehybrid", "granitemoe",
    "internlm2", "llada", "llama", "llama-embed", "minicpm", "mistral3", "olmo", "smollm3", "xverse",
})  # fmt: skip
"""GGUF architectures whose converter interleaves the rows of q and k for llama.cpp's rotary embedding.

Those that call `permute` in llama.cpp's `conversion/`; all others keep the order of Hugging Face.
"""

_ARCHITECTURE = "general.architecture"


def interleaved_heads(container: Container, entry: TensorEntry, *, role: str, layer: int | None) -> int | None:
    """Return the number of heads in each of which a matrix's rows are interleaved.

    Parameters
    ----------
    container : Container
    entry : TensorEntry
        A matrix.
    role : str
    layer : int or None

    Returns
    -------
    int or None
        None where the rows stand in Hugging Face order.

    Raises
    ------
    MissingField, WrongType, BadShape
        When the order cannot be known: rows in a wrong order look like the rows of another model.
    """
    if role not in {"q", "k"}:
        return None
    if meta_key := heads_key(entry.name):
        return meta_heads(container, entry, meta_key)
    return _gguf_heads(container, entry, role=role, layer=layer) if container.format == "gguf" else None


def _gguf_heads(container: Container, entry: TensorEntry, *, role: str, layer: int | None) -> int | None:
    metadata = container.metadata
    if _ARCHITECTURE not in metadata:
        raise MissingField(file=entry.file, field=_field(_ARCHITECTURE))
    architecture = metadata[_ARCHITECTURE]
    if not isinstance(architecture, str):
        raise WrongType(file=entry.file, field=_field(_ARCHITECTURE), actual=architecture, limit="a string")
    if architecture not in INTERLEAVED_ARCHITECTURES:
        return None
    key = f"{architecture}.attention.head_count"
    if role == "k" and f"{key}_kv" in metadata:
        key += "_kv"
    if key not in metadata:
        raise MissingField(file=entry.file, field=_field(key))
    heads = metadata[key]
    if isinstance(heads, tuple):  # one for each layer
        heads = heads[layer] if layer is not None and layer < len(heads) else None
    if not isinstance(heads, int) or isinstance(heads, bool):
        raise WrongType(file=entry.file, field=_field(key), actual=heads, limit="an integer")
    rows = entry.shape[0]
    if heads < 1 or rows % (2 * heads):
        problem = f"does not divide the {rows} rows of {quoted(entry.name)} into heads of an even size"
        raise BadShape(file=entry.file, field=_field(key), problem=problem, actual=heads)
    return heads


def interleaved_rows(index: Index, rows: int, heads: int) -> Index:
    """Say where rows of a Hugging Face q or k projection stand in GGUF's (and Meta's) order.

    Hugging Face keeps a head as two halves (`[heads, 2, half]`), rotary pairs one in each; GGUF and Meta keep
    the pairs side by side (`[heads, half, 2]`). See `LlamaModel.permute` in llama.cpp's `conversion/llama.py`.

    Parameters
    ----------
    index : ndarray of int, shape (n,)
        Rows in Hugging Face order.
    rows, heads : int
        Rows of the matrix, a multiple of `2 * heads`; for `k`, heads are the key-value heads.

    Returns
    -------
    ndarray of int, shape (n,)

    Examples
    --------
    >>> interleaved_rows(np.arange(8), rows=8, heads=2).tolist()
    [0, 2, 1, 3, 4, 6, 5, 7]
    """
    size = rows // heads
    head, within = np.divmod(index, size)
    half, pair = np.divmod(within, size // 2)
    return np.asarray(head * size + 2 * pair + half, dtype=np.intp)


def _field(key: str) -> str:
    return f"metadata {quoted(key)}"
