"""Claims made in running text: a README's body read sentence by sentence.

The rules are careful in one direction: they miss rather than accuse. A sentence counts when its grammar says that
it speaks of this model, states a fact, and is not denied; comparisons, thanks, questions, instructions and
sentences about other models do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.compliance.claims.prose.markdown import read_markdown
from auditor.compliance.claims.prose.openness import open_source_claim
from auditor.compliance.claims.prose.standing import endorsement_claim, ownership_claim, warranty_claim
from auditor.compliance.claims.prose.terms import terms
from auditor.compliance.claims.prose.training import bases, denial, scratch_claim, teachers
from auditor.compliance.claims.values import Claim, Where, blank_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditor.compliance.claims.prose.markdown import Sentence
    from auditor.compliance.claims.values import Kind, Subject

_QUOTE = 300


def claims_in_prose(body: str, *, path: str, first_line: int = 1, own_names: tuple[str, ...] = ()) -> tuple[Claim, ...]:
    r"""Gather what a page's sentences claim.

    Parameters
    ----------
    body : str
        Markdown, line ends as "\n".
    path : str
        File inside the target.
    first_line : int
        Line number of the body's first line in that file.
    own_names : tuple of str
        Names of this model: a sentence about "Falcon" is about another model, unless this one is called so.

    Returns
    -------
    tuple of Claim
        In the order of the page.

    Examples
    --------
    >>> text = "This model is open source. It beats open-source models."
    >>> [claim.kind for claim in claims_in_prose(text, path="README.md")]
    ['open-source']
    """
    page = read_markdown(body, first_line=first_line)
    title = tuple(sentence.text[:120] for sentence in page.sentences if sentence.level == 1)[:1]
    found: dict[Claim, None] = {}
    for sentence in page.sentences:
        for kind, value, subject in _claims(sentence, own_names + title):
            where = Where(path=path, line=sentence.line)
            quote = blank_secrets(sentence.text[:_QUOTE])
            found[Claim(kind=kind, value=blank_secrets(value), subject=subject, where=where, quote=quote)] = None
    return tuple(found)


def _claims(sentence: Sentence, own_names: tuple[str, ...]) -> Iterator[tuple[Kind, str, Subject]]:
    if sentence.level == 1 and not sentence.section:
        yield "name", sentence.text, "weights"
    if not sentence.links and not any(map(str.isalpha, sentence.text)):  # "1." claims nothing
        return
    words: tuple[tuple[Kind, str | None], ...] = (
        ("open-source", open_source_claim(sentence, own_names)),
        ("from-scratch", scratch_claim(sentence, own_names)),
        ("not-derived", denial(sentence)),
        ("endorsement", endorsement_claim(sentence)),
        ("ownership", ownership_claim(sentence)),
        ("warranty", warranty_claim(sentence)),
    )
    for kind, said in words:
        if said:
            yield kind, said, "weights"
    for base in bases(sentence):
        yield "base-model", base.value, "weights"
        if base.relation:
            yield "relation", base.relation, "weights"
    for teacher in teachers(sentence):
        yield "teacher", teacher, "data"
    for stated in terms(sentence, own_names):
        yield "license", stated.value, stated.subject
        if stated.link:
            yield "license-link", stated.link, stated.subject
