"""The shape of a rule and of what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditor.compliance.situation import Profile, Situation
    from auditor.findings import Status

Kind = Literal["decides", "evidence", "person"]
"""Files decide it; files are only evidence; or only a person can say."""

Severity = Literal["high", "medium", "low", "info"]

Need = Literal["weights", "files", "card"]

EVERYONE: tuple[Profile, ...] = ("publisher", "deployer", "internal")
PUBLISHER: tuple[Profile, ...] = ("publisher",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a check found.

    Attributes
    ----------
    status : {"fail", "warn", "pass", "manual", "n/a", "unknown"}
    evidence : str
        What was seen; text of the model is escaped and quoted in it.
    path : str or None
        File it was seen in.
    fix : str or None
        What to do about it, where it is more exact than the rule's own.
    """

    status: Status
    evidence: str
    path: str | None = None
    fix: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row of the table.

    Attributes
    ----------
    id : str
    clause : str or None
        Of the agreement; "AUP" for its use policy; None for contradictions between parts of a repository.
    kind : {"decides", "evidence", "person"}
    severity : {"high", "medium", "low", "info"}
    needs : tuple of str
        "weights" (a fail without a verdict on the weights becomes a warning), "files", "card".
    title : str
        What must be so, as a sentence.
    why : str
        Why it matters.
    fix : str
        How to put it right.
    decided : str
        Where it is decided: by which files or by whom.
    check : callable
    profiles : tuple of str
        Who has this duty; for others it is "n/a".
    stated : bool
        Where files do not decide, a person's statement does.
    bound_only : bool
        Only asked where the licence applies (proved or claimed).
    """

    id: str
    clause: str | None
    kind: Kind
    severity: Severity
    needs: tuple[Need, ...]
    title: str
    why: str
    fix: str
    decided: str
    check: Callable[[Situation], Outcome]
    profiles: tuple[Profile, ...] = EVERYONE
    stated: bool = False
    bound_only: bool = True

    @property
    def answerable(self) -> bool:
        """Whether a person's statement can answer it."""
        return self.stated or self.kind == "person"


def passed(evidence: str, path: str | None = None) -> Outcome:
    """Say that all is well, and why."""
    return Outcome(status="pass", evidence=evidence, path=path)


def failed(evidence: str, path: str | None = None, *, fix: str | None = None) -> Outcome:
    """Say that it is broken, where, and what puts it right."""
    return Outcome(status="fail", evidence=evidence, path=path, fix=fix)


def warned(evidence: str, path: str | None = None, *, fix: str | None = None) -> Outcome:
    """Say what a person should look at."""
    return Outcome(status="warn", evidence=evidence, path=path, fix=fix)


def unknown(evidence: str, path: str | None = None) -> Outcome:
    """Say why it could not be decided."""
    return Outcome(status="unknown", evidence=evidence, path=path)


def not_applicable(evidence: str) -> Outcome:
    """Say that the question does not arise, and why."""
    return Outcome(status="n/a", evidence=evidence)


def a_person_must_say(_: Situation) -> Outcome:
    """Leave it to a statement; silence is never a pass."""
    return Outcome(status="manual", evidence="no statement about this is recorded")
