"""What a verified statement must say: who verified, by which policy, what, when, and about which files."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from auditor.attest import ByIdentity, ByKey, Expected, Manifest, Statement, check_files, check_statement, keyless, keys
from auditor.attest.errors import (
    FilesDiffer,
    NotPassed,
    NotYet,
    TooOld,
    Unhashed,
    VerificationError,
    WrongPolicy,
    WrongResource,
    WrongVerifier,
)
from auditor.attest.manifest import Differences, Resource
from auditor.attest.verify import CLOCK_SKEW
from auditor.sources import Unread

MADE = datetime(2026, 3, 1, 12, tzinfo=UTC)
POLICY, OTHER_POLICY = "a" * 64, "b" * 64
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def manifest(**files: int) -> Manifest:
    return Manifest(resources=tuple(Resource(name=name, sha256=f"{n:064x}") for name, n in files.items()))


FILES = manifest(a=1, b=2, c=3)
STATEMENT = Statement(
    name="m",
    root=FILES.root,
    verifier="pkg:pypi/provenance-auditor",
    version="1",
    time=MADE,
    resource="hf://acme/m@1",
    policy_uri="auditor-policy:x",
    policy_sha256=POLICY,
    passed=True,
    levels=(),
    manifest=FILES,
    report={},
    document={},
)


def check(now: datetime = MADE + HOUR, **expected: object) -> None:
    wanted = replace(Expected(policy_sha256=POLICY), **expected)  # type: ignore[arg-type]
    check_statement(STATEMENT, wanted, file="a.json", now=now)


def test_what_is_expected_is_accepted() -> None:
    check()
    check(resource="hf://acme/m@1", max_age=HOUR)


@pytest.mark.parametrize(
    ("expected", "error", "says"),
    [
        ({"verifier": "https://example.org"}, WrongVerifier, "expected https://example.org"),
        ({"verifier": ""}, WrongVerifier, "expected "),
        ({"policy_sha256": OTHER_POLICY}, WrongPolicy, "expected sha256 bbbb"),
        ({"resource": "hf://acme/m@2"}, WrongResource, "about hf://acme/m@1, expected hf://acme/m@2"),
        ({"resource": "hf://acme/m"}, WrongResource, "expected hf://acme/m"),
        ({"resource": ""}, WrongResource, "about hf://acme/m@1"),
        ({"max_age": timedelta(minutes=59)}, TooOld, "made 60 minutes ago, allowed 59 minutes"),
        ({"max_age": timedelta(0)}, TooOld, "allowed 0 minutes"),
    ],
)
def test_what_is_not_expected_is_refused(
    expected: dict[str, object], error: type[VerificationError], says: str
) -> None:
    with pytest.raises(error, match=says) as caught:
        check(**expected)
    assert type(caught.value) is error


def test_the_order_is_who_then_how_then_what_then_when() -> None:
    wrong: dict[str, object] = {
        "verifier": "x",
        "policy_sha256": OTHER_POLICY,
        "resource": "x",
        "max_age": timedelta(0),
    }
    for first, error in zip(list(wrong), (WrongVerifier, WrongPolicy, WrongResource, TooOld), strict=True):
        with pytest.raises(error):
            check(**wrong)
        del wrong[first]
    check(**wrong)


@pytest.mark.parametrize("age", [HOUR, 2 * HOUR, DAY, 30 * DAY])
def test_an_audit_is_accepted_to_the_last_second_of_its_age(age: timedelta) -> None:
    check(MADE + age, max_age=age)
    with pytest.raises(TooOld):
        check(MADE + age + timedelta(seconds=1), max_age=age)


def test_ages_are_told_in_words() -> None:
    with pytest.raises(TooOld, match="made 3 days ago, allowed 24 hours"):
        check(MADE + 3.5 * DAY, max_age=DAY)


def test_clocks_may_differ_by_minutes() -> None:
    check(MADE - CLOCK_SKEW)
    with pytest.raises(NotYet, match="dated 2026-03-01 12:00 UTC, which is in the future"):
        check(MADE - CLOCK_SKEW - timedelta(seconds=1))


DIFFERENT: dict[str, tuple[Manifest, str, Differences]] = {
    "changed": (manifest(a=1, b=9, c=3), "changed: b", Differences(changed=("b",))),
    "missing": (manifest(a=1, c=3), "missing: b", Differences(missing=("b",))),
    "added": (manifest(a=1, b=2, c=3, d=4), "added: d", Differences(added=("d",))),
    "renamed": (manifest(a=1, c=3, z=2), "renamed: b to z", Differences(renamed=(("b", "z"),))),
    "swapped": (manifest(a=2, b=1, c=3), "changed: a, b", Differences(changed=("a", "b"))),
    "of each": (
        manifest(a=9, y=2, z=5),
        "changed: a; missing: c; added: z; renamed: b to y",
        Differences(added=("z",), missing=("c",), changed=("a",), renamed=(("b", "y"),)),
    ),
    "none left": (manifest(), "missing: a, b, c", Differences(missing=("a", "b", "c"))),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_each_file_that_differs_is_named(case: str) -> None:
    found, says, differences = DIFFERENT[case]
    with pytest.raises(FilesDiffer) as caught:
        check_files(STATEMENT, found)
    assert str(caught.value) == says
    assert caught.value.differences == differences


def test_many_files_are_counted() -> None:
    found = manifest(a=1, b=2, c=3, **{f"extra{i:02}": i for i in range(10, 25)})
    with pytest.raises(FilesDiffer) as caught:
        check_files(STATEMENT, found)
    assert str(caught.value).endswith("extra19 and 5 more")
    assert len(caught.value.differences.added) == 15


def test_the_root_is_compared_as_well() -> None:
    with pytest.raises(FilesDiffer, match="another root digest"):
        check_files(replace(STATEMENT, root="0" * 64), FILES)


def test_what_could_not_be_read_is_not_taken_for_the_same() -> None:
    unread = [Unread(path=f"f{i}", code="unsafe-path", reason="symbolic link: a path that leaves it") for i in range(3)]
    with pytest.raises(Unhashed, match=r"^f0: cannot be read: .*leaves it \(and 2 more\)$"):
        check_files(STATEMENT, FILES, unread=unread)


def test_the_verdict_comes_last() -> None:
    failed = replace(STATEMENT, passed=False)
    with pytest.raises(NotPassed):
        check_files(failed, FILES)
    with pytest.raises(FilesDiffer):
        check_files(failed, manifest(a=1))


def test_a_voucher_says_who_it_is() -> None:
    key = keys.generate().public_key()
    assert ByKey(key).describe() == f"key {keys.hint(key)[:16]}"
    trust = keyless.load_trust()
    identity = ByIdentity(identity="ada@example.org", issuer="https://id.example.org", trust=trust)
    assert identity.describe() == "ada@example.org, vouched for by https://id.example.org"


def test_every_reason_has_a_code_of_its_own() -> None:
    def below(kind: type[VerificationError]) -> list[type[VerificationError]]:
        return [kind, *(inner for child in kind.__subclasses__() for inner in below(child))]

    codes = [kind.code for kind in below(VerificationError)]
    assert len(set(codes)) == len(codes)
    assert all(kind.names_code for kind in below(VerificationError))
