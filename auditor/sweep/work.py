"""One target in a worker: is it still what it was? Else it is judged. What comes back is small and plain."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from auditor import __version__
from auditor.attest.errors import VerificationError
from auditor.digests.files import Hashing
from auditor.errors import AuditError, UsageError, WorkerDied, WorkerTimeout
from auditor.judging import Judged, judge_entry, unaudited
from auditor.report import EXIT_INCOMPLETE
from auditor.sources import Counting, open_source
from auditor.sweep.keys import library_state, revision_of
from auditor.sweep.records import pack

if TYPE_CHECKING:
    from auditor.attest import Voucher
    from auditor.audit import Options
    from auditor.listing import Entry
    from auditor.recalling import Earlier
    from auditor.sources import Source
    from auditor.sweep.records import Remembered

TRANSIENT: Final = frozenset({
    "hub-unreachable", "hub-mismatch", "undelivered", "server-mismatch", "changed", "unavailable", "mlflow-unreachable",
    "mlflow-mismatch", "oci-unreachable", "oci-mismatch", "bucket-unreachable", WorkerDied.code, WorkerTimeout.code,
})  # fmt: skip
"""Codes of errors that another try may not meet."""

UNREACHABLE: Final = frozenset({"hub-unreachable", "mlflow-unreachable", "oci-unreachable", "bucket-unreachable"})
"""Of those, the ones that speak of the host rather than of the target."""

_ASKED: Final = re.compile(r"asks to wait ([0-9]{1,9}) s\b")  # as `hub_http` says it


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A target for a worker.

    Attributes
    ----------
    id : int
        In the store.
    entry : Entry
    options : Options
    known : tuple of str
        Revisions that need no audit.
    tool_version : str
        Of the driver: a worker of another version would answer another question.
    """

    id: int
    entry: Entry
    options: Options
    known: tuple[str, ...] = ()
    tool_version: str = __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a job waits for: whether the driver knows its weights.

    Attributes
    ----------
    id : int
        Of the job.
    weights : str
        See `weights_key`.
    """

    id: int
    weights: str


Ask = Callable[[Question], "Remembered | None"]
"""How a worker asks its driver: it may take as long as another audit of the same weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a job.

    Attributes
    ----------
    id : int
    unchanged : bool
        The target is at a revision that is known: there is no report.
    revision : str
        Empty where it is not known.
    verdict, reference, exit_code
        See `Report`.
    report : bytes
        See `pack`.
    bytes, requests, seconds
        What it took.
    error_code, error : str or None
        Why there was nothing to audit, or what of it could not be read but may be next time.
    transient : bool
        Another try may do better.
    wait : float or None
        Seconds for which its host asks to be left alone.
    library, compact, weights
        See `Result`.
    """

    id: int
    unchanged: bool = False
    revision: str = ""
    verdict: str = "inconclusive"
    reference: str | None = None
    exit_code: int = EXIT_INCOMPLETE
    report: bytes = b""
    compact: bytes | None = None
    bytes: int = 0
    requests: int = 0
    seconds: float = 0.0
    error_code: str | None = None
    error: str | None = None
    transient: bool = False
    wait: float | None = None
    library: str | None = None
    weights: str | None = None


def perform(job: Job, *, ask: Ask | None = None) -> Outcome:
    """Audit one target. Whatever it is or lacks becomes an outcome.

    Parameters
    ----------
    job : Job
    ask : callable, optional
        Whether the weights were read before.
    """

    def recall(weights: str) -> Earlier | None:
        known = ask(Question(id=job.id, weights=weights)) if ask else None
        return known.earlier() if known else None

    started = time.perf_counter()
    entry, revision = job.entry, ""
    source: Source | None = None
    if job.tool_version != __version__:
        problem = f"the worker runs auditor {__version__}, and the sweep {job.tool_version}"
        return failed(job, WorkerDied(f"{entry.target}: {problem}"))
    try:
        voucher = _voucher(entry)
        if voucher is None:
            source = open_source(entry.target)
            revision = revision_of(source) or ""
            if revision in job.known:
                bytes_, requests = _cost(source)
                seconds = time.perf_counter() - started
                return Outcome(
                    id=job.id, unchanged=True, revision=revision, bytes=bytes_, requests=requests, seconds=seconds
                )
        hashing = Hashing(source, processes=1) if source is not None else None
        judged = judge_entry(entry, job.options, voucher=voucher, hashing=hashing, recall=recall if ask else None)
    except AuditError as error:
        judged = Judged(entry=entry, report=unaudited(entry, error), error=error)
    if judged.verified is not None:
        revision = judged.report.target.revision or ""
    return _outcome(job, judged, revision, source, seconds=time.perf_counter() - started)


def failed(job: Job, error: AuditError, *, seconds: float = 0.0) -> Outcome:
    """Return the outcome of a job that no worker brought to an end."""
    judged = Judged(entry=job.entry, report=unaudited(job.entry, error), error=error)
    return _outcome(job, judged, "", None, seconds=seconds)


def _outcome(job: Job, judged: Judged, revision: str, source: Source | None, *, seconds: float) -> Outcome:
    report = judged.report
    best = report.lineage.best
    passing = next((unread for unread in report.coverage.unread if unread.code in TRANSIENT), None)
    code, error = (passing.code, f"{passing.path}: {passing.reason}") if passing else (None, None)
    if judged.error is not None and not isinstance(judged.error, VerificationError):  # of which the report says all
        code, error = judged.error.code, str(judged.error)
    asked = _ASKED.search(error or "")
    bytes_, requests = _cost(source)
    return Outcome(
        id=job.id,
        revision=revision,
        verdict=report.lineage.verdict,
        reference=best.reference if best and report.lineage.verdict in _ABOUT else None,
        exit_code=report.exit_code,
        report=pack(report.as_dict()),
        bytes=max(bytes_, report.coverage.bytes_read),
        requests=max(requests, report.coverage.requests),
        seconds=seconds,
        error_code=code,
        error=error,
        transient=code in TRANSIENT,
        wait=float(asked[1]) if asked else None,
        library=library_state() if report.lineage.verdict == "inconclusive" else None,
        compact=judged.compact[0].to_bytes() if judged.compact else None,
        weights=judged.weights_key,
    )


_ABOUT: Final = frozenset({"identical", "derived", "embeddings-shared"})


def _cost(source: Source | None) -> tuple[int, int]:
    if source is not None and isinstance(source, Counting):
        return source.http_bytes, source.http_requests
    return 0, 0


def _voucher(entry: Entry) -> Voucher | None:
    """Return whose signature is believed, where the entry has an attestation.

    Raises
    ------
    UsageError, BadKey, BadTrust
    """
    if entry.attestation is None:
        return None
    from auditor.attest import ByIdentity, ByKey, keyless, keys  # noqa: PLC0415 - sigstore takes .5 s to import

    if entry.key:
        return ByKey(keys.load_public(_read(entry.key), file=entry.key))
    trust = _read(entry.trust_config) if entry.trust_config else None
    return ByIdentity(
        identity=entry.identity or "",
        issuer=entry.issuer or "",
        trust=keyless.load_trust(trust, file=entry.trust_config or "", online=False),
    )


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from error
