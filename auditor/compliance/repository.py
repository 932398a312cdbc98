"""Read what a repository says: licence texts, notices, card, configs, headers. Text only; bounded."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from auditor.compliance.card import Card, parse_card
from auditor.compliance.claims import Claims, gather
from auditor.compliance.license_text import Recognition, decode, recognise
from auditor.compliance.mergekit import MergeConfig, parse_mergekit
from auditor.compliance.metadata import (
    AdapterConfig,
    GgufMetadata,
    ModelConfig,
    parse_adapter_config,
    parse_config,
    parse_gguf_metadata,
)
from auditor.errors import FileError, LimitExceeded
from auditor.limits import LIMITS
from auditor.sources import Blob, Unread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from auditor.compliance.repoid import RepoId
    from auditor.formats import Container
    from auditor.sources import FileInfo, Source

_LEGAL = re.compile(
    r"licen[cs]e|copying|copyright|notice|use[-_ ]?policy|acceptable[-_ ]use|terms|agreement|legal|eula|tos\b",
    re.IGNORECASE,
)
_TEXT_SUFFIXES = {"", ".txt", ".md", ".markdown", ".rst", ".html", ".htm", ".text", ".rtf", ".mdx"}
_CARD = re.compile(r"(?i)(readme|model[-_ ]?card)([-_.][\w-]{1,12})?\.(md|markdown|txt|rst)|readme")
_CONFIGS = {"config.json", "adapter_config.json", "mergekit_config.yml", "mergekit_config.yaml"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LegalText:
    """A text in which a licence, a policy or a notice may stand.

    Attributes
    ----------
    path : str
    text : str
    recognition : Recognition
    place : {"file", "card", "gate"}
        A file of its own, the body of a card, or a gated prompt in a card's metadata.
    """

    path: str
    text: str
    recognition: Recognition
    place: str

    @property
    def is_notice_file(self) -> bool:
        """Whether the file calls itself a notice."""
        return self.place == "file" and "notice" in PurePosixPath(self.path).name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """Everything a repository says, before any rule looks at it.

    Attributes
    ----------
    texts : tuple of LegalText
    cards : tuple of Card
        The one at the top first.
    configs, adapters, merges, ggufs : tuple
        Parsed metadata files.
    claims : Claims
    files : tuple of FileInfo
        All files of the target.
    has_weights : bool
        Some file holds tensors of a model, rather than of an adapter alone.
    unread : tuple of Unread
        Files that might have said something and could not be read.
    """

    texts: tuple[LegalText, ...] = ()
    cards: tuple[Card, ...] = ()
    configs: tuple[ModelConfig, ...] = ()
    adapters: tuple[AdapterConfig, ...] = ()
    merges: tuple[MergeConfig, ...] = ()
    ggufs: tuple[GgufMetadata, ...] = ()
    claims: Claims = field(default_factory=Claims)
    files: tuple[FileInfo, ...] = ()
    has_weights: bool = False
    unread: tuple[Unread, ...] = ()

    @property
    def card(self) -> Card | None:
        """The card that speaks for the repository: README.md at the top."""
        return self.cards[0] if self.cards and "/" not in self.cards[0].path else None


def read_repository(
    source: Source, containers: Sequence[Container], *, repo: RepoId | None = None, has_weights: bool
) -> Repository:
    """Read every plausible file of a source, within caps.

    Parameters
    ----------
    source : Source
    containers : sequence of Container
        Parsed weights, for what GGUF headers say.
    repo : RepoId, optional
        The repository's own id, where it has one.
    has_weights : bool
        A model was found in the containers.
    """
    unread: list[Unread] = []
    texts: list[LegalText] = []
    cards: list[Card] = []
    configs: list[ModelConfig] = []
    adapters: list[AdapterConfig] = []
    merges: list[MergeConfig] = []
    for info, data in _read(source, unread):
        name = PurePosixPath(info.path).name
        if name == "config.json":
            configs.append(parse_config(data, file=info.path))
        elif name == "adapter_config.json":
            adapters.append(parse_adapter_config(data, file=info.path))
        elif name in _CONFIGS:
            merges.append(parse_mergekit(data, file=info.path))
        elif _CARD.fullmatch(name):
            card = parse_card(data, file=info.path)
            cards.append(card)
            texts += _card_texts(card)
        else:
            text = decode(data)
            texts.append(LegalText(path=info.path, text=text, recognition=recognise(text), place="file"))
    cards.sort(key=lambda card: (card.path.count("/"), not card.path.lower().startswith("readme"), card.path))
    ggufs = tuple(
        parse_gguf_metadata(container.metadata, file=container.files[0])
        for container in containers
        if container.format == "gguf"
    )
    return Repository(
        texts=tuple(texts),
        cards=tuple(cards),
        configs=tuple(configs),
        adapters=tuple(adapters),
        merges=tuple(merges),
        ggufs=ggufs,
        claims=gather(cards=cards, configs=configs, adapters=adapters, merges=merges, ggufs=ggufs, repo=repo),
        files=source.files(),
        has_weights=has_weights,
        unread=tuple(unread),
    )


def _read(source: Source, unread: list[Unread]) -> Iterator[tuple[FileInfo, bytes]]:
    """Yield the plausible files, nearest the top first, and note what is over a cap."""
    wanted = sorted(
        (info for info in source.files() if _plausible(info.path)), key=lambda i: (i.path.count("/"), i.path)
    )
    for count, info in enumerate(wanted):
        try:
            if count >= LIMITS.legal_files:
                raise LimitExceeded(file=info.path, field="texts read", actual=len(wanted), limit=LIMITS.legal_files)
            if info.size > LIMITS.legal_bytes:
                raise LimitExceeded(file=info.path, field="size of a text", actual=info.size, limit=LIMITS.legal_bytes)
            yield info, Blob(source, info).read(0, info.size)
        except FileError as error:
            unread.append(Unread.from_error(error))


def _plausible(path: str) -> bool:
    parts = PurePosixPath(path)
    name = parts.name
    if name in _CONFIGS or _CARD.fullmatch(name):
        return True
    # LICENSE, LICENSE-MODEL, Notice.txt, USE_POLICY.md, "LLAMA 2 LICENSE/anything", meta-license/LICENSE.txt
    named = bool(_LEGAL.search(name)) or any(_LEGAL.search(folder) for folder in parts.parts[:-1])
    return named and (parts.suffix.lower() in _TEXT_SUFFIXES or not _is_code(parts.suffix))


def _is_code(suffix: str) -> bool:
    # "LICENSE-2.0", "LICENSE.llama2": what follows the point is no suffix. Programs and data are left alone.
    return suffix.lower() in {
        ".bin", ".csv", ".gguf", ".gz", ".ipynb", ".jpg", ".json", ".jsonl", ".model", ".npz", ".parquet", ".pdf",
        ".png", ".pt", ".pth", ".py", ".safetensors", ".sh", ".svg", ".toml", ".tsv", ".xml", ".yaml", ".yml", ".zip",
    }  # fmt: skip


def _card_texts(card: Card) -> Iterator[LegalText]:
    yield LegalText(path=card.path, text=card.body, recognition=recognise(card.body), place="card")
    if card.extra_gated_prompt is not None:
        text = card.extra_gated_prompt.text
        yield LegalText(path=card.path, text=text, recognition=recognise(text), place="gate")
