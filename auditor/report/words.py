"""What every format says in the same words: verdicts, evidence, numbers. Text of the model is made visible here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.escape import visible

if TYPE_CHECKING:
    from auditor.lineage import Candidate, LayerMatch, Lineage, Relation
    from auditor.lineage.merging import Share
    from auditor.report.contract import AdapterSummary, Report

_SHOWN = 12  # of a list, before the rest is only counted
_FEW = 4  # names in a line

_MEANING = {
    "identical": "the weights are those of {reference}",
    "derived": "the weights share descent with {reference}",
    "embeddings-shared": "the token embeddings are those of {reference}; no neurons of it were found",
    "independent": "no shared descent with any reference was found",
    "adapter": "an adapter alone, which proves nothing of where its base comes from",
    "inconclusive": "no verdict",
}


def verdict_in_words(lineage: Lineage) -> str:
    """Say what the verdict means, in a sentence without its full stop."""
    reference = visible(lineage.best.reference) if lineage.best else ""
    meaning = _MEANING[lineage.verdict].format(reference=reference)
    if lineage.verdict in {"inconclusive", "adapter"} and lineage.reason:
        meaning += f": {visible(lineage.reason)}"
    return meaning


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


def evidence_in_words(best: Candidate) -> str:
    """Say what was counted, how likely that is by chance, and how strong the effect."""
    if best.rung == "digest":
        return f"byte copies of files whose digests are known; no weight was read: {visible(best.model)}"
    if best.rung is None:
        p = f"; p = {p_value(best.log10_p)} (exact, corrected)" if best.log10_p is not None else ""
        return (best.reason or "") + p
    pairs = best.layers
    if best.verdict in {"derived", "identical"}:
        pairs = tuple(layer for layer in best.layers if layer.reference is not None) or best.layers
    hits, of = sum(layer.fixed_points for layer in pairs), sum(layer.n for layer in pairs)
    if of == 0:  # layers cannot be told apart by number: all pairs of them were tried
        rung = min(best.rungs, key=lambda rung: rung.log10_p)
        chance = ", as by chance" if best.verdict == "independent" else ""
        text = f"{rung.agreeing} of {rung.tried} sampled neurons in the best pair of layers {_MATCHED[rung.rung]}"
        return f"{text}{chance}; p = {p_value(rung.log10_p)} ({'exact' if rung.exact else 'nominal'}, corrected)"
    text = f"{hits} of {of} sampled neurons {_MATCHED[best.rung or '']}"
    text += f" in {visible(best.reference)}" if best.verdict in {"derived", "identical"} else ", as by chance"
    if best.log10_p is not None:
        text += f"; p = {p_value(best.log10_p)} ({'exact' if best.exact else 'nominal'}, corrected)"
    if best.cosine is not None:
        text += f"; mean row cosine {best.cosine:.4f}"
    if best.verdict not in {"derived", "identical"} and best.detection_limit is not None:
        text += f"; a row cosine of {best.detection_limit:.2g} or more would have been found"
    return text


_TESTS = {
    "aligned-neurons": "neurons in place",
    "framed-neurons": "a rewritten hidden basis",
    "searched-neurons": "neurons in another order",
}


def tests_in_words(best: Candidate) -> str:
    """Say what was looked for and what was not, where nothing was found."""
    ran = {rung.rung for rung in best.rungs}
    done, left = ([text for rung, text in _TESTS.items() if (rung in ran) is found] for found in (True, False))
    return "; ".join(f"{lead}{', '.join(texts)}" for lead, texts in (("", done), ("not ", left)) if texts)


def relation_in_words(best: Candidate) -> str:
    """Say how the target was made of the reference, as far as the data carry."""
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
    by = f"{change.relative:.2g} of their size"
    if change.kind == "low-rank":
        return f"rows changed by {by}, in {change.rank} dimensions of {change.rows}: a merged low-rank adapter"
    if change.kind == "quantised":
        levels = f", at most {change.levels} in a group of 32" if change.levels else ""
        return f"values on few levels{levels}: quantised, an error of {by}"
    if change.kind == "pruned":
        return f"{change.zeros:.0%} of the values are set to zero: pruned"
    if change.kind == "none":
        return "the sampled rows are equal, up to 16-bit rounding"
    return f"rows changed by {by}, in every dimension: trained further, merged or the like"


def _share(share: Share) -> str:
    return f"{share.weight:.2f} ({share.low:.2f} to {share.high:.2f}) of {visible(share.reference)}"


def layers_in_words(layers: tuple[LayerMatch, ...]) -> str:
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


def adapter_in_words(adapter: AdapterSummary) -> str:
    """Say what an adapter is, in one line."""
    return visible(_adapter(adapter), limit=1000)


def _adapter(adapter: AdapterSummary) -> str:
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
    return f"{text}; merged into {adapter.merged_into.uri}, of which {size(adapter.merged_into.bytes_read)} were read"


def _several(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_FEW]) + (f" and {len(names) - _FEW} more" if len(names) > _FEW else "")


def exit_in_words(report: Report) -> str:
    """Say why the exit code is what it is, and count the findings."""
    statuses = [finding.status for finding in report.findings]
    order = ("fail", "unknown", "warn", "manual", "pass")
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in order if status in statuses)
    why = {0: "nothing to act on", 1: "findings to act on", 3: "incomplete or inconclusive"}[report.exit_code]
    return why + (f" ({counts})" if counts else "")


def p_value(log10_p: float) -> str:
    """Write a p-value that may be far below what a float holds."""
    if log10_p > -4:
        return f"{10**log10_p:.2g}"
    exponent = int(log10_p // 1)
    return f"{10 ** (log10_p - exponent):.1f}e{exponent}"


def size(count: int) -> str:
    """Write a number of bytes in decimal units."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
