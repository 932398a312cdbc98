from __future__ import annotations

import _thread
import contextlib
import importlib.util
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hubkit import limits
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback_hub import Answer, LoopbackHub

from auditor import __version__
from auditor.errors import HubUnreachable
from auditor.lineage import known
from auditor.lineage.references import table
from auditor.sources.hub_settings import HubSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loopback_hub import Request

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks" / "field"))

import fieldtable
import outcomes
import scanning
import standins

FIELD = Path(outcomes.__file__).parent
SHRINK = 32
VICUNA = "lmsys/vicuna-7b-v1.5"  # a pickle
CODE_LLAMA = "codellama/CodeLlama-7b-hf"
GRANITE = "ibm-granite/granite-7b-base"
MPT = "mosaicml/mpt-7b"
SHEARED = "princeton-nlp/Sheared-LLaMA-1.3B"
MIXTURE = "llama-moe/LLaMA-MoE-v1-3_5B-2_8"
WIDE = "KoboldAI/LLaMA2-13B-Estopia"
REPOS = (VICUNA, CODE_LLAMA, GRANITE, MPT, SHEARED, MIXTURE, WIDE)


def load_run() -> Any:  # noqa: ANN401 (a module)
    spec = importlib.util.spec_from_file_location("field_run", FIELD / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["field_run"] = module
    spec.loader.exec_module(module)
    return module


run = load_run()


class Field:
    """The benchmark on a small Hub of stand-ins."""

    def __init__(self, hub: LoopbackHub, folder: Path) -> None:
        self.hub = hub
        self.folder = folder

    def write_list(self, *repos: str) -> None:
        models = {model.repo: model for model in outcomes.read_models()}
        lines = ["repo,label,relation,source"]
        lines += [f'{repo},{models[repo].label},"{models[repo].relation}","{models[repo].source}"' for repo in repos]
        (self.folder / "models.csv").write_text("\n".join(lines) + "\n")

    def __call__(self, *arguments: str) -> int:
        where = ("--folder", str(self.folder / "out"), "--models", str(self.folder / "models.csv"))
        code: int = run.main([*where, *arguments])
        return code

    @property
    def results(self) -> Path:
        return self.folder / "out" / "results.jsonl"

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.results.read_text().splitlines()]

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "out" / "table.json").read_text())
        return found

    @property
    def page(self) -> str:
        return (self.folder / "out" / "table.md").read_text()

    def asked_about(self, repo: str) -> int:
        return len(self.hub.asked("hub", f"/{repo}/"))


@contextlib.contextmanager
def standing_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        standins.publish(hub, folder / "library", REPOS, shrink=SHRINK)
        settings = hub.settings()
        monkeypatch.setattr(HubSettings, "current", staticmethod(lambda: settings))
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for module in (table, known):
            monkeypatch.setattr(module, "library_folder", lambda: folder / "library")
        yield hub


@pytest.fixture(scope="module")
def sketches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sketches")
    with pytest.MonkeyPatch.context() as monkeypatch, standing_in(folder, monkeypatch):
        scanning.References().for_width(4096 // SHRINK)
    return folder / "cache"


@pytest.fixture
def bare_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Field]:
    with standing_in(tmp_path, monkeypatch) as hub:
        yield Field(hub, tmp_path)


@pytest.fixture
def field(bare_field: Field, sketches: Path) -> Field:
    """Have the reference of 7B already."""
    shutil.copytree(sketches, bare_field.folder / "cache")
    return bare_field


# --- the whole of it -------------------------------------------------------------------------------------


def test_five_models_are_graded_and_what_ended_two_of_them_is_kept(bare_field: Field) -> None:
    field = bare_field
    field.hub.gated.add(CODE_LLAMA)
    del field.hub.repositories[WIDE]
    field.write_list(VICUNA, CODE_LLAMA, GRANITE, MPT, WIDE)

    assert field() == 0

    found = {row["repo"]: row for row in field.data["models"]}
    assert {repo: row["ok"] for repo, row in found.items()} == {
        VICUNA: "found",
        CODE_LLAMA: "error",
        GRANITE: "right",
        MPT: "inconclusive",
        WIDE: "error",
    }
    assert found[VICUNA]["verdict"] == "derived"
    assert found[VICUNA]["rung"] == "aligned-neurons"
    assert found[VICUNA]["log10_p"] < -12
    assert found[VICUNA]["cosine"] == pytest.approx(0.99858, abs=2e-3)
    assert found[VICUNA]["reference"] == "llama-2-7b"
    assert found[VICUNA]["revision"] == field.hub.repositories[VICUNA].commit("main")
    assert found[VICUNA]["bytes"] > 1000
    assert found[CODE_LLAMA]["verdict_shown"] == "gated"
    assert found[WIDE]["verdict_shown"] == "gone"
    assert "no gate" in found[MPT]["reason"]
    assert field.data["confusion"] == {
        "derived": {"found": 1, "error": 2},
        "independent": {"right": 1, "inconclusive": 1},
    }
    assert field.data["references"]["llama-2-7b"]["pinned"] is True
    assert found[VICUNA]["references"] == {"llama-2-7b": field.data["references"]["llama-2-7b"]["sha256"]}

    (line,) = (line for line in field.page.splitlines() if line.startswith(f"| {GRANITE}"))
    assert "| independent (in order only) |" in line
    assert "neurons in another order were not searched for" in field.page
    assert "| derived | 3 | 1 found | 0 missed | 0 | 2 | 0 |" in field.page
    assert "| independent | 2 | 1 right | 0 false alarm | 1 | 0 | 0 |" in field.page
    assert "5 of 5 models" in field.page


def test_a_width_pruned_model_is_held_against_the_next_wider_reference(field: Field) -> None:
    field.write_list(SHEARED)
    field()
    (row,) = field.data["models"]
    assert row["reference"] == "llama-2-7b"
    assert (row["rung"], row["verdict"]) == (None, "inconclusive")  # its neurons cannot lie in place
    assert "neurons in another order were not searched for" in row["reason"]


def test_experts_too_small_for_the_sample_are_inconclusive_and_no_crash(field: Field) -> None:
    field.write_list(MIXTURE)
    assert field() == 0
    (row,) = field.data["models"]
    assert (row["error"], row["verdict"]) == (None, "inconclusive")
    assert "neurons a layer, where the sample reaches to" in row["reason"]


def test_a_sketch_that_is_damaged_is_made_anew(field: Field) -> None:
    (sketch,) = (field.folder / "cache").rglob("*.safetensors")
    sketch.write_bytes(sketch.read_bytes()[:-1] + b"x")
    field.write_list(VICUNA)
    field()
    assert field.data["models"][0]["ok"] == "found"


def test_a_false_alarm_is_an_exit_code(field: Field) -> None:
    field.write_list(VICUNA)
    path = field.folder / "models.csv"
    path.write_text(path.read_text().replace(",derived,", ",independent,"))
    assert field() == 1
    assert field.data["confusion"] == {"independent": {"false alarm": 1}}


def test_a_renamed_repository_is_scanned_under_its_new_name_and_that_is_said(field: Field) -> None:
    field.hub.repositories["other/name"] = field.hub.repositories.pop(VICUNA)
    field.hub.renamed[VICUNA] = "other/name"
    field.write_list(VICUNA)
    assert field() == 0
    assert f"{VICUNA}, now other/name" in field.page


def test_a_defect_met_on_one_model_does_not_end_the_run(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = scanning.audit  # type: ignore[attr-defined]

    def broken(target: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        if target.endswith(VICUNA):
            raise IndexError("tuple index out of range")
        return honest(target, *arguments, **options)

    monkeypatch.setattr(scanning, "audit", broken)
    field.write_list(VICUNA, MPT)
    field()
    assert [row["error"] for row in field.data["models"]] == ["crash", None]
    assert "IndexError: tuple index out of range" in field.page


# --- going on ------------------------------------------------------------------------------------------------


def test_what_was_done_before_ctrl_c_is_not_asked_again(field: Field) -> None:
    field.write_list(VICUNA, CODE_LLAMA, MPT)
    interrupted = threading.Event()

    def interrupt(request: Request, answer: Answer) -> Answer:
        if f"/{CODE_LLAMA}/" in request.path and not interrupted.is_set():
            interrupted.set()
            _thread.interrupt_main()
            time.sleep(0.1)
        return answer

    field.hub.twist = interrupt
    assert field("--parallel", "1") == 3
    assert [line["repo"] for line in field.lines] == [VICUNA]
    assert "1 of 3 models" in field.page

    field.hub.twist = lambda _, answer: answer
    deadline = time.monotonic() + 10
    while any(thread.name.startswith("scan of") for thread in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)  # the one that was under way: its end is not to be taken for a request of the second run
    field.hub.requests.clear()
    assert field() == 0
    assert field.asked_about(VICUNA) == 0
    assert sorted(line["repo"] for line in field.lines) == sorted([VICUNA, CODE_LLAMA, MPT])
    assert "3 of 3 models" in field.page


def test_a_line_that_was_broken_off_is_passed_over_and_loses_no_other(field: Field) -> None:
    field.write_list(VICUNA, MPT)
    assert field("--only", "vicuna") == 0
    whole = field.results.read_bytes()
    field.results.write_bytes(whole + whole[:40])
    field()
    assert field.data["totals"]["done"] == 2
    assert len(outcomes.Results(field.results).latest(hub=field.hub.endpoint, tool_version=__version__)) == 2


def test_results_of_another_version_or_another_hub_do_not_count(tmp_path: Path) -> None:
    results = outcomes.Results(tmp_path / "results.jsonl")
    one = outcomes.Outcome(repo="a/b", hub="public", tool_version="1", date="", verdict="derived")
    results.add(one)
    assert results.latest(hub="public", tool_version="1") == {"a/b": one}
    assert results.latest(hub="public", tool_version="2") == {}
    assert results.latest(hub="stand-ins", tool_version="1") == {}


def test_an_error_is_passed_over_until_it_is_asked_for(field: Field) -> None:
    field.write_list(VICUNA)
    field.hub.gated.add(VICUNA)
    assert field() == 0
    field.hub.gated.clear()
    field.hub.requests.clear()
    assert field() == 0
    assert field.asked_about(VICUNA) == 0
    assert field.data["models"][0]["verdict_shown"] == "gated"
    assert field("--retry") == 0
    assert field.data["models"][0]["ok"] == "found"


def test_a_model_whose_reference_cannot_be_had_waits_for_it(bare_field: Field) -> None:
    field = bare_field
    field.write_list(VICUNA)
    base = standins.reference_models(SHRINK)["llama-2-7b"].repo
    field.hub.gated.add(base)
    field()
    assert field.data["models"][0]["verdict_shown"] == "no reference"
    assert "gated" in field.data["references_lacking"]["llama-2-7b"]
    field.hub.gated.clear()
    field("--retry")
    assert field.data["models"][0]["ok"] == "found"


def test_a_server_in_trouble_is_asked_again_by_the_next_run(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    limits(monkeypatch, hub_tries=1)
    field.write_list(VICUNA, MPT)
    field.hub.twist = lambda request, answer: Answer(status=503) if f"/{MPT}/" in request.path else answer
    assert field("--parallel", "1") == 0
    assert [line["error"] for line in field.lines] == [None, HubUnreachable.code, HubUnreachable.code]
    field.hub.twist = lambda _, answer: answer
    field()
    assert field.data["confusion"] == {"derived": {"found": 1}, "independent": {"inconclusive": 1}}


# --- budgets ---------------------------------------------------------------------------------------------------


def test_a_run_ends_where_one_more_model_could_go_over_its_budget(
    field: Field, capsys: pytest.CaptureFixture[str]
) -> None:
    field.write_list(VICUNA, MPT)
    assert field("--mb-each", "2", "--mb", "2.01", "--parallel", "2") == 3
    assert "one more model could go beyond 2.01 MB; 1 models are left; run it again" in capsys.readouterr().err
    assert [line["repo"] for line in field.lines] == [VICUNA]
    assert field("--mb-each", "2", "--mb", "2.01", "--parallel", "2") == 0
    assert field.data["totals"]["done"] == 2


def test_a_model_that_wants_more_than_its_share_is_inconclusive(field: Field) -> None:
    field.write_list(GRANITE)
    assert field("--mb-each", "0.1") == 0
    assert field.data["models"][0]["ok"] == "inconclusive"
    assert "over-budget" in str(field.data["models"][0]["unread"])


def test_no_scan_begins_after_the_time_is_over(field: Field) -> None:
    field.write_list(VICUNA)
    assert field("--minutes", "0") == 3
    assert field.data["not_done"] == [VICUNA]


def outcome_of(repo: str, **values: Any) -> outcomes.Outcome:  # noqa: ANN401
    return outcomes.Outcome(repo=repo, hub="h", tool_version="1", date="", **values)


@given(
    sizes=st.lists(st.integers(0, 10), min_size=1, max_size=12), total=st.integers(0, 60), parallel=st.integers(1, 4)
)
@settings(max_examples=50, deadline=None)
def test_however_many_run_at_a_time_the_budget_holds(sizes: list[int], total: int, parallel: int) -> None:
    models = [outcomes.Model(repo=str(i), label="derived", relation="", source="") for i in range(len(sizes))]
    noted: list[outcomes.Outcome] = []
    stopped = run.scan_all(
        models,
        lambda repo: outcome_of(repo, verdict="derived", bytes=sizes[int(repo)]),
        budget=run.Budget(each=10, total=total, seconds=60),
        parallel=parallel,
        note=noted.append,
    )
    spent = sum(outcome.bytes for outcome in noted)
    assert spent <= total
    if stopped is None:
        assert {outcome.repo for outcome in noted} == {model.repo for model in models}
    else:
        assert spent + 10 > total


def test_a_server_that_gives_no_answers_ends_the_run() -> None:
    models = [outcomes.Model(repo=str(i), label="derived", relation="", source="") for i in range(9)]
    noted: list[outcomes.Outcome] = []
    stopped = run.scan_all(
        models,
        lambda repo: outcome_of(repo, error=HubUnreachable.code, message="no answer"),
        budget=run.Budget(each=1, total=100, seconds=60),
        parallel=1,
        note=noted.append,
    )
    assert stopped is not None
    assert "3 scans in a row got no usable answer (no answer)" in stopped
    assert len(noted) == 3


# --- words and tables ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "verdict", "grade"),
    [
        ("derived", "derived", "found"),
        ("derived", "identical", "found"),
        ("derived", "independent", "missed"),
        ("derived", "inconclusive", "inconclusive"),
        ("derived", "adapter", "inconclusive"),
        ("independent", "independent", "right"),
        ("independent", "derived", "false alarm"),
        ("independent", "embeddings-shared", "false alarm"),
        ("independent", "inconclusive", "inconclusive"),
    ],
)
def test_a_verdict_is_graded_by_the_label(label: str, verdict: str, grade: str) -> None:
    assert outcome_of("a/b", verdict=verdict).grade(label) == grade
    assert outcome_of("a/b", verdict=verdict, error="gated").grade(label) == "error"


def test_independent_is_qualified_unless_whole_layers_were_searched() -> None:
    assert fieldtable.verdict(outcome_of("a/b", verdict="independent")) == "independent (in order only)"
    assert fieldtable.verdict(outcome_of("a/b", verdict="independent", searched=True)) == "independent"


def test_text_of_a_server_cannot_break_the_table() -> None:
    model = outcomes.Model(repo="a/b", label="derived", relation="", source="")
    outcome = outcome_of("a/b", error="target", message="one\n| two |\x1b[31m")
    page = fieldtable.as_markdown(
        fieldtable.Run(hub="h", models=[model], outcomes={"a/b": outcome}, references=scanning.References())
    )
    assert "one?/ two /?[31m" in page


def test_stand_ins_are_never_taken_for_the_real_models() -> None:
    page = fieldtable.as_markdown(
        fieldtable.Run(hub="stand-ins", models=[], outcomes={}, references=scanning.References())
    )
    assert page.startswith("**These are stand-ins**")


def test_every_listed_model_has_a_stand_in_of_its_label() -> None:
    models = outcomes.read_models()
    drawn = standins.stand_ins()
    assert len(models) == 61
    assert [model.repo for model in models] == list(drawn)
    for model in models:
        assert model.label in {"derived", "independent"}
        assert (drawn[model.repo].origin in scanning.REFERENCES) == (model.label == "derived")


@pytest.mark.parametrize(
    ("width", "name"), [(4096, 0), (5120, 1), (2048, 0), (4097, 1), (8192, 2), (9000, 0), (None, 0)]
)
def test_the_reference_is_chosen_by_width(width: int | None, name: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning.References, "_make", lambda *_, **__: None)
    assert scanning.References().for_width(width) == scanning.REFERENCES[name]


# --- at true size ----------------------------------------------------------------------------------------------


@pytest.mark.integration
def test_five_stand_ins_of_true_size_by_the_command(tmp_path: Path) -> None:
    names = f"{VICUNA},{CODE_LLAMA},LLaMA-MoE-v1-3_5B-2_8,{GRANITE},{MPT}"
    command: list[str | Path] = [sys.executable, FIELD / "run.py", "--stand-ins", "--folder", tmp_path, "--only", names]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = {row["repo"]: row for row in json.loads((tmp_path / "table.json").read_text())["models"]}
    assert [row["ok"] for row in found.values()] == ["found", "found", "inconclusive", "right", "inconclusive"]
    assert found[CODE_LLAMA]["cosine"] == pytest.approx(0.50192, abs=2e-3)  # as published
    assert found[CODE_LLAMA]["bytes"] < 4_000_000
    assert found[GRANITE]["bytes"] < 40_000_000
    assert done.stdout.startswith("**These are stand-ins**")
