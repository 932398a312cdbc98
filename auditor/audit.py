"""The pipeline, on one screen: source, checkpoints, lineage, licence, digests, report."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from auditor import __version__
from auditor.compliance import Profile, Situation, Statements, check_licence, load_policies, parse_config, waive
from auditor.digests.files import FileDigests, Hashing, digest_files
from auditor.digests.layout import tensor_layouts
from auditor.digests.weights import weights_digest
from auditor.errors import FileError, UsageError
from auditor.formats import Checkpoints, Container, open_checkpoints
from auditor.library import Library, gather
from auditor.lineage import (
    Depth,
    FirstLayers,
    Lineage,
    Sketch,
    model_label,
    settle_copies,
)
from auditor.model import ModelView, Subjects, find_base, find_subjects
from auditor.recalling import Recall, weights_key
from auditor.report import Coverage, Declared, FailOn, Report, Target, exit_code
from auditor.report.baseline import apply_baseline, parse_baseline
from auditor.sources import Counting, FileInfo, MeteredSource, Source, called, open_source
from auditor.summaries import declared_by, summaries
from auditor.weighing import taken_over, weigh

if TYPE_CHECKING:
    from datetime import date

    from auditor.compliance import Policy
    from auditor.enrolling import Notify
    from auditor.lineage.compact import CompactSample

Digests = Literal["known", "files", "tensors"]
"""Which digests an audit has: those that the source knows, also of every file, also of the values of every tensor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a caller can choose about an audit.

    Attributes
    ----------
    against : tuple of str
        References: names of the library, sketch files, or models. Empty for the whole library.
    base : str, optional
        Model that the target's adapters are merged into: a folder, file or repository.
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
    baseline : str, optional
        An earlier JSON report: what it found already no longer fails.
    fail_on : {"fail", "warn", "manual", "never"}
        Mildest status of a finding that makes the exit code 1.
    fail_on_incomplete : bool
        An inconclusive verdict makes the exit code 3.
    digests : {"known", "files", "tensors"}
        "files" and "tensors" read every byte of the target, while the audit goes on.
    first_layers : {"auto", "few", "all"}
        What the first look is at; "auto" is all layers of a model on this machine, and few of one that is far away.
    depth : {"quick", "auto"}
        "quick" reads no whole layers: permuted neurons are not searched for.
    sample_seed : int, optional
        Which neurons of references given as models are sampled; a secret one cannot be prepared for.
    max_bytes : int, optional
        Bytes of the target that may be read beside hashing; what would take more is left unread, and said so.
    build_references : bool
        A reference that is needed and not on this machine is made from its repository, where that can be reached.
    compact : bool
        Also take compact samples, by which models are found again among many.
    """

    against: tuple[str, ...] = ()
    base: str | None = None
    licence: bool = True
    policies: tuple[str, ...] = ()
    profile: Profile = "publisher"
    strict: bool = False
    config: str | None = None
    baseline: str | None = None
    fail_on: FailOn = "fail"
    fail_on_incomplete: bool = False
    digests: Digests = "known"
    first_layers: FirstLayers = "auto"
    depth: Depth = "auto"
    sample_seed: int | None = None
    max_bytes: int | None = None
    build_references: bool = True
    compact: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """A report, and what it came from.

    Attributes
    ----------
    report : Report
    source : Source
    policies : tuple of Policy
    references : tuple of Sketch
    statements : Statements
    digests : FileDigests
        Of `Options.digests`.
    situation : Situation or None
        What the licence part found to apply; None without it.
    containers : tuple of Container
    compact : tuple of CompactSample
        Of every model with gated MLP blocks, where they were asked for.
    weights_key : str or None
        Of what `recall` was asked.
    """

    report: Report
    source: Source
    policies: tuple[Policy, ...]
    references: tuple[Sketch, ...]
    statements: Statements
    digests: FileDigests
    situation: Situation | None
    containers: tuple[Container, ...]
    compact: tuple[CompactSample, ...] = ()
    weights_key: str | None = None

    @property
    def reference_digests(self) -> dict[str, str | None]:
        """Names of the references, and the sha256 of their sketch files; None for those made in passing."""
        return {reference.name: reference.sha256 for reference in self.references}


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
    return audit(target, options).report


def audit(
    target: str,
    options: Options | None = None,
    *,
    hashing: Hashing | None = None,
    recall: Recall | None = None,
    notify: Notify | None = None,
) -> Audit:
    """Audit a target, and keep what the report was made from.

    Parameters
    ----------
    target, options
        See `scan`.
    hashing : Hashing, optional
        Of the target, and perhaps under way; `Options.digests` says whether and how to begin.
    recall : callable, optional
        What earlier audits found of the same weights, which are then not read again.
    notify : callable, optional
        Told what takes a while beside the target itself.

    Raises
    ------
    TargetError, UsageError, BadReference
    """
    options = options or Options()
    today = datetime.now(tz=UTC).date()
    started = time.perf_counter()
    hashing = hashing or Hashing(open_source(target))
    source = MeteredSource(hashing.source, max_bytes=options.max_bytes, record=recall is not None)
    if options.digests == "files":
        hashing.start()
    policies = load_policies(options.policies) if options.licence else ()
    statements = _statements(options.config, today)
    baseline = parse_baseline(_read(options.baseline), file=options.baseline) if options.baseline else None
    names = (target, called(target))  # what the user calls it: as typed, and in short

    base_source = MeteredSource(open_source(options.base), max_bytes=options.max_bytes) if options.base else None
    base = find_base(base_source, open_checkpoints(base_source)) if base_source else None
    checkpoints = open_checkpoints(source)
    subjects = find_subjects(source, checkpoints, base=base)
    if options.digests == "tensors":
        _start_hashing_tensors(hashing, checkpoints, subjects.own)
    library = gather(
        source,
        subjects.models,
        options.against,
        build=options.build_references,
        seed=options.sample_seed,
        notify=notify,
    )
    key = _weights_key(source, checkpoints, subjects, library, options)
    earlier = recall(key) if recall and key else None
    if earlier is not None:
        weights = taken_over(earlier, checkpoints, subjects, library)
    else:
        weights = weigh(
            checkpoints,
            subjects,
            library,
            first_layers=options.first_layers,
            depth=options.depth,
            compact=options.compact,
        )
    findings, unread, situation = weights.findings, [*weights.unread], None
    declared: tuple[Declared, ...] = ()
    if policies:
        check = check_licence(
            source,
            checkpoints.containers,
            lineage=_of_target(weights.lineage, subjects),
            has_weights=bool(subjects.own),
            policies=policies,
            profile=options.profile,
            strict=options.strict,
            names=names,
            statements=statements,
            today=today,
        )
        findings, situation, declared = findings + check.findings, check.situation, declared_by(check.claims)
        unread += check.unread
    digests = hashing.result()
    lineage = _settle(weights.lineage, subjects.own, digests, library.references, options.against)
    unread = list(dict.fromkeys([*unread, *digests.unread]))
    findings = waive(source, findings, statements, names=names, today=today, known=digests.files)
    if baseline is not None:
        findings = apply_baseline(findings, baseline, uri=source.uri, lineage=lineage)
    counted = hashing.source if isinstance(hashing.source, Counting) else None
    report = Report(
        tool_version=__version__,
        target=Target(
            uri=source.uri,
            kind=source.kind,
            revision=source.revision,
            files=_files(source, digests),
            adapters=summaries(subjects, base_source),
            declared=declared,
        ),
        lineage=lineage,
        findings=tuple(sorted(findings, key=lambda finding: finding.id)),
        coverage=Coverage(
            unread=tuple(unread),
            bytes_read=(counted.http_bytes if counted else source.bytes_read) + digests.bytes_read,
            requests=counted.http_requests if counted else source.requests,
            seconds=time.perf_counter() - started,
            weights_of=earlier.where if earlier else None,
        ),
        exit_code=exit_code(
            lineage=lineage,
            findings=findings,
            unread=tuple(unread),
            fail_on=options.fail_on,
            fail_on_incomplete=options.fail_on_incomplete,
        ),
    )
    return Audit(
        report=report,
        source=hashing.source,
        policies=policies,
        references=library.references,
        statements=statements,
        digests=digests,
        situation=situation,
        containers=checkpoints.containers,
        compact=weights.compact,
        weights_key=key,
    )


def _weights_key(
    source: MeteredSource, checkpoints: Checkpoints, subjects: Subjects, library: Library, options: Options
) -> str | None:
    """Return by what other targets of the same weights are known; None where each is to be judged by itself."""
    recorded, source.record = source.record, False
    merged = bool(subjects.adapters) or options.base is not None
    if not recorded or merged or subjects.unread or library.known or options.digests == "tensors":
        return None
    return weights_key(source, checkpoints.containers)


def _of_target(lineage: Lineage, subjects: Subjects) -> Lineage:
    """Return what the weights say of the target itself: that another base is no relative absolves no adapter."""
    if subjects.merged and lineage.verdict == "independent":
        return replace(lineage, verdict="adapter")
    return lineage


def _start_hashing_tensors(hashing: Hashing, checkpoints: Checkpoints, models: tuple[ModelView, ...]) -> None:
    try:
        layouts = tensor_layouts(checkpoints.containers, models)
    except FileError:  # of a model whose row order cannot be known; whoever reads its rows says so
        layouts = {}
    hashing.start(layouts)


def _settle(
    lineage: Lineage,
    models: tuple[ModelView, ...],
    digests: FileDigests,
    references: tuple[Sketch, ...],
    against: tuple[str, ...],
) -> Lineage:
    """Tell a copy whose every value is equal from one that was only sampled, where all values were hashed."""
    if lineage.best is None or lineage.best.relation is None or lineage.best.relation.kind != "copy":
        return lineage
    own = {model_label(model): digest for model in models if (digest := weights_digest(model, digests.tensors))}
    if not own:
        return lineage
    known = {r.name: r.provenance.weights for r in references if r.provenance and r.provenance.weights}
    known |= {name: digest for name in against if name not in known for digest in _weights_of(name)}
    return settle_copies(lineage, models=own, references=known)


def _weights_of(name: str) -> tuple[str, ...]:
    """Weights digest of a reference that was given as a model on this machine."""
    if not Path(name).exists():
        return ()
    source = open_source(name)
    checkpoints = open_checkpoints(source)
    models = find_subjects(source, checkpoints).own
    if len(models) != 1:  # a sketch, or several models: none that the name alone stands for
        return ()
    try:
        layouts = tensor_layouts([models[0].container], models)
    except FileError:  # its values have no order to be hashed in
        return ()
    done = digest_files(source, models[0].container.files, tensors=layouts)
    digest = weights_digest(models[0], done.tensors)
    return (digest,) if digest else ()


def _files(source: Source, digests: FileDigests) -> tuple[FileInfo, ...]:
    known = {info.path: info for info in digests.files}
    return tuple(known.get(info.path, info) for info in source.files())


def _statements(config: str | None, today: date) -> Statements:
    if config is None:
        return Statements()
    return parse_config(_read(config), file=config, today=today)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
