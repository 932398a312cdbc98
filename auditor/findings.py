"""One rule outcome, the same shape for every part that has rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["fail", "warn", "pass", "manual", "n/a", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one rule said of one subject.

    Attributes
    ----------
    id : str
        Rule id, "LIC-001".
    status : {"fail", "warn", "pass", "manual", "n/a", "unknown"}
    title : str
        What the rule asks, as a short sentence.
    evidence : str
        What was seen. May hold text of the model as it was read; renderers escape it.
    path : str or None
        File that the evidence was read in.
    clause : str or None
        Clause of the licence that the rule stands for; None for rules about the files themselves.
    fix : str or None
        What a person can do about it.
    waived_until : str or None
        ISO date, where a valid waiver covers this finding.
    """

    id: str
    status: Status
    title: str
    evidence: str
    path: str | None = None
    clause: str | None = None
    fix: str | None = None
    waived_until: str | None = None
