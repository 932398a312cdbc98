"""mergekit's config: which models went into a merge, and with what weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from auditor.compliance.claims.boundedyaml import Mapping, Node, Scalar, Sequence, read_yaml
from auditor.compliance.claims.values import Notes, Problem, Value
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOT_REPOS: Final = frozenset({"union", "base"})  # words that `tokenizer_source` and the like may hold


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeParent:
    """A model that went in.

    Attributes
    ----------
    model : Value
        As named: a repository id or a path. A LoRA merged into it first is a parent of its own.
    weight : float or None
        Where one number is given for the whole model.
    role : {"base", "model", "expert", "lora"}
    """

    model: Value
    weight: float | None = None
    role: str = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeConfig:
    """A merge.

    Attributes
    ----------
    path : str
    methods : tuple of Value
        "ties", "slerp", "passthrough", ...; one for each step.
    parents : tuple of MergeParent
        Each model once for each role, in order of mention.
    complete : bool
        False: a part could not be read, so there may be further parents.
    problems : tuple of Problem
    """

    path: str
    methods: tuple[Value, ...] = ()
    parents: tuple[MergeParent, ...] = ()
    complete: bool = True
    problems: tuple[Problem, ...] = ()


def parse_mergekit(data: bytes, *, file: str, first_line: int = 1) -> MergeConfig:
    """Read a mergekit config: `models`, `slices`, `modules`, `experts`, one or several documents.

    Parameters
    ----------
    data : bytes
        YAML.
    file : str
        Path inside the target.
    first_line : int
        Line number of the first byte in that file, where the config is a block of a README.

    Returns
    -------
    MergeConfig
        For any bytes; nothing is raised.
    """
    notes = Notes(file)
    complete = True
    if len(data) > LIMITS.front_matter:
        notes.add("too-large", f"{len(data)} bytes, at most {LIMITS.front_matter} are read", line=first_line)
        data, complete = data[: LIMITS.front_matter], False
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        notes.add("not-text", f"byte 0x{data[error.start]:02x} at offset {error.start}", line=first_line)
        text, complete = data.decode("utf-8", errors="replace"), False
    document = read_yaml(text.replace("\r\n", "\n").replace("\r", "\n"), notes, first_line=first_line)
    walk = _Walk(notes)
    for root in document.roots:
        walk.document(root)
    refused = any(problem.code in {"alias", "tag", "yaml-merge", "wrong-type"} for problem in notes.all())
    return MergeConfig(
        path=file,
        methods=tuple(walk.methods),
        parents=tuple(walk.parents.values()),
        complete=complete and document.complete and not refused,
        problems=notes.all(),
    )


class _Walk:
    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self.methods: list[Value] = []
        self.parents: dict[tuple[str, str], MergeParent] = {}

    def document(self, root: Node) -> None:
        if not isinstance(root, Mapping):
            self._notes.add("not-a-mapping", "a merge config is a map", line=root.line)
            return
        if isinstance(method := root.get("merge_method"), Scalar):
            self.methods.append(self._notes.value(method.text, "merge_method", line=method.line))
        if (base := root.get("base_model")) is not None:
            self._model(base, "base_model", "base", None)
        for key in ("models", "experts"):
            for entry, place in _entries(root.get(key), key):
                self._entry(entry, place, "expert" if key == "experts" else "model")
        self._slices(root.get("slices"), "slices")
        if isinstance(modules := root.get("modules"), Mapping):
            for name, module in modules.pairs[: LIMITS.metadata_values]:
                if isinstance(module, Mapping):
                    self._slices(module.get("slices"), f"modules.{name.text[:40]}.slices")

    def _slices(self, node: Node | None, key: str) -> None:
        for piece, place in _entries(node, key):
            if isinstance(piece, Mapping):
                for source, inner in _entries(piece.get("sources"), f"{place}.sources"):
                    self._entry(source, inner, "model")

    def _entry(self, node: Node, key: str, role: str) -> None:
        if isinstance(node, Scalar):  # a bare name in a list of models
            self._model(node, key, role, None)
        elif isinstance(node, Mapping):
            weight = None
            if isinstance(parameters := node.get("parameters"), Mapping):
                weight = _number(parameters.get("weight"))
            for name in ("model", "source_model"):
                if (model := node.get(name)) is not None:
                    self._model(model, f"{key}.{name}", role, weight)

    def _model(self, node: Node, key: str, role: str, weight: float | None) -> None:
        if isinstance(node, Mapping):  # {"model": {"path": ..., "revision": ...}, "lora": {...}}
            for name, inner in node.pairs:
                if name.text in {"model", "path"}:
                    self._model(inner, f"{key}.{name.text}", role, weight)
                elif name.text == "lora":
                    self._model(inner, f"{key}.lora", "lora", None)
        elif isinstance(node, Scalar):
            if node.is_null or not node.text.strip() or node.text in _NOT_REPOS:
                return
            model, plus, lora = node.text.partition("+")
            self._add(model, key, node.line, role, weight)
            if plus:
                self._add(lora, key, node.line, "lora", None)
        elif isinstance(node, Sequence):
            self._notes.add("wrong-type", f"{key} is a list, not a model", line=node.line, key=key)

    def _add(self, text: str, key: str, line: int, role: str, weight: float | None) -> None:
        known = self.parents.get((text, role))
        if known is None and len(self.parents) < LIMITS.metadata_values:
            model = self._notes.value(text, key, line=line)
            self.parents[text, role] = MergeParent(model=model, weight=weight, role=role)


def _entries(node: Node | None, key: str) -> Iterator[tuple[Node, str]]:
    if isinstance(node, Sequence):
        for index, item in enumerate(node.items[: LIMITS.metadata_values]):
            yield item, f"{key}[{index}]"


def _number(node: Node | None) -> float | None:
    if isinstance(node, Scalar) and len(node.text) < 40:
        try:
            value = float(node.text)
        except ValueError:
            return None
        return value if abs(value) < 1e6 else None
    return None
