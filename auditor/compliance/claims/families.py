"""Which family a named base model is of: by its name where the name says so, else by a table of known ones.

This answers "does the card name a Llama 2 as its base?", never "are the weights Llama 2?".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from auditor.compliance.claims.naming import Family, llama_mentions
from auditor.compliance.claims.repoid import parse_repo_id

if TYPE_CHECKING:
    from auditor.compliance.claims.repoid import RepoId

BaseFamily: TypeAlias = Family | Literal["other", "unknown"]
"""`other`: known to be no Llama of Meta's. `llama`: a Llama, version not said. `unknown`: nothing follows."""

LLAMA2_TERMS: Final = frozenset({"llama2", "codellama"})
"""Families whose licence is the Llama 2 Community License (Code Llama's LICENSE points to it)."""

_KNOWN: Final[dict[BaseFamily, str]] = {
    # Derivatives whose names do not say what they come from, or say it in a way that a pattern cannot read.
    "llama2": """
        lmsys/vicuna-7b-v1.5 lmsys/vicuna-7b-v1.5-16k lmsys/vicuna-13b-v1.5 lmsys/vicuna-13b-v1.5-16k
        lmsys/longchat-7b-v1.5-32k wizardlmteam/wizardmath-7b-v1.0 wizardlmteam/wizardmath-13b-v1.0
        wizardlm/wizardlm-13b-v1.2 wizardlm/wizardmath-7b-v1.0 microsoft/orca-2-7b microsoft/orca-2-13b
        princeton-nlp/sheared-llama-1.3b princeton-nlp/sheared-llama-1.3b-pruned princeton-nlp/sheared-llama-2.7b
        princeton-nlp/sheared-llama-2.7b-pruned llama-moe/llama-moe-v1-3_0b-2_16 llama-moe/llama-moe-v1-3_5b-2_8
        llama-moe/llama-moe-v1-3_5b-4_16 llama-moe/llama-moe-v1-3_5b-4_16-sft liuhaotian/llava-v1.5-7b
        liuhaotian/llava-v1.5-13b languagebind/video-llava-7b-hf epfl-llm/meditron-7b epfl-llm/meditron-70b
        stabilityai/stablebeluga-7b stabilityai/stablebeluga-13b stabilityai/stablebeluga2
        garage-baind/platypus2-7b garage-baind/platypus2-13b garage-baind/platypus2-70b
        allenai/tulu-2-7b allenai/tulu-2-13b allenai/tulu-2-70b allenai/tulu-2-dpo-7b allenai/tulu-2-dpo-70b
        nousresearch/yarn-llama-2-7b-128k xwin-lm/xwin-lm-7b-v0.1 xwin-lm/xwin-lm-70b-v0.1
    """,
    "codellama": """
        eleutherai/llemma_7b eleutherai/llemma_34b eleutherai/llemma_7b_muinstruct_camelmath
        phind/phind-codellama-34b-v2
    """,
    "llama1": """
        huggyllama/llama-7b huggyllama/llama-13b huggyllama/llama-30b huggyllama/llama-65b
        decapoda-research/llama-7b-hf decapoda-research/llama-13b-hf lmsys/vicuna-7b-v1.1 lmsys/vicuna-7b-v1.3
        lmsys/vicuna-13b-v1.1 lmsys/vicuna-13b-v1.3
    """,
    # Names with Llama in them, or shapes like it, that are of other makers and trained from nothing.
    "other": """
        openlm-research/open_llama_3b openlm-research/open_llama_7b openlm-research/open_llama_13b
        openlm-research/open_llama_3b_v2 openlm-research/open_llama_7b_v2
        ibm-granite/granite-7b-base
    """,
}
_BY_ID: Final = {repo: family for family, repos in _KNOWN.items() for repo in repos.split()}
_OTHER_MAKERS: Final = re.compile(
    r"(?:^|/)(?:tinyllama|amber|falcon|mistral|mixtral|mpt|bloomz?|qwen|gpt|pythia|opt|gemma|phi|yi|baichuan|internlm"
    r"|chatglm|glm|olmo|smollm|stablelm|redpajama|starcoder|deepseek|xgen|plamo|jais|dolly|t5|bert|cerebras|granite)"
    r"(?![a-z]{3})"
)
_L2: Final = re.compile(r"(?:^|[\-_/])l2[\-_]\d+b(?![a-z])")  # "airoboros-l2-13b": the quantisers' short form


def family_of(base: str | RepoId) -> BaseFamily:
    """Say which family a base model's id, link or name belongs to.

    Parameters
    ----------
    base : str or RepoId
        As a card, a config or a sentence names it.

    Examples
    --------
    >>> family_of("NousResearch/Llama-2-7b-hf"), family_of("lmsys/vicuna-7b-v1.5")
    ('llama2', 'llama2')
    >>> family_of("openlm-research/open_llama_7b_v2"), family_of("someone/thing-7b")
    ('other', 'unknown')
    """
    repo = parse_repo_id(base) if isinstance(base, str) else base
    if repo is not None and (known := _BY_ID.get(repo.key)):
        return known
    name = repo.name if repo is not None else str(base)
    mentions = [mention for mention in llama_mentions(name) if not mention.of_part]
    named = {mention.family for mention in mentions if mention.project is None and mention.family != "llama"}
    if len(named) == 1:
        return named.pop()
    low = name.lower()
    if _L2.search(low):
        return "llama2"
    if any(mention.project in {"tiny", "open"} for mention in mentions):
        return "other"
    if mentions:
        return "llama"
    return "other" if _OTHER_MAKERS.search(low) else "unknown"
