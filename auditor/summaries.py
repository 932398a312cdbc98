"""What a report says of a target beside its weights: its adapters, and what its metadata declare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from auditor.limits import LIMITS
from auditor.report import AdapterSummary, Declared, MergedInto

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auditor.compliance.claims.values import Claim
    from auditor.model import Subjects
    from auditor.sources import MeteredSource


def summaries(subjects: Subjects, base: MeteredSource | None) -> tuple[AdapterSummary, ...]:
    """Return what a report says of the adapters of a target; `base` is what the user had them merged into."""
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


_DECLARED: Final = frozenset({"license", "license-name", "license-link", "base-model"})


def declared_by(claims: Iterable[Claim]) -> tuple[Declared, ...]:
    """Return what metadata fields say of licence and base; what prose says is evidence of findings."""
    said = (
        Declared(kind=claim.kind, value=claim.value, path=claim.where.path, line=claim.where.line)
        for claim in claims
        if claim.kind in _DECLARED and not claim.in_prose
    )
    return tuple(dict.fromkeys(said))[: LIMITS.metadata_values]
