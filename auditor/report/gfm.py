"""Text of a model inside GitHub Flavored Markdown: always a code span, and never more than that.

Escaping is not enough there. GitHub and GitLab look for @names, #numbers, addresses and commit hashes in the text that
Markdown has become, so a backslash or an entity before them is gone by then. Code is what they leave alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from auditor.escape import visible

if TYPE_CHECKING:
    from collections.abc import Mapping

_SPELLED: Final = {ord("|"): "\\x7c", ord("<"): "\\x3c"}
"""Cells of a table end at a bar even inside code, and parsers differ in how they escape it; a tag would be one
wherever somebody shows the text without Markdown."""

_BACKTICKS: Final = re.compile("`+")


def code(text: str, *, limit: int = 500) -> str:
    r"""Return a text as one code span on one line.

    Examples
    --------
    >>> print(code("@everyone"), code("a|b"), code("``x`"))
    `@everyone` `a\x7cb` ``` ``x` ```
    """
    shown = visible(text, limit=limit).translate(_SPELLED)
    if not shown.strip():
        return "(empty)"
    fence = "`" * (max((len(run) for run in _BACKTICKS.findall(shown)), default=0) + 1)
    # A space at either end is taken off again, which keeps backticks of the text apart from those around it.
    room = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{room}{shown}{room}{fence}"


def filled(sentence: str, texts: Mapping[str, str]) -> str:
    """Return a sentence of ours, with a text of the model as code where its mark stands.

    Examples
    --------
    >>> filled("derived from \ue000, surely", {"\ue000": "llama"})
    'derived from `llama`, surely'
    """
    return "".join(code(texts[char]) if char in texts else char for char in sentence)
