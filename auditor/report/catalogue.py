"""What is known of a rule beside what it said of one target, and where the user has covered a finding."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from auditor.compliance.rules import RULES
from auditor.findings import AUDIT_RULES, FILE_RULES, FileRule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auditor.findings import Finding

LINEAGE: Final = FileRule(
    id="lineage",
    title="What the weights show",
    why="Licence duties follow from what a model was made of, whatever its card says. This is no fault by itself.",
    fix="Hold it against what the card says, and against the licence of the base.",
)
"""The verdict, in formats that know nothing but rules."""


@cache
def known_rules() -> Mapping[str, FileRule]:
    """Return title, reason and remedy of every rule of this version, by id."""
    own = (FileRule(id=rule.id, title=rule.title, why=rule.why, fix=rule.fix) for rule in RULES)
    return {rule.id: rule for rule in (LINEAGE, *AUDIT_RULES, *FILE_RULES, *own)}


def cover(finding: Finding) -> str | None:
    """Say why a finding counts as accepted; None where it does not.

    Nobody can accept what was not seen: an unknown is never covered, as in the exit code.
    """
    if finding.status == "unknown" or not finding.covered:
        return None
    until = [f"waived until {finding.waived_until}"] if finding.waived_until is not None else []
    return "; ".join([*until, *(["in the baseline"] if finding.in_baseline else [])])
