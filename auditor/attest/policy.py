"""What an audit was held against, as one digest: two audits with the same digest asked the same questions."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditor.compliance import Policy, Profile
    from auditor.report import FailOn


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPolicy:
    """The policy of an audit.

    Attributes
    ----------
    uri : str
        Names it: the licence policies and the user's choices.
    content : dict
        What the digest is made of.
    """

    uri: str
    content: dict[str, object]

    @property
    def sha256(self) -> str:
        """Digest of the content as sorted, compact JSON."""
        return hashlib.sha256(_canonical(self.content)).hexdigest()


def audit_policy(policies: Sequence[Policy], *, profile: Profile, strict: bool, fail_on: FailOn) -> AuditPolicy:
    """Describe what an audit is held against.

    Parameters
    ----------
    policies : sequence of Policy
        Licence policies; each goes in with a digest of all that it says.
    profile, strict, fail_on
        See `auditor.audit.Options`.
    """
    choices = {"profile": profile, "strict": str(strict).lower(), "fail-on": fail_on}
    names = sorted(policy.name for policy in policies)
    return AuditPolicy(
        uri=f"auditor-policy:{'+'.join(names)}?{urlencode(choices)}",
        content={
            "licences": [
                {"name": policy.name, "sha256": hashlib.sha256(_canonical(asdict(policy))).hexdigest()}
                for policy in sorted(policies, key=lambda policy: policy.name)
            ],
            **choices,
        },
    )


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
