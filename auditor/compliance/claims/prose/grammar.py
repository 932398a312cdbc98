"""Just enough English to tell "our model is open source" from "it beats open-source models".

No parser: word lists, clause boundaries and a few orders of words. When in doubt a rule finds nothing, because a
false alarm costs more trust than a missed boast, and the weights are examined whatever the page says.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

from auditor.compliance.claims.naming import llama_mentions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditor.compliance.claims.values import Subject

WEIGHTS: Final = (
    r"models?|llms?|lms?|vlms?|mllms?|lmms?|weights?|checkpoints?|parameters|chat-?bots?|assistants?|adapters?|loras?"
    r"|fine-?tunes?|reproductions?|replications?|quanti[sz]ations?|quants?|merges?|ggufs?"
)
CODE: Final = (
    r"code|codebase|code-base|librar(?:y|ies)|frameworks?|tools?|toolkits?|toolbox|packages?|software|scripts?"
    r"|implementations?|engines?|platforms?|pipelines?|plugins?|apps?|applications?|interfaces?|ui|servers?|demos?"
    r"|notebooks?|recipes?|tooling|utilities"
)
DATA: Final = r"data|datasets?|corpus|corpora|benchmarks?|annotations?|dialogues|conversations|instructions"
WHOLE: Final = r"projects?|repositor(?:y|ies)|repos?|work|initiatives?|efforts?"
OTHER: Final = (
    rf"{CODE}|{DATA}|{WHOLE}|communit(?:y|ies)|alternatives?|licen[sc]es?|licen[sc]ing|contributions?|contributors?"
    r"|developers?|research|researchers?|ecosystems?|movements?|world|ai|stack|tokeni[sz]ers?|leaderboards?"
    r"|encoders?|solutions?|technolog(?:y|ies)|systems?|resources?|releases?"
)

_OFTEN: Final = 8
_NOUN: Final = re.compile(rf"\b(?:(?P<weights>{WEIGHTS})|(?P<other>{OTHER}))\b", re.IGNORECASE)
_SCOPE: Final = re.compile(
    rf"\b(?:(?P<weights>{WEIGHTS})|(?P<code>{CODE})|(?P<data>{DATA})|(?P<repository>{WHOLE}))\b", re.IGNORECASE
)
_RUN_END: Final = re.compile(
    r"[.,;:!?()\[\]\"\u201c\u201d\u2013\u2014]|\b(?:of|for|to|in|on|at|by|with|from|that|which|who|whose|than|as|is|are|was|were|has|have"
    r"|and|or|but|we|our|the|this|these|built|based|trained|pretrained|finetuned|fine-tuned|developed|released"
    r"|designed|created|optimi[sz]ed|specifically|under|using|available|fully|pertinent|like|such|including)\b",
    re.IGNORECASE,
)
_CLAUSE: Final = re.compile(
    r"[;:()\u2013\u2014]|,\s+(?=(?:our|we|it|they|this|these|the|i)\b)"
    r"|,?\s\b(?:but|however|although|though|while|whereas|yet|and\s+(?:it|we|the|this|our))\b",
    re.IGNORECASE,
)
_NEGATION: Final = re.compile(
    r"\b(?:not(?!\s+(?:only|just|merely))|never|no|neither|nor|without|cannot|hardly|rather\s+than|instead\s+of"
    r"|so-called|nothing|none|false(?:ly)?|isn|aren|wasn|weren|don|doesn|didn|non|denies|deny)\b|n['\u2019]t\b",
    re.IGNORECASE,
)
_UNREAL: Final = re.compile(
    r"\b(?:if|whether|unless|can|could|may|might|must|should|would|please|how\s+to|want\s+to|wish\s+to|you)\b",
    re.IGNORECASE,
)
_COMPARING: Final = re.compile(
    r"\b(?:than|outperform\w*|surpass\w*|exceed\w*|beats?|beating|compar\w+|versus|vs|relative\s+to|on\s+par|match\w*"
    r"|compet\w+|rival\w*|like|similar\s+to|such\s+as|including|unlike|other|others|existing|previous|prior|many|most"
    r"|several|various|these\s+days|popular|state-of-the-art\s+open|between|among|against|inspired|thanks?|thank"
    r"|grateful|acknowledg\w+|baselines?|leaderboard|replacement|alternative)\b",
    re.IGNORECASE,
)
_FOREIGN: Final = re.compile(
    r"\b(?:gpt-?\w*|chatgpt|claude|gemini|palm|falcon|mistral|mixtral|mpt|bloom|qwen|pythia|opt|gemma|phi|yi|baichuan"
    r"|internlm|chatglm|whisper|clip|bert|roberta|t5|stable\s?diffusion|deepseek|starcoder|olmo|vicuna|alpaca|dolly"
    r"|stablelm|redpajama|smollm|tinyllama|open_?llama|transformers|vllm|fastchat|axolotl|langchain)\b",
    re.IGNORECASE,
)


def occurrences(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Return the first few matches: a sentence that repeats itself more often than that is no prose."""
    return islice(pattern.finditer(text), _OFTEN)


def clause_start(text: str, at: int) -> int:
    """Return where the clause that holds position `at` begins."""
    start = 0
    for match in _CLAUSE.finditer(text, 0, at):
        start = match.end()
    return start


def negated(text: str, at: int) -> bool:
    """Whether a word that denies stands before `at` in its clause.

    Examples
    --------
    >>> text = "It is not open source, but our model is open source"
    >>> [negated(text, match.start()) for match in re.finditer("open", text)]
    [True, False]
    """
    return _NEGATION.search(text, clause_start(text, at), at) is not None


def unreal(text: str, at: int) -> bool:
    """Whether the words speak of what could or should be, or ask: no statement of fact."""
    return text.rstrip().endswith("?") or _UNREAL.search(text, clause_start(text, at), at) is not None


def compared(text: str, at: int, *, start: int = 0) -> bool:
    """Whether words of comparison or thanks stand from `start` to `at`: they make the sentence speak of others."""
    return _COMPARING.search(text, start, at) is not None


def head_noun(text: str, at: int) -> Literal["weights", "other"] | None:
    """Say what kind of thing the noun phrase from `at` on names, by its last noun.

    Examples
    --------
    >>> head_noun("open source language chat model based on x", 11), head_noun("open-source LLM project", 11)
    ('weights', 'other')
    """
    start = at
    while (end := _RUN_END.search(text, start)) and not text[start : end.start()].strip():
        if end.group().lower() not in {"and", ",", "fully"} or end.end() - at > 30:
            return None
        start = end.end()  # "open source and commercially usable LLMs"
    run = text[start : end.start() if end else len(text)][:80]
    nouns = list(_NOUN.finditer(run))
    if not nouns:
        return "weights" if names_llama(run) else None
    return "weights" if nouns[-1]["weights"] else "other"


def nouns(text: str, start: int, stop: int) -> list[Literal["weights", "other"]]:
    """Kinds of the nouns from `start` to `stop`, in order."""
    return ["weights" if match["weights"] else "other" for match in _NOUN.finditer(text, start, stop)]


def scope(text: str, default: Subject = "repository") -> Subject:
    """Say what a statement of terms speaks of: the nouns of its words, if they agree."""
    kinds = {kind for match in _SCOPE.finditer(text) for kind, found in match.groupdict().items() if found}
    narrow = kinds - {"repository"} or kinds
    # The pattern's group names are the subjects.
    return narrow.pop() if len(narrow) == 1 else default  # type: ignore[return-value]


def names_llama(text: str) -> bool:
    """Whether the words name a Llama model (and not its tokenizer, or a program of that name)."""
    return any(not mention.of_part for mention in llama_mentions(text))


def foreign(text: str, own_names: tuple[str, ...]) -> bool:
    """Whether the words name another well-known model or program, and this model is not called after it."""
    own = " ".join(own_names).lower()
    return any(match.group().lower() not in own for match in _FOREIGN.finditer(text))
