"""The pipeline, on one screen: source, checkpoints, lineage, licence, digests, report."""

from __future__ import annotations

import itertools
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
from auditor.errors import FileError, OverBudget, UsageError
from auditor.findings import Finding, file_finding
from auditor.formats import Checkpoints, Container, open_checkpoints
from auditor.library import Library, gather
from auditor.limits import LIMITS
from auditor.lineage import (
    Candidate,
    Depth,
    FirstLayers,
    Lineage,
    ModelReader,
    Sketch,
    compare,
    compare_plain,
    explain_merge,
    judge,
    model_label,
    settle_copies,
)
from auditor.lineage.compact import CompactSample, compact_sample
from auditor.model import ModelView, Subjects, find_base, find_subjects, told
from auditor.report import AdapterSummary, Coverage, Declared, FailOn, MergedInto, Report, Target, exit_code
from auditor.report.baseline import apply_baseline, parse_baseline
from auditor.sources import Counting, FileInfo, MeteredSource, Source, Unread, called, open_source

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from auditor.compliance import Policy
    from auditor.compliance.claims.values import Claim
    from auditor.enrolling import Notify

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
    target: str, options: Options | None = None, *, hashing: Hashing | None = None, notify: Notify | None = None
) -> Audit:
    """Audit a target, and keep what the report was made from.

    Parameters
    ----------
    target, options
        See `scan`.
    hashing : Hashing, optional
        Of the target, and perhaps under way; `Options.digests` says whether and how to begin.
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
    source = MeteredSource(hashing.source, max_bytes=options.max_bytes)
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
    weights = _weigh(checkpoints, subjects, library, options)
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
        findings, situation, declared = findings + check.findings, check.situation, _declared(check.claims)
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
            adapters=_summaries(subjects, base_source),
            declared=declared,
        ),
        lineage=lineage,
        findings=tuple(sorted(findings, key=lambda finding: finding.id)),
        coverage=Coverage(
            unread=tuple(unread),
            bytes_read=(counted.http_bytes if counted else source.bytes_read) + digests.bytes_read,
            requests=counted.http_requests if counted else source.requests,
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
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weights:
    """What the weights show, before anything that is written about them is read."""

    lineage: Lineage
    findings: tuple[Finding, ...]
    unread: tuple[Unread, ...]
    compact: tuple[CompactSample, ...] = ()


def _weigh(checkpoints: Checkpoints, subjects: Subjects, library: Library, options: Options) -> _Weights:
    unread = list(subjects.unread)
    candidates: list[Candidate] = list(library.known)
    pairs = [] if library.known else list(itertools.product(subjects.models, library.references))
    readers = {model: ModelReader(model) for model in subjects.models if model.gated}
    for model, reference in pairs:
        try:
            if model in readers:
                candidate = compare(
                    readers[model],
                    reference,
                    tests=len(pairs),
                    first_layers=options.first_layers,
                    depth=options.depth,
                )
            else:
                candidate = compare_plain(model, reference, tests=len(pairs), reason=_incomparable(model, subjects))
            candidates.append(candidate)
        except FileError as error:
            unread.append(Unread.from_error(error))
            candidates += _what_is_plain(model, reference, tests=len(pairs), error=error)
    candidates = [_with_shares(candidate, candidates, readers, library) for candidate in candidates]
    unread += [
        Unread(path=candidate.model, code=OverBudget.code, reason=candidate.stopped)
        for candidate in candidates
        if candidate.stopped is not None
    ]
    unread = list(dict.fromkeys(unread))
    lineage = judge(
        tuple(candidates),
        complete=not unread,
        unplaced=subjects.unplaced,
        lacking=library.lacking,
        obstacles=(
            *(f"{entry.path}: {entry.reason}" for entry in unread),
            *subjects.left_out,
            *(_incomparable(model, subjects) for model in subjects.own if not model.gated),
        ),
        adapter="; ".join(map(told, subjects.adapters)) if subjects.alone else None,
    )
    return _Weights(
        lineage=replace(lineage, supporting=library.supporting(subjects.models, lineage)),
        findings=(*checkpoints.findings, _finite_values(candidates)),
        unread=tuple(unread),
        compact=_compact(readers.values()) if options.compact else (),
    )


def _compact(readers: Iterable[ModelReader]) -> tuple[CompactSample, ...]:
    """Take the samples that can be taken: what cannot be read of a model is told where it is compared."""
    found = []
    for reader in readers:
        try:
            found.append(compact_sample(reader))
        except FileError:
            continue
    return tuple(sample for sample in found if sample is not None)


def _incomparable(model: ModelView, subjects: Subjects) -> str:
    """Say why the neurons of a model without gated MLP blocks are not compared."""
    if model in subjects.saved:
        return "an adapter holds no neurons"
    return f"the MLPs have no gate ({model.architecture}), and those of every reference have one"


def _what_is_plain(model: ModelView, reference: Sketch, *, tests: int, error: FileError) -> list[Candidate]:
    """Compare what can be read of a model whose neurons cannot, where the budget is not what stops it."""
    if isinstance(error, OverBudget):
        return []
    try:
        return [compare_plain(model, reference, tests=tests, reason=error.reason)]
    except FileError:
        return []


def _of_target(lineage: Lineage, subjects: Subjects) -> Lineage:
    """Return what the weights say of the target itself: that another base is no relative absolves no adapter."""
    if subjects.merged and lineage.verdict == "independent":
        return replace(lineage, verdict="adapter")
    return lineage


def _summaries(subjects: Subjects, base: MeteredSource | None) -> tuple[AdapterSummary, ...]:
    merged = {view.adapter.file for view in subjects.merged}
    into = MergedInto(uri=base.uri, revision=base.revision, bytes_read=base.bytes_read) if base else None
    return tuple(
        AdapterSummary(
            file=adapter.file,
            method=adapter.config.method if adapter.config else None,
            base=adapter.base,
            base_revision=adapter.config.revision if adapter.config else None,
            rank=adapter.config.rank if adapter.config else None,
            alpha=adapter.config.alpha if adapter.config else None,
            target_modules=adapter.config.target_modules if adapter.config else (),
            changed=len(adapter.changes),
            saved=tuple(sorted(entry.name for entry in adapter.full.values()))[: LIMITS.metadata_values],
            problems=adapter.problems,
            merged_into=into if adapter.file in merged else None,
        )
        for adapter in subjects.adapters
    )


_DECLARED = frozenset({"license", "license-name", "license-link", "base-model"})


def _declared(claims: Iterable[Claim]) -> tuple[Declared, ...]:
    """Return what metadata fields say of licence and base; what prose says is evidence of findings."""
    said = (
        Declared(kind=claim.kind, value=claim.value, path=claim.where.path, line=claim.where.line)
        for claim in claims
        if claim.kind in _DECLARED and not claim.in_prose
    )
    return tuple(dict.fromkeys(said))[: LIMITS.metadata_values]


def _with_shares(
    candidate: Candidate, candidates: list[Candidate], readers: dict[ModelView, ModelReader], library: Library
) -> Candidate:
    """Add the shares of a merge to what was found in place, where one model descends from several references."""
    if candidate.rung != "aligned-neurons" or candidate.relation is None or candidate.relation.kind != "modified":
        return candidate
    same = {c.reference for c in candidates if c.model == candidate.model and c.verdict == "derived"}
    reader = next((reader for view, reader in readers.items() if model_label(view) == candidate.model), None)
    if len(same) < 2 or reader is None:
        return candidate
    try:
        shares = explain_merge(reader, [reference for reference in library.references if reference.name in same])
    except FileError:  # of rows that were not needed for the verdict
        return candidate
    return replace(candidate, relation=replace(candidate.relation, shares=shares))


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


def _finite_values(candidates: list[Candidate]) -> Finding:
    broken = sorted({name for candidate in candidates for name in candidate.nonfinite})
    if broken:
        more = f" and {len(broken) - 5} more tensors" if len(broken) > 5 else ""
        return file_finding("FILE-003", "warn", f"NaN or infinity in {', '.join(broken[:5])}{more}")
    return file_finding("FILE-003", "pass" if any(candidate.rung for candidate in candidates) else "n/a")
