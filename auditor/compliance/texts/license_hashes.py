"""The official texts as hashes of their words, with the clause each word belongs to.

The project carries no licence text. `data/license_hashes.json`, made by `scripts/build_license_hashes.py`, holds
for every official text its words in order, each as a salted 64-bit hash, clause by clause, and the places where
official copies differ. Runs of five word hashes (`GRAM`) find a text in a file; the single hashes tell which
word of which clause was changed.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FORMAT: Final = "license-hashes-1"
GRAM: Final = 5
UNKNOWN: Final = "\0"
"""Code of a word that no official text has."""

_SALT: Final = b"license-words-1"
_FIRST_CODE: Final = 0x100

Document = Literal["license", "policy"]


def word_hash(word: str) -> int:
    """64-bit hash of a folded word."""
    return int.from_bytes(blake2b(word.encode("utf-8", "replace"), digest_size=8, person=_SALT).digest(), "big")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """A clause and the words that are its own: from `start` up to `stop`."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficialText:
    """One official text.

    Attributes
    ----------
    id : str
        "llama-2-license".
    product, version : str
        "llama-2" and "2".
    document : {"license", "policy"}
    title, licensor : str
    identifier : str or None
        SPDX `LicenseRef-` that other tools know the text by.
    codes : str
        The words in order, one character each; equal characters are equal words in all texts of the table.
    clauses : tuple of Clause
        In order, without gaps.
    marks : dict of int to (int, int)
        Words that are list numbers: position to depth (from 1) and ordinal.
    licensor_at, product_at : frozenset of int
        Words that name the licensor, and the product.
    alternatives : frozenset of (int, int, str)
        Places where another official copy has other words: start, stop, and the words it has instead.
    grams : dict of str to tuple of int
        Where each run of `GRAM` words begins.
    """

    id: str
    product: str
    version: str
    document: Document
    title: str
    licensor: str
    identifier: str | None
    codes: str = field(repr=False)
    clauses: tuple[Clause, ...] = field(repr=False)
    marks: dict[int, tuple[int, int]] = field(repr=False)
    licensor_at: frozenset[int] = field(repr=False)
    product_at: frozenset[int] = field(repr=False)
    alternatives: frozenset[tuple[int, int, str]] = field(repr=False)
    grams: dict[str, tuple[int, ...]] = field(repr=False)

    @property
    def name_words(self) -> frozenset[int]:
        """Words that name licensor or product, with the number that follows: "Llama 2"."""
        number = self.codes[min(self.product_at) + 1] if self.product_at else ""
        numbers = {p + 1 for p in self.product_at if self.codes[p + 1 : p + 2] == number}
        return self.licensor_at | self.product_at | numbers

    def clause_index(self, position: int) -> int:
        """Index in `clauses` of the clause that the word at `position` belongs to."""
        found = bisect_right(self.clauses, position, key=lambda clause: clause.start) - 1
        return min(max(found, 0), len(self.clauses) - 1)


@dataclass(frozen=True, slots=True)
class HashTable:
    """All official texts, and the codes of their words."""

    texts: tuple[OfficialText, ...]
    vocabulary: dict[int, str]

    def encode(self, words: Sequence[str]) -> str:
        """Write folded words as one character each, `UNKNOWN` for a word that no official text has."""
        known = {word: self.vocabulary.get(word_hash(word), UNKNOWN) for word in set(words)}
        return "".join([known[word] for word in words])

    def get(self, product: str, document: Document) -> OfficialText | None:
        """Look up the text of a product."""
        for text in self.texts:
            if text.product == product and text.document == document:
                return text
        return None


@cache
def hash_table() -> HashTable:
    """Read the table that is installed with the package."""
    raw = files("auditor.compliance.texts").joinpath("data/license_hashes.json").read_text("utf-8")
    return parse(json.loads(raw))


def parse(data: dict[str, Any]) -> HashTable:
    """Build the table from its JSON form.

    Raises
    ------
    ValueError
        If the data are of another format: the package and its table do not belong together.
    """
    if data.get("format") != FORMAT:
        raise ValueError(f"license table of format {data.get('format')!r}, expected {FORMAT!r}")
    vocabulary: dict[int, str] = {}
    return HashTable(tuple(_text(entry, vocabulary) for entry in data["texts"]), vocabulary)


def _text(entry: dict[str, Any], vocabulary: dict[int, str]) -> OfficialText:
    codes = ""
    clauses = []
    for clause in entry["clauses"]:
        start = len(codes)
        codes += _codes(clause["words"], vocabulary)
        clauses.append(Clause(name=clause["clause"], start=start, stop=len(codes)))
    return OfficialText(
        **{key: entry[key] for key in ("id", "product", "version", "document", "title", "licensor", "identifier")},
        codes=codes,
        clauses=tuple(clauses),
        marks={position: (depth, ordinal) for position, depth, ordinal in entry["marks"]},
        licensor_at=frozenset(entry["licensor_at"]),
        product_at=frozenset(entry["product_at"]),
        alternatives=frozenset(
            (other["start"], other["stop"], _codes(other["words"], vocabulary)) for other in entry["alternatives"]
        ),
        grams=gram_index(codes),
    )


def _codes(hashes: str, vocabulary: dict[int, str]) -> str:
    return "".join(vocabulary.setdefault(int(word, 16), chr(_FIRST_CODE + len(vocabulary))) for word in hashes.split())


def gram_index(codes: str) -> dict[str, tuple[int, ...]]:
    """Where each run of `GRAM` words begins, at most four places each: more tell nothing apart."""
    index: dict[str, tuple[int, ...]] = {}
    for position in range(len(codes) - GRAM + 1):
        gram = codes[position : position + GRAM]
        index[gram] = (*index.get(gram, ()), position)[:4]
    return index


def hexadecimal(words: Iterable[str]) -> str:
    """Write the hashes of folded words as the table stores them."""
    return " ".join(f"{word_hash(word):016x}" for word in words)
