"""Checks on what the repository declares: licence, base, relation, headers, held against what the weights show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.compliance.licenses import known_license, merge_terms, parse_license
from auditor.compliance.repoid import parse_repo_id
from auditor.compliance.rules.base import Outcome, not_applicable, passed, place, quoted
from auditor.compliance.situation import Derivation

if TYPE_CHECKING:
    from auditor.compliance.claims import Claim
    from auditor.compliance.licenses import DeclaredLicense
    from auditor.compliance.situation import Situation

_RELICENSED = {"permissive", "cc", "nc"}
_MULTIMODAL = ("llava", "vision", "clip", "blip", "video", "audio", "speech", "multimodal")
_LLAMA_TOKENIZER_BYTES = 499_723  # tokenizer.model of LLaMA 1, Llama 2, TinyLlama and many others, byte for byte


def not_relicensed(s: Situation) -> Outcome:
    """CARD-001: the card does not put the weights under other terms."""
    declared = s.declared()
    if not declared:
        return not_applicable("no licence is declared")
    own = [claim for claim, license_ in declared if s.declares_this(license_)]
    other = [(c, d) for c, d in declared if d.names & (_RELICENSED | {"copyleft", "gpl", "lgpl"})]
    if not other:
        return passed("no other licence is put on the weights")
    claim, license_ = other[0]
    carved = [c for c in own if c.subject == "weights"]
    if carved or own:
        where = (carved or own)[0]
        return passed(f"{place(claim)} stands beside {place(where)}", claim.where.path)
    named = [
        c for c in s.repository.claims.of("license-name", "license-link") if s.policy.product.lower() in c.value.lower()
    ]
    if named:
        return passed(f"{place(claim)}, with {place(named[0])}", claim.where.path)
    copyleft = not license_.names & _RELICENSED
    return Outcome(
        status="warn" if copyleft else "fail",
        evidence=f"{place(claim)}, while {s.basis}",
        path=claim.where.path,
        fix=f"Declare `license: {s.policy.hub_license}` for the weights; {license_.spdx or license_.raw} can stand "
        "only for what is yours alone (code, data), and the card must say which part is which.",
    )


def no_custom_name(s: Situation) -> Outcome:
    """CARD-002: no licence of the publisher's own making on a derivative."""
    for claim, license_ in s.declared():
        if license_.family == "custom" and license_.raw.lower() not in {"other", "unknown"} and not claim.in_prose:
            return Outcome(status="warn", evidence=f"{place(claim)}: a licence of another name", path=claim.where.path)
    return passed("no licence of another name")


def other_is_named(s: Situation) -> Outcome:
    """CARD-003: `license: other` says which, and links the agreement."""
    card = s.repository.card
    if card is None or not any(value.text.strip().lower() == "other" for value in card.license):
        return not_applicable("the card does not say `license: other`")
    missing = [key for key in ("license_name", "license_link") if getattr(card, key) is None]
    line = card.license[0].line
    if missing:
        return Outcome(
            status="warn",
            evidence=f"{card.path}, line {line}: `license: other` without {' and '.join(missing)}",
            path=card.path,
        )
    link = card.license_link.text if card.license_link else ""
    low = link.lower()
    if not ("llama" in low or low.rsplit("/", 1)[-1].startswith("licen")):
        return Outcome(
            status="warn",
            evidence=f"{card.path}: license_link {quoted(link)} is not the agreement",
            path=card.path,
        )
    return passed(f"{card.path}: license_link {quoted(link)}", card.path)


def licence_in_metadata(s: Situation) -> Outcome:
    """CARD-004: the licence is in the metadata, where the Hub and tools read it."""
    card = s.repository.card
    if card is None:
        return not_applicable("there is no card")
    if card.license:
        return passed(f"{card.path}, line {card.license[0].line}", card.path)
    if not card.complete:
        return Outcome(status="unknown", evidence=f"{card.path}: {_problems(s)}", path=card.path)
    in_body = [claim for claim, _ in s.declared() if claim.in_prose]
    if in_body:
        return Outcome(status="warn", evidence=f"only in the text: {place(in_body[0])}", path=card.path)
    return not_applicable("no licence is declared (see CARD-005)")


def some_licence(s: Situation) -> Outcome:
    """CARD-005: a licence is declared at all."""
    if declared := s.declared():
        return passed(place(declared[0][0]), declared[0][0].where.path)
    claims = s.repository.claims
    if not claims.complete or s.repository.unread:
        return Outcome(status="unknown", evidence=f"the metadata could not be read whole: {_problems(s)}")
    card = s.repository.card
    copies = s.texts("exact", "appended", document="license", text_id=s.policy.agreement)
    if copies:
        return Outcome(
            status="warn",
            evidence=f"only by the agreement in {copies[0].path}; no card declares it",
            path=card.path if card else None,
        )
    evidence = f"{card.path} declares no licence" if card else "there is no card, and no licence is declared"
    return Outcome(status="fail", evidence=evidence, path=card.path if card else None)


def parts_are_told_apart(s: Situation) -> Outcome:
    """CARD-006: where several licences are declared, the card says what each is for."""
    card = s.repository.card
    if card is None or len(card.license) < 2:
        return not_applicable("one licence or none is declared")
    families = {value.text: parse_license(value.text) for value in card.license}
    own = [text for text, license_ in families.items() if s.declares_this(license_)]
    if not own or len(own) == len(families):
        return not_applicable("not a mixture with this licence")
    told = [c for c in s.repository.claims.of("license") if c.in_prose and c.subject in {"weights", "code", "data"}]
    if told:
        return passed(place(told[0]), card.path)
    return Outcome(
        status="warn",
        evidence=f"{card.path}, line {card.license[0].line}: {', '.join(families)}, without saying which part is which",
        path=card.path,
    )


def base_is_named(s: Situation) -> Outcome:
    """BASE-001: the card names the base that the weights show."""
    claims = s.base_claims()
    for claim in claims:
        if s.policy.names_base(claim.value):
            return passed(place(claim), claim.where.path)
    card = s.repository.card
    path = card.path if card else None
    if not s.repository.claims.complete:
        return Outcome(status="unknown", evidence=f"the metadata could not be read whole: {_problems(s)}", path=path)
    if not claims:
        return Outcome(status="fail", evidence=f"no base model is named, while {s.basis}", path=path)
    unknown = [claim for claim in claims if s.policy.names_base(claim.value) is None]
    if unknown:
        return Outcome(
            status="warn",
            evidence=f"{place(unknown[0])}: its name does not say that it comes from {s.policy.product}",
            path=unknown[0].where.path,
        )
    return Outcome(status="fail", evidence=f"{place(claims[0])}, while {s.basis}", path=claims[0].where.path)


def merge_parents_fit(s: Situation) -> Outcome:
    """MRG-001: every parent of a merge has terms that can stand beside this licence."""
    parents = [(merge.path, parent.model.text) for merge in s.repository.merges for parent in merge.parents]
    if any(c.value == "merge" for c in s.repository.claims.of("relation")):
        parents += [(claim.where.path, claim.value) for claim in s.base_claims()]
    parents = list(dict.fromkeys(parents))
    if not parents:
        return not_applicable("not a merge, as far as the repository says")
    doubtful: list[str] = []
    for path, parent in parents:
        if s.policy.names_base(parent):
            continue
        known = known_license(parent)
        if known is None:
            doubtful.append(f"{quoted(parent)} (terms not known here)")
            continue
        terms = merge_terms(parse_license(known.license))
        if terms.verdict == "incompatible":
            return Outcome(
                status="fail" if known.sure else "warn",
                evidence=f"{path}: {quoted(parent)} is under {known.license}: {terms.reason}",
                path=path,
            )
        if terms.verdict != "compatible":
            doubtful.append(f"{quoted(parent)} under {known.license} ({terms.reason})")
    if doubtful:
        return Outcome(status="warn", evidence="to be read by a person: " + "; ".join(doubtful[:4]), path=parents[0][0])
    return passed(f"{len(parents)} parents, all with terms that fit", parents[0][0])


def adapter_names_base(s: Situation) -> Outcome:
    """ADP-001: an adapter without base weights names its base."""
    if not s.adapter_only:
        return not_applicable("not an adapter alone")
    adapter = s.repository.adapters[0]
    if adapter.base is None or parse_repo_id(adapter.base.text) is None:
        found = quoted(adapter.base.text) if adapter.base else "nothing"
        return Outcome(status="warn", evidence=f"{adapter.path}: the base is {found}", path=adapter.path)
    return passed(f"{adapter.path} names {quoted(adapter.base.text)}; an adapter alone has fewer duties", adapter.path)


def no_over_claim(s: Situation) -> Outcome:
    """OVR-001: nothing says that the weights are the protected model where they are not."""
    if s.derivation is not Derivation.DENIED:
        return not_applicable("the weights do not speak against it")
    for claim in (*s.base_claims(), *s.repository.claims.of("tag")):
        if s.policy.names_base(claim.value):
            return Outcome(status="warn", evidence=f"{place(claim)}, while {s.basis}", path=claim.where.path)
    for claim, license_ in s.declared():
        if s.declares_this(license_):
            return Outcome(status="warn", evidence=f"{place(claim)}, while {s.basis}", path=claim.where.path)
    if texts := s.texts(document="license", text_id=s.policy.agreement):
        return Outcome(status="warn", evidence=f"{texts[0].path}, while {s.basis}", path=texts[0].path)
    return passed("no claim to the protected model")


def components_licensed(s: Situation) -> Outcome:
    """CMP-001: mixed components have a licence for each part."""
    mixed = [
        (config.path, text)
        for config in s.repository.configs
        for text in [value.text for value in (config.model_type, *config.architectures) if value]
        if any(word in text.lower() for word in _MULTIMODAL)
    ]
    if not mixed:
        return not_applicable("one component, as far as the configs say")
    subjects = {claim.value for claim, _ in s.declared()}
    if len(subjects) > 1:
        return passed(f"{mixed[0][0]}: {quoted(mixed[0][1])}; several licences are declared", mixed[0][0])
    return Outcome(
        status="warn",
        evidence=f"{mixed[0][0]}: {quoted(mixed[0][1])} joins several models, and the card has one licence or none",
        path=mixed[0][0],
    )


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
        if header.license is not None:
            license_ = parse_license(header.license.text)
            if s.bound and license_.names & _RELICENSED and not s.declares_this(license_):
                evidence = f"{header.path}: general.license is {quoted(header.license.text)}, while {s.basis}"
                return Outcome(status="fail", evidence=evidence, path=header.path)
            if contradiction := _card_contradicts(s, license_):
                evidence = f"{header.path}: general.license is {quoted(header.license.text)}; {contradiction}"
                return Outcome(status="fail", evidence=evidence, path=header.path)
        bases = [value.text for base in header.base_models if (value := base.repo_url or base.name)]
        told = [s.policy.names_base(base) for base in bases]
        if s.bound and bases and not any(told) and None not in told:
            evidence = f"{header.path}: general.base_model names {quoted(bases[0])}, while {s.basis}"
            return Outcome(status="fail", evidence=evidence, path=header.path)
    return passed(f"{len(headers)} headers agree", headers[0].path)


def variant_licence(s: Situation) -> Outcome:
    """ALT-001: an alternative base's licence is the one of that very variant."""
    for claim in s.base_claims():
        known = known_license(claim.value)
        if known is None:
            continue
        terms = parse_license(known.license)
        for own, license_ in s.declared():
            if license_.names & {"permissive"} and not terms.names & {"permissive", "llama2"}:
                return Outcome(
                    status="fail" if known.sure else "warn",
                    evidence=f"{place(claim)} is under {known.license} ({known.source}); {place(own)}",
                    path=own.where.path,
                )
        return passed(f"{place(claim)} is under {known.license} ({known.source})", claim.where.path)
    return not_applicable("no base whose variants are under different licences is named")


def _card_contradicts(s: Situation, license_: DeclaredLicense) -> str:
    card = s.repository.card
    if card is None or not card.license:
        return ""
    declared = [parse_license(value.text) for value in card.license]
    known = [d for d in declared if d.family not in {"custom", "unknown"}]
    if not known or license_.family in {"custom", "unknown"} or any(d.names & license_.names for d in declared):
        return ""
    return f"{card.path}, line {card.license[0].line} says {quoted(card.license[0].text)}"


def _problems(s: Situation) -> str:
    problems: tuple[str, ...] = tuple(f"{p.path}: {p.message}" for p in s.repository.claims.problems)
    problems += tuple(f"{u.path}: {u.reason}" for u in s.repository.unread)
    return "; ".join(problems[:2]) or "no reason recorded"


def named_claims(s: Situation, *kinds: str) -> tuple[Claim, ...]:
    """Return claims of some kinds about the weights or the repository."""
    return tuple(c for c in s.repository.claims.claims if c.kind in kinds and c.subject in {"weights", "repository"})
