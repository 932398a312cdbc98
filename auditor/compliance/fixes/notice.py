"""Write the notice that the licence asks for: a file of its own, or the sentence in the one that is there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from auditor.compliance.fixes.lineedit import LineEdit, NotEdited
from auditor.compliance.texts.normalize import Text
from auditor.compliance.texts.notice import find_notice
from auditor.compliance.texts.notice_sentence import anchors, folded_words, parse

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from auditor.compliance.repository import LegalText, Repository
    from auditor.compliance.texts.notice import NoticeResult, NoticeSpec

_NAMES: Final = ("NOTICE", "NOTICE.txt", "NOTICE-MODEL.txt")
_MARKED_UP: Final = frozenset({".htm", ".html", ".mdx", ".rtf"})  # a bare sentence has no place in these
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1f]")
_CANDIDATES: Final = 200  # as many as the check looks at


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticePatch:
    """A notice file, written or edited.

    Attributes
    ----------
    path : str
    before : str or None
        None for a new file. Bytes that are no UTF-8 are surrogates, so that they come back as they were.
    after : str
    diff : tuple of str
        Hunks of a unified diff.
    left : str or None
        What a person must still look at.
    """

    path: str
    before: str | None
    after: str
    diff: tuple[str, ...]
    left: str | None = None


def patch_notice(
    repository: Repository, spec: NoticeSpec, *, contents: Mapping[str, bytes], taken: Collection[str]
) -> NoticePatch | NotEdited:
    """Put the sentence into a notice file.

    A sentence with the wrong words that has its lines to itself is replaced. Where it shares them, or may be the
    notice of something else in the file, the right one is put at the top and all else stays.

    Parameters
    ----------
    repository : Repository
    spec : NoticeSpec
    contents : mapping of str to bytes
        The files that may be changed, by path.
    taken : collection of str
        Names at the top of the target, lower case.
    """
    found = existing(repository, spec)
    if found is None:
        path = next((name for name in _NAMES if name.lower() not in taken), None)
        if path is None:
            return NotEdited(reason=f"{', '.join(_NAMES)}: all of these names are taken by something else")
        edit = LineEdit("")
        edit.insert(0, [spec.sentence])
        return NoticePatch(path=path, before=None, after=edit.text, diff=edit.diff())
    if found[0].path not in contents:
        return NotEdited(reason=f"{found[0].path}: cannot be written")
    return _edit(*found, spec, contents[found[0].path].decode("utf-8", "surrogateescape"))


def existing(repository: Repository, spec: NoticeSpec) -> tuple[LegalText, NoticeResult] | None:
    """Return the notice file to edit: one with such a sentence in whatever words, else one at the top of that name."""
    files = [text for text in repository.texts if text.is_notice_file and _suffix(text) not in _MARKED_UP]
    files.sort(key=lambda text: (text.path.count("/"), text.path))
    found = [(text, find_notice(text.text, spec)) for text in files]
    own = [(text, result) for text, result in found if result.status != "absent"]
    top = [(text, result) for text, result in found if PurePosixPath(text.path.lower()).stem in {"notice", "notices"}]
    return next(iter(own + [(text, result) for text, result in top if "/" not in text.path]), None)


def _edit(text: LegalText, result: NoticeResult, spec: NoticeSpec, raw: str) -> NoticePatch | NotEdited:
    if _CONTROL.search(raw):
        return NotEdited(reason=f"{text.path}: no plain text in UTF-8 or the like")
    mark = "\ufeff" if raw.startswith("\ufeff") else ""
    edit = LineEdit(raw.removeprefix(mark))
    own = _own_lines(Text.of(text.text), spec, result)
    left = None
    if any(line.strip() == spec.sentence for line in edit.lines):
        return NotEdited(reason=f"{text.path}: the sentence is there, but {result.note or 'not as a notice'}")
    if own is not None and own[1] < len(edit.lines):
        edit.replace((own[0], 0), (own[1], len(edit.lines[own[1]])), spec.sentence)
    else:
        gap = [""] if edit.lines and edit.lines[0].strip() else []
        edit.insert(0, [spec.sentence, *gap])
        if result.line is not None:
            line = result.line + 1 + len(gap)
            left = f"{text.path}, line {line}: another notice is left there; take it out if it means these weights"
    after = mark + edit.text
    if find_notice(edit.text, spec).status != "ok":
        return NotEdited(reason=f"{text.path}: hides characters, or is written in a way that is not edited safely")
    return NoticePatch(path=text.path, before=raw, after=after, diff=edit.diff(), left=left)


def _own_lines(text: Text, spec: NoticeSpec, result: NoticeResult) -> tuple[int, int] | None:
    """First and last line, from 0, of the sentence that was found, if nothing else stands on them."""
    if text.hidden:
        return None
    for at in islice(anchors(text.folded), _CANDIDATES):
        sentence = parse(text, at, len(folded_words(spec.product)))
        if sentence is None or text.line(sentence.start) != result.line:
            continue
        stop = sentence.copyright.stop
        last = text.line(stop - 1)
        alone = sentence.start == 0 or text.line(sentence.start - 1) < result.line
        alone = alone and (stop >= len(text.words) or text.line(stop) > last)
        only = sentence.start == 0 and stop >= len(text.words)
        # Of another version: it may be the notice of another part of the repository, unless it is all there is.
        return (result.line - 1, last - 1) if alone and (only or result.status != "wrong-version") else None
    return None


def _suffix(text: LegalText) -> str:
    return PurePosixPath(text.path).suffix.lower()
