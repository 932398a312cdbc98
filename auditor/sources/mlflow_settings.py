"""Where MLflow's servers are and who we are there: the variables of MLflow's own client, read in one place."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from auditor.errors import MlflowError
from auditor.sources.hub_settings import Origin

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class MlflowSettings:
    """How to reach the servers.

    Attributes
    ----------
    tracking : str
        `MLFLOW_TRACKING_URI`, without a slash at its end: runs, logged models, artifacts.
    registry : str
        `MLFLOW_REGISTRY_URI` where it is set, else the same: registered models.
    authorization : str or None
        Value of the header, from `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, or from
        `MLFLOW_TRACKING_TOKEN`. Never part of a representation or a message.
    secrets : tuple of str
        What must not be shown, should a server send it back.
    """

    tracking: str
    registry: str
    authorization: str | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def current(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Return what MLflow's own client would use of the environment.

        Raises
        ------
        MlflowError
            When no server is named, or what is set cannot be used.
        """
        env = os.environ if environment is None else environment
        tracking = env.get("MLFLOW_TRACKING_URI", "")
        registry = env.get("MLFLOW_REGISTRY_URI") or tracking
        if not tracking and not registry:
            raise MlflowError("MLFLOW_TRACKING_URI is not set: which server holds the registry?")
        authorization, secrets = _credentials(env)
        return cls(
            tracking=_server("MLFLOW_TRACKING_URI", tracking or registry),
            registry=_server(
                "MLFLOW_REGISTRY_URI" if env.get("MLFLOW_REGISTRY_URI") else "MLFLOW_TRACKING_URI", registry
            ),
            authorization=authorization,
            secrets=secrets,
        )

    @property
    def origins(self) -> frozenset[Origin]:
        """Where credentials may be sent: nowhere else."""
        return frozenset({Origin.of(self.tracking), Origin.of(self.registry)})


def _server(variable: str, value: str) -> str:
    """Check the address of a server. It is not shown: a user name and password may stand in it."""
    try:
        Origin.of(value)
        parts = urlsplit(value)
    except ValueError as error:
        if value.startswith("databricks"):
            raise MlflowError(f"{variable}: the registry of Databricks is not read by this version") from error
        problem = "must be the http or https URL of an MLflow server, without a user name in it"
        raise MlflowError(f"{variable} {problem}; for files on this machine start `mlflow server`") from error
    if parts.query or parts.fragment:
        raise MlflowError(f"{variable} must be the URL of an MLflow server, without a query")
    return value.rstrip("/")


def _credentials(env: Mapping[str, str]) -> tuple[str | None, tuple[str, ...]]:
    user, password = env.get("MLFLOW_TRACKING_USERNAME", ""), env.get("MLFLOW_TRACKING_PASSWORD", "")
    token = env.get("MLFLOW_TRACKING_TOKEN", "")
    if user and password:  # MLflow's client prefers them too
        if ":" in user:
            raise MlflowError("MLFLOW_TRACKING_USERNAME holds a ':', which no user name has")
        encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
        return f"Basic {encoded}", (encoded, password)
    if token:
        if not (token.isascii() and token.isprintable() and " " not in token):
            raise MlflowError("MLFLOW_TRACKING_TOKEN holds characters that no token has")
        return f"Bearer {token}", (token,)
    return None, ()
