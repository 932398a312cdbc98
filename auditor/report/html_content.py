"""What the page says, as values that a template only has to place. Text of the model is visible in all of them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from auditor.lineage.verdict import FOUND
from auditor.report.html_claims import Claim, claims_of
from auditor.report.html_findings import Duties, duties_of
from auditor.report.html_layers import Layers, layers_of
from auditor.report.words import (
    evidence_in_words,
    exit_in_words,
    layers_in_words,
    p_value,
    relation_in_words,
    size,
    tests_in_words,
    verdict_in_words,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditor.lineage import Candidate, Lineage
    from auditor.report.contract import Report
    from auditor.report.html_text import Caps, Part
    from auditor.report.results import Place
    from auditor.sources import FileInfo

_MEANING: Final = {
    "identical": "These are the weights of {reference}, under whatever name the files go. Its licence and its duties "
    "come with them.",
    "derived": "This model was not trained independently of {reference}: one was made from the other, or both from a "
    "common ancestor. Likeness has no direction: dates, digests and what is known of the reference tell which.",
    "embeddings-shared": "The table of token embeddings was taken from {reference}. The network that stands on it was "
    "not found to be.",
    "independent": "Nothing ties these weights to any reference that they were held against. That speaks of those "
    "references alone, and of likeness no weaker than what the tests can see.",
    "adapter": "These files change a model that is not among them. Which one is a claim that they cannot prove.",
    "inconclusive": "The weights gave no answer. That is neither a clean result nor a suspicion.",
}
"""What each verdict means, for a reader who will not look at a number."""

_TONES: Final = {**dict.fromkeys(FOUND, "found"), "independent": "none"}

_KINDS: Final = {
    "local": "on this machine",
    "hub": "on the Hub",
    "mlflow": "in an MLflow registry",
    "oci": "in an OCI registry",
    "s3": "in an S3 bucket",
    "gs": "in a Google Cloud bucket",
}
_SOURCES: Final = {
    "computed": "computed here",
    "hub": "from the Hub, not recomputed",
    "registry": "from the registry, not recomputed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A key number: what it is, its value with a power of ten where it has one, and how to read it."""

    label: str
    value: str
    power: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """Another reference that the target was held against."""

    reference: str
    model: str
    verdict: str
    p: str
    cosine: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of the target, or one that was not read; `about` is who vouches for the digest, or why not."""

    path: str
    about: str
    size: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A reference's part in a merge, with its 95% interval."""

    reference: str
    weight: str
    interval: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Everything on the page, in the order that it stands there."""

    version: str
    target: str
    about_target: tuple[str, ...]
    verdict: str
    tone: str
    sentence: str
    meaning: str
    reason: str
    outcome: str
    numbers: tuple[Number, ...]
    reference: str
    layers: Layers | None
    layers_in_words: str
    evidence: str
    how: str
    looked_for: str
    shares: Part[Share]
    others: Part[Other]
    supporting: Part[tuple[str, str]]
    duties: Duties
    claims: Part[Claim]
    files: Part[File]
    files_whole: str
    unread: Part[File]
    argument: str


def page_of(report: Report, place: Place | None, caps: Caps) -> Page:
    """Gather what the page says, no more of it than `caps` allows."""
    lineage = report.lineage
    best = _decided(lineage)
    relation = best.relation if best else None
    files = sorted(report.target.files, key=lambda file: (-file.size, file.path))
    said = verdict_in_words(replace(lineage, reason=None))
    return Page(
        version=caps.seen(report.tool_version),
        target=caps.seen(report.target.uri),
        about_target=tuple(_about_target(report, place, caps)),
        verdict=lineage.verdict,
        tone=_TONES.get(lineage.verdict, "open"),
        sentence=caps.seen(f"{said[:1].upper()}{said[1:]}"),
        meaning=_MEANING[lineage.verdict].format(reference=caps.seen(best.reference if best else "")),
        reason=caps.seen(lineage.reason),
        outcome=exit_in_words(report).partition(" (")[0],
        numbers=tuple(_numbers(report, best, caps)),
        reference=caps.seen(best.reference) if best else "",
        layers=layers_of(best) if best else None,
        layers_in_words=caps.seen(layers_in_words(best.layers)) if best else "",
        evidence=caps.seen(evidence_in_words(best)) if best else "",
        how=caps.seen(relation_in_words(best)) if best else "",
        looked_for=caps.seen(tests_in_words(best)) if best and lineage.verdict == "independent" else "",
        shares=caps.head(
            relation.shares if relation else (),
            lambda share: Share(
                reference=caps.seen(share.reference),
                weight=f"{share.weight:.2f}",
                interval=f"{share.low:.2f} to {share.high:.2f}",
            ),
        ),
        others=caps.head([c for c in lineage.candidates if c is not best], lambda other: _other(other, caps)),
        supporting=_supporting(lineage, caps),
        duties=duties_of(report, caps),
        claims=claims_of(report, caps),
        files=caps.head(files, lambda file: _file(file, caps)),
        files_whole=_whole(report),
        unread=caps.head(
            report.coverage.unread, lambda file: File(path=caps.seen(file.path), about=caps.seen(file.reason))
        ),
        argument=_argument(report.target.uri, caps),
    )


def _decided(lineage: Lineage) -> Candidate | None:
    """Return the candidate that has evidence of its own to show."""
    best = lineage.best
    tested = best is not None and (best.rung is not None or lineage.verdict == "embeddings-shared")
    return best if tested else None


def _about_target(report: Report, place: Place | None, caps: Caps) -> Iterator[str]:
    yield caps.seen(_KINDS.get(report.target.kind, report.target.kind))
    if report.target.revision:
        yield caps.seen(f"revision {report.target.revision}")
    if place is not None:
        yield caps.seen(f"named in {place.path}, line {place.line}")


def _numbers(report: Report, best: Candidate | None, caps: Caps) -> Iterator[Number]:
    if best is not None and best.log10_p is not None:
        mantissa, _, power = p_value(best.log10_p).partition("e")
        kind = "exact" if best.exact else "nominal"
        note = f"Chance of such agreement between models trained apart; {kind}, corrected"
        yield Number(label="p-value", value=mantissa, power=power.replace("-", "\u2212"), note=note)
    if best is not None and best.cosine is not None:
        note = "1: the same direction. 0: unrelated"
        yield Number(label="Mean row cosine", value=f"{best.cosine:.4f}".replace("-", "\u2212"), note=note)
    if best is not None and best.verdict not in FOUND and best.detection_limit is not None:
        note = "Smallest row cosine that would have been found"
        yield Number(label="Could have seen", value=f"{best.detection_limit:.2g}", note=note)
    elif best is not None and any(layer.n > 0 for layer in best.layers):
        matched = [layer for layer in best.layers if layer.reference is not None] or best.layers
        hits, of = sum(layer.fixed_points for layer in matched), sum(layer.n for layer in matched)
        yield Number(label="Neurons matched", value=f"{hits} of {of}", note="Sampled in the layers that were matched")
    read = report.coverage
    note = f"Of {_whole(report)}; {read.requests} reads, {read.seconds:.2f}\u00a0s"
    if read.weights_of is not None:
        note += f". Weights: as read at {caps.seen(read.weights_of)}, with the same SHA-256 digests"
    yield Number(label="Read", value=size(read.bytes_read), note=note)


def _whole(report: Report) -> str:
    files = report.target.files
    return f"{size(sum(file.size for file in files))} in {len(files)} file{'s' if len(files) != 1 else ''}"


def _other(candidate: Candidate, caps: Caps) -> Other:
    return Other(
        reference=caps.seen(candidate.reference),
        model=caps.seen(candidate.model),
        verdict=candidate.verdict,
        p=p_value(candidate.log10_p) if candidate.log10_p is not None else "",
        cosine=f"{candidate.cosine:.4f}" if candidate.cosine is not None else "",
        reason=caps.seen(candidate.reason),
    )


def _supporting(lineage: Lineage, caps: Caps) -> Part[tuple[str, str]]:
    """Return what else was seen. Beside a sure verdict only what is as sure: the rest would seem to have a say."""
    sure = lineage.verdict in {"identical", "derived", "independent"}
    pieces = [evidence for evidence in lineage.supporting if evidence.kind == "known-file" or not sure]
    return caps.head(pieces, lambda piece: (caps.seen(piece.reference), caps.seen(piece.text)))


def _file(file: FileInfo, caps: Caps) -> File:
    return File(
        path=caps.seen(file.path),
        size=size(file.size),
        sha256=caps.seen(file.sha256),
        about=_SOURCES.get(file.digest_source or "", "not taken"),
    )


def _argument(uri: str, caps: Caps) -> str:
    """Return the target as a shell takes it, where it can be copied from a page as it is."""
    safe = caps.seen(uri) == uri and not uri.startswith("-")
    return shlex.quote(uri) if safe else "TARGET"
