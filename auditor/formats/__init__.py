"""What bytes mean: strict parsers that ask for byte ranges and return where each tensor lies."""

from __future__ import annotations

from auditor.formats.base import Container, TensorEntry
from auditor.formats.checkpoint import Checkpoints, open_checkpoints
from auditor.formats.dtypes import DTYPES, Dtype
from auditor.formats.quant.ggml import GGML_DTYPES

__all__ = ["Checkpoints", "Container", "Dtype", "TensorEntry", "dtype_of", "open_checkpoints"]


def dtype_of(name: str) -> Dtype:
    """Return a data type by the name that parsers give it.

    Raises
    ------
    KeyError
        When no parser uses that name.
    """
    return DTYPES.get(name) or GGML_DTYPES[name]
