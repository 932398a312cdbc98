"""The few things about a model that only its config or header says: what its fused tensors are made of.

Nothing here is believed: counts are held against shapes by whoever asks.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from auditor.errors import FileError
from auditor.formats import strictjson
from auditor.limits import LIMITS
from auditor.sources.base import Blob

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auditor.formats import Container
    from auditor.sources.base import Source

_ARCHITECTURE = "general.architecture"
_INNER = ("text_config", "language_config", "llm_config", "language_model", "llm")
"""Where multimodal configs keep their language model's."""


class Config:
    """What is said of a model beside its tensors; read when first asked for.

    Parameters
    ----------
    source : Source
    container : Container
        Of GGUF its header counts, of others the `config.json` in the folder of its first file.
    """

    def __init__(self, source: Source, container: Container) -> None:
        self._source = source
        self._container = container

    @cached_property
    def architecture(self) -> str | None:
        """`general.architecture` of GGUF, `model_type` of a config: "llama", "phi3"."""
        key = _ARCHITECTURE if self._is_gguf else "model_type"
        value = self._values.get(key)
        return value if isinstance(value, str) else None

    def count(self, *, layer: int | None, hub: tuple[str, ...], gguf: str) -> int | None:
        """Return a number of heads or the like.

        Parameters
        ----------
        layer : int or None
            Whose value to take of a list with one for each layer.
        hub : tuple of str
            Keys of `config.json`, of which the first that is there is taken.
        gguf : str
            Key of a GGUF header behind the name of the architecture: "attention.head_count".

        Returns
        -------
        int or None
            Above zero. None where it is not said, or not as such a number.
        """
        keys = (f"{self.architecture}.{gguf}",) if self._is_gguf else hub
        value = next((self._values[key] for key in keys if key in self._values), None)
        if isinstance(value, (tuple, list)):
            value = value[layer] if layer is not None and layer < len(value) else None
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None

    def heads(self, layer: int | None) -> int | None:
        """Attention heads."""
        keys = ("num_attention_heads", "n_head", "n_heads", "num_heads")
        return self.count(layer=layer, hub=keys, gguf="attention.head_count")

    def kv_heads(self, layer: int | None) -> int | None:
        """Key and value heads, of those that say so."""
        keys = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "num_query_groups", "multi_query_group_num")
        return self.count(layer=layer, hub=keys, gguf="attention.head_count_kv")

    def flag(self, key: str) -> bool | None:
        """Return a value of `config.json` that is true or false; None where it is not."""
        value = None if self._is_gguf else self._values.get(key)
        return value if isinstance(value, bool) else None

    @property
    def _is_gguf(self) -> bool:
        return self._container.format == "gguf"

    @cached_property
    def _values(self) -> Mapping[str, object]:
        if self._is_gguf:
            return self._container.metadata
        path = str(PurePosixPath(self._container.files[0]).parent / "config.json")
        info = next((info for info in self._source.files() if info.path == path), None)
        if info is None or info.size > LIMITS.config_bytes:
            return {}
        try:
            found = strictjson.loads(Blob(self._source, info).read(0, info.size), file=path, field="config")
        except FileError:  # who checks configs says so; here it only says nothing
            return {}
        if not isinstance(found, dict):
            return {}
        inner: dict[str, object] = next((found[key] for key in _INNER if isinstance(found.get(key), dict)), {})
        return found | inner
