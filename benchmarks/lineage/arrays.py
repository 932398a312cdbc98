"""Read a checkpoint of plain safetensors whole, as float32: with numpy only, so that every environment can."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def read(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Return the float tensors of a folder's safetensors files; whatever else is there (packed integers) is left out.

    Parameters
    ----------
    folder : Path
        Holds files that this project, or a tool it called, wrote.
    """
    out: dict[str, NDArray[np.float32]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        for name, entry in json.loads(data[8:start]).items():
            if name != "__metadata__" and entry["dtype"] in _DTYPES:
                begin, end = (start + offset for offset in entry["data_offsets"])
                out[name] = _values(data[begin:end], entry["dtype"]).reshape(entry["shape"])
    return out


_DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def _values(data: bytes, dtype: str) -> NDArray[np.float32]:
    values = np.frombuffer(data, dtype=_DTYPES[dtype])
    return (values.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else values.astype(np.float32)
