"""What the tests of sweeps share: many small repositories on a loopback Hub, here or in a process of its own.

    python tests/sweepkit.py PORT COUNT [DISTINCT]  # serves until it is killed; says "ready" once

The same numbers make the same commits, so a Hub that was killed and started again is the same Hub.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import loopback_hub.hub
from attestkit import BASE, DERIVED
from loopback_hub import Answer, LoopbackHub, Request
from loopback_hub.server import Server
from modelkit import make_model, safetensors_bytes
from reportkit import CASES, hostile

from auditor.listing import Entry
from auditor.report import Place
from auditor.sweep.records import Result, pack
from auditor.sweep.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

HERE = Path(__file__).parent
KINDS = ("derived", "independent", "inconclusive", "identical-weights")
"""What the repositories of `publish_many` hold, in turn."""
VERDICTS = {
    "derived": ("derived", "base"),
    "independent": ("independent", None),
    "inconclusive": ("inconclusive", None),
    "identical-weights": ("derived", "base"),
}
_EXITS = {"derived": 0, "independent": 0, "inconclusive": 3}
OLD, NEW = "2024-01-01T00:00:00.000Z", "2026-06-01T00:00:00.000Z"


def publish_many(hub: LoopbackHub, count: int, *, distinct: int | None = None) -> dict[str, str]:
    """Publish small repositories of one organisation; return the kind of each.

    Of each kind there are `distinct` files of weights, which its repositories have in turn; None for one each.
    """
    config = b'{"model_type": "llama"}'
    weights = {
        "derived": safetensors_bytes(DERIVED),
        "independent": safetensors_bytes(make_model(2, layers=2, hidden=32, neurons=48)),
        "inconclusive": b"\xff" * 64,
        "identical-weights": safetensors_bytes(BASE),
    }
    kinds = {}
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        card = f"---\nlicense: apache-2.0\n---\n# Model {number}\n".encode()
        file = marked(weights[kind], number // len(KINDS) % (distinct or count))
        hub.publish(f"acme/m{number:05}", {"README.md": card, "config.json": config, "model.safetensors": file})
        kinds[f"acme/m{number:05}"] = kind
    return kinds


def marked(weights: bytes, number: int) -> bytes:
    """Return a safetensors file of the same values that is another file; what is none gets other bytes."""
    if weights[:8] == b"\xff" * 8:
        return weights + number.to_bytes(8, "little")
    size = int.from_bytes(weights[:8], "little")
    header = {"__metadata__": {"number": f"{number:08}"}} | json.loads(weights[8 : 8 + size])
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + weights[8 + size :]


def listing(hub: LoopbackHub, *, page: int = 40) -> Callable[[Request, Answer], Answer]:
    """Return a twist that also answers lists of models, in pages, as the Hub does."""

    def answer(request: Request, honest: Answer) -> Answer:
        parts = urlsplit(request.path)
        if request.host != "hub" or parts.path != "/api/models":
            return honest
        asked = parse_qs(parts.query)
        start = int(asked.get("cursor", ["0"])[0])
        wanted = [repo for repo in sorted(hub.repositories) if repo.split("/")[0] == asked["author"][0]]
        records = [_record(hub, repo) for repo in wanted[start : start + page]]
        headers = {"Content-Type": "application/json"}
        if start + page < len(wanted):
            query = f"author={asked['author'][0]}&limit=1000&expand%5B%5D=sha&cursor={start + page}"
            headers["Link"] = f'<{hub.endpoint}/api/models?{query}>; rel="next"'
        return Answer(headers=headers, body=json.dumps(records).encode())

    return answer


def _record(hub: LoopbackHub, repo: str) -> dict[str, Any]:
    number = int(repo[-5:])
    return {
        "id": repo,
        "sha": hub.repositories[repo].refs["main"],
        "lastModified": NEW if number % 2 else OLD,
        "tags": ["license:apache-2.0", *(["odd"] if number % 2 else [])],
        "safetensors": {"parameters": {"F32": 1000 * (number + 1)}, "total": 1000 * (number + 1)},
    }


@contextlib.contextmanager
def hub_process(port: int, count: int, *, distinct: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """Serve repositories from another process, which can be killed."""
    command = [sys.executable, str(HERE / "sweepkit.py"), *map(str, (port, count, *([distinct] if distinct else [])))]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def _serve(port: int, count: int, distinct: int | None = None) -> None:
    first = True

    class Fixed(Server):
        def server_bind(self) -> None:
            nonlocal first
            if first:  # the endpoint; storage takes any
                self.server_address = ("127.0.0.1", port)
                first = False
            super().server_bind()

    loopback_hub.hub.Server = Fixed
    hub = LoopbackHub()
    hub.twist = lambda _, honest: replace(honest, status=503)  # what is not published yet is not missing
    publish_many(hub, count, distinct=distinct)
    hub.twist = listing(hub)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        hub.requests.clear()
        time.sleep(1)


def children(pid: int) -> list[int]:
    """Return the worker processes of a sweep."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            with contextlib.suppress(OSError):
                if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
    return found


def environment(endpoint: str, home: Path) -> dict[str, str]:
    """Return the variables of a command that reaches this Hub and nothing else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "AUDITOR_"))}
    return kept | {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home / "hf"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "NO_PROXY": "127.0.0.1",
        "OPENBLAS_NUM_THREADS": "1",
        "CI": "",
    }


@dataclass
class Held:
    """What a store holds, read by nothing of ours."""

    states: dict[str, str] = field(default_factory=dict)
    verdicts: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    results: dict[str, int] = field(default_factory=dict)


def held(path: Path) -> Held:
    """Read a store with SQLite alone."""
    connection = sqlite3.connect(path, timeout=30)
    try:
        found = Held()
        for entry, state, verdict, reference, count in connection.execute(
            "SELECT target.entry, target.state, result.verdict, result.reference, "
            "(SELECT count(*) FROM result AS r WHERE r.target = target.id) "
            "FROM target LEFT JOIN result ON result.id = target.result"
        ):
            name = json.loads(entry)["target"].removeprefix("hf://")
            assert name not in found.states
            found.states[name] = state
            found.results[name] = count
            if verdict is not None:
                found.verdicts[name] = (verdict, reference)
        return found
    finally:
        connection.close()


def entry(target: str, **changes: Any) -> Entry:  # noqa: ANN401 (any field)
    return replace(Entry(target=target, place=Place(path="list.txt", line=1)), **changes)


def result(document: dict[str, object], *, revision: str = "a" * 40, **changes: Any) -> Result:  # noqa: ANN401
    made = Result(
        revision=revision,
        key="k",
        state="done",
        verdict="derived",
        reference="base",
        exit_code=0,
        report=pack(document),
        bytes=100,
        requests=5,
        seconds=0.5,
        tries=1,
        error_code=None,
        error=None,
        finished=1_780_000_000.0,
    )
    return replace(made, **changes)


def write_store(path: Path, names: list[str], *, reports: bool = False) -> Path:
    """Write a store in which targets have these names; of hostile reports where asked."""
    with Store(path) as store:
        round_ = store.begin_round("s", "hf:<b>/*")
        store.enqueue(round_, [(entry(name, name=f"name of {name}"), None, None) for name in names])
        number = 0
        while queued := store.lease(round_, seconds=60):
            case = list(_EXITS)[number % 3]
            report = hostile(queued.entry.target) if reports else CASES[case]
            made = result(report.as_dict(), verdict=case, reference=queued.entry.target, exit_code=_EXITS[case])
            if number % 5 == 4:
                made = replace(made, state="failed", error_code="worker-died", error=f"{queued.entry.target} died")
            store.finish(queued.id, made)
            number += 1
        store.enqueue(round_, [(entry("waits"), None, None)])
        store.end_round(round_)
    return path


def auditor(*arguments: str | Path) -> Sequence[str]:
    return [sys.executable, "-m", "auditor", *map(str, arguments)]


if __name__ == "__main__":
    _serve(*map(int, sys.argv[1:]))
