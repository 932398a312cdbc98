"""Rebuild the SmolLM2 sketch that ships with the project, and its digest in `fingerprints/references.toml`.

python scripts/build_smollm2_sketch.py
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

import smollm2

from auditor.enrolling import sketch

NAME = "smollm2-135m-instruct"
LICENSE = "apache-2.0"
FOLDER = Path(__file__).resolve().parent.parent / "fingerprints"

TABLE = FOLDER / "references.toml"
ENTRY = rf'(?s)(\[reference\.{re.escape(NAME)}\].*?\nsha256 = ")[0-9a-f]{{64}}'


def main() -> None:
    """Write the sketch and its digest."""
    data = sketch(str(smollm2.fetch()), name=NAME, license=LICENSE)
    path = FOLDER / "sketches" / f"{NAME}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    table = TABLE.read_text()
    new, count = re.subn(ENTRY, rf"\g<1>{sha256}", table, count=1)
    if count != 1:
        sys.exit(f"{TABLE}: no entry for {NAME} with a sha256")
    TABLE.write_text(new)
    print(f"{path}: {len(data)} bytes")


if __name__ == "__main__":
    main()
