"""Letters that look like other letters, folded so that names can be compared as a reader sees them.

A table of our own: the packages that carry Unicode's whole list load a megabyte to answer for some hundred
letters, and that list is made for scripts at large, not for "does this read as llama or Meta".
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

# Code points of Cyrillic, Greek, Armenian, Cherokee, Lisu and phonetic letters that read as a Latin one, small
# and capital apart where the shapes are. Compatibility forms (fullwidth, mathematical, circled) and accents are
# not here: Unicode's own decomposition folds them.
_LETTERS: Final = {
    "a": "0430 0251 03b1 237a 1d00 a4ee",
    "A": "0410 0391 13aa 039b 2227",
    "b": "042c 0185",
    "B": "0412 0392 13f4 a4d0",
    "c": "0441 03f2 1d04",
    "C": "0421 03f9 13df a4da",
    "d": "0501 0111 13e7",
    "e": "0435 04bd 0454 1d07 025b",
    "E": "0415 0395 13ac a4f0",
    "f": "0192 a799",
    "F": "03dc a4dd",
    "g": "0261 0581",
    "h": "04bb 0570",
    "H": "041d 0397 13bb a4e7",
    "i": "0456 03b9 0269 0131 026a",
    "I": "0406 0399 04c0 a4f2 13c6",
    "j": "0458 03f3 0575",
    "k": "043a 03ba 1d0b",
    "K": "041a 039a 13e6 a4d7",
    "l": "04cf 0142 019a 026b 029f 01c0 2223 2502 0627 0661 056c 2d4f",
    "L": "13de a4e1 053c",
    "m": "043c 1d0d",
    "M": "041c 039c 13b7 a4df 03fa",
    "n": "0578 057c 03b7 1d0e",
    "N": "039d a4e0",
    "o": "043e 03bf 0585 03c3 1d0f 0e50 00f8",
    "O": "041e 039f 0555 a4f3",
    "p": "0440 03c1",
    "P": "0420 03a1 13e2 a4d1",
    "q": "051b",
    "r": "0433 1d26",
    "s": "0455 a731",
    "S": "0405 054f a4e2",
    "t": "0442 03c4 1d1b",
    "T": "0422 03a4 13a2 a4d4",
    "u": "03c5 057d 1d1c",
    "v": "03bd 0475 1d20",
    "w": "051d 0561 1d21",
    "x": "0445 03c7",
    "X": "0425 03a7 a4eb",
    "y": "0443 03b3 04af",
    "Y": "04ae 03a5 a4ec",
    "z": "1d22",
    "Z": "0396 13c3 a4dc",
}
_MARKS: Final = {
    "-": "2010 2011 2012 2013 2014 2015 2212 2796",
    "/": "2044 2215",
}


def _points(table: dict[str, str]) -> dict[int, str]:
    return {int(code, 16): plain for plain, codes in table.items() for code in codes.split()}


_LOOKALIKES: Final = _points(_LETTERS)
# White letters on black grounds, and flags: letters to the eye that no decomposition touches.
_LOOKALIKES.update({start + i: chr(65 + i) for start in (0x1F150, 0x1F170, 0x1F1E6) for i in range(26)})
_FOLD: Final = _LOOKALIKES | _points(_MARKS)
_AS_LETTERS: Final = str.maketrans("013457@$|!", "oleastasll")
_CAPITAL_I: Final = re.compile(r"I(?=[a-z])")  # next to capitals it reads as the I it is
_WORD: Final = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """A text as it reads.

    Attributes
    ----------
    text : str
        Lower case, look-alikes and compatibility forms replaced, accents and invisible characters gone.
    skeleton : str
        The same, with digits and signs that stand for letters replaced too, and a capital I before a small
        letter as l. As long as `text`.
    origin : sequence of int
        For each character of `text`, its index in the text that was folded.
    deceptive : bool
        A word mixes Latin letters with look-alikes of other scripts, or has an invisible character in it.
        Text that is wholly in another script is no deception.
    """

    text: str
    skeleton: str
    origin: range | tuple[int, ...]
    deceptive: bool


def fold(text: str) -> Folded:
    r"""Fold `text` for comparison.

    Examples
    --------
    >>> fold("Ll\u0430ma").text, fold("Ll\u0430ma").deceptive
    ('llama', True)
    >>> fold("meta-Ilama").skeleton
    'meta-llama'
    >>> fold("LIAMA").skeleton
    'liama'
    """
    if text.isascii():
        return Folded(text=text.lower(), skeleton=_skeleton(text), origin=range(len(text)), deceptive=False)
    plain: list[str] = []
    origin: list[int] = []
    for index, char in enumerate(text):
        for part in char if char.isascii() else unicodedata.normalize("NFKD", _FOLD.get(ord(char), char)):
            if unicodedata.category(part) not in {"Mn", "Me", "Cf", "Cc"} or part in "\t\n\r":
                plain.append(_FOLD.get(ord(part), part))
                origin.append(index)
    joined = "".join(plain)
    return Folded(text=_lower(joined), skeleton=_skeleton(joined), origin=tuple(origin), deceptive=_is_deceptive(text))


def _is_deceptive(text: str) -> bool:
    for word in _WORD.findall(text):
        if any(char.isascii() for char in word) and any(ord(char) in _LOOKALIKES for char in word):
            return True
    # Joiners hold emoji and some scripts together; between or beside Latin letters they only hide.
    return any(
        unicodedata.category(char) in {"Cf", "Cc"}
        and (text[max(0, i - 1) : i].isascii() or text[i + 1 : i + 2].isascii())
        for i, char in enumerate(text)
        if not char.isascii()
    )


def _skeleton(text: str) -> str:
    return _lower(_CAPITAL_I.sub("l", text).translate(_AS_LETTERS))


def _lower(text: str) -> str:
    """Lower case, one character for one: `str.lower` may return more than it got."""
    if text.isascii():
        return text.lower()
    return "".join(lower if len(lower := char.lower()) == 1 else char for char in text)
