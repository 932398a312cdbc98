"""PEFT adapters: what one changes of which model, as `adapter_model.*` and `adapter_config.json` have it.

An adapter names its base, which is a claim. Its low-rank matrices (LoRA, Hu et al., arXiv:2106.09685) are a difference
to a model that is not in the file, so by themselves they prove no descent; whole modules saved beside them do. With the
base at hand, `auditor.model.merged` shows what the two make together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import sqrt
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING

from auditor.errors import FileError, LimitExceeded, MissingField, SizeMismatch, WrongType
from auditor.formats.strictjson import expect, loads, quoted
from auditor.limits import LIMITS
from auditor.model.canonical import CanonicalName, canonical_name, canonical_stem
from auditor.sources.base import Blob, Unread

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from auditor.formats import Container, TensorEntry
    from auditor.sources.base import Source

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_WRAPPER = "base_model.model."
_LORA = re.compile(r"(?s)(.+)\.lora_(embedding_)?([AB])(?:\.(?!weight$)[^.]+)?(?:\.weight)?")
_PLAIN_PATTERN = re.compile(r"\^?([A-Za-z0-9_.-]+)")
_PLAIN_STARTS = frozenset({True, False, "gaussian", "eva", "orthogonal"})
"""Ways to begin a LoRA that leave the base as it is; that of PiSSA, OLoRA, CorDA, LoftQ and others changes another."""

_UNMERGED = {
    "use_dora": "DoRA",
    "use_qalora": "QA-LoRA",
    "use_bdlora": "BD-LoRA",
    "alora_invocation_tokens": "aLoRA",
    "velora_config": "VeLoRA",
    "monteclora_config": "MonteCLoRA",
    "arrow_config": "Arrow",
    "megatron_config": "Megatron layers",
    "lora_bias": "trained biases",
    "layer_replication": "repeated layers",
    "trainable_token_indices": "trained tokens",
    "target_parameters": "changes of parameters that are no module",
}
"""Keys of a LoRA's config that, where they are set, change what a merge gives."""

Place = tuple[int | None, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRank:
    """The change of one matrix: `scaling * up @ down`.

    Attributes
    ----------
    down : TensorEntry, shape (rank, in)
        PEFT's `lora_A`.
    up : TensorEntry, shape (out, rank)
        PEFT's `lora_B`.
    scaling : float
    embedding : bool
        Of an embedding table, whose rows are what goes in: the change is the transpose.
    """

    down: TensorEntry
    up: TensorEntry
    scaling: float
    embedding: bool

    @property
    def rank(self) -> int:
        """Rank of the change at most."""
        return self.down.shape[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """What `adapter_config.json` says.

    Attributes
    ----------
    file : str
    method : str
        `peft_type`: "LORA".
    base : str or None
        The model that it says to belong to: a claim.
    revision : str or None
        Of that model, a claim too.
    rank : int or None
    alpha : float or None
    rank_stabilised : bool
        Scaling is `alpha / sqrt(rank)` (rsLoRA, arXiv:2312.03732) instead of `alpha / rank`.
    fan_in_fan_out : bool
        Weights of the base lie as `[in, out]`.
    target_modules, modules_to_save : tuple of str
        As given; one text where a pattern is given.
    rank_pattern, alpha_pattern : mapping of str to number
        Exceptions by the end of a module's name.
    problems : tuple of str
        What the config asks for that is not merged here.
    """

    file: str
    method: str
    base: str | None = None
    revision: str | None = None
    rank: int | None = None
    alpha: float | None = None
    rank_stabilised: bool = False
    fan_in_fan_out: bool = False
    target_modules: tuple[str, ...] = ()
    modules_to_save: tuple[str, ...] = ()
    rank_pattern: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    alpha_pattern: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    problems: tuple[str, ...] = ()

    def scaling(self, module: str, rank: int) -> float | None:
        """Return by what the change of a module is multiplied; None where the config does not say."""
        declared, alpha = _matching(self.rank_pattern, module), _matching(self.alpha_pattern, module)
        declared = self.rank if declared is None else declared
        alpha = self.alpha if alpha is None else alpha
        if alpha is None or declared != rank:
            return None
        return alpha / (sqrt(rank) if self.rank_stabilised else rank)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """An adapter in a target.

    Attributes
    ----------
    file : str
        Its weights.
    config : AdapterConfig or None
        None where there is no `adapter_config.json` beside it that can be read.
    container : Container
        That holds its tensors.
    changes : mapping of (layer or None, role) to LowRank
    full : mapping of (layer or None, role) to TensorEntry
        Whole tensors saved in it, which stand in the place of the base's: evidence of their own.
    problems : tuple of str
        Why it cannot be merged into its base; empty where it can.
    """

    file: str
    config: AdapterConfig | None
    container: Container
    changes: Mapping[Place, LowRank]
    full: Mapping[Place, TensorEntry]
    problems: tuple[str, ...]

    @property
    def base(self) -> str | None:
        """The model that it says to belong to."""
        return self.config.base if self.config else None


def find_adapters(source: Source, containers: Iterable[Container]) -> tuple[tuple[Adapter, ...], tuple[Unread, ...]]:
    """Find the adapters of a target.

    Parameters
    ----------
    source : Source
    containers : iterable of Container

    Returns
    -------
    adapters : tuple of Adapter
    unread : tuple of Unread
        Configs that could not be read.
    """
    files = {info.path: info for info in source.files()}
    adapters: list[Adapter] = []
    unread: list[Unread] = []
    for container in containers:
        for path in container.files:
            if PurePosixPath(path).name not in WEIGHTS:
                continue
            info = files.get(str(PurePosixPath(path).parent / CONFIG))
            config = None
            if info is not None:
                try:
                    config = parse_config(Blob(source, info))
                except FileError as error:
                    unread.append(Unread.from_error(error))
            adapters.append(_adapter(path, container, config))
    return tuple(adapters), tuple(unread)


def parse_config(blob: Blob) -> AdapterConfig:
    """Read `adapter_config.json`.

    Raises
    ------
    FileError
        Not strict JSON, longer than `LIMITS.config_bytes`, or a value of another kind than PEFT writes.
    """
    file = blob.path
    if blob.size > LIMITS.config_bytes:
        raise LimitExceeded(file=file, field="size", actual=blob.size, limit=LIMITS.config_bytes)
    values = expect(loads(blob.read(0, blob.size), file=file, field="config"), dict, file=file, field="config")
    if "peft_type" not in values:
        raise MissingField(file=file, field="peft_type")
    method = expect(values["peft_type"], str, file=file, field="peft_type")
    rank = _number(values, "r", file)
    return AdapterConfig(
        file=file,
        method=method,
        base=_text(values, "base_model_name_or_path", file),
        revision=_text(values, "revision", file),
        rank=None if rank is None else int(rank),
        alpha=_number(values, "lora_alpha", file),
        rank_stabilised=_flag(values, "use_rslora", file),
        fan_in_fan_out=_flag(values, "fan_in_fan_out", file),
        target_modules=_texts(values, "target_modules", file),
        modules_to_save=_texts(values, "modules_to_save", file),
        rank_pattern=_patterns(values, "rank_pattern", file),
        alpha_pattern=_patterns(values, "alpha_pattern", file),
        problems=_unmerged(values, method),
    )


def _unmerged(values: Mapping[str, object], method: str) -> tuple[str, ...]:
    """Name what a config asks for that changes what a merge gives."""
    if method != "LORA":
        return (f"an adapter of kind {method}, which is not merged",)
    problems = [f"{what}, which is not merged" for key, what in _UNMERGED.items() if values.get(key)]
    if values.get("bias") and values["bias"] != "none":
        problems.append("trained biases, which are not merged")
    start = values.get("init_lora_weights", True)
    if not isinstance(start, (bool, str)) or start not in _PLAIN_STARTS:
        problems.append(f"init_lora_weights {start!r}, which may change the base")
    for key in ("rank_pattern", "alpha_pattern"):
        patterns = values.get(key)
        problems += [
            f"{key} {quoted(pattern)}: an expression, which is not followed"
            for pattern in (patterns if isinstance(patterns, dict) else ())
            if not _PLAIN_PATTERN.fullmatch(pattern)
        ]
    return tuple(problems)


def _matching(patterns: Mapping[str, float], module: str) -> float | None:
    """Return the value of the first pattern that a module's name ends in, whole components only.

    PEFT takes a key for an expression behind which the name ends; one that is more than a name is in
    `AdapterConfig.problems`, and no expression of a file is ever run.
    """
    for key, value in patterns.items():
        match = _PLAIN_PATTERN.fullmatch(key)
        if match and (module == match[1] or (not key.startswith("^") and module.endswith(f".{match[1]}"))):
            return value
    return None


def _adapter(path: str, container: Container, config: AdapterConfig | None) -> Adapter:
    problems: list[str] = list(config.problems) if config else ["no adapter_config.json that can be read"]
    changes: dict[Place, LowRank] = {}
    halves: dict[tuple[str, bool], dict[str, TensorEntry]] = {}
    full: dict[Place, TensorEntry] = {}
    prefixes: set[str] = set()
    own = (entry for entry in container.tensors if entry.file == path)
    problems += [problem for entry in own if (problem := _sort(entry, halves, full))]
    for (module, embedding), sides in halves.items():
        stem = canonical_stem(module.removeprefix(_WRAPPER))
        if stem is None or len(sides) != 2:
            problems.append(
                f"{quoted(module)}: its place is not known" if stem is None else f"{quoted(module)}: one half"
            )
            continue
        try:
            changes[stem.layer, stem.role] = _low_rank(module, sides, config, embedding=embedding)
        except FileError as error:
            problems.append(str(error))
        prefixes.add(stem.prefix)
    if len(prefixes) > 1:
        problems.append("changes of several models in one")
    return Adapter(
        file=path,
        config=config,
        container=container,
        changes=MappingProxyType(changes),
        full=MappingProxyType(full),
        problems=tuple(problems[: LIMITS.metadata_problems]),
    )


def _sort(
    entry: TensorEntry, halves: dict[tuple[str, bool], dict[str, TensorEntry]], full: dict[Place, TensorEntry]
) -> str | None:
    """Put a tensor where it belongs; return what is wrong where that cannot be."""
    match = _LORA.fullmatch(entry.name)
    if match:
        first = halves.setdefault((match[1], bool(match[2])), {}).setdefault(match[3], entry)
    elif name := _full_name(entry.name):
        first = full.setdefault((name.layer, name.role), entry)
    else:
        return f"{quoted(entry.name)}, which is not merged"
    return None if first is entry else f"{quoted(entry.name)}: a second tensor for the same place"


def _full_name(name: str) -> CanonicalName | None:
    parts = name.removeprefix(_WRAPPER).split(".")
    if "modules_to_save" in parts:  # followed by the adapter's own name where PEFT is older
        at = parts.index("modules_to_save")
        parts = parts[:at] + parts[-1:]
    return canonical_name(".".join(part for part in parts if part != "base_layer"))


def _low_rank(
    module: str, sides: Mapping[str, TensorEntry], config: AdapterConfig | None, *, embedding: bool
) -> LowRank:
    down, up = sides["A"], sides["B"]
    field_ = f"adapter of {quoted(module)}"
    if len(down.shape) != 2 or len(up.shape) != 2 or down.shape[0] != up.shape[1]:
        raise SizeMismatch(file=down.file, field=field_, actual=(down.shape, up.shape), limit="one rank")
    if max(down.count, up.shape[1]) > LIMITS.adapter_elements:
        raise LimitExceeded(file=down.file, field=field_, actual=down.count, limit=LIMITS.adapter_elements)
    rank = down.shape[0]
    scaling = config.scaling(module.removeprefix(_WRAPPER), rank) if config and rank else None
    if scaling is None:
        problem = "the config does not give it this rank, or no alpha"
        raise SizeMismatch(file=down.file, field=field_, problem=problem, actual=rank)
    return LowRank(down=down, up=up, scaling=scaling, embedding=embedding)


def _text(values: Mapping[str, object], key: str, file: str) -> str | None:
    value = values.get(key)
    return None if value is None else expect(value, str, file=file, field=key)[: LIMITS.value_chars]


def _flag(values: Mapping[str, object], key: str, file: str) -> bool:
    value = values.get(key)
    return False if value is None else expect(value, bool, file=file, field=key)


def _number(values: Mapping[str, object], key: str, file: str) -> float | None:
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1 << 31:
        raise WrongType(file=file, field=key, actual=value, limit="a positive number")
    return value


def _texts(values: Mapping[str, object], key: str, file: str) -> tuple[str, ...]:
    value = values.get(key)
    if value is None or isinstance(value, str):
        return () if value is None else (value[: LIMITS.value_chars],)
    items = expect(value, list, file=file, field=key)[: LIMITS.metadata_values]
    return tuple(expect(item, str, file=file, field=key)[: LIMITS.value_chars] for item in items)


def _patterns(values: Mapping[str, object], key: str, file: str) -> Mapping[str, float]:
    value = values.get(key)
    if value is None:
        return MappingProxyType({})
    found = expect(value, dict, file=file, field=key)
    if len(found) > LIMITS.metadata_values:
        raise LimitExceeded(file=file, field=key, actual=len(found), limit=LIMITS.metadata_values)
    return MappingProxyType({name: _number(found, name, file) or 0.0 for name in found})
