"""Who answers whether a target descends from a base: the auditor, a plain cosine, and a peer."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import arrays
import numpy as np
import venvs
from recipes import CACHE

from auditor.audit import Options, scan
from auditor.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cases import Case
    from numpy.typing import NDArray

MATCH_COSINE = 0.1
"""Mean row cosine above which the plain cosine says "match"."""

PEER_SECONDS = 180
"""Time the peer has for one pair."""

CLAIMS = frozenset({"identical", "derived"})
"""Verdicts that claim descent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the auditor says of a case."""

    verdict: str
    rung: str | None = None
    log10_p: float | None = None
    cosine: float | None = None
    bytes_read: int = 0
    seconds: float = 0.0
    reason: str | None = None

    @property
    def claims(self) -> bool:
        """Descent is claimed."""
        return self.verdict in CLAIMS


def ask_auditor(base: Path, target: Path) -> Answer:
    """Audit a target against a base."""
    started = time.perf_counter()
    try:
        report = scan(str(target), Options(against=(str(base),), licence=False))
    except AuditError as error:
        return Answer(verdict="refused", reason=str(error), seconds=time.perf_counter() - started)
    best = report.lineage.best
    return Answer(
        verdict=report.lineage.verdict,
        rung=best.rung if best else None,
        log10_p=best.log10_p if best else None,
        cosine=best.cosine if best else None,
        bytes_read=report.coverage.bytes_read,
        seconds=time.perf_counter() - started,
        reason=report.lineage.reason,
    )


def plain_cosine(base: Path, target: Path) -> float | None:
    """Return the mean row cosine over all matrices of equal name and shape; None where there are none."""
    ours, theirs = _matrices(base), _matrices(target)
    found: list[NDArray[np.float32]] = []
    for name in ours.keys() & theirs.keys():
        a, b = ours[name], theirs[name]
        if a.shape == b.shape:
            with np.errstate(invalid="ignore", over="ignore"):
                sizes = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
                cosines = np.einsum("ij,ij->i", a, b) / np.maximum(sizes, 1e-30)
            found.append(np.where(np.isfinite(cosines), cosines, 0.0))
    return float(np.concatenate(found).mean()) if found else None


@functools.lru_cache(maxsize=2)
def _matrices(folder: Path) -> dict[str, NDArray[np.float32]]:
    return {name: w for name, w in arrays.read(folder).items() if w.ndim == 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerAnswer:
    """What `provenancekit compare` says: its decision and score, or why there is none.

    `weights` is its score of the weights alone, which it does not ask where the two configs are alike.
    """

    decision: str
    score: float | None = None
    weights: float | None = None
    seconds: float = 0.0

    @property
    def claims(self) -> bool | None:
        """A match is claimed; None where no answer was given."""
        return None if self.score is None else self.decision in {"Confirmed Match", "High-Confidence Match"}


def ask_peer(cases: Iterable[Case]) -> dict[Case, PeerAnswer]:
    """Ask the peer about cases, from answers that were given before where the folders are the same."""
    path = CACHE / "peer" / "answers.json"
    known: dict[str, dict[str, object]] = json.loads(path.read_text()) if path.exists() else {}
    keys = {case: f"{case.base.key} {case.target.key}" for case in cases}
    lacking = {keys[case]: case for case in keys if keys[case] not in known}
    if lacking:
        pairs = [(key, str(case.base.folder()), str(case.target.folder())) for key, case in lacking.items()]
        path.parent.mkdir(parents=True, exist_ok=True)
        for key, answer in _peer_worker(pairs):
            known[key] = asdict(answer)
            path.write_text(json.dumps(known, indent=1))
            print(f"peer: {lacking[key].name}: {answer.decision}, {answer.seconds:.0f} s", file=sys.stderr, flush=True)
    return {case: PeerAnswer(**known[key]) for case, key in keys.items() if key in known}  # type: ignore[arg-type]


def _peer_worker(pairs: list[tuple[str, str, str]]) -> Iterable[tuple[str, PeerAnswer]]:
    command = [venvs.python("peer"), Path(__file__).with_name("peer_worker.py"), str(PEER_SECONDS)]
    env = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
    ) as worker:
        for key, base, target in pairs:
            if worker.stdin is None or worker.stdout is None:  # they are pipes
                raise AssertionError
            try:
                worker.stdin.write(json.dumps([base, target]) + "\n")
                worker.stdin.flush()
                line = worker.stdout.readline()
            except BrokenPipeError:
                line = ""
            if not line:
                yield key, PeerAnswer(decision="the peer ended without an answer")
                return
            yield key, PeerAnswer(**json.loads(line))
