"""What is signed: an in-toto Statement v1 whose predicate is a SLSA verification summary, with the audit in it.

Sources: in-toto/attestation spec/v1, slsa.dev/verification_summary/v1. A verification summary says who verified what,
by which policy, and with which result; the fields that SLSA leaves to vendors hold the report, the manifest, the
policy, the references and the people's word, all that is needed to see how the result came about.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING
from urllib.parse import quote

from auditor.attest.errors import BadStatement, WrongPredicate
from auditor.attest.manifest import Manifest, Resource
from auditor.errors import FileError
from auditor.formats import strictjson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from auditor.attest.policy import AuditPolicy
    from auditor.compliance import Statements
    from auditor.report import Report, Target
    from auditor.sources import Source

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/verification_summary/v1"
VERIFIER_ID = "pkg:pypi/provenance-auditor"
"""Who verified, unless a user says otherwise: this tool, as a package URL."""

EXTENSION = "auditor_v1"
"""The vendor field of the predicate; the number is that of its shape."""

_TIME = "%Y-%m-%dT%H:%M:%SZ"
_HEX = frozenset("0123456789abcdef")
_OPEN = frozenset({"inconclusive", "adapter"})  # verdicts that leave open where the weights come from


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A signature that was verified on the way: evidence that went into the audit.

    Attributes
    ----------
    uri : str
    sha256 : str
        Of the signature file.
    signer : str
        Key or identity that it was verified with.
    subject : str
        Root digest that it vouches for.
    """

    uri: str
    sha256: str
    signer: str
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement as it was read, every field of the right type. Not verified.

    Attributes
    ----------
    name, root : str
        Subject: name and root digest of the audited files.
    verifier, version : str
        Who verified, and with which version of this tool.
    time : datetime
        When, with time zone.
    resource : str
        URI of what was audited, with its revision where it has one.
    policy_uri, policy_sha256 : str
    passed : bool
    levels : tuple of str
    manifest : Manifest
    report : dict
        The report's JSON contract.
    document : dict
        All of it.
    """

    name: str
    root: str
    verifier: str
    version: str
    time: datetime
    resource: str
    policy_uri: str
    policy_sha256: str
    passed: bool
    levels: tuple[str, ...]
    manifest: Manifest
    report: dict[str, object]
    document: dict[str, object]


def passed(report: Report) -> bool:
    """Say whether an audit passed: complete, conclusive, every question answered, and no failure that is not waived.

    Stricter than exit code 0, which a user can widen; never laxer than what the user asked to fail on.
    """
    settled = all(
        finding.status != "unknown" and (finding.status != "fail" or finding.waived_until)
        for finding in report.findings
    )
    return report.coverage.complete and report.lineage.verdict not in _OPEN and settled and report.exit_code == 0


def resource_uri(target: Target | Source, name: str) -> str:
    """Return the URI of what is audited: the Hub's with the commit, or a generic package URL for a local folder.

    Parameters
    ----------
    target : Target or Source
        Anything with `uri`, `kind` and `revision`.
    name : str
        What a local target is called: its path would tell about the machine.
    """
    if target.kind == "local":
        return f"pkg:generic/{quote(name, safe='')}"
    if target.revision is None or target.uri.endswith(f"@{target.revision}"):
        return target.uri
    return f"{target.uri.partition('@')[0]}@{target.revision}"


def make_statement(  # noqa: PLR0913 (the parts of a statement, by keyword)
    report: Report,
    *,
    name: str,
    manifest: Manifest,
    policy: AuditPolicy,
    references: Mapping[str, str | None],
    statements: Statements,
    inputs: Sequence[Input] = (),
    resource: str | None = None,
    verifier: str = VERIFIER_ID,
    called: Mapping[str, str] | None = None,
    now: datetime,
) -> bytes:
    """Write the statement about an audit.

    Parameters
    ----------
    report : Report
    name : str
        Of the target.
    manifest : Manifest
        Its files.
    policy : AuditPolicy
        What it was held against.
    references : mapping of str to (str or None)
        Names of the references, and the sha256 of their sketches.
    statements : Statements
        What people stated and waived.
    inputs : sequence of Input
        Signatures verified on the way.
    resource : str, optional
        URI of what was audited; see `resource_uri` where left out.
    verifier : str
        URI of who verified.
    called : mapping of str to str, optional
        Paths that the report names (models that served as references, the user's settings), and what the statement
        calls them: a path would tell about the machine.
    now : datetime
        With time zone.

    Returns
    -------
    bytes
        JSON, the same for the same arguments.
    """
    resource = resource or resource_uri(report.target, name)
    called = called or {}
    good = passed(report)
    levels = [f"AUDITOR_LINEAGE_{report.lineage.verdict.upper()}", "AUDITOR_LICENCE_KEPT"] if good else ["FAILED"]
    document = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": manifest.root}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "verifier": {"id": verifier, "version": {"auditor": report.tool_version}},
            "timeVerified": now.astimezone(UTC).strftime(_TIME),
            "resourceUri": resource,
            "policy": {"uri": policy.uri, "digest": {"sha256": policy.sha256}},
            "inputAttestations": [{"uri": i.uri, "digest": {"sha256": i.sha256}} for i in inputs],
            "verificationResult": "PASSED" if good else "FAILED",
            "verifiedLevels": levels,
            EXTENSION: {
                "serialization": manifest.serialization,
                "resources": [
                    {"name": r.name, "algorithm": "sha256", "digest": r.sha256, "digest_source": r.digest_source}
                    for r in manifest.resources
                ],
                "policy": policy.content,
                "references": [
                    {"name": called.get(n, n), "sketch_sha256": digest} for n, digest in sorted(references.items())
                ],
                "inputs": [asdict(i) for i in inputs],
                "statements": [_plain(asdict(statement)) for statement in statements.statements],
                "waivers": [_plain(asdict(waiver)) for waiver in statements.waivers],
                "report": _without_paths(_portable(report, resource), called),
            },
        },
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def parse_statement(payload: bytes, *, file: str) -> Statement:
    """Read a statement, and check that it does not contradict itself.

    Raises
    ------
    WrongPredicate
        It is a statement of another kind: a `model.sig`, a provenance, ...
    BadStatement
        It is malformed, or its root digest is not that of its files.
    """
    try:
        document = strictjson.loads(payload, file=file, field="statement")
        if not isinstance(document, dict) or document["_type"] != STATEMENT_TYPE:
            raise WrongPredicate(f"{file}: not an in-toto Statement v1")
        if document["predicateType"] != PREDICATE_TYPE:
            raise WrongPredicate(f"{file}: predicateType: {document['predicateType']!r:.100} is not {PREDICATE_TYPE}")
        if EXTENSION not in document["predicate"]:
            raise WrongPredicate(f"{file}: a verification summary without {EXTENSION}: made by another tool")
        statement = _parse(document)
    except FileError as error:
        raise BadStatement(str(error)) from error
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise BadStatement(f"{file}: malformed statement: {type(error).__name__}: {error}") from error
    if statement.manifest.root != statement.root:
        raise BadStatement(f"{file}: the files it lists do not add up to the digest of its subject")
    return statement


def _parse(document: dict[str, object]) -> Statement:
    predicate = _dict(document["predicate"])
    (subject,) = (_dict(entry) for entry in _list(document["subject"]))
    extension = _dict(predicate[EXTENSION])
    serialization = _dict(extension["serialization"])
    policy = _dict(predicate["policy"])
    verifier = _dict(predicate["verifier"])
    result = _str(predicate["verificationResult"])
    if result not in {"PASSED", "FAILED"}:
        raise ValueError(f"verificationResult is {result!r:.40}")
    resources = []
    for entry in map(_dict, _list(extension["resources"])):
        if entry["algorithm"] != "sha256":
            raise ValueError("a digest that is not sha256")
        source = entry["digest_source"]
        if source not in {"computed", "hub", "registry"}:
            raise ValueError("an unknown source of a digest")
        resources.append(Resource(name=_str(entry["name"]), sha256=_digest(entry["digest"]), digest_source=source))
    if len({resource.name for resource in resources}) != len(resources):
        raise ValueError("a file listed twice")
    return Statement(
        name=_str(subject["name"]),
        root=_digest(_dict(subject["digest"])["sha256"]),
        verifier=_str(verifier["id"]),
        version=_str(_dict(verifier["version"])["auditor"]),
        time=datetime.strptime(_str(predicate["timeVerified"]), _TIME).replace(tzinfo=UTC),
        resource=_str(predicate["resourceUri"]),
        policy_uri=_str(policy["uri"]),
        policy_sha256=_digest(_dict(policy["digest"])["sha256"]),
        passed=result == "PASSED",
        levels=tuple(_str(level) for level in _list(predicate["verifiedLevels"])),
        manifest=Manifest(
            resources=tuple(resources),
            ignored=tuple(_str(path) for path in _list(serialization["ignore_paths"])),
            follows_links=serialization["allow_symlinks"] is True,
        ),
        report=_dict(extension["report"]),
        document=document,
    )


def _portable(report: Report, resource: str) -> dict[str, object]:
    """Return the report without what it says of the machine that made it: where the target lay, and how fast it was."""
    out = report.as_dict()
    out["target"] = {**asdict(report.target), "uri": resource, "files": []}  # the files are the manifest's
    out["coverage"] = {**_dict(out["coverage"]), "seconds": 0.0}
    return out


def _without_paths(value: object, called: Mapping[str, str]) -> object:
    if isinstance(value, dict):
        return {key: _without_paths(inner, called) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(inner, called) for inner in value]
    if isinstance(value, str):
        for path in sorted(called, key=len, reverse=True):
            if value == path or len(PurePath(path).parts) > 1:
                value = value.replace(path, called[path])
    return value


def _plain(record: dict[str, object]) -> dict[str, object]:
    return {key: value if isinstance(value, str | None) else str(value) for key, value in record.items()}


def _dict(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError("an object is expected")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("an array is expected")
    return value


def _str(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is expected")
    return value


def _digest(value: object) -> str:
    text = _str(value)
    if len(text) != hashlib.sha256().digest_size * 2 or not _HEX.issuperset(text):
        raise ValueError("not a sha256 in hex")
    return text
