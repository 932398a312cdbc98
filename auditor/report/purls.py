"""Package URLs of models: what a bill of materials names them by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from auditor.escape import visible
from auditor.report.locating import target_name

if TYPE_CHECKING:
    from auditor.report.contract import Target

_HUB: Final = "hf://"


def hub_purl(repo: str, revision: str | None = None, *, endpoint: str | None = None) -> str:
    """Return the package URL of a repository on a Hub; the type asks for a commit in lower case.

    Examples
    --------
    >>> hub_purl("meta-llama/Llama-2-7b-hf", "01C7F73D")
    'pkg:huggingface/meta-llama/Llama-2-7b-hf@01c7f73d'
    """
    path = "/".join(quote(part, safe="") for part in repo.split("/"))
    commit = visible(revision or "").strip().lower()
    version = f"@{quote(commit, safe='')}" if commit else ""
    qualifier = f"?repository_url={quote(visible(endpoint), safe=':/')}" if endpoint else ""
    return f"pkg:huggingface/{path}{version}{qualifier}"


def generic_purl(name: str) -> str:
    """Return the package URL of something that no registry of packages holds.

    Examples
    --------
    >>> generic_purl("my model")
    'pkg:generic/my%20model'
    """
    return f"pkg:generic/{quote(name, safe='')}"


def group_and_name(target: Target) -> tuple[str, str]:
    """Return who publishes a target, empty for one that is no repository, and what it is called."""
    parts = [stripped for part in target_name(target).split("/") if (stripped := part.strip())] or ["model"]
    return (parts[-2] if target.kind == "hub" and len(parts) > 1 else "", parts[-1])


def target_purl(target: Target) -> str:
    """Return the package URL of what was audited."""
    group, name = group_and_name(target)
    if target.kind != "hub":
        return generic_purl(name)
    repo = f"{group}/{name}" if group else name
    uri = target.uri.split("#", 1)[0]
    endpoint = None if uri.startswith(_HUB) else uri.removesuffix(repo).rstrip("/")
    return hub_purl(repo, target.revision, endpoint=endpoint)
