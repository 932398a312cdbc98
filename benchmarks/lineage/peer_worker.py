"""Answer pairs of folders with cisco-ai-provenance-kit, in its own environment: JSON lines in, JSON lines out."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from provenancekit.core.scanner import ModelProvenanceScanner
from provenancekit.exceptions import ProvenanceError
from provenancekit.services.cache import CacheService

if TYPE_CHECKING:
    from types import FrameType


def _too_long(_signal: int, _frame: FrameType | None) -> None:
    raise TimeoutError


def main(seconds: int) -> None:
    """Answer each line; features of a folder that comes again are remembered, as the tool does by default."""
    signal.signal(signal.SIGALRM, _too_long)
    out = sys.stdout
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        scanner = ModelProvenanceScanner(cache=CacheService(cache_dir=Path(folder)))
        for line in sys.stdin:
            started = time.perf_counter()
            answer: dict[str, object] = {"decision": f"no answer in {seconds} s"}
            signal.alarm(seconds)
            try:
                scores = scanner.compare(*json.loads(line)).scores
                answer = {
                    "decision": scores.provenance_decision,
                    "score": scores.pipeline_score,
                    "weights": scores.identity_score,
                }
            except TimeoutError:
                pass
            except (ProvenanceError, ValueError, OSError, KeyError, RuntimeError, TypeError) as error:
                reason = re.sub(r"'[^']*/[^']*'", "the model", " ".join(str(error).split()))  # no path of this machine
                answer = {"decision": f"refused: {reason[:120]}"}
            finally:
                signal.alarm(0)
            print(json.dumps(answer | {"seconds": round(time.perf_counter() - started, 1)}), file=out, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
