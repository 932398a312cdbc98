"""From edits between an official text and a file to differences that name their clause.

Not every edit is a difference. Official copies differ from each other in places that the table lists, and a
renderer that turns "a." into a list item takes the number away: that is accepted where it happened to all
numbers of that depth, and reported where one number is missing or another one stands in its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from auditor.compliance.texts.alignment import Alignment, Edit, leftmost
from auditor.compliance.texts.license_hashes import OfficialText, hash_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from auditor.compliance.texts.normalize import Text

Change = Literal["missing", "changed", "added", "moved"]

_ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6, "vii": 7, "viii": 8, "ix": 9, "x": 10}
_MOVED = 8  # words; shorter clauses may stand elsewhere by chance
_PIECES = 4  # lines that one word, an address, may be broken over
_CONTEXT = 5  # words quoted on both sides of a difference


@dataclass(frozen=True, slots=True, kw_only=True)
class ClauseDifference:
    """One place in which a file departs from an official text.

    Attributes
    ----------
    clause : str
        "1.b.iii"; "preamble" for all that stands before clause 1.
    change : {"missing", "changed", "added", "moved"}
        What happened to the words. "moved" is a whole clause that stands somewhere else.
    line : int
        Line of the file.
    quote : str
        What the file says there, the place in square brackets. Text of the file, not escaped.
    words : int
        Official words missing or changed, or words added.
    whole : bool
        Whether no word of the clause is left in its place.
    names_only : bool
        Whether only names of the licensor or the product were exchanged for others.
    """

    clause: str
    change: Change
    line: int
    quote: str
    words: int
    whole: bool = False
    names_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The differences, and what the classification needs beside them.

    Attributes
    ----------
    differences : tuple of ClauseDifference
    edits : tuple of Edit
        The edits that are differences.
    moved : tuple of (int, int)
        Words of the file that hold a clause out of its place.
    unnumbered : bool
        Whether list numbers were lost or restyled as a whole.
    """

    differences: tuple[ClauseDifference, ...]
    edits: tuple[Edit, ...]
    moved: tuple[tuple[int, int], ...] = ()
    unnumbered: bool = False


def judge(official: OfficialText, alignment: Alignment, text: Text, codes: str) -> Verdict:
    """Tell the differences among the edits of an alignment.

    Parameters
    ----------
    codes : str
        Word codes of the file.
    """
    edits = [edit for edit in alignment.edits if not _is_variant(official, edit, text, codes)]
    renumbered = _renumbered(official, edits, text)
    edits = [edit for edit in edits if edit not in renumbered]
    moved = _moved(official, edits, codes)
    moved_clauses, moved_words = set(moved), list(moved.values())
    differences: list[ClauseDifference] = []
    kept: list[Edit] = []
    for edit in edits:
        if edit.a0 == edit.a1 and _within(edit, moved_words):
            continue
        kept.append(edit)
        differences += _describe(official, edit, text, alignment, moved_clauses)
    differences += [
        ClauseDifference(
            clause=official.clauses[index].name,
            change="moved",
            line=text.line(start),
            quote=text.quote(start, stop),
            words=stop - start,
            whole=True,
        )
        for index, (start, stop) in moved.items()
    ]
    return Verdict(
        differences=tuple(sorted(differences, key=lambda d: d.line)),
        edits=tuple(kept),
        moved=tuple(moved_words),
        unnumbered=bool(renumbered),
    )


def _is_variant(official: OfficialText, edit: Edit, text: Text, codes: str) -> bool:
    """Whether some official copy has these words here."""
    wanted = official.codes[edit.a0 : edit.a1]
    instead = list(range(edit.b0, edit.b1))
    if wanted and (_is_third(official, edit, text) or _is_broken(wanted, instead, text)):
        return True
    if not official.marks:  # a policy, whose copies number their lists in different ways
        instead = [i for i in instead if not text.is_list_mark(i, at_line_start=False)]
    found = "".join(codes[i] for i in instead)
    return found == wanted or leftmost(official.codes, edit, found) in official.alternatives


def _is_third(official: OfficialText, edit: Edit, text: Text) -> bool:
    """Whether it is the letter c of a list, written "(c)", which elsewhere is a copyright sign."""
    is_mark = edit.a1 - edit.a0 == edit.b1 - edit.b0 == 1 and official.marks.get(edit.a0, (0, 0))[1] == 3
    return is_mark and text.folded[edit.b0] == "\u00a9"


def _is_broken(wanted: str, indices: Sequence[int], text: Text) -> bool:
    """Whether the words are the wanted ones, some of them broken over lines without a hyphen."""
    at = 0
    for code in wanted:
        word = ""
        for index in range(at, min(at + _PIECES, len(indices))):
            if word and not _breaks(text.between(indices[index])):
                return False
            word += text.folded[indices[index]]
            if hash_table().encode([word]) == code:
                at = index + 1
                break
        else:
            return False
    return at == len(indices)


def _renumbered(official: OfficialText, edits: Sequence[Edit], text: Text) -> frozenset[Edit]:
    """Edits that only take away or restyle list numbers, of depths at which no number is as it was."""
    touched = {position for edit in edits for position in range(edit.a0, edit.a1)}
    intact = {depth for position, (depth, _) in official.marks.items() if position not in touched}
    return frozenset(edit for edit in edits if edit.a0 < edit.a1 and all(_restyled(official, edit, text, intact)))


def _restyled(official: OfficialText, edit: Edit, text: Text, intact: set[int]) -> Iterator[bool]:
    for offset, position in enumerate(range(edit.a0, edit.a1)):
        depth, ordinal = official.marks.get(position, (0, 0))
        yield bool(depth) and depth not in intact
        if edit.b0 < edit.b1:
            index = edit.b0 + offset
            yield edit.b1 - edit.b0 == edit.a1 - edit.a0
            yield text.is_list_mark(index, at_line_start=False) and ordinal in _ordinals(text.folded[index])


def _ordinals(mark: str) -> set[int]:
    """Read a list mark as the numbers it can stand for; "1." stands for any, as markdown counts on from it."""
    mark = "c" if mark == "\u00a9" else mark
    if mark.isdigit():
        return set(range(1, 100)) if mark == "1" else {int(mark)}
    values = {_ROMAN[mark]} if mark in _ROMAN else set()
    return values | ({ord(mark) - ord("a") + 1} if len(mark) == 1 else set())


def _moved(official: OfficialText, edits: Iterable[Edit], codes: str) -> dict[int, tuple[int, int]]:
    """Clauses that are missing where they belong and stand, word for word, somewhere else in the file."""
    moved: dict[int, tuple[int, int]] = {}
    for index, clause in _whole_clauses(official, edits):
        start = clause[0] + (clause[0] in official.marks)
        if clause[1] - start >= _MOVED:
            at = codes.find(official.codes[start : clause[1]])
            if at >= 0:
                moved[index] = (at, at + clause[1] - start)
    return moved


def _whole_clauses(official: OfficialText, edits: Iterable[Edit]) -> Iterator[tuple[int, tuple[int, int]]]:
    for edit in edits:
        for index, clause in enumerate(official.clauses):
            if edit.a0 <= clause.start and clause.stop <= edit.a1:
                yield index, (clause.start, clause.stop)


def _within(edit: Edit, ranges: Iterable[tuple[int, int]]) -> bool:
    """Whether the words of the edit are clauses that were moved here, with their numbers."""
    left = set(range(edit.b0, edit.b1)) - {i for start, stop in ranges for i in range(start - 1, stop + 1)}
    return not left


def _describe(
    official: OfficialText, edit: Edit, text: Text, alignment: Alignment, moved: set[int]
) -> Iterator[ClauseDifference]:
    change: Change = "changed"
    if edit.a0 == edit.a1:
        change = "added"
    elif edit.b0 == edit.b1:
        change = "missing"
    quote = _in_context(edit, text, alignment)
    line = text.line(edit.b0)
    if change == "added":
        name = official.clauses[_clause_of_insertion(official, edit, text)].name
        yield ClauseDifference(clause=name, change=change, line=line, quote=quote, words=edit.b1 - edit.b0)
        return
    names = official.name_words
    for index in range(official.clause_index(edit.a0), official.clause_index(edit.a1 - 1) + 1):
        clause = official.clauses[index]
        words = min(edit.a1, clause.stop) - max(edit.a0, clause.start)
        whole = words == clause.stop - clause.start
        if index not in moved:
            yield ClauseDifference(
                clause=clause.name,
                change=change,
                line=line,
                quote=quote,
                words=words,
                whole=whole,
                names_only=change == "changed" and all(p in names for p in range(edit.a0, edit.a1)),
            )


def _clause_of_insertion(official: OfficialText, edit: Edit, text: Text) -> int:
    """Choose the clause of the words before; between two clauses, that of the neighbour on the same line."""
    before = official.clause_index(max(0, edit.a0 - 1))
    after = official.clause_index(edit.a0)
    if before != after and _breaks(text.between(edit.b0)) and not _breaks(text.between(edit.b1)):
        return after
    return before


def _breaks(between: str) -> bool:
    return "\n" in between or "\v" in between


def _in_context(edit: Edit, text: Text, alignment: Alignment) -> str:
    before = text.quote(max(alignment.start, edit.b0 - _CONTEXT), edit.b0)
    after = text.quote(edit.b1, max(edit.b1, min(alignment.stop, edit.b1 + _CONTEXT)))
    return " ".join(filter(None, (before, f"[{text.quote(edit.b0, edit.b1)}]", after)))
