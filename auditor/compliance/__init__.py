"""Does the repository keep the licence that follows from its weights? Files, card and headers against a policy."""

from __future__ import annotations

from auditor.compliance.check import LicenceCheck, check_licence, parse_config, waive
from auditor.compliance.policy import Policy, load_policies
from auditor.compliance.rules import RULES, Rule
from auditor.compliance.situation import Derivation, Profile, Situation
from auditor.compliance.statements import Statements

__all__ = [
    "RULES",
    "Derivation",
    "LicenceCheck",
    "Policy",
    "Profile",
    "Rule",
    "Situation",
    "Statements",
    "check_licence",
    "load_policies",
    "parse_config",
    "waive",
]
