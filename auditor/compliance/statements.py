"""What a person states, and what a person waives: read from the user's `auditor.toml`.

Some duties no file can show to be kept: how many users a company had, whether it sued, who accepted the terms. Such a
rule is answered by a named person, on a date, until a date. Silence is never a pass, and neither is an expired word.
No clock and no disk here: the caller hands over bytes and says what day it is.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, Literal, cast

from auditor.escape import visible
from auditor.usertoml import Entry, check_tables, entries, hint, load, user_tables

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import date

WAIVER_RULE: Final = "WVR-001"
"""The rule about waivers themselves. It takes no statement and no waiver."""

LONGEST: Final = timedelta(days=1096)
"""Three years, whatever leap day they hold: a word or an exception that outlives who gave it is no longer theirs."""

_ZONES: Final = timedelta(days=1)
"""A date has no time zone: today in Auckland is tomorrow for a runner that keeps UTC."""

_STATEMENT_KEYS: Final = ("rule", "subject", "statement", "who", "when", "until", "answer")
_WAIVER_KEYS: Final = ("rule", "subject", "reason", "owner", "expires", "digest")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")

YesNo = Literal["yes", "no"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a person says about a rule that files cannot decide.

    Attributes
    ----------
    rule : str
        Rule id, "MAU-001".
    statement : str
        In the person's own words.
    who : str
        Name, role, organisation.
    when : date
        Day it was made.
    until : date
        Last day it holds.
    subject : str
        Glob over the names of the target.
    answer : {"yes", "no"}
        "yes": the duty is met. "no": it is not, which is a failure and no pass.
    """

    rule: str
    statement: str
    who: str
    when: date
    until: date
    subject: str = "*"
    answer: YesNo = "yes"

    @property
    def evidence(self) -> str:
        """Who said what, when and until when, as a finding shows it."""
        return f'{self.who} stated on {self.when}: "{self.statement}" (valid until {self.until})'


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """An exception that somebody answers for: the finding stays in the report and no longer fails the audit.

    Attributes
    ----------
    rule : str
        Rule id, "LIC-001".
    subject : str
        Glob over the names of the target.
    reason : str
    owner : str
        Who answers for it.
    expires : date
        Last day it holds.
    digest : str or None
        "sha256:<hex>" of the file that the finding points at: the waiver ends when that file changes.
    """

    rule: str
    subject: str
    reason: str
    owner: str
    expires: date
    digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """Everything that people state and waive.

    Attributes
    ----------
    statements : tuple of Statement
    waivers : tuple of Waiver
    source : str
        Name of the file they were read from.
    """

    statements: tuple[Statement, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    source: str = "auditor.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What people say about one rule and one target.

    Attributes
    ----------
    state : {"stated", "denied", "expired", "missing"}
    statement : Statement or None
        The one that decided; None where it is missing.
    """

    state: Literal["stated", "denied", "expired", "missing"]
    statement: Statement | None = None


def parse_statements(
    data: bytes, *, file: str, rules: Collection[str], today: date, answerable: Collection[str] | None = None
) -> Statements:
    """Read an `auditor.toml`, all of it or none.

    Parameters
    ----------
    data : bytes
        TOML, UTF-8.
    file : str
        What messages call the file.
    rules : collection of str
        Every rule id there is; a waiver names one of them.
    today : date
        A statement cannot have been made later, and a waiver cannot expire more than `LONGEST` from it. A file that
        is accepted today is accepted on every later day.
    answerable : collection of str, optional
        Those of `rules` that only a person can answer; a statement names one of them. Default: all.

    Raises
    ------
    ConfigError
        For the first thing that is unknown, missing, misspelt, of the wrong type or out of range.
    """
    document = user_tables(load(data, file=file), file=file)
    check_tables(document, file=file)
    return read_statements(document, file=file, rules=rules, today=today, answerable=answerable)


def read_statements(
    document: Mapping[str, object],
    *,
    file: str,
    rules: Collection[str],
    today: date,
    answerable: Collection[str] | None = None,
) -> Statements:
    """Read the two arrays out of TOML that was already parsed, as `parse_statements` does; other tables are left."""
    known = frozenset(rules) - {WAIVER_RULE}
    people = known if answerable is None else known & frozenset(answerable)
    statements: dict[tuple[str | None, ...], Statement] = {}
    for entry in entries(document, "statement", file=file, keys=_STATEMENT_KEYS):
        statement = _statement(entry, rules=known, answerable=people, today=today)
        asked = (statement.rule, statement.subject)
        _unseen(asked, statements, entry)
        statements[asked] = statement
    waivers: dict[tuple[str | None, ...], Waiver] = {}
    for entry in entries(document, "waiver", file=file, keys=_WAIVER_KEYS):
        waiver = _waiver(entry, rules=known, today=today)
        covered = (waiver.rule, waiver.subject, waiver.digest)
        _unseen(covered, waivers, entry)
        waivers[covered] = waiver
    return Statements(statements=tuple(statements.values()), waivers=tuple(waivers.values()), source=file)


def _statement(entry: Entry, *, rules: Collection[str], answerable: Collection[str], today: date) -> Statement:
    rule = _rule(entry, rules)
    if rule not in answerable:
        raise entry.refuse("rule", "decided from files, no person can state it; a [[waiver]] accepts what it finds")
    statement = Statement(
        rule=rule,
        subject=entry.text("subject", default="*"),
        statement=entry.prose("statement"),
        who=entry.prose("who"),
        when=entry.day("when"),
        until=entry.day("until"),
        answer=cast("YesNo", entry.one_of("answer", ("yes", "no"), default="yes")),
    )
    if statement.when - today > _ZONES:
        raise entry.refuse("when", f"in the future: today is {today}")
    if statement.until < statement.when:
        raise entry.refuse("until", f"before it was made, on {statement.when}")
    if statement.until - statement.when > LONGEST:
        raise entry.refuse("until", f"more than three years after it was made, on {statement.when}: state it anew")
    return statement


def _waiver(entry: Entry, *, rules: Collection[str], today: date) -> Waiver:
    waiver = Waiver(
        rule=_rule(entry, rules),
        subject=entry.text("subject"),
        reason=entry.prose("reason"),
        owner=entry.prose("owner"),
        expires=entry.day("expires"),
        digest=entry.text("digest").lower() if "digest" in entry else None,
    )
    if waiver.expires - today > LONGEST:
        raise entry.refuse("expires", f"more than three years from today, {today}: a waiver is no permanent licence")
    if waiver.digest is not None and not _DIGEST.fullmatch(waiver.digest):
        raise entry.refuse("digest", "must be sha256: and 64 hexadecimal digits")
    return waiver


def _rule(entry: Entry, rules: Collection[str]) -> str:
    rule = entry.text("rule")
    if rule == WAIVER_RULE:
        raise entry.refuse("rule", "the rule about waivers takes neither statement nor waiver")
    if rule not in rules:
        raise entry.refuse("rule", f"unknown rule; {hint(rule, rules)}")
    return rule


def _unseen(key: tuple[str | None, ...], seen: Collection[tuple[str | None, ...]], entry: Entry) -> None:
    if key in seen:  # two answers to one question: which of them a person meant, nobody can tell
        raise entry.refuse("subject", f"the same rule and subject as entry {list(seen).index(key) + 1}: keep one")


def matches(subject: str, subject_names: Iterable[str]) -> bool:
    """Say whether a subject glob covers a target.

    Parameters
    ----------
    subject : str
        As in `fnmatch`, case-sensitive; `*` matches slashes too.
    subject_names : iterable of str
        What the *user* called the target: its URI, `org/name`, folder name. Never a name out of the target's own
        files, or a model could choose whose waivers it gets.
    """
    return any(fnmatchcase(name, subject) for name in subject_names)


def statement_for(statements: Statements, rule: str, *, subject_names: Collection[str], today: date) -> Answer:
    """Say what people state about a rule, for one target.

    A denial in force wins over everything: no wider or later statement can talk it away. Then the statement in force
    that holds longest, then the one that expired last. A statement holds through its last day.

    Examples
    --------
    >>> from datetime import date
    >>> statement_for(Statements(), "MAU-001", subject_names=["org/name"], today=date(2026, 11, 2)).state
    'missing'
    """
    found = [s for s in statements.statements if s.rule == rule and matches(s.subject, subject_names)]
    if not found:
        return Answer(state="missing")
    # max keeps the first of equals: the file's order decides ties.
    decided = max(found, key=lambda s: (today <= s.until, today <= s.until and s.answer == "no", s.until))
    if today > decided.until:
        return Answer(state="expired", statement=decided)
    return Answer(state="stated" if decided.answer == "yes" else "denied", statement=decided)


def template(rules: Mapping[str, str], *, today: date) -> str:
    """Return TOML stubs for a person to fill in, one for each rule.

    It is valid TOML, and `parse_statements` refuses it until every stub is filled in or deleted: `statement`, `who`,
    `until` and `answer` are left empty on purpose.

    Parameters
    ----------
    rules : mapping of str to str
        Rule id to the question that a person answers, in table order.
    today : date
        Written as the day that the statements are made.
    """
    lines = _comment(
        "Fill in every statement that applies and delete the others. Nothing here is a pass until a "
        "named person has answered, and no answer outlives its last day."
    )
    for rule, question in rules.items():
        lines += [
            "",
            *_comment(f"{rule}: {question}"),
            "[[statement]]",
            f'rule = "{rule}"',
            'subject = "*"  # or a glob over target names, like "org/*"',
            'statement = ""  # what you state, in your own words',
            'who = ""  # name, role, organisation',
            f"when = {today}",
            'until = ""  # last day it holds, like 2027-11-02; at most three years after `when`',
            'answer = ""  # "yes": the duty is met; "no": it is not',
        ]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    shown = visible(" ".join(text.split()), limit=max(len(text), 1))  # a control character would break the comment
    return textwrap.wrap(shown, width=100, initial_indent="# ", subsequent_indent="# ", break_long_words=False)
