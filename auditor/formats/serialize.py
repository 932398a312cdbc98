"""Write safetensors, the same bytes for the same tensors and metadata: the reference writer promises no order."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def serialize(
    tensors: Mapping[str, tuple[str, tuple[int, ...], bytes]], metadata: Mapping[str, str] | None = None
) -> bytes:
    """Return a safetensors file.

    Parameters
    ----------
    tensors : mapping of name to (dtype, shape, little-endian bytes)
        `dtype` as the format spells it ("BF16"). Written in the order of names.
    metadata : mapping of str to str, optional

    Raises
    ------
    ValueError
        When a tensor has the name under which the format keeps its metadata.

    Examples
    --------
    >>> serialize({"x": ("U8", (2,), b"ab")})[8:]
    b'{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}   ab'
    """
    if "__metadata__" in tensors:
        raise ValueError("__metadata__ is no name for a tensor")
    header: dict[str, object] = {}
    if metadata:
        header["__metadata__"] = dict(sorted(metadata.items()))
    at = 0
    for name, (dtype, shape, data) in sorted(tensors.items()):
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *(data for _, (_, _, data) in sorted(tensors.items()))])
