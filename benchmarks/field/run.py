"""The field benchmark: 61 public models whose descent is known, held against Llama 2 by repository name.

    make field                                             # or: python benchmarks/field/run.py
    python benchmarks/field/run.py --stand-ins             # the same without the Hub: nothing real is measured
    python benchmarks/field/run.py --stand-ins --endpoint URL --folder F    # served by `standins.py F/library`

The models are those that published papers tell derived from Llama 2 or independent of it (`models.csv`). Needed are the
Hub and, for the gated repositories (Llama 2 70B as a reference; some models), a token of an account that accepted their
terms. Everything is what `auditor scan` does by itself, without the licence part, but that one reference is chosen by
the hidden size which the config states, the next wider where none has it: so width-pruned models are held against
something, and no model against two.

A run may be broken off: each model is one line of `results.jsonl`, and done when its line is there by this version of
the tool. Errors are kept with their reason and passed over; `--retry` asks again. Failures of the line or the server
are asked again anyway. At most `--mb-each` of a model and `--mb` of all in one run are read: no scan begins that could
go beyond, which holds however many run at a time; `--minutes` is when the last one begins.

Three models are scanned at a time, in threads of one process: all 61 take two to three minutes of one core, the rest is
waiting, and processes could not share the references as they are made. Nine stand-ins 40 ms away took 66 s one at a
time, 40 s by threes and 42 s by sixes (two cores, busy). The Hub allows an unknown address 500 requests to its API and
3,000 to files in any five minutes (its page on rate limits, 2026); all 61 together send some 130 and 400, for the
ranges go to the storage behind the redirects. A server that asks to wait is obeyed by each scan; one that asks for more
than a minute ends it, and the model comes again at the end of the run. Three such in a row end the run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)] if str(HERE) not in sys.path else []

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from outcomes import Model, Outcome

CACHE = HERE.parents[1] / ".cache" / "field"
MB = 1_000_000
FAILED_IN_A_ROW = 3  # for reasons that are not the model's: then the server is not to be had


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a run may take.

    Attributes
    ----------
    each, total : int
        Bytes of one model, and of all.
    seconds : float
        After which no scan begins.
    """

    each: int
    total: int
    seconds: float

    def refusal(self, *, spent: int, under_way: int, elapsed: float) -> str | None:
        """Say why no further scan may begin; None where one may."""
        if elapsed > self.seconds:
            return f"the {self.seconds / 60:g} minutes are over"
        if spent + (under_way + 1) * self.each > self.total:
            return f"{spent / MB:.1f} MB are read, and one more model could go beyond {self.total / MB:g} MB"
        return None


def scan_all(
    models: Sequence[Model],
    scan: Callable[[str], Outcome],
    *,
    budget: Budget,
    parallel: int,
    note: Callable[[Outcome], None],
    also_spent: Callable[[], int] = lambda: 0,
) -> str | None:
    """Scan models, several at a time.

    Parameters
    ----------
    models : sequence of Model
    scan : callable
        Of a repository.
    budget : Budget
    parallel : int
    note : callable
        Given each outcome when it is there, in this thread.
    also_spent : callable
        Bytes read beside the scans.

    Returns
    -------
    str or None
        Why it ended before all models were done.
    """
    waiting = deque(model.repo for model in models)
    again: set[str] = set()
    outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    started, spent, under_way, failed = time.monotonic(), 0, 0, 0
    while waiting or under_way:
        why = None
        while waiting and under_way < parallel:
            elapsed = time.monotonic() - started
            why = budget.refusal(spent=spent + also_spent(), under_way=under_way, elapsed=elapsed)
            if why is not None:
                break
            repo = waiting.popleft()
            # Daemons, so that Ctrl-C ends the run and not only its beginning.
            name = f"scan of {repo}"
            threading.Thread(target=lambda repo=repo: outcomes.put(scan(repo)), name=name, daemon=True).start()
            under_way += 1
        if not under_way:
            return f"{why}; {len(waiting)} models are left"
        outcome = outcomes.get()
        under_way -= 1
        spent += outcome.bytes
        note(outcome)
        failed = failed + 1 if outcome.passing else 0
        if outcome.passing and outcome.repo not in again:
            again.add(outcome.repo)
            waiting.append(outcome.repo)
        if failed >= FAILED_IN_A_ROW:
            return f"{failed} scans in a row got no usable answer ({outcome.message or outcome.reason})"
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Scan what is not done, write the table; return 0, 1 after a false alarm, 3 where models are left."""
    options = _parser().parse_args(arguments)
    options.folder = options.folder or (CACHE / "stand-ins" if options.stand_ins else CACHE)
    with _place(options):
        return run(options)


def run(options: argparse.Namespace) -> int:
    """Run where the environment says."""
    # Here, for huggingface_hub reads the environment when it is imported.
    import fieldtable  # noqa: PLC0415
    import outcomes  # noqa: PLC0415
    import scanning  # noqa: PLC0415

    from auditor import __version__  # noqa: PLC0415

    models = outcomes.read_models(options.models)
    if options.only:
        models = [model for model in models if any(part in model.repo for part in options.only.split(","))]
    hub = _name_of_hub(stand_ins=options.stand_ins)
    results = outcomes.Results(options.folder / "results.jsonl")
    done = results.latest(hub=hub, tool_version=__version__)
    todo = outcomes.left(models, done, retry=options.retry)
    references = scanning.References()
    scanner = scanning.Scanner(references=references, hub=hub, max_bytes=int(options.mb_each * MB))
    budget = Budget(each=scanner.max_bytes, total=int(options.mb * MB), seconds=options.minutes * 60)
    count = len(models) - len(todo)
    print(f"{len(models)} models, {count} done before, at {hub}", file=sys.stderr)

    def note(outcome: Outcome) -> None:
        results.add(outcome)
        said = fieldtable.verdict(outcome)
        print(f"{outcome.repo}: {said}, {outcome.bytes / MB:.1f} MB, {outcome.seconds:.1f} s", file=sys.stderr)

    try:
        stopped = scan_all(
            todo,
            scanner.scan,
            budget=budget,
            parallel=options.parallel,
            note=note,
            also_spent=lambda: references.bytes_built,
        )
    except KeyboardInterrupt:
        stopped = "broken off"
    known = results.latest(hub=hub, tool_version=__version__)
    references.recall(name for outcome in known.values() for name in outcome.references)
    table = fieldtable.Run(hub=hub, models=models, outcomes=known, references=references)
    page = fieldtable.as_markdown(table)
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "table.md").write_text(page, encoding="utf-8")
    (options.folder / "table.json").write_text(json.dumps(fieldtable.as_data(table), indent=1), encoding="utf-8")
    print(page)
    if stopped is not None:
        print(f"stopped: {stopped}; run it again to go on", file=sys.stderr)
        return 3
    return 1 if any(counts["false alarm"] for counts in table.confusion().values()) else 0


def _name_of_hub(*, stand_ins: bool) -> str:
    from auditor.sources.hub_settings import HubSettings  # noqa: PLC0415

    settings = HubSettings.current()
    return "stand-ins" if stand_ins else "public" if settings.is_public_hub else settings.endpoint


@contextlib.contextmanager
def _place(options: argparse.Namespace) -> Iterator[None]:
    """Set the environment: which Hub, which library, whose cache."""
    if options.stand_ins and not options.endpoint:
        command = [sys.executable, HERE / "standins.py", options.folder / "library"]
        pipe = subprocess.PIPE
        # In a session of its own, for Ctrl-C ends this process and not yet the server.
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as server:
            try:
                assert server.stdout is not None  # noqa: S101 (a pipe was asked for)
                endpoint = server.stdout.readline().strip()
                if not endpoint:  # never the public Hub under the stand-ins' name
                    sys.exit("the stand-ins are not served: see above")
                os.environ["HF_ENDPOINT"] = endpoint
                _use_library(options.folder)
                yield
            finally:
                server.terminate()
        return
    if options.endpoint:
        os.environ["HF_ENDPOINT"] = options.endpoint
    if options.stand_ins:
        _use_library(options.folder)
    yield


def _use_library(folder: Path) -> None:
    """Take the library of the stand-ins, and keep sketches apart: none may pass for a real one's."""
    from auditor.lineage import known  # noqa: PLC0415
    from auditor.lineage.references import table  # noqa: PLC0415

    os.environ["XDG_CACHE_HOME"] = str((folder / "cache").resolve())
    os.environ["HF_HUB_CACHE"] = str((folder / "hub").resolve())
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        os.environ.pop(variable, None)
    os.environ["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"  # noqa: S105 (the opposite of one)
    for module in (table, known):
        vars(module)["library_folder"] = lambda: folder / "library"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Hold public models of known descent against Llama 2.")
    parser.add_argument("--endpoint", metavar="URL", help="another Hub than HF_ENDPOINT names")
    parser.add_argument(
        "--stand-ins", action="store_true", help="models of the same names and shapes, drawn: served here, or there"
    )
    parser.add_argument("--models", type=Path, metavar="FILE", help="another list than models.csv")
    parser.add_argument("--only", metavar="NAMES", help="repositories with one of these in their name, comma-separated")
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="of results.jsonl, table.md and table.json")
    parser.add_argument("--retry", action="store_true", help="ask again for models that ended in an error")
    parser.add_argument("--mb-each", type=float, default=40, metavar="MB", help="read at most this of a model (40)")
    parser.add_argument("--mb", type=float, default=1000, metavar="MB", help="read at most this in one run (1000)")
    parser.add_argument("--minutes", type=float, default=30, help="begin no scan after this (30)")
    parser.add_argument("--parallel", type=int, default=3, metavar="N", help="scans at a time (3)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
