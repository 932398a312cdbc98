"""The report as a bill of materials of the model: CycloneDX 1.6, JSON.

What the weights descend from is the model's pedigree, with the evidence for it; a model that shares weights without
being sure to descend is a variant there. No time stands in it, and its serial number is made from its contents: the
same audit gives the same bytes.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Final

from auditor.compliance.claims.licenses import parse_license
from auditor.compliance.policy import load_policies
from auditor.escape import visible
from auditor.lineage import FOUND
from auditor.lineage.references import list_references
from auditor.report.catalogue import cover
from auditor.report.locating import LONGEST
from auditor.report.purls import generic_purl, group_and_name, hub_purl, target_purl
from auditor.report.results import results
from auditor.report.words import (
    adapter_in_words,
    evidence_in_words,
    layers_in_words,
    p_value,
    relation_in_words,
    verdict_in_words,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from auditor.findings import Finding
    from auditor.lineage import Candidate
    from auditor.lineage.references import Reference
    from auditor.report.contract import Report
    from auditor.report.results import Placed
    from auditor.sources import FileInfo

    Json = dict[str, object]

VERSION: Final = "1.6"
_TOOL, _MODEL = "auditor", "model"  # names inside the document
_CANDIDATES: Final = 50  # comparisons listed one by one


def render(placed: Sequence[Placed]) -> str:
    """Return a report as one CycloneDX document in ASCII."""
    (only,) = placed
    contents = _contents_of(only.report)
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(contents, sort_keys=True))
    document = {
        "$schema": f"http://cyclonedx.org/schema/bom-{VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": VERSION,
        "serialNumber": serial.urn,
        "version": 1,
        **contents,
    }
    return json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _contents_of(report: Report) -> Json:
    version = visible(report.tool_version)
    tool = {"bom-ref": _TOOL, "type": "application", "name": "auditor", "version": version}
    lifecycle = {"name": "audit", "description": "an audit of published weights, by reading them"}
    return {
        "metadata": {
            "lifecycles": [lifecycle],
            "tools": {"components": [tool]},
            "component": _component(report),
        },
    }


def _component(report: Report) -> Json:
    target = report.target
    group, name = group_and_name(target)
    licenses = [*_declared(report), *_concluded(report)]
    pedigree = _pedigree(report)
    return {
        "bom-ref": _MODEL,
        "type": "machine-learning-model",
        **({"group": group} if group else {}),
        "name": name,
        **({"version": visible(target.revision)} if target.revision else {}),
        "purl": target_purl(target),
        **_files(target.files),
        **({"licenses": licenses} if licenses else {}),
        **({"pedigree": pedigree} if pedigree else {}),
        "modelCard": _card(report),
        "properties": [_property(key, value) for key, value in _properties(report)],
    }


def _files(files: Sequence[FileInfo]) -> Json:
    """Return the digest of a target that is one file, or every file as a component with its own."""
    if len(files) == 1:
        return _hashes(files[0])
    listed = [
        {
            "bom-ref": f"file-{number}",
            "type": "file",
            "name": visible(file.path, limit=LONGEST) or "(empty)",
            **_hashes(file),
            "properties": [_property("size", str(file.size))],
        }
        for number, file in enumerate(files, start=1)
    ]
    return {"components": listed} if listed else {}


def _hashes(file: FileInfo) -> Json:
    return {"hashes": [{"alg": "SHA-256", "content": file.sha256}]} if file.sha256 else {}


def _pedigree(report: Report) -> Json:
    """Return what the weights come from: the base that decided and the parts of a merge, then what else is alike."""
    best = report.lineage.best
    if best is None or report.lineage.verdict not in FOUND:
        return {}
    table = {reference.name: reference for reference in list_references()}
    merged = best.relation.shares if best.relation is not None else ()
    parents = {share.reference for share in merged} | (
        {best.reference} if best.verdict != "embeddings-shared" else set()
    )
    found = {candidate.reference: candidate for candidate in reversed(report.lineage.candidates or (best,))}
    alike = {best.reference: best} | {name: each for name, each in found.items() if each.verdict in FOUND}
    kinds: dict[str, list[Json]] = {"ancestors": [], "variants": []}
    for number, candidate in enumerate(alike.values(), start=1):
        kind = "ancestors" if candidate.reference in parents else "variants"
        kinds[kind].append(_relative(candidate, table.get(candidate.reference), f"reference-{number}"))
    return {kind: listed for kind, listed in kinds.items() if listed} | {"notes": " ".join(_notes(report, best))}


def _notes(report: Report, best: Candidate) -> Iterator[str]:
    yield f"{report.lineage.verdict}: {verdict_in_words(report.lineage)}."
    if best.relation is not None:
        yield f"How: {relation_in_words(best)}."
    if best.layers:
        yield f"Layers: {layers_in_words(best.layers)}."
    for adapter in report.target.adapters:
        if adapter.merged_into is not None:
            into = visible(adapter.merged_into.uri)
            yield f"The adapter {visible(adapter.file)} was merged into {into} for the audit, by the user's choice."


def _relative(candidate: Candidate, reference: Reference | None, name: str) -> Json:
    """Return a reference as a component, with the evidence that the target holds its weights."""
    repo = reference.repo if reference is not None else None
    purl = hub_purl(repo) if repo else generic_purl(visible(candidate.reference) or "reference")
    group, _, own = repo.rpartition("/") if repo else ("", "", visible(candidate.reference) or "reference")
    confidence = _confidence(candidate)
    identity = {
        "field": "purl",
        "confidence": confidence,
        "concludedValue": purl,
        "methods": [
            {
                "technique": "hash-comparison" if candidate.rung == "digest" else "binary-analysis",
                "confidence": confidence,
                "value": _method(candidate),
            }
        ],
        "tools": [_TOOL],
    }
    return {
        "bom-ref": name,
        "type": "machine-learning-model",
        **({"group": group} if group else {}),
        "name": own,
        **({"description": reference.title} if reference is not None else {}),
        **({"licenses": [_license(reference.license)]} if reference is not None else {}),
        "purl": purl,
        "evidence": {"identity": [identity]},
        "properties": [_property("reference", candidate.reference), _property("model", candidate.model)],
    }


def _confidence(candidate: Candidate) -> float:
    """Return 1 less the p-value, which no float tells from 1 where a verdict was given: the value says the rest."""
    return 1.0 if candidate.log10_p is None else round(1.0 - min(1.0, 10.0**candidate.log10_p), 6)


def _method(candidate: Candidate) -> str:
    parts = [candidate.rung or "embeddings"]
    if candidate.log10_p is not None:
        parts.append(f"log10 p = {candidate.log10_p:.6g} ({'exact' if candidate.exact else 'nominal'}, corrected)")
    return "; ".join([*parts, evidence_in_words(candidate)])


def _license(declared: str, acknowledgement: str | None = None) -> Json:
    known = parse_license(declared)
    plain = known.spdx is not None and not known.parts and not known.spdx.startswith("LicenseRef-")
    told: Json = {"id": known.spdx} if plain else {"name": known.spdx or declared}
    return {"license": told | ({"acknowledgement": acknowledgement} if acknowledgement is not None else {})}


def _declared(report: Report) -> list[Json]:
    """Return the licences that the target's metadata declare, each once; the name stands for `license: other`."""
    said = [claim for claim in report.target.declared if claim.kind in {"license", "license-name"}]
    named = any(claim.kind == "license-name" for claim in said)
    values = dict.fromkeys(
        visible(claim.value) for claim in said if not (named and claim.value.strip().lower() == "other")
    )
    return [_license(value or "(empty)", "declared") for value in values]


def _concluded(report: Report) -> list[Json]:
    """Return the licence that binds every descendant of the base, where the weights show descent from such a one.

    The licence of another base is no conclusion: terms that allow it are replaced in fine-tunes.
    """
    best = report.lineage.best
    if best is None or report.lineage.verdict not in {"identical", "derived"}:
        return []
    policy = next((policy for policy in load_policies(()) if policy.binds(best.reference)), None)
    if policy is None:
        return []
    told = {"name": policy.title, "url": policy.agreement_url, "acknowledgement": "concluded"}
    return [{"license": told}]


def _card(report: Report) -> Json:
    """Return what the audit can say of a model card's matters: the base, and what is not known of the weights."""
    lineage = report.lineage
    unknown = [f"{finding.title}: {finding.evidence}" for finding in _gaps(report)]
    told = [_property("verdict", lineage.verdict)]
    if lineage.best is not None and lineage.verdict in FOUND:
        told.append(_property("base_model", lineage.best.reference))
        if lineage.best.relation is not None:
            told.append(_property("relation", relation_in_words(lineage.best)))
    limits = [visible(text, limit=LONGEST) for text in unknown]
    return {**({"considerations": {"technicalLimitations": limits}} if limits else {}), "properties": told}


def _gaps(report: Report) -> Iterator[Finding]:
    for result in results(report):
        if result.finding.id.startswith("AUD-"):
            yield result.finding


def _properties(report: Report) -> Iterator[tuple[str, str]]:
    lineage = report.lineage
    yield "target", report.target.uri
    yield "verdict", lineage.verdict
    yield "complete", str(report.coverage.complete).lower()
    yield "exit_code", str(report.exit_code)
    if lineage.best is not None and lineage.best.detection_limit is not None:
        yield "detection_limit", f"{lineage.best.detection_limit:.6g}"
    for adapter in report.target.adapters:
        yield "adapter", adapter_in_words(adapter)
    for candidate in lineage.candidates[:_CANDIDATES]:
        yield "candidate", _compared(candidate)
    if len(lineage.candidates) > _CANDIDATES:
        yield "candidates", str(len(lineage.candidates))
    for result in results(report):
        finding = result.finding
        if finding.status != "n/a":
            covered = f" ({cover(finding)})" if cover(finding) else ""
            where = f"{finding.path}: " if finding.path else ""
            yield f"finding:{finding.id}", f"{finding.status}{covered}: {where}{finding.evidence or finding.title}"


def _compared(candidate: Candidate) -> str:
    why = candidate.reason or (f"p = {p_value(candidate.log10_p)}" if candidate.log10_p is not None else "")
    text = f"{candidate.reference} against {candidate.model}: {candidate.verdict}"
    return f"{text}, {why}" if why else text


def _property(key: str, value: str) -> Json:
    return {"name": visible(f"auditor:{key}"), "value": visible(value, limit=LONGEST)}
