"""Names of repositories: hostile ones are refused before any path or URL is made of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from loopback_hub import LoopbackHub

from auditor.errors import BadRepoId
from auditor.sources.hub import HubSource
from auditor.sources.hub_target import HubTarget, is_hub_id, parse_target

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {
    "org/name": ("org/name", None),
    "meta-llama/Llama-2-7b-chat-hf": ("meta-llama/Llama-2-7b-chat-hf", None),
    "01-ai/Yi-1.5-6B": ("01-ai/Yi-1.5-6B", None),
    "_org/name_": ("_org/name_", None),
    "org/n": ("org/n", None),
    "o" * 96 + "/" + "n" * 96: ("o" * 96 + "/" + "n" * 96, None),
    "hf://org/name": ("org/name", None),
    "HF://org/name@main": ("org/name", "main"),
    "org/name@refs/pr/1": ("org/name", "refs/pr/1"),
    "org/name@v1.0+cu-2_x=y": ("org/name", "v1.0+cu-2_x=y"),
    "org/name@" + "0" * 40: ("org/name", "0" * 40),
}

BAD = [
    "",
    "/",
    "org",
    "org/",
    "/name",
    "//name",
    "org//name",
    "org/name/",
    "org/name/file.safetensors",
    "../name",
    "org/..",
    "org/../name",
    "./name",
    "org/.",
    "org/.name",
    "org/name.",
    "-org/name",
    "org/-name",
    "org/name-",
    "org/na--me",
    "org/na..me",
    "org/name.git",
    "org/name.GIT",
    "org/name.ipynb",
    "org/na me",
    " org/name",
    "org/name ",
    "org/name\n",
    "org/name\0",
    "org/na\x1b[31mme",
    "org/na\u202eme",
    "org/n\u00e4me",
    "org/\u0430dmin",
    "org/name\uff0e",
    "org\\name",
    "org/name?x=1",
    "org/name#x",
    "org/name%2f..",
    "%2e%2e/name",
    "org/name;x",
    "org/name:8080",
    "user:hf_secret@host/name",
    "https://evil.example/name",
    "hf:org/name",
    "hf:///org/name",
    "hf://",
    "hf://hf://org/name",
    "datasets/squad",
    "Datasets/squad",
    "datasets/org/name",
    "spaces/name",
    "models/name",
    "api/models",
    "~/name",
    "$HOME/name",
    "o" * 97 + "/name",
    "org/" + "n" * 97,
    "org/" + "n" * 100_000,
]

BAD_REVISIONS = [
    "",
    "/",
    "/main",
    "main/",
    "a//b",
    "..",
    "../x",
    "a/../b",
    "a/..",
    "a..b",
    ".hidden",
    "a/.b",
    "a.",
    "a.lock",
    "-x",
    "a b",
    "a\nb",
    "a\0",
    "a?b",
    "a#b",
    "a%2fb",
    "a\\b",
    "a:b",
    "a~1",
    "a^",
    "a@{1}",
    "\u0430",
    "x" * 256,
]


@pytest.mark.parametrize("text", GOOD)
def test_good_names(text: str) -> None:
    repo, revision = GOOD[text]
    assert parse_target(text) == HubTarget(repo=repo, revision=revision)
    assert is_hub_id(text) == ("://" not in text)


def no_name(text: str, tmp_path: Path) -> None:
    """Nothing is asked of the server, and nothing looked up in the cache."""
    with LoopbackHub() as hub:
        for offline in (False, True):
            with pytest.raises(BadRepoId) as caught:
                HubSource(text, replace(hub.settings(cache=tmp_path), offline=offline))
            assert str(caught.value).isprintable()
            assert len(str(caught.value)) < 500
        assert hub.requests == []


@pytest.mark.parametrize("text", BAD)
def test_bad_names(text: str, tmp_path: Path) -> None:
    no_name(text, tmp_path)
    assert not is_hub_id(text)


@pytest.mark.parametrize("revision", BAD_REVISIONS)
def test_bad_revisions(revision: str, tmp_path: Path) -> None:
    no_name(f"org/name@{revision}", tmp_path)
    assert not is_hub_id(f"org/name@{revision}")


def test_a_revision_is_one_segment_of_a_url() -> None:
    assert parse_target("org/name@refs/pr/1").quoted_revision == "refs%2Fpr%2F1"
    assert parse_target("org/name").quoted_revision == "main"
