"""All claims of a repository in one list, and the repository ids in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.compliance.claims.card import parse_card
from auditor.compliance.claims.gather import Claim, Where, gather
from auditor.compliance.claims.mergekit import parse_mergekit
from auditor.compliance.claims.metadata import parse_adapter_config, parse_config, parse_gguf_metadata
from auditor.compliance.claims.repoid import RepoId, parse_repo_id

# repository ids --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "repo", "revision"),
    [
        ("meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-7b-hf", None),
        (" meta-llama/Llama-2-7b-hf ", "meta-llama/Llama-2-7b-hf", None),
        ("gpt2", "gpt2", None),
        ("a/b.v1_x-2", "a/b.v1_x-2", None),
        ("a/b@main", "a/b", "main"),
        ("a/b@refs/pr/2", "a/b", "refs/pr/2"),
        ("hf://a/b@v1", "a/b", "v1"),
        ("hf://models/a/b", "a/b", None),
        ("https://huggingface.co/a/b", "a/b", None),
        ("http://hf.co/a/b/", "a/b", None),
        ("https://HuggingFace.co/a/b", "a/b", None),
        ("https://huggingface.co/gpt2", "gpt2", None),
        ("huggingface.co/a/b", "a/b", None),
        ("https://huggingface.co/a/b?library=x#y", "a/b", None),
        ("https://huggingface.co/a/b/blob/main/README.md", "a/b", "main"),
        ("https://huggingface.co/a/b/resolve/refs%2Fpr%2F2/x", "a/b", "refs/pr/2"),
        ("https://hf-mirror.com/a/b/tree/main", "a/b", "main"),
        ("https://www.modelscope.cn/models/a/b/summary", "a/b", None),
    ],
)
def test_repository_ids_in_all_their_forms(text: str, repo: str, revision: str | None) -> None:
    found = parse_repo_id(text)
    assert found is not None
    assert (str(found), found.revision) == (repo, revision)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "/", "a/", "/b", "a//b", "a/b/c", "/abs/path", "./models/x", "../../etc/passwd", "org/../name"),
        *(
            "~/x",
            "~",
            "C:\\models\\x",
            "org\\name",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "data:text/html,x",
        ),
        *(
            "org/name%2f..",
            "org/%2e%2e",
            "org/name?x=1",
            "org/name#f",
            "org/name:Q4_K_M",
            "a/b;rm",
            "$(id)/x",
            "`id`/x",
        ),
        *(
            "org/name\n::set-env name=x::y",
            "a/b\x00",
            "a/b\r",
            "a\tb/c",
            "a b/c",
            "a/b\u202e",
            "a/b\x1b[31m",
            "a/\x9b",
        ),
        *("-rf/x", ".hidden/x", "a/.b", "a/b.", "a/b-", "a--b/c", "a..b/c", "a/b.git", "a/b.GIT", "a/b.ipynb"),
        *("x" * 97, "a/" + "b" * 97, "a" * 600, "hf_" + "a" * 34, "org/hf_" + "A1" * 17),
        *("org/name@", "org/name@../../x", "org/name@-x", "org/name@a//b", "org/name@a/", "a/b@c@d"),
        *(
            "https://evil.example/a/b",
            "https://huggingface.co.evil.example/a/b",
            "https://huggingface.co@evil.example/a/b",
        ),
        *("https://user:pw@huggingface.co/a/b", "https://huggingface.co:8080/a/b", "ftp://huggingface.co/a/b"),
        *(
            "https://huggingface.co/",
            "https://huggingface.co/%2e%2e/x",
            "https://[::1/a/b",
            "//huggingface.co/a/b",
        ),
        *(
            "https://huggingface.co/datasets/a/b",
            "https://huggingface.co/spaces/a/b",
            "https://huggingface.co/docs/hub",
        ),
        *("https://huggingface.co/a/b/resolve/..%2f..%2fx/y", "https://www.modelscope.cn/datasets/a/b"),
        *("datasets/a/b", "datasets/a", "spaces/b", "hf://datasets/a/b", "hf://a/b/c.safetensors"),
        *("m\u0435ta-llama/x", "meta\u2010llama/x", "\uff4d\uff45\uff54\uff41/x", "\u0661/x"),
    ],
)
def test_hostile_or_foreign_ids_are_no_ids(text: str) -> None:
    assert parse_repo_id(text) is None


def test_ids_compare_without_case_and_revision() -> None:
    one, two = parse_repo_id("Meta-Llama/llama-2-7B@main"), parse_repo_id("https://hf.co/meta-llama/Llama-2-7b")
    assert one is not None
    assert two is not None
    assert one.key == two.key == "meta-llama/llama-2-7b"


@given(st.text(max_size=60) | st.text(alphabet="abAB01-_./@:%\\ ?#hfspt", max_size=40))
def test_an_id_is_plain_and_reads_back(text: str) -> None:
    found = parse_repo_id(text)
    if found is not None:
        assert parse_repo_id(str(found)) == RepoId(org=found.org, name=found.name)
        for part in (found.org or "x", found.name):
            assert part.isascii()
            assert not set(part) & set("/\\%:@ ")
            assert not part.startswith((".", "-"))


# gathering -------------------------------------------------------------------------------------------------------

CARD = b"""---
license: apache-2.0
license_link: LICENSE
base_model:
- meta-llama/Llama-2-7b-hf
base_model_relation: finetune
datasets:
- someone/llama-2-70b-chat-outputs
- someone/guanaco-llama2-1k
tags:
- open-source
- llama-2
- llama.cpp
---
# Thing

Thing is trained from scratch.

```yaml
models:
- model: a/b
merge_method: linear
```
"""


def said(claims: tuple[Claim, ...]) -> list[tuple[str, str, int | None, str | None]]:
    return [(claim.kind, claim.value, claim.where.line, claim.where.key) for claim in claims]


def test_everything_that_a_card_says_with_its_place() -> None:
    found = gather(cards=[parse_card(CARD, file="README.md")])
    assert found.complete
    assert found.problems == ()
    assert said(found.claims) == [
        ("license", "apache-2.0", 2, "license"),
        ("license-link", "LICENSE", 3, "license_link"),
        ("relation", "finetune", 6, "base_model_relation"),
        ("base-model", "meta-llama/Llama-2-7b-hf", 5, "base_model[0]"),
        ("dataset", "someone/llama-2-70b-chat-outputs", 8, "datasets[0]"),
        ("dataset", "someone/guanaco-llama2-1k", 9, "datasets[1]"),
        ("teacher", "someone/llama-2-70b-chat-outputs", 8, "datasets[0]"),
        ("open-source", "open-source", 11, "tags[0]"),
        ("tag", "llama-2", 12, "tags[1]"),
        ("name", "Thing", 15, None),
        ("from-scratch", "trained from scratch", 17, None),
        ("relation", "merge", 22, "merge_method"),
        ("base-model", "a/b", 21, "models[0].model"),
    ]


def test_claims_of_all_files_stand_together() -> None:
    found = gather(
        cards=[parse_card(b"---\nlicense: mit\n---\n", file="README.md")],
        configs=[parse_config(b'{"_name_or_path": "meta-llama/Llama-2-7b-hf"}', file="config.json")],
        adapters=[
            parse_adapter_config(
                b'{"base_model_name_or_path": "meta-llama/Llama-2-7b-hf", "peft_type": "LORA"}',
                file="adapter_config.json",
            )
        ],
        merges=[parse_mergekit(b"merge_method: slerp\nmodels: [{model: c/d}]\n", file="mergekit_config.yml")],
        ggufs=[
            parse_gguf_metadata(
                {
                    "general.license": "llama2",
                    "general.base_model.count": 1,
                    "general.base_model.0.name": "Llama 2",
                },
                file="x.gguf",
            )
        ],
    )
    assert [(c.kind, c.value, c.where.path) for c in found.claims] == [
        ("license", "mit", "README.md"),
        ("base-model", "meta-llama/Llama-2-7b-hf", "config.json"),
        ("relation", "adapter", "adapter_config.json"),
        ("base-model", "meta-llama/Llama-2-7b-hf", "adapter_config.json"),
        ("relation", "merge", "mergekit_config.yml"),
        ("base-model", "c/d", "mergekit_config.yml"),
        ("license", "llama2", "x.gguf"),
        ("base-model", "Llama 2", "x.gguf"),
    ]
    assert {claim.value for claim in found.of("license")} == {"mit", "llama2"}
    assert [claim.where.path for claim in found.of("license", subject="weights")] == ["x.gguf"]
    assert found.of("teacher") == ()


def test_a_folder_on_its_makers_disk_is_no_base() -> None:
    config = parse_config(b'{"_name_or_path": "/data/models/llama-2-7b"}', file="config.json")
    assert config.bases[0].text == "/data/models/llama-2-7b"
    assert gather(configs=[config]).claims == ()


def test_what_could_not_be_read_makes_the_whole_incomplete() -> None:
    broken = gather(configs=[parse_config(b"[", file="config.json")])
    assert not broken.complete
    assert [problem.path for problem in broken.problems] == ["config.json"]
    assert not gather(cards=[parse_card(b"---\nlicense: no\n---\n", file="README.md")]).complete
    fenced = parse_card(b"```\nmerge_method: ties\nmodels: [*x]\n```\n", file="README.md")
    assert not gather(cards=[fenced]).complete
    assert gather().complete


def test_a_repositorys_own_name_says_whom_a_sentence_is_about() -> None:
    card = parse_card(b"Falcon-7B is an open-source model.\n", file="README.md")
    assert gather(cards=[card]).of("open-source") == ()
    assert gather(cards=[card], repo=parse_repo_id("tiiuae/Falcon-7B")).of("open-source")


def test_a_claim_is_a_value() -> None:
    claim = Claim(kind="license", value="mit", subject="code", where=Where(path="README.md", line=3))
    assert claim == Claim(kind="license", value="mit", subject="code", where=Where(path="README.md", line=3))
    assert claim.in_prose
    assert hash(claim)
