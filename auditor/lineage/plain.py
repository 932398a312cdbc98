"""What is left to compare where a model's neurons cannot be: token embeddings, and a head that is tied to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.errors import FileError
from auditor.lineage.embeddings import shared_embeddings
from auditor.lineage.ladder import model_label
from auditor.lineage.stats import bonferroni
from auditor.lineage.verdict import DERIVED_LOG10_P, Candidate, Relation

if TYPE_CHECKING:
    from auditor.lineage.embeddings import SharedEmbeddings
    from auditor.lineage.sketch import Sketch
    from auditor.model import ModelView

_TABLES = {"embed": "embeddings", "head": "rows of the head"}


def width_of(view: ModelView) -> int | None:
    """Return the hidden size of a model by its tables of tokens; None where it has none that can be read."""
    return next((shape[1] for role in _TABLES if (shape := _shape(view, role))), None)


def compare_plain(view: ModelView, reference: Sketch, *, tests: int, reason: str) -> Candidate:
    """Compare the tables of tokens alone. A reference keeps no head of its own: only one tied to its embeddings fits.

    Parameters
    ----------
    view : ModelView
    reference : Sketch
    tests : int
        Pairs of model and reference that are compared in this audit.
    reason : str
        Why the neurons are not compared.

    Returns
    -------
    Candidate
        "embeddings-shared" where the tables are the reference's; else "inconclusive", for what was not compared.

    Raises
    ------
    FileError
        When rows of a table cannot be read.
    """
    label = model_label(view)
    found = {role: pair for role in _TABLES if (pair := _shared(view, role, reference))}
    if not found:
        return Candidate(reference=reference.name, model=label, verdict="inconclusive", reason=reason)
    role = min(found, key=lambda role: found[role].log10_p)
    best, log10_p = found[role], bonferroni(found[role].log10_p, tests * len(_TABLES))
    told = f"the {_TABLES[role]} of {best.tokens} tokens"
    if log10_p > DERIVED_LOG10_P:
        reason = f"{reason}; {told} do not agree (mean cosine {best.cosine:.3f})"
        return Candidate(
            reference=reference.name, model=label, verdict="inconclusive", reason=reason, cosine=best.cosine
        )
    return Candidate(
        reference=reference.name,
        model=label,
        verdict="embeddings-shared",
        reason=f"{told} agree (mean cosine {best.cosine:.3f}); neurons were not compared: {reason}",
        log10_p=log10_p,
        cosine=best.cosine,
        relation=Relation(kind="embeddings"),
    )


def _shared(view: ModelView, role: str, reference: Sketch) -> SharedEmbeddings | None:
    tokens, shape = reference.token_rows(), _shape(view, role)
    if tokens is None or shape is None or shape[1] != reference.sample.hidden_size:
        return None
    same = tokens.ids < shape[0]
    if not same.any():
        return None
    return shared_embeddings(tokens.rows[same], view.rows(None, role, tokens.ids[same]))


def _shape(view: ModelView, role: str) -> tuple[int, ...] | None:
    try:
        shape = view.tensor(None, role).shape
    except (KeyError, FileError):
        return None
    return shape if len(shape) == 2 else None
