"""Find every official text that a file holds, and what differs.

The best match is taken out of the file and the rest is searched again, so that a file may hold an agreement and
its use policy, or two versions. What is found need not be unchanged; `license_text` says what to call it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from auditor.compliance.texts.alignment import Alignment, Edit, align, gram_starts
from auditor.compliance.texts.license_edits import Verdict, judge
from auditor.compliance.texts.license_hashes import GRAM, UNKNOWN, OfficialText, hash_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from auditor.compliance.texts.normalize import Text

_STARTS = 12_000  # places of a file where official word runs begin that are looked at: all texts of the table once
_TEXTS = 4  # official texts looked for in one file
_CANDIDATES = 3  # official texts compared with one place
_WORDS = 40  # fewer are a title, as tools print it, or a sentence quoted
_QUOTATION = 0.25  # of a text's words; a smaller part that is not its beginning is a quotation
_STRAYS = 2
_GLUE = re.compile(r"[ \t.]+")
_BREAK = re.compile(r"[\n\v]")


@dataclass(frozen=True, slots=True)
class Found:
    """An official text in a file: which, where, and how it differs."""

    official: OfficialText
    alignment: Alignment
    verdict: Verdict


def find_texts(text: Text) -> list[Found]:
    """Every official text in the file, in its order."""
    return sorted(_take_out(text), key=lambda found: found.alignment.start)


def taken(found: Sequence[Found]) -> list[tuple[int, int]]:
    """Words of the file that are official text, as ranges that do not touch."""
    ranges: list[tuple[int, int]] = []
    spans = (span for f in found for span in ((f.alignment.start, f.alignment.stop), *f.verdict.moved))
    for start, stop in sorted(spans):
        if ranges and start <= ranges[-1][1]:
            ranges[-1] = (ranges[-1][0], max(stop, ranges[-1][1]))
        else:
            ranges.append((start, stop))
    return ranges


def _take_out(text: Text) -> Iterator[Found]:
    table = hash_table()
    codes = table.encode(text.folded)
    known: dict[str, object] = {}
    for official in table.texts:
        known.update(official.grams)
    for _ in range(_TEXTS):
        starts = gram_starts(codes, known, limit=_STARTS)
        best = _best(codes, starts, table.texts)
        if best is None:
            return
        official, alignment = best
        alignment = _with_strays(_without_false_title(official, alignment, text), text)
        found = Found(official, alignment, judge(official, alignment, text, codes))
        yield found
        for start, stop in ((alignment.start, alignment.stop), *found.verdict.moved):
            codes = codes[:start] + UNKNOWN * (stop - start) + codes[stop:]


def _best(codes: str, starts: Sequence[int], texts: Sequence[OfficialText]) -> tuple[OfficialText, Alignment] | None:
    """Return the text with the most words in common, less those that differ on either side."""
    grams = {codes[i : i + GRAM] for i in starts}
    ranked = sorted(texts, key=lambda text: -len(grams & text.grams.keys()))[:_CANDIDATES]
    best: tuple[OfficialText, Alignment] | None = None
    best_score = 0
    for official in ranked:
        alignment = align(official.codes, official.grams, codes, starts)
        if alignment is None or not _is_there(official, alignment):
            continue
        added = sum(edit.b1 - edit.b0 for edit in alignment.edits)
        score = 2 * alignment.matched - len(official.codes) - added
        if best is None or score > best_score:
            best, best_score = (official, alignment), score
    return best


def _is_there(official: OfficialText, alignment: Alignment) -> bool:
    if alignment.matched < _WORDS:
        return False
    missing_head = next((edit.a1 for edit in alignment.edits if edit.a0 == 0), 0)
    return missing_head <= _title_length(official) or alignment.matched >= _QUOTATION * len(official.codes)


def _title_length(official: OfficialText) -> int:
    """Words at the beginning that some official copy leaves out."""
    return next((stop for start, stop, codes in official.alternatives if start == 0 and not codes), 0)


def _without_false_title(official: OfficialText, alignment: Alignment, text: Text) -> Alignment:
    """Where a copy without the title is official too, do not take a word or two of a preface for the title."""
    length = _title_length(official)
    title = [edit for edit in alignment.edits if edit.a0 < length]
    missing = sum(min(edit.a1, length) - edit.a0 for edit in title)
    if not 0 < missing < length or title[-1].a1 > length:
        return alignment
    start = title[-1].b1 + length - title[-1].a1  # the words after the last edit of the title are in their place
    if missing == 1 and text.line(alignment.start) == text.line(start - 1):
        return alignment
    edits = (Edit(0, length, start, start), *alignment.edits[len(title) :])
    return replace(alignment, start=start, edits=edits, matched=alignment.matched - length + missing)


def _with_strays(alignment: Alignment, text: Text) -> Alignment:
    """Count one or two words that share the first or last line with the text, and nothing else, as its own.

    They stand there as if they belonged to it; a heading, a sentence or code around it does not.
    """
    start, stop, edits = alignment.start, alignment.stop, alignment.edits
    length = alignment.matched + sum(edit.a1 - edit.a0 for edit in edits)
    first = start
    while first > 0 and start - first < _STRAYS and _GLUE.fullmatch(text.between(first)):
        first -= 1
    begins = first == 0 or _BREAK.search(text.between(first))
    if first < start and begins and not (edits and edits[0].a0 == 0):
        start, edits = first, (Edit(0, 0, first, start), *edits)
    last = stop
    while last < len(text.words) and last - stop < _STRAYS and _GLUE.fullmatch(text.between(last)):
        last += 1
    ends = last == len(text.words) or _BREAK.search(text.between(last))
    if last > stop and ends and not (edits and edits[-1].a1 == length and edits[-1].b1 == stop):
        stop, edits = last, (*edits, Edit(length, length, stop, last))
    return replace(alignment, start=start, stop=stop, edits=edits)
