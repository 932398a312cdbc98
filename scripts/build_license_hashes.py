#!/usr/bin/env python3
"""Rebuild the table of licence word hashes from the official texts.

    python scripts/build_license_hashes.py OFFICIAL_DIR -o auditor/compliance/texts/data/license_hashes.json

OFFICIAL_DIR holds the files named in `TEXTS`, as their publisher ships them. The table carries no text: every
word is a salted hash, one line of JSON for each clause, so that a change of the table can be reviewed by clause.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.compliance.texts.alignment import align, gram_starts, leftmost
from auditor.compliance.texts.license_hashes import FORMAT, gram_index, hexadecimal
from auditor.compliance.texts.normalize import Text, decode

if TYPE_CHECKING:
    from collections.abc import Iterator

POLICY = r"(?:\A|\n)[#* ]*(?:Meta )?Llama [\d.]+[* ]*Acceptable Use Policy"
LEAD = r"\nMeta is committed to promoting"  # where a copy has no title line


@dataclass(frozen=True)
class Part:
    """A file, or the part of it between two patterns."""

    file: str
    start: str = r"\A"
    stop: str = r"\Z"

    def read(self, folder: Path) -> Text:
        """Read the part from its folder."""
        text = decode((folder / self.file).read_bytes())
        start = re.search(self.start, text)
        stop = re.search(self.stop, text[start.start() + 1 :]) if start else None
        if start is None or stop is None:
            sys.exit(f"{self.file}: does not hold {self.start if start is None else self.stop!r}")
        return Text.of(text[start.start() : start.start() + 1 + stop.start()])


@dataclass(frozen=True)
class Source:
    """One official text: its files, the first of which is the base, and what is known about it."""

    product: str
    version: str
    document: str
    title: str
    parts: tuple[Part, ...]
    identifier: str | None = None
    licensor: str = "Meta Platforms, Inc."


TEXTS = (
    Source(
        "llama-2",
        "2",
        "license",
        "Llama 2 Community License Agreement",
        (
            Part("llama2_LICENSE"),
            Part("llama2_LICENSE_variant_b"),
            Part("lm_llama2_LICENSE"),
            Part("modelgo_Llama2.txt", stop=LEAD),
        ),
        identifier="LicenseRef-scancode-llama-2-license-2023",
    ),
    Source(
        "llama-2",
        "2",
        "policy",
        "Llama 2 Acceptable Use Policy",
        (
            Part("llama2_USE_POLICY.md"),
            Part("lm_llama2_USE_POLICY.md"),
            Part("modelgo_Llama2.txt", start=LEAD),
        ),
    ),
    Source(
        "llama-3",
        "3",
        "license",
        "Meta Llama 3 Community License Agreement",
        (Part("lm_llama3_LICENSE", stop=POLICY),),
    ),
    Source(
        "llama-3",
        "3",
        "policy",
        "Meta Llama 3 Acceptable Use Policy",
        (Part("lm_llama3_USE_POLICY.md"), Part("lm_llama3_LICENSE", start=POLICY)),
    ),
    *(
        Source(f"llama-{version}", version, document, f"Llama {version} {title}", (Part(f"lm_llama{name}_{file}"),))
        for version, name in (("3.1", "3_1"), ("3.2", "3_2"), ("3.3", "3_3"), ("4", "4"))
        for document, title, file in (
            ("license", "Community License Agreement", "LICENSE"),
            ("policy", "Acceptable Use Policy", "USE_POLICY.md"),
        )
    ),
)

LICENSOR, PRODUCT = frozenset({"meta", "metas"}), frozenset({"llama"})
ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x")
IN_ADDRESS = re.compile(r"[./@]\Z"), re.compile(r"[/@_]|\.[a-z]")


def license_clauses(text: Text) -> tuple[list[str], dict[int, tuple[int, int]]]:
    """Name the clause of every word from the numbering: 1, then a, then i; find the list numbers.

    "i" is the ninth letter and the first roman number: it is the letter only where an "i" comes next.
    """
    names: list[str] = []
    marks: dict[int, tuple[int, int]] = {}
    path = [0, 0, 0]
    for index, word in enumerate(text.folded):
        if text.is_list_mark(index):
            if word.isdigit() and int(word) == path[0] + 1:
                path = [path[0] + 1, 0, 0]
            elif path[0] and word == chr(ord("a") + path[1]):
                path = [path[0], path[1] + 1, 0]
            elif path[1] and word == ROMAN[path[2]]:
                path[2] += 1
            else:
                sys.exit(f"line {text.line(index)}: list number {word!r} out of order")
            marks[index] = (sum(map(bool, path)), next(n for n in reversed(path) if n))
        letter = chr(ord("a") + path[1] - 1) if path[1] else ""
        roman = ROMAN[path[2] - 1] if path[2] else ""
        names.append(".".join(filter(None, (str(path[0]) if path[0] else "preamble", letter, roman))))
    return names, marks


def policy_clauses(text: Text) -> list[str]:
    """Name the section of every word: the number of the outer list item, then of the one inside it.

    Official copies number and indent their lists differently; depth is told by indentation alone.
    """
    lines = text.clean.split("\n")
    names: list[str] = []
    name, depths, counts, read = "preamble", [], [0, 0], 0
    for index in range(len(text.words)):
        line = text.line(index)
        for number in range(read, line):
            item = re.match(r"(\s*)(?:[*-]|(\w{1,3})\.)\s", lines[number].expandtabs(4))
            if re.match(r"\W*Please report any", lines[number]):
                name = "reporting"
            elif re.match(r"\W*With respect to any multimodal", lines[number]):
                name = "multimodal"
            elif item and name != "reporting":
                width = len(item[1])
                depths = [*(d for d in depths if d < width), width]
                if len(depths) == 1:
                    counts = [int(item[2]) if item[2] else counts[0] + 1, 0]
                elif len(depths) == 2:
                    counts[1] += 1
                name = ".".join(str(count) for count in counts if count)
        read = line
        names.append(name)
    return names


def names_of(text: Text, words: frozenset[str]) -> Iterator[int]:
    """Where one of the words stands as a name, not as a part of an address."""
    before, after = IN_ADDRESS
    for index, word in enumerate(text.folded):
        if word in words and not before.search(text.between(index)) and not after.match(text.clean, text.end(index)):
            yield index


def entry(source: Source, folder: Path) -> dict[str, Any]:
    """Hash one text and the differences of its variants."""
    base, *variants = (part.read(folder) for part in source.parts)
    marks: dict[int, tuple[int, int]] = {}
    if source.document == "license":
        names, marks = license_clauses(base)
        kept = list(range(len(base.words)))
    else:
        names = policy_clauses(base)
        kept = unnumbered(base)
    words = [base.folded[i] for i in kept]
    names = [names[i] for i in kept]
    at = {old: new for new, old in enumerate(kept)}
    licensor, product = set(names_of(base, LICENSOR)), set(names_of(base, PRODUCT))
    product |= {index for index in licensor if index + 1 in product}  # "Meta Llama 3" is one name
    return {
        "id": f"{source.product}-{source.document}",
        **{k: getattr(source, k) for k in ("product", "version", "document", "title", "licensor", "identifier")},
        "marks": [[at[i], depth, ordinal] for i, (depth, ordinal) in sorted(marks.items())],
        "licensor_at": sorted(at[i] for i in licensor - product),
        "product_at": sorted(at[i] for i in product),
        "alternatives": alternatives(words, [variant_words(v, source) for v in variants]),
        "clauses": [{"clause": name, "words": hexadecimal(words[start:stop])} for name, start, stop in runs(names)],
    }


def unnumbered(text: Text) -> list[int]:
    """Return the positions of the words that are not list numbers."""
    return [index for index in range(len(text.words)) if not text.is_list_mark(index)]


def variant_words(text: Text, source: Source) -> list[str]:
    """Return the words of another copy, as the base keeps them."""
    return list(text.folded) if source.document == "license" else [text.folded[i] for i in unnumbered(text)]


def alternatives(base: list[str], variants: list[list[str]]) -> list[dict[str, Any]]:
    """Every place where a variant differs from the base, once."""
    codes: dict[str, str] = {}

    def encode(words: list[str]) -> str:
        return "".join(codes.setdefault(word, chr(0x100 + len(codes))) for word in words)

    a, found = encode(base), {}
    grams = gram_index(a)
    for words in variants:
        b = encode(words)
        alignment = align(a, grams, b, gram_starts(b, grams, limit=len(b)))
        if alignment is None or alignment.matched < 0.8 * len(a):
            sys.exit("a variant has little in common with its base")
        word_of = {code: word for word, code in codes.items()}
        for edit in alignment.edits:
            start, stop, instead = leftmost(a, edit, b[edit.b0 : edit.b1])
            found[start, stop, instead] = {
                "start": start,
                "stop": stop,
                "words": hexadecimal(word_of[code] for code in instead),
            }
    return [found[key] for key in sorted(found)]


def runs(names: list[str]) -> Iterator[tuple[str, int, int]]:
    """Neighbours of the same name, with where they start and stop."""
    start = 0
    for stop in range(1, len(names) + 1):
        if stop == len(names) or names[stop] != names[start]:
            yield names[start], start, stop
            start = stop


def main() -> None:
    """Read the arguments and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("official", type=Path, help="folder of the official texts")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    data = {"format": FORMAT, "texts": [entry(source, arguments.official) for source in TEXTS]}
    short = re.compile(r"\[\s+((?:-?\d+,?\s*)+)\]")  # number lists on one line
    text = short.sub(lambda m: f"[{' '.join(m[1].split())}]", json.dumps(data, indent=1))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text + "\n", encoding="utf-8")
    for item in data["texts"]:
        count = sum(len(clause["words"].split()) for clause in item["clauses"])
        other = len(item["alternatives"])
        print(f"{item['id']:<18} {count:5} words, {len(item['clauses']):3} clauses, {other} alternatives")
    print(f"{arguments.output}: {arguments.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
