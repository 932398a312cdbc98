"""How evidence names what was read: the file, the line, and the words, escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.escape import visible

if TYPE_CHECKING:
    from auditor.compliance.claims.values import Claim


def quoted(text: str, *, limit: int = 160) -> str:
    r"""Quote text of the model, escaped and on one line.

    Examples
    --------
    >>> quoted("a\n b\x1b")
    '"a b\\x1b"'
    """
    return f'"{visible(" ".join(text.split()), limit=limit)}"'


def place(claim: Claim, *, limit: int = 160) -> str:
    """Say where a claim stands and what it says.

    Examples
    --------
    >>> from auditor.compliance.claims.values import Claim, Where
    >>> where = Where(path="README.md", line=2, key="license")
    >>> place(Claim(kind="license", value="mit", subject="weights", where=where))
    'README.md, line 2: license: "mit"'
    """
    where = claim.where
    line = f", line {where.line}" if where.line is not None else ""
    key = f"{':' if line else ','} {where.key}" if where.key else ""
    said = quoted(claim.quote if claim.in_prose and claim.quote else claim.value, limit=limit)
    return f"{where.path}{line}{key}: {said}"
