"""The pipeline, on one screen: source, checkpoints, lineage, report."""

from __future__ import annotations

import hashlib
import itertools
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from auditor import __version__
from auditor.compliance import Profile, Situation, Statements, check_licence, load_policies, parse_config, waive
from auditor.compliance.fixes.plan import plan
from auditor.errors import FileError, LimitExceeded, TargetError, UsageError
from auditor.findings import Finding, file_finding
from auditor.fixing import look
from auditor.formats import Checkpoints, Container, open_checkpoints
from auditor.limits import LIMITS
from auditor.lineage import (
    Candidate,
    Lineage,
    Sketch,
    compare,
    dump_sketch,
    judge,
    resolve_references,
    sketch_model,
)
from auditor.model import ModelView, model_views, unplaced_share
from auditor.report import Coverage, FailOn, Report, Target, exit_code
from auditor.sources import FileInfo, MeteredSource, Range, Source, Unread, open_source

if TYPE_CHECKING:
    from datetime import date

    from auditor.compliance.fixes.plan import FixPlan

_HASH_BLOCK = 8 * 1024 * 1024  # bytes hashed at a time: large enough to stream, small enough to hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a caller can choose about an audit.

    Attributes
    ----------
    against : tuple of str
        References: names of the library, sketch files, or models. Empty for the whole library.
    licence : bool
        Also check the licence that follows.
    policies : tuple of str
        Licence policies by name or path; empty for all that ship.
    profile : {"publisher", "deployer", "internal"}
        Who audits: duties differ.
    strict : bool
        Open-source claims about the weights fail instead of warning.
    config : str, optional
        A file of statements and waivers, the user's own: `auditor.toml`.
    fail_on : {"fail", "warn", "manual", "never"}
        Mildest status of a finding that makes the exit code 1.
    fail_on_incomplete : bool
        An inconclusive verdict makes the exit code 3.
    """

    against: tuple[str, ...] = ()
    licence: bool = True
    policies: tuple[str, ...] = ()
    profile: Profile = "publisher"
    strict: bool = False
    config: str | None = None
    fail_on: FailOn = "fail"
    fail_on_incomplete: bool = False


def scan(target: str, options: Options | None = None) -> Report:
    """Audit a target.

    Parameters
    ----------
    target : str
        Folder or file.
    options : Options, optional

    Raises
    ------
    TargetError, UsageError, BadReference
        When the audit cannot begin. What cannot be read within a target is part of the report instead.
    """
    options = options or Options()
    today = datetime.now(tz=UTC).date()
    started = time.perf_counter()
    source = MeteredSource(open_source(target))
    found = _examine(target, source, options, today)
    return Report(
        tool_version=__version__,
        target=Target(uri=source.uri, kind=source.kind, revision=source.revision, files=source.files()),
        lineage=found.weights.lineage,
        findings=tuple(sorted(found.findings, key=lambda finding: finding.id)),
        coverage=Coverage(
            unread=found.unread,
            bytes_read=source.bytes_read,
            requests=source.requests,
            seconds=time.perf_counter() - started,
        ),
        exit_code=exit_code(
            lineage=found.weights.lineage,
            findings=found.findings,
            unread=found.unread,
            fail_on=options.fail_on,
            fail_on_incomplete=options.fail_on_incomplete,
        ),
    )


def sketch(target: str, *, name: str, seed: int = 0, license: str | None = None) -> bytes:  # noqa: A002
    """Make a reference of a model: the bytes of a sketch file.

    Parameters
    ----------
    target : str
        Folder or file that holds one model, all of it readable.
    name : str
        What the reference is called.
    seed : int
        Of the sampled neurons.
    license : str, optional
        Licence of the model, as an SPDX id or Hub name.

    Raises
    ------
    TargetError
        When the target holds no model, several, or one that cannot be read whole.
    """
    source = open_source(target)
    checkpoints = open_checkpoints(source)
    models, unread = _models(source, checkpoints)
    if unread:
        raise TargetError(f"{target}: cannot be read whole: {unread[0].path}: {unread[0].reason}")
    if len(models) != 1:
        found = ", ".join(model.container.files[0] for model in models) or "none with gated MLP blocks"
        raise TargetError(f"{target}: one model is needed for a reference, found: {found}")
    sizes = {info.path: info.size for info in source.files()}
    try:
        origin = tuple(_digest(source, path, sizes[path]) for path in models[0].container.files)
        made = sketch_model(models[0], name=name, seed=seed, origin=origin, license=license)
    except FileError as error:
        raise TargetError(f"{target}: cannot be read whole: {error}") from error
    return dump_sketch(made, tool_version=__version__)


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
    today = datetime.now(tz=UTC).date()
    source = open_source(target)
    if source.kind != "local" or not Path(target).is_dir():
        raise TargetError(f"{target}: only a local folder can be put right")
    found = _examine(target, source, options, today)
    if found.situation is None:
        raise UsageError("no licence policy to put the target right by")
    weights = [file for container in found.weights.containers for file in container.files]
    folder = look(source, Path(target), found.situation, weights=weights, config=options.config)
    return plan(found.situation, found.findings, today=today, folder=folder, unread=found.unread)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What an audit found, before it is reported or put right."""

    weights: _Weights
    situation: Situation | None
    findings: tuple[Finding, ...]
    unread: tuple[Unread, ...]


def _examine(target: str, source: Source, options: Options, today: date) -> _Found:
    references = resolve_references(options.against)
    policies = load_policies(options.policies) if options.licence else ()
    statements = _statements(options.config, today)
    names = _names(target)

    weights = _weigh(source, references)
    unread, findings, situation = weights.unread, weights.findings, None
    if policies:
        check = check_licence(
            source,
            weights.containers,
            lineage=weights.lineage,
            has_weights=weights.has_model,
            policies=policies,
            profile=options.profile,
            strict=options.strict,
            names=names,
            statements=statements,
            today=today,
        )
        unread, findings, situation = unread + check.unread, findings + check.findings, check.situation
    return _Found(
        weights=weights,
        situation=situation,
        findings=waive(source, findings, statements, names=names, today=today),
        unread=unread,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weights:
    """What the weights show, before anything that is written about them is read."""

    lineage: Lineage
    containers: tuple[Container, ...]
    has_model: bool
    findings: tuple[Finding, ...]
    unread: tuple[Unread, ...]


def _weigh(source: Source, references: tuple[Sketch, ...]) -> _Weights:
    checkpoints = open_checkpoints(source)
    models, unread = _models(source, checkpoints)
    candidates: list[Candidate] = []
    for model, reference in itertools.product(models, references):
        try:
            candidates.append(compare(model, reference, tests=len(models) * len(references)))
        except FileError as error:
            unread.append(Unread.from_error(error))
    unread = list(dict.fromkeys(unread))
    return _Weights(
        lineage=judge(tuple(candidates), complete=not unread, unplaced=unplaced_share(checkpoints.containers, models)),
        containers=checkpoints.containers,
        has_model=bool(models),
        findings=(*checkpoints.findings, _finite_values(candidates)),
        unread=tuple(unread),
    )


def _models(source: Source, checkpoints: Checkpoints) -> tuple[list[ModelView], list[Unread]]:
    models: list[ModelView] = []
    unread = list(checkpoints.unread)
    for container in checkpoints.containers:
        try:
            models.extend(model_views(source, container))
        except FileError as error:
            unread.append(Unread.from_error(error))
    for model in models[LIMITS.models :]:
        path = model.container.files[0]
        unread.append(
            Unread.from_error(LimitExceeded(file=path, field="models", actual=len(models), limit=LIMITS.models))
        )
    return models[: LIMITS.models], unread


def _statements(config: str | None, today: date) -> Statements:
    if config is None:
        return Statements()
    try:
        data = Path(config).read_bytes()
    except OSError as error:
        raise UsageError(f"{config}: cannot be read: {error.strerror}") from error
    return parse_config(data, file=config, today=today)


def _names(target: str) -> tuple[str, ...]:
    """Return what the user calls the target: as typed, and the last part of its path."""
    return (target, Path(target).resolve().name)


def _finite_values(candidates: list[Candidate]) -> Finding:
    broken = sorted({name for candidate in candidates for name in candidate.nonfinite})
    if broken:
        more = f" and {len(broken) - 5} more tensors" if len(broken) > 5 else ""
        return file_finding("FILE-003", "warn", f"NaN or infinity in {', '.join(broken[:5])}{more}")
    return file_finding("FILE-003", "pass" if any(candidate.rung for candidate in candidates) else "n/a")


def _digest(source: Source, path: str, size: int) -> FileInfo:
    digest = hashlib.sha256()
    for start in range(0, size, _HASH_BLOCK):
        digest.update(source.read(path, [Range(start, min(start + _HASH_BLOCK, size))])[0])
    return FileInfo(path=path, size=size, sha256=digest.hexdigest(), digest_source="computed")
