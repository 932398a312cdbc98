"""Run the lineage battery: what is said of 35 kinds of derived, disguised and unrelated models, and by whom.

    make battery                                     # or: python benchmarks/lineage/run.py
    python benchmarks/lineage/run.py --families tiny --no-peers
    python benchmarks/lineage/run.py --only 18,20,everything --json found.json

The first run trains the small models on one thread and makes its own virtual environments under `.cache/lineage/`
(see `train.py`, `smollm.py`, `venvs.py`); later runs find them there. The auditor runs in this process. With no
`--families`, both are run; "smollm" wants npm (for llama.cpp's libraries), and writes some 10 GB.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import judges
import table
import venvs
from cases import Case, battery
from recipes import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

PEER_EVERY = {"tiny": 6, "smollm": 100}
"""Of each number's rows in a family, the peer is asked about the first, and then about one in so many."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; return the number of wrong answers."""
    options = _parser().parse_args(arguments)
    cases = [case for case in battery() if case.family in options.families.split(",") and _wanted(case, options.only)]
    if not cases:
        sys.exit("no case is meant by that")
    train(cases)
    rows = [row_of(case, number, len(cases)) for number, case in enumerate(cases, 1)]
    seconds = sum(row.answer.seconds for row in rows)
    if options.peers:
        answers = judges.ask_peer(with_peer(cases))
        rows = [
            table.Row(case=row.case, answer=row.answer, plain=row.plain, peer=answers.get(row.case)) for row in rows
        ]
    page = table.page(rows, seconds)
    print(page)
    if options.write:
        Path(options.write).write_text(page)
    if options.json:
        Path(options.json).write_text(json.dumps([plain(row) for row in rows], indent=1))
    return sum(row.outcome == "FAIL" for row in rows)


def train(cases: Sequence[Case]) -> None:
    """Train the small models that are needed and not there."""
    names: set[str] = set()
    for case in cases:
        for target in (case.base, case.target):
            names |= {name for name in target.models if name in BY_NAME}
    lacking = sorted(name for name in names if not BY_NAME[name].done)
    if lacking:
        venvs.run("train", "train.py", *lacking)


def row_of(case: Case, number: int, count: int) -> table.Row:
    """Make a case's folders, and ask about them."""
    base, target = case.base.folder(), case.target.folder()
    answer = judges.ask_auditor(base, target)
    row = table.Row(case=case, answer=answer, plain=judges.plain_cosine(base, target), peer=None)
    print(
        f"{number}/{count} {case.number} {case.family} {case.base.name}: {case.name}: {answer.verdict} {row.outcome}",
        file=sys.stderr,
        flush=True,
    )
    return row


def with_peer(cases: Sequence[Case]) -> list[Case]:
    """Choose the cases that the peer is asked about: it needs most of a minute for a pair of the larger family."""
    chosen: list[Case] = []
    for (family, _number), group in itertools.groupby(cases, key=lambda case: (case.family, case.number)):
        chosen += list(group)[:: PEER_EVERY[family]]
    return chosen


def plain(row: table.Row) -> dict[str, object]:
    """Return a row as plain data."""
    case = row.case
    return {
        "number": case.number, "case": case.name, "family": case.family, "truth": case.truth, "note": case.note,
        "base": case.base.name, "target": case.target.name, **asdict(row.answer), "outcome": row.outcome,
        "plain_cosine": row.plain, "peer": asdict(row.peer) if row.peer else None,
    }  # fmt: skip


def _wanted(case: Case, only: str) -> bool:
    """Tell whether a case is meant by a list of numbers and parts of names."""
    label = f"{case.family} {case.truth} {case.base.name} {case.target.name} {case.name}"
    return not only or any(
        part == str(case.number) if part.isdigit() else part in label for part in only.split(",") if part
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="numbers and parts of names, with commas between")
    parser.add_argument("--families", default="tiny,smollm", help="tiny, smollm, or both (the default)")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="do not ask provenancekit")
    parser.add_argument("--json", metavar="FILE", help="also write the rows as JSON")
    parser.add_argument("--write", metavar="FILE", help="also write the page")
    return parser


if __name__ == "__main__":
    sys.exit(min(main(), 1))
