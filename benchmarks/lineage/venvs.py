"""Virtual environments of the battery's own, so that torch and other tools stay out of the project's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from recipes import CACHE

PACKAGES = {
    "train": ("torch==2.13.0", "numpy", "safetensors"),
    "real": (
        "torch==2.13.0",
        "transformers==5.24.0",
        "peft==0.21.2",
        "bitsandbytes==0.50.2",
        "accelerate",
        "gguf",
        "cffi",
    ),
    "peer": ("cisco-ai-provenance-kit==1.0.0",),
}
LLAMA_CPP = "@node-llama-cpp/linux-x64@3.22.1"  # ships a built libllama


def python(name: str) -> Path:
    """Return the interpreter of an environment, making it first if it is not there.

    Raises
    ------
    FileNotFoundError
        Where "peer" wants a Python 3.12 and none is found.
    """
    folder = CACHE / f"venv-{name}"
    stamp = folder / ".packages"
    wanted = " ".join(PACKAGES[name])
    if not (stamp.exists() and stamp.read_text() == wanted):
        print(f"making {folder.name}: {wanted}", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([_python312() if name == "peer" else sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", *PACKAGES[name]], check=True)
        stamp.write_text(wanted)
    return folder / "bin" / "python"


def run(name: str, script: str, *arguments: str) -> None:
    """Run one of the battery's scripts in an environment, on one thread."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    subprocess.run([python(name), Path(__file__).with_name(script), *arguments], check=True, env=env)


def llama_cpp() -> Path:
    """Return the folder of llama.cpp's shared libraries, installing them with npm if they are not there."""
    folder = CACHE / "llama-cpp"
    libraries = folder / "node_modules" / "@node-llama-cpp" / "linux-x64" / "bins" / "linux-x64"
    if not libraries.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", LLAMA_CPP],
            check=True, cwd=folder,
        )  # fmt: skip
    return libraries


def _python312() -> str:
    """Find a Python 3.12: the peer takes no earlier one."""
    if sys.version_info >= (3, 12):
        return sys.executable
    shims = [
        *Path.home().glob(".pyenv/versions/3.12*/bin/python"),
        *map(Path, filter(None, [shutil.which("python3.12")])),
    ]
    for path in shims:
        if subprocess.run([path, "--version"], check=False, capture_output=True).returncode == 0:
            return str(path)
    raise FileNotFoundError("a Python 3.12 is needed for cisco-ai-provenance-kit")
