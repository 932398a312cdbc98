"""The command line as a user meets it, with its exit codes and its manners."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import jsonschema
import pytest
from clikit import in_process as auditor
from modelkit import drifted, make_model, write_model

from auditor import __version__
from auditor.report.schema import load_schema

if TYPE_CHECKING:
    from pathlib import Path

BASE = make_model(1)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `base`, `tuned`, `other`, and the sketch `base.sketch`."""
    folder = tmp_path_factory.mktemp("work")
    write_model(BASE, folder / "base", shards=2)
    write_model(drifted(BASE, cosine=0.9), folder / "tuned")
    write_model(make_model(2), folder / "other")
    done = auditor("sketch", "base", "-o", "base.sketch", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_scan_says_derived(work: Path) -> None:
    done = auditor("scan", "tuned", "--against", "base.sketch", cwd=work)
    assert done.returncode == 0
    assert done.stdout.startswith("DERIVED  the weights share descent with base\n")
    assert done.stderr == ""


def test_compare_is_scan_against_without_the_licence(work: Path) -> None:
    reports = [
        json.loads(auditor(*arguments, "--format", "json", cwd=work).stdout)
        for arguments in (("compare", "base.sketch", "tuned"), ("scan", "tuned", "--against", "base.sketch"))
    ]
    for report in reports:
        jsonschema.validate(report, load_schema())
    for part in ("lineage", "target", "exit_code"):
        assert reports[0][part] == reports[1][part]
    assert [finding["id"] for finding in reports[0]["findings"]] == [
        "FILE-001",
        "FILE-002",
        "FILE-003",
        "FILE-004",
        "FILE-007",
        "FILE-008",
        "WVR-001",
    ]
    assert "LIC-001" in {finding["id"] for finding in reports[1]["findings"]}
    assert reports[0]["exit_code"] == 0


def test_a_model_folder_serves_as_reference(work: Path) -> None:
    done = auditor("compare", "base", "tuned", "-f", "json", cwd=work)
    assert json.loads(done.stdout)["lineage"]["reference"] == "base"
    assert json.loads(done.stdout)["lineage"]["verdict"] == "derived"


def test_an_unrelated_model(work: Path) -> None:
    done = auditor("scan", "other", "-a", "base", cwd=work)
    assert done.returncode == 0
    assert done.stdout.startswith("INDEPENDENT")


def test_report_to_a_file(work: Path) -> None:
    done = auditor("scan", "tuned", "-a", "base", "-f", "json", "-o", "report.json", cwd=work)
    assert done.returncode == 0
    assert done.stdout == ""
    assert "derived, exit 0; report in report.json" in done.stderr
    assert json.loads((work / "report.json").read_text())["lineage"]["verdict"] == "derived"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("scan", "tunde"), "tunde: no such file or folder; did you mean tuned?"),
        (("scan", "org/na--me"), "org/na--me: no such file or folder"),
        (("scan", "ftp://host/x"), "ftp: targets are not supported"),
        (("scan", "tuned", "-a", "smollm2-135m-instrukt"), "did you mean smollm2-135m-instruct?"),
        (("scan", "tuned", "-a", "base/model.safetensors.index.json"), "cannot be read whole"),
        (("scan", "tuned", "-a", "base", "-o", "no/such/folder/r"), "no/such/folder/r: there is no such folder"),
        (("scan", "tuned", "-o", "sarf=x"), "did you mean sarif=x?"),
        (("scan", "tuned", "-o", "x", "-o", "y"), "--output y: a second file"),
        (("scan", "tuned", "-o", "json=x", "-o", "sarif=x"), "x: two reports would be written to it"),
        (("sketch", "nowhere", "-o", "x"), "nowhere: no such file or folder"),
        (("scan", "bad\x1b[31m\nname"), "bad\\x1b[31m\\nname: no such file or folder"),
    ],
)
def test_errors_are_one_line_and_exit_2(work: Path, arguments: tuple[str, ...], says: str) -> None:
    before = sorted(work.iterdir())
    done = auditor(*arguments, cwd=work)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("auditor: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert sorted(work.iterdir()) == before  # nothing written, whole or in part


@pytest.mark.parametrize("arguments", [("scan",), ("scan", "tuned", "--format", "xml"), ("nope",), ("sketch", "base")])
def test_wrong_usage_exits_2(work: Path, arguments: tuple[str, ...]) -> None:
    done = auditor(*arguments, cwd=work)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("auditor: ")
    assert done.stderr.count("\n") == 1


def test_inconclusive_is_3_in_ci_or_on_request(work: Path) -> None:
    write_model(make_model(3, layers=1, neurons=6), work / "small")
    auditor("sketch", "small", "-o", "small.sketch", cwd=work)
    few = ("scan", "small", "-a", "small.sketch")
    assert auditor(*few, cwd=work, env={"CI": ""}).returncode == 0
    assert auditor(*few, cwd=work, env={"CI": "true"}).returncode == 3
    assert auditor(*few, "--no-fail-on-incomplete", cwd=work, env={"CI": "true"}).returncode == 0
    assert auditor(*few, "--fail-on-incomplete", cwd=work, env={"CI": ""}).returncode == 3


def test_unread_is_3_and_named(work: Path) -> None:
    folder = write_model(BASE, work / "partly")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")
    done = auditor("scan", "partly", "-a", "base", cwd=work)
    assert done.returncode == 3
    assert "unread     pytorch_model.bin: " in done.stdout


def test_an_empty_folder_is_never_0(work: Path) -> None:
    (work / "empty").mkdir()
    done = auditor("scan", "empty", "-a", "base", cwd=work)
    assert done.returncode == 3
    assert done.stdout.startswith("INCONCLUSIVE")


def test_references_list(work: Path) -> None:
    done = auditor("references", "list", cwd=work)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].split()[:3] == ["smollm2-135m-instruct", "apache-2.0", "shipped"]
    rows = json.loads(auditor("references", "list", "-f", "json", cwd=work).stdout)
    assert rows[0]["name"] == "smollm2-135m-instruct"


def test_version_and_help(work: Path) -> None:
    assert auditor("--version", cwd=work).stdout == f"auditor {__version__}\n"
    for command in ((), ("scan",), ("compare",), ("sketch",), ("references",), ("references", "list")):
        done = auditor(*command, "--help", cwd=work)
        assert done.returncode == 0
        assert "Usage:" in done.stdout


@pytest.mark.parametrize("command", [("--help",), ("scan", "--help"), ("--version",)])
def test_help_imports_nothing_heavy(work: Path, command: tuple[str, ...]) -> None:
    code = (
        "import sys\n"
        "from auditor.cli import app\n"
        f"try: app({list(command)!r})\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'sigstore', 'huggingface_hub', 'rich', 'yaml', 'gguf', 'safetensors', 'torch', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=work, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_a_closed_pipe_is_no_traceback(work: Path) -> None:
    command = f"'{sys.executable}' -m auditor scan tuned -a base -f json | head -c 1"
    done = subprocess.run(command, shell=True, cwd=work, capture_output=True, text=True, check=False)  # noqa: S602
    assert done.stdout == "{"
    assert "Traceback" not in done.stderr
