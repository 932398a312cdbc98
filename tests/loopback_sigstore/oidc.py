"""Who is signing: identity tokens, as GitHub Actions hands them to a job and as a person gets them in a browser."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import jwt

from loopback_sigstore.keys import now
from loopback_sigstore.messages import RefusedError, Reply

if TYPE_CHECKING:
    from loopback_sigstore.messages import Request

ISSUER = "https://token.actions.githubusercontent.com"
IDENTITY = "https://github.com/acme/models/.github/workflows/audit.yml@refs/heads/main"
AUDIENCE = "sigstore"
ALGORITHM = "HS256"
LIFE = 300  # seconds for which a token is good

GITHUB_CLAIMS = {
    "iss": ISSUER,
    "sub": IDENTITY,
    "aud": AUDIENCE,
    "repository": "acme/models",
    "repository_owner": "acme",
    "ref": "refs/heads/main",
    "sha": "5ca1ab1e" * 5,
    "event_name": "push",
    "job_workflow_ref": IDENTITY.removeprefix("https://github.com/"),
    "runner_environment": "github-hosted",
}


class IdentityProvider:
    """Signs tokens, and tells its own from forged ones.

    One departure from the real issuer: GitHub's `sub` names a repository and a branch, and Fulcio takes the
    identity from `job_workflow_ref`. Here `sub` is the identity itself, so that a test changes it in one place.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._request_token = secrets.token_urlsafe()

    def token(self, **claims: object) -> str:
        """Sign the claims of a GitHub job, some of them replaced; None leaves a claim out."""
        at = int(now().timestamp())
        given: dict[str, Any] = {**GITHUB_CLAIMS, "iat": at, "nbf": at, "exp": at + LIFE, **claims}
        return jwt.encode({k: v for k, v in given.items() if v is not None}, self._key, algorithm=ALGORITHM)

    def claims(self, token: str) -> dict[str, Any]:
        """Return what a token says, if it is one of ours, for Sigstore, and in time."""
        try:
            return jwt.decode(token, self._key, algorithms=[ALGORITHM], audience=AUDIENCE)
        except jwt.InvalidTokenError as error:
            raise RefusedError(401, f"identity token: {error}") from error

    # ---- ambient: what a GitHub job finds in its environment

    def github_env(self, url: str) -> dict[str, str]:
        """Return the variables by which a job asks for its token."""
        return {
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": self._request_token,
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{url}/github/token?api-version=2.0",
        }

    def ambient_token(self, request: Request) -> Reply:
        """Hand a job its token."""
        if request.bearer != self._request_token:
            raise RefusedError(401, "not the token of this job")
        return Reply.of({"value": self.token(aud=request.query.get("audience"))})

    # ---- interactive: discovery, a login page that asks nothing, the exchange of its code

    @staticmethod
    def discovery(request: Request) -> Reply:
        """Tell a client where to log in."""
        at = f"{request.base}/oidc"
        return Reply.of({"issuer": at, "authorization_endpoint": f"{at}/auth", "token_endpoint": f"{at}/token"})

    @staticmethod
    def login(request: Request) -> Reply:
        """Send the browser straight back with a code."""
        back = urlencode({"code": "loopback", "state": request.query["state"]})
        return Reply(status=302, headers={"Location": f"{request.query['redirect_uri']}?{back}"})

    def exchange(self, _request: Request) -> Reply:
        """Give the token for the code."""
        token = self.token()
        return Reply.of({"access_token": token, "id_token": token, "token_type": "Bearer"})
