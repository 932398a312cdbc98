"""The model card: YAML front matter at line 1 of README.md, then the text.

A card that is broken is still a card: what could be read is handed over with the problems, and the weights
are audited all the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from auditor.compliance.claims.boundedyaml import Mapping, Node, Refused, Scalar, Sequence, read_yaml
from auditor.compliance.claims.values import PROBLEMS, Notes, Problem, Value
from auditor.limits import LIMITS

LISTED: Final = ("license", "base_model", "datasets", "tags")
"""Fields that hold one text or several."""

SINGLE: Final = (
    "license_name",
    "license_link",
    "base_model_relation",
    "model_name",
    "library_name",
    "pipeline_tag",
    "extra_gated_prompt",
    "extra_gated_heading",
)
"""Fields that hold one text."""

_DECISIVE: Final = frozenset({"license", "license_name", "license_link", "base_model", "base_model_relation"})
_HIDING: Final = frozenset({"complex-key", "yaml-merge"})  # any field may stand behind these
_MISSPELT: Final = {
    "licence": "license",
    "licenses": "license",
    "licences": "license",
    "license_id": "license",
    "licence_name": "license_name",
    "licence_link": "license_link",
    "license-name": "license_name",
    "license-link": "license_link",
    "base-model": "base_model",
    "basemodel": "base_model",
    "base_models": "base_model",
    "base model": "base_model",
}
_KEY_LINE: Final = re.compile(r"[A-Za-z_][\w -]{0,60}:(?:\s|$)")
_LATE_KEY: Final = re.compile(r"(?m)^(?:license|base_model|license_name):")
_LATE_LINES: Final = 200  # how far down a misplaced metadata block is looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    r"""What a card says, each value with the line it was read at.

    Attributes
    ----------
    path : str
        File inside the target.
    license, base_model, datasets, tags : tuple of Value
        One text or a list of them in the file. With a duplicate key the values of all its places are here.
    license_name, license_link, base_model_relation, model_name, library_name, pipeline_tag : Value or None
        The first one, where a key occurs twice.
    extra_gated_prompt, extra_gated_heading : Value or None
        Gate texts, whole: a gate may hold the licence.
    extra_gated_fields : tuple of Value
        Names of the form's fields.
    has_front_matter : bool
    complete : bool
        False: a part of the metadata could not be read, so that a field which is absent here may be there.
    body : str
        The text after the front matter, line ends as "\n".
    body_line : int
        Line number of the body's first line.
    problems : tuple of Problem
    """

    path: str
    license: tuple[Value, ...] = ()
    base_model: tuple[Value, ...] = ()
    datasets: tuple[Value, ...] = ()
    tags: tuple[Value, ...] = ()
    license_name: Value | None = None
    license_link: Value | None = None
    base_model_relation: Value | None = None
    model_name: Value | None = None
    library_name: Value | None = None
    pipeline_tag: Value | None = None
    extra_gated_prompt: Value | None = None
    extra_gated_heading: Value | None = None
    extra_gated_fields: tuple[Value, ...] = ()
    has_front_matter: bool = False
    complete: bool = True
    body: str = ""
    body_line: int = 1
    problems: tuple[Problem, ...] = ()


def parse_card(data: bytes, *, file: str) -> Card:
    """Read a model card.

    Parameters
    ----------
    data : bytes
        The whole file, or its first `LIMITS.card_bytes` and some.
    file : str
        Path inside the target, for the problems.

    Returns
    -------
    Card
        For any bytes; nothing is raised.
    """
    notes = Notes(file)
    text, complete = _decode(data, notes)
    front, body, body_line = _split(text, notes)
    if front is None:
        complete = complete and not any(p.code == "front-matter-unterminated" for p in notes.all())
        return Card(path=file, complete=complete, body=body, body_line=body_line, problems=notes.all())
    if len(front) > LIMITS.front_matter:
        notes.add(
            "too-large",
            f"front matter of {len(front)} characters, at most {LIMITS.front_matter} read",
            line=1,
        )
        front, complete = front[: LIMITS.front_matter], False
    document = read_yaml(front, notes, first_line=2)
    fields = _Fields(notes)
    for root in document.roots[:1]:
        fields.read(root)
    if len(document.roots) > 1:
        notes.add("document-count", "more than one YAML document in the front matter", line=2)
    complete = complete and document.complete and len(document.roots) <= 1 and not fields.lost
    complete = complete and not any(problem.code in _HIDING for problem in notes.all())
    return Card(
        path=file,
        license=fields.several("license"),
        base_model=fields.several("base_model"),
        datasets=fields.several("datasets"),
        tags=fields.several("tags"),
        license_name=fields.one("license_name"),
        license_link=fields.one("license_link"),
        base_model_relation=fields.one("base_model_relation"),
        model_name=fields.one("model_name"),
        library_name=fields.one("library_name"),
        pipeline_tag=fields.one("pipeline_tag"),
        extra_gated_prompt=fields.one("extra_gated_prompt"),
        extra_gated_heading=fields.one("extra_gated_heading"),
        extra_gated_fields=fields.several("extra_gated_fields"),
        has_front_matter=True,
        complete=complete,
        body=body,
        body_line=body_line,
        problems=notes.all(),
    )


def _decode(data: bytes, notes: Notes) -> tuple[str, bool]:
    complete = True
    if len(data) > LIMITS.card_bytes:
        notes.add("too-large", f"{len(data)} bytes, at most {LIMITS.card_bytes} read")
        data, complete = data[: LIMITS.card_bytes], False
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        if complete or len(data) - error.start > 3:  # not just a character that the cap cut in two
            line = data.count(b"\n", 0, error.start) + 1
            notes.add("not-text", f"byte 0x{data[error.start]:02x} at offset {error.start}", line=line)
            complete = False
        text = data.decode("utf-8", errors="replace")
    if text.startswith("\ufeff"):
        notes.add("byte-order-mark", PROBLEMS["byte-order-mark"], line=1)
        text = text[1:]
    return text.replace("\r\n", "\n").replace("\r", "\n"), complete


def _split(text: str, notes: Notes) -> tuple[str | None, str, int]:
    """Front matter or None, body, line number of the body."""
    lines = text.split("\n")
    if lines[0].rstrip(" \t") != "---":
        _look_for_late_metadata(lines, notes)
        return None, text, 1
    for number, line in enumerate(lines[1:], start=1):
        if line.rstrip(" \t") == "---":
            # PyYAML refuses a tab at a line's end, which other readers skip and no editor shows.
            front = [text.rstrip(" \t") if text.endswith("\t") else text for text in lines[1:number]]
            return "\n".join(front), "\n".join(lines[number + 1 :]), number + 2
    # A lone --- is also a Markdown rule: only what looks like metadata after it makes it an error.
    first = next((line for line in lines[1:] if line.strip()), "")
    if _KEY_LINE.match(first):
        notes.add("front-matter-unterminated", PROBLEMS["front-matter-unterminated"], line=1)
    return None, "\n".join(lines[1:]), 2


def _look_for_late_metadata(lines: list[str], notes: Notes) -> None:
    head = lines[:_LATE_LINES]
    marks = [number for number, line in enumerate(head) if line.rstrip(" \t") == "---"]
    for start, stop in pairwise(marks):
        block = "\n".join(head[start + 1 : stop])
        if _LATE_KEY.search(block):
            notes.add("front-matter-late", PROBLEMS["front-matter-late"], line=start + 1)
            return


class _Fields:
    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._found: dict[str, list[Value]] = {}
        self.lost = False  # a value that decides something was there and could not be taken

    def several(self, name: str) -> tuple[Value, ...]:
        return tuple(self._found.get(name, ()))

    def one(self, name: str) -> Value | None:
        return next(iter(self._found.get(name, ())), None)

    def read(self, root: Node) -> None:
        if isinstance(root, Scalar) and root.is_null:
            return
        if not isinstance(root, Mapping):
            self._notes.add("not-a-mapping", PROBLEMS["not-a-mapping"], line=root.line)
            self.lost = True
            return
        for key, node in root.pairs:
            name = key.text
            if name in LISTED:
                self._listed(name, node)
            elif name in SINGLE:
                self._scalar(name, name, node)
            elif name == "extra_gated_fields":
                self._form(node)
            elif right := _close_to(name):
                self._notes.add("misspelt-key", f"{name!r} is not read; meant {right!r}?", line=key.line, key=name)

    def _listed(self, name: str, node: Node) -> None:
        if not isinstance(node, Sequence):
            self._scalar(name, name, node)
            return
        if not node.items:
            self._notes.add("empty-value", f"{name} is an empty list", line=node.line, key=name)
        if len(node.items) > LIMITS.metadata_values:
            self._notes.add("too-large", f"{len(node.items)} values", line=node.line, key=name)
            self.lost = self.lost or name in _DECISIVE
        for index, item in enumerate(node.items[: LIMITS.metadata_values]):
            self._scalar(name, f"{name}[{index}]", item)

    def _scalar(self, name: str, key: str, node: Node) -> None:
        if not isinstance(node, Scalar):
            if not isinstance(node, Refused):  # that one has its problem already
                found = "a map" if isinstance(node, Mapping) else "a list"
                self._notes.add("wrong-type", f"{key} is {found}, not text", line=node.line, key=key)
            self.lost = self.lost or name in _DECISIVE
        elif node.is_null or not node.text.strip():
            self._notes.add("empty-value", f"{key} is empty", line=node.line, key=key)
        elif node.is_boolean and name in _DECISIVE:
            message = f"{key}: bare {node.text} is a boolean in YAML 1.1 and text in 1.2; quote it"
            self._notes.add("yaml-boolean", message, line=node.line, key=key)
            self.lost = True
        elif not node.is_text and name in _DECISIVE:
            self._notes.add("wrong-type", f"{key} is a number or a date, not text", line=node.line, key=key)
            self.lost = True
        else:
            whole = name.startswith("extra_gated")
            value = self._notes.value(node.text, key, line=node.line, cut=not whole)
            self._found.setdefault(name, []).append(value)

    def _form(self, node: Node) -> None:
        if isinstance(node, Mapping):
            values = [self._notes.value(key.text, "extra_gated_fields", line=key.line) for key, _ in node.pairs]
            self._found.setdefault("extra_gated_fields", []).extend(values[: LIMITS.metadata_values])
        elif not (isinstance(node, Scalar) and node.is_null):
            self._notes.add("wrong-type", "not a map", line=node.line, key="extra_gated_fields")


def _close_to(name: str) -> str | None:
    plain = name.strip().lower()
    if plain in _MISSPELT:
        return _MISSPELT[plain]
    return plain if plain != name and plain in _DECISIVE else None
