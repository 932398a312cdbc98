"""Putting a folder right: an audit, a plan of changes, and writing them down."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from auditor.audit import Options, audit
from auditor.compliance.fixes.plan import SETTINGS, Folder, editable, plan, reference
from auditor.errors import FileError, TargetError, UsageError
from auditor.lineage import list_references
from auditor.sources import Blob, open_source
from auditor.writing import check_unchanged, locked, write_whole

if TYPE_CHECKING:
    from collections.abc import Collection

    from auditor.compliance import Situation
    from auditor.compliance.fixes.plan import FileChange, FixPlan
    from auditor.sources import Source


def plan_fixes(target: str, options: Options | None = None) -> FixPlan:
    """Audit a local folder, and plan the changes that a program may make to put it right. Nothing is written.

    Parameters
    ----------
    target : str
        Folder.
    options : Options, optional
        With `config`, no new `auditor.toml` is planned.

    Raises
    ------
    TargetError, UsageError, BadReference
        When the audit cannot begin, or the target is no local folder.
    """
    options = replace(options or Options(), licence=True)
    if not Path(target).is_dir():
        open_source(target)  # says what is wrong where there is no such target at all
        raise TargetError(f"{target}: only a local folder can be put right")
    found = audit(target, options)
    if found.situation is None:
        raise UsageError("no licence policy to put the target right by")
    weights = [file for container in found.containers for file in container.files]
    folder = _look(found.source, Path(target), found.situation, weights=weights, config=options.config)
    report = found.report
    today = datetime.now(tz=UTC).date()
    return plan(found.situation, report.findings, today=today, folder=folder, unread=report.coverage.unread)


def _look(source: Source, root: Path, situation: Situation, *, weights: Collection[str], config: str | None) -> Folder:
    """Read what a plan may change, and find out what it may not.

    Parameters
    ----------
    source : Source
        Of the folder `root`.
    root : Path
    situation : Situation
    weights : collection of str
        Files that hold weights, whatever they are called.
    config : str or None
        The user's settings, where there are any.
    """
    contents: dict[str, bytes] = {}
    shut: dict[str, str] = {}
    files = {info.path: info for info in source.files()}
    for path in editable(situation):
        reason = "it holds weights" if path in weights else locked(root, path)
        try:
            if reason is None:
                contents[path] = Blob(source, files[path]).read(0, files[path].size)
        except FileError as error:
            reason = error.reason
        if reason is not None:
            shut[path] = reason
    proof = reference(situation)
    return Folder(
        contents=contents,
        locked=shut,
        names=frozenset(entry.name.lower() for entry in root.iterdir()),
        settings=_settings(root, config),
        origin=next((known.origin for known in list_references() if known.name == proof), ""),
    )


def _settings(root: Path, config: str | None) -> str | None:
    """Say why no file for statements shall be written; None where it may be."""
    if config is not None:
        return f"add them to {config}"
    if os.path.lexists(SETTINGS):
        return f"add them to {SETTINGS}"
    if Path.cwd().is_relative_to(root.resolve()):
        return "for a template, run this outside the target: a model must not bring its own"
    return None


def apply_fixes(root: Path, changes: FixPlan) -> tuple[tuple[str, int], ...]:
    """Write every change of a plan, each file whole or not at all.

    Parameters
    ----------
    root : Path
        The folder that the plan was made for.
    changes : FixPlan

    Returns
    -------
    tuple of (str, int)
        What was written, and how many bytes.

    Raises
    ------
    UsageError
        When a file is a link, changed since the audit, or cannot be written. All are looked at before the first is
        written.
    """
    for change in changes.changes:
        check_unchanged(_place(root, change), change.path, old=change.old)
    written = []
    for change in changes.changes:
        path = _place(root, change) / change.path
        write_whole(path, change.new)
        written.append((str(path), len(change.new)))
    return tuple(written)


def _place(root: Path, change: FileChange) -> Path:
    return root if change.place == "target" else Path()
