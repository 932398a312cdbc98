"""What the card shall say of licence and base, as far as the weights, or the repository itself, carry it."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from auditor.compliance.claims.licenses import parse_license
from auditor.compliance.claims.repoid import parse_repo_id
from auditor.compliance.fixes.cardpatch import FieldEdit
from auditor.compliance.situation import Derivation
from auditor.escape import visible
from auditor.lineage import FOUND

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from auditor.compliance.claims.card import Card
    from auditor.compliance.claims.licenses import DeclaredLicense
    from auditor.compliance.repository import Repository
    from auditor.compliance.situation import Situation
    from auditor.findings import Status
    from auditor.lineage import Candidate

PUTS_RIGHT: Final = {
    "license": frozenset({"CARD-001", "CARD-003", "CARD-004", "CARD-005"}),
    "license_name": frozenset({"CARD-003"}),
    "license_link": frozenset({"CARD-003"}),
    "base_model": frozenset({"BASE-001"}),
}
"""Rules that a field answers once it is written."""

_QUANTISED_SUFFIX: Final = ".gguf"
_WEIGHTS: Final = frozenset({".safetensors", ".bin", ".pt", ".pth"})
_MERGE_TAGS: Final = frozenset({"merge", "mergekit"})


def the_card(repository: Repository) -> Card | None:
    """Return the card that the Hub reads, in whatever case its name is."""
    cards = [card for card in repository.cards if card.path.lower() == "readme.md"]
    return min(cards, key=lambda card: card.path != "README.md", default=None)


def gives_away(license_: DeclaredLicense) -> bool:
    """Say whether a licence cannot stand on a derivative, whoever reads it. Copyleft may be the code's."""
    return bool(license_.names & {"permissive", "cc"}) or (license_.hub_id or "").startswith("cc-")


def card_edits(s: Situation, rules: Mapping[str, Status], *, origin: str = "") -> tuple[FieldEdit, ...]:
    """Say what the card must be made to say.

    Parameters
    ----------
    s : Situation
    rules : mapping of str to str
        The rules that failed or warned.
    origin : str
        What the library says of where the proved reference comes from.
    """
    card = the_card(s.repository)
    licence = _licence(s, card, rules)
    return (*licence, *_base(s, card, rules, origin, patched=bool(licence)))


def proving(s: Situation) -> Candidate | None:
    """Return the reference that shows descent from what the policy protects."""
    found = (c for c in s.lineage.candidates if c.verdict in FOUND and s.policy.binds(c.reference))
    return next(found, None)


def _licence(s: Situation, card: Card | None, rules: Mapping[str, Status]) -> tuple[FieldEdit, ...]:
    if not PUTS_RIGHT["license"] & set(rules):
        return ()
    # Where the weights prove it and the rule only warns, the card's text may make an exception: a person reads that.
    relicensed = rules.get("CARD-001") == ("fail" if s.derivation is Derivation.PROVED else "warn")
    said = [value.text for value in card.license] if card else []
    name = card.license_name.text if card and card.license_name else ""
    link = card.license_link.text if card and card.license_link else ""
    link_edit = FieldEdit(
        key="license_link",
        value=s.policy.agreement_url,
        wrong=lambda text: text != s.policy.agreement_url and not s.links_this(text),
        after="license",
    )

    def wrong(text: str) -> bool:
        declared = parse_license(text)
        if s.declares_this(declared):
            return False
        nameless = text.strip().lower() == "other" and not name and not link
        return (relicensed and gives_away(declared)) or (nameless and "CARD-003" in rules)

    if not said or any(wrong(text) for text in said):
        return (FieldEdit(key="license", value=s.policy.hub_license, wrong=wrong), link_edit)
    if "CARD-003" in rules and name and s.declares_this(parse_license(name)):
        return (link_edit,)
    if "CARD-003" in rules and link and not name and s.links_this(link):
        return (FieldEdit(key="license_name", value=s.policy.hub_license, after="license"),)
    return ()  # a licence of a name that only a person can weigh


def _base(
    s: Situation, card: Card | None, rules: Mapping[str, Status], origin: str, *, patched: bool
) -> tuple[FieldEdit, ...]:
    said = [value.text for value in card.base_model] if card else []
    wanted = "BASE-001" in rules
    if not (wanted or (patched and not s.unchanged_copy)) or _is_merge(s):
        return ()
    if said and not (wanted and s.derivation is Derivation.PROVED and all(_is_other(s, text) for text in said)):
        return ()  # a name that does not tell what it comes from may be a model in between
    named = _named(s) or (_from_weights(s, origin) if wanted else None)
    if named is None:
        return ()
    value, comment = named
    edits = [FieldEdit(key="base_model", value=value, wrong=lambda text: _is_other(s, text), comment=comment)]
    if relation := _relation(s):
        edits.append(FieldEdit(key="base_model_relation", value=relation, after="base_model"))
    return tuple(edits)


def _is_other(s: Situation, base: str) -> bool:
    return s.policy.names_base(base) is False


def _is_merge(s: Situation) -> bool:
    tags = {tag.text.lower() for card in s.repository.cards for tag in card.tags}
    relations = {claim.value.lower() for claim in s.repository.claims.of("relation")}
    return bool(s.repository.merges) or bool(tags & _MERGE_TAGS) or "merge" in relations


def _named(s: Situation) -> tuple[str, None] | None:
    """Return the one repository that the repository itself names as its base, if it is the protected one."""
    repos: dict[str, str] = {}
    for claim in s.base_claims():
        repo = parse_repo_id(claim.value)
        if repo is not None and repo.org and s.policy.names_base(claim.value):
            repos.setdefault(repo.key, str(repo))
    return (repos.popitem()[1], None) if len(repos) == 1 else None


def _from_weights(s: Situation, origin: str) -> tuple[str, str | None] | None:
    """Return the base that the weights show: a repository where its name or origin tells one."""
    candidate = proving(s)
    if candidate is None:
        return None
    name = candidate.reference
    for word in (name, *(word.strip("()[]<>,;.") for word in origin.split())):
        repo = parse_repo_id(word)
        if repo is not None and repo.org and s.policy.names_base(word):
            return str(repo), None
    example = parse_repo_id(s.policy.base_example)
    if example is not None and example.name.lower() == name.lower():
        return str(example), None
    # What a user called a reference may be a path of theirs; only its end is for others.
    shown = name if parse_repo_id(name) else PurePosixPath(name).name
    if _is_other(s, shown):  # by the policy's own word a wrong base: written, it would fail again
        return None
    comment = f"check: the weights share descent with {visible(shown)}; write the repository id of the base here"
    return shown, comment


def _relation(s: Situation) -> str | None:
    """Return the Hub's word for how the base was changed, where data carry it."""
    if s.adapter_only:
        return "adapter"
    if any(config.quant_method for config in s.repository.configs):
        return "quantized"
    candidate = proving(s)
    relation = candidate.relation if candidate else None
    if relation is None or relation.kind == "copy":
        return None
    suffixes = {suffix for suffix in _suffixes(s) if suffix in _WEIGHTS or suffix == _QUANTISED_SUFFIX}
    if suffixes == {_QUANTISED_SUFFIX}:
        return "quantized"
    same_layers = not (relation.dropped or relation.repeated or relation.added or relation.reordered)
    return "finetune" if same_layers and _QUANTISED_SUFFIX not in suffixes else None


def _suffixes(s: Situation) -> Iterator[str]:
    for info in s.repository.files:
        yield PurePosixPath(info.path).suffix.lower()
