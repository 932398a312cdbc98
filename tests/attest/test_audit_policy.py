"""The policy digest: the same questions give the same digest, and any other question gives another."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from auditor.attest import audit_policy
from auditor.attesting import policy_of
from auditor.audit import Options
from auditor.compliance import load_policies

BOTH = load_policies(())
DEFAULT = audit_policy(BOTH, profile="publisher", strict=False, fail_on="fail")


def test_the_digest_is_of_sorted_compact_json() -> None:
    text = json.dumps(DEFAULT.content, sort_keys=True, separators=(",", ":"))
    assert DEFAULT.sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_the_uri_names_the_policies_and_the_choices() -> None:
    assert DEFAULT.uri == "auditor-policy:codellama+llama2?profile=publisher&strict=false&fail-on=fail"


def test_the_order_of_policies_does_not_count() -> None:
    assert audit_policy(BOTH[::-1], profile="publisher", strict=False, fail_on="fail") == DEFAULT
    assert audit_policy(load_policies(()), profile="publisher", strict=False, fail_on="fail") == DEFAULT


OTHERS = {
    "one policy": audit_policy(BOTH[:1], profile="publisher", strict=False, fail_on="fail"),
    "another profile": audit_policy(BOTH, profile="internal", strict=False, fail_on="fail"),
    "strict": audit_policy(BOTH, profile="publisher", strict=True, fail_on="fail"),
    "fails less": audit_policy(BOTH, profile="publisher", strict=False, fail_on="never"),
    "one word changed": audit_policy(
        (replace(BOTH[0], title=f"{BOTH[0].title}."), *BOTH[1:]), profile="publisher", strict=False, fail_on="fail"
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_question_is_another_digest(case: str) -> None:
    assert OTHERS[case].sha256 != DEFAULT.sha256


def test_they_all_differ() -> None:
    assert len({policy.sha256 for policy in OTHERS.values()}) == len(OTHERS)


def test_what_is_no_question_does_not_count() -> None:
    """Which references there are, and how long an audit takes, is said in the statement and not in the policy."""
    options = Options(against=("base",), digests="tensors", fail_on_incomplete=True)
    assert policy_of(options) == policy_of(Options()) == DEFAULT
