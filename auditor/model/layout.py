"""Row orders in which tools store the query and key projections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Index = NDArray[np.intp]

INTERLEAVED_ARCHITECTURES = frozenset({"llama", "mistral", "granite", "arctic", "minicpm", "exaone"})
"""GGUF architectures whose converter interleaves the rows of q and k for llama.cpp's rotary embedding."""


def interleaved_rows(index: Index, rows: int, heads: int) -> Index:
    """Say where rows of a Hugging Face q or k projection stand in GGUF's (and Meta's) order.

    Hugging Face keeps a head as two halves (`[heads, 2, half]`), rotary pairs one in each; GGUF and Meta keep
    the pairs side by side (`[heads, half, 2]`). See `permute` in llama.cpp's `convert_hf_to_gguf.py`.

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
