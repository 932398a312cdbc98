"""What is kept of a scan: one line of JSON a model, so that a run can be broken off and gone on with."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.errors import GatedRepo, HubMismatch, HubOffline, HubUnreachable, MissingRepo, RangeIgnored, Undelivered

if TYPE_CHECKING:
    from collections.abc import Iterable

HERE = Path(__file__).parent

PASSING = frozenset({HubUnreachable.code, HubMismatch.code, HubOffline.code, Undelivered.code, RangeIgnored.code})
"""Codes that tell of the line or the server and not of the model: it is asked again the next time."""

WORDS = {GatedRepo.code: "gated", MissingRepo.code: "gone", "no-reference": "no reference", "crash": "crashed"}
"""What the table calls an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A row of `models.csv`.

    Attributes
    ----------
    repo : str
    label : str
        "derived" from Llama 2, or "independent" of it, as the source says.
    relation, source : str
    """

    repo: str
    label: str
    relation: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one scan.

    Attributes
    ----------
    repo : str
        As listed.
    hub : str
        Which Hub was asked: "public", "stand-ins", or another's address.
    tool_version, date : str
    scanned_as : str or None
        The repository's new name, where it was renamed.
    revision : str or None
        The commit scanned.
    error, message : str or None
        Code and words of what ended the scan; None where it came to a verdict.
    verdict, reason, reference, rung, frame : str or None
    log10_p, cosine, detection_limit : float or None
    searched : bool
        Whole layers were searched for neurons in another order.
    unread : tuple of str
        Codes of what could not be read.
    references : dict of str to str
        Sketches that it was held against, by name, with their SHA-256.
    width : int or None
        Hidden size as the config states it.
    bytes, requests : int
        Received and sent, everything included.
    seconds : float
    """

    repo: str
    hub: str
    tool_version: str
    date: str
    scanned_as: str | None = None
    revision: str | None = None
    error: str | None = None
    message: str | None = None
    verdict: str | None = None
    reason: str | None = None
    reference: str | None = None
    rung: str | None = None
    frame: str | None = None
    log10_p: float | None = None
    cosine: float | None = None
    detection_limit: float | None = None
    searched: bool = False
    unread: tuple[str, ...] = ()
    references: dict[str, str] = field(default_factory=dict)
    width: int | None = None
    bytes: int = 0
    requests: int = 0
    seconds: float = 0.0

    @property
    def passing(self) -> bool:
        """Whether trying again may end otherwise, with the same model and the same tool."""
        return self.error in PASSING or (self.verdict == "inconclusive" and bool(PASSING.intersection(self.unread)))

    def grade(self, label: str) -> str:
        """Say how the verdict stands to the label.

        Returns
        -------
        {"found", "missed", "right", "false alarm", "inconclusive", "error"}
            "inconclusive" of either label: nothing wrong was said.
        """
        if self.error is not None:
            return "error"
        if self.verdict in {"inconclusive", "adapter"}:
            return "inconclusive"
        claims = self.verdict != "independent"
        if label == "derived":
            return "found" if claims else "missed"
        return "false alarm" if claims else "right"


def read_models(path: Path | None = None) -> list[Model]:
    """Read the table of models."""
    with (path or HERE / "models.csv").open(newline="", encoding="utf-8") as file:
        return [Model(**row) for row in csv.DictReader(file)]


class Results:
    """The file of results: the last line of a model counts.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, outcome: Outcome) -> None:
        """Write a line, and see it on the disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            file.seek(0, os.SEEK_END)
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a line that was broken off
                    file.write(b"\n")
            file.write(json.dumps(asdict(outcome)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def latest(self, *, hub: str, tool_version: str) -> dict[str, Outcome]:
        """Return what is there of one Hub by one version, by repository. Lines that cannot be read do not count."""
        found: dict[str, Outcome] = {}
        if not self.path.exists():
            return found
        for line in self.path.read_bytes().splitlines():
            try:
                values: dict[str, Any] = json.loads(line)
                outcome = Outcome(**values | {"unread": tuple(values["unread"])})
            except (ValueError, TypeError, KeyError):
                continue
            if (outcome.hub, outcome.tool_version) == (hub, tool_version):
                found[outcome.repo] = outcome
        return found


def left(models: Iterable[Model], done: dict[str, Outcome], *, retry: bool) -> list[Model]:
    """Return the models that are still to be scanned: without a result, or whose failure may have passed.

    Parameters
    ----------
    models : iterable of Model
    done : dict of str to Outcome
    retry : bool
        Also those that ended in any error.
    """
    return [
        model
        for model in models
        if (outcome := done.get(model.repo)) is None or outcome.passing or (retry and outcome.error is not None)
    ]
