"""What a person sees: the real command in a pseudo-terminal, the report with colours and the progress before it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING

import pyte
import pytest
from modelkit import drifted, make_model, safetensors_bytes, write_model
from reportkit import CASES, DERIVED, HOSTILE, UNSAFE, hostile, layer, rendered

from auditor.report.text import carried, sparkline
from auditor.sources import Counting

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from auditor.report import Report

pytestmark = pytest.mark.slow

BASE = make_model(1)
NAME = "pytorch\x1b[31m_model[bold].bin"
"""A hostile file name: an escape, and what rich reads as markup."""
AUDITOR = (sys.executable, "-m", "auditor")
SGR = re.compile(r"\x1b\[([0-9;]*)m")
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
OUTSIDE = {"CI", "TERM", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE", "PYTHONIOENCODING"}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What came out of a command: what it drew at the terminal, and what went into its pipe."""

    code: int
    drawn: str
    piped: str

    @property
    def lines(self) -> list[str]:
        """What was drawn, line by line, without its colours."""
        return [line.rstrip() for line in ESCAPE.sub("", self.drawn).replace("\r\n", "\n").split("\n")]

    @property
    def colours(self) -> list[str]:
        """Every colour that was set; bold and dim are none."""
        codes = [code for match in SGR.finditer(self.drawn) for code in match[1].split(";")]
        return [code for code in codes if code and code not in {"0", "1", "2"}]


class Terminal:
    """A pseudo-terminal of this size, with a command whose output, errors or both go there; the rest to a pipe."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        shown: Sequence[str],
        columns: int = 80,
        env: dict[str, str] | None = None,
    ) -> None:
        self._controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        around = {name: value for name, value in os.environ.items() if name not in OUTSIDE}
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=around | {"TERM": "xterm-256color", "PYTHONUTF8": "1"} | (env or {}),
            stdin=terminal,
            stdout=terminal if "stdout" in shown else subprocess.PIPE,
            stderr=terminal if "stderr" in shown else subprocess.PIPE,
            start_new_session=True,
        )
        os.close(terminal)
        self._bytes = b""

    def read(self) -> bool:
        """Read what is there; False once nobody writes there any more."""
        try:
            part = os.read(self._controller, 65536)
        except OSError:  # how Linux says that the other side was closed
            return False
        self._bytes += part
        return bool(part)

    def until(self, text: str) -> None:
        while text.encode() not in self._bytes:
            assert self.read(), f"{text!r} was never drawn: {self._bytes!r}"

    def write(self, text: str) -> None:
        os.write(self._controller, text.encode())

    def end(self) -> Seen:
        while self.read():
            pass
        os.close(self._controller)
        pipes: list[IO[bytes]] = [pipe for pipe in (self.process.stdout, self.process.stderr) if pipe is not None]
        piped = b"".join(pipe.read() for pipe in pipes)
        for pipe in pipes:
            pipe.close()
        return Seen(code=self.process.wait(60), drawn=self._bytes.decode(errors="replace"), piped=piped.decode())


def screen(drawn: str, columns: int = 80) -> list[str]:
    """Return the lines that are left at a terminal once everything was drawn; the cursor has to be there again."""
    display = pyte.Screen(columns, 200)
    pyte.Stream(display).feed(drawn)
    assert not display.cursor.hidden
    return [line.rstrip() for line in display.display]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `base` and `tuned`, and `tuned.json`: a report with failures, warnings, and a file left unread."""
    folder = tmp_path_factory.mktemp("work")
    write_model(BASE, folder / "base")
    tuned = write_model(drifted(BASE, cosine=0.9), folder / "tuned")
    (tuned / "weights.bin").write_bytes(safetensors_bytes(make_model(2)))
    (tuned / NAME).write_bytes(b"\x80\x02}q\x00.")
    (tuned / "README.md").write_text("---\nlicense: mit\nlicense: mit\n---\n")
    done = subprocess.run(
        [*AUDITOR, "scan", "tuned", "--against", "base", "-f", "json", "-o", "tuned.json"], cwd=folder, check=False
    )
    assert done.returncode == 1
    return folder


def shown(work: Path, *, columns: int = 80, env: dict[str, str] | None = None, report: str = "tuned.json") -> Seen:
    command = [*AUDITOR, "report", report]
    return Terminal(command, cwd=work, shown=["stdout"], columns=columns, env=env).end()


def plain(work: Path, report: str = "tuned.json") -> str:
    env = {name: value for name, value in os.environ.items() if name not in OUTSIDE}
    done = subprocess.run([*AUDITOR, "report", report], cwd=work, env=env, capture_output=True, text=True, check=False)
    return done.stdout


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_scan_in_a_terminal(work: Path, columns: int) -> None:
    command = [*AUDITOR, "scan", "tuned", "--against", "base"]
    seen = Terminal(command, cwd=work, shown=["stdout", "stderr"], columns=columns).end()
    assert seen.code == 1
    lines = [line for line in screen(seen.drawn, columns) if line]
    assert lines[0].startswith("╭─ DERIVED ─")  # and nothing is left of what was drawn before
    assert "the weights share descent with base" in lines[1]
    assert "tuned" in lines[2]
    assert any(re.match(r"cosine +▇{4}", line) for line in lines)
    (header,) = (line.split() for line in lines if line.startswith("status"))
    assert header == ["status", *(["rule"] if columns > 60 else []), "finding", "fix"]
    assert lines[-1].startswith("2 fail, 1 warn, ")
    assert "exit 1" in lines[-1]
    assert "explain: auditor explain FILE-002" in f"{lines[-2]} {lines[-1]}"


@pytest.mark.parametrize("columns", [30, 60, 80, 109, 250])
def test_no_line_is_wider_than_the_terminal(work: Path, columns: int) -> None:
    seen = shown(work, columns=columns)
    widths = {len(line) for line in ESCAPE.sub("", seen.drawn).split("\r\n")}
    assert max(widths) == min(columns, 110)
    assert "Traceback" not in seen.drawn


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_fix_stands_beside_its_finding(work: Path, columns: int) -> None:
    lines = shown(work, columns=columns).lines
    (header,) = (line for line in lines if line.startswith("status"))
    at, fix = header.index("finding"), header.index("fix")
    (beside,) = (line[fix:] for line in lines if line[at:].startswith("File names say what"))
    assert beside == "Rename the file."


def test_colours_by_gravity(work: Path) -> None:
    drawn = shown(work).drawn
    assert "\x1b[1;31m DERIVED \x1b[0m" in drawn
    assert "\x1b[1;31mfail" in drawn
    assert "\x1b[1;33mwarn" in drawn
    (work / "fine.json").write_text(rendered("json", CASES["independent"]))
    assert "\x1b[1;32m INDEPENDENT \x1b[0m" in shown(work, report="fine.json").drawn
    (work / "unread.json").write_text(rendered("json", CASES["inconclusive"]))
    assert "\x1b[1;33m INCONCLUSIVE \x1b[0m" in shown(work, report="unread.json").drawn


def test_no_color_sets_none(work: Path) -> None:
    coloured, seen = shown(work), shown(work, env={"NO_COLOR": "1"})
    assert coloured.colours
    assert seen.colours == []
    assert seen.lines == coloured.lines


def test_force_color_renders_into_a_pipe_but_not_in_ci(work: Path) -> None:
    outcomes = []
    for env in ({"FORCE_COLOR": "1"}, {"FORCE_COLOR": "1", "CI": "true"}):
        seen = Terminal([*AUDITOR, "report", "tuned.json"], cwd=work, shown=[], columns=80, env=env).end()
        outcomes.append("\x1b[" in seen.piped)
    assert outcomes == [True, False]


@pytest.mark.parametrize("env", [{"CI": "true"}, {"TERM": "dumb"}], ids=str)
def test_where_nobody_watches_it_is_the_text_format(work: Path, env: dict[str, str]) -> None:
    seen = shown(work, env=env)
    assert seen.drawn.replace("\r\n", "\n") == plain(work)
    assert seen.drawn.startswith("DERIVED  the weights")


def test_a_pipe_gets_no_escapes(work: Path) -> None:
    text = plain(work)
    assert "\x1b" not in text
    assert text.startswith("DERIVED  ")
    assert max(map(len, text.splitlines())) <= 80
    seen = Terminal([*AUDITOR, "report", "tuned.json"], cwd=work, shown=["stderr"]).end()
    assert (seen.piped, seen.drawn) == (text, "")


def test_a_hostile_name_is_escaped_and_no_markup(work: Path) -> None:
    seen = shown(work, columns=110)
    assert "pytorch\\x1b[31m_model[bold].bin: " in "\n".join(seen.lines)
    assert "pytorch\x1b[31m" not in seen.drawn


@pytest.mark.parametrize("columns", [60, 110])
def test_hostile_text_in_every_place(tmp_path: Path, columns: int) -> None:
    for number, text in enumerate(HOSTILE):
        (tmp_path / f"{number}.json").write_text(rendered("json", hostile(text)))
    code = (
        "import sys; sys.argv[0] = 'auditor'\n"
        "from auditor.cli import app\n"
        f"for number in range({len(HOSTILE)}):\n"
        "    app(['report', f'{number}.json'], standalone_mode=False)\n"
    )
    command = [sys.executable, "-c", code]
    seen = Terminal(command, cwd=tmp_path, shown=["stdout"], columns=columns).end()
    text = "\n".join(seen.lines)
    assert text.count("╭─ DERIVED ─") == len(HOSTILE)
    assert not UNSAFE.search(text)
    assert "[bold red]rich[/]" in text
    assert max(map(len, ESCAPE.sub("", seen.drawn).split("\r\n"))) == columns


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_encoding_without_blocks(work: Path, encoding: str) -> None:
    env = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    seen = shown(work, env=env)
    assert seen.drawn.startswith("\x1b[31m+-")
    assert any(re.match(r"cosine +#{4}", line) for line in seen.lines)
    around = {name: value for name, value in os.environ.items() if name not in OUTSIDE} | env
    command = [*AUDITOR, "report", "tuned.json"]
    done = subprocess.run(command, cwd=work, env=around, capture_output=True, check=False)
    assert b"\ncosine     ####  " in done.stdout
    assert done.stderr == b""


def test_what_an_encoding_cannot_carry_is_spelled_out() -> None:
    assert carried("▁█ é 語", "ascii") == "_@ \\xe9 \\u8a9e"
    assert carried("▁█ é 語", "utf-8") == "▁█ é 語"


# Sparklines


def of_layers(count: int, *, read: int = 1, cosine: float | None = 0.9) -> Report:
    layers = tuple(layer(number, number, cosine) for number in range(0, count, read))
    best = replace(DERIVED, layers=layers, layers_in_model=count)
    return replace(CASES["derived"], lineage=replace(CASES["derived"].lineage, best=best, candidates=(best,)))


@pytest.mark.parametrize("count", [1, 30, 69, 70, 80, 126, 240, 512, 10**9])
def test_sparklines_of_any_depth_fit(count: int) -> None:
    read = max(1, count // 600)
    report = of_layers(count, read=read)
    text = rendered("text", report)
    assert max(map(len, text.splitlines())) <= 80
    line = sparkline(report.lineage.best, width=69)
    assert line is not None
    marks = sum(row.count("█") + row.count("▇") + row.count("·") for row in line.rows)
    assert marks == count or (count > 240 and marks <= 240)
    assert len(line.rows) <= 4
    assert ("layers a mark" in line.caption) == (count > 240)


def test_a_mark_says_how_near_a_layer_is() -> None:
    matches = [layer(0, 0, 1.0), layer(1, 1, 0.55), layer(2, None, 0.01), layer(3, None, None), layer(5, 5, -0.5)]
    line = sparkline(replace(DERIVED, layers=tuple(matches)), width=69)
    assert line is not None
    assert (line.label, line.rows) == ("cosine", ("█▅▁▁·▁",))
    assert line.caption == "0.00 to 1.00 by layer (▁ 0, █ 1, · not read)"
    searched = replace(DERIVED, rung="searched-neurons", layers=(layer(0, 0, 0.0, k=16), layer(1, 1, 0.0, k=8)))
    line = sparkline(searched, width=69)
    assert line is not None
    assert (line.label, line.rows) == ("matched", ("█▅",))
    broken = sparkline(replace(DERIVED, layers=(layer(0, 0, float("nan")),)), width=69)
    assert broken is not None
    assert broken.rows == ("▁",)


def test_of_layers_that_share_a_mark_the_lowest_shows() -> None:
    report = of_layers(480)
    best = report.lineage.best
    assert best is not None
    layers = tuple(replace(one, cosine=0.0) if one.target == 101 else one for one in best.layers)
    line = sparkline(replace(best, layers=layers), width=69)
    assert line is not None
    marks = "".join(row.split()[1] for row in line.rows)
    assert [number for number, mark in enumerate(marks) if mark == "▁"] == [50]


# Progress

SLOW = """
import threading, time
from auditor.cli.progress import Progress

class Far:
    http_requests, http_bytes = 38, 3_100_000

with Progress("hashed", phase="reading layers") as progress:
    {before}
    time.sleep({seconds})
    progress.say("a \\x1b[31mword")
print("done")
"""


def slowly(work: Path, before: str = "progress(1_000_000, 4_000_000)", seconds: float = 0.9, **more: object) -> Seen:
    command = [sys.executable, "-c", SLOW.format(before=before, seconds=seconds)]
    return Terminal(command, cwd=work, **{"shown": ["stderr"]} | more).end()  # type: ignore[arg-type]


def test_hashing_that_takes_a_while_is_drawn_and_gone_at_the_end(work: Path) -> None:
    seen = slowly(work, shown=["stdout", "stderr"])
    assert "1.0/4.0 MB" in seen.drawn
    assert [line for line in screen(seen.drawn) if line] == ["a \\x1b[31mword", "done"]


def test_reads_from_afar_are_drawn(work: Path) -> None:
    assert isinstance(type("Far", (), {"http_requests": 1, "http_bytes": 1})(), Counting)
    assert "reading layers: 3.1 MB in 38 requests" in slowly(work, "progress.watch(Far())").drawn


def test_what_is_quick_stays_quiet(work: Path) -> None:
    assert slowly(work, seconds=0.1).drawn == "a \\x1b[31mword\r\n"


@pytest.mark.parametrize("env", [{"CI": "true"}, {"TERM": "dumb"}], ids=str)
def test_no_progress_where_nobody_watches(work: Path, env: dict[str, str]) -> None:
    assert slowly(work, env=env).drawn == ""
    assert slowly(work, shown=["stdout"], env={"FORCE_COLOR": "1"}).piped == ""


def test_nothing_is_drawn_over_a_question(work: Path) -> None:
    lines = (
        "import typer",
        "progress(1, 4)",
        "time.sleep(0.8)",
        "with progress.silent():",
        "    typer.prompt('Passphrase', hide_input=True, err=True)",
    )
    command = [sys.executable, "-c", SLOW.format(before="\n    ".join(lines), seconds=0.8)]
    terminal = Terminal(command, cwd=work, shown=["stdout", "stderr"])
    terminal.until("Passphrase: ")
    time.sleep(0.5)  # some refreshes would fall into it
    terminal.write("secret\n")
    drawn = terminal.end().drawn
    before, after = drawn.split("Passphrase: ")
    assert "1/4 bytes" in before
    assert after.startswith("\r\n")  # nothing between the question and its answer, which is not shown
    assert "1/4 bytes" in after
    assert [line for line in screen(drawn) if line] == ["Passphrase:", "a \\x1b[31mword", "done"]


def test_an_interrupted_hashing_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with (tmp_path / "model" / "weights.bin").open("wb") as file:
        file.truncate(20_000_000_000)  # sparse
    terminal = Terminal([*AUDITOR, "digest", "model"], cwd=tmp_path, shown=["stdout", "stderr"])
    terminal.until("/20.0 GB")
    os.killpg(terminal.process.pid, signal.SIGINT)
    seen = terminal.end()
    assert seen.code == 130
    assert [line for line in screen(seen.drawn) if line] == []


@pytest.mark.slow
def test_progress_goes_to_the_terminal_and_the_answer_to_the_pipe(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with (tmp_path / "model" / "weights.bin").open("wb") as file:
        file.truncate(2_500_000_000)
    terminal = Terminal([*AUDITOR, "digest", "model", "-f", "json"], cwd=tmp_path, shown=["stderr"])
    seen = terminal.end()
    assert re.search(r"hashed .*[0-9.]+/2\.5 GB [0-9.]+ [MG]B/s  0:00:0[0-9] left", ESCAPE.sub("", seen.drawn))
    assert [line for line in screen(seen.drawn) if line] == []
    assert json.loads(seen.piped)
