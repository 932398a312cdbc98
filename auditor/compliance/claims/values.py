"""The small frozen values that metadata readers hand over: what was read, where, and what is wrong with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from auditor.limits import LIMITS

if TYPE_CHECKING:
    from auditor.errors import FileError


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A text read from a metadata file.

    Attributes
    ----------
    text : str
        As read, cut at `LIMITS.value_chars` (a gated prompt is not cut), access tokens blanked. Not escaped.
    key : str
        Where in the file: "license", "base_model[1]", "text_config._name_or_path".
    line : int or None
        Counted from 1 in the file, where the format has lines that mean something.
    """

    text: str
    key: str
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something in a metadata file that readers may see in different ways, or that could not be read.

    Attributes
    ----------
    path : str
        File inside the target.
    code : str
        A key of `PROBLEMS`.
    message : str
        What was found, on one line; text from the model is quoted with `repr`.
    line : int or None
    key : str or None
    """

    path: str
    code: str
    message: str
    line: int | None = None
    key: str | None = None


PROBLEMS: Final = {
    "alias": "YAML alias: refused, because expanding aliases is how small files become huge ones",
    "auto-map": "the config names Python code of the repository to run on loading",
    "byte-order-mark": "a byte order mark stands before the text: some readers then see no front matter",
    "complex-key": "a mapping key is not plain text",
    "document-count": "more YAML documents than the file may hold",
    "duplicate-key": "the same key twice: readers differ in which one they believe",
    "empty-value": "the key is there and says nothing",
    "front-matter-late": "metadata not at line 1: the Hub does not read it",
    "front-matter-unterminated": "the metadata block has no closing ---",
    "misspelt-key": "a key that readers ignore, close to one that they know",
    "not-a-mapping": "the metadata is not a map of keys to values",
    "not-text": "not UTF-8 text",
    "out-of-range": "a number no model can have",
    "secret": "a value looks like an access token; it is not shown",
    "too-deep": "nested too deeply",
    "too-large": "larger than any real file of this kind; only its head was read",
    "tag": "an explicit YAML tag: nothing is built from it",
    "unreadable": "the file breaks its format",
    "wrong-type": "a value of the wrong type",
    "yaml-boolean": "a bare word that YAML reads as true, false or null",
    "yaml-merge": "a YAML merge key: readers differ in following it",
    "yaml-syntax": "not YAML from here on",
}
"""Problem codes in plain words."""


Kind = Literal[
    "license",  # terms that something is said to be under
    "license-name",  # `license_name` beside `license: other`
    "license-link",
    "base-model",  # what it was made from: a repository id, a link or a name
    "relation",  # fine-tune, quantized, merge, adapter, ...
    "from-scratch",  # trained from nothing
    "not-derived",  # an explicit denial that it comes from another model
    "open-source",  # the weights are called open source
    "endorsement",  # said to be official, or approved by Meta
    "ownership",  # somebody other than Meta says they own the model, without naming the base's owner
    "warranty",  # promises what the agreement disclaims
    "teacher",  # trained on another model's outputs
    "dataset",
    "tag",  # a tag that names a Llama
    "name",  # what the model calls itself
    "organization",
]
"""What a claim is about."""

Subject = Literal["weights", "code", "data", "repository"]
"""What a claim speaks of. `repository`: nothing narrower was said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """A place in a file of the target: a line, a key, or both."""

    path: str
    line: int | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One thing that the repository says.

    Attributes
    ----------
    kind : Kind
    value : str
        What is said: a licence, a repository id, a model name, or the words that matched. Not escaped.
    subject : Subject
        What it is said of.
    where : Where
    quote : str
        The sentence around a claim in prose (cut at 300 characters); empty for metadata.
    """

    kind: Kind
    value: str
    subject: Subject
    where: Where
    quote: str = ""

    @property
    def in_prose(self) -> bool:
        """Whether a sentence says it, rather than a metadata field."""
        return self.where.key is None


_SECRET = re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{24,}|\bgh[pousr]_[A-Za-z0-9]{30,}|\bsk-[A-Za-z0-9_-]{24,}")


def blank_secrets(text: str) -> str:
    """Return `text` with anything shaped like an access token blanked, so that no report repeats it.

    Examples
    --------
    >>> blank_secrets("token hf_" + "a" * 34)
    'token <secret>'
    >>> blank_secrets("hf_mirror/model")
    'hf_mirror/model'
    """
    return _SECRET.sub("<secret>", text)


class Notes:
    """The problems of one file while it is being read, capped.

    Parameters
    ----------
    path : str
        File inside the target.
    """

    __slots__ = ("_found", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._found: dict[Problem, None] = {}

    def add(self, code: str, message: str, *, line: int | None = None, key: str | None = None) -> None:
        """Record a problem once; past the cap only the first ones are kept."""
        if len(self._found) < LIMITS.metadata_problems:
            self._found[Problem(path=self.path, code=code, message=message, line=line, key=key)] = None

    def refusal(self, error: FileError) -> None:
        """Record a typed refusal of a parser as a problem that does not stop the audit."""
        self.add("unreadable", f"{error.reason} [{error.code}]", key=error.field)

    def value(self, text: str, key: str, *, line: int | None = None, cut: bool = True) -> Value:
        """Make a `Value` of a text from the file: cut, and with tokens blanked and noted."""
        if cut and len(text) > LIMITS.value_chars:
            self.add("too-large", f"{len(text)} characters", line=line, key=key)
            text = text[: LIMITS.value_chars]
        shown = blank_secrets(text)
        if shown != text:
            self.add("secret", PROBLEMS["secret"], line=line, key=key)
        return Value(text=shown, key=key, line=line)

    def all(self) -> tuple[Problem, ...]:
        """Everything recorded, in order."""
        return tuple(self._found)
