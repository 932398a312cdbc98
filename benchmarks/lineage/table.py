"""What the battery found, as a Markdown page."""

from __future__ import annotations

import math
import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from judges import MATCH_COSINE, Answer, PeerAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cases import Case

_COLUMNS = (
    "#", "case", "family", "truth", "base", "verdict", "rung", "log10 p", "cosine", "MB read", "s", "", "plain cosine",
    "provenancekit",
)  # fmt: skip

_CAVEAT = (
    "Share of rows on which descent is claimed, with Clopper-Pearson 95 % intervals; `apart` shares a random start "
    "only. Rows of one family are not independent draws: the intervals say how few rows there are, nothing of other "
    "models."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A case and all that was said of it."""

    case: Case
    answer: Answer
    plain: float | None
    peer: PeerAnswer | None

    @property
    def outcome(self) -> str:
        """Say "pass", "FAIL", or "-" for what counts nowhere.

        Claiming what is not so fails, and so does not finding what is. Where nothing is to be found, every verdict that
        claims nothing passes.
        """
        if self.case.truth == "apart":
            return "-"
        return "pass" if self.answer.claims == is_descent(self.case) else "FAIL"


def is_descent(case: Case) -> bool:
    """Tell whether the target does descend from the base."""
    return case.truth in {"derived", "disguised"}


def page(rows: Sequence[Row], seconds: float) -> str:
    """Return the whole page."""
    lines = [
        _line(_COLUMNS),
        _line(["---"] * len(_COLUMNS)),
        *(_line(_cells(row)) for row in rows),
        "",
        *_summary(rows),
        "",
        machine(seconds),
    ]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cells(row: Row) -> list[str]:
    case, answer = row.case, row.answer
    match = row.plain is not None and row.plain > MATCH_COSINE
    return [
        str(case.number),
        f"{case.name} ({case.note})" if case.note else case.name,
        case.family,
        case.truth,
        case.base.name,
        answer.verdict,
        answer.rung or "",
        _number(answer.log10_p, 1),
        _number(answer.cosine, 3),
        f"{answer.bytes_read / 1e6:.1f}",
        f"{answer.seconds:.2f}",
        row.outcome,
        "nothing to compare" if row.plain is None else f"{row.plain:.3f}{' match' if match else ''}",
        _peer(row.peer),
    ]


def _peer(peer: PeerAnswer | None) -> str:
    if peer is None:
        return ""
    if peer.score is None:
        return peer.decision
    return f"{peer.decision} {peer.score:.2f} (weights {_number(peer.weights, 2) or 'none'})"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _summary(rows: Sequence[Row]) -> list[str]:
    def plain(row: Row) -> bool | None:
        return row.plain is not None and row.plain > MATCH_COSINE

    judges: dict[str, Callable[[Row], bool | None]] = {
        "auditor": lambda row: row.answer.claims,
        f"plain cosine > {MATCH_COSINE}": plain,
        "provenancekit 1.0.0, where asked": lambda row: row.peer.claims if row.peer else None,
    }
    lines = [_line(["truth", "rows", *judges]), _line(["---"] * (2 + len(judges)))]
    for truth in ("derived", "disguised", "not derived", "apart"):
        here = [row for row in rows if row.case.truth == truth]
        if here:
            said = ([claim(row) for row in here] for claim in judges.values())
            lines.append(_line([truth, str(len(here)), *map(_rate, said)]))
    lines += ["", _CAVEAT]
    return lines


def _rate(said: Sequence[bool | None]) -> str:
    answered = [claim for claim in said if claim is not None]
    if not answered:
        return ""
    hits = sum(answered)
    low, high = clopper_pearson(hits, len(answered))
    return f"{hits} of {len(answered)} ({low:.3f} to {high:.3f})"


def clopper_pearson(hits: int, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """Return the exact two-sided interval of a binomial share (C. Clopper, E. Pearson, *Biometrika* 26, 1934).

    Examples
    --------
    >>> [round(bound, 4) for bound in clopper_pearson(0, 100)]
    [0.0, 0.0362]
    >>> [round(bound, 4) for bound in clopper_pearson(5, 10)]
    [0.1871, 0.8129]
    """
    tail = (1.0 - level) / 2.0

    def solve(reached: Callable[[float], bool]) -> float:
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2.0
            low, high = (low, middle) if reached(middle) else (middle, high)
        return (low + high) / 2.0

    lower = solve(lambda p: 1.0 - _below(hits, trials, p) >= tail) if hits else 0.0
    upper = solve(lambda p: _below(hits + 1, trials, p) <= tail) if hits < trials else 1.0
    return lower, upper


def _below(hits: int, trials: int, p: float) -> float:
    """Return P(fewer than `hits` of `trials`)."""
    if p <= 0.0 or p >= 1.0:
        return float(p <= 0.0 or hits > trials)
    logs = (
        math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * math.log(p)
        + (trials - k) * math.log1p(-p)
        for k in range(hits)
    )  # fmt: skip
    return math.fsum(map(math.exp, logs))


def machine(seconds: float) -> str:
    """Say where and with what this was measured."""
    return (
        f"{seconds:.0f} s for the auditor's part; {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, numpy {version('numpy')}, auditor {version('provenance-auditor')}."
    )
