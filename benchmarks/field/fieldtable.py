"""What a run came to: a table, the confusion matrix and the totals, for people and for programs."""

from __future__ import annotations

import os
import platform
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from outcomes import WORDS, Model, Outcome

from auditor import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scanning import References

MB = 1_000_000
IN_PLACE = "independent (in order only)"
"""What the table calls `independent` where whole layers were not searched for neurons in another order."""
GRADES = {
    "derived": ("found", "missed", "inconclusive", "error"),
    "independent": ("right", "false alarm", "inconclusive", "error"),
}
_COLUMNS = (
    "repository", "label", "verdict", "reference", "rung", "log10 p", "cosine", "MB", "requests", "s", "ok?", "revision"
)  # fmt: skip
STAND_INS = (
    "**These are stand-ins**: files of the models' shapes with drawn numbers, on a Hub of our own. Nothing here was "
    "measured on the models named."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a table is made of.

    Attributes
    ----------
    hub : str
    models : sequence of Model
    outcomes : mapping of str to Outcome
        By repository; models without one are not done.
    references : References
    """

    hub: str
    models: Sequence[Model]
    outcomes: Mapping[str, Outcome]
    references: References

    def done(self) -> list[tuple[Model, Outcome]]:
        """Models with what came of them."""
        return [(model, self.outcomes[model.repo]) for model in self.models if model.repo in self.outcomes]

    def confusion(self) -> dict[str, Counter[str]]:
        """Count grades by label."""
        counts: dict[str, Counter[str]] = {model.label: Counter() for model in self.models}
        for model, outcome in self.done():
            counts[model.label][outcome.grade(model.label)] += 1
        return counts

    def totals(self) -> dict[str, float]:
        """Sum what all models took, references not among them."""
        outcomes = [outcome for _, outcome in self.done()]
        return {
            "models": len(self.models),
            "done": len(outcomes),
            "bytes": sum(outcome.bytes for outcome in outcomes),
            "requests": sum(outcome.requests for outcome in outcomes),
            "seconds_of_scans": round(sum(outcome.seconds for outcome in outcomes), 1),
        }


def as_data(run: Run) -> dict[str, object]:
    """Return everything, for JSON."""
    return {
        "hub": run.hub,
        "date": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "tool_version": __version__,
        "references": _references(run.references),
        "references_lacking": dict(run.references.problems),
        "models": [
            asdict(model) | asdict(outcome) | {"verdict_shown": verdict(outcome), "ok": outcome.grade(model.label)}
            for model, outcome in run.done()
        ],
        "not_done": [model.repo for model in run.models if model.repo not in run.outcomes],
        "confusion": {label: dict(counts) for label, counts in run.confusion().items()},
        "totals": run.totals(),
    }


def as_markdown(run: Run) -> str:
    """Return the page."""
    lines = [STAND_INS, ""] if run.hub == "stand-ins" else []
    lines += [_line(_COLUMNS), _line(["---"] * len(_COLUMNS))]
    lines += [_line(_cells(model, outcome)) for model, outcome in run.done()]
    lines += ["", *_matrix(run), "", *_reasons(run), *_totals(run)]
    return "\n".join(lines) + "\n"


def verdict(outcome: Outcome) -> str:
    """Say a verdict in the table's words: what `independent` did not cover, and errors for what they mean."""
    if outcome.error is not None:
        return WORDS.get(outcome.error, outcome.error)
    return IN_PLACE if outcome.verdict == "independent" and not outcome.searched else str(outcome.verdict)


def _cells(model: Model, outcome: Outcome) -> list[str]:
    rung = (outcome.rung or "-") + (f" ({outcome.frame})" if outcome.frame else "")
    log10_p = "-" if outcome.log10_p is None else f"{outcome.log10_p:.1f}"
    cosine = "-" if outcome.cosine is None else f"{outcome.cosine:.4f}"
    return [
        model.repo + (f", now {outcome.scanned_as}" if outcome.scanned_as else ""),
        f"{model.label}: {model.relation}",
        verdict(outcome),
        outcome.reference or "-",
        rung,
        log10_p,
        cosine,
        f"{outcome.bytes / MB:.2f}",
        str(outcome.requests),
        f"{outcome.seconds:.1f}",
        outcome.grade(model.label),
        (outcome.revision or "-")[:12],
    ]


def _matrix(run: Run) -> list[str]:
    lines = [_line(("label", "models", "said rightly", "said wrongly", "inconclusive", "error", "not done"))]
    lines.append(_line(["---"] * 7))
    for label, counts in run.confusion().items():
        number = sum(model.label == label for model in run.models)
        right, wrong, *others = GRADES.get(label, ("right", "false alarm", "inconclusive", "error"))
        rest = number - sum(counts.values())
        cells = [f"{counts[right]} {right}", f"{counts[wrong]} {wrong}", *(str(counts[grade]) for grade in others)]
        lines.append(_line([label, str(number), *cells, str(rest)]))
    return lines


def _reasons(run: Run) -> list[str]:
    """List why a verdict is none, wrong, or covers less than its word."""
    reasons: dict[str, list[str]] = {}
    for model, outcome in run.done():
        if outcome.error is not None:
            why = f"error, {verdict(outcome)}: {outcome.message}"
        elif outcome.reason is not None:
            why = ", ".join(dict.fromkeys((outcome.grade(model.label), verdict(outcome)))) + f": {outcome.reason}"
        else:
            continue
        reasons.setdefault(_visible(why), []).append(model.repo)
    return [*(f"- {why}: {', '.join(repos)}" for why, repos in reasons.items()), ""] if reasons else []


def _totals(run: Run) -> list[str]:
    totals = run.totals()
    references = [
        f"{name} ({entry['repo']}@{str(entry['revision'])[:12]}, "
        f"{'pinned digests' if entry['pinned'] else 'digests not pinned'}, sketch {str(entry['sha256'])[:12]})"
        for name, entry in _references(run.references).items()
    ]
    lacking = [f"{name} is not there: {_visible(why)}" for name, why in run.references.problems.items()]
    scans = f"{totals['requests']} requests, {totals['seconds_of_scans']:.0f} s of scans (several at a time)"
    summary = (
        f"{totals['done']} of {totals['models']} models, {totals['bytes'] / MB:.1f} MB and {scans}; references made in "
        f"this run: {run.references.bytes_built / MB:.1f} MB."
    )
    return [
        summary,
        "",
        f"References: {'; '.join(references + lacking) or 'none'}.",
        "",
        f"{datetime.now(tz=UTC):%Y-%m-%d}, auditor {__version__}, Hub: {run.hub}. {machine()}.",
    ]


def _references(references: References) -> dict[str, dict[str, object]]:
    return {
        name: {
            "repo": entry.repo,
            "revision": entry.revision,
            "pinned": entry.pinned,
            "sha256": entry.sha256,
            "size": entry.size,
        }
        for name, entry in sorted(references.installed.items())
    }


def machine() -> str:
    """Say on what it ran."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "httpx2", "huggingface_hub"))
    where = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {platform.system()}"
    return f"{where}, Python {platform.python_version()}, {packages}"


def _visible(text: str) -> str:
    """Make text of a model or a server safe to show, and to stand in a table."""
    return "".join(char if char.isprintable() else "?" for char in text).replace("|", "/")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_visible(cell) for cell in cells) + " |"
