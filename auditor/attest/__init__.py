"""Sign an audit, and verify one: whose word it is, about which bytes, by which policy, and what it says.

Names are imported on first use: a manifest needs neither keys nor numpy, and hashing begins before either is there.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from auditor.attest.bundle import parse_bundle
    from auditor.attest.manifest import Differences, Manifest, hash_target, make_manifest
    from auditor.attest.oms import oms_statement
    from auditor.attest.policy import AuditPolicy, audit_policy
    from auditor.attest.sign import KeylessSigner, KeySigner, Signer
    from auditor.attest.statement import VERIFIER_ID, Input, Statement, make_statement, passed, resource_uri
    from auditor.attest.verify import (
        ByIdentity,
        ByKey,
        Expected,
        Voucher,
        check_files,
        check_statement,
        open_attestation,
    )

__all__ = [
    "VERIFIER_ID",
    "AuditPolicy",
    "ByIdentity",
    "ByKey",
    "Differences",
    "Expected",
    "Input",
    "KeySigner",
    "KeylessSigner",
    "Manifest",
    "Signer",
    "Statement",
    "Voucher",
    "audit_policy",
    "check_files",
    "check_statement",
    "hash_target",
    "make_manifest",
    "make_statement",
    "oms_statement",
    "open_attestation",
    "parse_bundle",
    "passed",
    "resource_uri",
]

_HOME = {
    "AuditPolicy": "auditor.attest.policy",
    "ByIdentity": "auditor.attest.verify",
    "ByKey": "auditor.attest.verify",
    "Differences": "auditor.attest.manifest",
    "Expected": "auditor.attest.verify",
    "Input": "auditor.attest.statement",
    "KeySigner": "auditor.attest.sign",
    "KeylessSigner": "auditor.attest.sign",
    "Manifest": "auditor.attest.manifest",
    "Signer": "auditor.attest.sign",
    "Statement": "auditor.attest.statement",
    "VERIFIER_ID": "auditor.attest.statement",
    "Voucher": "auditor.attest.verify",
    "audit_policy": "auditor.attest.policy",
    "check_files": "auditor.attest.verify",
    "check_statement": "auditor.attest.verify",
    "hash_target": "auditor.attest.manifest",
    "make_manifest": "auditor.attest.manifest",
    "make_statement": "auditor.attest.statement",
    "oms_statement": "auditor.attest.oms",
    "open_attestation": "auditor.attest.verify",
    "parse_bundle": "auditor.attest.bundle",
    "passed": "auditor.attest.statement",
    "resource_uri": "auditor.attest.statement",
}


def __getattr__(name: str) -> object:
    """Import a name on first use."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
