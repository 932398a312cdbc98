"""What a repository says of its model, beside what the weights show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from auditor.findings import Finding
from auditor.report.words import adapter_in_words

if TYPE_CHECKING:
    from auditor.report.contract import AdapterSummary, Report
    from auditor.report.html_text import Caps, Part

CLAIMS: Final = {
    "BASE-001": "Base model",
    "ADP-001": "Base of the adapter",
    "MRG-001": "Parents of the merge",
    "CARD-001": "Licence of the weights",
    "CARD-002": "Licence by another name",
    "CARD-005": "Licence",
    "CARD-006": "Several licences",
    "ALT-001": "Licence of the base",
    "LIC-004": "Version of the agreement",
    "GGUF-001": "Header of the file",
    "NAME-001": "Whose model it is",
    "NAME-002": "Name",
    "OVR-001": "Descent that is not there",
    "OWN-001": "Ownership",
    "OSI-001": "Openness",
}
"""Rules that hold a statement of the card, a licence, a name or a header against the weights, and what it is about."""

_ABSENCES: Final = {"CARD-005"}
"""Of these, that nothing is said: kept, there is no more to it than what another rule shows."""

_FITS: Final = {
    "fail": "does not fit",
    "unknown": "not decided",
    "warn": "doubtful",
    "manual": "for a person to say",
    "pass": "fits",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One statement.

    Attributes
    ----------
    about : str
    said : str
        With the place where it stands.
    status : str
        As findings have it.
    fits : str
        Whether the weights bear it out, in words.
    rule : str
    """

    about: str
    said: str
    status: str
    fits: str
    rule: str = ""


def claims_of(report: Report, caps: Caps) -> Part[Claim]:
    """Return what the repository says, in the order of `CLAIMS`; what it does not say, only where it should."""
    by_rule: dict[str, list[Finding]] = {rule: [] for rule in CLAIMS}
    for finding in report.findings:
        if finding.id in by_rule and finding.status != "n/a":
            by_rule[finding.id].append(finding)
    said: set[str] = set()
    spoken: list[Finding | AdapterSummary] = []
    for finding in (finding for of_rule in by_rule.values() for finding in of_rule):
        # A pass without a place is that nothing was said. Several rules can pass on the same words.
        silent = finding.path is None or finding.id in _ABSENCES or finding.evidence in said
        if finding.status != "pass" or not silent:
            spoken.append(finding)
        said.add(finding.evidence)
    alone = report.lineage.verdict == "adapter"
    return caps.head([*spoken, *report.target.adapters], lambda one: _claim(one, caps, alone=alone))


def _claim(one: Finding | AdapterSummary, caps: Caps, *, alone: bool) -> Claim:
    if isinstance(one, Finding):
        said = caps.seen(one.evidence or one.title)
        return Claim(about=CLAIMS[one.id], said=said, status=one.status, fits=_FITS[one.status], rule=one.id)
    fits = "cannot be told from these weights" if alone else "a claim"
    return Claim(about="Adapter", said=caps.seen(adapter_in_words(one)), status="manual", fits=fits)
