"""Licences as data: the Hub's identifiers, what they mean, and how their terms sit beside Llama 2's."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

LicenseFamily = Literal[
    "permissive",  # keep the notice, do as you like
    "copyleft",  # derivatives under the same terms, no further restrictions
    "cc",  # Creative Commons, commercial use allowed
    "nc",  # non-commercial, Creative Commons or a research licence
    "rail",  # use restrictions that travel with the model
    "llama1",
    "llama2",
    "llama3",
    "llama3.1",
    "llama3.2",
    "llama3.3",
    "llama4",
    "gemma",
    "custom",  # named, but none that we know
    "mixed",  # an expression of different families
    "unknown",  # the text says that it is unknown, or says nothing
]


class HubLicense(NamedTuple):
    """A row of the Hub's list.

    Attributes
    ----------
    spdx : str or None
        SPDX id, or a LicenseRef where SPDX has none and a tool's name for it is known.
    family : LicenseFamily
    osi : bool or None
        OSI approval where `spdx` cannot say: None for a whole family of licences, some approved.
    """

    spdx: str | None
    family: LicenseFamily
    osi: bool | None = False


def _rows(family: LicenseFamily, **ids: str) -> dict[str, HubLicense]:
    return {name: HubLicense(spdx, family) for name, spdx in ids.items()}


LLAMA2_SPDX: Final = "LicenseRef-scancode-llama-2-license-2023"
"""SPDX has no id for the Llama 2 agreement; this one is scancode's."""

HUB: Final[dict[str, HubLicense]] = {
    "apache-2.0": HubLicense("Apache-2.0", "permissive"),
    "mit": HubLicense("MIT", "permissive"),
    "afl-3.0": HubLicense("AFL-3.0", "permissive"),
    "artistic-2.0": HubLicense("Artistic-2.0", "permissive"),
    "bsl-1.0": HubLicense("BSL-1.0", "permissive"),
    "bsd": HubLicense(None, "permissive", None),
    "bsd-2-clause": HubLicense("BSD-2-Clause", "permissive"),
    "bsd-3-clause": HubLicense("BSD-3-Clause", "permissive"),
    "bsd-3-clause-clear": HubLicense("BSD-3-Clause-Clear", "permissive"),
    "c-uda": HubLicense("C-UDA-1.0", "permissive"),
    "cdla-permissive-1.0": HubLicense("CDLA-Permissive-1.0", "permissive"),
    "cdla-permissive-2.0": HubLicense("CDLA-Permissive-2.0", "permissive"),
    "ecl-2.0": HubLicense("ECL-2.0", "permissive"),
    "etalab-2.0": HubLicense("etalab-2.0", "permissive"),
    "isc": HubLicense("ISC", "permissive"),
    "lppl-1.3c": HubLicense("LPPL-1.3c", "permissive"),
    "ncsa": HubLicense("NCSA", "permissive"),
    "odc-by": HubLicense("ODC-By-1.0", "permissive"),
    "ofl-1.1": HubLicense("OFL-1.1", "permissive"),
    "openmdw-1.0": HubLicense(None, "permissive"),
    "pddl": HubLicense("PDDL-1.0", "permissive"),
    "postgresql": HubLicense("PostgreSQL", "permissive"),
    "unlicense": HubLicense("Unlicense", "permissive"),
    "wtfpl": HubLicense("WTFPL", "permissive"),
    "zlib": HubLicense("Zlib", "permissive"),
    "agpl-3.0": HubLicense("AGPL-3.0-only", "copyleft"),
    "cdla-sharing-1.0": HubLicense("CDLA-Sharing-1.0", "copyleft"),
    "epl-1.0": HubLicense("EPL-1.0", "copyleft"),
    "epl-2.0": HubLicense("EPL-2.0", "copyleft"),
    "eupl-1.1": HubLicense("EUPL-1.1", "copyleft"),
    "eupl-1.2": HubLicense("EUPL-1.2", "copyleft"),
    "gfdl": HubLicense(None, "copyleft"),
    "gpl": HubLicense(None, "copyleft", None),
    "gpl-2.0": HubLicense("GPL-2.0-only", "copyleft"),
    "gpl-3.0": HubLicense("GPL-3.0-only", "copyleft"),
    "lgpl": HubLicense(None, "copyleft", None),
    "lgpl-2.1": HubLicense("LGPL-2.1-only", "copyleft"),
    "lgpl-3.0": HubLicense("LGPL-3.0-only", "copyleft"),
    "lgpl-lr": HubLicense("LGPLLR", "copyleft"),
    "mpl-2.0": HubLicense("MPL-2.0", "copyleft"),
    "ms-pl": HubLicense("MS-PL", "copyleft"),
    "odbl": HubLicense("ODbL-1.0", "copyleft"),
    "osl-3.0": HubLicense("OSL-3.0", "copyleft"),
    "cc": HubLicense(None, "cc"),
    "cc0-1.0": HubLicense("CC0-1.0", "cc"),
    "cc-by-2.0": HubLicense("CC-BY-2.0", "cc"),
    "cc-by-2.5": HubLicense("CC-BY-2.5", "cc"),
    "cc-by-3.0": HubLicense("CC-BY-3.0", "cc"),
    "cc-by-4.0": HubLicense("CC-BY-4.0", "cc"),
    "cc-by-sa-3.0": HubLicense("CC-BY-SA-3.0", "cc"),
    "cc-by-sa-4.0": HubLicense("CC-BY-SA-4.0", "cc"),
    "cc-by-nd-4.0": HubLicense("CC-BY-ND-4.0", "cc"),
    "cc-by-nc-2.0": HubLicense("CC-BY-NC-2.0", "nc"),
    "cc-by-nc-3.0": HubLicense("CC-BY-NC-3.0", "nc"),
    "cc-by-nc-4.0": HubLicense("CC-BY-NC-4.0", "nc"),
    "cc-by-nc-nd-3.0": HubLicense("CC-BY-NC-ND-3.0", "nc"),
    "cc-by-nc-nd-4.0": HubLicense("CC-BY-NC-ND-4.0", "nc"),
    "cc-by-nc-sa-2.0": HubLicense("CC-BY-NC-SA-2.0", "nc"),
    "cc-by-nc-sa-3.0": HubLicense("CC-BY-NC-SA-3.0", "nc"),
    "cc-by-nc-sa-4.0": HubLicense("CC-BY-NC-SA-4.0", "nc"),
    "apple-amlr": HubLicense(None, "nc"),
    "apple-ascl": HubLicense(None, "custom"),
    "deepfloyd-if-license": HubLicense(None, "nc"),
    "fair-noncommercial-research-license": HubLicense(None, "nc"),
    "h-research": HubLicense(None, "nc"),
    "intel-research": HubLicense(None, "nc"),
    "openrail": HubLicense(None, "rail"),
    "openrail++": HubLicense(None, "rail"),
    "bigscience-openrail-m": HubLicense(None, "rail"),
    "bigscience-bloom-rail-1.0": HubLicense(None, "rail"),
    "bigcode-openrail-m": HubLicense(None, "rail"),
    "creativeml-openrail-m": HubLicense(None, "rail"),
    "llama2": HubLicense(LLAMA2_SPDX, "llama2"),
    "llama3": HubLicense(None, "llama3"),
    "llama3.1": HubLicense(None, "llama3.1"),
    "llama3.2": HubLicense(None, "llama3.2"),
    "llama3.3": HubLicense(None, "llama3.3"),
    "llama4": HubLicense(None, "llama4"),
    "gemma": HubLicense(None, "gemma"),
    "grok2-community": HubLicense(None, "custom"),
    "other": HubLicense(None, "custom", None),
    "unknown": HubLicense(None, "unknown", None),
}
"""Every identifier that the Hub's card editor offers."""


class MergeTerms(NamedTuple):
    """How a merge parent's terms sit beside the Llama 2 agreement in one set of weights.

    Attributes
    ----------
    verdict : str
        "compatible"; "conditional": both can be kept, and the reason says what that takes; "incompatible": no
        way to keep both when the merge is distributed; "unknown": a person must read the parent's terms.
    reason : str
    """

    verdict: Literal["compatible", "conditional", "incompatible", "unknown"]
    reason: str


_NO_FURTHER = "it forbids further restrictions on what is derived, and Llama 2 adds a use policy and a user limit"
_SHARE_ALIKE = "share-alike: adaptations may carry only this licence or one it calls compatible, and Llama 2 is none"
_NO_DERIVATIVES = "no derivatives: a merge is an adaptation, and adaptations may not be passed on"
_NC = "the merge may be used for non-commercial purposes only, and must say so; Llama 2's agreement goes with it"
_RESEARCH = "research or non-commercial terms: the merge is bound by them too, and some forbid passing it on"
_CARRY = "its use restrictions and notices must be passed on beside Llama 2's agreement"

MERGE_WITH_LLAMA2: Final[dict[str, MergeTerms]] = {
    "llama2": MergeTerms("compatible", "the same agreement"),
    "permissive": MergeTerms("compatible", "its notice must be kept; the merge stays under Llama 2's agreement"),
    "cc0-1.0": MergeTerms("compatible", "no conditions"),
    "cc-by-2.0": MergeTerms("compatible", "attribution must be kept"),
    "cc-by-2.5": MergeTerms("compatible", "attribution must be kept"),
    "cc-by-3.0": MergeTerms("compatible", "attribution must be kept"),
    "cc-by-4.0": MergeTerms("compatible", "attribution must be kept"),
    "cc-by-sa-3.0": MergeTerms("incompatible", _SHARE_ALIKE),
    "cc-by-sa-4.0": MergeTerms("incompatible", _SHARE_ALIKE),
    "cc-by-nd-4.0": MergeTerms("incompatible", _NO_DERIVATIVES),
    "cc-by-nc-nd-3.0": MergeTerms("incompatible", _NO_DERIVATIVES),
    "cc-by-nc-nd-4.0": MergeTerms("incompatible", _NO_DERIVATIVES),
    "cc-by-nc-sa-2.0": MergeTerms("incompatible", _SHARE_ALIKE),
    "cc-by-nc-sa-3.0": MergeTerms("incompatible", _SHARE_ALIKE),
    "cc-by-nc-sa-4.0": MergeTerms("incompatible", _SHARE_ALIKE),
    "cc-by-nc-2.0": MergeTerms("conditional", _NC),
    "cc-by-nc-3.0": MergeTerms("conditional", _NC),
    "cc-by-nc-4.0": MergeTerms("conditional", _NC),
    "nc": MergeTerms("conditional", _RESEARCH),
    "gpl": MergeTerms("incompatible", _NO_FURTHER),
    "gpl-2.0": MergeTerms("incompatible", _NO_FURTHER),
    "gpl-3.0": MergeTerms("incompatible", _NO_FURTHER),
    "agpl-3.0": MergeTerms("incompatible", _NO_FURTHER),
    "lgpl": MergeTerms("unknown", "what it asks of weights in a merge is not settled"),
    "copyleft": MergeTerms("unknown", "what it asks of weights in a merge is not settled"),
    "rail": MergeTerms("conditional", _CARRY),
    "gemma": MergeTerms("conditional", _CARRY),
    "llama1": MergeTerms("conditional", _RESEARCH),
    "llama3": MergeTerms(
        "incompatible",
        "clause 1.b.v of each: neither may be used to improve a large language model outside its own line",
    ),
    "llama3.1": MergeTerms("conditional", "Llama 2's clause 1.b.v allows improving Llama 2 derivatives only"),
    "llama3.2": MergeTerms("conditional", "Llama 2's clause 1.b.v allows improving Llama 2 derivatives only"),
    "llama3.3": MergeTerms("conditional", "Llama 2's clause 1.b.v allows improving Llama 2 derivatives only"),
    "llama4": MergeTerms("conditional", "Llama 2's clause 1.b.v allows improving Llama 2 derivatives only"),
}
"""By Hub id where one is listed, else by family; what is in neither is unknown. Conservative: a row says
"incompatible" only where the two texts contradict each other, and every verdict is for a person to confirm."""


class KnownLicense(NamedTuple):
    """The licence that a public repository declares, as its own card said.

    Attributes
    ----------
    license : str
        A Hub id, or `other:NAME`.
    source : str
        What was read.
    sure : bool
        False: sources differ or the terms changed; look at the repository.
    note : str
    """

    license: str
    source: str
    sure: bool = True
    note: str = ""


_CARD = "the repository's card on the Hub, read 2026-11"
_WAS_SA = "CC-BY-SA-3.0 when it was published in 2023; relicensed since"

KNOWN_REPOS: Final[dict[str, KnownLicense]] = {
    "mosaicml/mpt-7b": KnownLicense("apache-2.0", _CARD),
    "mosaicml/mpt-7b-instruct": KnownLicense("apache-2.0", _CARD, note=_WAS_SA),
    "mosaicml/mpt-7b-chat": KnownLicense("cc-by-nc-sa-4.0", _CARD),
    "mosaicml/mpt-7b-storywriter": KnownLicense("apache-2.0", _CARD),
    "mosaicml/mpt-7b-8k": KnownLicense("apache-2.0", _CARD, note=_WAS_SA),
    "mosaicml/mpt-7b-8k-instruct": KnownLicense("apache-2.0", _CARD, note=_WAS_SA),
    "mosaicml/mpt-7b-8k-chat": KnownLicense("cc-by-nc-sa-4.0", _CARD),
    "mosaicml/mpt-30b": KnownLicense("apache-2.0", "MosaicML's announcement of June 2023"),
    "mosaicml/mpt-30b-instruct": KnownLicense("apache-2.0", _CARD, sure=False, note=_WAS_SA),
    "mosaicml/mpt-30b-chat": KnownLicense("cc-by-nc-sa-4.0", _CARD),
    "stabilityai/stablebeluga-7b": KnownLicense("other:stable-beluga-non-commercial", _CARD),
    "stabilityai/stablebeluga-13b": KnownLicense("other:stable-beluga-non-commercial", _CARD),
    "garage-baind/platypus-13b-adapters": KnownLicense("cc-by-nc-sa-4.0", _CARD),
    "garage-baind/platypus2-13b": KnownLicense("cc-by-nc-sa-4.0", "cards of its quantised copies", sure=False),
    "microsoft/orca-2-7b": KnownLicense("other:microsoft-research-license", _CARD),
    "microsoft/orca-2-13b": KnownLicense("other:microsoft-research-license", _CARD),
    "lmsys/vicuna-7b-v1.5": KnownLicense("llama2", _CARD),
    "lmsys/vicuna-13b-v1.5": KnownLicense("llama2", _CARD),
    "lmsys/vicuna-7b-v1.5-16k": KnownLicense("llama2", _CARD),
    "lmsys/vicuna-13b-v1.5-16k": KnownLicense("llama2", _CARD),
    "ai21labs/jurassic-1": KnownLicense(
        "other:closed-api", "AI21's documentation", note="weights were never published"
    ),
}
"""By lower-case id. Licences differ between variants of one model, so a row speaks for its repository alone."""
