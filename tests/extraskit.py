"""An environment in which this project is installed with the extras that the tests' own does without: Ray and Parquet.

Installed once, as the documentation says to, from this checkout; where it cannot be, the tests that need it fail, and
do not skip.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from venvkit import python_of

ROOT = Path(__file__).parents[1]
EXTRAS = ("s3", "ray", "parquet")
REQUIREMENTS = ("ray==2.60.0", "pyarrow==26.0.1", "hatchling==1.33.0")
"""Versions of what the extras bring, and what builds the project when pip is asked about it without the network."""


def python() -> Path:
    """Return an interpreter that has the project and its extras; `auditor` and `pip` are beside it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [project["dependencies"], {name: project["optional-dependencies"][name] for name in EXTRAS}]
    here = ("--editable", f"{ROOT}[{','.join(EXTRAS)}]")
    return python_of("extras", (*REQUIREMENTS, *here), depends_on=wanted)
