"""`auditor fix`: the changes that put a repository right, as far as a program may write them.

It writes what the licence gives word for word (the notice) and what the weights or the repository's own files show
(licence, base, relation). It never writes what a person must say, nor the agreement, which comes with the licensed
download. Nothing is read or written here; the caller brings the bytes and applies the plan.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from auditor.compliance.fixes.card import PUTS_RIGHT, card_edits, gives_away, proving, the_card
from auditor.compliance.fixes.cardpatch import patch_card
from auditor.compliance.fixes.lineedit import LineEdit, NotEdited
from auditor.compliance.fixes.notice import existing, patch_notice
from auditor.compliance.rules import RULES
from auditor.compliance.statements import template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import date

    from auditor.compliance.situation import Situation
    from auditor.findings import Finding, Status
    from auditor.sources import Unread

SETTINGS: Final = "auditor.toml"
_NOTICE: Final = frozenset({"NOT-001", "NOT-002"})
_HOW: Final = "Take the # before a statement's lines away when you fill it in; until then nothing is stated."


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One file, before and after.

    Attributes
    ----------
    path : str
        Inside the target, or for the user's settings in the current folder.
    before : str or None
        None where there is no such file. Bytes that are no UTF-8 are surrogates.
    after : str
    diff : tuple of str
        Hunks of a unified diff. Text of the file, not escaped.
    place : {"target", "here"}
    """

    path: str
    before: str | None
    after: str
    diff: tuple[str, ...]
    place: Literal["target", "here"] = "target"

    @property
    def old(self) -> bytes | None:
        """What the file must still hold for the change to be made."""
        return None if self.before is None else self.before.encode("utf-8", "surrogateescape")

    @property
    def new(self) -> bytes:
        """What the file shall hold."""
        return self.after.encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True, kw_only=True)
class FixPlan:
    """What can be written, and what cannot.

    Attributes
    ----------
    changes : tuple of FileChange
    cannot : tuple of str
        What a person must do, and how. May hold text of the model: escape it to show it.
    basis : str
        Whether the licence applies, and why.
    """

    changes: tuple[FileChange, ...]
    cannot: tuple[str, ...]
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """What a plan must know of the disk.

    Attributes
    ----------
    contents : mapping of str to bytes
        The files of `editable` that may be written.
    locked : mapping of str to str
        Those that may not, with the reason: a link, weights, unreadable.
    names : frozenset of str
        Names at the top of the target, lower case, whatever they are.
    settings : str or None
        Why no `auditor.toml` shall be written in the current folder; None where it may be.
    origin : str
        What the library says of where the proved reference comes from.
    """

    contents: Mapping[str, bytes] = field(default_factory=dict)
    locked: Mapping[str, str] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    settings: str | None = None
    origin: str = ""


def editable(s: Situation) -> tuple[str, ...]:
    """Return the files that a plan may change, for the caller to read."""
    card, notice = the_card(s.repository), existing(s.repository, s.policy.notice)
    return tuple(file.path for file in (card, notice and notice[0]) if file)


def reference(s: Situation) -> str | None:
    """Return the name of the reference that proves descent, for the caller to look up its origin."""
    candidate = proving(s)
    return candidate.reference if candidate else None


def plan(
    s: Situation, findings: Sequence[Finding], *, today: date, folder: Folder, unread: Sequence[Unread] = ()
) -> FixPlan:
    """Plan the changes to a local folder.

    Parameters
    ----------
    s : Situation
    findings : sequence of Finding
        Of the audit; those that are waived are left alone.
    today : date
        Written into the template for statements.
    folder : Folder
    unread : sequence of Unread
        What the audit could not read, for the user to know that it was not judged.
    """
    due = [finding for finding in findings if finding.waived_until is None]
    rules = {finding.id: finding.status for finding in due if finding.status in {"fail", "warn"}}
    changes: list[FileChange] = []
    cannot = [f"{entry.path}: not judged, because it could not be read: {entry.reason}" for entry in unread]
    done: set[str] = set()
    for step in (_notice, _card):
        change, answered, notes = step(s, rules, folder)
        changes += [change] if change else []
        cannot += notes
        done |= answered
    manual = tuple(finding.id for finding in due if finding.status == "manual")
    if manual and folder.settings is None:
        changes.append(_settings(manual, today))
    elif manual:
        cannot.append(f"{', '.join(manual)}: only a person can state these; {folder.settings}")
    cannot += [
        f"{finding.id}: {finding.fix or finding.title} ({finding.evidence})"
        for finding in due
        if finding.status in {"fail", "warn", "unknown"} and finding.id not in done
    ]
    return FixPlan(changes=tuple(changes), cannot=tuple(cannot), basis=s.basis)


class _Step(NamedTuple):
    change: FileChange | None = None
    answered: AbstractSet[str] = frozenset()  # rules that need no more words
    notes: Sequence[str] = ()


def _notice(s: Situation, rules: Mapping[str, Status], folder: Folder) -> _Step:
    if not rules.keys() & _NOTICE:
        return _Step()
    patch = patch_notice(s.repository, s.policy.notice, contents=folder.contents, taken=folder.names)
    if isinstance(patch, NotEdited):
        found = existing(s.repository, s.policy.notice)
        why = folder.locked.get(found[0].path) if found else None
        reason = f"{found[0].path}: {why}" if found and why else patch.reason
        return _Step(notes=[f"{reason}. Write there, by hand: {s.policy.notice.sentence}"])
    change = FileChange(path=patch.path, before=patch.before, after=patch.after, diff=patch.diff)
    return _Step(change, _NOTICE, [patch.left] if patch.left else [])


def _card(s: Situation, rules: Mapping[str, Status], folder: Folder) -> _Step:
    edits = card_edits(s, rules, origin=folder.origin)
    if not edits:
        return _Step()
    by_hand = "Write there, by hand: " + "; ".join(f"{edit.key}: {edit.value}" for edit in edits)
    card = the_card(s.repository)
    path = card.path if card else "README.md"
    data = folder.contents.get(path) if card else b""
    if data is None or (card is None and path.lower() in folder.names):
        return _Step(notes=[f"{path}: {folder.locked.get(path, 'cannot be read')}. {by_hand}"])
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return _Step(notes=[f"{path}: not UTF-8 text at byte {error.start}. {by_hand}"])
    patch = patch_card(text, edits, file=path)
    if isinstance(patch, NotEdited):
        return _Step(notes=[f"{path}: {patch.reason}. {by_hand}"])
    if not patch.written:
        return _Step()
    change = FileChange(path=path, before=text if card else None, after=patch.after, diff=patch.diff)
    answered = frozenset().union(*(PUTS_RIGHT.get(key, ()) for key in patch.written))
    return _Step(change, answered, _still_said(s, path) if "CARD-001" in rules.keys() & answered else [])


def _still_said(s: Situation, path: str) -> list[str]:
    """Other places that put the weights under other terms: sentences, and cards that are not edited."""
    return [
        f"{claim.where.path}, line {claim.where.line}: says {claim.value!r}; take it back, or say what it is for"
        for claim, license_ in s.declared()
        if gives_away(license_)
        and not s.declares_this(license_)
        and claim.where.line is not None
        and (claim.in_prose or claim.where.path != path)
    ]


def _settings(manual: Sequence[str], today: date) -> FileChange:
    """Stubs for statements, every one commented out: a file that was only half filled in would stop every audit."""
    questions = {rule.id: f"{rule.title}. {rule.why}" for rule in RULES if rule.id in manual}
    stubs = (
        line if not line or line.startswith("#") else f"#{line}"
        for line in template(questions, today=today).split("\n")
    )
    edit = LineEdit("")
    edit.insert(0, [f"# {_HOW}", *list(stubs)[:-1]])
    return FileChange(path=SETTINGS, before=None, after=edit.text, diff=edit.diff(), place="here")
