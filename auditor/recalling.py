"""What an earlier audit found of the very same weights, so that copies are judged once.

The same weights are files of the same SHA-256 digests under the same names, as one host knows them (git LFS, layers of
OCI), and the same bytes of everything else that was read to find the models in them: configurations, indexes.
Another host is never believed: it could claim the digests of a model elsewhere, and serve other bytes. Equal sampled
rows are not enough either: whoever knows which rows are sampled could keep these and change all others. What
is said about the weights (licence, card, names) is always read anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auditor.findings import Finding
    from auditor.formats import Container
    from auditor.lineage import Lineage
    from auditor.lineage.compact import CompactSample
    from auditor.report import Report
    from auditor.sources import MeteredSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """What an earlier audit found.

    Attributes
    ----------
    where : str
        The target whose weights were read, with its revision.
    lineage : Lineage
    findings : tuple of Finding
        That need the values of the weights.
    compact : tuple of CompactSample
    """

    where: str
    lineage: Lineage
    findings: tuple[Finding, ...]
    compact: tuple[CompactSample, ...] = ()


Recall = Callable[[str], Earlier | None]
"""Asked with a key of weights; answers what is known of them under the options and references of this audit."""

BY_VALUES = ("FILE-003",)
"""Findings that need the values of the weights."""


def weights_key(source: MeteredSource, containers: Iterable[Container]) -> str | None:
    """Return what is the same for two targets only if their weights are: 64 hex digits.

    Parameters
    ----------
    source : MeteredSource
        Which recorded what was read so far.
    containers : iterable of Container
        All that hold weights.

    Returns
    -------
    str or None
        None where nobody but we could say the digest of a file: reading it takes longer than judging it.
    """
    files = {path for container in containers for path in container.files}
    known = {info.path: info for info in source.files() if info.path in files}
    if not files or any(known[path].sha256 is None or source.on_disk(path) is not None for path in files):
        return None
    parts = urlsplit(source.uri)
    host = [source.kind, "" if parts.scheme == "hf" else parts.netloc]  # hf://org/name: the public Hub
    weights = sorted((path, info.size, info.sha256) for path, info in known.items())
    beside = [read for read in source.recorded if read[0] not in files and not _is_prose(read[0])]
    return hashlib.sha256(json.dumps([host, weights, beside], ensure_ascii=True).encode()).hexdigest()


_PROSE = (".md", ".txt", ".rst", ".gitattributes", ".gitignore")


def _is_prose(path: str) -> bool:
    """Say whether a file that holds no weights (its first bytes were looked at for that) is for people only."""
    name = path.rpartition("/")[2].lower()
    return name.endswith(_PROSE) or name in {"license", "licence", "notice", "copying"}


def earlier_of(report: Report, compact: tuple[CompactSample, ...] = ()) -> Earlier | None:
    """Return what a report says of its weights; None where it would not do for others.

    Only what was read whole and has a verdict is taken over.
    """
    if not report.coverage.complete or report.lineage.verdict == "inconclusive" or report.target.adapters:
        return None
    revision = f"@{report.target.revision}" if report.target.revision else ""
    return Earlier(
        where=report.coverage.weights_of or f"{report.target.uri}{revision}",
        lineage=report.lineage,
        findings=tuple(finding for finding in report.findings if finding.id in BY_VALUES),
        compact=compact,
    )
