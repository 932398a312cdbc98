"""Recognise the full text of other licences by a few phrases each, and any licence by its title and manner.

This tells a file that holds another licence from one that holds none. It says nothing about exactness: a phrase
match is no proof that the text is unaltered. Declared licences (metadata) are `licenses.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditor.compliance.texts.license_hashes import Document
    from auditor.compliance.texts.normalize import Text

_SCAN = 40_000  # words; the longest licence of the table has 6,000
_HEAD = 120  # words in which a title stands


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherLicense:
    """Another licence found in a text.

    Attributes
    ----------
    name : str
        Its name, or its title line as the file has it (not escaped).
    identifier : str or None
        SPDX identifier or `LicenseRef-`, where there is one.
    document : {"license", "policy"}
    line : int
    """

    name: str
    identifier: str | None
    document: Document
    line: int


@dataclass(frozen=True, slots=True)
class _Row:
    identifier: str | None
    name: str
    body: tuple[str, ...]  # all of them anywhere, in folded words
    head: str = ""  # pattern among the first words


_RAIL = ("licensor", "attachment a")
# Specific before general: the GPL's text names the AGPL and the LGPL, every BSD contains the 2-clause one.
_ROWS: Final = (
    _Row(
        "Apache-2.0",
        "Apache License 2.0",
        ("apache license", "version 2 0 january 2004", "grant of patent license"),
    ),
    _Row("AGPL-3.0-only", "GNU AGPL 3", ("freedom to share",), r"gnu affero general public license version 3"),
    _Row("LGPL-3.0-only", "GNU LGPL 3", ("additional permissions",), r"gnu lesser general public license version 3"),
    _Row("LGPL-2.1-only", "GNU LGPL 2.1", ("freedom to share",), r"gnu lesser general public license version 2 1"),
    _Row("GPL-3.0-only", "GNU GPL 3", ("freedom to share",), r"gnu general public license version 3"),
    _Row("GPL-2.0-only", "GNU GPL 2", ("freedom to share",), r"gnu general public license version 2"),
    _Row("MPL-2.0", "Mozilla Public License 2.0", ("mozilla public license version 2 0", "covered software")),
    _Row(
        "MIT",
        "MIT License",
        (
            "permission is hereby granted free of charge to any person obtaining",
            "this permission notice shall be included",
        ),
    ),
    _Row("ISC", "ISC License", ("permission to use copy modify and or distribute this software for any purpose",)),
    _Row(
        "BSD-3-Clause",
        "BSD 3-Clause License",
        ("redistributions of source code must retain", "redistributions in binary form", "neither the name"),
    ),
    _Row(
        "BSD-2-Clause",
        "BSD 2-Clause License",
        ("redistributions of source code must retain", "redistributions in binary form"),
    ),
    _Row("CC0-1.0", "CC0 1.0", ("cc0 1 0 universal", "waive")),
    _Row(
        "LicenseRef-scancode-bigcode-open-rail-m-v1",
        "BigCode Open RAIL-M v1",
        _RAIL,
        r"bigcode open ?railm (?:v1|license)",
    ),
    _Row("LicenseRef-scancode-bigscience-open-rail-m", "BigScience Open RAIL-M", _RAIL, r"bigscience open ?railm"),
    _Row("LicenseRef-scancode-bigscience-rail-1.0", "BigScience RAIL 1.0", _RAIL, r"bigscience rail license v1 0"),
    _Row(None, "CreativeML Open RAIL-M", _RAIL, r"creativeml open ?railm"),
    _Row(None, "an OpenRAIL licence", _RAIL, r"open ?rail"),
    _Row(
        "LicenseRef-scancode-llama-license-2023",
        "LLaMA (1) License Agreement",
        ("software products", "solely for your noncommercial research purposes"),
    ),
    _Row(None, "Gemma Terms of Use", ("model derivatives",), r"gemma terms of use"),
    _Row(None, "Tongyi Qianwen License Agreement", (), r"tongyi qianwen (?:research )?license agreement"),
    _Row(None, "Qwen License Agreement", (), r"qwen (?:research )?license agreement"),
    _Row(None, "DeepSeek License Agreement", (), r"deepseek(?: model)? license agreement"),
)
_CREATIVE_COMMONS = re.compile(
    r"attribution((?:noncommercial|sharealike|noderivatives|noderivs)*) (\d) (\d) (?:international|unported)"
)
_CC_PARTS = (("noncommercial", "-NC"), ("sharealike", "-SA"), ("noderivatives", "-ND"), ("noderivs", "-ND"))
_SPDX_TAG = re.compile(r"SPDX-License-Identifier:[ \t]*([A-Za-z0-9.+-]{1,80})")
_TITLE = re.compile(
    r"\b(?:licen[sc]es?|agreement|terms of (?:use|service)|(?:use|usage) policy|eula|terms and conditions"
    r"|copyright and \w+)\b"
)
_POLICY = re.compile(r"\b(?:use|usage) policy\b")
_MANNER = re.compile(
    r"(?:licensors?|licensees?|licensed|sublicens\w+|hereby|herein|thereof|hereunder|shall|warrant\w+|liab\w+|indemnif\w+"
    r"|notwithstanding|agreement|agree|derivatives?|prohibit\w*|terminat\w+|permission|reproduced?|distribut\w+"
    r"|restrictions?|rights|violat\w+|you|unlawful|damages|copyright|licen[sc]es?|granted?|permitted|redistribut\w+)"
)
_MANNER_SHARE = 0.025  # of all words, beside a title; use policies and licences have .03 to .2, READMEs under .02


def other_license(text: Text) -> OtherLicense | None:
    """Find the full text of a licence that is none of the official texts."""
    words = text.folded[:_SCAN]
    body = " ".join(words)
    found = _by_phrases(body, " ".join(words[:_HEAD]))
    if found is not None:
        identifier, name = found
        return OtherLicense(name=name, identifier=identifier, document="license", line=text.line(0))
    tag = _SPDX_TAG.search(text.raw) if len(words) < 300 else None
    if tag:
        line = text.raw.count("\n", 0, tag.start()) + 1
        return OtherLicense(name=tag[1], identifier=tag[1], document="license", line=line)
    return _by_title(text, words)


def _by_phrases(body: str, head: str) -> tuple[str | None, str] | None:
    for row in _ROWS:
        if re.search(row.head, head) and all(phrase in body for phrase in row.body):
            return row.identifier, row.name
    terms = _CREATIVE_COMMONS.search(body)
    if terms and "creative commons" in body and "licensor" in body:
        parts = "".join(short for long, short in _CC_PARTS if long in terms[1])
        identifier = f"CC-BY{parts}-{terms[2]}.{terms[3]}"
        return identifier, identifier
    return None


def _by_title(text: Text, words: Sequence[str]) -> OtherLicense | None:
    if len(words) < 40 or sum(1 for word in words if _MANNER.fullmatch(word)) < _MANNER_SHARE * len(words):
        return None
    return title_of(text)


def title_of(text: Text) -> OtherLicense | None:
    """Find a line near the beginning that reads like the title of a licence or policy."""
    lines = [line.strip(" \t#*_=-\v") for line in text.clean[:4000].split("\n")]
    for number, line in enumerate(lines[:30], 1):
        if 1 < len(line.split()) <= 14 and not line.endswith((";", ",")) and _TITLE.search(line.casefold()):
            document: Document = "policy" if _POLICY.search(line.casefold()) else "license"
            return OtherLicense(name=line, identifier=None, document=document, line=number)
    return None
