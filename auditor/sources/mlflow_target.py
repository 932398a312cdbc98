"""Names of versions in MLflow's model registry, checked before any URL is made of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from auditor.errors import BadModelUri
from auditor.escape import visible
from auditor.limits import LIMITS

SCHEME = "models:/"

_VERSION = re.compile(r"[1-9][0-9]{0,9}")
_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,255}")
_VERSION_ALIAS = re.compile(r"[vV][0-9]+")
_LOGGED_MODEL = re.compile(r"m-[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MlflowTarget:
    """A version of a registered model: by its number, or by the alias that is on it now.

    Attributes
    ----------
    name : str
    version : str or None
        A number.
    alias : str or None
        Where no number is given.
    """

    name: str
    version: str | None = None
    alias: str | None = None

    def __str__(self) -> str:
        return f"{SCHEME}{self.name}" + (f"/{self.version}" if self.version else f"@{self.alias}")


def is_models_uri(text: str) -> bool:
    """Say whether a target asks for MLflow's registry by its scheme."""
    return text[: len(SCHEME)].lower() == SCHEME


def is_alias(text: str) -> bool:
    """Say whether MLflow takes `text` as an alias."""
    return bool(_ALIAS.fullmatch(text)) and text.lower() != "latest" and not _VERSION_ALIAS.fullmatch(text)


def parse_target(text: str) -> MlflowTarget:
    """Read `models:/name/version` or `models:/name@alias`.

    Raises
    ------
    BadModelUri
        When it names no version of a registered model.

    Examples
    --------
    >>> parse_target("models:/team chat/3")
    MlflowTarget(name='team chat', version='3', alias=None)
    >>> parse_target("models:/chat@approved").alias
    'approved'
    """
    rest = text[len(SCHEME) :] if is_models_uri(text) else ""
    name, slash, version = rest.partition("/")
    alias = ""
    if not slash:
        name, _, alias = rest.rpartition("@")
    if problem := _name_problem(name, rest) or (_version_problem(version) if slash else _alias_problem(alias)):
        raise BadModelUri(f"{visible(text, limit=200)}: {problem}")
    return MlflowTarget(name=name, version=version or None, alias=alias or None)


def _name_problem(name: str, rest: str) -> str:
    if _LOGGED_MODEL.fullmatch(rest):
        return "a logged model is no version of a registered one: register it first"
    if not name:
        return "a version in MLflow's registry is named models:/name/version or models:/name@alias"
    if len(name) > LIMITS.mlflow_model_name:
        return f"no model name is longer than {LIMITS.mlflow_model_name} characters"
    if ":" in name or name in {".", ".."} or visible(name, limit=len(name)) != name:
        return "no model name holds ':' or characters that cannot be seen"
    return ""


def _version_problem(version: str) -> str:
    if version.lower() in {"latest", "none", "staging", "production", "archived"}:
        return "name a version by its number, or by an alias: stages and latest are not what was audited tomorrow"
    return "" if _VERSION.fullmatch(version) else "a version is a number"


def _alias_problem(alias: str) -> str:
    return "" if is_alias(alias) else "an alias is of ASCII letters, digits, '_' and '-', neither latest nor v1"
