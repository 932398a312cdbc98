"""Checks on the attribution in a Notice file (NOT-001 and 002)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.compliance.citing import quoted
from auditor.compliance.rules.base import Outcome, failed, not_applicable, passed, unknown, warned

if TYPE_CHECKING:
    from auditor.compliance.situation import Situation

_RIGHT = ("ok", "ok-with-note")


def present(s: Situation) -> Outcome:
    """NOT-001: a Notice file carries the attribution, or what was meant to be it (its words are NOT-002's matter)."""
    for text, result in s.notices:
        if text.is_notice_file:
            return passed(text.at(result.line), text.path)
    elsewhere = [notice for notice in s.notices if notice.result.status in _RIGHT]
    for text, result in elsewhere:
        if text.place == "file":
            evidence = f"the sentence stands in {text.at(result.line)}, a file that is not called Notice"
            return warned(evidence, text.path, fix="Put the sentence into a file Notice.txt as well.")
    if maybe := [path for path in s.repository.unread_texts if "notice" in path.lower()]:
        return unknown(f"it may stand in what could not be read: {', '.join(maybe[:3])}", maybe[0])
    empty = [text.path for text in s.repository.texts if text.is_notice_file]
    evidence = f"{empty[0]} does not hold the sentence" if empty else "there is no Notice file"
    path = empty[0] if empty else None
    if elsewhere:
        text, result = elsewhere[0]
        evidence, path = f"{evidence}; the sentence stands only in {text.at(result.line)}", path or text.path
    fix = f"Run `auditor fix`, or write a file Notice.txt that holds: {s.policy.notice.sentence}"
    return warned(evidence, path, fix=fix) if s.adapter_only else failed(evidence, path, fix=fix)


def worded(s: Situation) -> Outcome:
    """NOT-002: the attribution has the right words, version and holder.

    A Notice file decides where there is one; else any text that tries to be the notice.
    """
    found = [notice for notice in s.notices if notice.text.is_notice_file] or list(s.notices)
    if not found:
        return not_applicable("there is no notice to compare")
    for status in ("ok", "ok-with-note"):
        for text, result in found:
            if result.status == status:
                where = text.at(result.line)
                if status == "ok":
                    return passed(where, text.path)
                return warned(f"{where}: {result.note}: {quoted(result.quote or '')}", text.path, fix=_fix(s))
    text, result = min(found, key=lambda notice: notice.text.place != "file")
    evidence = f"{text.at(result.line)}: {result.note or result.status}: {quoted(result.quote or '')}"
    if s.adapter_only:
        return warned(evidence, text.path, fix=_fix(s))
    return failed(evidence, text.path, fix=_fix(s))


def _fix(s: Situation) -> str:
    return f"Run `auditor fix`, or write the sentence as the agreement gives it: {s.policy.notice.sentence}"
