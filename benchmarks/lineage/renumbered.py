"""Targets whose tokenizer was renumbered along with their embeddings, as it must be for the model to work.

The other disguised targets carry the base's tokenizer as it was, which is of no help (and of no harm) to anyone.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from disguises import token_order
from targets import TARGETS, Target, load

if TYPE_CHECKING:
    from pathlib import Path

    from targets import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Renumbered:
    """A target that a disguise gave other token ids, with a tokenizer that knows.

    Attributes
    ----------
    target : Target
        With one step that renumbers tokens, by its default seed.
    """

    target: Target

    @property
    def name(self) -> str:
        """A name for people, and for its folder."""
        return f"{self.target.name}+tokenizer"

    @property
    def steps(self) -> tuple[Step, ...]:
        """Changes that it was made by."""
        return self.target.steps

    @property
    def models(self) -> tuple[str, ...]:
        """All models that it is made from."""
        return self.target.models

    @property
    def key(self) -> str:
        """What tells one making of it from another."""
        return f"{self.target.key}, renumbered"

    def folder(self) -> Path:
        """Return where it lies, making it first if it is not there: links to the target's files, and a tokenizer."""
        made, folder = self.target.folder(), TARGETS / self.name
        stamp = folder / ".key"
        if not (stamp.exists() and stamp.read_text() == self.key):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for file in made.iterdir():
                if file.name not in {"tokenizer.json", ".key"}:
                    (folder / file.name).hardlink_to(file)
            tokenizer = json.loads((made / "tokenizer.json").read_text())
            order = token_order(load(self.target.model)[0], 1).tolist()
            spelt = {row: text for text, row in tokenizer["model"]["vocab"].items()}
            tokenizer["model"]["vocab"] = {spelt[old]: new for new, old in enumerate(order) if old in spelt}
            (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
            stamp.write_text(self.key)
        return folder
