"""Virtual environments of tools that tests ask, and that have no place in the tests' own: made once, under a lock."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CACHE = Path(__file__).parents[1] / ".cache" / "venvs"


def python_of(
    name: str,
    *installs: Sequence[str],
    made_by: str | Path = sys.executable,
    variables: Mapping[str, str] | None = None,
    depends_on: object = None,
) -> Path:
    """Return the interpreter of an environment, made now or before; its commands are beside it.

    Parameters
    ----------
    name : str
        Of its folder below `.cache/venvs/`.
    installs : sequence of str
        What `pip install` is told, once for each.
    made_by : str or Path
        Interpreter.
    variables : mapping, optional
        Of the environment that pip runs in.
    depends_on : object, optional
        What else it is made from, as JSON can say it: where that is another, it is made anew.

    Raises
    ------
    subprocess.CalledProcessError
        When it cannot be made. Tests that need it fail then, and do not skip.
    """
    home = CACHE / name
    python, done = home / "bin" / "python", home / "installed"
    wanted = json.dumps([installs, depends_on], indent=1)
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another test process may be making it
        if not done.exists() or done.read_text() != wanted:
            subprocess.run([made_by, "-m", "venv", "--clear", home], check=True)
            # Most of what is installed is never imported: what is gets compiled then.
            pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
            for install in installs:
                subprocess.run([*pip, *install], check=True, env=os.environ | dict(variables or {}))
            done.write_text(wanted)
    return python
