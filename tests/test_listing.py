"""Lists of models: what is read, from where, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import ConfigError, UsageError
from auditor.limits import LIMITS
from auditor.listing import Entry, from_settings, parse_list, read_list
from auditor.report import Place


def parse(text: str, file: str = "models.yaml") -> tuple[Entry, ...]:
    return parse_list(text.encode(), file=file)


def test_entries_have_the_line_that_names_their_target() -> None:
    found = parse(
        "# ours\nother: {kept: for another tool}\nmodels:\n  - acme/a@3f1c0de  # pinned\n"
        "  - name: b\n    target: acme/b\n    against: [llama-2-7b, base/]\n    base: acme/base\n"
        "  - {target: c, attestation: c.json, key: c.pub}\n"
    )
    assert found == (
        Entry(target="acme/a@3f1c0de", place=Place(path="models.yaml", line=4, column=5)),
        Entry(
            target="acme/b", name="b", base="acme/base", against=("llama-2-7b", "base/"),
            place=Place(path="models.yaml", line=6, column=13),
        ),
        Entry(
            target="c", attestation="c.json", key="c.pub", place=Place(path="models.yaml", line=9, column=14),
        ),
    )  # fmt: skip


def test_json_and_a_bare_list_are_read_alike() -> None:
    assert [entry.target for entry in parse('["a", {"target": "b"}]', "m.json")] == ["a", "b"]
    assert [entry.target for entry in parse("- a\n- no\n- 007\n")] == ["a", "no", "007"]  # names, whatever YAML says


def test_a_text_file_has_a_target_a_line() -> None:
    found = parse("\ufeff# all\n\n  acme/a \nacme/b # why\nfolder#1\r\n", "targets.txt")
    assert [(entry.target, entry.place.line, entry.place.column) for entry in found] == [
        ("acme/a", 3, 3), ("acme/b", 4, 1), ("folder#1", 5, 1),
    ]  # fmt: skip


BROKEN = [
    ("", "models.yaml: must be a list of models"),
    ("models:\n", "models.yaml: must be a list"),
    ("a: [b]\n", "models.yaml: must be a list"),
    ("models: []\n", "models.yaml: names no model"),
    ("models: [a\n", "models.yaml: line 2: not YAML"),
    ("- a\n- a\n", "models.yaml: line 2: as line 1: keep one"),
    ("- {target: a, targt: b}\n", "models.yaml: line 1: targt: unknown key; did you mean target?"),
    ("- {name: a}\n", "models.yaml: line 1: target: missing, and mandatory"),
    ("- {target: a, target: b}\n", "models.yaml: line 1: target: twice"),
    ("models: [a]\nmodels: [b]\n", "models.yaml: line 2: `models` twice"),
    ("- {target: a, attestation: b}\n", "models.yaml: line 1: attestation: whose signature is believed?"),
    ("- {target: a, attestation: b, identity: c}\n", "models.yaml: line 1: attestation: whose signature is believed?"),
    ("- {target: a, key: b}\n", "models.yaml: line 1: key, identity and issuer are for an attestation"),
    ("- [a]\n", "models.yaml: line 1: must be a target, or a table with one"),
    ("- ''\n", "models.yaml: line 1: must be a text that is not empty"),
    ("- ~\n", "models.yaml: line 1: must be a text"),
    ("- !!python/object:os.system a\n", "models.yaml: line 1: must be a text"),
    ("- !!binary aGk=\n", "models.yaml: line 1: must be a text"),
    ("- &x {target: a}\n- *x\n", "models.yaml: line 1: an alias: write the model out"),
    ("- {target: {a: b}}\n", "models.yaml: line 1: must be a text"),
    ("- a\x00\n", "models.yaml: not YAML"),
    ("[" * 5_000, "models.yaml: nested too deeply"),
    ("- " * 5_000, "models.yaml: not YAML"),
]


@pytest.mark.parametrize(("text", "says"), BROKEN)
def test_what_is_no_list_is_refused_with_its_line(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text)
    assert str(refused.value).startswith(says)


def test_a_list_that_is_no_text_or_too_long_is_refused() -> None:
    with pytest.raises(ConfigError, match="not UTF-8 text at byte 2"):
        parse_list(b"- \xff", file="m.txt")
    with pytest.raises(ConfigError, match="over the limit"):
        parse_list(b"a\n" * LIMITS.list_bytes, file="m.txt")
    with pytest.raises(UsageError, match="cannot be read"):
        read_list(Path("no-such-list.yaml"))


@given(st.text(max_size=60))
def test_any_text_is_a_list_or_a_typed_refusal(text: str) -> None:
    for file in ("m.yaml", "m.txt"):
        try:
            found = parse_list(text.encode("utf-8", "surrogatepass"), file=file)
        except ConfigError:
            continue
        assert all(entry.target.strip() == entry.target != "" for entry in found)


def test_targets_of_the_settings_have_the_line_that_quotes_them(tmp_path: Path) -> None:
    file = tmp_path / "auditor.toml"
    file.write_text("targets = [\n  'acme/a',\n  \"acme/b\",\n]\n")
    places = [
        (entry.target, entry.place.line, entry.place.column) for entry in from_settings(("acme/a", "acme/b"), str(file))
    ]
    assert places == [("acme/a", 2, 3), ("acme/b", 3, 3)]
