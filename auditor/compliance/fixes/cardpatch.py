"""Change single fields in the front matter of a card by editing its lines.

YAML is never written anew: order, comments, quotes and line ends of everything else are the author's. What cannot be
edited without a doubt is left alone, and the reason said; a patch is read back before it is handed out.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import yaml

from auditor.compliance.claims.card import LISTED, SINGLE, Card, parse_card
from auditor.compliance.fixes.frontmatter import DoubtError, Field, Front
from auditor.compliance.fixes.lineedit import LineEdit, NotEdited

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_BOM: Final = "\ufeff"
_DOUBTFUL: Final = frozenset(
    {"alias", "complex-key", "document-count", "duplicate-key", "front-matter-late", "front-matter-unterminated"}
    | {"not-a-mapping", "not-text", "tag", "too-deep", "too-large", "yaml-merge", "yaml-syntax"}
)
"""Problems with which a reader may see another card than the one that was read."""

_PLAIN: Final = re.compile(r"(?:https?://)?[A-Za-z0-9][A-Za-z0-9._/~+-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldEdit:
    """What a field shall say.

    Attributes
    ----------
    key : str
    value : str
        Put there where the field is absent or empty, or in the place of what is wrong.
    wrong : callable
        Says of a value that it must go. Without a wrong one, a field that says something is left alone.
    after : str or None
        Key that it stands behind, where it is new; else it comes last.
    comment : str or None
        A line above the field.
    """

    key: str
    value: str
    wrong: Callable[[str], bool] = lambda _: False
    after: str | None = None
    comment: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CardPatch:
    """An edited card.

    Attributes
    ----------
    after : str
        The whole text.
    diff : tuple of str
        Hunks of a unified diff.
    written : tuple of str
        Keys that were changed.
    """

    after: str
    diff: tuple[str, ...]
    written: tuple[str, ...]


def patch_card(text: str, edits: Sequence[FieldEdit], *, file: str) -> CardPatch | NotEdited:
    r"""Make fields of a card say what they shall.

    Parameters
    ----------
    text : str
        The card, decoded as UTF-8 with its line ends and byte order mark; empty where there is none.
    edits : sequence of FieldEdit
        In the order in which new fields shall stand.
    file : str
        Path inside the target.

    Examples
    --------
    >>> card = "---\nlicense: mit  # ours\ntags: [x]\n---\nText\n"
    >>> edit = FieldEdit(key="license", value="llama2", wrong=lambda value: value == "mit")
    >>> patch_card(card, [edit], file="README.md").after
    '---\nlicense: llama2  # ours\ntags: [x]\n---\nText\n'
    """
    old = parse_card(text.encode(), file=file)
    for problem in old.problems:
        if problem.code in _DOUBTFUL:
            where = f"line {problem.line}: " if problem.line else ""
            return NotEdited(reason=f"{where}{problem.message}")
    if not old.complete:
        return NotEdited(reason="; ".join(p.message for p in old.problems) or "its metadata cannot be read whole")
    edit = LineEdit(text.removeprefix(_BOM))
    try:
        written = _edit(edit, old, edits) if old.has_front_matter else _begin(edit, edits)
        after = (_BOM if text.startswith(_BOM) else "") + edit.text
        # Without front matter all that was there is the body, a rule on its first line included.
        body = old.body if old.has_front_matter else re.sub(r"\r\n?", "\n", text.removeprefix(_BOM))
        _read_back(old, body, after, [e for e in edits if e.key in written])
    except DoubtError as doubt:
        return NotEdited(reason=str(doubt))
    return CardPatch(after=after, diff=edit.diff(), written=written)


def _begin(edit: LineEdit, edits: Sequence[FieldEdit]) -> tuple[str, ...]:
    """Write front matter where there is none."""
    lines = [line for e in edits for line in _lines(e, "")]
    gap = [""] if edit.lines and edit.lines[0].strip() else []
    if lines:
        edit.insert(0, ["---", *lines, "---", *gap])
    return tuple(e.key for e in edits)


def _edit(edit: LineEdit, card: Card, edits: Sequence[FieldEdit]) -> tuple[str, ...]:
    # The body begins on the line after the closing ---; the first line is the opening one.
    last = card.body_line - 2
    front = Front(edit.lines[1:last])
    indent = " " * front.indent
    written: list[str] = []
    for wish in edits:
        field = front.fields.get(wish.key)
        if field is None:
            behind = front.fields.get(wish.after or "")
            edit.insert(front.last_line(behind) + 1 if behind else last, _lines(wish, indent))
        elif not _change(edit, front, field, wish):
            continue
        elif wish.comment:
            edit.insert(front.place(field.key)[0], [f"{indent}# {wish.comment}"])
        written.append(wish.key)
    return tuple(written)


def _lines(wish: FieldEdit, indent: str) -> list[str]:
    comment = [f"{indent}# {wish.comment}"] if wish.comment else []
    return [*comment, f"{indent}{wish.key}: {_scalar(wish.value)}"]


def _change(edit: LineEdit, front: Front, field: Field, wish: FieldEdit) -> bool:
    """Put the value into a field that is there; False where it says something that may stay."""
    if field.kind == "map":
        raise DoubtError(f"{wish.key} is neither a text nor a list of texts")
    said = [item for item in field.items if not item.empty]
    wrong = [item for item in said if wish.wrong(item.text)]
    if said and not wrong:
        return False
    if not field.items:
        front.replace(edit, field.start, field.stop, _scalar(wish.value))
        return True
    first, *others = wrong or field.items[:1]
    for item in reversed(others):  # from the right: places on one line stay what they were
        if field.kind == "flow":
            front.replace(edit, field.items[field.items.index(item) - 1].stop, item.stop, "")
        else:
            front.delete_item(edit, item)
    if first.start == first.stop:  # nothing at all stands behind the colon or the dash
        front.replace(edit, first.start, first.stop, " " + _scalar(wish.value))
    else:
        front.replace(edit, first.start, first.stop, _scalar(wish.value, first.style))
    return True


def _scalar(value: str, style: str | None = None) -> str:
    """Write a text as YAML that no reader takes for anything else, quoted as what it replaces was."""
    if _PLAIN.fullmatch(value):
        if style in {'"', "'"}:
            return f"{style}{value}{style}"
        tag = yaml.resolver.Resolver().resolve(yaml.ScalarNode, value, (True, False))  # type: ignore[no-untyped-call]
        if tag == "tag:yaml.org,2002:str":
            return value
    return json.dumps(value, ensure_ascii=False)  # a JSON text is a YAML text


def _read_back(old: Card, body: str, after: str, edits: Sequence[FieldEdit]) -> None:
    """Refuse a patch that does not read as it should, or changes anything else."""
    new = parse_card(after.encode(), file=old.path)
    codes = {problem.code for problem in old.problems}
    same = new.complete and new.body.lstrip("\n") == body.lstrip("\n")
    same = same and all(problem.code in codes for problem in new.problems)
    changed = {edit.key for edit in edits}
    for key in (*LISTED, *SINGLE, "extra_gated_fields"):
        same = same and (key in changed or _texts(new, key) == _texts(old, key))
    for edit in edits:
        said = _texts(new, edit.key)
        same = same and edit.value in said and not any(edit.wrong(text) for text in said)
    if not same:
        raise DoubtError("the front matter is written in a way that is not edited with certainty")


def _texts(card: Card, key: str) -> tuple[str, ...]:
    value = getattr(card, key)
    return tuple(v.text for v in value) if isinstance(value, tuple) else (value.text,) if value else ()
