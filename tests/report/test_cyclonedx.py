"""CycloneDX: strictly valid as 1.6 and 1.7, pedigree with evidence, licences that the evidence carries."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given
from hypothesis import strategies as st
from modelkit import drifted, make_model, write_model
from packageurl import PackageURL
from reportkit import CASES, DERIVED, EMBEDDINGS, HOSTILE, INDEPENDENT, declaring, hostile, rendered

from auditor.audit import Options, scan
from auditor.enrolling import sketch
from auditor.lineage import Lineage
from auditor.lineage.merging import Share
from auditor.report import Report, Target
from auditor.report.purls import group_and_name, target_purl
from auditor.sources import FileInfo

GOLDENS = Path(__file__).parent / "goldens"
VALIDATORS = {"1.6": JsonStrictValidator(SchemaVersion.V1_6), "1.7": JsonStrictValidator(SchemaVersion.V1_7)}
COMMIT = "01c7f73d771dfac7d292323805ebc428287df4f9"


def bom(report: Report) -> dict[str, Any]:
    """Render, hold it against both schemas, and return it."""
    text = rendered("cyclonedx", report)
    for version, validator in VALIDATORS.items():
        assert (
            validator.validate_str(text.replace('"1.6"', f'"{version}"').replace("bom-1.6", f"bom-{version}")) is None
        )
    document: dict[str, Any] = json.loads(text)
    return document


def component(report: Report) -> dict[str, Any]:
    return bom(report)["metadata"]["component"]  # type: ignore[no-any-return]


def on_the_hub(uri: str = "hf://acme/Chat", revision: str | None = COMMIT) -> Report:
    return replace(CASES["derived"], target=replace(CASES["derived"].target, uri=uri, kind="hub", revision=revision))


def test_the_validators_can_fail() -> None:
    document = bom(CASES["derived"])
    document["metadata"]["component"]["type"] = "model"
    for validator in VALIDATORS.values():
        assert validator.validate_str(json.dumps(document)) is not None


@pytest.mark.parametrize("case", CASES)
def test_goldens(case: str, update_goldens: bool) -> None:  # noqa: FBT001 (a fixture)
    path = GOLDENS / f"{case}.cyclonedx"
    text = rendered("cyclonedx", CASES[case])
    if update_goldens:
        path.write_text(text)
    assert text == path.read_text()
    bom(CASES[case])


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_valid(text: str) -> None:
    made = hostile(text)
    assert PackageURL.from_string(component(made)["purl"]).type == "generic"
    hub = replace(made, target=replace(made.target, kind="hub", uri=f"hf://{text}/{text}", revision=text))
    assert PackageURL.from_string(component(hub)["purl"]).type == "huggingface"


@given(
    uri=st.text(max_size=30) | st.text(" /.a", max_size=8),
    kind=st.sampled_from(["hub", "local", "memory"]),
    revision=st.none() | st.text(),
)
def test_every_package_url_is_one(uri: str, kind: str, revision: str | None) -> None:
    target = Target(uri=uri, kind=kind, revision=revision, files=())
    parsed = PackageURL.from_string(target_purl(target))
    group, name = group_and_name(target)
    assert (parsed.namespace or "", parsed.name) == (group, name)
    assert PackageURL.from_string(parsed.to_string()) == parsed


def test_a_model_on_the_hub_is_named_by_its_commit() -> None:
    made = component(on_the_hub())
    assert made["purl"] == f"pkg:huggingface/acme/Chat@{COMMIT}"
    assert (made["type"], made["group"], made["name"]) == ("machine-learning-model", "acme", "Chat")
    assert component(on_the_hub(revision=COMMIT.upper()))["purl"] == made["purl"]
    assert component(on_the_hub("https://hub.example/acme/Chat#offline-cache"))["purl"] == (
        f"pkg:huggingface/acme/Chat@{COMMIT}?repository_url=https://hub.example"
    )


def test_the_base_is_an_ancestor_with_its_evidence() -> None:
    (base,) = component(on_the_hub())["pedigree"]["ancestors"]
    assert base["purl"] == "pkg:huggingface/meta-llama/Llama-2-7b-hf"
    (identity,) = base["evidence"]["identity"]
    assert identity["confidence"] == 1.0
    assert identity["methods"][0]["technique"] == "binary-analysis"
    assert "log10 p = -812.4 (exact, corrected)" in identity["methods"][0]["value"]


def test_a_licence_is_concluded_only_where_it_binds_descendants() -> None:
    silent = declaring(CASES["derived"])
    (concluded,) = component(silent)["licenses"]
    assert concluded["license"]["acknowledgement"] == "concluded"
    assert concluded["license"]["name"] == "Llama 2 Community License"
    best = replace(DERIVED, reference="smollm2-135m-instruct")
    made = component(replace(silent, lineage=Lineage(verdict="derived", best=best, candidates=(best,))))
    assert "licenses" not in made
    assert made["pedigree"]["ancestors"][0]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert "licenses" not in component(CASES["adapter-embeddings"])


def test_shared_embeddings_are_a_variant_and_nothing_found_is_none() -> None:
    made = component(CASES["adapter-embeddings"])["pedigree"]
    assert [each["name"] for each in made["variants"]] == ["Llama-2-7b-hf"]
    assert "ancestors" not in made
    for case in ("independent", "inconclusive", "adapter", "empty"):
        assert "pedigree" not in component(CASES[case])


def test_parents_of_a_merge_are_ancestors_and_other_kin_are_variants() -> None:
    assert DERIVED.relation is not None
    shares = tuple(Share(reference=name, weight=0.5, low=0.4, high=0.6) for name in ("llama-2-7b", "own"))
    best = replace(DERIVED, relation=replace(DERIVED.relation, shares=shares))
    found = (best, replace(DERIVED, reference="own"), replace(EMBEDDINGS, reference="kin"), INDEPENDENT)
    made = component(replace(CASES["derived"], lineage=Lineage(verdict="derived", best=best, candidates=found)))
    assert {each["name"] for each in made["pedigree"]["ancestors"]} == {"Llama-2-7b-hf", "own"}
    assert [each["purl"] for each in made["pedigree"]["variants"]] == ["pkg:generic/kin"]


def test_files_carry_the_digests_that_are_known() -> None:
    known = FileInfo(path="model.safetensors", size=3, sha256="ab" * 32, digest_source="computed")
    target = replace(CASES["derived"].target, files=(known,))
    assert component(replace(CASES["derived"], target=target))["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    several = replace(target, files=(known, FileInfo(path="README.md", size=1)))
    listed = component(replace(CASES["derived"], target=several))["components"]
    assert [("hashes" in each, each["name"]) for each in listed] == [(True, "model.safetensors"), (False, "README.md")]


def test_the_same_audit_gives_the_same_bytes_and_another_a_new_serial_number() -> None:
    slower = replace(CASES["derived"], coverage=replace(CASES["derived"].coverage, seconds=99.0))
    assert rendered("cyclonedx", slower) == rendered("cyclonedx", CASES["derived"])
    assert "timestamp" not in rendered("cyclonedx", CASES["derived"])
    assert len({bom(case)["serialNumber"] for case in CASES.values()}) == len(CASES)


def test_what_is_not_known_of_the_weights_stands_in_the_model_card() -> None:
    limits = component(CASES["inconclusive"])["modelCard"]["considerations"]["technicalLimitations"]
    assert any("format: recognised but not read" in limit for limit in limits)
    assert "considerations" not in component(CASES["derived"])["modelCard"]


def test_a_merged_adapter_is_said_to_be_the_users_choice() -> None:
    made = component(CASES["adapter-merged"])
    assert "merged into base for the audit, by the user's choice" in made["pedigree"]["notes"]
    assert [each["name"] for each in made["properties"]].count("auditor:adapter") == 1


def test_a_real_report(tmp_path: Path) -> None:
    base = make_model(1)
    (tmp_path / "s").write_bytes(sketch(str(write_model(base, tmp_path / "base")), name="llama-2-7b"))
    folder = write_model(drifted(base, cosine=0.8), tmp_path / "target", shards=2)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    found = scan(str(folder), Options(against=(str(tmp_path / "s"),), digests="files"))
    made = component(found)
    assert made["name"] == "target"
    declared, concluded = (each["license"] for each in made["licenses"])
    assert declared == {"id": "MIT", "acknowledgement": "declared"}
    assert (concluded["name"], concluded["acknowledgement"]) == ("Llama 2 Community License", "concluded")
    assert all(len(each["hashes"][0]["content"]) == 64 for each in made["components"])
    told = {each["name"]: each["value"] for each in made["properties"]}
    assert told["auditor:finding:CARD-001"].startswith("fail: README.md: ")
