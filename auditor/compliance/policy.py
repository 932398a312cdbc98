"""What a protected base model's licence asks, as data: which references it binds, its texts, its notice."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import MISSING, dataclass, fields
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import Final, get_args

from auditor.compliance.claims.families import family_of
from auditor.compliance.claims.hub_licenses import LicenseFamily
from auditor.compliance.claims.naming import Family
from auditor.compliance.claims.repoid import parse_repo_id
from auditor.compliance.texts.license_hashes import hash_table
from auditor.compliance.texts.notice import NoticeSpec
from auditor.errors import UsageError

SHIPPED = ("llama2", "codellama")
"""Policies that are applied when none is named."""

_LISTS: Final[dict[str, tuple[str, ...] | None]] = {
    # keys that hold a list of texts, with the words that it may hold where these are known
    "references": None,
    "ancestors": None,
    "repos": None,
    "families": get_args(Family),
    "declared": get_args(LicenseFamily),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The licence of a base model.

    Attributes
    ----------
    name, title, product : str
    agreement, use_policy : str
        Ids of official texts.
    license_ref, hub_license : str
        How SBOMs and cards name the licence.
    agreement_url, policy_url, obtain : str
        Where a publisher finds the texts.
    references : tuple of str
        Globs over names of references: what descends from one of these is bound.
    families, repos : tuple of str
        What counts as naming the base: families of `families.py`, the base's own first; globs over repository ids.
    declared : tuple of str
        Licence families with which a card declares this licence.
    base_example : str
        A repository id to show in a fix.
    notice : NoticeSpec
    ancestors : tuple of str
        Globs over names of references that the base itself descends from: what is independent of one of these is
        independent of the base too.
    """

    name: str
    title: str
    product: str
    agreement: str
    use_policy: str
    license_ref: str
    hub_license: str
    agreement_url: str
    policy_url: str
    obtain: str
    references: tuple[str, ...]
    families: tuple[str, ...]
    declared: tuple[str, ...]
    repos: tuple[str, ...]
    base_example: str
    notice: NoticeSpec
    ancestors: tuple[str, ...] = ()

    @property
    def text_product(self) -> str:
        """The product that the official texts are of, as the table of texts calls it: "llama-2"."""
        return next(text.product for text in hash_table().texts if text.id == self.agreement)

    @property
    def called(self) -> frozenset[str]:
        """Families that a name or a sentence means when it speaks of the product, or of models made from it."""
        return frozenset({*self.families, family_of(self.product)} - {"unknown", "other"})

    def binds(self, reference: str) -> bool:
        """Say whether descendants of this reference are bound."""
        return _matches(reference, self.references)

    def excluded_by(self, reference: str) -> bool:
        """Say whether independence of this reference is independence of the base."""
        return _matches(reference, self.references + self.ancestors)

    def names_base(self, base: str) -> bool | None:
        """Say whether a base model's id, link or name is one that is bound; None where the name does not tell."""
        repo = parse_repo_id(base)
        if _matches(repo.key if repo else base, self.repos):
            return True
        family = family_of(base)
        if family in self.families:
            return True
        return None if family in {"unknown", "llama"} else False


def load_policies(names: tuple[str, ...]) -> tuple[Policy, ...]:
    """Load policies by name, or from TOML files of the same shape; all that ship where none is named.

    Raises
    ------
    UsageError
        When one is unknown or is not a policy.
    """
    return tuple(load_policy(name) for name in names or SHIPPED)


def load_policy(name: str) -> Policy:
    """Load one policy. A name that ships is that policy, whatever lies in the current folder, which may be the target.

    Raises
    ------
    UsageError
        When it is unknown or is not a policy.
    """
    data = _read(name)
    if (base := data.pop("extends", None)) is not None:
        if base not in SHIPPED:
            raise UsageError(f"{name}: extends {base!r}, which is not one of {', '.join(SHIPPED)}")
        data = _read(str(base)) | data
        if "extends" in data:
            data = _read(str(data.pop("extends"))) | data
    wanted = {field.name for field in fields(Policy)}
    if unknown := sorted(set(data) - wanted):
        close = difflib.get_close_matches(unknown[0], wanted, n=1)
        raise UsageError(f"{name}: unknown key {unknown[0]!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
    mandatory = {field.name for field in fields(Policy) if field.default is MISSING}
    if missing := sorted(mandatory - set(data)):
        raise UsageError(f"{name}: no {missing[0]!r}")
    try:
        return Policy(**{key: _value(key, value) for key, value in data.items()})  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name}: {error}") from error


def _read(name: str) -> dict[str, object]:
    try:
        if name in SHIPPED:
            text = files("auditor.compliance").joinpath("policies", f"{name}.toml").read_text(encoding="utf-8")
        elif Path(name).is_file():
            text = Path(name).read_text(encoding="utf-8")
        else:
            close = difflib.get_close_matches(name, SHIPPED, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(SHIPPED)}"
            raise UsageError(f"{name}: no such policy or file; {hint}")
        return tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise UsageError(f"{name}: not a policy: {error}") from error


def _value(key: str, value: object) -> object:
    """Check one value.

    Raises
    ------
    TypeError, ValueError
        When it is of another type, or none of the words that may stand there.
    """
    if key == "notice":
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise TypeError("'notice' is no table of texts")
        return NoticeSpec(**value)
    if key in _LISTS:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise TypeError(f"{key!r} is no list of texts")
        for item in value:
            _known(key, item, _LISTS[key])
        return tuple(value)
    if not isinstance(value, str) or not value.strip():
        raise TypeError(f"{key!r} is no text")
    if key in {"agreement", "use_policy"}:
        document = "license" if key == "agreement" else "policy"
        _known(key, value, tuple(text.id for text in hash_table().texts if text.document == document))
    return value


def _known(key: str, value: str, known: tuple[str, ...] | None) -> None:
    if known is not None and value not in known:
        close = difflib.get_close_matches(value, known, n=1)
        raise ValueError(
            f"{key!r}: unknown {value!r}; " + (f"did you mean {close[0]!r}?" if close else ", ".join(known))
        )


def _matches(name: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name.lower(), glob.lower()) for glob in globs)
