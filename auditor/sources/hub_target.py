"""Names of repositories on the Hub, checked before any path or URL is made of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from auditor.errors import BadRepoId
from auditor.escape import visible

SCHEME = "hf://"

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+=-]*")
_LONGEST_NAME, _LONGEST_REVISION = 96, 255
_OTHER_KINDS = frozenset({"datasets", "spaces", "kernels", "buckets", "models", "api"})
"""First parts of the Hub's paths that are no organisation."""

COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubTarget:
    """A model repository, and the revision that the user asks for.

    Attributes
    ----------
    repo : str
        `org/name`.
    revision : str or None
        Branch, tag, `refs/pr/1` or commit; None for the default branch.
    """

    repo: str
    revision: str | None = None

    @property
    def quoted_revision(self) -> str:
        """The revision as one segment of a URL."""
        return quote(self.revision or "main", safe="")

    def __str__(self) -> str:
        return self.repo if self.revision is None else f"{self.repo}@{self.revision}"


def parse_target(text: str) -> HubTarget:
    """Read `org/name`, `org/name@revision`, either with `hf://` before it.

    Raises
    ------
    BadRepoId
        When it names no model repository.

    Examples
    --------
    >>> parse_target("hf://org/name@refs/pr/1")
    HubTarget(repo='org/name', revision='refs/pr/1')
    """
    bare = text[len(SCHEME) :] if is_hub_url(text) else text
    repo, at, revision = bare.partition("@")
    if problem := _repo_problem(repo) or (_revision_problem(revision) if at else ""):
        raise BadRepoId(f"{visible(text, limit=200)}: {problem}")
    return HubTarget(repo=repo, revision=revision if at else None)


def is_hub_url(text: str) -> bool:
    """Say whether a target asks for the Hub by its scheme."""
    return text[: len(SCHEME)].lower() == SCHEME


def is_hub_id(text: str) -> bool:
    """Say whether `text` names a model repository, perhaps with a revision, without a scheme."""
    repo, at, revision = text.partition("@")
    return not _repo_problem(repo) and not (at and _revision_problem(revision))


def is_repo_id(text: str) -> bool:
    """Say whether `text` is the id of a model repository, without scheme and revision."""
    return not _repo_problem(text)


def _repo_problem(repo: str) -> str:
    org, slash, name = repo.partition("/")
    if not slash or "/" in name:
        return "a Hub repository is named org/name"
    if org.lower() in _OTHER_KINDS:
        return f"{org}/ does not hold models; a model repository is named org/name"
    return _name_problem(org) or _name_problem(name)


def _name_problem(part: str) -> str:
    if len(part) > _LONGEST_NAME:
        return f"no Hub name is longer than {_LONGEST_NAME} characters"
    if not _NAME.fullmatch(part):
        return "Hub names are of ASCII letters, digits, '_', '-' and '.', and neither begin nor end with '-' or '.'"
    if "--" in part or ".." in part:
        return "no Hub name holds '--' or '..'"
    if part.lower().endswith((".git", ".ipynb")):
        return "no Hub name ends in .git or .ipynb"
    return ""


def _revision_problem(revision: str) -> str:
    if len(revision) > _LONGEST_REVISION:
        return f"no revision is longer than {_LONGEST_REVISION} characters"
    if not _REVISION.fullmatch(revision) or any(
        not part or part.startswith(".") or part.endswith((".", ".lock")) or ".." in part
        for part in revision.split("/")
    ):
        return "a revision is a branch, a tag, refs/pr/N or a commit"
    return ""
