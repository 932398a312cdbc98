"""Sign an audit, and verify one: whose word it is, about which bytes, by which policy, and what it says."""

from __future__ import annotations

from auditor.attest.bundle import parse_bundle
from auditor.attest.manifest import Differences, Manifest, hash_target, make_manifest
from auditor.attest.oms import oms_statement
from auditor.attest.policy import AuditPolicy, audit_policy
from auditor.attest.sign import KeylessSigner, KeySigner, Signer
from auditor.attest.statement import VERIFIER_ID, Input, Statement, make_statement, passed, resource_uri
from auditor.attest.verify import ByIdentity, ByKey, Expected, Voucher, check_files, check_statement, open_attestation

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
