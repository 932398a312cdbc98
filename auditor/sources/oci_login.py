"""How a registry wants to be asked, and which credentials Docker keeps for it. Pure but for one file that is read."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard
from urllib.parse import urlencode

from auditor.errors import OciDenied
from auditor.limits import LIMITS
from auditor.sources.hub_settings import Origin
from auditor.sources.oci_target import is_loopback

if TYPE_CHECKING:
    from auditor.sources.oci_target import OciTarget

_DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_SCHEME = re.compile(r"(?:^|,)\s*(Bearer|Basic)(?=\s|,|$)", re.IGNORECASE)
_PARAMETER = re.compile(r'\b(realm|service)="([^"\\]*)"', re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What we can show a registry.

    Attributes
    ----------
    basic : str or None
        `user:password` in base64, as Docker keeps it. Never part of a representation or a message.
    bearer : str or None
        A token for the registry itself. Likewise.
    helper : bool
        Docker keeps the credentials in a program, which is not run.
    """

    basic: str | None = field(default=None, repr=False)
    bearer: str | None = field(default=None, repr=False)
    helper: bool = False

    @property
    def secrets(self) -> tuple[str, ...]:
        """Everything that no message may hold."""
        found = [secret for secret in (self.basic, self.bearer) if secret]
        if self.basic:
            found.append(base64.b64decode(self.basic).decode("utf-8", "replace").partition(":")[2])
        return tuple(secret for secret in found if secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What a registry answers when it wants to know who asks.

    Attributes
    ----------
    token_url : str or None
        Where a token is to be had; None where user and password are to be sent as they are.
    """

    token_url: str | None


def stored_login(target: OciTarget) -> Login:
    """Return what Docker's config file has for a registry: `$DOCKER_CONFIG/config.json`, or that below `~/.docker`.

    Raises
    ------
    OciDenied
        The file is there and cannot be used. Nothing of it is shown.
    """
    path = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    try:
        with path.open("rb") as file:
            data = file.read(LIMITS.docker_config + 1)
    except FileNotFoundError:
        return Login()
    except OSError as error:
        raise OciDenied(f"{target}: Docker's config.json cannot be read: {error.strerror}") from error
    try:
        document = json.loads(data.decode()) if len(data) <= LIMITS.docker_config else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        # Not chained: the parser's error holds the text.
        raise OciDenied(f"{target}: Docker's config.json is no JSON object of at most {LIMITS.docker_config} bytes")
    return _login(document, target)


def _login(document: dict[str, object], target: OciTarget) -> Login:
    keys = [target.registry, f"https://{target.registry}", f"https://{target.registry}/v2/"]
    if target.endpoint == "https://registry-1.docker.io":
        keys = [_DOCKER_HUB_KEY, "docker.io", "index.docker.io"]
    auths, helpers = document.get("auths"), document.get("credHelpers")
    helper = bool(document.get("credsStore")) or (isinstance(helpers, dict) and any(key in helpers for key in keys))
    for key in keys:
        entry = auths.get(key) if isinstance(auths, dict) else None
        if not isinstance(entry, dict):
            continue
        basic, bearer = _basic(entry), entry.get("registrytoken")
        if basic or is_token(bearer):
            return Login(basic=basic, bearer=bearer if is_token(bearer) else None)
        helper = True  # an identity token, or an entry that only says that a helper has it
    return Login(helper=helper)


def _basic(entry: dict[str, object]) -> str | None:
    auth, user, password = entry.get("auth"), entry.get("username"), entry.get("password")
    if isinstance(user, str) and isinstance(password, str) and user and ":" not in user:
        return base64.b64encode(f"{user}:{password}".encode()).decode()
    if not isinstance(auth, str) or entry.get("identitytoken"):
        return None
    try:
        known = base64.b64decode(auth, validate=True)
    except (binascii.Error, ValueError):
        return None
    return base64.b64encode(known).decode() if b":" in known else None


def is_token(value: object) -> TypeGuard[str]:
    """Say whether a value can stand in a header as a token."""
    return isinstance(value, str) and 0 < len(value) <= LIMITS.oci_token and value.isascii() and value.isprintable()


def parse_challenge(header: str, target: OciTarget) -> Challenge | None:
    """Read a `WWW-Authenticate`; None where it is of no scheme that we speak, or leads where no secret may go.

    Whatever rights the registry names, only what `OciTarget.scope` says is asked for.

    Examples
    --------
    >>> from auditor.sources.oci_target import parse_target
    >>> parse_challenge('Bearer realm="https://a.example/t",service="r"', parse_target("oci://r.example/m"))
    Challenge(token_url='https://a.example/t?service=r&scope=repository%3Am%3Apull')
    """
    schemes = {match[1].lower(): match.end() for match in _SCHEME.finditer(header[: LIMITS.hub_url])}
    if "bearer" not in schemes:
        return Challenge(token_url=None) if "basic" in schemes else None
    values = {
        name.lower(): value for name, value in reversed(_PARAMETER.findall(header[schemes["bearer"] : LIMITS.hub_url]))
    }
    realm = values.get("realm", "")
    try:
        origin = Origin.of(realm)
    except ValueError:
        return None
    plain = is_loopback(origin.host) and target.endpoint.startswith("http://")
    if (origin.scheme != "https" and not plain) or "#" in realm or not (realm.isascii() and realm.isprintable()):
        return None
    query = {"service": values["service"]} if values.get("service") else {}
    query["scope"] = target.scope
    return Challenge(token_url=f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}")
