"""What people state and waive: every way to get `auditor.toml` wrong, beside the twin that is right."""

from __future__ import annotations

import dataclasses
import tomllib
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.compliance.statements import (
    LONGEST,
    WAIVER_RULE,
    Statement,
    Statements,
    Waiver,
    matches,
    parse_statements,
    statement_for,
    template,
)
from auditor.compliance.waivers import apply_waivers, pinned_paths, waiver_findings, waiver_for
from auditor.errors import ConfigError, UsageError
from auditor.findings import Finding, Status
from auditor.limits import LIMITS
from auditor.usertoml import SETTINGS, TABLES

TODAY = date(2026, 11, 2)
DAY = timedelta(days=1)
RULES = ("ACC-001", "LIC-001", "LIT-001", "MAU-001", "NOT-001", WAIVER_RULE)
ANSWERABLE = ("ACC-001", "LIT-001", "MAU-001")
NAMES = ("file:///models/team-chat", "acme/team-chat")
PIN = "ab" * 32

STATEMENT = {
    "rule": '"MAU-001"',
    "statement": '"Below 700 million monthly active users in June 2023, affiliates included."',
    "who": '"Jane Doe, General Counsel, Example GmbH"',
    "when": "2026-11-02",
    "until": "2027-11-02",
}
WAIVER = {
    "rule": '"LIC-001"',
    "subject": '"acme/*"',
    "reason": '"Shipped in the container image, GOV-12"',
    "owner": '"ml-platform@acme.example"',
    "expires": "2027-01-01",
}


def parse(text: str | bytes, *, today: date = TODAY) -> Statements:
    data = text if isinstance(text, bytes) else text.encode()
    return parse_statements(data, file="auditor.toml", rules=RULES, answerable=ANSWERABLE, today=today)


def entry(table: str, base: dict[str, str], **changes: str | None) -> str:
    keys = {**base, **changes}
    return f"[[{table}]]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items() if value is not None)


def stated(**changes: str | None) -> str:
    return entry("statement", STATEMENT, **changes)


def waived(**changes: str | None) -> str:
    return entry("waiver", WAIVER, **changes)


def finding(status: Status = "fail", *, rule: str = "LIC-001", path: str | None = "LICENSE") -> Finding:
    return Finding(id=rule, status=status, title="t", evidence="e", path=path)


# reading


def test_a_statement_is_read_whole() -> None:
    assert parse(stated(subject='"org/name"', answer='"no"')) == Statements(
        statements=(
            Statement(
                rule="MAU-001",
                subject="org/name",
                statement="Below 700 million monthly active users in June 2023, affiliates included.",
                who="Jane Doe, General Counsel, Example GmbH",
                when=date(2026, 11, 2),
                until=date(2027, 11, 2),
                answer="no",
            ),
        ),
        source="auditor.toml",
    )


def test_a_waiver_is_read_whole() -> None:
    assert parse(waived(digest=f'"sha256:{PIN.upper()}"')).waivers == (
        Waiver(
            rule="LIC-001",
            subject="acme/*",
            reason="Shipped in the container image, GOV-12",
            owner="ml-platform@acme.example",
            expires=date(2027, 1, 1),
            digest=f"sha256:{PIN}",
        ),
    )


def test_values_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse(stated()).statements[0].answer = "no"  # type: ignore[misc]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing yet\n",
        "statement = []\nwaiver = []\n",
        stated(),
        stated(when='"2026-11-02"', until='" 2027-11-02 "'),
        stated(subject='"*"', answer='"yes"'),
        stated(when="2026-11-02", until="2026-11-02"),  # one day
        stated(when="2026-11-03"),  # made today where the sun rises earlier
        stated(until="2029-11-02"),  # three years
        stated(when="2023-03-01", until="2026-03-01"),  # three years over a leap day, and long expired
        stated(statement='"""\nBelow 700 million.\nAffiliates included.\n"""'),
        stated(who='"山田太郎, 法務部"'),
        stated() + stated(subject='"org/*"') + stated(rule='"LIT-001"'),
        waived(),
        waived(rule='"MAU-001"'),  # what nobody answers can be accepted
        waived(expires="2020-01-01"),  # expired is a finding, and no error
        waived(expires="2029-11-02"),
        waived() + waived(digest=f'"sha256:{PIN}"') + waived(digest=f'"sha256:{"cd" * 32}"'),  # a pin for each file
        "statement = [{rule = 'MAU-001', statement = 's', who = 'w', when = 2026-01-01, until = 2027-01-01}]",
        (stated() + waived()).replace("\n", "\r\n"),
    ],
)
def test_well_formed_files_are_accepted(text: str) -> None:
    parse(text)


def test_a_byte_order_mark_changes_nothing() -> None:
    assert parse(b"\xef\xbb\xbf" + stated().encode()) == parse(stated())


BROKEN = [
    # tables
    ("[[statements]]\n", None, "statements", "unknown table; did you mean statement?"),
    ("[[waivers]]\n", None, "waivers", "unknown table; did you mean waiver?"),
    ("version = 1\n", None, "version", "unknown table; known: against, base, baseline"),
    ("[statement]\n", None, "statement", "must be an array of tables: write [[statement]] (found a table)"),
    ("waiver = 'LIC-001'\n", None, "waiver", "must be an array of tables: write [[waiver]] (found 'LIC-001')"),
    ("waiver = [7]\n", "[[waiver]] 1", None, "must be a table: write [[waiver]] (found 7)"),
    # keys
    (stated(untill="2027-11-02"), "[[statement]] 1", "untill", "unknown key; did you mean until?"),
    (waived(Digest="1"), "[[waiver]] 1", "Digest", "unknown key; did you mean digest?"),
    (
        waived(zzz="1"),
        "[[waiver]] 1",
        "zzz",
        "unknown key; known: digest, expires, owner, reason, rule, subject",
    ),
    *[(stated(**{key: None}), "[[statement]] 1", key, "missing, and mandatory") for key in STATEMENT],
    *[(waived(**{key: None}), "[[waiver]] 1", key, "missing, and mandatory") for key in WAIVER],
    # texts
    *[(stated(**{key: '" "'}), "[[statement]] 1", key, "must not be empty (found ' ')") for key in STATEMENT],
    *[(waived(**{key: '""'}), "[[waiver]] 1", key, "must not be empty (found '')") for key in WAIVER],
    (stated(subject='""'), "[[statement]] 1", "subject", "must not be empty"),
    (waived(digest='""'), "[[waiver]] 1", "digest", "must not be empty"),
    (stated(who='"\\u200b"'), "[[statement]] 1", "who", "must say something in words"),
    (stated(statement='"..."'), "[[statement]] 1", "statement", "must say something in words (found '...')"),
    (waived(reason='"-"'), "[[waiver]] 1", "reason", "must say something in words (found '-')"),
    (stated(who="['Jane']"), "[[statement]] 1", "who", "must be a text, in quotes (found an array)"),
    (stated(who="{name = 'Jane'}"), "[[statement]] 1", "who", "must be a text, in quotes (found a table)"),
    (waived(owner="7"), "[[waiver]] 1", "owner", "must be a text, in quotes (found 7)"),
    (waived(owner="0x" + "f" * 9000), "[[waiver]] 1", "owner", "(found an integer of 36000 bits)"),
    (waived(reason="nan"), "[[waiver]] 1", "reason", "must be a text, in quotes (found nan)"),
    # rules
    (stated(rule='"MAU-01"'), "[[statement]] 1", "rule", "unknown rule; did you mean MAU-001? (found 'MAU-01')"),
    (waived(rule='"lic-001"'), "[[waiver]] 1", "rule", "unknown rule; did you mean LIC-001? (found 'lic-001')"),
    (waived(rule='"*"'), "[[waiver]] 1", "rule", "unknown rule; known: ACC-001, LIC-001, LIT-001"),
    (stated(rule='"LIC-001"'), "[[statement]] 1", "rule", "decided from files, no person can state it"),
    (stated(rule='"WVR-001"'), "[[statement]] 1", "rule", "takes neither statement nor waiver"),
    (waived(rule='"WVR-001"'), "[[waiver]] 1", "rule", "takes neither statement nor waiver"),
    # answers
    (stated(answer='"maybe"'), "[[statement]] 1", "answer", 'must be "yes" or "no" (found \'maybe\')'),
    (stated(answer='"Yes"'), "[[statement]] 1", "answer", 'must be "yes" or "no" (found \'Yes\')'),
    (stated(answer="true"), "[[statement]] 1", "answer", "must be a text, in quotes (found true)"),
    # dates
    (stated(when='"yesterday"'), "[[statement]] 1", "when", "must be a date of the calendar, like 2026-11-02"),
    (stated(when='"2026-02-30"'), "[[statement]] 1", "when", "must be a date of the calendar"),
    (stated(when='"20261102"'), "[[statement]] 1", "when", "must be a date of the calendar"),
    (stated(when='"2026-W45-1"'), "[[statement]] 1", "when", "must be a date of the calendar"),
    (stated(when='"2026-11-02T00:00:00Z"'), "[[statement]] 1", "when", "must be a date of the calendar"),
    (stated(until='"٢٠٢٧-11-02"'), "[[statement]] 1", "until", "must be a date of the calendar"),
    (stated(until="2027-11-02T10:00:00Z"), "[[statement]] 1", "until", "must be a date, like 2026-11-02 (found 2027"),
    (stated(until="10:00:00"), "[[statement]] 1", "until", "must be a date, like 2026-11-02 (found 10:00:00)"),
    (waived(expires="20270101"), "[[waiver]] 1", "expires", "must be a date, like 2026-11-02 (found 20270101)"),
    (waived(expires="false"), "[[waiver]] 1", "expires", "must be a date, like 2026-11-02 (found false)"),
    (waived(expires="2027-02-30"), None, None, "not TOML: Invalid date or datetime"),
    (stated(when="2026-11-04"), "[[statement]] 1", "when", "in the future: today is 2026-11-02 (found 2026-11-04)"),
    (
        stated(until="2026-11-01"),
        "[[statement]] 1",
        "until",
        "before it was made, on 2026-11-02 (found 2026-11-01)",
    ),
    (
        stated(until="2029-11-03"),
        "[[statement]] 1",
        "until",
        "more than three years after it was made, on 2026-11-02: state it anew (found 2029-11-03)",
    ),
    (
        waived(expires="9999-12-31"),
        "[[waiver]] 1",
        "expires",
        "more than three years from today, 2026-11-02: a waiver is no permanent licence (found 9999-12-31)",
    ),
    # pins
    (waived(digest=f'"{PIN}"'), "[[waiver]] 1", "digest", "must be sha256: and 64 hexadecimal digits"),
    (waived(digest=f'"sha256:{PIN}0"'), "[[waiver]] 1", "digest", "must be sha256: and 64 hexadecimal digits"),
    (waived(digest=f'"md5:{PIN}"'), "[[waiver]] 1", "digest", "must be sha256: and 64 hexadecimal digits"),
    # the same twice
    (
        stated() + stated(rule='"LIT-001"') + stated(subject='"*"', answer='"no"'),
        "[[statement]] 3",
        "subject",
        "the same rule and subject as entry 1: keep one",
    ),
    (waived() + waived(expires="2027-02-01"), "[[waiver]] 2", "subject", "same rule and subject as entry 1"),
    ("waiver = []\nwaiver = []\n", None, None, "not TOML: Cannot overwrite a value"),
    # the file
    ("[[statement]\n", None, None, "not TOML: "),
    ("x = " + "9" * 5000, None, None, "not TOML: "),
    ("x = " + "[" * 100_000, None, None, "nested too deeply"),
    ("x = " + "{a=" * 50_000, None, None, "nested too deeply"),
    ("# ok\na" + ".a" * 5_000 + " = 1", "line 2", None, "5000 dots, over the limit of 256: break the line"),
]


@pytest.mark.parametrize(("text", "where", "key", "message"), BROKEN)
def test_broken_files_are_refused_by_name(text: str, where: str | None, key: str | None, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    error = caught.value
    assert (error.file, error.entry, error.key) == ("auditor.toml", where, key)
    assert str(error).startswith(": ".join(part for part in ("auditor.toml", where, key) if part) + ": ")
    assert message in str(error)
    assert len(str(error)) < 400


def test_a_config_error_ends_as_wrong_usage() -> None:
    assert issubclass(ConfigError, UsageError)
    with pytest.raises(ConfigError) as caught:
        parse(waived(digest='"sha1:00"'))
    assert (caught.value.code, caught.value.value) == ("config", "sha1:00")


@pytest.mark.parametrize("data", [b"\xff\xfe[\x00", b"# \xe9t\xe9\n", b"\xed\xa0\x80"])
def test_what_is_not_utf8_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigError, match="not UTF-8 text at byte"):
        parse(data)


def test_a_file_over_the_size_limit_is_refused_and_one_at_the_limit_is_read() -> None:
    fits = stated() + "#" * (LIMITS.settings_bytes - len(stated().encode()))
    assert len(parse(fits).statements) == 1
    with pytest.raises(ConfigError, match=f"{LIMITS.settings_bytes + 1} bytes, over the limit of"):
        parse(fits + "#")


def test_every_rule_can_be_stated_where_the_caller_names_no_answerable_ones() -> None:
    text = stated(rule='"LIC-001"').encode()
    assert parse_statements(text, file="f", rules=RULES, today=TODAY).statements[0].rule == "LIC-001"


def test_tables_of_later_settings_are_one_name_each() -> None:
    assert ("statement", "waiver", *SETTINGS) == TABLES


# what people state


def at(answer: str, until: date, subject: str = "*") -> Statement:
    return Statement(
        rule="MAU-001", subject=subject, statement=f"{answer} {until}", who="J", when=until - DAY, until=until,
        answer="yes" if answer == "yes" else "no",
    )  # fmt: skip


PAST, SOON, LATER = TODAY - DAY, TODAY, TODAY + 9 * DAY


@pytest.mark.parametrize(
    ("given_", "state", "decides"),
    [
        ([], "missing", None),
        ([at("yes", LATER, "other/*")], "missing", None),
        ([at("yes", LATER)], "stated", 0),
        ([at("yes", SOON)], "stated", 0),  # through the last day
        ([at("yes", PAST)], "expired", 0),
        ([at("no", LATER)], "denied", 0),
        ([at("no", SOON)], "denied", 0),
        ([at("no", PAST)], "expired", 0),
        ([at("yes", PAST), at("yes", SOON, "acme/*")], "stated", 1),
        ([at("yes", PAST), at("no", SOON, "acme/*")], "denied", 1),
        ([at("no", PAST), at("yes", SOON, "acme/*")], "stated", 1),
        ([at("no", SOON), at("yes", LATER, "acme/team-chat")], "denied", 0),  # a denial is not talked away
        ([at("yes", SOON), at("yes", LATER, "acme/*")], "stated", 1),
        ([at("yes", PAST - DAY), at("yes", PAST, "acme/*")], "expired", 1),
    ],
)
def test_the_statement_that_decides(given_: list[Statement], state: str, decides: int | None) -> None:
    for order in (given_, given_[::-1]):
        answer = statement_for(Statements(statements=tuple(order)), "MAU-001", subject_names=NAMES, today=TODAY)
        assert (answer.state, answer.statement) == (state, None if decides is None else given_[decides])


def test_a_statement_answers_its_own_rule_only() -> None:
    statements = Statements(statements=(at("yes", LATER),))
    assert statement_for(statements, "LIT-001", subject_names=NAMES, today=TODAY).state == "missing"


def test_a_statement_says_in_evidence_who_what_and_until_when() -> None:
    assert parse(stated()).statements[0].evidence == (
        'Jane Doe, General Counsel, Example GmbH stated on 2026-11-02: "Below 700 million monthly active users in '
        'June 2023, affiliates included." (valid until 2027-11-02)'
    )


@pytest.mark.parametrize(
    ("glob", "covered"),
    [
        ("*", True),
        ("acme/team-chat", True),
        ("acme/*", True),
        ("*team-chat", True),
        ("acme/team-?hat", True),
        ("acme/team-[a-c]hat", True),
        ("file:///models/*", True),
        ("acme", False),
        ("Acme/*", False),
        ("acme/team-[!c]hat", False),
        ("acme/team-chat-2", False),
        ("acme/team-chat[", False),
    ],
)
def test_a_subject_is_a_glob_over_every_name_of_the_target(glob: str, *, covered: bool) -> None:
    assert matches(glob, NAMES) is covered


def test_a_target_without_a_name_is_covered_by_nothing() -> None:
    assert not matches("*", ())


# what people waive


def waiver(expires: date = LATER, *, subject: str = "acme/*", digest: str | None = None) -> Waiver:
    return Waiver(rule="LIC-001", subject=subject, reason="r", owner="Ops", expires=expires, digest=digest)


PINNED, OTHER = waiver(digest=f"sha256:{PIN}"), waiver(digest="sha256:" + "0" * 64)


@pytest.mark.parametrize(
    ("given_", "state", "decides"),
    [
        ([], "none", None),
        ([waiver(subject="other/*")], "none", None),
        ([waiver()], "active", 0),
        ([waiver(SOON)], "active", 0),  # through the last day
        ([waiver(PAST)], "expired", 0),
        ([PINNED], "active", 0),
        ([OTHER], "digest-mismatch", 0),
        ([OTHER, waiver(SOON)], "active", 1),
        ([OTHER, waiver(PAST)], "digest-mismatch", 0),
        ([waiver(PAST), waiver(SOON, subject="*")], "active", 1),
        ([waiver(SOON), waiver(LATER, subject="*")], "active", 1),
        ([waiver(PAST, digest="sha256:" + "0" * 64)], "expired", 0),
    ],
)
def test_the_waiver_that_decides(given_: list[Waiver], state: str, decides: int | None) -> None:
    for order in (given_, given_[::-1]):
        result = waiver_for(
            Statements(waivers=tuple(order)), finding(), subject_names=NAMES, digests={"LICENSE": PIN}, today=TODAY
        )
        assert (result.state, result.waiver) == (state, None if decides is None else given_[decides])


@pytest.mark.parametrize(("path", "digests"), [(None, {}), (None, {"LICENSE": PIN}), ("LICENSE", {})])
def test_a_pin_that_cannot_be_checked_does_not_hold(path: str | None, digests: dict[str, str]) -> None:
    result = waiver_for(
        Statements(waivers=(PINNED,)), finding(path=path), subject_names=NAMES, digests=digests, today=TODAY
    )
    assert result.state == "digest-mismatch"


@pytest.mark.parametrize(
    ("status", "until"),
    [("fail", "2026-11-11"), ("warn", "2026-11-11"), ("manual", "2026-11-11")]
    + [(status, None) for status in ("pass", "n/a", "unknown")],
)
def test_a_waiver_covers_what_was_found_and_not_what_was_not_seen(status: Status, until: str | None) -> None:
    before = (finding(status), finding(status, rule="NOT-001"))
    after = apply_waivers(before, Statements(waivers=(waiver(),)), subject_names=NAMES, digests={}, today=TODAY)
    assert after == (dataclasses.replace(before[0], waived_until=until), before[1])


def test_an_expired_waiver_covers_nothing() -> None:
    statements = Statements(waivers=(waiver(PAST),))
    assert apply_waivers([finding()], statements, subject_names=NAMES, digests={}, today=TODAY) == (finding(),)


def report(*waivers: Waiver, findings: tuple[Finding, ...] = (), digests: dict[str, str] | None = None) -> list[str]:
    found = waiver_findings(
        Statements(waivers=waivers), subject_names=NAMES, today=TODAY, findings=findings, digests=digests
    )
    assert {(f.id, f.title) for f in found} == {("WVR-001", "Waivers are valid")}
    assert all((f.fix is None) == (f.status != "warn") for f in found)
    return [f"{f.status}: {f.evidence}" for f in found]


def test_expired_waivers_are_reported_with_rule_owner_and_date() -> None:
    assert report() == ["n/a: no waiver for this target"]
    assert report(waiver(PAST, subject="other/*")) == ["n/a: no waiver for this target"]
    assert report(waiver(SOON)) == ["pass: 1 in auditor.toml, the first to expire on 2026-11-02"]
    assert report(waiver(PAST), waiver(LATER, subject="*")) == [
        "warn: auditor.toml: the waiver of LIC-001 for acme/*, owned by Ops, expired on 2026-11-01"
    ]


@pytest.mark.parametrize(
    ("path", "digests", "why"),
    [
        ("LICENSE", {"LICENSE": "AB" * 32}, f"the file is now sha256:{PIN}"),
        ("LICENSE", {}, "the file was not hashed"),
        (None, {}, "the finding points at no file"),
    ],
)
def test_a_waiver_whose_pin_does_not_fit_is_reported(path: str | None, digests: dict[str, str], why: str) -> None:
    (line,) = report(OTHER, findings=(finding(path=path),), digests=digests)
    assert line == (
        "warn: auditor.toml: the waiver of LIC-001 for acme/*, owned by Ops, until 2026-11-11, is pinned to "
        f"sha256:{'0' * 64}: {why}"
    )
    assert report(PINNED, findings=(finding(),), digests={"LICENSE": PIN})[0].startswith("pass: ")


def test_the_warning_about_waivers_cannot_be_waived() -> None:
    sneaky = dataclasses.replace(waiver(), rule=WAIVER_RULE)
    warning = finding("warn", rule=WAIVER_RULE)
    statements = Statements(waivers=(sneaky,))
    assert waiver_for(statements, warning, subject_names=NAMES, digests={}, today=TODAY).state == "none"


def test_only_files_that_a_pin_speaks_of_need_a_digest() -> None:
    findings = (
        finding(path="b"), finding(path="a"), finding("warn", path="a"), finding(path=None), finding("pass", path="c"),
        finding(rule="NOT-001", path="d"),
    )  # fmt: skip
    assert pinned_paths(Statements(waivers=(PINNED,)), findings, subject_names=NAMES) == ("a", "b")
    assert pinned_paths(Statements(waivers=(waiver(),)), findings, subject_names=NAMES) == ()
    assert pinned_paths(Statements(waivers=(PINNED,)), findings, subject_names=("other/x",)) == ()


# stubs to fill in


QUESTIONS = {
    "MAU-001": "Did all products of the licensee and its affiliates together have at most 700 million monthly active "
    "users in the calendar month before 18 July 2023?",
    "LIT-001": "Has nobody\nsued\x1b[31m over the materials?",
}


def test_a_template_is_toml_and_refused_until_every_stub_is_filled_in() -> None:
    text = template(QUESTIONS, today=TODAY)
    assert [stub["rule"] for stub in tomllib.loads(text)["statement"]] == ["MAU-001", "LIT-001"]
    assert "# LIT-001: Has nobody sued\\x1b[31m over the materials?" in text.splitlines()
    assert max(map(len, text.splitlines())) <= 100
    for key, value in (
        ("statement", "We do."),
        ("who", "Jane"),
        ("until", "2027-11-02"),
        ("answer", "yes"),
    ):
        with pytest.raises(ConfigError) as caught:
            parse(text)
        assert (caught.value.entry, caught.value.key) == ("[[statement]] 1", key)
        assert "must not be empty" in str(caught.value)
        text = text.replace(f'{key} = ""', f'{key} = "{value}"')
    assert [statement.when for statement in parse(text).statements] == [TODAY, TODAY]


def test_a_template_of_no_rules_states_nothing() -> None:
    assert parse(template({}, today=TODAY)).statements == ()


@given(st.dictionaries(st.from_regex(r"[A-Z]{3}-[0-9]{3}", fullmatch=True), st.text(), min_size=1, max_size=4))
def test_any_question_makes_a_valid_template(rules: dict[str, str]) -> None:
    text = template(rules, today=TODAY)
    assert [stub["rule"] for stub in tomllib.loads(text)["statement"]] == list(rules)
    with pytest.raises(ConfigError):
        parse_statements(text.encode(), file="f", rules=rules, today=TODAY)


# laws


FRAGMENTS = st.sampled_from(
    ["[[statement]]\n", "[[waiver]]\n", "[statement]\n"]
    + ["[[", "]]", "{", "}", "=", "\n", ".", '"', '"""', "'", "\\", "#"]
    + [f"{key} = {value}\n" for base in (STATEMENT, WAIVER) for key, value in base.items()]
    + ["subject = ", "2026-13-40", "07:30", "0x_", "1e999", "inf", "\ufeff", "\x00", "\r", "\u202e"]
    + ["when = 0001-01-01\n"]
)  # fmt: skip


def refused_or_read(data: bytes) -> None:
    try:
        parsed = parse(data)
    except ConfigError as error:
        assert str(error).startswith("auditor.toml: ")  # noqa: PT017 (either outcome is right)
    else:
        assert all(s.when <= s.until <= s.when + LONGEST for s in parsed.statements)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_typed_error_or_a_value(data: bytes) -> None:
    refused_or_read(data)


@given(st.lists(FRAGMENTS, max_size=30).map("".join))
def test_anything_like_toml_is_a_typed_error_or_a_value(text: str) -> None:
    refused_or_read(text.encode())


@given(st.text(alphabet="[]!^-&~|*?az09\\/.", max_size=12), st.text(alphabet="[]!^-&~|*?az09\\/.", max_size=12))
def test_any_glob_is_decided(glob: str, name: str) -> None:
    assert matches(glob, [name]) in {True, False}
    assert matches("*", [name])


@given(st.integers(0, 5_000))
def test_a_file_once_accepted_stays_readable_and_a_statement_ends_after_its_last_day(days: int) -> None:
    today = TODAY + days * DAY
    parsed = parse(stated() + waived(), today=today)
    state = statement_for(parsed, "MAU-001", subject_names=NAMES, today=today).state
    assert state == ("stated" if today <= date(2027, 11, 2) else "expired")
    result = waiver_for(parsed, finding(), subject_names=NAMES, digests={}, today=today)
    assert result.state == ("active" if today <= date(2027, 1, 1) else "expired")
