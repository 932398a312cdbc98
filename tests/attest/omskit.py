"""OpenSSF Model Signing itself, as tests ask it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from model_signing import hashing

if TYPE_CHECKING:
    from pathlib import Path

OURS = ("model.sig", ".cache/huggingface")
"""What we leave out and Model Signing would not by itself."""


def their_manifest(path: Path, *, links: bool = False) -> tuple[dict[str, str], str]:
    """Return the digest of each file by name, in order, and the root, as `Payload` of Model Signing computes it."""
    config = hashing.Config().set_ignored_paths(paths=[path / name for name in OURS]).set_allow_symlinks(links)
    resources = list(config.hash(path).resource_descriptors())
    root = hashlib.sha256(b"".join(r.digest.digest_value for r in resources)).hexdigest()
    return {r.identifier: r.digest.digest_hex for r in resources}, root
