"""One place where text that came from a model becomes safe to show."""

from __future__ import annotations

import re

_UNSAFE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL and C1 controls: terminal escapes, line breaks
    "\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U000e0000-\U000e0fff"  # tags and variation selectors: invisible text
    "\ud800-\udfff"  # lone surrogates: not encodable, and how undecodable file names arrive
    "]"
)


def visible(text: str, *, limit: int = 500) -> str:
    r"""Return `text` on one line, with every control, bidirectional or invisible character spelled out.

    Parameters
    ----------
    text : str
        Anything, hostile or not.
    limit : int
        Longest result in characters before an ellipsis.

    Examples
    --------
    >>> visible("a\x1b[31mb\nc")
    'a\\x1b[31mb\\nc'
    >>> visible("\u202egnp.exe")
    '\\u202egnp.exe'
    """
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return _UNSAFE.sub(_spell, text)


def _spell(match: re.Match[str]) -> str:
    char = match.group()
    if char in "\t\n\r":
        return {"\t": "\\t", "\n": "\\n", "\r": "\\r"}[char]
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that was not UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
