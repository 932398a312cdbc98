"""Checks on the agreement, the notice and the use policy: the texts themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.compliance.notice import find_notice
from auditor.compliance.rules.base import Outcome, not_applicable, passed, quoted

if TYPE_CHECKING:
    from auditor.compliance.license_text import Recognition
    from auditor.compliance.notice import NoticeResult
    from auditor.compliance.repository import LegalText
    from auditor.compliance.situation import Situation

_WHOLE = ("exact", "appended")
_DAMAGED = ("altered", "truncated", "look-alike")
_CLAUSES_SHOWN = 6


def agreement_present(s: Situation) -> Outcome:
    """LIC-001: a copy of the agreement is there, in whatever condition."""
    copies = s.texts(document="license", text_id=s.policy.agreement)
    own = [text for text in copies if _of(text, s.policy.agreement).condition != "look-alike"]
    if own:
        best = min(own, key=lambda text: _of(text, s.policy.agreement).condition not in _WHOLE)
        return passed(f"the agreement stands in {best.path}, as {_of(best, s.policy.agreement).condition}", best.path)
    if _maybe_unread(s):
        return _unknown(s)
    evidence = f"no file of the repository holds the {s.policy.title}"
    if copies:
        evidence += f"; {copies[0].path} is its wording under another licensor's name"
    elif others := _other_licences(s):
        evidence += "; found instead: " + "; ".join(others[:4])
    fix = f"Add the agreement, unchanged, as LICENSE.txt; it comes with {s.policy.obtain}."
    return Outcome(status="fail", evidence=evidence, path=copies[0].path if copies else None, fix=fix)


def agreement_unaltered(s: Situation) -> Outcome:
    """LIC-002: no copy is altered, truncated or under another name."""
    damaged = s.texts(*_DAMAGED, document="license", text_id=s.policy.agreement)
    whole = s.texts(*_WHOLE, document="license", text_id=s.policy.agreement)
    if not damaged:
        return passed("word for word", whole[0].path) if whole else not_applicable("there is no copy to compare")
    text = damaged[0]
    return Outcome(
        status="warn" if whole else "fail",
        evidence=f"{text.path}: {_differences(_of(text, s.policy.agreement))}"
        + (f"; a whole copy stands in {whole[0].path}" if whole else ""),
        path=text.path,
        fix=f"Replace {text.path} by the agreement as published; it comes with {s.policy.obtain}.",
    )


def agreement_not_only_linked(s: Situation) -> Outcome:
    """LIC-003: the agreement is copied, not only linked."""
    if s.texts(*_WHOLE, document="license", text_id=s.policy.agreement):
        return passed("the agreement itself is there")
    product = s.policy.agreement.removesuffix("-license")
    for text in s.repository.texts:
        for pointer in text.recognition.pointers:
            if pointer.document == "license" and pointer.product in {product, None}:
                return Outcome(
                    status="warn",
                    evidence=f"{text.path}, line {pointer.line}: only a pointer: {quoted(pointer.quote)}",
                    path=text.path,
                )
    return not_applicable("no link to the agreement")


def agreement_of_this_version(s: Situation) -> Outcome:
    """LIC-004: the agreement is of the right version."""
    others = [
        (text, r)
        for text in s.texts(document="license")
        for r in (text.recognition, *text.recognition.also)
        if r.text is not None and r.text.document == "license" and r.text.id != s.policy.agreement
    ]
    whole = s.texts(*_WHOLE, document="license", text_id=s.policy.agreement)
    if not others:
        return passed("no other version's agreement") if whole else not_applicable("no agreement of any version")
    text, recognition = others[0]
    return Outcome(
        status="warn" if whole else "fail",
        evidence=f"{text.path} holds the {recognition.name}"
        + ("; the right one is there too" if whole else f", not the {s.policy.title}"),
        path=text.path,
        fix=f"Ship the {s.policy.title}; another version's terms do not replace it.",
    )


def no_terms_appended(s: Situation) -> Outcome:
    """LIC-005: nothing was added to the agreement's terms."""
    for text in s.texts(*_WHOLE, *_DAMAGED, document="license", text_id=s.policy.agreement):
        for extra in _of(text, s.policy.agreement).extra:
            if extra.terms:
                return Outcome(
                    status="warn",
                    evidence=f"{text.path}, line {extra.span.first}: further terms {extra.where} the agreement: "
                    f"{quoted(extra.quote)}",
                    path=text.path,
                )
    whole = s.texts(*_WHOLE, document="license", text_id=s.policy.agreement)
    return passed("no further terms") if whole else not_applicable("there is no copy to look at")


def notice_present(s: Situation) -> Outcome:
    """NOT-001: a Notice file carries the attribution."""
    found = _notices(s)
    right = [(text, result) for text, result in found if result.status in {"ok", "ok-with-note"}]
    for text, result in right:
        if text.is_notice_file:
            return passed(f"{text.path}, line {result.line}", text.path)
    if right:
        text, result = right[0]
        return Outcome(
            status="warn",
            evidence=f"the sentence stands in {text.path}, line {result.line}, and not in a Notice file",
            path=text.path,
        )
    wrong = [text for text, result in found if result.status != "absent" and text.is_notice_file]
    if wrong:
        return passed(f"{wrong[0].path} is there; for its wording see NOT-002", wrong[0].path)
    if _maybe_unread(s):
        return _unknown(s)
    empty = [text.path for text in s.repository.texts if text.is_notice_file]
    evidence = f"{empty[0]} does not hold the sentence" if empty else "no Notice file, and the sentence stands nowhere"
    return Outcome(status="warn" if s.adapter_only else "fail", evidence=evidence, path=empty[0] if empty else None)


def notice_worded(s: Situation) -> Outcome:
    """NOT-002: the attribution has the right words, version and holder."""
    found = [(text, result) for text, result in _notices(s) if result.status != "absent"]
    if not found:
        return not_applicable("no notice to compare")
    if right := [(text, result) for text, result in found if result.status == "ok"]:
        return passed(f"{right[0][0].path}, line {right[0][1].line}", right[0][0].path)
    text, result = min(found, key=lambda pair: (pair[1].status != "ok-with-note", not pair[0].is_notice_file))
    noted = result.status == "ok-with-note"
    return Outcome(
        status="warn" if noted or s.adapter_only else "fail",
        evidence=f"{text.path}, line {result.line}: {result.note or result.status}: {quoted(result.quote or '')}",
        path=text.path,
        fix=f"Write the sentence as the agreement gives it: {s.policy.notice.sentence}",
    )


def policy_reachable(s: Situation) -> Outcome:
    """AUP-001: the use policy is there or linked. Shipping it is not required: it is incorporated by reference."""
    if texts := s.texts("exact", "appended", document="policy", text_id=s.policy.use_policy):
        return passed(f"the policy stands in {texts[0].path}", texts[0].path)
    for text in s.repository.texts:
        for pointer in text.recognition.pointers:
            if pointer.document == "policy":
                return passed(f"{text.path}, line {pointer.line} points to it", text.path)
    if texts := s.texts(*_WHOLE, document="license", text_id=s.policy.agreement):
        return passed(f"the agreement in {texts[0].path} refers to it (clause 1.b.iv)", texts[0].path)
    return Outcome(
        status="warn",
        evidence="the use policy is neither in the repository nor linked",
        fix=f"Link {s.policy.policy_url} from the card.",
    )


def policy_unaltered(s: Situation) -> Outcome:
    """AUP-002: a use policy that is there is the right one, unaltered."""
    texts = [text for text in s.repository.texts if text.place == "file" and _looks_like_policy(text)]
    if not texts:
        return not_applicable("no use policy in the repository")
    for text in texts:
        recognition = text.recognition
        official = recognition.text
        if official is not None and official.id == s.policy.use_policy and recognition.condition in _WHOLE:
            continue
        if recognition.kind == "pointer":
            return Outcome(status="warn", evidence=f"{text.path} only points to a policy", path=text.path)
        if official is not None and official.id == s.policy.use_policy:
            return Outcome(status="warn", evidence=f"{text.path}: {_differences(recognition)}", path=text.path)
        what = f"is the {recognition.name}" if recognition.name else "is a policy of its own"
        return Outcome(
            status="warn",
            evidence=f"{text.path} {what}, not the {s.policy.product} Acceptable Use Policy",
            path=text.path,
        )
    return passed("word for word", texts[0].path)


def _of(text: LegalText, text_id: str) -> Recognition:
    for recognition in (text.recognition, *text.recognition.also):
        if recognition.text is not None and recognition.text.id == text_id:
            return recognition
    return text.recognition


def _differences(recognition: Recognition) -> str:
    if recognition.condition == "look-alike":
        return f"the wording with {quoted(recognition.holder or 'another name')} as licensor"
    shown = [
        f"clause {d.clause} {d.change} (line {d.line}: {quoted(d.quote, limit=100)})"
        for d in recognition.clauses[:_CLAUSES_SHOWN]
    ]
    more = len(recognition.clauses) - len(shown)
    return f"{recognition.condition}: " + "; ".join(shown) + (f"; and {more} more places" if more > 0 else "")


def _other_licences(s: Situation) -> list[str]:
    return [
        f"{text.path} ({text.recognition.name or text.recognition.kind})"
        for text in s.repository.texts
        if text.place == "file" and text.recognition.kind in {"other-license", "other-version", "pointer"}
    ]


def _notices(s: Situation) -> list[tuple[LegalText, NoticeResult]]:
    found = [(text, find_notice(text.text, s.policy.notice)) for text in s.repository.texts]
    # Where the agreement quotes the sentence it asks for it; that is not the notice.
    return [(text, result) for text, result in found if not result.in_agreement]


def _looks_like_policy(text: LegalText) -> bool:
    official = text.recognition.text
    if official is not None and text.recognition.condition is not None:
        return official.document == "policy"
    name = text.path.rsplit("/", 1)[-1].lower().replace("-", "_").replace(" ", "_")
    return "use_policy" in name or "acceptable_use" in name


def _maybe_unread(s: Situation) -> bool:
    return bool(s.repository.unread)


def _unknown(s: Situation) -> Outcome:
    paths = ", ".join(unread.path for unread in s.repository.unread[:3])
    return Outcome(status="unknown", evidence=f"it may stand in what could not be read: {paths}")
