"""transformers and torch as independent witnesses: installed once, in an environment of their own.

Nothing here is imported from them: a script of ours runs under that environment's interpreter, and files come back.
Where they cannot be installed the tests that need them fail, and do not skip.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from torchkit import writer

SCRIPTS = Path(__file__).parent / "integration" / "transformers"
CACHE = Path(__file__).parents[1] / ".cache" / "transformers"


class TransformersKitError(RuntimeError):
    """The witnesses could not be asked, which says nothing of the reader."""


@cache
def families() -> Path:
    """Return the folder of the models that `make_families.py` makes, made now or before."""
    script = SCRIPTS / "make_families.py"
    made = CACHE / f"families-{_digest(script.read_bytes())}"
    if not made.exists():
        with tempfile.TemporaryDirectory(dir=_folder(CACHE)) as folder:
            _run(str(writer()), str(script), folder)
            failed = json.loads(Path(folder, "failed.json").read_text())
            if failed:
                raise TransformersKitError(f"could not be made: {failed}")
            shutil.copytree(folder, made)
    return made


def _run(*command: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1800, check=False)
    if done.returncode:
        raise TransformersKitError(f"{' '.join(command)}:\n{done.stderr[-2000:]}")


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
