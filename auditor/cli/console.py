"""What the commands have in common at the terminal: errors as one line, JSON, secrets."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING, NoReturn

import typer

from auditor.errors import AuditError, UsageError
from auditor.escape import visible
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

EXIT_REFUSED, EXIT_USAGE = 1, 2
"""Of `verify`: the attestation does not hold; it cannot be asked."""


class errors:  # noqa: N801 (used as a statement)
    """Turn an `AuditError` into one line on standard error and exit code 2."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, AuditError):
            say(error)
            raise typer.Exit(2) from None


def say(error: AuditError) -> None:
    """Show an error on one line of standard error."""
    code = f"{error.code}: " if error.names_code else ""
    typer.echo(f"auditor: {code}{visible(str(error), limit=4000)}", err=True)


_SIZE = re.compile(r"([0-9]{1,15})\s*(kB|KB|MB|GB|TB)?")
_UNITS = {None: 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def parse_size(text: str | None) -> int | None:
    """Read a number of bytes: `20000000`, `20MB`.

    Raises
    ------
    UsageError
    """
    if text is None:
        return None
    match = _SIZE.fullmatch(text)
    if match is None:
        raise UsageError(f"{text}: not a number of bytes, as 20000000, 20MB or 1GB")
    return int(match[1]) * _UNITS[match[2]]


def echo_json(value: object) -> None:
    """Print JSON in ASCII, so that no control or bidirectional character stands raw."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False))


def in_ci() -> bool:
    """Say whether this runs in continuous integration."""
    return os.environ.get("CI", "").lower() in {"1", "true"}


def read_passphrase(descriptor: int | None, *, prompt: str, confirm: bool = False) -> bytes:
    """Read a passphrase from a file descriptor, or ask for it without showing it.

    Raises
    ------
    UsageError
        When the descriptor cannot be read, or there is nobody to ask.
    """
    if descriptor is not None:
        try:
            with os.fdopen(os.dup(descriptor), "rb") as file:
                return file.read(4096).split(b"\n")[0].removesuffix(b"\r")
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or "no file descriptor"
            raise UsageError(f"--passphrase-fd {descriptor}: cannot be read: {reason}") from error
    if not sys.stdin.isatty():
        raise UsageError("a passphrase is needed, and there is no terminal to ask at: give --passphrase-fd")
    answer: str = typer.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True)
    return answer.encode()


def read_short(path: Path, *, limit: int = LIMITS.key_bytes, what: str = "no key, and no trust configuration") -> bytes:
    """Read a file that the user names: a key, a trust configuration.

    Raises
    ------
    UsageError
        When it cannot be read, or is longer than such files are.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > limit:
        raise UsageError(f"{path}: more than {limit} bytes: {what}")
    return data


def quit_with(code: int) -> NoReturn:
    """End the command."""
    raise typer.Exit(code)
