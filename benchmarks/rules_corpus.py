#!/usr/bin/env python3
"""Hold the licence rules against a folder of real files from public projects.

    python benchmarks/rules_corpus.py CORPUS_DIR

CORPUS_DIR holds `manifest.csv` (columns `file`, `source_path`, `kind`, `true_base_family`, `true_label`,
`expected_check`), the files it names, and `official/` with the texts as published. For each file the smallest
repository that holds it is built, under the name it had, and all rules are asked three times: without any evidence
from weights, with weights that stand in as proved to descend from Llama 2, and with weights that stand in as
independent of it. Prints, for each check, what was expected and what was said; the failures on projects that are not
Llama 2 (there must be none); and whether an edit in each clause of the agreement is caught in that clause.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from auditor.compliance import load_policies
from auditor.compliance.repository import read_repository
from auditor.compliance.rules import apply
from auditor.compliance.situation import assess
from auditor.compliance.texts.license_hashes import hash_table
from auditor.compliance.texts.normalize import Text
from auditor.lineage import Candidate, Lineage
from auditor.sources import BytesSource

if TYPE_CHECKING:
    from auditor.findings import Finding

UNTESTED: Final = Lineage(verdict="inconclusive", reason="no reference")
PROVED, DENIED = (
    Lineage(
        verdict=verdict,  # type: ignore[arg-type]
        candidates=(
            Candidate(
                reference="llama-2-7b",
                model="model.safetensors",
                verdict=verdict,  # type: ignore[arg-type]
                rung="aligned-neurons",
                log10_p=log10_p,
            ),
        ),
    )
    for verdict, log10_p in (("derived", -300.0), ("independent", -0.3))
)
OF_LLAMA_2: Final = {"llama2", "codellama"}
SPOKEN_OF: Final = {
    # what a file of each kind can be judged on by itself; that other files are missing is not its fault
    "license": {"LIC-002", "LIC-003", "LIC-004", "LIC-005"},
    "notice": {"NOT-001", "NOT-002"},
    "aup": {"AUP-002"},
    "readme": {
        *("CARD-001", "CARD-002", "CARD-003", "CARD-006", "OSI-001", "NAME-001", "OWN-001", "WAR-001"),
        *("MRG-001", "ALT-001", "AUP-G1", "AUP-G2", "AUP-G3"),
    },
}
_EXPECTED: Final = re.compile(r"\b([A-Z]{2,4}-(?:G\d|\d{3}))(?:[\s:]+(PASS|WARN|FAIL))?")
_ACTS: Final = ("fail", "warn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A file of the manifest: what it is, and what is expected of it."""

    file: str
    name: str
    kind: str
    family: str
    label: str
    expected: tuple[tuple[str, str | None], ...]
    data: bytes


def read(corpus: Path) -> list[Row]:
    """Read the manifest and its files."""
    with (corpus / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return [
            Row(
                file=row["file"],
                name=PurePosixPath(row["source_path"] or row["file"]).name,
                kind=row["kind"],
                family=row["true_base_family"],
                label=row["true_label"],
                expected=tuple((rule, status or None) for rule, status in _EXPECTED.findall(row["expected_check"])),
                data=(corpus / row["file"]).read_bytes(),
            )
            for row in csv.DictReader(file)
        ]


def ask(name: str, data: bytes, shown: Lineage) -> dict[str, Finding]:
    """Ask every rule of a repository that holds one file."""
    repository = read_repository(BytesSource({name: data}), (), has_weights=shown is not UNTESTED)
    situation = assess(
        load_policies(()), repository=repository, lineage=shown, profile="publisher", strict=False, names=("model",)
    )
    return {finding.id: finding for finding in apply(situation)}


def confusion(rows: list[Row]) -> int:
    """Print what was expected of each check and what was said; returns the number of misses."""
    table: Counter[tuple[str, str, str]] = Counter()
    missed = []
    for row in rows:
        # An expectation speaks of the file on a Llama 2 derivative: whether it would do there.
        for rule, status in row.expected:
            found = ask(row.name, row.data, PROVED)[rule]
            table[rule, status or "FAIL or WARN", found.status] += 1
            if found.status not in ((status.lower(),) if status else _ACTS):
                missed.append(f"  {row.file}: {rule} {status or ''} expected, {found.status}: {found.evidence[:150]}")
    print("\ncheck, expected, said, files (weights stand in as proved)")
    for (rule, status, said), count in sorted(table.items()):
        print(f"  {rule:9} {status:13} {said:8} {count:3}")
    print(f"missed: {len(missed)}", *missed, sep="\n")
    return len(missed)


def quiet(rows: list[Row]) -> int:
    """Print what is said of files of which nothing was expected; returns the number of failures among it."""
    said: list[str] = []
    failures = 0
    judged = [row for row in rows if not any(status != "PASS" for _, status in row.expected)]
    for row in judged:
        for rule, finding in ask(row.name, row.data, PROVED if row.family in OF_LLAMA_2 else UNTESTED).items():
            if finding.status in _ACTS and rule in SPOKEN_OF.get(row.kind, set()):
                said.append(f"  {finding.status} {rule} {row.file} ({row.family}): {finding.evidence[:150]}")
                failures += finding.status == "fail"
    print(f"\n{len(judged)} files of which no finding was expected, judged on their own words: {len(said)} findings")
    print(*said, sep="\n")
    return failures


def others(rows: list[Row]) -> int:
    """Print what is said of projects that are not Llama 2; returns the number of failures, which are false."""
    print("\nprojects that are not Llama 2: weights, files, files with a failure, files with a warning")
    false = 0
    for name, shown in (("untested", UNTESTED), ("independent", DENIED)):
        of_others = [row for row in rows if row.family not in OF_LLAMA_2]
        found = [(row, ask(row.name, row.data, shown).values()) for row in of_others]
        failed = [
            f"  {f.id} {row.file}: {f.evidence[:150]}" for row, every in found for f in every if f.status == "fail"
        ]
        warned = [
            f"  warn {f.id} {row.file}: {f.evidence[:150]}" for row, every in found for f in every if f.status == "warn"
        ]
        print(f"  {name:12} {len(of_others):3} {len(failed):3} {len({line.split(':')[0] for line in warned}):3}")
        print(*failed, *warned, sep="\n")
        false += len(failed)
    return false


def edited(corpus: Path) -> int:
    """Change one word in the middle of every clause of the official agreement; returns how many go unnoticed."""
    path = corpus / "official" / "llama2_LICENSE"
    if not path.exists():
        return 0
    text = Text.of(path.read_text(encoding="utf-8"))
    official = next(t for t in hash_table().texts if t.id == "llama-2-license")
    table: list[str] = []
    missed = 0
    for clause in official.clauses:
        at = (clause.start + clause.stop) // 2
        data = f"{text.clean[: text.starts[at]]}xyzzy{text.clean[text.end(at) :]}".encode()
        finding = ask("LICENSE", data, PROVED)["LIC-002"]
        right = finding.status == "fail" and f"clause {clause.name} changed" in finding.evidence
        missed += not right
        table.append(f"  {clause.name:9} {finding.status:5} {'in that clause' if right else finding.evidence[:90]}")
    print("\nclause of the agreement in which a word was changed, LIC-002", *table, sep="\n")
    return missed


def main() -> None:
    """Run all of it; exit status 1 where a finding is missed or a failure is false."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    corpus = parser.parse_args().corpus
    rows = read(corpus)
    wrong = confusion(rows) + quiet(rows) + others(rows) + edited(corpus)
    print(f"\nmissed, or false failures: {wrong}")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
