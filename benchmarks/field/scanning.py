"""One model of the list held against Llama 2, and the references that this needs."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from outcomes import Outcome

from auditor import __version__
from auditor.audit import Options, audit
from auditor.digests.files import Hashing
from auditor.enrolling import build
from auditor.errors import AuditError, BadReference, RenamedRepo
from auditor.lineage.references import find_reference, has_sketch, verify_reference
from auditor.sources import Counting, Range, open_source

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auditor.lineage.references import Installed
    from auditor.report import Report
    from auditor.sources import Source

REFERENCES = ("llama-2-7b", "llama-2-13b", "llama-2-70b")
_CONFIG_BYTES = 1024 * 1024
_WIDTHS = ("hidden_size", "n_embd", "d_model")
_INNER = ("text_config", "language_config", "llm_config")


class References:
    """The references of Llama 2, each made when the first model of its width asks for it. May be used by threads.

    Parameters
    ----------
    names : tuple of str
        Of the library.

    Attributes
    ----------
    installed : dict of str to Installed
    problems : dict of str to str
        Why a reference that was needed is not there.
    bytes_built : int
        Read for those that were made here, as far as is known: the size of their sketches, which keep all rows read.
    """

    def __init__(self, names: tuple[str, ...] = REFERENCES) -> None:
        self.installed: dict[str, Installed] = {}
        self.problems: dict[str, str] = {}
        self.bytes_built = 0
        self._names = names
        self._lock = threading.Lock()

    def for_width(self, width: int | None) -> str:
        """Return the name of the reference that a model of this hidden size is to be held against.

        The one of this width; without one the next wider, of which it may be a pruned descendant; the first where
        there is none either. It is made unless that was tried before.
        """
        widths = {name: find_reference(name).hidden_size or 0 for name in self._names}
        fit = sorted((own, name) for name, own in widths.items() if width is not None and own >= width)
        name = fit[0][1] if fit else self._names[0]
        with self._lock:  # others of this width wait for it
            if name not in self.installed and name not in self.problems:
                self._make(name)
        return name

    def recall(self, names: Iterable[str]) -> None:
        """Look up references that scans before this run were held against. None is made."""
        for name in set(names) - self.installed.keys() - self.problems.keys():
            self._make(name, build_it=False)

    def _make(self, name: str, *, build_it: bool = True) -> None:
        with contextlib.suppress(BadReference):  # none here, or of other files than those pinned now: made anew
            if has_sketch(find_reference(name)):
                self.installed[name] = verify_reference(name)
        if name in self.installed or not build_it:
            return
        try:
            self.installed[name] = build(name)
            self.bytes_built += self.installed[name].size
        except AuditError as error:
            self.problems[name] = str(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanner:
    """How models are scanned.

    Attributes
    ----------
    references : References
    hub : str
        What results call the Hub that is asked.
    max_bytes : int
        Of one model.
    """

    references: References
    hub: str
    max_bytes: int

    def scan(self, repo: str) -> Outcome:
        """Scan one model; whatever ends that is part of the outcome."""
        started = time.perf_counter()
        date = datetime.now(tz=UTC).isoformat(timespec="seconds")
        sources: list[Source] = []
        outcome = Outcome(repo=repo, hub=self.hub, tool_version=__version__, date=date)
        try:
            outcome = self._scan(outcome, sources)
        except AuditError as error:
            outcome = replace(outcome, error=error.code, message=str(error))
        except Exception as error:  # noqa: BLE001 (our own defect, met on one model: the others are scanned)
            outcome = replace(outcome, error="crash", message=f"{type(error).__name__}: {error}")
        counted = [source for source in sources if isinstance(source, Counting)]
        return replace(
            outcome,
            revision=sources[-1].revision if sources else None,
            bytes=sum(source.http_bytes for source in counted),
            requests=sum(source.http_requests for source in counted),
            seconds=round(time.perf_counter() - started, 3),
        )

    def _scan(self, outcome: Outcome, sources: list[Source]) -> Outcome:
        target = f"hf://{outcome.repo}"
        try:
            source = open_source(target)
        except RenamedRepo as error:  # the list is older than the name; the table says which was scanned
            outcome = replace(outcome, scanned_as=error.new_name)
            target = f"hf://{error.new_name}"
            source = open_source(target)
        sources.append(source)
        width = stated_width(source)
        name = self.references.for_width(width)
        outcome = replace(outcome, width=width)
        if name not in self.references.installed:
            return replace(outcome, error="no-reference", message=f"{name}: {self.references.problems[name]}")
        held = self.references.installed[name]
        options = Options(against=(name,), licence=False, build_references=False, max_bytes=self.max_bytes)
        report = audit(target, options, hashing=Hashing(source)).report
        return replace(_with_report(outcome, report), references={name: held.sha256})


def _with_report(outcome: Outcome, report: Report) -> Outcome:
    lineage, best = report.lineage, report.lineage.best
    outcome = replace(
        outcome,
        verdict=lineage.verdict,
        reason=lineage.reason,
        unread=tuple(dict.fromkeys(unread.code for unread in report.coverage.unread)),
    )
    if best is None:
        return outcome
    return replace(
        outcome,
        reference=best.reference,
        rung=best.rung,
        frame=best.frame,
        log10_p=best.log10_p,
        cosine=best.cosine,
        detection_limit=best.detection_limit,
        searched=any(rung.rung == "searched-neurons" for rung in best.rungs),
    )


def stated_width(source: Source) -> int | None:
    """Return the hidden size that a model's config states; None where it states none. Only chooses the reference."""
    info = next((info for info in source.files() if info.path == "config.json"), None)
    if info is None or info.size > _CONFIG_BYTES:
        return None
    try:
        config = json.loads(source.read("config.json", [Range(0, info.size)])[0])
    except (ValueError, RecursionError):
        return None
    if not isinstance(config, dict):
        return None
    parts = [config, *(config[key] for key in _INNER if isinstance(config.get(key), dict))]
    stated = [part[key] for part in parts for key in _WIDTHS if type(part.get(key)) is int]
    return stated[0] if stated else None
