"""Checks on the use policy: its text (AUP-001 and 002), and what the card invites to (AUP-G1 to G4)."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Final

from auditor.compliance.citing import quoted
from auditor.compliance.claims.prose.markdown import read_markdown
from auditor.compliance.rules.agreement import WHOLE, differences
from auditor.compliance.rules.base import Outcome, failed, not_applicable, passed, unknown, warned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from auditor.compliance.claims.card import Card
    from auditor.compliance.claims.prose.markdown import Sentence
    from auditor.compliance.repository import LegalText
    from auditor.compliance.situation import Official, Situation

_INCORPORATES: Final = "1.b.iv"  # clause of the agreement that makes the use policy a part of it
_PROHIBITED: Final = {
    "1": r"(?:exploit\w*|sexuali[sz]\w*)\s+(?:of\s+)?(?:children|minors)|human trafficking|harass\w*|stalk\w*"
    r"|malware|ransomware|unlicensed (?:medical|legal|financial)|facial recognition of|credential theft|phishing",
    "2": r"military|warfare|weapons?|nuclear (?:industries|weapons?)|espionage|illegal drugs|critical infrastructure"
    r"|self-harm|heavy machinery",
    "3": r"disinformation|fake (?:reviews|news|accounts)|defam\w*|spam|impersonat\w*|deepfakes?|astroturf\w*"
    r"|plagiari\w*",
}
_INVITES: Final = re.compile(
    r"(?i)\b(?:intended (?:use|for|to)|designed (?:for|to)|use (?:it|this model|the model) (?:for|to)|built (?:for|to)"
    r"|made (?:for|to)|optimi[sz]ed (?:for|to)|fine-?tuned (?:for|to)|suitable for|can be used (?:for|to)|use cases?)\b"
)
_USES: Final = re.compile(r"\b(?:intended uses?|direct use|downstream use|use cases?|usage|applications?)\b")
_NO_USES: Final = re.compile(r"out[- ]of[- ]scope|misuse|prohibited|limitation|not intended")
_NEGATED: Final = re.compile(
    r"(?i)\b(?:not|never|no|without|prohibit\w*|forbid\w*|avoid\w*|refus\w*|against|detect\w*|prevent\w*|classif\w*"
    r"|moderat\w*|out[- ]of[- ]scope|misuse)\b|n['\u2019]t\b"
)
_RISKS: Final = re.compile(
    r"\b(?:limitation|limits?\b|risk|bias|safety|responsib|ethic|caveat|out[- ]of[- ]scope|warning|disclaimer"
    r"|known issues|einschr\u00e4nkung|grenzen|risik|verzerrung|haftungsausschluss|limitaci|riesgo|sesgo|advertencia"
    r"|limita\u00e7|risco|vi\u00e9s|limite|risque|biais|avertissement|limitazion|rischi"
    r"|\u043e\u0433\u0440\u0430\u043d\u0438\u0447|\u0440\u0438\u0441\u043a|\u043f\u0440\u0435\u0434\u0443\u043f\u0440)"
    # Chinese, Japanese and Korean: limit, bounds, risk, bias, disclaimer, points to note, safety, attention
    r"|\u9650\u5236|\u5c40\u9650|\u98ce\u9669|\u98a8\u96aa|\u504f\u89c1|\u504f\u898b|\u514d\u8d23|\u514d\u8cac"
    r"|\u6ce8\u610f|\u5b89\u5168|\u5236\u9650|\u9650\u754c|\u30ea\u30b9\u30af|\u30d0\u30a4\u30a2\u30b9"
    r"|\ud55c\uacc4|\uc81c\ud55c|\uc704\ud5d8|\ud3b8\ud5a5|\uc8fc\uc758|\ucc45\uc784",
    re.IGNORECASE,
)
"""Headings of such a section, in the languages that cards are most often written in."""

_SPOKEN: Final = re.compile(
    r"(?i)\b(?:carries? (?:\w+ )?risks?|can hallucinate|hallucinat\w+"
    r"|may (?:produce|generate|output|contain|hallucinate|be biased)"
    r"|(?:inaccurate|biased|offensive|harmful|toxic) (?:or \w+ )?(?:content|outputs?|responses?|text|answers?))\b"
)
_STUB: Final = re.compile(
    r"(?i)more information needed|\btodo\b|\btbd\b|coming soon|to be (?:added|written|determined)|lorem ipsum"
    r"|users \(both direct and downstream\) should be made aware|^n/?a\.?$"
)
_STUB_WORDS: Final = 12  # a section of fewer words says nothing about dangers
_UNSPACED: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")  # written without spaces: two signs count as a word
_BOLD: Final = re.compile(r"[ \t>]*(?:[-*+][ \t]+)?(?:\*\*|__|<b>|<strong>)([^*_<>:]{2,80})", re.IGNORECASE)
_LABEL: Final = 7  # rank of a label in bold type, below all headings
_LABEL_WORDS: Final = 6


def reachable(s: Situation) -> Outcome:
    """AUP-001: the use policy is there or linked. Shipping it is not required: it is incorporated by reference."""
    for text, recognition in s.official(*WHOLE, document="policy", text_id=s.policy.use_policy):
        where = text.at(recognition.span.first) if recognition.span else text.path
        return passed(f"the policy stands in {where}", text.path)
    for text, recognition in s.official(document="license", text_id=s.policy.agreement):
        if recognition.condition != "look-alike" and all(d.clause != _INCORPORATES for d in recognition.clauses):
            return passed(f"the agreement in {text.path} refers to it (clause {_INCORPORATES})", text.path)
    pointers = [
        (text, pointer)
        for text in s.repository.texts
        for pointer in text.recognition.pointers
        if pointer.document == "policy" and pointer.product in {s.policy.text_product, None}
    ]
    for text, pointer in pointers:
        if not _is_called_policy(text):
            return passed(f"{text.at(pointer.line)} points to it: {quoted(pointer.quote)}", text.path)
    fix = f"Link {s.policy.policy_url} from the card."
    for text, pointer in pointers:
        return warned(f"{text.at(pointer.line)} only points to it: {quoted(pointer.quote)}", text.path, fix=fix)
    return warned("the use policy is neither in the repository nor linked", fix=fix)


def unaltered(s: Situation) -> Outcome:
    """AUP-002: a use policy that is there is the right one, unaltered."""
    wrong: list[Outcome] = []
    right: list[str] = []
    agreements = {(found.text.path, _product(found)) for found in s.official(document="license")}
    for found in s.official(document="policy"):
        text, recognition = found
        if (text.path, _product(found)) in agreements and _product(found) != s.policy.text_product:
            continue  # a part of another version's agreement: that file is LIC-004's
        if recognition.text is None or recognition.text.id != s.policy.use_policy:
            evidence = f"{text.path} holds the {recognition.name}, not the {s.policy.product} Acceptable Use Policy"
            wrong.append(warned(evidence, text.path))
        elif recognition.condition in WHOLE:
            right.append(text.path)
        else:
            wrong.append(warned(f"{text.path}: {differences(recognition, text.at)}", text.path))
    official = {found.text.path for found in s.official(document="policy")}
    for text in s.repository.texts:
        if text.path in official or not _is_called_policy(text):
            continue
        if text.recognition.kind == "pointer":
            others = [p for p in text.recognition.pointers if p.product not in {s.policy.text_product, None}]
            if others and others[0].document == "policy":
                wrong.append(warned(f"{text.at(others[0].line)}: {quoted(others[0].quote)}", text.path))
        else:
            what = f"the {quoted(text.recognition.name)}" if text.recognition.name else "a policy of its own"
            evidence = f"{text.path} is {what}, not the {s.policy.product} Acceptable Use Policy"
            wrong.append(warned(evidence, text.path))
    if wrong:
        return wrong[0]
    return passed("word for word", right[0]) if right else not_applicable("no use policy in the repository")


def intended_use(group: str) -> Callable[[Situation], Outcome]:
    """AUP-G1, G2, G3: the card invites to nothing that a group of the use policy prohibits."""
    prohibited = re.compile(rf"(?i)\b(?:{_PROHIBITED[group]})\b")

    def check(s: Situation) -> Outcome:
        for card in s.repository.cards:
            for sentence in read_markdown(card.body, first_line=card.body_line).sentences:
                start = _invitation(sentence)
                if start is None or _NEGATED.search(sentence.text):
                    continue
                if word := prohibited.search(sentence.text, start):
                    evidence = f"{card.path}, line {sentence.line}: {quoted(sentence.text)} ({word.group().lower()})"
                    return warned(evidence, card.path)
        evidence = "the card invites to nothing of the kind; a person must confirm the use"
        return Outcome(status="manual", evidence=evidence)

    return check


def dangers_are_told(s: Situation) -> Outcome:
    """AUP-G4: the card tells users of known dangers, in more than a template's words."""
    stub = spoken = None
    for card in s.repository.cards:
        for heading, line, said in _sections(card):
            where = f"{card.path}, line {line}: {quoted(heading, limit=80)}"
            if _words(said) >= _STUB_WORDS:
                return passed(where, card.path)
            stub = stub or (f"{where} is empty, or a template's stub", card.path)
        for sentence in read_markdown(card.body, first_line=card.body_line).sentences:
            if spoken is None and not sentence.level and _SPOKEN.search(sentence.text):
                spoken = (f"{card.path}, line {sentence.line}: {quoted(sentence.text)}", card.path)
    if spoken:
        return warned(f"no section on limitations or risks, only {spoken[0]}", spoken[1])
    if stub:
        return failed(*stub)
    if unread := s.repository.unread_cards:
        return unknown(f"it may stand in what could not be read: {', '.join(unread[:3])}", unread[0])
    if s.repository.card is None:
        return failed("there is no card that could tell users of dangers")
    return failed(f"{s.repository.card.path} has no section on limitations or risks", s.repository.card.path)


def _invitation(sentence: Sentence) -> int | None:
    """Return from where on a sentence says what the model is for; None if it does not."""
    if match := _INVITES.search(sentence.text):
        return match.end()
    section = sentence.section
    return 0 if not sentence.level and _USES.search(section) and not _NO_USES.search(section) else None


def _sections(card: Card) -> Iterator[tuple[str, int, list[str]]]:
    """Yield the sections on dangers: heading, line, and what is said down to the next heading of its rank."""
    ranked = list(_ranked(card))
    for index, (rank, title, rest, line) in enumerate(ranked):
        if rank and _RISKS.search(title):
            under = itertools.takewhile(lambda later: not 0 < later[0] <= rank, ranked[index + 1 :])  # noqa: B023
            yield title, line, [rest, *(text for inner, _, text, _ in under if inner in {0, _LABEL})]


def _ranked(card: Card) -> Iterator[tuple[int, str, str, int]]:
    """Yield each sentence as (rank, title, text, line): a heading by its level, a label in bold type after these."""
    raw = card.body.split("\n")
    last = 0
    for sentence in read_markdown(card.body, first_line=card.body_line).sentences:
        first, last = sentence.line != last, sentence.line
        bold = _BOLD.match(raw[sentence.line - card.body_line]) if first else None
        if sentence.level:
            yield sentence.level, sentence.text, "", sentence.line
        elif bold and len(bold[1].split()) <= _LABEL_WORDS:
            yield _LABEL, bold[1].strip(), sentence.text[len(bold[1]) :].lstrip(" :.-\u2013"), sentence.line
        else:
            yield 0, "", sentence.text, sentence.line


def _words(said: list[str]) -> int:
    real = [text for text in said if not _STUB.search(text)]
    return sum(len(text.split()) + len(_UNSPACED.findall(text)) // 2 for text in real)


def _product(found: Official) -> str | None:
    return found.recognition.text.product if found.recognition.text else None


def _is_called_policy(text: LegalText) -> bool:
    name = text.path.rsplit("/", 1)[-1].lower().replace("-", "_").replace(" ", "_")
    return text.place == "file" and any(word in name for word in ("use_policy", "usepolicy", "acceptable_use"))
