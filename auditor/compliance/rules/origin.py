"""Checks on what the repository says it was made from (BASE, MRG, ADP, OVR, CMP, TOK, GGUF)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from auditor.compliance.citing import place, quoted
from auditor.compliance.claims.families import family_of
from auditor.compliance.claims.licenses import known_license, merge_terms, parse_license
from auditor.compliance.claims.naming import OFFICIAL_ORGS
from auditor.compliance.claims.repoid import parse_repo_id
from auditor.compliance.rules.base import Outcome, failed, not_applicable, passed, unknown, warned
from auditor.compliance.rules.licence import problems
from auditor.compliance.situation import Derivation

if TYPE_CHECKING:
    from auditor.compliance.claims.gather import Claim
    from auditor.compliance.claims.licenses import DeclaredLicense
    from auditor.compliance.claims.metadata import GgufMetadata
    from auditor.compliance.situation import Situation

_MULTIMODAL: Final = ("llava", "vision", "clip", "blip", "video", "audio", "speech", "multimodal", "vlm")
_LLAMA_TOKENIZER_BYTES: Final = 499_723  # tokenizer.model of LLaMA 1, Llama 2, TinyLlama and others, byte for byte
_MERGE_TAGS: Final = {"merge", "mergekit"}


class _Parent(NamedTuple):
    """A model that went into a merge: the file and the place that name it, and its name."""

    path: str
    where: str
    name: str


class _Terms(NamedTuple):
    """A parent's licence, how it is known, and whether for sure."""

    license: DeclaredLicense
    source: str
    sure: bool


def base_is_named(s: Situation) -> Outcome:
    """BASE-001: the card names the base that the weights show. Lists, links, mirrors and intermediate models do."""
    claims = s.base_claims()
    if not claims:
        return _no_base(s)
    cards = {card.path for card in s.repository.cards}
    on_card = [claim for claim in claims if claim.where.path in cards and not claim.in_prose]
    asked = on_card or claims  # what the card says of its base comes before what stands elsewhere
    if right := [claim for claim in asked if s.policy.names_base(claim.value)]:
        return passed(place(right[0]), right[0].where.path) if on_card else _named_elsewhere(s, right)
    if unclear := [claim for claim in asked if s.policy.names_base(claim.value) is None]:
        return _unclear_base(s, unclear[0])
    return failed(f"{place(asked[0])}, while {s.basis}", asked[0].where.path, fix=_base_fix(s))


def merge_parents_fit(s: Situation) -> Outcome:
    """MRG-001: every parent of a merge has terms that can stand beside this licence."""
    parents = _parents(s)
    if not parents:
        return not_applicable("not a merge, as far as the repository says")
    doubtful: list[str] = []
    for parent in parents:
        terms = _terms_of(s, parent.name)
        what = f"{parent.path}, {parent.where}: {quoted(parent.name)}"
        if terms is None:
            doubtful.append(f"{what} (terms not known here)")
            continue
        judged = merge_terms(terms.license)
        if judged.verdict == "incompatible":
            evidence = f"{what} is under {terms.license.raw} ({terms.source}): {judged.reason}"
            return (failed if terms.sure else warned)(evidence, parent.path)
        if judged.verdict != "compatible":
            doubtful.append(f"{what} under {terms.license.raw} ({judged.reason})")
    if doubtful:
        more = f"; and {len(doubtful) - 3} more" if len(doubtful) > 3 else ""
        return warned("a person must read the terms: " + "; ".join(doubtful[:3]) + more, parents[0].path)
    if not all(merge.complete for merge in s.repository.merges):
        return unknown(f"there may be further parents: {problems(s)}", parents[0].path)
    return passed(f"{len(parents)} parents, all with terms that fit", parents[0].path)


def adapter_names_base(s: Situation) -> Outcome:
    """ADP-001: an adapter without base weights names its base."""
    if not s.adapter_only:
        return not_applicable("not an adapter alone")
    card = s.repository.card
    for adapter in s.repository.adapters:
        if adapter.base is not None and parse_repo_id(adapter.base.text):
            continue
        if card and any(parse_repo_id(value.text) for value in card.base_model):
            continue  # the config has a path of its maker's disk, as trainers write it; the card says what it is
        found = quoted(adapter.base.text) if adapter.base else "nothing"
        return warned(f"{adapter.path}: base_model_name_or_path is {found}", adapter.path)
    adapter = s.repository.adapters[0]
    named = adapter.base.text if adapter.base else ""
    return passed(f"{adapter.path}: {quoted(named)}; an adapter alone has fewer duties", adapter.path)


def no_over_claim(s: Situation) -> Outcome:
    """OVR-001: nothing says that the weights are the protected model where they are not."""
    if s.derivation is not Derivation.DENIED:
        return not_applicable("the weights do not speak against it")
    for claim in (*s.base_claims(), *s.repository.claims.of("tag")):
        if s.policy.names_base(claim.value):
            return warned(f"{place(claim)}, while {s.basis}", claim.where.path)
    for claim in s.repository.claims.of("license", "license-name"):
        if claim.subject in {"weights", "repository"} and s.declares_this(parse_license(claim.value)):
            return warned(f"{place(claim)}, while {s.basis}", claim.where.path)
    for text, result in s.notices:
        if result.status in {"ok", "ok-with-note"}:
            return warned(f"the notice in {text.at(result.line)}, while {s.basis}", text.path)
    for text, recognition in s.official(document="license", text_id=s.policy.agreement):
        if recognition.condition != "look-alike":
            return warned(f"the agreement in {text.path}, while {s.basis}", text.path)
    return passed("no claim to the protected model")


def components_licensed(s: Situation) -> Outcome:
    """CMP-001: mixed components have a licence for each part."""
    for config in s.repository.configs:
        for value in (config.model_type, *config.architectures):
            if value is None or not any(word in value.text.lower() for word in _MULTIMODAL):
                continue
            what = f"{config.path}, {value.key}: {quoted(value.text)}"
            declared = {license_.hub_id or license_.raw.lower() for _, license_ in s.declared()}
            if len(declared) > 1:
                return passed(f"{what}; several licences are declared", config.path)
            return warned(f"{what} joins several models, and the card has one licence or none", config.path)
    return not_applicable("one component, as far as the configs say")


def tokenizer_proves_nothing(s: Situation) -> Outcome:
    """TOK-001: a Llama tokenizer beside other weights is no finding."""
    for info in s.repository.files:
        if info.path.rsplit("/", 1)[-1] == "tokenizer.model" and info.size == _LLAMA_TOKENIZER_BYTES:
            return passed(f"{info.path} has the size of Llama's tokenizer, which many models carry", info.path)
    return not_applicable("no tokenizer file of Llama's size")


def headers_agree(s: Situation) -> Outcome:
    """GGUF-001: what GGUF headers say contradicts neither the card nor the weights."""
    headers = [g for g in s.repository.ggufs if g.license or g.license_name or g.base_models]
    if not headers:
        return not_applicable("no GGUF header speaks of licence or base")
    for header in headers:
        if contradiction := _license_contradicts(s, header) or _base_contradicts(s, header):
            return failed(f"{header.path}, {contradiction}", header.path)
    return passed(f"{len(headers)} {'header agrees' if len(headers) == 1 else 'headers agree'}", headers[0].path)


def _no_base(s: Situation) -> Outcome:
    card = s.repository.card
    if not s.repository.claims.complete or s.repository.unread_cards:
        return unknown(f"the metadata could not be read whole: {problems(s)}", card.path if card else None)
    if s.unchanged_copy:
        return passed("the weights are an unchanged copy: there is no base but the model itself")
    empty = next((p for p in s.repository.claims.problems if p.key and p.key.startswith("base_model")), None)
    if empty:
        return failed(
            f"{empty.path}, line {empty.line}: {empty.message}, while {s.basis}", empty.path, fix=_base_fix(s)
        )
    return failed(f"no base model is named, while {s.basis}", card.path if card else None, fix=_base_fix(s))


def _unclear_base(s: Situation, claim: Claim) -> Outcome:
    """Judge a base whose name tells nothing: an intermediate model is fine where the card says what it comes from."""
    declared = next((d for d in s.declared() if s.declares_this(d.license)), None)
    if declared and not claim.in_prose:
        return passed(f"{place(claim)}, an intermediate model, with {place(declared.claim)}", claim.where.path)
    evidence = f"{place(claim)}: its name does not say that it comes from {s.policy.product}"
    return warned(evidence, claim.where.path, fix=_base_fix(s))


def _named_elsewhere(s: Situation, right: list[Claim]) -> Outcome:
    """Judge a base that is named, but not in `base_model` of a card."""
    firm = [c for c in right if not c.in_prose and c.where.path.rsplit("/", 1)[-1] != "config.json"]
    if firm and s.repository.card is None:
        return passed(place(firm[0]), firm[0].where.path)
    said = (firm or right)[0]
    return warned(f"not in the card's base_model, only in {place(said)}", said.where.path, fix=_base_fix(s))


def _base_fix(s: Situation) -> str:
    return f"Name the base in the front matter of README.md: `base_model: {s.policy.base_example}`, or the one it is."


def _parents(s: Situation) -> tuple[_Parent, ...]:
    found = {
        parent.model.text: _Parent(merge.path, f"line {parent.model.line}", parent.model.text)
        for merge in s.repository.merges
        for parent in merge.parents
    }
    tagged = any(tag.text.lower() in _MERGE_TAGS for card in s.repository.cards for tag in card.tags)
    if found or tagged or any(c.value.lower() == "merge" for c in s.repository.claims.of("relation")):
        for claim in s.base_claims():
            line = f"line {claim.where.line}" if claim.where.line else str(claim.where.key)
            found.setdefault(claim.value, _Parent(claim.where.path, line, claim.value))
    return tuple(found.values())


def _terms_of(s: Situation, parent: str) -> _Terms | None:
    if known := known_license(parent):
        return _Terms(parse_license(known.license.removeprefix("other:")), known.source, known.sure)
    if s.policy.names_base(parent):
        return _Terms(parse_license(s.policy.hub_license), "the base", sure=True)
    family = family_of(parent)
    if family.startswith("llama") and family not in {"llama", "llama1"}:
        repo = parse_repo_id(parent)
        official = repo is not None and (repo.org or "").lower() in OFFICIAL_ORGS
        return _Terms(parse_license(family), "by its name", official)
    return None


def _license_contradicts(s: Situation, header: GgufMetadata) -> str | None:
    said = header.license
    if said is None or (said.text.strip().lower() == "other" and header.license_name):
        said = header.license_name
    if said is None:
        return None
    license_ = parse_license(said.text)
    if license_.family in {"custom", "unknown"}:
        return None
    what = f"{said.key}: {quoted(said.text)}"
    own = s.declares_this(license_)
    if s.derivation is Derivation.PROVED and not own and license_.family != "copyleft":
        return f"{what}, while {s.basis}"
    known = [d for d in s.declared() if not d.claim.in_prose and d.license.family != "custom"]
    if known and not any(_names(d.license) & _names(license_) for d in known):
        return f"{what}, while {place(known[0].claim)}"
    return None


def _base_contradicts(s: Situation, header: GgufMetadata) -> str | None:
    named = [value for base in header.base_models if (value := base.repo_url or base.name)]
    told = [s.policy.names_base(value.text) for value in named]
    if not named:
        return None
    what = f"{named[0].key}: {quoted(named[0].text)}"
    if s.derivation is Derivation.PROVED and not any(told) and None not in told:
        return f"{what}, while {s.basis}"
    on_card = [(card, value) for card in s.repository.cards for value in card.base_model]
    card_told = [s.policy.names_base(value.text) for _, value in on_card]
    if on_card and None not in told and None not in card_told and any(told) != any(card_told):
        card, value = on_card[0]
        return f"{what}, while {card.path}, line {value.line} names {quoted(value.text)}"
    return None


def _names(license_: DeclaredLicense) -> frozenset[str]:
    """Return the identifiers of a licence and of all parts of an expression."""
    own = license_.hub_id or license_.spdx or license_.raw.lower()
    return frozenset({own} if not license_.parts else {}).union(*(_names(part) for part in license_.parts))
