"""Planning fixes: what is written, what is left to a person, and that a second plan has nothing to do."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

import pytest
from cardkit import apply_diff, cards
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.compliance import check_licence, parse_config
from auditor.compliance.fixes.plan import Folder, editable, plan
from auditor.compliance.policy import load_policy
from auditor.compliance.statements import Statements
from auditor.compliance.texts.notice import find_notice
from auditor.findings import Finding
from auditor.lineage import Candidate, Lineage, Relation
from auditor.sources import BytesSource, Unread

if TYPE_CHECKING:
    from auditor.compliance.check import LicenceCheck
    from auditor.compliance.fixes.plan import FileChange, FixPlan
    from auditor.compliance.policy import Policy
    from auditor.compliance.situation import Profile

TODAY = date(2026, 11, 2)
POLICY = replace(
    load_policy("llama2"),
    references=("acme/base-*", "stand-in*"),
    repos=("acme/base-*", "stand-in*"),
    families=(),
)
SENTENCE = POLICY.notice.sentence
CARD = "---\nlicense: llama2\nbase_model: acme/base-7b\n---\n# Model\n"
DUE = {"NOT-001", "NOT-002", "CARD-001", "CARD-005", "BASE-001"}

Files = dict[str, str | bytes]


def lineage(reference: str | None, relation: Relation | None = None) -> Lineage:
    if reference is None:
        return Lineage(verdict="inconclusive")
    relation = relation or Relation(kind="modified")
    found = Candidate(reference=reference, model="m", verdict="derived", log10_p=-40.0, relation=relation)
    return Lineage(verdict="derived", best=found, candidates=(found,))


def audit(
    files: Files,
    reference: str | None = "acme/base-7b",
    *,
    relation: Relation | None = None,
    profile: Profile = "publisher",
    has_weights: bool = True,
    policy: Policy = POLICY,
) -> LicenceCheck:
    source = BytesSource({path: text.encode() if isinstance(text, str) else text for path, text in files.items()})
    return check_licence(
        source,
        (),
        lineage=lineage(reference, relation),
        has_weights=has_weights,
        policies=(policy,),
        profile=profile,
        strict=False,
        names=("model",),
        statements=Statements(),
        today=TODAY,
    )


def planned(
    files: Files,
    reference: str | None = "acme/base-7b",
    *,
    relation: Relation | None = None,
    profile: Profile = "publisher",
    has_weights: bool = True,
    folder: Folder | None = None,
) -> FixPlan:
    check = audit(files, reference, relation=relation, profile=profile, has_weights=has_weights)
    return plan(check.situation, check.findings, today=TODAY, folder=folder or _folder(files, check))


def _folder(files: Files, check: LicenceCheck) -> Folder:
    data = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
    return Folder(
        contents={path: data[path] for path in editable(check.situation)},
        names=frozenset(path.split("/")[0].lower() for path in files),
        settings="add them to auditor.toml",
    )


def changed(found: FixPlan) -> dict[str, str]:
    return {change.path: change.after for change in found.changes}


def applied(files: Files, found: FixPlan) -> Files:
    return files | {change.path: change.new for change in found.changes if change.place == "target"}


def test_a_good_repository_needs_nothing() -> None:
    files: Files = {"README.md": CARD, "NOTICE": SENTENCE}
    assert planned(files).changes == ()
    assert not any(line.startswith(tuple(DUE)) for line in planned(files).cannot)


def test_an_empty_repository_gets_notice_and_card() -> None:
    found = planned({"model.safetensors": b""})
    assert changed(found) == {
        "NOTICE": f"{SENTENCE}\n",
        "README.md": (
            "---\nlicense: llama2\nlicense_link: https://ai.meta.com/llama/license/\n"
            "base_model: acme/base-7b\nbase_model_relation: finetune\n---\n"
        ),
    }
    assert all(change.before is None and change.old is None for change in found.changes)


@pytest.mark.parametrize(
    ("profile", "paths"), [("publisher", {"NOTICE", "README.md"}), ("deployer", {"README.md"}), ("internal", set())]
)
def test_only_the_duties_of_who_asks(profile: Profile, paths: set[str]) -> None:
    files: Files = {"README.md": CARD.replace("llama2", "mit")}
    assert set(changed(planned(files, profile=profile))) == paths


def test_weights_that_are_not_bound_are_left_alone() -> None:
    found = planned({"README.md": "---\nlicense: mit\n---\n"}, reference=None)
    assert found.changes == ()
    assert "nothing says" in found.basis


def test_what_is_waived_is_left_alone() -> None:
    files: Files = {"README.md": CARD}
    check = audit(files)
    findings = [replace(f, waived_until="2027-01-01") if f.id == "NOT-001" else f for f in check.findings]
    found = plan(check.situation, findings, today=TODAY, folder=_folder(files, check))
    assert found.changes == ()
    assert not any("NOT-001" in line for line in found.cannot)


# The notice


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("NOTICE", SENTENCE.replace("Meta Platforms, Inc.", "Acme"), SENTENCE),
        ("notice.txt", SENTENCE.replace("Copyright", "Copyright 2023") + "\n", f"{SENTENCE}\n"),
        (
            "Notice.md",
            "Llama 3 is licensed under the Llama 3 Community License, Copyright (c) Meta.\n",
            f"{SENTENCE}\n",
        ),
        (
            "NOTICE",
            f"Ours\r\n\r\n> {SENTENCE.replace('Llama 2', 'Lama 2')}\r\n\r\nMore",
            f"Ours\r\n\r\n{SENTENCE}\r\n\r\nMore",
        ),
        ("NOTICE", "This product has parts of Acme.\n", f"{SENTENCE}\n\nThis product has parts of Acme.\n"),
        ("NOTICE", "\nParts of Acme.", f"{SENTENCE}\n\nParts of Acme."),
        ("NOTICE", "", f"{SENTENCE}\n"),
        ("NOTICE", "\ufeffParts\r\n", f"\ufeff{SENTENCE}\r\n\r\nParts\r\n"),
        ("NOTICE", b"Caf\xe9 of Acme\n", SENTENCE.encode() + b"\n\nCaf\xe9 of Acme\n"),
    ],
)
def test_the_notice_file_that_is_there_is_used(path: str, before: str | bytes, after: str | bytes) -> None:
    files: Files = {"README.md": CARD, path: before}
    found = planned(files)
    assert [change.path for change in found.changes] == [path]
    assert found.changes[0].new == (after.encode() if isinstance(after, str) else after)
    assert planned(applied(files, found)).changes == ()


def test_a_wrapped_sentence_is_replaced_whole() -> None:
    wrong = SENTENCE.replace("Meta Platforms, Inc.", "Acme").replace("LLAMA 2", "LLAMA\n2").replace(", C", ",\n  C")
    found = planned({"README.md": CARD, "NOTICE": f"Preface.\n\n{wrong}\n\nEnd.\n"})
    assert changed(found) == {"NOTICE": f"Preface.\n\n{SENTENCE}\n\nEnd.\n"}


def test_another_notice_in_the_file_is_kept_and_named() -> None:
    other = "Llama 3 is licensed under the Llama 3 Community License, Copyright (c) Meta Platforms, Inc."
    found = planned({"README.md": CARD, "NOTICE": f"Parts\n\n{other} All Rights Reserved.\n"})
    assert changed(found)["NOTICE"].startswith(f"{SENTENCE}\n\nParts\n\n{other}")
    assert any("NOTICE, line 5: another notice is left there" in line for line in found.cannot)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"NOTICE": b"\x08\0\0\0\0\0\0\0{}      "}, "NOTICE: no plain text"),
        ({"NOTICE": SENTENCE.encode("utf-16").replace(b"L", b"X")}, "NOTICE: no plain text"),
        ({"NOTICE": f"{SENTENCE}\n\nin\u200bvisible\n"}, "NOTICE: the sentence is there, but there are invisible"),
        ({"NOTICE/a": "x", "NOTICE.txt/a": "x", "NOTICE-MODEL.txt/b": "x"}, "all of these names are taken"),
    ],
)
def test_notices_that_are_left_to_a_person(files: Files, says: str) -> None:
    found = planned({"README.md": CARD} | files)
    assert found.changes == ()
    assert any(says in line and SENTENCE in line for line in found.cannot)


def test_a_name_that_is_taken_is_not_used() -> None:
    assert "NOTICE.txt" in changed(planned({"README.md": CARD, "notice/model.bin": b"x"}))
    assert "NOTICE" in changed(planned({"README.md": CARD, "privacy-notice.html": "<p>x</p>", "a/NOTICE": "x"}))


# The card


def test_a_relicensed_card() -> None:
    found = planned({"NOTICE": SENTENCE, "README.md": "---\nlicense: apache-2.0 # x\ntags: [a]\n---\nText\n"})
    assert changed(found)["README.md"] == (
        "---\nlicense: llama2 # x\nlicense_link: https://ai.meta.com/llama/license/\ntags: [a]\n"
        "base_model: acme/base-7b\nbase_model_relation: finetune\n---\nText\n"
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("license: [mit, agpl-3.0, cc-by-nc-4.0]\n", "license: [llama2, agpl-3.0]\n"),
        ("license: other\n", "license: llama2\n"),
        ("license: other\nlicense_name: llama2\n", "license: other\n"),
        ("license: mit\nlicense_link: https://opensource.org/license/mit\n", "license: llama2\n"),
        ("license:\n", "license: llama2\n"),
    ],
)
def test_licences(before: str, after: str) -> None:
    files: Files = {"NOTICE": SENTENCE, "README.md": f"---\nbase_model: acme/base-7b\n{before}---\n"}
    text = changed(planned(files))["README.md"]
    assert after in text
    assert "license_link: https://ai.meta.com/llama/license/\n" in text
    assert text.count("license_link") == 1
    assert text.count("base_model") == 1


@pytest.mark.parametrize(
    "front",
    [
        "license: llama2\n",
        "license: [llama2, apache-2.0]\n",  # which part is which, only a person can say
        "license: agpl-3.0\n",  # may be the code's
        "license: acme-model-licence\n",
        "license: other\nlicense_name: acme\nlicense_link: https://acme.example\n",
    ],
)
def test_licences_that_a_person_must_weigh(front: str) -> None:
    assert planned({"NOTICE": SENTENCE, "README.md": f"---\nbase_model: acme/base-7b\n{front}---\n"}).changes == ()


def test_sentences_that_say_otherwise_are_named() -> None:
    card = "---\nlicense: mit\nbase_model: acme/base-7b\n---\n\nThe model is licensed under Apache 2.0.\n"
    found = planned({"NOTICE": SENTENCE, "README.md": card})
    assert "license: llama2" in changed(found)["README.md"]
    assert any(line.startswith("README.md, line 6: says 'Apache 2.0'") for line in found.cannot)


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ("---\nlicense: mit\nlicense: mit\n---\n", "README.md: line 3: 'license' occurs again"),
        ("---\nlicense: mit\ntags: [\n---\n", "README.md: line 3: "),
        ("---\nlicense: mit\n", "README.md: line 1: the metadata block has no closing ---"),
        ("---\na: &a mit\nlicense: [*a]\n---\n", "README.md: line 3: alias"),
        (b"---\nlicense: mit\n---\n\xff\n", "README.md: not UTF-8 text at byte 21"),
    ],
)
def test_broken_cards_are_not_edited(card: str | bytes, reason: str) -> None:
    check = audit({"NOTICE": SENTENCE, "README.md": card})
    broken = [
        replace(f, status="fail") if f.id in {"CARD-001", "CARD-005"} else f for f in check.findings
    ]  # as where the licence was read before the break
    folder = _folder({"NOTICE": SENTENCE, "README.md": card}, check)
    found = plan(check.situation, broken, today=TODAY, folder=folder)
    assert found.changes == ()
    assert any(line.startswith(reason) and "by hand: license: llama2" in line for line in found.cannot)


# The base


def card_without(key: str) -> Files:
    return {
        "NOTICE": SENTENCE,
        "README.md": "".join(line for line in CARD.splitlines(keepends=True) if key not in line),
    }


@pytest.mark.parametrize(
    ("reference", "origin", "says"),
    [
        ("acme/base-13b", "", "base_model: acme/base-13b\n"),
        ("stand-in", "weights of https://huggingface.co/acme/base-7b (sha256 0)", "base_model: acme/base-7b\n"),
        ("stand-in", "some file", "base_model: stand-in\n"),
    ],
)
def test_the_base_is_what_the_weights_show(reference: str, origin: str, says: str) -> None:
    files = card_without("base_model")
    check = audit(files, reference)
    folder = replace(_folder(files, check), origin=origin)
    text = changed(plan(check.situation, check.findings, today=TODAY, folder=folder))["README.md"]
    assert says in text
    assert ("# check: the weights share descent with stand-in" in text) == (origin == "some file")
    again = audit(files | {"README.md": text}, reference)
    assert next(f for f in again.findings if f.id == "BASE-001").status == "pass"


@pytest.mark.parametrize(
    ("example", "base"), [("HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M"), ("acme/base-7b", None)]
)
def test_a_reference_that_passes_for_another_family(example: str, base: str | None) -> None:
    policy = replace(POLICY, references=("smollm2-*",), repos=("huggingfacetb/smollm2-*",), base_example=example)
    check = audit(card_without("base_model"), "smollm2-135m", policy=policy)
    found = plan(check.situation, check.findings, today=TODAY, folder=_folder(card_without("base_model"), check))
    assert changed(found).get("README.md", "").count(f"base_model: {base}\n") == (base is not None)
    assert any(line.startswith("BASE-001") for line in found.cannot) == (base is None)


def test_the_base_is_what_another_file_names() -> None:
    files = card_without("base_model") | {"config.json": json.dumps({"_name_or_path": "acme/base-7b-chat"})}
    assert "base_model: acme/base-7b-chat\n" in changed(planned(files, "stand-in"))["README.md"]


def test_a_wrong_base_is_replaced_and_an_unknown_one_is_not() -> None:
    wrong: Files = {"NOTICE": SENTENCE, "README.md": CARD.replace("acme/base-7b", "mistralai/Mistral-7B-v0.1")}
    assert "base_model: acme/base-7b\n" in changed(planned(wrong))["README.md"]
    unknown = "---\nlicense: agpl-3.0\nbase_model: somebody/thing-7b\n---\n"
    assert planned({"NOTICE": SENTENCE, "README.md": unknown}).changes == ()


def test_on_somebodys_word_no_base_is_written() -> None:
    files: Files = {"README.md": "---\nlicense: llama2\n---\n", "NOTICE": SENTENCE}
    found = planned(files, reference=None)
    assert found.changes == ()
    assert any(line.startswith("BASE-001: ") for line in found.cannot)


def test_the_parents_of_a_merge_are_left_to_a_person() -> None:
    merge = "merge_method: ties\nmodels:\n- model: mistralai/Mistral-7B-v0.1\n- model: tiiuae/falcon-7b\n"
    found = planned(card_without("base_model") | {"mergekit_config.yml": merge})
    assert found.changes == ()
    assert any(line.startswith("BASE-001: ") for line in found.cannot)


@pytest.mark.parametrize(
    ("files", "relation", "says"),
    [
        ({"m.safetensors": b"x"}, Relation(kind="modified"), "finetune"),
        ({"m.safetensors": b"x"}, Relation(kind="modified", dropped=(3,)), None),
        ({"m.gguf": b"x"}, Relation(kind="modified"), "quantized"),
        ({"m.gguf": b"x", "m.safetensors": b"x"}, Relation(kind="modified"), None),
        ({"config.json": '{"quantization_config": {"quant_method": "gptq"}}'}, Relation(kind="modified"), "quantized"),
    ],
)
def test_the_relation_is_what_data_carry(files: Files, relation: Relation, says: str | None) -> None:
    text = changed(planned(card_without("base_model") | files, relation=relation))["README.md"]
    assert (f"base_model_relation: {says}\n" in text) if says else ("relation" not in text)


def test_an_adapter() -> None:
    config = json.dumps({"base_model_name_or_path": "acme/base-7b", "peft_type": "LORA"})
    found = planned({"adapter_config.json": config}, reference=None, has_weights=False)
    card = changed(found)["README.md"]
    assert "license: llama2\n" in card
    assert "base_model: acme/base-7b\nbase_model_relation: adapter\n" in card


# What is not written


def test_what_only_people_can_do_is_said() -> None:
    lines = "\n".join(planned({"README.md": CARD, "NOTICE": SENTENCE}).cannot)
    assert "LIC-001: Add the agreement" in lines
    assert POLICY.obtain in lines
    assert "AUP-G4: Add a section" in lines
    assert "MAU-001" in lines
    assert "add them to auditor.toml" in lines


def test_what_was_not_read_is_said() -> None:
    check = audit({})
    unread = [Unread(path="model.bin", code="x", reason="a format that is not read")]
    found = plan(check.situation, check.findings, today=TODAY, folder=Folder(), unread=unread)
    assert found.cannot[0] == "model.bin: not judged, because it could not be read: a format that is not read"


def test_statements_come_as_a_template_that_states_nothing() -> None:
    check = audit({"README.md": CARD})
    found = plan(check.situation, check.findings, today=TODAY, folder=Folder())
    settings_file = next(change for change in found.changes if change.place == "here")
    assert settings_file.path == "auditor.toml"
    assert parse_config(settings_file.new, file="auditor.toml", today=TODAY).statements == ()
    filled = "\n".join(
        line[1:] if line.startswith("#") and not line.startswith("# ") else line
        for line in settings_file.after.split("\n")
    )
    for key, value in {"statement": "So it is.", "who": "A. B., Acme", "until": "2027-11-01", "answer": "yes"}.items():
        filled = filled.replace(f'{key} = ""', f'{key} = "{value}"')
    manual = [finding.id for finding in check.findings if finding.status == "manual"]
    statements = parse_config(filled.encode(), file="auditor.toml", today=TODAY).statements
    assert [statement.rule for statement in statements] == manual


@pytest.mark.parametrize("path", ["README.md", "NOTICE"])
def test_a_locked_file_is_not_changed(path: str) -> None:
    files: Files = {"README.md": CARD.replace("llama2", "mit"), "NOTICE": "x"}
    check = audit(files)
    folder = _folder(files, check)
    contents = {name: data for name, data in folder.contents.items() if name != path}
    locked = replace(folder, contents=contents, locked={path: "a symbolic link"})
    found = plan(check.situation, check.findings, today=TODAY, folder=locked)
    assert path not in changed(found)
    assert any(line.startswith(f"{path}: a symbolic link. Write there, by hand") for line in found.cannot)


def test_a_card_that_could_not_be_read_is_not_overwritten() -> None:
    check = audit({"model.safetensors": b""})
    found = plan(check.situation, check.findings, today=TODAY, folder=Folder(names=frozenset({"readme.md"})))
    assert "README.md" not in changed(found)
    assert any(line.startswith("README.md: cannot be read. Write there") for line in found.cannot)


def test_findings_without_a_fix_are_still_said() -> None:
    check = audit({"README.md": CARD, "NOTICE": SENTENCE})
    odd = Finding(id="FILE-004", status="warn", title="File names say what the files hold", evidence="x\x1b[31m")
    found = plan(check.situation, [odd], today=TODAY, folder=Folder())
    assert found.cannot == ("FILE-004: File names say what the files hold (x\x1b[31m)",)


# Twice is once


_NOTICES = st.sampled_from(
    [
        None,
        "",
        SENTENCE,
        SENTENCE.replace("Meta Platforms, Inc.", "Acme"),
        SENTENCE.replace("Copyright (c)", "Copyright (c) 2023"),
        "Text.\r\n\r\nMore text.\r\n",
        f"Text. {SENTENCE.replace('Inc.', 'Ltd.')} And more.\n",
        "Llama 3 is licensed under the Llama 3 Community License, Copyright (c) Meta Platforms, Inc.\n\nText.",
        f"# Notice\n\n> **{SENTENCE.replace('Llama 2', 'Llama 3')}**\n",
    ]
)


@settings(max_examples=150)
@given(cards(), _NOTICES, st.sampled_from(["NOTICE", "notice.txt", "Notice.md"]), st.sampled_from(["stand-in", None]))
def test_applied_twice_changes_nothing(card: str, notice: str | None, name: str, reference: str | None) -> None:
    files: Files = {"README.md": card} | ({name: notice} if notice is not None else {})
    found = planned(files, reference)
    for change in found.changes:
        _is_true(change)
    after = applied(files, found)
    assert planned(after, reference).changes == ()
    if reference is not None:
        assert find_notice(_text(after.get(name, after.get("NOTICE", ""))), POLICY.notice).status == "ok"
    failing = {finding.id for finding in audit(after, reference).findings if finding.status == "fail"}
    # A copyleft licence in the metadata, and another one in the text: which is meant for what, only a person can say.
    assert not failing & (DUE - {"CARD-001"} if "agpl" in card else DUE)
    assert all(any(line.startswith(rule) for line in planned(after, reference).cannot) for rule in failing)


def _text(data: str | bytes) -> str:
    return data if isinstance(data, str) else data.decode()


def _is_true(change: FileChange) -> None:
    shown = apply_diff((change.before or "").removeprefix("\ufeff"), change.diff)
    assert shown == [line.rstrip("\r") for line in change.after.removeprefix("\ufeff").removesuffix("\n").split("\n")]
