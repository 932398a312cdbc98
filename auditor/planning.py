"""What a scan would read: nothing is read of the weights but their headers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditor.errors import FileError
from auditor.formats import open_checkpoints
from auditor.library import decide_by_digests, files_to_hash, hidden_sizes
from auditor.lineage.known import load_known
from auditor.lineage.looks import looks, upper_costs
from auditor.lineage.references import plan_references
from auditor.lineage.supporting import shape_of
from auditor.model import find_base, find_subjects
from auditor.sources import Counting, MeteredSource, open_source

if TYPE_CHECKING:
    from auditor.audit import Options
    from auditor.lineage import Sketch
    from auditor.lineage.disguised import Rung
    from auditor.lineage.looks import Look
    from auditor.model import ModelView


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLook:
    """One try at an answer; only where those before it do not decide.

    Attributes
    ----------
    model, reference : str
    rung : {"aligned-neurons", "framed-neurons", "searched-neurons"}
    layers, neurons : int
        How many layers, and neurons of each; above the first rung 0, for all that it needs.
    ranges, bytes : int
        To read beside what the looks before it have read; above the first rung, at most.
    """

    model: str
    reference: str
    rung: Rung
    layers: int
    neurons: int
    ranges: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanPlan:
    """What a scan would read.

    Attributes
    ----------
    uri : str
    revision : str or None
    files, size : int
        How many, and bytes in all.
    requests, bytes : int
        What making this plan has read: listing, headers.
    decided : str or None
        What known digests say already, before anything of the weights is read: there are no looks then.
    hashed : int
        Bytes to be hashed: files on this machine of the size of a known file.
    looks : tuple of PlannedLook
    missing : tuple of str
        References that would have to be made first.
    """

    uri: str
    revision: str | None
    files: int
    size: int
    requests: int
    bytes: int
    decided: str | None
    hashed: int
    looks: tuple[PlannedLook, ...]
    missing: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """Return the plan for JSON."""
        return {
            "uri": self.uri,
            "revision": self.revision,
            "files": self.files,
            "size": self.size,
            "headers": {"requests": self.requests, "bytes": self.bytes},
            "decided": self.decided,
            "hashed": self.hashed,
            "looks": [
                {
                    "model": look.model,
                    "reference": look.reference,
                    "rung": look.rung,
                    "layers": look.layers,
                    "neurons": look.neurons,
                    "ranges": look.ranges,
                    "bytes": look.bytes,
                }
                for look in self.looks
            ],
            "missing": list(self.missing),
        }

    def lines(self) -> list[str]:
        """Return the plan for people."""
        at = f" at {self.revision}" if self.revision else ""
        out = [
            f"{self.uri}{at}: {self.files} files, {self.size / 1e6:.1f} MB",
            f"headers    {self.requests} reads, {self.bytes / 1e6:.2f} MB (read for this plan)",
        ]
        if self.decided:
            out.append(f"weights    not read: {self.decided} by digests of files")
        if self.hashed:
            out.append(f"hashed     {self.hashed / 1e6:.1f} MB: files of the size of a known one")
        for number, look in enumerate(self.looks):
            first = number == 0 or self.looks[number - 1].reference != look.reference
            when = f"against {look.reference}" if first else "and where that does not decide"
            what = {
                "framed-neurons": "token embeddings and norms",
                "searched-neurons": "whole layers, at most",
            }.get(look.rung, f"{look.neurons} neurons of {look.layers} layers")
            out.append(f"weights    {look.ranges} ranges, {look.bytes / 1e6:.2f} MB: {what} of {look.model}, {when}")
        out += [f"first      auditor references build {name}" for name in self.missing]
        return out


def plan_scan(target: str, options: Options) -> ScanPlan:
    """Say what a scan would read.

    Raises
    ------
    TargetError, UsageError, BadReference
    """
    plain = open_source(target)
    source = MeteredSource(plain)
    checkpoints = open_checkpoints(source)
    base_source = MeteredSource(open_source(options.base)) if options.base else None
    base = find_base(base_source, open_checkpoints(base_source)) if base_source else None
    models = find_subjects(source, checkpoints, base=base).models  # what cannot be read the scan itself will say
    files = plain.files()
    known = load_known()
    decided = decide_by_digests(known, known.match(files), options.against)
    references = plan_references(options.against, hidden_sizes=hidden_sizes(models), seed=options.sample_seed)
    planned = [
        look
        for model in models
        for reference in (() if decided else references.sketches)
        if shape_of(model)["hidden_size"] == reference.sample.hidden_size
        for look in _looks(model, reference, options)
    ]
    return ScanPlan(
        uri=plain.uri,
        revision=plain.revision,
        files=len(files),
        size=sum(info.size for info in files),
        requests=plain.http_requests if isinstance(plain, Counting) else source.requests,
        bytes=plain.http_bytes if isinstance(plain, Counting) else source.bytes_read,
        decided=f"{decided.verdict}, {decided.reference}" if decided else None,
        hashed=sum(info.size for info in files_to_hash(plain, known)),
        looks=tuple(planned),
        missing=() if decided else tuple(reference.name for reference in references.missing),
    )


def _looks(model: ModelView, reference: Sketch, options: Options) -> list[PlannedLook]:
    try:
        return _planned(model, reference, options)
    except FileError:  # the scan itself will say why
        return []


def _planned(model: ModelView, reference: Sketch, options: Options) -> list[PlannedLook]:
    out = []
    before: Look | None = None
    for look in looks(model, reference, first_layers=options.first_layers):
        ranges, size = look.cost(model)
        had_ranges, had = before.cost(model) if before else (0, 0)
        if before and before.neurons == look.neurons:  # more layers: those read before are not read again
            ranges -= had_ranges
        out.append(
            PlannedLook(
                model=model.container.files[0],
                reference=reference.name,
                rung="aligned-neurons",
                layers=len(look.layers),
                neurons=look.neurons,
                ranges=ranges,
                bytes=size - had,
            )
        )
        before = look
    out += [
        PlannedLook(
            model=model.container.files[0],
            reference=reference.name,
            rung=cost.rung,
            layers=cost.layers,
            neurons=0,
            ranges=cost.ranges,
            bytes=cost.bytes,
        )
        for cost in upper_costs(model, reference, depth=options.depth, first_layers=options.first_layers)
    ]
    return out
