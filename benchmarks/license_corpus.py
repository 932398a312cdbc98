#!/usr/bin/env python3
"""Measure the licence recogniser and the notice check on a folder of official texts and real files.

    python benchmarks/license_corpus.py CORPUS_DIR

CORPUS_DIR holds `manifest.csv` (columns `file`, `kind`, `true_label`), the files it names, and `official/` with
the texts as published. Prints a confusion table of kinds, the harmless renderings that are flagged, the edits of
the official agreement that go unnoticed, and times.
"""

from __future__ import annotations

import argparse
import csv
import html
import json
import re
import textwrap
import time
from collections import Counter
from pathlib import Path

from auditor.compliance.texts.license_text import Recognition, decode, recognise
from auditor.compliance.texts.notice import find_notice

# What each label of a manifest means: kinds that are right, and the identifier where one is expected.
EXPECTED: dict[str, tuple[frozenset[str], str | None]] = {
    "llama2_exact": (frozenset({"exact"}), "LicenseRef-scancode-llama-2-license-2023"),
    "llama2_aup_exact": (frozenset({"exact"}), None),
    "llama2_plus_aup": (frozenset({"exact"}), "LicenseRef-scancode-llama-2-license-2023"),
    "llama2_altered": (frozenset({"altered"}), None),
    "llama2_truncated": (frozenset({"truncated"}), None),
    "llama2_appended": (frozenset({"appended"}), None),
    "lookalike": (frozenset({"look-alike"}), None),
    "llama3_plus_aup": (frozenset({"other-version"}), None),
    "llama3_exact": (frozenset({"other-version"}), None),
    "llama3_aup": (frozenset({"other-version"}), None),
    "aup_pointer": (frozenset({"pointer"}), None),
    "pointer": (frozenset({"pointer"}), None),
    "aup_unrelated": (frozenset({"other-license"}), None),
    "other_meta_aup": (frozenset({"other-license"}), None),
    "other_meta_research": (frozenset({"other-license"}), None),
    "apache-2.0": (frozenset({"other-license"}), "Apache-2.0"),
    "mit": (frozenset({"other-license"}), "MIT"),
    "cc-by-nc-4.0": (frozenset({"other-license"}), "CC-BY-NC-4.0"),
    "bigcode-openrail-m": (frozenset({"other-license"}), "LicenseRef-scancode-bigcode-open-rail-m-v1"),
    "no_claim": (frozenset({"none", "pointer"}), None),
    "claim": (frozenset({"none", "pointer"}), None),
}


def read(path: Path) -> tuple[str, Recognition, float]:
    """Decode and recognise one file; the time is in seconds."""
    data = path.read_bytes()
    start = time.perf_counter()
    text = decode(data)
    result = recognise(text)
    return text, result, time.perf_counter() - start


def manifest(corpus: Path) -> int:
    """Print how the files of the manifest are recognised; returns the number of wrong answers."""
    table: Counter[tuple[str, str]] = Counter()
    notices: Counter[tuple[str, str]] = Counter()
    wrong, seconds, size = [], 0.0, 0
    with (corpus / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        text, result, took = read(corpus / row["file"])
        seconds, size = seconds + took, size + len(text)
        label = row["true_label"]
        table[label, result.kind] += 1
        notices[row["kind"], find_notice(text).status] += 1
        kinds, identifier = EXPECTED.get(label, (frozenset(), None))
        if kinds and (result.kind not in kinds or identifier not in (None, result.identifier)):
            clauses = ", ".join(sorted({difference.clause for difference in result.clauses}))
            wrong.append(f"  {row['file']}: {label}, recognised as {result.kind} {result.name or ''} {clauses}")
    print(f"\n{len(rows)} files of the manifest: label, kind, files")
    for (label, kind), count in sorted(table.items()):
        known = "" if label in EXPECTED else "   (label not in EXPECTED: not judged)"
        print(f"  {label:22} {kind:14} {count:3}{known}")
    print("\nnotice: kind of file, status, files")
    for (kind, status), count in sorted(notices.items()):
        print(f"  {kind:22} {status:14} {count:3}")
    print(f"\nwrong: {len(wrong)}", *wrong, sep="\n")
    print(f"{1e3 * seconds / max(1, len(rows)):.1f} ms a file, {size / 1e6 / max(seconds, 1e-9):.2f} MB/s")
    return len(wrong)


def official(corpus: Path) -> None:
    """Print how the published texts are recognised."""
    print("\nofficial texts: file, kind, condition, text, clauses that differ")
    for path in sorted((corpus / "official").iterdir()):
        _, result, took = read(path)
        also = "".join(f" + {a.text.id if a.text else a.name} {a.condition}" for a in result.also)
        name = result.text.id if result.text else result.name
        row = f"{path.name:28} {result.kind:14} {result.condition or '':10} {name}{also}"
        print(f"  {row} {1e3 * took:.1f} ms {[d.clause for d in result.clauses] or ''}")


def edits(text: str) -> None:
    """Change, delete and insert every single word of the agreement; print what goes unnoticed."""
    missed: Counter[str] = Counter()
    places = [match.span() for match in re.finditer(r"\S*\w\S*", text)]
    start = time.perf_counter()
    for i, j in places:
        for name, new in (
            ("changed", f"{text[:i]}xyzzy{text[j:]}"),
            ("deleted", text[:i] + text[j:]),
            ("inserted", f"{text[:i]}xyzzy {text[i:]}"),
        ):
            if recognise(new).kind == "exact":
                missed[f"{name} {text[i:j]!r}"] += 1
    took = time.perf_counter() - start
    count = 3 * len(places)
    print(f"\nsingle-word edits: {count}, unnoticed: {dict(missed) or 0}, {1e3 * took / count:.1f} ms each")
    print("  (an official copy without that word is not an unnoticed edit: 'an' in 5.c)")


def renderings(text: str) -> None:
    """Render the agreement in harmless ways; print which are flagged."""
    paragraphs = [" ".join(p.split()) for p in re.split(r"\n\s*\n|\n(?=\s*(?:\d|[a-c]|i{1,3}|iv|v)\.\s)", text)]
    flagged = []
    made = {
        **{f"wrapped at {w}": "\n\n".join(textwrap.fill(p, w) for p in paragraphs) for w in (30, 60, 72, 100, 400)},
        "one line": " ".join(text.split()),
        **{f"prefix {p!r}": p + text.replace("\n", f"\n{p}") for p in ("> ", "# ", "// ", " * ", "-- ", "; ", "% ")},
        "bullets": "\n".join(f"- {p}" for p in paragraphs),
        "html paragraphs": "".join(f"<p>{html.escape(p)}</p>" for p in paragraphs),
        "html <br>": html.escape(text).replace("\n", "<br>"),
        "html list": "".join(f"<li>{html.escape(re.sub('^(.|i+|iv)[.]', '', p))}</li>" for p in paragraphs),
        "json": json.dumps({"license": text}),
        "upper case": text.upper(),
        **{f"as {e}": decode(text.encode(e)) for e in ("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252")},
    }
    for name, rendering in made.items():
        result = recognise(rendering)
        if result.kind != "exact":
            flagged.append(f"  {name}: {result.kind} {[(d.clause, d.quote) for d in result.clauses[:3]]}")
    print(f"\nharmless renderings: {len(made)}, flagged: {len(flagged)}", *flagged, sep="\n")


def worst(text: str) -> None:
    """Time one megabyte of hostile text."""
    million = 1_000_000
    print("\none megabyte of:")
    for name, bad in {
        "copies of the agreement": text * 200,
        "edited copies": re.sub(r"(\S+ ){6}\S+", r"\1x", text) * 400,
        "tags": "<b>" * million,
        "words": " ".join(map(str, range(200_000))),
        "hyphens": "a-\n" * million,
        "combining marks": "a" + "\u0300\u0327" * million,
        "brackets": "](" * million,
    }.items():
        start = time.perf_counter()
        recognise(bad[:million])
        print(f"  {name:24} {time.perf_counter() - start:.2f} s")


def main() -> None:
    """Run all measurements; exit status 1 if a file of the manifest is recognised wrongly."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    corpus = parser.parse_args().corpus
    official(corpus)
    wrong = manifest(corpus)
    text = decode((corpus / "official" / "llama2_LICENSE").read_bytes())
    renderings(text)
    worst(text)
    edits(text)
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
