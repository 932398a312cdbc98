"""What a checkpoint says of its own quantisation: `config.json`, `quantize_config.json`, `quant_config.json`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from auditor.errors import MissingField, QuantMismatch, WrongType
from auditor.formats.strictjson import expect, loads, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG_FILES: Final = ("config.json", "quantize_config.json", "quant_config.json")
"""Where tools say how they quantised: all of them, AutoGPTQ's own file, AutoAWQ's own file."""

_KEYS: Final = ("quantization_config", "compression_config", "quantization")
"""In `config.json`: transformers, compressed-tensors before it was part of transformers, MLX."""

_OF_FILE: Final = {"quantize_config.json": "gptq", "quant_config.json": "awq"}
_OLD_NAMES: Final = {"w_bit": "bits", "q_group_size": "group_size"}
_COMPARED: Final = ("quant_method", "bits", "group_size", "sym", "checkpoint_format", "desc_act")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantConfig:
    """Parameters of a quantisation, as the checkpoint states them.

    Attributes
    ----------
    file : str
        Where they stand, for errors.
    method : str
        "gptq", "awq", "bitsandbytes", "compressed-tensors", "fp8", "mlx", ... in lower case; "" where nothing says so.
    values : mapping
    """

    file: str
    method: str = ""
    values: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    def integer(self, key: str) -> int:
        """Return a number that the format cannot do without.

        Raises
        ------
        MissingField, WrongType
        """
        if key not in self.values:
            raise MissingField(file=self.file, field=f"quantisation {quoted(key)}")
        return expect(self.values[key], int, file=self.file, field=f"quantisation {quoted(key)}")

    def flag(self, key: str, *, default: bool) -> bool:
        """Return a boolean.

        Raises
        ------
        WrongType
        """
        return expect(self.values.get(key, default), bool, file=self.file, field=f"quantisation {quoted(key)}")

    def text(self, key: str, *, default: str = "") -> str:
        """Return a string in lower case; `default` where there is none or null.

        Raises
        ------
        WrongType
        """
        value = self.values.get(key)
        if value is None:
            return default
        return expect(value, str, file=self.file, field=f"quantisation {quoted(key)}").lower()

    def of(self, values: Mapping[str, object]) -> QuantConfig:
        """Return the parameters of one module, where the file states them apart."""
        return replace(self, values=MappingProxyType({**self.values, **values}))

    def mismatch(self, key: str, *, actual: object, limit: object = None, problem: str | None = None) -> QuantMismatch:
        """Return the error for a parameter that the tensors contradict."""
        return QuantMismatch(
            file=self.file, field=f"quantisation {quoted(key)}", problem=problem, actual=actual, limit=limit
        )


def parse_configs(texts: Mapping[str, bytes]) -> QuantConfig | None:
    """Read how a checkpoint was quantised.

    Parameters
    ----------
    texts : mapping of str to bytes
        Those of `CONFIG_FILES` that there are, by path.

    Returns
    -------
    QuantConfig or None
        None where no file says anything of it.

    Raises
    ------
    FileError
        When a file is no strict JSON, or two places say different things.
    """
    found: list[QuantConfig] = []
    for path, data in texts.items():
        name = path.rpartition("/")[2]
        root = expect(loads(data, file=path, field="text"), dict, file=path, field="text")
        if name in _OF_FILE:
            found.append(_config(root, file=path, method=_OF_FILE[name]))
            continue
        inner = root.get("text_config")
        for where in (root, inner if isinstance(inner, dict) else {}):
            found += [
                _config(
                    expect(where[key], dict, file=path, field=quoted(key)),
                    file=path,
                    method="mlx" if key == "quantization" else "",
                )
                for key in _KEYS
                if where.get(key) is not None
            ]
    return _merged(found)


def _config(raw: dict[str, object], *, file: str, method: str) -> QuantConfig:
    values = {_OLD_NAMES.get(key, key): value for key, value in raw.items()}
    stated = values.get("quant_method")
    if stated is not None and not isinstance(stated, str):
        raise WrongType(file=file, field='quantisation "quant_method"', actual=stated, limit="a string")
    return QuantConfig(file=file, method=(stated or method).lower(), values=MappingProxyType(values))


def _merged(found: list[QuantConfig]) -> QuantConfig | None:
    """Join what several places say; they may add to each other and not contradict each other."""
    if not found:
        return None
    first = found[0]
    values = dict(first.values)
    method = first.method
    for other in found[1:]:
        for key in _COMPARED:
            if values.get(key) is not None and other.values.get(key) not in (None, values[key]):
                raise other.mismatch(
                    key, problem=f"{first.file} says otherwise", actual=other.values[key], limit=values[key]
                )
        values |= {key: value for key, value in other.values.items() if values.get(key) is None}
        if method and other.method and method != other.method:
            raise other.mismatch("quant_method", problem=f"{first.file} says otherwise", actual=other.method)
        method = method or other.method
    return QuantConfig(file=first.file, method=method, values=MappingProxyType(values))
