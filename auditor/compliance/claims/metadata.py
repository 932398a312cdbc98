"""What configs and headers say of a model: `config.json`, `adapter_config.json`, GGUF's `general.*`.

Each reader takes bytes (or a parsed header) and gives a frozen value with problems; a file that cannot be read
is such a value too, with nothing in it and the reason beside it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from auditor.compliance.claims.values import PROBLEMS, Notes, Problem, Value
from auditor.errors import FileError
from auditor.formats import strictjson
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping

_INNER: Final = ("text_config", "language_config", "llm_config", "language_model", "llm")
"""Where multimodal configs keep their language model's."""

_COUNTS: Final = {
    "num_hidden_layers": (0, LIMITS.layers),
    "num_attention_heads": (1, 1 << 16),
    "num_key_value_heads": (1, 1 << 16),
    "hidden_size": (1, 1 << 20),
    "intermediate_size": (1, 1 << 22),
    "vocab_size": (1, 1 << 28),
}
"""Numbers that loops, divisions and allocations elsewhere may take from a config, with what they can be."""

_QUANT_BASES: Final = ("model_name_or_path", "base_model_name_or_path", "model_file_base_name")
_GGUF_BASES: Final = 64  # base models listed in one header
_GGUF_BASE: Final = re.compile(r"general\.base_model\.(\d{1,3})\.([a-z_.]{1,40})")
_GGUF_DATASET: Final = re.compile(r"general\.dataset\.(\d{1,3})\.(?:name|repo_url)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """`config.json`.

    Attributes
    ----------
    path : str
    bases : tuple of Value
        `_name_or_path` of the model and of the language model inside it: where it was loaded from, which for a
        fine-tune is often the base and may as well be a folder of its maker.
    model_type : Value or None
    architectures : tuple of Value
    auto_map : tuple of Value
        Python code that loading with `trust_remote_code` would import. Never imported here.
    quant_method : Value or None
    quant_bases : tuple of Value
        Model names inside `quantization_config`.
    readable : bool
    problems : tuple of Problem
    """

    path: str
    bases: tuple[Value, ...] = ()
    model_type: Value | None = None
    architectures: tuple[Value, ...] = ()
    auto_map: tuple[Value, ...] = ()
    quant_method: Value | None = None
    quant_bases: tuple[Value, ...] = ()
    readable: bool = True
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """`adapter_config.json` of PEFT.

    Attributes
    ----------
    path : str
    base : Value or None
        `base_model_name_or_path`.
    revision : Value or None
        Of the base.
    peft_type : Value or None
        "LORA", ...
    readable : bool
    problems : tuple of Problem
    """

    path: str
    base: Value | None = None
    revision: Value | None = None
    peft_type: Value | None = None
    readable: bool = True
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufBase:
    """One of `general.base_model.{i}.*`."""

    index: int
    name: Value | None = None
    organization: Value | None = None
    version: Value | None = None
    repo_url: Value | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufMetadata:
    """What a GGUF header says in `general.*`.

    Attributes
    ----------
    path : str
    name, basename, finetune, author, organization, quantized_by : Value or None
    license, license_name, license_link : Value or None
    sources : tuple of Value
        Links to where the model is or comes from: `general.url`, `repo_url`, `source.*`.
    base_models : tuple of GgufBase
    datasets, tags : tuple of Value
    problems : tuple of Problem
    """

    path: str
    name: Value | None = None
    basename: Value | None = None
    finetune: Value | None = None
    author: Value | None = None
    organization: Value | None = None
    quantized_by: Value | None = None
    license: Value | None = None
    license_name: Value | None = None
    license_link: Value | None = None
    sources: tuple[Value, ...] = ()
    base_models: tuple[GgufBase, ...] = ()
    datasets: tuple[Value, ...] = ()
    tags: tuple[Value, ...] = ()
    problems: tuple[Problem, ...] = ()


def parse_config(data: bytes, *, file: str) -> ModelConfig:
    """Read `config.json`. Nothing is raised, whatever the bytes."""
    notes = Notes(file)
    root = _object(data, notes)
    if root is None:
        return ModelConfig(path=file, readable=False, problems=notes.all())
    fields = _Fields(root, notes)
    bases = [fields.text("_name_or_path")]
    _check_counts(root, notes, "")
    for name in _INNER:
        if isinstance(inner := root.get(name), dict):
            bases.append(_Fields(inner, notes, f"{name}.").text("_name_or_path"))
            _check_counts(inner, notes, f"{name}.")
    quant = fields.inner("quantization_config")
    return ModelConfig(
        path=file,
        bases=tuple(base for base in bases if base is not None),
        model_type=fields.text("model_type"),
        architectures=fields.texts("architectures"),
        auto_map=_auto_map(fields, notes),
        quant_method=quant.text("quant_method") if quant else None,
        quant_bases=tuple(base for key in _QUANT_BASES if quant and (base := quant.text(key))),
        problems=notes.all(),
    )


def parse_adapter_config(data: bytes, *, file: str) -> AdapterConfig:
    """Read `adapter_config.json`. Nothing is raised, whatever the bytes."""
    notes = Notes(file)
    root = _object(data, notes)
    if root is None:
        return AdapterConfig(path=file, readable=False, problems=notes.all())
    fields = _Fields(root, notes)
    base = fields.text("base_model_name_or_path")
    if base is None and not notes.all():
        notes.add("empty-value", "an adapter without the name of its base", key="base_model_name_or_path")
    return AdapterConfig(
        path=file,
        base=base,
        revision=fields.text("revision"),
        peft_type=fields.text("peft_type"),
        problems=notes.all(),
    )


def parse_gguf_metadata(header: Mapping[str, object], *, file: str) -> GgufMetadata:
    """Read what a parsed GGUF header says of licence and origin. Nothing is raised, whatever its values."""
    notes = Notes(file)
    fields = _Fields(header, notes)
    sources = ("general.url", "general.repo_url", "general.source.url", "general.source.repo_url")
    huggingface = ("general.source.huggingface.repository", "general.source.huggingface.repo_url")
    return GgufMetadata(
        path=file,
        name=fields.text("general.name"),
        basename=fields.text("general.basename"),
        finetune=fields.text("general.finetune"),
        author=fields.text("general.author"),
        organization=fields.text("general.organization"),
        quantized_by=fields.text("general.quantized_by"),
        license=fields.text("general.license"),
        license_name=fields.text("general.license.name"),
        license_link=fields.text("general.license.link"),
        sources=tuple(value for key in sources + huggingface if (value := fields.text(key))),
        base_models=_gguf_bases(header, fields, notes),
        datasets=_gguf_datasets(header, fields),
        tags=fields.texts("general.tags"),
        problems=notes.all(),
    )


def _object(data: bytes, notes: Notes) -> dict[str, object] | None:
    if len(data) > LIMITS.config_bytes:
        notes.add("too-large", f"{len(data)} bytes, at most {LIMITS.config_bytes} are read")
        return None
    try:
        root = strictjson.loads(data, file=notes.path, field="text")
    except FileError as error:
        notes.refusal(error)
        return None
    if not isinstance(root, dict):
        notes.add("not-a-mapping", PROBLEMS["not-a-mapping"])
        return None
    return root


class _Fields:
    """Typed access to a map of a hostile file: a wrong type is a problem, an absent key is None."""

    def __init__(self, root: Mapping[str, object], notes: Notes, prefix: str = "") -> None:
        self._root = root
        self._notes = notes
        self._prefix = prefix

    def names(self) -> tuple[str, ...]:
        return tuple(self._root)[: LIMITS.metadata_values]

    def text(self, key: str) -> Value | None:
        return self._value(self._root.get(key), self._prefix + key)

    def texts(self, key: str) -> tuple[Value, ...]:
        found = self._root.get(key)
        items = found if isinstance(found, list | tuple) else [] if found is None else [found]
        if len(items) > LIMITS.metadata_values:
            self._notes.add("too-large", f"{len(items)} values", key=self._prefix + key)
        values = (self._value(item, f"{self._prefix}{key}[{i}]") for i, item in enumerate(_head(items)))
        return tuple(value for value in values if value is not None)

    def inner(self, key: str) -> _Fields | None:
        found = self._root.get(key)
        if isinstance(found, dict):
            return _Fields(found, self._notes, f"{self._prefix}{key}.")
        if found is not None:
            self._notes.add("wrong-type", f"{key} is not a map", key=self._prefix + key)
        return None

    def _value(self, found: object, key: str) -> Value | None:
        if isinstance(found, str):
            return self._notes.value(found, key) if found.strip() else None
        if found is not None:
            self._notes.add("wrong-type", f"{key} is not text", key=key)
        return None


def _head(items: list[object] | tuple[object, ...]) -> list[object] | tuple[object, ...]:
    return items[: LIMITS.metadata_values]


def _check_counts(root: Mapping[str, object], notes: Notes, prefix: str) -> None:
    for key, (low, high) in _COUNTS.items():
        found = root.get(key)
        if found is None:
            continue
        if type(found) is not int:
            if not isinstance(found, list):  # some architectures give a width for each layer
                notes.add("wrong-type", f"{key} is not an integer", key=prefix + key)
        elif not low <= found <= high:
            shown = found if found.bit_length() < 64 else f"an integer of {found.bit_length()} bits"
            notes.add("out-of-range", f"{key} is {shown}, allowed {low} to {high}", key=prefix + key)


def _auto_map(fields: _Fields, notes: Notes) -> tuple[Value, ...]:
    inner = fields.inner("auto_map")
    if inner is None:
        return ()
    found = tuple(value for key in inner.names() for value in inner.texts(key))
    for value in found:
        notes.add("auto-map", f"{value.key} names the code {value.text[:120]!r}", key=value.key)
    return found


def _gguf_bases(header: Mapping[str, object], fields: _Fields, notes: Notes) -> tuple[GgufBase, ...]:
    listed = sorted({int(match[1]) for key in header if (match := _GGUF_BASE.fullmatch(key))})
    count = header.get("general.base_model.count")
    key = "general.base_model.count"
    if count is not None and (type(count) is not int or not 0 <= count <= _GGUF_BASES):
        notes.add("out-of-range", f"not a number of base models up to {_GGUF_BASES}", key=key)
    elif listed and count != len(listed):
        notes.add("out-of-range", f"says {count or 0}, and {len(listed)} are described", key=key)
    bases = []
    for index in listed[:_GGUF_BASES]:
        start = f"general.base_model.{index}."
        bases.append(
            GgufBase(
                index=index,
                name=fields.text(start + "name"),
                organization=fields.text(start + "organization"),
                version=fields.text(start + "version"),
                repo_url=fields.text(start + "repo_url"),
            )
        )
    return tuple(bases)


def _gguf_datasets(header: Mapping[str, object], fields: _Fields) -> tuple[Value, ...]:
    keys = [key for key in header if _GGUF_DATASET.fullmatch(key)]
    values = [fields.text(key) for key in keys[: LIMITS.metadata_values]]
    return fields.texts("general.datasets") + tuple(value for value in values if value is not None)
