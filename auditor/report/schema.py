"""The JSON Schema of the report, as it ships in the package."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import cast


def load_schema() -> dict[str, object]:
    """Return the JSON Schema (draft 2020-12) that every report satisfies."""
    text = files("auditor.report").joinpath("schema.json").read_text(encoding="utf-8")
    return cast("dict[str, object]", json.loads(text))
