"""`auditor gate models`: several models, one answer; `auditor report`: the same report in another format."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest
from attestkit import write_sketch, write_tuned
from clikit import Commands
from modelkit import make_model, write_model

from auditor.report.schema import load_schema

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`base.sketch`, a `tuned` model and its attestation by `me.key`, an `other` model, and `broken`."""
    folder = tmp_path_factory.mktemp("gate")
    write_sketch(folder / "base.sketch")
    write_tuned(folder / "tuned")
    write_model(make_model(2, layers=2, hidden=32, neurons=48), folder / "other")
    (folder / "broken").mkdir()
    (folder / "broken" / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture
def run(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Commands:
    for path in made.iterdir():
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUDITOR_AGAINST", "base.sketch")
    return Commands(capsys, monkeypatch)


def write_list(text: str) -> None:
    Path("models.yaml").write_text(text)


def test_each_model_is_audited_and_the_gravest_code_decides(run: Commands) -> None:
    write_list("models:\n- tuned\n- other\n")
    done = run("gate", "models", "models.yaml")
    assert done.code == 0
    assert done.err.splitlines() == [
        "models.yaml:2: tuned: derived base, exit 0",
        "models.yaml:3: other: independent, exit 0",
    ]
    assert done.out.count("\n== ") == 1
    write_list("models:\n- tuned\n- broken\n- nowhere\n")
    done = run("gate", "models", "models.yaml")
    assert done.code == 3
    assert "models.yaml:4: nowhere: inconclusive, exit 3" in done.err
    assert done.err.count("\n") == 3
    write_list("- nowhere\n")
    jsonschema.validate(run("gate", "models", "models.yaml", "-f", "json").json, load_schema())


def test_findings_anywhere_go_before_what_is_incomplete(run: Commands) -> None:
    Path("tuned/config.json").write_text('{"auto_map": {"AutoModel": "modeling.X"}}')
    write_list("[tuned, broken]")
    assert run("gate", "models", "models.yaml", "--fail-on", "warn").code == 1


def test_a_file_for_each_model_or_one_for_all(run: Commands) -> None:
    write_list("- {target: tuned, name: Our Model}\n- other\n- ./other\n")
    done = run("gate", "models", "models.yaml", "-f", "json", "-o", "text=all.txt", "-o", "json=r-{target}.json")
    assert (done.code, done.out) == (2, "")
    assert "json holds one report" in done.err
    done = run("gate", "models", "models.yaml", "-o", "all.txt", "-o", "json=r-{target}.json")
    assert (done.code, done.out) == (0, "")
    names = sorted(path.name for path in Path().glob("r-*"))
    assert names == ["r-Our-Model.json", "r-other-2.json", "r-other.json"]
    assert json.loads(Path(names[0]).read_text())["lineage"]["verdict"] == "derived"
    assert Path("all.txt").read_text().count("== ") == 3


def test_an_entry_has_references_of_its_own(run: Commands) -> None:
    write_list("- {target: other, against: tuned}\n- {target: tuned, against: [other, base.sketch]}\n")
    done = run("gate", "models", "models.yaml", "-o", "json=r-{target}.json")
    assert done.code == 0
    held = [json.loads(Path(f"r-{name}.json").read_text())["lineage"]["candidates"] for name in ("other", "tuned")]
    assert [sorted(c["reference"] for c in candidates) for candidates in held] == [["tuned"], ["base", "other"]]


def test_settings_name_the_models(run: Commands) -> None:
    Path("auditor.toml").write_text('targets = [\n  "tuned",\n  "other",\n]\n')
    done = run("gate", "models")
    assert done.code == 0
    assert done.err.splitlines()[1] == "auditor.toml:3: other: independent, exit 0"


def attested(run: Commands, target: str = "tuned") -> None:
    assert run("keygen", "-o", "me", "--no-passphrase").code == 0
    assert run("attest", target, "--key", "me.key", "-o", "tuned.sigstore.json").code == 0


ATTESTED = "- {target: tuned, attestation: tuned.sigstore.json, key: me.pub}\n"


def test_an_attestation_is_verified_and_nothing_is_audited(run: Commands) -> None:
    attested(run)
    write_list(ATTESTED)
    Path("base.sketch").unlink()  # an audit would want it
    done = run("gate", "models", "models.yaml", "-f", "json")
    assert done.code == 0
    assert done.err == "models.yaml:1: tuned: verified, exit 0\n"
    (finding,) = [finding for finding in done.json["findings"] if finding["id"] == "ATT-001"]
    assert finding["status"] == "pass"
    assert "root sha256 " in finding["evidence"]
    assert done.json["lineage"]["verdict"] == "derived"


@pytest.mark.parametrize("case", ["changed", "another key", "another policy", "no attestation"])
def test_an_attestation_that_does_not_hold_blocks(run: Commands, case: str) -> None:
    attested(run)
    write_list(ATTESTED)
    arguments: tuple[str, ...] = ()
    if case == "changed":
        Path("tuned/README.md").write_text("# Another\n")
    elif case == "another key":
        assert run("keygen", "-o", "you", "--no-passphrase").code == 0
        write_list(ATTESTED.replace("me.pub", "you.pub"))
    elif case == "another policy":
        arguments = ("--strict",)
    else:
        Path("tuned.sigstore.json").unlink()
    done = run("gate", "models", "models.yaml", "-f", "json", *arguments)
    if case == "no attestation":
        assert (done.code, done.json["coverage"]["complete"]) == (3, False)
        return
    assert done.code == 1
    (finding,) = done.json["findings"]
    assert (finding["id"], finding["status"]) == ("ATT-001", "fail")
    assert done.json["lineage"]["verdict"] == "inconclusive"


def test_a_key_that_is_not_there_is_told_before_the_first_audit(run: Commands) -> None:
    write_list("- other\n- {target: tuned, attestation: a.json, key: no.pub}\n")
    done = run("gate", "models", "models.yaml")
    assert (done.code, done.out, done.err) == (2, "", "auditor: no.pub: cannot be read: No such file or directory\n")


def test_a_report_is_shown_again_in_another_format(run: Commands) -> None:
    assert run("scan", "tuned", "-o", "json=r.json").code == 0
    text = run("scan", "tuned").out.splitlines()
    again = run("report", "r.json").out.splitlines()
    assert again[:4] == text[:4]
    assert again[-1] == text[-1]
    assert run("report", "r.json", "-f", "json").out == Path("r.json").read_text()
    Path("r.json").write_text("{}")
    assert run("report", "r.json").err == "auditor: r.json: schema_version: must be a string\n"
