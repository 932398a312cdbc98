"""One model of a list: its attestation is verified where it has one, else it is audited. Nothing is lost on the way.

A target that cannot be opened, and an attestation that does not hold, are reports too, so that a gate over a list says
something of every line of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from auditor import __version__
from auditor.attest.errors import VerificationError
from auditor.attesting import Verified, policy_of, verify
from auditor.audit import Options, audit
from auditor.digests.files import Hashing
from auditor.errors import AuditError
from auditor.findings import AUDIT_RULES, Finding
from auditor.lineage import Lineage
from auditor.report import EXIT_FINDINGS, EXIT_INCOMPLETE, Coverage, Report, Target
from auditor.report.reading import read_report
from auditor.sources import Unread, open_source

if TYPE_CHECKING:
    from datetime import timedelta

    from auditor.attest import Voucher
    from auditor.digests.files import Progress
    from auditor.enrolling import Notify
    from auditor.lineage.compact import CompactSample
    from auditor.listing import Entry
    from auditor.recalling import Recall


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What is known of one model of a list.

    Attributes
    ----------
    entry : Entry
    report : Report
        Of the audit; of the attestation where one was verified.
    verified : Verified or None
    error : AuditError or None
        Why there was nothing to audit or verify.
    compact : tuple of CompactSample
    weights_key : str or None
        See `Audit`.
    """

    entry: Entry
    report: Report
    verified: Verified | None = None
    error: AuditError | None = None
    compact: tuple[CompactSample, ...] = ()
    weights_key: str | None = None


def judge_entry(
    entry: Entry,
    options: Options,
    *,
    voucher: Voucher | None = None,
    max_age: timedelta | None = None,
    hashing: Hashing | None = None,
    progress: Progress | None = None,
    recall: Recall | None = None,
    notify: Notify | None = None,
) -> Judged:
    """Judge one model. Never raises for what the model is or lacks.

    Parameters
    ----------
    entry : Entry
    options : Options
        Of the command; the entry's own references and base go before.
    voucher : Voucher, optional
        Whose signature is believed; needed where the entry has an attestation.
    max_age : timedelta, optional
        Of an attestation.
    hashing, recall, notify
        See `audit`.
    progress : callable, optional
        See `digest_files`.
    """
    chosen = replace(options, against=entry.against or options.against, base=entry.base or options.base)
    try:
        if entry.attestation is not None and voucher is not None:
            return _verified(entry, chosen, voucher, max_age=max_age, progress=progress)
        hashing = hashing or Hashing(open_source(entry.target), progress=progress)
        done = audit(entry.target, chosen, hashing=hashing, recall=recall, notify=notify)
        return Judged(entry=entry, report=done.report, compact=done.compact, weights_key=done.weights_key)
    except VerificationError as error:
        return Judged(entry=entry, report=_refused(entry, error), error=error)
    except AuditError as error:
        return Judged(entry=entry, report=unaudited(entry, error), error=error)


def _verified(
    entry: Entry, options: Options, voucher: Voucher, *, max_age: timedelta | None, progress: Progress | None
) -> Judged:
    attestation = Path(entry.attestation or "")
    found = verify(
        attestation,
        entry.target,
        voucher=voucher,
        policy_sha256=policy_of(options).sha256,
        max_age=max_age,
        progress=progress,
    )
    told = read_report(found.statement.report, file=str(attestation))
    evidence = f"signed by {found.signer} on {found.statement.time:%Y-%m-%d}, root sha256 {found.statement.root}"
    report = replace(told, findings=(_attestation("pass", evidence, entry), *told.findings))
    return Judged(entry=entry, report=report, verified=found)


def _attestation(status: str, evidence: str, entry: Entry) -> Finding:
    rule = next(rule for rule in AUDIT_RULES if rule.id == "ATT-001")
    failed = status == "fail"
    return Finding(
        id=rule.id,
        status="fail" if failed else "pass",
        title=rule.title,
        evidence=f"{entry.attestation}: {evidence}",
        fix=rule.fix if failed else None,
    )


def _refused(entry: Entry, error: VerificationError) -> Report:
    report = unaudited(entry, error)
    finding = _attestation("fail", f"{error.code}: {error}", entry)
    return replace(report, findings=(finding,), coverage=replace(report.coverage, unread=()), exit_code=EXIT_FINDINGS)


def unaudited(entry: Entry, error: AuditError) -> Report:
    """Return the report of a target that nothing was read of."""
    unread = Unread(path=entry.target, code=error.code, reason=str(error))
    return Report(
        tool_version=__version__,
        target=Target(uri=entry.target, kind="unknown", revision=None, files=()),
        lineage=Lineage(verdict="inconclusive", reason=f"nothing was read: {error}"),
        findings=(),
        coverage=Coverage(unread=(unread,), bytes_read=0, requests=0, seconds=0.0),
        exit_code=EXIT_INCOMPLETE,
    )
