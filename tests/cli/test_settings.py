"""Settings of a user: where they are looked for, what wins over what, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
import typer
from clikit import Commands
from modelkit import drifted, make_model, write_model

from auditor import settings
from auditor.cli import app, options
from auditor.errors import ConfigError
from auditor.report import FORMATS
from auditor.settings import CHOICES, KINDS, find_settings, parse_settings
from auditor.usertoml import SETTINGS


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `base` and `tuned`; the card of `tuned` names a licence that its weights do not allow."""
    folder = tmp_path_factory.mktemp("models")
    base = make_model(1)
    write_model(base, folder / "base")
    write_model(drifted(base, cosine=0.9), folder / "tuned")
    (folder / "tuned" / "config.json").write_text('{"auto_map": {"AutoModel": "modeling.X"}}')  # FILE-006 warns
    return folder


@pytest.fixture
def run(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Run a command in an empty folder beside the models."""
    for name in ("base", "tuned"):
        (tmp_path / name).symlink_to(models / name)
    monkeypatch.chdir(tmp_path)

    return Commands(capsys, monkeypatch)


def test_the_tables_agree_with_each_other_and_with_the_command_line() -> None:
    assert tuple(KINDS) == SETTINGS
    assert set(CHOICES) <= set(SETTINGS)
    enums = {"fail-on": options.FailOn, "format": options.Format, "profile": options.ProfileName}
    for key, kinds in {**enums, "layers": options.Layers}.items():
        assert CHOICES[key] == tuple(kinds), key
    assert CHOICES["format"] == FORMATS
    scan = typer.main.get_command(app).commands["scan"]  # type: ignore[attr-defined]
    known = {name for param in scan.params for name in param.opts}
    assert {f"--{key}" for key in SETTINGS if key != "targets"} <= known
    assert get_args(settings.Kind)


def test_settings_stand_in_for_options(run: Commands) -> None:
    Path("auditor.toml").write_text(
        'against = ["base"]\nformat = "json"\nfail-on = "warn"\noutput = ["sarif=a.sarif"]\n'
    )
    done = run("scan", "tuned")
    assert (done.json["lineage"]["verdict"], done.code) == ("derived", 1)
    assert Path("a.sarif").is_file()


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    run: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("auditor.toml").write_text('against = "base"\nfail-on = "warn"\n')
    assert run("scan", "tuned").code == 1
    monkeypatch.setenv("AUDITOR_FAIL_ON", "never")
    assert run("scan", "tuned").code == 0
    assert run("scan", "tuned", "--fail-on", "warn").code == 1
    monkeypatch.setenv("AUDITOR_FAIL_ON", "sometimes")
    done = run("scan", "tuned")
    assert (done.code, done.out) == (2, "")
    assert "AUDITOR_FAIL_ON" in done.err


def test_pyproject_is_read_where_it_speaks_of_us(run: Commands) -> None:
    Path("pyproject.toml").write_text('[project]\nname = "auditor-user"\n')
    assert find_settings(Path()) is None
    Path("pyproject.toml").write_text(
        '[tool.auditor]\nagainst = ["base"]\nfail-on = "warn"\n'
        "[[tool.auditor.waiver]]\n"
        'rule = "FILE-006"\nsubject = "*"\nreason = "read by us"\nowner = "me"\nexpires = 2027-01-31\n'
    )
    done = run("scan", "tuned", "-f", "json")
    assert done.code == 0
    (waived,) = [finding for finding in done.json["findings"] if finding["id"] == "FILE-006"]
    assert (waived["status"], waived["waived_until"]) == ("warn", "2027-01-31")


def test_an_auditor_toml_wins_over_pyproject(run: Commands) -> None:
    Path("pyproject.toml").write_text('[tool.auditor]\nfail-on = "never"\n')
    Path("auditor.toml").write_text('against = "base"\nfail-on = "warn"\n')
    assert run("scan", "tuned").code == 1


def test_what_a_target_brings_along_is_not_used(run: Commands, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(models / "tuned")
    own = Path("auditor.toml")
    own.write_text('fail-on = "never"\n')
    try:
        done = run("scan", ".", "-a", str(models / "base"), "--fail-on", "warn")
        assert done.code == 1
        assert "auditor.toml lies in the target itself and is not used" in done.err
        assert run("scan", ".", "-a", str(models / "base"), "--config", "auditor.toml").code == 0
        assert run("scan", str(models), "-a", str(models / "base")).err.startswith("auditor: auditor.toml lies in")
    finally:
        own.unlink()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fail_on = 'warn'", "fail_on: unknown table; did you mean fail-on?"),
        ("fail-on = 'wan'", "fail-on: none of its values; did you mean warn? (found 'wan')"),
        ("strict = 'yes'", "strict: must be true or false"),
        ("against = [1]", "against: must be a list of texts"),
        ("against = ['']", "against: must be a list of texts"),
        ("max-bytes = -1", "max-bytes: must be a number of bytes"),
        ("max-bytes = true", "max-bytes: must be a number of bytes"),
        ("base = ['x']", "base: must be a text"),
        ("[format]", "format: must be a text"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_settings(text.encode(), file="auditor.toml")
    assert f"auditor.toml: {says}" in str(refused.value)


def test_a_refusal_is_one_line_and_no_audit(run: Commands) -> None:
    Path("auditor.toml").write_text("tagets = ['x']\n")
    done = run("scan", "tuned")
    assert (done.code, done.out) == (2, "")
    assert done.err == "auditor: auditor.toml: tagets: unknown table; did you mean targets?\n"


def test_what_a_command_has_no_option_for_is_left(run: Commands) -> None:
    Path("auditor.toml").write_text('format = "html"\noutput = ["sarif=x.sarif"]\nquick = true\n')
    done = run("digest", "base")
    assert done.code == 0
    assert not Path("x.sarif").exists()


@pytest.mark.parametrize("value", ["20000000", '"20MB"'])
def test_sizes_are_numbers_or_texts(run: Commands, value: str) -> None:
    Path("auditor.toml").write_text(f'against = "base"\nmax-bytes = {value}\n')
    assert run("scan", "tuned").code == 0


def test_a_baseline_covers_what_it_has_and_nothing_graver(run: Commands) -> None:
    arguments = ("scan", "tuned", "-a", "base", "--fail-on", "warn")
    assert run(*arguments, "-o", "json=before.json").code == 1
    done = run(*arguments, "--baseline", "before.json", "-f", "json")
    assert done.code == 0
    marked = {finding["id"] for finding in done.json["findings"] if finding["in_baseline"]}
    assert marked == {"FILE-006"}
    before = json.loads(Path("before.json").read_text())
    for finding in before["findings"]:
        if finding["id"] == "FILE-006":
            finding["status"] = "manual"  # graver now than it was then
    Path("milder.json").write_text(json.dumps(before))
    assert run(*arguments, "--baseline", "milder.json").code == 1


def test_a_baseline_of_another_model_covers_nothing(run: Commands) -> None:
    arguments = ("scan", "tuned", "-a", "base", "--fail-on", "warn")
    run(*arguments, "-o", "json=before.json")
    report = json.loads(Path("before.json").read_text())
    exchanged = report | {"lineage": report["lineage"] | {"verdict": "independent"}}
    elsewhere = report | {"target": report["target"] | {"uri": "another"}}
    for name, changed in (("exchanged", exchanged), ("elsewhere", elsewhere)):
        Path(name).write_text(json.dumps(changed))
        done = run(*arguments, "--baseline", name, "-f", "json")
        assert done.code == 1, name
        (said,) = [finding for finding in done.json["findings"] if finding["id"] == "BSL-001"]
        assert said["status"] == "warn"


@pytest.mark.parametrize("data", ["", "[]", "{}", '{"findings": 1}', "[" * 100_000])
def test_a_broken_baseline_is_refused_before_the_audit(run: Commands, data: str) -> None:
    Path("before.json").write_text(data)
    done = run("scan", "tuned", "--baseline", "before.json")
    assert (done.code, done.out) == (2, "")
    assert done.err == "auditor: before.json: not a JSON report of `auditor scan`\n"
