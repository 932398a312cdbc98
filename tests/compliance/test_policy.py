"""Policies as data: what ships, what a user may write, and what is refused by name."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from auditor.compliance.policy import SHIPPED, Policy, load_policies, load_policy
from auditor.compliance.texts.license_hashes import hash_table
from auditor.compliance.texts.notice import LLAMA2_NOTICE
from auditor.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

LLAMA2, CODELLAMA = load_policies(())


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_policy_names_texts_that_there_are(name: str) -> None:
    policy = load_policy(name)
    known = {text.id for text in hash_table().texts}
    assert policy.name == name
    assert {policy.agreement, policy.use_policy} <= known
    assert policy.text_product == "llama-2"
    assert policy.notice == LLAMA2_NOTICE
    assert policy.names_base(policy.base_example) is True
    assert policy.hub_license == "llama2"
    assert policy.license_ref == "LicenseRef-scancode-llama-2-license-2023"


def test_all_that_ship_are_loaded_where_none_is_named() -> None:
    assert tuple(policy.name for policy in load_policies(())) == SHIPPED
    assert tuple(policy.name for policy in load_policies(("codellama",))) == ("codellama",)


@pytest.mark.parametrize(
    ("base", "llama2", "codellama"),
    [
        ("meta-llama/Llama-2-7b-hf", True, True),
        ("https://huggingface.co/meta-llama/Llama-2-70b-chat-hf/tree/main", True, True),
        ("NousResearch/Llama-2-13b-hf", True, True),
        ("TheBloke/Nous-Hermes-Llama2-GPTQ", True, True),
        ("lmsys/vicuna-13b-v1.5-16k", True, True),
        ("codellama/CodeLlama-34b-Instruct-hf", True, True),
        ("EleutherAI/llemma_7b", True, True),
        ("Llama 2", True, True),
        ("lmsys/vicuna-7b-v1.3", False, False),
        ("huggyllama/llama-7b", False, False),
        ("meta-llama/Meta-Llama-3-8B", False, False),
        ("meta-llama/Llama-3.1-8B-Instruct", False, False),
        ("openlm-research/open_llama_7b", False, False),
        ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", False, False),
        ("mistralai/Mistral-7B-v0.1", False, False),
        ("HuggingFaceTB/SmolLM2-135M", False, False),
        ("someone/llama-7b-tuned", None, None),
        ("someone/thing-7b", None, None),
    ],
)
def test_what_counts_as_naming_the_base(base: str, llama2: bool | None, codellama: bool | None) -> None:  # noqa: FBT001
    assert LLAMA2.names_base(base) is llama2
    assert CODELLAMA.names_base(base) is codellama


@pytest.mark.parametrize(
    ("reference", "bound", "excluded"),
    [
        ("llama-2-7b", (True, False), (True, True)),
        ("meta-llama/Llama-2-7b-hf", (True, False), (True, True)),
        ("codellama-7b", (False, True), (False, True)),
        ("codellama/CodeLlama-7b-hf", (False, True), (False, True)),
        ("smollm2-135m-instruct", (False, False), (False, False)),
        ("llama-3-8b", (False, False), (False, False)),
    ],
)
def test_which_references_bind_and_which_exclude(
    reference: str, bound: tuple[bool, bool], excluded: tuple[bool, bool]
) -> None:
    # Code Llama comes from Llama 2: what is independent of Llama 2 is no Code Llama either, and not the reverse.
    assert (LLAMA2.binds(reference), CODELLAMA.binds(reference)) == bound
    assert (LLAMA2.excluded_by(reference), CODELLAMA.excluded_by(reference)) == excluded


def write(folder: Path, text: str) -> str:
    path = folder / "policy.toml"
    path.write_text(text)
    return str(path)


def test_a_file_that_extends_another_policy(tmp_path: Path) -> None:
    policy = load_policy(
        write(tmp_path, 'extends = "codellama"\nname = "mine"\nreferences = ["base-*"]\nfamilies = []\n')
    )
    assert policy.name == "mine"
    assert policy.binds("BASE-7b")
    assert not policy.binds("codellama-7b")
    assert policy.families == ()
    assert policy.called == {"llama2"}  # of a name that says Llama 2 it is still clear what is meant
    assert policy.repos == CODELLAMA.repos
    assert policy.notice == LLAMA2_NOTICE


def test_a_file_that_stands_alone(tmp_path: Path) -> None:
    lines = [
        f'{field.name} = "{getattr(LLAMA2, field.name)}"'
        for field in fields(Policy)
        if isinstance(getattr(LLAMA2, field.name), str)
    ]
    lines += ['references = ["x-*"]', 'families = ["llama3"]', 'declared = ["llama3"]', 'repos = ["x/*"]']
    lines += ["[notice]", 'product = "Llama 3"', 'license_name = "L"', 'holder = "H"']
    policy = load_policy(write(tmp_path, "\n".join(lines)))
    assert policy.names_base("meta-llama/Meta-Llama-3-8B") is True
    assert policy.notice.sentence == "Llama 3 is licensed under the L, Copyright (c) H All Rights Reserved."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "llama3"', "extends 'llama3', which is not one of llama2, codellama"),
        ('extends = "llama2"\nrefrences = ["x"]', "unknown key 'refrences'; did you mean 'references'?"),
        ('name = "x"', "no 'agreement'"),
        ('extends = "llama2"\nreferences = "x"', "'references' is no list of texts"),
        ('extends = "llama2"\nreferences = [1]', "'references' is no list of texts"),
        ('extends = "llama2"\nname = 1', "'name' is no text"),
        ('extends = "llama2"\nname = " "', "'name' is no text"),
        ('extends = "llama2"\nagreement = "llama-2-licence"', "did you mean 'llama-2-license'"),
        ('extends = "llama2"\nuse_policy = "llama-2-license"', "'use_policy': unknown"),
        ('extends = "llama2"\nfamilies = ["llama-2"]', "'families': unknown 'llama-2'; did you mean 'llama2'?"),
        ('extends = "llama2"\ndeclared = ["apache"]', "'declared': unknown 'apache'"),
        ('extends = "llama2"\nnotice = "x"', "'notice' is no table of texts"),
        ('extends = "llama2"\n[notice]\nproduct = 2', "'notice' is no table of texts"),
        ('extends = "llama2"\n[notice]\nproduct = "x"', "license_name"),
        ('extends = "llama2"\n[notice]\nmaker = "x"', "maker"),
        ("extends = ", "not a policy"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=r"policy\.toml") as caught:
        load_policy(write(tmp_path, text))
    assert message in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(b'name = "\xff"')
    with pytest.raises(UsageError, match="not a policy"):
        load_policy(str(path))


@pytest.mark.parametrize(("name", "message"), [("llama-2", "did you mean llama2"), ("nowhere.toml", "known: llama2")])
def test_a_policy_that_there_is_not(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_policies((name,))


def test_a_target_cannot_bring_its_own_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SHIPPED:  # an audit is often run inside the folder of the model
        (tmp_path / name).write_text('extends = "llama2"\nname = "theirs"\nreferences = []\n')
    monkeypatch.chdir(tmp_path)
    assert load_policies(()) == (LLAMA2, CODELLAMA)
    assert load_policy("llama2") == LLAMA2
    assert load_policy("./llama2").name == "theirs"
    assert load_policy("./llama2").agreement == LLAMA2.agreement
