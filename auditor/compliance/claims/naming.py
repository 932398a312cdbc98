"""Names of models and organisations: what they say of Llama and Meta, and what they pretend.

Clause 5.a of the Llama 2 agreement gives no right to Meta's marks beyond describing and redistributing. So a
name may say "Llama 2" (a description) and may leave it out: Llama 2, unlike Llama 3, asks for no prefix and no
"Built with" line, and nothing here reports their absence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from auditor.compliance.claims.confusables import fold
from auditor.limits import LIMITS

OFFICIAL_ORGS: Final = frozenset({"meta-llama", "facebook", "codellama", "facebookresearch"})
"""Accounts of Meta on the Hub and on GitHub. `codellama` is where its Code Llama lies on the Hub."""

_LLAMA: Final = re.compile(r"llama|(?<![a-z])llarna(?![a-z])")
_TOOLS: Final = re.compile(
    r"[ _.\-]?(?:cpp|index|file|hub|parse|factory|recipes|cookbook|board|stack|swap|deploy|pack|edge|agents?)"
    r"(?![a-z])|2?[.\-](?:c|rs|go|py|cs|java|js|ts|zig|cu|np|mojo|jl)(?![a-z0-9])",
)
"""What after "llama" makes it a program: llama.cpp, LlamaIndex, llamafile, llama2.c, ..."""

_PARTS: Final = re.compile(
    r"[ _\-]?(?:\d(?:\.\d)?[ _\-]?)?(?:like|style|format|template|tokeni[sz]er|architecture|arch|prompt)(?![a-z])",
)
"""What after "llama" makes it a part or a manner, not the weights."""

_OTHER_PROJECTS: Final = ("tiny", "open", "video", "pmc", "med", "bio", "audio", "music")
"""What before "llama" makes it a project whose number is its own: VideoLLaMA2, open_llama_7b_v2."""

_VERSION: Final = re.compile(
    r"[ _.\-]{0,2}v?(?P<major>[1-4])(?:(?:[._]|-(?=\d-\d+b))(?P<minor>\d))?(?!\.?\d)(?!\s?[bm]\b)",
)
_ENDORSING: Final = re.compile(
    r"(?<![a-z])(?:official(?:ly)?|authentic|genuine|verified|certified|endorsed|approved|authori[sz]ed)(?![a-z])",
)
_NOT_ENDORSING: Final = re.compile(r"(?:un|non)[ _\-]?(?:official|authentic|verified|certified|approved)")
_BY_META: Final = re.compile(r"(?<![a-z])(?:by|from)[ _\-]meta(?![a-z])|^meta['\u2019]s(?![a-z])")
_META_WORD: Final = re.compile(r"(?<![a-z])(?:meta|facebook)(?![a-z])")
_META_COMPANY: Final = frozenset({"ai", "platforms", "official", "facebook", "genai", "fair", "research"})
_META_NAMES: Final = frozenset(
    {
        "metallama",
        "metaai",
        "metaplatforms",
        "metaofficial",
        "metagenai",
        "facebookai",
        "facebook",
        "codellama",
        "meta",
    }
)

Family = Literal["llama", "llama1", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "codellama"]
_FAMILIES: Final[dict[str, Family]] = {
    "1": "llama1",
    "2": "llama2",
    "3": "llama3",
    "3.1": "llama3.1",
    "3.2": "llama3.2",
    "3.3": "llama3.3",
    "4": "llama4",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaMention:
    """A place where a text says "Llama" and means a model.

    Attributes
    ----------
    text : str
        As written, with its version.
    family : Family
        "llama" where no version is named.
    start, stop : int
        Where in the text.
    disguised : bool
        Written with digits or look-alike letters, so that a plain search does not find it.
    project : str or None
        The word glued or joined before it, where that makes it another project's name ("tiny", "video");
        its number is then that project's and not a Llama version.
    of_part : bool
        It names a part or a manner ("Llama tokenizer", "llama-style"), not weights.
    """

    text: str
    family: Family
    start: int
    stop: int
    disguised: bool = False
    project: str | None = None
    of_part: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OrgCheck:
    """What an organisation's name pretends.

    Attributes
    ----------
    org : str
    kind : {"official", "lookalike", "other"}
    reason : str
        Why it is a look-alike; empty otherwise.
    """

    org: str
    kind: Literal["official", "lookalike", "other"]
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NameCheck:
    """What a model's name says.

    Attributes
    ----------
    name : str
    mentions : tuple of LlamaMention
    endorsement : str or None
        The words that imply Meta's origin or approval ("official", "by Meta").
    says_meta : bool
        Has the word Meta or Facebook in it. Quantisers keep "Meta-Llama-3-8B", the model's own name, so this
        alone is no finding.
    deceptive : bool
        A word in it mixes scripts that look alike, or hides an invisible character.
    """

    name: str
    mentions: tuple[LlamaMention, ...]
    endorsement: str | None
    says_meta: bool
    deceptive: bool


def llama_mentions(text: str) -> tuple[LlamaMention, ...]:
    """Find the places that name a Llama model; programs of that name (llama.cpp, ollama) are no such places.

    Examples
    --------
    >>> [(m.text, m.family) for m in llama_mentions("Llama-2-7b-chat, GGUF for llama.cpp and ollama")]
    [('Llama-2', 'llama2')]
    >>> [(m.family, m.project) for m in llama_mentions("VideoLLaMA2")]
    [('llama', 'video')]
    """
    text = text[: LIMITS.prose_chars]
    folded = fold(text)
    found: list[LlamaMention] = []
    for match in _LLAMA.finditer(folded.skeleton):
        start, stop = match.span()
        rest = folded.text[stop : stop + 40]
        before = re.search(r"[a-z]*$", folded.text[max(0, start - 24) : start])
        prefix = before.group() if before else ""
        if prefix == "o" or _TOOLS.match(rest):
            continue
        project = _project(prefix, folded.text[max(0, start - 12) : start])
        family: Family = "llama"
        end = stop
        if prefix == "code" or re.search(r"(?<![a-z])code[ _\-]$", folded.text[max(0, start - 6) : start]):
            family = "codellama"
        elif project is None and (version := _VERSION.match(rest)):
            family = _family(version["major"], version["minor"])
            end = stop + version.end()
        first, last = folded.origin[start], folded.origin[end - 1] + 1
        found.append(
            LlamaMention(
                text=text[first:last],
                family=family,
                start=first,
                stop=last,
                disguised=text[first : first + 5].lower() != "llama",
                project=project,
                of_part=_PARTS.match(rest) is not None,
            )
        )
    return tuple(found)


def check_name(name: str) -> NameCheck:
    """Examine a model's name or title.

    Examples
    --------
    >>> check_name("Official-Llama-2-7b").endorsement
    'official'
    >>> check_name("unofficial-llama2").endorsement is None
    True
    """
    name = name[: LIMITS.value_chars]
    folded = fold(name)
    mentions = tuple(mention for mention in llama_mentions(name) if not mention.of_part)
    says_meta = _META_WORD.search(folded.skeleton) is not None
    endorsement = None
    if by_meta := _BY_META.search(folded.skeleton):
        endorsement = by_meta.group()
    elif mentions or says_meta:
        plain = _NOT_ENDORSING.sub(" ", folded.skeleton)
        word = _ENDORSING.search(plain)
        endorsement = word.group() if word else None
    return NameCheck(
        name=name,
        mentions=mentions,
        endorsement=endorsement,
        says_meta=says_meta,
        deceptive=folded.deceptive or any(mention.disguised for mention in mentions),
    )


def check_org(org: str) -> OrgCheck:
    """Tell Meta's own accounts from those that look like them.

    Examples
    --------
    >>> check_org("meta-llama").kind, check_org("meta-Ilama").kind, check_org("meta-math").kind
    ('official', 'lookalike', 'other')
    """
    org = org[: LIMITS.value_chars]
    if org.isascii() and org.lower() in OFFICIAL_ORGS:
        return OrgCheck(org=org, kind="official")
    skeleton = fold(org).skeleton
    words = re.split(r"[ _.\-]+", skeleton)
    joined = "".join(words)
    if skeleton in OFFICIAL_ORGS:
        reason = f"reads as {skeleton}"
    elif joined in _META_NAMES or "metallama" in joined or "llamameta" in joined:
        reason = "spells a name of Meta's in another way"
    elif "facebook" in joined:
        reason = "contains Facebook"
    elif "meta" in words and (_META_COMPANY & set(words) or any("llama" in word for word in words)):
        reason = "joins Meta with a word for the company or its models"
    elif any(_one_edit(joined, name) for name in ("metallama", "facebook")):
        reason = "one letter from a name of Meta's"
    else:
        return OrgCheck(org=org, kind="other")
    return OrgCheck(org=org, kind="lookalike", reason=reason)


def _project(prefix: str, before: str) -> str | None:
    if prefix and prefix not in {"code", "meta", "the", "my"}:
        return prefix
    joined = re.search(r"([a-z]+)[ _\-]$", before)
    return joined[1] if joined and not prefix and joined[1] in _OTHER_PROJECTS else None


def _family(major: str, minor: str | None) -> Family:
    return _FAMILIES.get(f"{major}.{minor}") or _FAMILIES[major]


def _one_edit(a: str, b: str) -> bool:
    """Whether one letter put in, left out, changed or swapped with its neighbour makes `a` of `b`."""
    if a == b or abs(len(a) - len(b)) > 1:
        return False
    head = 0
    while head < min(len(a), len(b)) and a[head] == b[head]:
        head += 1
    rest_a, rest_b = a[head:], b[head:]
    return (
        rest_a[1:] == rest_b[1:]
        or rest_a[1:] == rest_b
        or rest_a == rest_b[1:]
        or (rest_a[:2] == rest_b[:2][::-1] and rest_a[2:] == rest_b[2:])
    )
