"""sigstore-js as an independent verifier: its packages, installed once, and the scripts that ask it.

It wants `node` (20 or later) and `npm`. Where they are missing the tests that need them fail, and do not skip.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCES = Path(__file__).parent / "integration" / "node"
CACHE = Path(__file__).parents[1] / ".cache" / "node-verify"


class NodeKitError(RuntimeError):
    """The verifier could not be asked, which says nothing of the bundle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What sigstore-js said of a bundle."""

    accepted: bool
    code: str = ""
    message: str = ""
    identity: str = ""
    payload_type: str = ""
    payload: str = ""  # base64


def verify_with_key(bundle: str, public_key_pem: bytes) -> Judgement:
    """Ask whether a bundle is signed with this key, whatever hint it gives of its key."""
    return _ask("verify_key.mjs", {"bundle.json": bundle.encode(), "key.pem": public_key_pem})


def verify_keyless(bundle: str, trusted_root: str, *, identity: str, issuer: str) -> Judgement:
    """Ask whether this identity signed a bundle, by the authorities and logs of a trusted root."""
    files = {"bundle.json": bundle.encode(), "trusted_root.json": trusted_root.encode()}
    return _ask("verify_keyless.mjs", files, identity, issuer)


def _ask(script: str, files: dict[str, bytes], *arguments: str) -> Judgement:
    installed = install()
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in files]
        for path, content in zip(paths, files.values(), strict=True):
            path.write_bytes(content)
        done = _run("node", str(installed / script), *map(str, paths), *arguments, cwd=installed)
    if done.returncode not in {0, 1} or not done.stdout:
        raise NodeKitError(f"{script} gave no judgement:\n{done.stderr}")
    said = json.loads(done.stdout)
    if said["accepted"] != (done.returncode == 0):
        raise NodeKitError(f"{script} exits {done.returncode} and says {done.stdout}")
    said = {name: value for name, value in said.items() if value is not None}
    return Judgement(payload_type=said.pop("payloadType", ""), **said)


@cache
def install() -> Path:
    """Install what `tests/integration/node` asks for, unless that was done before, and return the folder."""
    sources = sorted(path for path in SOURCES.iterdir() if path.is_file())
    version = hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in sources)).hexdigest()[:16]
    target = CACHE / version
    if target.exists():
        return target
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="installing-") as folder:
        made = Path(folder, version)
        made.mkdir()
        for path in sources:
            shutil.copy(path, made)
        # sigstore-js names newer releases of node than it needs
        done = _run("npm", "ci", "--engine-strict=false", "--ignore-scripts", "--no-audit", "--no-fund", cwd=made)
        if done.returncode:
            raise NodeKitError(f"npm ci failed:\n{done.stderr}")
        try:
            made.rename(target)  # whole or not at all, since other tests may be waiting for it
        except OSError:
            if not target.exists():  # else another process was quicker
                raise
    return target


def _run(program: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    path = shutil.which(program)
    if path is None:
        raise NodeKitError(f"{program} is not installed: these tests want Node.js 20 or later, with npm")
    environment = {name: value for name, value in os.environ.items() if name != "NODE_OPTIONS"}
    return subprocess.run(
        [path, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
