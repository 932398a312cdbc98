"""Sentences about where weights come from: trained from nothing, made from another model, taught by one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from auditor.compliance.claims.naming import llama_mentions
from auditor.compliance.claims.prose.grammar import clause_start, compared, foreign, negated, occurrences, unreal
from auditor.compliance.claims.repoid import parse_repo_id

if TYPE_CHECKING:
    from auditor.compliance.claims.naming import LlamaMention
    from auditor.compliance.claims.prose.markdown import Sentence


class Base(NamedTuple):
    """A base that a sentence names, and how this model is said to come from it."""

    value: str
    relation: str | None


_SCRATCH: Final = re.compile(
    r"\b(?:from[\s-]+scratch|from\s+the\s+ground\s+up|from\s+(?:a\s+)?random(?:ly)?[\s-]+initiali[sz]\w+(?:\s+weights)?)\b",
    re.IGNORECASE,
)
_TRAINED: Final = re.compile(
    r"\b(?:pre-?)?train(?:ed)?\b|\b(?:built|created|developed|initiali[sz]ed)\b(?=[^.]{0,30}$)", re.IGNORECASE
)
_WE_TRAIN: Final = re.compile(r"\b(?:we|i)\b(?:\s+\w+){0,4}\s+(?:pre-?)?train\b", re.IGNORECASE)
_PART: Final = re.compile(
    r"\b(?:tokeni[sz]ers?|vocabular(?:y|ies)|encoders?|projectors?|heads?|classifiers?|baselines?|embeddings?|adapters?"
    r"|reward\s+models?|connectors?|resamplers?|routers?)\b",
    re.IGNORECASE,
)
_WHOLE: Final = re.compile(r"\b(?:weights?|models?|llms?|lms?|networks?|transformers?)\b", re.IGNORECASE)
_OTHERS: Final = re.compile(
    r"\b(?:those|models|others|counterparts)\s+(?:that\s+(?:are|were)\s+)?(?:pre-?)?trained\b", re.IGNORECASE
)
_DENIAL: Final = re.compile(
    r"(?:\b(?:not|never)|n['\u2019]t)\s+(?:\w+\s+){0,2}(?:based\s+(?:up)?on|built\s+(?:up)?on|derived\s+from|fine-?tuned\s+(?:from|on)"
    r"|initiali[sz]ed\s+from|a\s+(?:derivative|fine-?tune|copy)\s+of)\s+(?P<what>[^.;]{2,80})",
    re.IGNORECASE,
)

_COPY: Final = r"(?:version|variant|model|checkpoint)"
_FROM: Final = (
    # (words before the base's name, what they say of the relation)
    (r"(?:continu\w+|further)[\s-]+pre-?train\w*(?:\s+\w+){0,3}\s+(?:from|of|on)", "continued pretraining"),
    (r"(?:merge[ds]?|merging|blend(?:ed)?)\s+(?:\w+\s+){0,3}(?:of|between|from)", "merge"),
    (r"(?:lora|qlora|adapter)s?\s+(?:\w+\s+){0,3}(?:for|of|on|from)", "adapter"),
    (r"(?:quanti[sz]\w+|gguf|ggml|gptq|awq|exl2)(?:\s+[\w-]+){0,4}\s+(?:of|for|from)", "quantized"),
    (rf"(?:fine-?\s?|instruction[\s-])?tun(?:ed|e|ing)(?:\s+{_COPY})?\s+(?:of|from|on|over)", "finetune"),
    (r"(?:by|via|through|after)\s+(?:\w+\s+)?(?:fine-?\s?|instruction[\s-])tuning", "finetune"),
    (r"(?:prun\w+)\s+(?:\w+\s+){0,2}(?:of|from)", "pruned"),
    (r"adapted(?:\s+\w+){0,4}\s+from", None),
    (r"(?:based|built|builds)\s+(?:up)?on(?:\s+top\s+of)?", None),
    (r"derived\s+from|derivative\s+of|initiali[sz]ed\s+(?:from|with|by)|starting\s+from|conver\w+\s+from", None),
)  # fmt: skip
_RELATIONS: Final = tuple(
    (
        re.compile(
            rf"\b(?:{words})\s+(?:the\s+)?(?:(?:original|official|base|pretrained)\s+)?(?:weights?\s+of\s+)?",
            re.IGNORECASE,
        ),
        relation,
    )
    for words, relation in _FROM
)
_LABEL: Final = re.compile(
    r"^\W*(?P<how>(?:continue[d]?[\s-]*pre-?trained|fine-?\s?tuned|quanti[sz]ed|adapted|derived|merged|distilled)\s+from"
    r"(?:\s+(?:base\s+)?model)?|(?:base|parent|original|source|foundation|backbone)\s+(?:model|llm)s?(?:\s+name)?)\s*:\s*"
    r"(?P<what>\S.*)$",
    re.IGNORECASE,
)
_GAP: Final = re.compile(r"\b(?:and|or|to|that|which|of|for|in|with|than|so|we|it)\b|[,;:.!?]\s", re.IGNORECASE)
_NOT_THE_MODEL: Final = re.compile(
    r"[\w./-]*(?:\s(?!(?:and|or|on|in|for|with|to)\b)[\w-]+)?[\s-](?:architecture|tokeni[sz]er|code|codebase"
    r"|repo(?:sitory)?|licen[sc]e|paper|template|format|recipes?|implementation|style|prompt)\b",
    re.IGNORECASE,
)

_TEACHING: Final = re.compile(
    r"\b(?:(?:generat\w+|produc\w+|creat\w+|synthesi[sz]\w+|written|label\w*|annotat\w+|augment\w+|collect\w+)\s+"
    r"(?:\w+\s+){0,3}(?:by|from|with|using|via)|outputs?\s+(?:of|from)|responses?\s+(?:of|from)|completions?\s+(?:of|from)"
    r"|distil\w+\s+(?:\w+\s+){0,4}(?:from|of)|distil\w+)\s+(?:the\s+|a\s+|an\s+)?",
    re.IGNORECASE,
)
_TEACHER: Final = re.compile(
    r"\bteacher(?:\s+model)?s?\s*(?::|is|was|are|=)\s*(?:the\s+)?|\bas\s+(?:the\s+|a\s+)?teacher", re.IGNORECASE
)
_GENERATED: Final = re.compile(
    r"(?:[\s-](?:\d+b|chat|hf|instruct|base))*[\s-]+(?:generated|distilled|synthesi[sz]ed|labell?ed|written)\b",
    re.IGNORECASE,
)
_LEARNING: Final = re.compile(
    r"\b(?:train\w*|fine-?tun\w*|tuned|tuning|distil\w*|dataset|corpus|instruction\w*|synthetic|sft|dpo|student|teacher"
    r"|pre-?train\w*|training\s+data|data)\b",
    re.IGNORECASE,
)
_TEACHING_KINDS: Final = frozenset({"llama", "llama1", "llama2", "llama3", "codellama"})


def scratch_claim(sentence: Sentence, own_names: tuple[str, ...]) -> str | None:
    """Return the words that say this model was trained from nothing, or None."""
    text = sentence.text
    for match in occurrences(_SCRATCH, text):
        start = clause_start(text, match.start())
        clause = text[start : match.start()]
        verb = list(_TRAINED.finditer(clause))
        if not verb or negated(text, match.start()) or unreal(text, match.start()):
            continue
        if not verb[-1].group().lower().endswith(("ed", "built")) and not _WE_TRAIN.search(clause):
            continue  # "train a model from scratch": how it is done, not what was done
        if _OTHERS.search(clause) or compared(text, match.start(), start=start) or foreign(clause, own_names):
            continue
        if _PART.search(clause) and not _WHOLE.search(_PART.sub(" ", clause)):
            continue
        return text[start + verb[-1].start() : match.end()]
    return None


def denial(sentence: Sentence) -> str | None:
    """Return what the model is said not to come from, where that is a Llama or any model at all."""
    match = _DENIAL.search(sentence.text)
    if match is None or sentence.text.rstrip().endswith("?"):
        return None
    what = match["what"].strip()
    any_model = re.match(
        r"(?:any|another|other|an?\s+existing)\b.*\b(?:model|llm|weights|checkpoint)", what, re.IGNORECASE
    )
    return what if any_model or _model_named(sentence.text, match.start("what"), 60) else None


def bases(sentence: Sentence) -> list[Base]:
    """Return the bases that the sentence names: Llama models by name, any model by a link to its repository."""
    text = sentence.text
    if label := _LABEL.match(text):
        value = _linked(sentence, label.start("what"), len(text)) or label["what"].strip()[:120]
        return [Base(value=value, relation=_relation_of(label["how"]))]
    found: list[Base] = []
    for pattern, relation in _RELATIONS:
        for match in occurrences(pattern, text):
            if negated(text, match.start()) or unreal(text, match.start()):
                continue
            value = _linked(sentence, match.start() + 1, match.end() + 2)
            mention = _model_named(text, match.end(), 32)
            if mention is not None and not _GAP.search(text, match.end(), match.end() + mention.start):
                value = value or _name_from(text, match.end())
            if value and not any(base.value == value for base in found):
                found.append(Base(value=value, relation=relation))
    return found


def teachers(sentence: Sentence) -> list[str]:
    """Return the Llama models whose outputs this model, or its data, is said to come from."""
    text = sentence.text
    found: list[str] = []
    if not _LEARNING.search(text) or text.rstrip().endswith("?"):
        return found
    for pattern in (_TEACHING, _TEACHER):
        for match in occurrences(pattern, text):
            if negated(text, match.start()):
                continue
            mention = _model_named(text, match.end(), 30)
            if mention is None and "teacher" in match.group().lower():
                mention = _last_before(text, match.start())
            if mention is not None and mention.family in _TEACHING_KINDS:
                found.append(mention.text)
    found += (
        mention.text
        for mention in llama_mentions(text)
        if _GENERATED.match(text, mention.stop) and not negated(text, mention.start)
    )
    return list(dict.fromkeys(found))


def _model_named(text: str, start: int, within: int) -> LlamaMention | None:
    """Return the Llama model named within so many characters of `start`, unless only a part of it is meant."""
    window = text[start : start + within + 40]
    for mention in llama_mentions(window):
        if mention.start > within or re.search(r"[.;]\s", window[: mention.start]):
            return None
        if mention.of_part or _NOT_THE_MODEL.match(window[mention.stop :]):
            continue
        return mention
    return None


def _last_before(text: str, stop: int) -> LlamaMention | None:
    found = [mention for mention in llama_mentions(text[:stop]) if not mention.of_part]
    return found[-1] if found else None


def _name_from(text: str, start: int) -> str:
    """Return the words of a model's name that begins near `start`: "Llama 2 70B", "Code Llama"."""
    mention = llama_mentions(text[start : start + 80])[0]
    first = start + mention.start
    while first > start and not text[first - 1].isspace():
        first -= 1
    if re.search(r"code[\s-]$", text[start:first], re.IGNORECASE):
        first -= 5
    return text[first : _end_of_name(text, start + mention.stop)].strip("(\"'")


def _end_of_name(text: str, stop: int) -> int:
    match = re.compile(
        r"[\w./-]*(?:[\s-]\d+(?:\.\d+)?[bB])?(?:[\s-](?:chat|hf|instruct|base)\b)?", re.IGNORECASE
    ).match(text, stop)
    end = match.end() if match else stop
    while end > stop and text[end - 1] in "./-":
        end -= 1
    return end


def _linked(sentence: Sentence, start: int, stop: int) -> str | None:
    for link in sentence.links:
        if start <= link.start < stop and (repo := parse_repo_id(link.url)):
            return str(repo)
    return None


def _relation_of(words: str) -> str | None:
    low = words.lower()
    table = (("pre", "continued pretraining"), ("tuned", "finetune"), ("quanti", "quantized"), ("merged", "merge"))
    return next((relation for start, relation in table if start in low), None)
