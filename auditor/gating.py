"""What an audit changes in MLflow's registry: tags that say what was found, and an alias that lets a version through.

The order is what makes it safe: approval is taken away first and given last, and a version is marked only while it is
still what was audited.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from auditor import __version__
from auditor.errors import MlflowError, RegistryNotWritten, UsageError, VersionChanged
from auditor.escape import visible
from auditor.limits import LIMITS
from auditor.report import EXIT_OK, Placed, render
from auditor.sources.mlflow_target import is_alias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auditor.report import Report
    from auditor.sources.mlflow import MlflowSource

TAGS: Final = (
    "auditor.version",
    "auditor.verdict",
    "auditor.reference",
    "auditor.log10_p",
    "auditor.exit_code",
    "auditor.report_sha256",
)
"""Tags of a version, in the order they are written: whoever sees the digest sees a whole set."""

_NAMING = frozenset({"identical", "derived", "embeddings-shared"})
"""Verdicts that name a reference: beside any other, a tag with a name would be read as one of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aliases:
    """Which aliases a gate moves; none where a name is left out.

    Attributes
    ----------
    passed : str or None
        Put on a version whose audit ended with 0, and taken from one whose audit did not.
    failed : str or None
        Put on a version whose audit did not end with 0, and taken from one whose audit did.
    """

    passed: str | None = None
    failed: str | None = None

    def check(self) -> None:
        """Refuse aliases that MLflow would refuse, before an audit takes its time.

        Raises
        ------
        UsageError
        """
        for alias in (self.passed, self.failed):
            if alias is not None and not is_alias(alias):
                raise UsageError(
                    f"{alias}: an alias is of ASCII letters, digits, '_' and '-', and is neither latest nor v1"
                )
        if self.passed is not None and self.passed == self.failed:
            raise UsageError(f"{self.passed}: one alias cannot say both that a version passed and that it failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One write to the registry.

    Attributes
    ----------
    kind : {"tag", "untag", "alias", "unalias"}
    name : str
        Of the tag or alias.
    value : str
        Of a tag that is set.
    """

    kind: Literal["tag", "untag", "alias", "unalias"]
    name: str
    value: str = ""

    def __str__(self) -> str:
        match self.kind:
            case "tag":
                return f"tag {self.name} = {self.value}"
            case "untag":
                return f"tag {self.name} removed"
            case "alias":
                return f"alias {self.name} set"
            case "unalias":
                return f"alias {self.name} removed"


class Gate:
    """Marks one version by what its audit found.

    Parameters
    ----------
    source : MlflowSource
        The version, as it was when the audit began.
    aliases : Aliases
    """

    def __init__(self, source: MlflowSource, aliases: Aliases) -> None:
        self._source = source
        self._aliases = aliases

    def withdraw(self, report: Report, *, dry_run: bool = False) -> tuple[Change, ...]:
        """Take approval away from a version that did not pass, or that is no longer what was audited.

        To be called as soon as a report is there, before it is even written.

        Returns
        -------
        tuple of Change
            What was done, or with `dry_run` would be.

        Raises
        ------
        VersionChanged
            The version, or the list of its files, is another than when the audit began: nothing is marked.
        RegistryNotWritten
        MlflowError
        """
        try:
            self._source.check_unchanged()
        except VersionChanged:
            self._do(self._approval(), dry_run=dry_run)
            raise
        return self._do(() if report.exit_code == EXIT_OK else self._approval(), dry_run=dry_run)

    def mark(self, report: Report, *, dry_run: bool = False) -> tuple[Change, ...]:
        """Write the tags, then the alias.

        Returns
        -------
        tuple of Change
            What was done, or with `dry_run` would be.

        Raises
        ------
        RegistryNotWritten
        MlflowError
        """
        passed = report.exit_code == EXIT_OK
        gained, lost = (
            (self._aliases.passed, self._aliases.failed) if passed else (self._aliases.failed, self._aliases.passed)
        )
        changes = [*self._tag_changes(report), *(self._removal(lost) if passed else ())]
        if gained is not None:
            changes.append(Change(kind="alias", name=gained))
        return self._do(changes, dry_run=dry_run)

    def _tag_changes(self, report: Report) -> Iterable[Change]:
        tags = tags_of(report)
        for name in TAGS:
            if name in tags:
                yield Change(kind="tag", name=name, value=tags[name])
            elif name in self._source.version.tags:  # of an earlier audit
                yield Change(kind="untag", name=name)

    def _approval(self) -> tuple[Change, ...]:
        return self._removal(self._aliases.passed)

    def _removal(self, alias: str | None) -> tuple[Change, ...]:
        """Remove an alias where it is on this version, and leave it on any other."""
        version = self._source.version
        if alias is None or self._source.registry.holder(version.name, alias) != version.version:
            return ()
        return (Change(kind="unalias", name=alias),)

    def _do(self, changes: Iterable[Change], *, dry_run: bool) -> tuple[Change, ...]:
        done: list[Change] = []
        for change in changes:
            try:
                if not dry_run:
                    self._write(change)
            except MlflowError as error:
                raise RegistryNotWritten(f"{error}; not written: {change}; gate the version again") from error
            done.append(change)
        return tuple(done)

    def _write(self, change: Change) -> None:
        registry, version = self._source.registry, self._source.version
        match change.kind:
            case "tag":
                registry.set_tag(version, change.name, change.value)
            case "untag":
                registry.delete_tag(version, change.name)
            case "alias":
                registry.set_alias(version, change.name)
            case "unalias":
                registry.delete_alias(version, change.name)


def tags_of(report: Report) -> dict[str, str]:
    """Return what the tags of a version say of its audit. Text of the model is escaped.

    `auditor.report_sha256` is the digest of the JSON report, as `--output json=FILE` writes it.
    """
    lineage = report.lineage
    tags = {
        "auditor.version": __version__,
        "auditor.verdict": lineage.verdict,
        "auditor.exit_code": str(report.exit_code),
        "auditor.report_sha256": hashlib.sha256(render("json", [Placed(report=report)]).encode()).hexdigest(),
    }
    best = lineage.best
    if best is not None and lineage.verdict in _NAMING:
        tags["auditor.reference"] = visible(best.reference, limit=LIMITS.mlflow_text)
    if best is not None and best.log10_p is not None:
        tags["auditor.log10_p"] = f"{best.log10_p:.6g}"
    return tags
