"""The pipeline, on one screen: source, checkpoints, lineage, report."""

from __future__ import annotations

import hashlib
import itertools
import time
from dataclasses import dataclass

from auditor import __version__
from auditor.errors import FileError, TargetError
from auditor.findings import Finding
from auditor.formats import Checkpoints, open_checkpoints
from auditor.lineage import Candidate, compare, dump_sketch, judge, resolve_references, sketch_model
from auditor.model import ModelView, model_views
from auditor.report import Coverage, FailOn, Report, Target, exit_code
from auditor.sources import FileInfo, MeteredSource, Range, Source, Unread, open_source

_HASH_BLOCK = 8 * 1024 * 1024  # bytes hashed at a time: large enough to stream, small enough to hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a caller can choose about an audit.

    Attributes
    ----------
    against : tuple of str
        References: names of the library, sketch files, or models. Empty for the whole library.
    fail_on : {"fail", "warn", "manual", "never"}
        Mildest status of a finding that makes the exit code 1.
    fail_on_incomplete : bool
        An inconclusive verdict makes the exit code 3.
    """

    against: tuple[str, ...] = ()
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
    started = time.perf_counter()
    source = MeteredSource(open_source(target))
    references = resolve_references(options.against)
    checkpoints = open_checkpoints(source)
    models, unread = _models(source, checkpoints)
    candidates: list[Candidate] = []
    for model, reference in itertools.product(models, references):
        try:
            candidates.append(compare(model, reference, tests=len(models) * len(references)))
        except FileError as error:
            unread.append(Unread.from_error(error))
    unread = list(dict.fromkeys(unread))
    lineage = judge(tuple(candidates), complete=not unread)
    findings = (*checkpoints.findings, _finite_values(candidates))
    return Report(
        tool_version=__version__,
        target=Target(uri=source.uri, kind=source.kind, revision=source.revision, files=source.files()),
        lineage=lineage,
        findings=tuple(sorted(findings, key=lambda finding: finding.id)),
        coverage=Coverage(
            unread=tuple(unread),
            bytes_read=source.bytes_read,
            requests=source.requests,
            seconds=time.perf_counter() - started,
        ),
        exit_code=exit_code(
            lineage=lineage,
            findings=findings,
            unread=tuple(unread),
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


def _models(source: Source, checkpoints: Checkpoints) -> tuple[list[ModelView], list[Unread]]:
    models: list[ModelView] = []
    unread = list(checkpoints.unread)
    for container in checkpoints.containers:
        try:
            models.extend(model_views(source, container))
        except FileError as error:
            unread.append(Unread.from_error(error))
    return models, unread


def _finite_values(candidates: list[Candidate]) -> Finding:
    title = "Sampled weights are finite numbers"
    broken = sorted({name for candidate in candidates for name in candidate.nonfinite})
    if broken:
        evidence = f"NaN or infinity in {', '.join(broken[:5])}" + (
            f" and {len(broken) - 5} more tensors" if len(broken) > 5 else ""
        )
        fix = "Re-export the weights; a model with such values does not compute."
        return Finding(id="FILE-003", status="warn", title=title, evidence=evidence, fix=fix)
    sampled = any(candidate.rung for candidate in candidates)
    return Finding(id="FILE-003", status="pass" if sampled else "n/a", title=title, evidence="")


def _digest(source: Source, path: str, size: int) -> FileInfo:
    digest = hashlib.sha256()
    for start in range(0, size, _HASH_BLOCK):
        digest.update(source.read(path, [Range(start, min(start + _HASH_BLOCK, size))])[0])
    return FileInfo(path=path, size=size, sha256=digest.hexdigest(), digest_source="computed")
