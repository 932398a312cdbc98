"""Read what a repository says: licence texts, notices, card, configs, headers. Text only; bounded."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from auditor.compliance.claims.card import Card, parse_card
from auditor.compliance.claims.gather import Claims, gather
from auditor.compliance.claims.mergekit import MergeConfig, parse_mergekit
from auditor.compliance.claims.metadata import (
    AdapterConfig,
    GgufMetadata,
    ModelConfig,
    parse_adapter_config,
    parse_config,
    parse_gguf_metadata,
)
from auditor.compliance.texts.license_text import Recognition, decode, recognise
from auditor.errors import FileError, LimitExceeded
from auditor.limits import LIMITS
from auditor.sources import Blob, Unread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from auditor.compliance.claims.repoid import RepoId
    from auditor.formats import Container
    from auditor.sources import FileInfo, Source

_LEGAL = re.compile(r"licen[cs]e|copying|copyright|notice|use[-_ ]?policy|acceptable[-_ ]use|eula", re.IGNORECASE)
# Names that a legal text may have, and a data set as well.
_PERHAPS_LEGAL = re.compile(
    r"terms|agreement|legal|tos\b|attribution|third[-_ ]?party|credits|disclaimer|llama|(?<![a-z])meta(?![a-z])",
    re.IGNORECASE,
)
_LEGAL_FOLDER = re.compile(
    r"(?<![a-z])(?:licen[cs]es?|copyrights?|notices?|polic(?:y|ies)|terms|agreements?|legal|eula)(?![a-z])",
    re.IGNORECASE,
)
_TEXT_SUFFIXES = {"", ".txt", ".md", ".markdown", ".rst", ".html", ".htm", ".text", ".rtf", ".mdx"}
_OTHER_SUFFIXES = {  # programs, data and pictures, whatever their name
    ".bin", ".csv", ".gguf", ".gz", ".ipynb", ".jpg", ".json", ".jsonl", ".model", ".npz", ".parquet", ".png", ".pt",
    ".pth", ".py", ".safetensors", ".sh", ".svg", ".toml", ".tsv", ".xml", ".yaml", ".yml", ".zip",
}  # fmt: skip
_DOCUMENTS = {".pdf", ".doc", ".docx", ".odt"}
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
    first_line : int
        Line of the file at which the text begins.
    """

    path: str
    text: str
    recognition: Recognition
    place: Literal["file", "card", "gate"]
    first_line: int = 1

    @property
    def is_notice_file(self) -> bool:
        """Whether the file, or the folder it lies in, calls itself a notice."""
        return self.place == "file" and any("notice" in part.lower() for part in PurePosixPath(self.path).parts)

    @property
    def holds_licence(self) -> bool:
        """Whether a licence stands in it, whichever."""
        found = (self.recognition, *self.recognition.also)
        return any(each.document == "license" and each.kind != "pointer" for each in found)

    def at(self, line: int | None) -> str:
        """Name a place: the file, and the line of it that a line of the text is."""
        if line is None:
            return self.path
        # A prompt in YAML may be folded; what is sure is where it begins.
        return f"{self.path}, line {self.first_line if self.place == 'gate' else self.first_line + line - 1}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """Everything a repository says, before any rule looks at it.

    Attributes
    ----------
    texts : tuple of LegalText
    cards : tuple of Card
        Those that speak for the weights: at the top, or in a folder that holds weights. README.md at the top first.
    configs, adapters, merges, ggufs : tuple
        Parsed metadata files.
    claims : Claims
    files : tuple of FileInfo
        All files of the target.
    has_weights : bool
        Some file holds tensors of a model, rather than of an adapter alone.
    unopened : tuple of str
        Entries with the name of a card or legal text that are not read: of a format like PDF, or links out of the
        target.
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
    unopened: tuple[str, ...] = ()
    unread: tuple[Unread, ...] = ()

    @property
    def card(self) -> Card | None:
        """The card that speaks for the repository: README.md at the top."""
        return self.cards[0] if self.cards and "/" not in self.cards[0].path else None

    @property
    def unread_texts(self) -> tuple[str, ...]:
        """Files that may hold a legal text, and were not read."""
        paths = (*(unread.path for unread in self.unread), *self.unopened)
        return tuple(path for path in paths if PurePosixPath(path).name not in _CONFIGS)

    @property
    def unread_cards(self) -> tuple[str, ...]:
        """Cards that were not read."""
        return tuple(path for path in self.unread_texts if _CARD.fullmatch(PurePosixPath(path).name))


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
    cards = _speaking(cards, containers)
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
        unopened=_unopened(source),
        unread=tuple(unread),
    )


def _speaking(cards: Sequence[Card], containers: Sequence[Container]) -> list[Card]:
    """Choose the cards that speak for the weights, README.md first: a README of a part taken over does not.

    Where there is none at the top and none beside weights, those nearest the top are all there is.
    """

    def order(card: Card) -> tuple[int, bool, bool, bool, str]:
        path = PurePosixPath(card.path)
        stem = path.stem.lower()
        return len(path.parts), stem != "readme", not stem.startswith("readme"), path.suffix.lower() != ".md", card.path

    folders = {PurePosixPath(file).parent for container in containers for file in container.files}
    ranked = sorted(cards, key=order)
    near = [c for c in ranked if "/" not in c.path or PurePosixPath(c.path).parent in folders]
    return near or [card for card in ranked if order(card)[0] == order(ranked[0])[0]]


def _read(source: Source, unread: list[Unread]) -> Iterator[tuple[FileInfo, bytes]]:
    """Yield the plausible files, nearest the top first, and note what is over a cap."""
    wanted = sorted(
        (info for info in source.files() if _plausible(info)), key=lambda info: (info.path.count("/"), info.path)
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


def _plausible(info: FileInfo) -> bool:
    """Say whether a file may say something: LICENSE, LICENSE-2.0, Notice.txt, "LLAMA 2 LICENSE/anything.txt"."""
    path = PurePosixPath(info.path)
    suffix = _suffix(info.path)
    if path.name in _CONFIGS or _CARD.fullmatch(path.name):
        return True
    small = info.size <= LIMITS.legal_bytes
    if suffix in _TEXT_SUFFIXES:
        perhaps = _PERHAPS_LEGAL.search(path.name) or any(_LEGAL_FOLDER.search(folder) for folder in path.parts[:-1])
        return bool(_LEGAL.search(path.name) or (perhaps and small))
    # What follows the point may be no suffix ("LICENSE.llama2"). Where it is one, a large file is no text.
    return suffix not in _OTHER_SUFFIXES | _DOCUMENTS and small and bool(_LEGAL.search(path.name))


def _unopened(source: Source) -> tuple[str, ...]:
    found = [info.path for info in source.files() if _suffix(info.path) in _DOCUMENTS]
    found += [refused.path for refused in source.refused()]
    names = ((path, PurePosixPath(path).name) for path in found)
    return tuple(path for path, name in names if _LEGAL.search(name) or _CARD.fullmatch(name))


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _card_texts(card: Card) -> Iterator[LegalText]:
    body, first = card.body, card.body_line
    yield LegalText(path=card.path, text=body, recognition=recognise(body), place="card", first_line=first)
    if (gate := card.extra_gated_prompt) is not None:
        first = gate.line or 1
        recognition = recognise(gate.text)
        yield LegalText(path=card.path, text=gate.text, recognition=recognition, place="gate", first_line=first)
