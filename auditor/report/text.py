"""The report for a person at a terminal: verdict first, then why, then what was read."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from auditor.escape import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditor.lineage import Candidate, LayerMatch, Lineage, Relation
    from auditor.lineage.merging import Share
    from auditor.report.contract import AdapterSummary, Report

_WIDTH = 80
_LABEL = 11
_SHOWN = 12  # rows of a list before the rest is only counted

_FEW = 4  # names in a line

_ACTS = ("fail", "unknown", "warn")  # statuses shown one by one, gravest first

_MEANING = {
    "identical": "the weights are those of {reference}",
    "derived": "the weights share descent with {reference}",
    "embeddings-shared": "the token embeddings are those of {reference}; no neurons of it were found",
    "independent": "no shared descent with any reference was found",
    "adapter": "an adapter alone, which proves nothing of where its base comes from",
    "inconclusive": "no verdict",
}


def render(report: Report) -> str:
    """Return the report as plain text, at most 80 columns wide but for long file names."""
    lines: list[str] = []
    lines += _verdict(report.lineage)
    lines += _adapters(report)
    lines += _evidence(report.lineage)
    lines += _findings(report)
    lines += _coverage(report)
    lines.append(f"exit {report.exit_code}: {_exit_meaning(report)}")
    return "\n".join(lines) + "\n"


def _verdict(lineage: Lineage) -> Iterator[str]:
    reference = visible(lineage.best.reference) if lineage.best else ""
    meaning = _MEANING[lineage.verdict].format(reference=reference)
    if lineage.verdict in {"inconclusive", "adapter"} and lineage.reason:
        meaning += f": {visible(lineage.reason)}"
    yield from _wrap(f"{lineage.verdict.upper()}  ", meaning)


def _adapters(report: Report) -> Iterator[str]:
    adapters = report.target.adapters
    if adapters:
        yield ""
    for adapter in adapters[:_SHOWN]:
        yield from _entry("adapter", visible(_in_short(adapter)))
    if len(adapters) > _SHOWN:
        yield from _entry("", f"and {len(adapters) - _SHOWN} more adapters")


def _in_short(adapter: AdapterSummary) -> str:
    kind = " ".join(
        [
            adapter.method or "of no stated kind",
            *([f"of rank {adapter.rank}"] if adapter.rank is not None else []),
            *([f"and alpha {adapter.alpha:g}"] if adapter.alpha is not None else []),
        ]
    )
    text = f"{adapter.file}: {kind}, changes {adapter.changed} matrices"
    if adapter.target_modules:
        text += f" ({_several(adapter.target_modules)})"
    if adapter.saved:
        text += f", holds {len(adapter.saved)} tensors whole ({_several(adapter.saved)})"
    text += f"; it names {adapter.base} as its base" if adapter.base else "; it names no base"
    if adapter.merged_into is None:
        return text + (f"; it cannot be merged: {adapter.problems[0]}" if adapter.problems else "")
    return f"{text}; merged into {adapter.merged_into.uri}, of which {_size(adapter.merged_into.bytes_read)} were read"


def _several(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_FEW]) + (f" and {len(names) - _FEW} more" if len(names) > _FEW else "")


def _evidence(lineage: Lineage) -> Iterator[str]:
    best = lineage.best
    if lineage.candidates and (best is None or best.rung is not None or len(lineage.candidates) > 1):
        yield ""
    if best is not None and (best.rung is not None or lineage.verdict == "embeddings-shared"):
        if len({candidate.model for candidate in lineage.candidates}) > 1:
            yield from _entry("model", visible(best.model))
        yield from _entry("evidence", _in_words(best))
        if best.relation is not None:
            yield from _entry("how", _relation(best))
        if best.layers:
            read = len(best.layers)
            part = f" ({read} of {best.layers_in_model} layers were read)" if read < best.layers_in_model else ""
            yield from _entry("layers", _layer_map(best.layers) + part)
        if lineage.verdict == "independent":
            yield from _entry("not tested", "a rewritten hidden basis, permuted neurons (later versions)")
    # An untested best one's reason already stands in the verdict.
    others = [candidate for candidate in lineage.candidates if candidate is not best]
    for candidate in others[:_SHOWN]:
        yield from _entry("also held", _other(candidate))
    if len(others) > _SHOWN:
        yield from _entry("", f"and {len(others) - _SHOWN} more")
    # Beside a sure verdict, only what is as sure: the rest would read as if it had a say.
    sure = lineage.verdict in {"identical", "derived", "independent"}
    pieces = [evidence for evidence in lineage.supporting if evidence.kind == "known-file" or not sure]
    for evidence in pieces[:_SHOWN]:
        about = f"{visible(evidence.reference)}: " if evidence.reference else ""
        yield from _entry("supporting", f"{about}{visible(evidence.text)}")


_MATCHED = {
    "aligned-neurons": "are matched to their own position",
    "framed-neurons": "are matched to their own position once the hidden basis is undone",
    "searched-neurons": "are found again by gate and up alike, in another order or basis",
}
_KINDS = {
    "copy": "every sampled value is equal, up to 16-bit rounding",
    "disguised": "rows differ, and agree once a rewrite that keeps the model's function is undone",
    "embeddings": "token embeddings only",
}


def _in_words(best: Candidate) -> str:
    if best.rung == "digest":
        return f"byte copies of files whose digests are known; no weight was read: {visible(best.model)}"
    if best.rung is None:
        p = f"; p = {_p(best.log10_p)} (exact, corrected)" if best.log10_p is not None else ""
        return (best.reason or "") + p
    pairs = best.layers
    if best.verdict in {"derived", "identical"}:
        pairs = tuple(layer for layer in best.layers if layer.reference is not None) or best.layers
    hits, of = sum(layer.fixed_points for layer in pairs), sum(layer.n for layer in pairs)
    text = f"{hits} of {of} sampled neurons {_MATCHED[best.rung or '']}"
    text += f" in {visible(best.reference)}" if best.verdict in {"derived", "identical"} else ", as by chance"
    if best.log10_p is not None:
        text += f"; p = {_p(best.log10_p)} ({'exact' if best.exact else 'nominal'}, corrected)"
    if best.cosine is not None:
        text += f"; mean row cosine {best.cosine:.4f}"
    if best.verdict not in {"derived", "identical"} and best.detection_limit is not None:
        text += f"; a row cosine of {best.detection_limit:.2g} or more would have been found"
    return text


def _relation(best: Candidate) -> str:
    relation = best.relation
    if relation is None:
        return ""
    if best.verdict == "identical":
        parts = ["every value of every tensor is equal"]
    else:
        parts = [_KINDS.get(relation.kind) or _changed(relation)]
    if relation.experts:
        parts.append(f"up to {relation.experts} experts a layer hold the neurons of one MLP")
    if relation.shares:
        parts.append("a merge: " + ", ".join(_share(share) for share in relation.shares))
    for name, layers in (
        ("dropped", relation.dropped),
        ("repeated", relation.repeated),
        ("new", relation.added),
    ):
        if layers:
            whose = "target" if name == "new" else "reference"
            parts.append(f"{whose} layer{'s' if len(layers) > 1 else ''} {_numbers(layers)} {name}")
    if relation.reordered:
        parts.append("layers reordered")
    return "; ".join(parts)


def _changed(relation: Relation) -> str:
    change = relation.change
    if change is None:
        return "the same neurons with changed values"
    size = f"{change.relative:.2g} of their size"
    if change.kind == "low-rank":
        return f"rows changed by {size}, in {change.rank} dimensions of {change.rows}: a merged low-rank adapter"
    if change.kind == "quantised":
        levels = f", at most {change.levels} in a group of 32" if change.levels else ""
        return f"values on few levels{levels}: quantised, an error of {size}"
    if change.kind == "pruned":
        return f"{change.zeros:.0%} of the values are set to zero: pruned"
    if change.kind == "none":
        return "the sampled rows are equal, up to 16-bit rounding"
    return f"rows changed by {size}, in every dimension: trained further, merged or the like"


def _share(share: Share) -> str:
    return f"{share.weight:.2f} ({share.low:.2f} to {share.high:.2f}) of {visible(share.reference)}"


def _layer_map(layers: tuple[LayerMatch, ...]) -> str:
    """Write runs of layers that move together as one: `0-9 from 0-9`."""
    runs: list[list[LayerMatch]] = []
    for layer in layers:
        last = runs[-1][-1] if runs else None
        if last is not None and layer.target == last.target + 1 and _follows(last, layer):
            runs[-1].append(layer)
        else:
            runs.append([layer])
    shown = [_run(run) for run in runs[:_SHOWN]]
    return ", ".join(shown) + (f", and {len(runs) - _SHOWN} more runs" if len(runs) > _SHOWN else "")


def _follows(last: LayerMatch, layer: LayerMatch) -> bool:
    if last.reference is None or layer.reference is None:
        return last.reference is layer.reference
    return layer.reference == last.reference + 1


def _run(run: list[LayerMatch]) -> str:
    target = _span(run[0].target, run[-1].target)
    if run[0].reference is None or run[-1].reference is None:
        return f"{target} from none"
    return f"{target} from {_span(run[0].reference, run[-1].reference)}"


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _numbers(numbers: tuple[int, ...]) -> str:
    head = ", ".join(map(str, numbers[:_SHOWN]))
    return head + (f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else "")


def _other(candidate: Candidate) -> str:
    text = f"{visible(candidate.reference)} against {visible(candidate.model)}: {candidate.verdict}"
    if candidate.reason:
        return f"{text}, {visible(candidate.reason)}"
    return text + (f", p = {_p(candidate.log10_p)}" if candidate.log10_p is not None else "")


def _findings(report: Report) -> Iterator[str]:
    """Write what needs acting on, gravest first; duties that only a person can vouch for are one entry."""
    shown = [finding for status in _ACTS for finding in report.findings if finding.status == status]
    if shown:
        yield ""
    for finding in shown:
        waived = f" (waived until {finding.waived_until})" if finding.waived_until else ""
        clause = f" [clause {finding.clause}]" if finding.clause else ""
        yield from _wrap(f"{finding.status:<{_LABEL}}", f"{finding.id}{clause} {visible(finding.title)}{waived}")
        for label, value in (("where", finding.path), ("evidence", finding.evidence), ("fix", finding.fix)):
            if value:
                yield from _wrap(" " * _LABEL + f"{label}: ", visible(value))
    manual = [finding.id for finding in report.findings if finding.status == "manual"]
    if manual:
        text = f"{len(manual)} duties that only a person can vouch for have no statement: {', '.join(manual)}"
        yield from _entry("manual", text)
        yield from _wrap(" " * _LABEL + "fix: ", "Record who says so, when and until when, in auditor.toml.")


def _coverage(report: Report) -> Iterator[str]:
    coverage = report.coverage
    total = sum(file.size for file in report.target.files)
    yield ""
    yield from _entry(
        "read",
        f"{_size(coverage.bytes_read)} of {_size(total)} in {len(report.target.files)} files, "
        f"{coverage.requests} reads, {coverage.seconds:.2f} s",
    )
    for unread in coverage.unread[:_SHOWN]:
        yield from _entry("unread", f"{visible(unread.path)}: {visible(unread.reason)}")
    if len(coverage.unread) > _SHOWN:
        yield from _entry("", f"and {len(coverage.unread) - _SHOWN} more unread files")


def _exit_meaning(report: Report) -> str:
    statuses = [finding.status for finding in report.findings]
    order = ("fail", "unknown", "warn", "manual", "pass")
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in order if status in statuses)
    why = {0: "nothing to act on", 1: "findings to act on", 3: "incomplete or inconclusive"}[report.exit_code]
    return why + (f" ({counts})" if counts else "")


def _p(log10_p: float) -> str:
    """Write a p-value that may be far below what a float holds."""
    if log10_p > -4:
        return f"{10**log10_p:.2g}"
    exponent = int(log10_p // 1)
    return f"{10 ** (log10_p - exponent):.1f}e{exponent}"


def _size(count: int) -> str:
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _entry(label: str, text: str) -> Iterator[str]:
    yield from _wrap(f"{label:<{_LABEL}}", text)


def _wrap(lead: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        width=_WIDTH,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [lead.rstrip()]
