"""Everything that the repository says of itself, in one list, each with the place where it says it.

What is said is never what decides descent; it is compared with what the weights show.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from auditor.compliance.claims.families import LLAMA2_TERMS
from auditor.compliance.claims.mergekit import MergeConfig, parse_mergekit
from auditor.compliance.claims.naming import llama_mentions
from auditor.compliance.claims.prose import claims_in_prose
from auditor.compliance.claims.prose.markdown import read_markdown
from auditor.compliance.claims.repoid import RepoId, parse_repo_id
from auditor.compliance.claims.values import Claim, Kind, Problem, Subject, Value, Where

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from auditor.compliance.claims.card import Card
    from auditor.compliance.claims.metadata import AdapterConfig, GgufMetadata, ModelConfig

__all__ = [
    "Claim",
    "Claims",
    "Kind",
    "RepoId",
    "Subject",
    "Where",
    "from_adapter",
    "from_card",
    "from_config",
    "from_gguf",
    "from_merge",
    "gather",
    "parse_repo_id",
]

_OPEN_TAG: Final = re.compile(r"open[\s_-]?source(?:d|[\s_-](?:model|llm|weights))?", re.IGNORECASE)
# A data set named after Llama 2 is most often only laid out for its prompts; these words say it was made by it.
_OUTPUTS: Final = re.compile(
    r"outputs?|generat|distil|synthe|responses?|completions?|answers|self-?instruct", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a repository says, and what could not be read of it.

    Attributes
    ----------
    claims : tuple of Claim
    problems : tuple of Problem
        Of all files.
    complete : bool
        False: a card, config or merge config was not read whole, so a claim that is absent here may be there.
    """

    claims: tuple[Claim, ...] = ()
    problems: tuple[Problem, ...] = ()
    complete: bool = True

    def of(self, *kinds: Kind, subject: Subject | None = None) -> tuple[Claim, ...]:
        """Return the claims of these kinds, about `subject` where one is given."""
        return tuple(c for c in self.claims if c.kind in kinds and subject in {None, c.subject})


def gather(
    *,
    cards: Sequence[Card] = (),
    configs: Sequence[ModelConfig] = (),
    adapters: Sequence[AdapterConfig] = (),
    merges: Sequence[MergeConfig] = (),
    ggufs: Sequence[GgufMetadata] = (),
    repo: RepoId | None = None,
) -> Claims:
    """Put together what all files of a repository say.

    Parameters
    ----------
    cards, configs, adapters, merges, ggufs : sequence
        Parsed files, in the order in which their claims shall stand.
    repo : RepoId, optional
        The repository's own id: its name tells which model a sentence speaks of.
    """
    own_names = (repo.name,) if repo else ()
    merges = (*merges, *(merge for card in cards for merge in _merges_in(card)))
    found: list[Claim] = []
    for card in cards:
        found += from_card(card, own_names=own_names)
    for config in configs:
        found += from_config(config)
    for adapter in adapters:
        found += from_adapter(adapter)
    for merge in merges:
        found += from_merge(merge)
    for gguf in ggufs:
        found += from_gguf(gguf)
    files: tuple[Card | MergeConfig | ModelConfig | AdapterConfig | GgufMetadata, ...]
    files = (*cards, *configs, *adapters, *merges, *ggufs)
    whole = (getattr(file, "complete", True) and getattr(file, "readable", True) for file in files)
    return Claims(
        claims=tuple(dict.fromkeys(found)),
        problems=tuple(dict.fromkeys(problem for file in files for problem in file.problems)),
        complete=all(whole),
    )


def from_card(card: Card, *, own_names: tuple[str, ...] = ()) -> tuple[Claim, ...]:
    """Gather what a card says, in its front matter and in its text."""
    names = own_names + ((card.model_name.text,) if card.model_name else ())
    prose = claims_in_prose(card.body, path=card.path, first_line=card.body_line, own_names=names)
    return (*_in_front_matter(card), *prose)


def from_config(config: ModelConfig) -> tuple[Claim, ...]:
    """Gather what `config.json` says: where the model was loaded from, if that is a repository id."""
    found = (*config.bases, *config.quant_bases)
    return tuple(_claim("base-model", value, config.path) for value in found if parse_repo_id(value.text))


def from_adapter(adapter: AdapterConfig) -> tuple[Claim, ...]:
    """Gather what an adapter's config says: its base."""
    where = Where(path=adapter.path, key="peft_type" if adapter.peft_type else "base_model_name_or_path")
    relation = Claim(kind="relation", value="adapter", subject="weights", where=where)
    return (relation, *(_claim("base-model", value, adapter.path) for value in (adapter.base,) if value))


def from_merge(merge: MergeConfig) -> tuple[Claim, ...]:
    """Gather the parents of a merge."""
    relation = tuple(
        Claim(kind="relation", value="merge", subject="weights", where=_where(method, merge.path))
        for method in merge.methods[:1]
    )
    return (*relation, *(_claim("base-model", parent.model, merge.path) for parent in merge.parents))


def from_gguf(gguf: GgufMetadata) -> tuple[Claim, ...]:
    """Gather what a GGUF header says."""
    found: list[Claim] = []
    singles: tuple[tuple[Kind, Value | None], ...] = (
        ("name", gguf.name),
        ("organization", gguf.organization),
        ("license", gguf.license),
        ("license-name", gguf.license_name),
        ("license-link", gguf.license_link),
    )
    found += (_claim(kind, value, gguf.path) for kind, value in singles if value)
    for base in gguf.base_models:
        if value := base.repo_url or base.name:
            found.append(_claim("base-model", value, gguf.path))
    found += (_claim("dataset", value, gguf.path, "data") for value in gguf.datasets)
    found += _teachers(gguf.datasets, gguf.path)
    found += _tags(gguf.tags, gguf.path)
    return tuple(found)


def _in_front_matter(card: Card) -> Iterator[Claim]:
    singles: tuple[tuple[Kind, Value | None], ...] = (
        ("name", card.model_name),
        ("license-name", card.license_name),
        ("license-link", card.license_link),
        ("relation", card.base_model_relation),
    )
    for value in card.license:
        yield _claim("license", value, card.path, "repository")
    for kind, single in singles:
        if single:
            yield _claim(kind, single, card.path, "repository" if kind.startswith("license") else "weights")
    for value in card.base_model:
        yield _claim("base-model", value, card.path)
    for value in card.datasets:
        yield _claim("dataset", value, card.path, "data")
    yield from _teachers(card.datasets, card.path)
    yield from _tags(card.tags, card.path)


def _tags(tags: tuple[Value, ...], path: str) -> Iterator[Claim]:
    for tag in tags:
        if _OPEN_TAG.fullmatch(tag.text.strip()):
            yield _claim("open-source", tag, path)
        elif any(not mention.of_part for mention in llama_mentions(tag.text)):
            yield _claim("tag", tag, path)


def _teachers(datasets: tuple[Value, ...], path: str) -> Iterator[Claim]:
    for value in datasets:
        families = {mention.family for mention in llama_mentions(value.text) if not mention.of_part}
        if families & LLAMA2_TERMS and _OUTPUTS.search(value.text):
            yield _claim("teacher", value, path, "data")


def _merges_in(card: Card) -> tuple[MergeConfig, ...]:
    """Merge configs that stand in the text: mergekit's own README template prints them there."""
    if "merge_method" not in card.body:
        return ()
    blocks = read_markdown(card.body, first_line=card.body_line).code
    return tuple(
        parse_mergekit(block.text.encode(errors="replace"), file=card.path, first_line=block.line)
        for block in blocks
        if block.language in {"yaml", "yml", ""} and re.search(r"(?m)^merge_method:", block.text)
    )


def _claim(kind: Kind, value: Value, path: str, subject: Subject = "weights") -> Claim:
    return Claim(kind=kind, value=value.text, subject=subject, where=_where(value, path))


def _where(value: Value, path: str) -> Where:
    return Where(path=path, line=value.line, key=value.key)
