"""An environment in which this project is installed with the extras that the tests' own does without: Ray and Parquet.

Installed once, as the documentation says to, from this checkout; where it cannot be, the tests that need it fail, and
do not skip.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache" / "extras"
EXTRAS = ("s3", "ray", "parquet")
REQUIREMENTS = ("ray==2.60.0", "pyarrow==26.0.1", "hatchling==1.33.0")
"""Versions of what the extras bring, and what builds the project when pip is asked about it without the network."""


def python() -> Path:
    """Return an interpreter that has the project and its extras; `auditor` and `pip` are beside it."""
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    interpreter, done = CACHE / "bin" / "python", CACHE / "installed"
    with CACHE.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another test process may be installing it
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extras = {name: project["optional-dependencies"][name] for name in EXTRAS}
        wanted = json.dumps([REQUIREMENTS, project["dependencies"], extras], indent=1)
        if not done.exists() or done.read_text() != wanted:
            subprocess.run([sys.executable, "-m", "venv", "--clear", CACHE], check=True)
            install = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS]
            subprocess.run([*install, "--editable", f"{ROOT}[{','.join(EXTRAS)}]"], check=True)
            done.write_text(wanted)
    return interpreter
