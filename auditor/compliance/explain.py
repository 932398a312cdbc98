"""`auditor explain RULE`: a rule in plain words."""

from __future__ import annotations

import difflib
import textwrap

from auditor.compliance.rules import RULES
from auditor.errors import UsageError
from auditor.findings import AUDIT_RULES, FILE_RULES

_KINDS = {
    "decides": "files decide it: pass or fail",
    "evidence": "files are only evidence: it warns",
    "person": "only a person can say: it needs a named, dated, expiring statement",
}


def explain(rule_id: str) -> str:
    """Return what a rule asks, why, how to put it right and where it is decided; 80 columns.

    Raises
    ------
    UsageError
        When there is no such rule; says the nearest one.
    """
    wanted = rule_id.strip().upper()
    for file_rule in (*AUDIT_RULES, *FILE_RULES):
        if file_rule.id == wanted:
            return _page(
                f"{file_rule.id}  {file_rule.title}",
                {"why": file_rule.why, "fix": file_rule.fix, "decided": "by files"},
            )
    for rule in RULES:
        if rule.id == wanted:
            clause = f" (clause {rule.clause})" if rule.clause else ""
            return _page(
                f"{rule.id}{clause}  {rule.title}",
                {
                    "why": rule.why,
                    "fix": rule.fix,
                    "decided": f"{rule.decided}. {_KINDS[rule.kind].capitalize()}.",
                    "severity": f"{rule.severity}; a duty of: {', '.join(rule.profiles)}",
                    "descent": "without a verdict on the weights it warns and never fails"
                    if "weights" in rule.needs
                    else "does not depend on the weights",
                },
            )
    known = [rule.id for rule in (*AUDIT_RULES, *FILE_RULES)] + [rule.id for rule in RULES]
    close = difflib.get_close_matches(wanted, known, n=1)
    raise UsageError(f"{rule_id}: no such rule; " + (f"did you mean {close[0]}?" if close else "see `auditor explain`"))


def _page(title: str, parts: dict[str, str]) -> str:
    lines = [*textwrap.wrap(title, width=80, subsequent_indent=" " * 11), ""]
    for label, text in parts.items():
        lines += textwrap.wrap(text, width=80, initial_indent=f"{label:<11}", subsequent_indent=" " * 11)
    return "\n".join(lines) + "\n\nThis is evidence and explanation, not legal advice.\n"
