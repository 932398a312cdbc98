"""The statement: what it says of an audit, when it says PASSED, and what it never says."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from attestkit import REMOVED, nodes, replaced

from auditor.attest import AuditPolicy, Input, Statement, make_manifest, make_statement, passed, resource_uri
from auditor.attest.errors import BadStatement, VerificationError, WrongPredicate
from auditor.attest.statement import EXTENSION, parse_statement
from auditor.compliance import Statements
from auditor.compliance.statements import Statement as Word
from auditor.compliance.statements import Waiver
from auditor.findings import Finding
from auditor.lineage import Candidate, Lineage
from auditor.report import Coverage, FailOn, Report, Target, exit_code
from auditor.sources import FileInfo, Unread

GOLDEN = Path(__file__).parent / "goldens" / "statement.json"
COMMIT = "5ca1ab1e" * 5
NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)

TESTED = Candidate(reference="base", model="m.safetensors", verdict="derived", rung="aligned-neurons", log10_p=-812.4)
PASS = Finding(id="LIC-001", status="pass", title="The agreement is in the repository", evidence="LICENSE")
UNREAD = Unread(path="pytorch_model.bin", code="unsupported-format", reason="format: recognised but not read")


def finding(status: str, *, waived: bool = False) -> Finding:
    return replace(PASS, id="LIC-002", status=status, waived_until="2026-12-31" if waived else None)


def report(
    *findings: Finding,
    verdict: str = "derived",
    unread: tuple[Unread, ...] = (),
    fail_on: FailOn = "fail",
    uri: str = "/home/somebody/models/tuned",
    kind: str = "local",
    revision: str | None = None,
) -> Report:
    candidate = replace(TESTED, verdict=verdict)  # type: ignore[arg-type]
    lineage = Lineage(verdict=verdict, best=candidate, candidates=(candidate,))  # type: ignore[arg-type]
    found = (PASS, *findings)
    return Report(
        tool_version="1.2.3",
        target=Target(uri=uri, kind=kind, revision=revision, files=FILES),
        lineage=lineage,
        findings=found,
        coverage=Coverage(unread=unread, bytes_read=1000, requests=7, seconds=1.25),
        exit_code=exit_code(lineage=lineage, findings=found, unread=unread, fail_on=fail_on, fail_on_incomplete=False),
    )


FILES = tuple(
    FileInfo(path=path, size=5, sha256=f"{i:064x}", digest_source="hub" if i == 2 else "computed")
    for i, path in enumerate(("a/z.json", "a.json", "m.safetensors", "model.sig", ".git/config"), start=1)
)
MANIFEST = make_manifest(FILES, ignore=["audit.json"])
POLICY = AuditPolicy(
    uri="auditor-policy:example?profile=publisher",
    content={"licences": [{"name": "example", "sha256": "c" * 64}], "profile": "publisher"},
)
WORDS = Statements(
    statements=(
        Word(
            rule="MAU-001",
            statement="fewer than 700 million",
            who="Ada, Acme",
            when=date(2026, 1, 2),
            until=date(2027, 1, 1),
        ),
    ),
    waivers=(Waiver(rule="LIC-002", subject="tuned", reason="under review", owner="Ada", expires=date(2026, 12, 31)),),
    source="/home/somebody/auditor.toml",
)
INPUT = Input(uri="pkg:generic/base#model.sig", sha256="e" * 64, signer="key 0123", subject="f" * 64)


def statement(of: Report | None = None, **changed: object) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(made(of, **changed))
    return document


def made(of: Report | None = None, **changed: object) -> bytes:
    arguments: dict[str, Any] = {
        "name": "tuned",
        "manifest": MANIFEST,
        "policy": POLICY,
        "references": {"base": "b" * 64, "made in passing": None},
        "statements": WORDS,
        "inputs": (INPUT,),
        "now": NOW,
        **changed,
    }
    return make_statement(of or report(), **arguments)


# ---- what it says


def test_the_golden(update_goldens: bool) -> None:  # noqa: FBT001 (a fixture)
    text = json.dumps(statement(), indent=1, sort_keys=True) + "\n"
    if update_goldens:
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_it_is_an_in_toto_statement_with_a_verification_summary() -> None:
    said = statement()
    assert said["_type"] == "https://in-toto.io/Statement/v1"
    assert said["predicateType"] == "https://slsa.dev/verification_summary/v1"
    assert said["subject"] == [{"name": "tuned", "digest": {"sha256": MANIFEST.root}}]
    predicate = said["predicate"]
    assert predicate.pop(EXTENSION)
    assert predicate == {
        "verifier": {"id": "pkg:pypi/provenance-auditor", "version": {"auditor": "1.2.3"}},
        "timeVerified": "2026-03-01T12:30:00Z",
        "resourceUri": "pkg:generic/tuned",
        "policy": {"uri": POLICY.uri, "digest": {"sha256": POLICY.sha256}},
        "inputAttestations": [{"uri": INPUT.uri, "digest": {"sha256": INPUT.sha256}}],
        "verificationResult": "PASSED",
        "verifiedLevels": ["AUDITOR_LINEAGE_DERIVED", "AUDITOR_LICENCE_KEPT"],
    }


def test_the_extension_holds_all_that_led_there() -> None:
    held = statement()["predicate"][EXTENSION]
    assert [resource["name"] for resource in held["resources"]] == ["a/z.json", "a.json", "m.safetensors"]
    assert [resource["digest_source"] for resource in held["resources"]] == ["computed", "hub", "computed"]
    assert held["serialization"]["ignore_paths"] == sorted(
        [".git", ".gitattributes", ".github", ".gitignore", ".cache/huggingface", "model.sig", "audit.json"]
    )
    assert held["policy"] == POLICY.content
    assert held["references"] == [
        {"name": "base", "sketch_sha256": "b" * 64},
        {"name": "made in passing", "sketch_sha256": None},
    ]
    assert held["inputs"] == [
        {"uri": INPUT.uri, "sha256": INPUT.sha256, "signer": "key 0123", "subject": INPUT.subject}
    ]
    assert held["statements"] == [
        {
            "rule": "MAU-001",
            "statement": "fewer than 700 million",
            "who": "Ada, Acme",
            "when": "2026-01-02",
            "until": "2027-01-01",
            "subject": "*",
            "answer": "yes",
        }
    ]
    assert held["waivers"][0]["expires"] == "2026-12-31"
    assert held["report"]["lineage"]["verdict"] == "derived"
    assert [found["id"] for found in held["report"]["findings"]] == ["LIC-001"]


def test_sigstore_takes_it() -> None:
    from sigstore.dsse import Statement as SigstoreStatement  # noqa: PLC0415 (.6 s)

    data = made()
    assert SigstoreStatement(data)._contents == data  # noqa: SLF001 (what it signs)


def test_the_same_audit_gives_the_same_bytes() -> None:
    slower = report()
    slower = replace(slower, coverage=replace(slower.coverage, seconds=99.0))
    elsewhere = replace(slower, target=replace(slower.target, uri="../elsewhere/tuned"))
    in_tokyo = NOW.astimezone(timezone(timedelta(hours=9)))
    assert made() == made(elsewhere, now=in_tokyo)
    assert made() == made(references=dict(reversed({"base": "b" * 64, "made in passing": None}.items())))
    assert made().isascii()


def test_a_repository_of_the_hub_is_named_with_its_commit() -> None:
    for uri in ("hf://acme/tuned", "hf://acme/tuned@main", f"hf://acme/tuned@{COMMIT}"):
        said = statement(report(uri=uri, kind="hub", revision=COMMIT), name="acme/tuned")
        assert said["predicate"]["resourceUri"] == f"hf://acme/tuned@{COMMIT}"
        assert said["predicate"][EXTENSION]["report"]["target"]["revision"] == COMMIT


def test_a_local_name_is_quoted() -> None:
    target = Target(uri="x", kind="local", revision=None, files=())
    assert resource_uri(target, "a b/c@1?é") == "pkg:generic/a%20b%2Fc%401%3F%C3%A9"


def test_a_resource_and_a_verifier_may_be_named() -> None:
    said = statement(resource="hf://acme/tuned@v1", verifier="https://example.org/audits")["predicate"]
    assert (said["resourceUri"], said["verifier"]["id"]) == ("hf://acme/tuned@v1", "https://example.org/audits")
    assert said[EXTENSION]["report"]["target"]["uri"] == "hf://acme/tuned@v1"


def test_no_path_of_the_machine_is_in_it() -> None:
    reference, settings = "/home/somebody/models/base", "/home/somebody/auditor.toml"
    candidate = replace(TESTED, reference=reference)
    told = replace(PASS, evidence=f"the weights share descent with {reference}")
    waived = replace(PASS, id="WVR-001", evidence=f"1 in {settings}, the first to expire on 2026-12-31")
    here = report(told, waived)
    here = replace(here, lineage=replace(here.lineage, best=candidate, candidates=(candidate,)))
    called = {reference: "base", settings: "auditor.toml"}
    text = made(here, references={reference: None}, called=called).decode()
    assert "somebody" not in text
    said = json.loads(text)["predicate"][EXTENSION]
    assert said["references"] == [{"name": "base", "sketch_sha256": None}]
    assert said["report"]["lineage"]["reference"] == said["report"]["lineage"]["candidates"][0]["reference"] == "base"
    assert [found["evidence"] for found in said["report"]["findings"][1:]] == [
        "the weights share descent with base",
        "1 in auditor.toml, the first to expire on 2026-12-31",
    ]


def test_a_short_name_is_not_cut_out_of_sentences() -> None:
    told = replace(PASS, evidence="a. b")
    said = statement(report(told), called={".": "here", "a": "z"})["predicate"][EXTENSION]["report"]
    assert said["findings"][1]["evidence"] == "a. b"


# ---- when it says PASSED

CASES: dict[str, tuple[Report, bool]] = {
    "nothing found": (report(), True),
    "independent": (report(verdict="independent"), True),
    "identical": (report(verdict="identical"), True),
    "a warning": (report(finding("warn")), True),
    "to be seen to by a person": (report(finding("manual")), True),
    "does not apply": (report(finding("n/a")), True),
    "a failure": (report(finding("fail")), False),
    "a waived failure": (report(finding("fail", waived=True)), True),
    "a waived failure and another": (report(finding("fail", waived=True), finding("fail")), False),
    "a failure that the user lets pass": (report(finding("fail"), fail_on="never"), False),
    "a waived failure that the user lets pass": (report(finding("fail", waived=True), fail_on="never"), True),
    "unknown": (report(finding("unknown")), False),
    "unknown and waived": (report(finding("unknown", waived=True)), False),
    "unknown and fail_on=never": (report(finding("unknown"), fail_on="never"), False),
    "inconclusive": (report(verdict="inconclusive"), False),
    "an adapter alone": (report(verdict="adapter"), False),
    "inconclusive and fail_on=never": (report(verdict="inconclusive", fail_on="never"), False),
    "a file unread": (report(unread=(UNREAD,)), False),
    "a file unread and fail_on=never": (report(unread=(UNREAD,), fail_on="never"), False),
    "a warning where that fails": (report(finding("warn"), fail_on="warn"), False),
    "a waived warning where that fails": (report(finding("warn", waived=True), fail_on="warn"), True),
    "manual where that fails": (report(finding("manual"), fail_on="manual"), False),
    "manual where a warning fails": (report(finding("manual"), fail_on="warn"), True),
}


@pytest.mark.parametrize("case", CASES)
def test_passed_or_failed(case: str) -> None:
    of, good = CASES[case]
    assert passed(of) is good
    said = statement(of)["predicate"]
    assert said["verificationResult"] == ("PASSED" if good else "FAILED")
    assert (said["verifiedLevels"] == ["FAILED"]) is not good
    assert parse_statement(made(of), file="a.json").passed is good


def test_where_nothing_was_tested_nothing_passed() -> None:
    lineage = Lineage(verdict="independent", candidates=())  # no reference was held against it
    code = exit_code(lineage=lineage, findings=(), unread=(), fail_on="never", fail_on_incomplete=False)
    assert not passed(replace(report(), lineage=lineage, exit_code=code))


# ---- read again


def parsed(document: object) -> Statement:
    return parse_statement(json.dumps(document).encode(), file="a.json")


def test_what_is_written_is_read_again() -> None:
    said = parsed(statement())
    assert (said.name, said.root, said.verifier, said.version) == (
        "tuned", MANIFEST.root, "pkg:pypi/provenance-auditor", "1.2.3",
    )  # fmt: skip
    assert (said.time, said.resource, said.passed) == (NOW, "pkg:generic/tuned", True)
    assert (said.policy_uri, said.policy_sha256) == (POLICY.uri, POLICY.sha256)
    assert said.manifest == MANIFEST
    assert said.levels == ("AUDITOR_LINEAGE_DERIVED", "AUDITOR_LICENCE_KEPT")
    assert said.report["exit_code"] == 0


P, E = "predicate", EXTENSION
RESOURCES = (P, E, "resources")
NOT_OURS: dict[str, tuple[tuple[str | int, ...], object]] = {
    "an older in-toto": (("_type",), "https://in-toto.io/Statement/v0.1"),
    "another predicate type": (("predicateType",), "https://slsa.dev/provenance/v1"),
    "a summary by another tool": ((P, E), REMOVED),
    "an array": ((), []),
}
MALFORMED: dict[str, tuple[tuple[str | int, ...], object]] = {
    "no type": (("_type",), REMOVED),
    "no predicate": ((P,), REMOVED),
    "a predicate that is a text": ((P,), f"with {E} in it"),
    "no subject": (("subject",), []),
    "two subjects": (("subject",), statement()["subject"] * 2),
    "another root": (("subject", 0, "digest", "sha256"), "0" * 64),
    "a root in capitals": (("subject", 0, "digest", "sha256"), MANIFEST.root.upper()),
    "no sha256": (("subject", 0, "digest"), {"sha512": "0" * 128}),
    "a file left out": ((*RESOURCES, 0), REMOVED),
    "no files": (RESOURCES, []),
    "a file twice": ((*RESOURCES, 1, "name"), "a/z.json"),
    "files in another order": (RESOURCES, statement()[P][E]["resources"][::-1]),
    "a changed digest": ((*RESOURCES, 0, "digest"), "5" * 64),
    "a short digest": ((*RESOURCES, 0, "digest"), "5" * 63),
    "another algorithm": ((*RESOURCES, 0, "algorithm"), "blake2"),
    "an unknown source of a digest": ((*RESOURCES, 0, "digest_source"), "hearsay"),
    "a source that is a list": ((*RESOURCES, 0, "digest_source"), ["hub"]),
    "neither passed nor failed": ((P, "verificationResult"), "MAYBE"),
    "a result that is true": ((P, "verificationResult"), True),
    "no time": ((P, "timeVerified"), REMOVED),
    "a local time": ((P, "timeVerified"), "2026-03-01T12:30:00+09:00"),
    "no such day": ((P, "timeVerified"), "2026-02-30T12:30:00Z"),
    "a policy without a digest": ((P, "policy", "digest"), REMOVED),
    "a policy digest of another length": ((P, "policy", "digest", "sha256"), "ab"),
    "no version": ((P, "verifier", "version"), REMOVED),
    "levels that are a text": ((P, "verifiedLevels"), "AUDITOR_LICENCE_KEPT"),
    "no report": ((P, E, "report"), REMOVED),
    "paths to ignore that are numbers": ((P, E, "serialization", "ignore_paths"), [1]),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_OURS)
def test_another_statement_is_refused(case: str) -> None:
    with pytest.raises(WrongPredicate):
        parsed(replaced(statement(), *NOT_OURS[case]))


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_statement_is_refused(case: str) -> None:
    with pytest.raises(VerificationError) as caught:
        parsed(replaced(statement(), *MALFORMED[case]))
    assert type(caught.value) is BadStatement


@pytest.mark.parametrize("data", [b"", b"{", b"null", b'"x"', b"\xff", b"[" * 200, b'{"_type": 1, "_type": 2}'])
def test_what_is_no_statement_is_refused(data: bytes) -> None:
    with pytest.raises((BadStatement, WrongPredicate)):
        parse_statement(data, file="a.json")


JUNK = (None, True, 0, -1, 2**70, 0.5, "", "x", "0" * 64, "\u0000", [], {}, [None], {"a": 1}, [["x"]], [{}])


def test_every_value_may_be_hostile() -> None:
    """Whatever stands anywhere in a signed statement, it is refused with a reason or read as a whole."""
    good = statement()
    refused = read = 0
    for path, _ in nodes(good):
        if path[:3] == (P, E, "report") and len(path) > 4:
            continue  # the report is carried and not read, but for its verdict
        for junk in (*JUNK, *((REMOVED,) if path else ())):
            try:
                said = parsed(replaced(good, path, junk))
            except VerificationError as error:
                refused += 1
                assert error.code in {"bad-statement", "predicate-type"}  # noqa: PT017 (either may come)
            else:
                read += 1
                assert said.root == said.manifest.root == MANIFEST.root
                assert isinstance(said.time, datetime)
                assert all(isinstance(text, str) for text in (said.name, said.resource, said.verifier, *said.levels))
    assert refused > 500
    assert read > 100


def test_what_is_not_read_may_be_added() -> None:
    good = statement()
    for path, value in nodes(good):
        if isinstance(value, dict) and path != ("subject", 0, "digest"):
            assert parsed(replaced(good, (*path, "later-version"), {"x": 1})).root == MANIFEST.root
