"""Places where a text names or links to one of Meta's licences or use policies instead of holding it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from auditor.compliance.texts.license_hashes import Document
    from auditor.compliance.texts.normalize import Text

_MOST = 50  # pointers reported of one text
_URLS = 2000  # addresses looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """A reference to a licence or policy.

    Attributes
    ----------
    product : str or None
        "llama-2"; None where the address serves all versions.
    document : {"license", "policy"}
    url : str or None
        The address as written; None for a mention by name alone.
    line : int
    quote : str
        The line, shortened. Text of the file, not escaped.
    """

    product: str | None
    document: Document
    url: str | None
    line: int
    quote: str


_FILE = r"(?P<file>LICENSE|USE_POLICY)[\w.]*"
_BRANCH = r"(?:blob|raw|tree|resolve)/[\w.\-]+"
# Addresses under which Meta has published the texts, and the product where the address has no version.
_ADDRESSES: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), product)
    for pattern, product in (
        (rf"github\.com/(?:facebookresearch|meta-llama)/(?:llama|codellama)/{_BRANCH}/{_FILE}", "llama-2"),
        (rf"raw\.githubusercontent\.com/(?:facebookresearch|meta-llama)/llama/[\w.\-]+/{_FILE}", "llama-2"),
        (rf"github\.com/meta-llama/llama3/{_BRANCH}/{_FILE}", "llama-3"),
        (rf"github\.com/meta-llama/llama-models/{_BRANCH}/models/llama(?P<version>\d(?:_\d)?)/{_FILE}", None),
        (r"github\.com/meta-llama/llama-models/blob/[\w.\-]+/README\.md#llama-models", None),
        (rf"huggingface\.co/codellama/[\w.\-]+/{_BRANCH}/{_FILE}", "llama-2"),
        (rf"huggingface\.co/meta-llama/(?:Meta-)?Llama-(?P<version>\d(?:\.\d)?)[\w.\-]*/{_BRANCH}/{_FILE}", None),
        (r"(?:ai|llama)\.meta\.com/llama/(?P<file>license|use-policy)", "llama-2"),
        (r"llama(?:\.meta)?\.com/llama(?P<version>\d(?:_\d)?)/(?P<file>license|use-policy)", None),
    )
)
_URL = re.compile(
    r"(?<![\w.\-])(?:www\.)?((?:github\.com|raw\.githubusercontent\.com|huggingface\.co|(?:ai|llama)\.meta\.com|llama\.com)"
    r"/[^\s<>\"'`)\]}]{1,300})",
    re.IGNORECASE,
)
# The notice that clause 1.b.iii asks for also names the licence; there a copyright line follows.
_NAME = re.compile(
    r"\bllama[\s\-]{0,3}(?P<version>\d(?:\.\d)?)\s{1,4}"
    r"(?:community\s{1,4}licen[sc]e|(?P<policy>acceptable\s{1,4}use\s{1,4}policy))(?!\W{0,6}copyright)",
    re.IGNORECASE,
)


def find_pointers(text: Text) -> tuple[Pointer, ...]:
    """Every link to a licence or policy of Meta's, then every mention by name, each in order."""
    found: list[Pointer] = []
    for url in islice(_URL.finditer(text.raw), _URLS):
        for pattern, product in _ADDRESSES:
            match = pattern.match(url[1])
            if match:
                groups = match.groupdict()
                version = (groups.get("version") or "").replace("_", ".")
                found.append(
                    Pointer(
                        product=f"llama-{version}" if version else product,
                        document=_document((groups.get("file") or "").lower().startswith("use")),
                        url=url[1].rstrip(".,;:"),
                        line=text.raw.count("\n", 0, url.start()) + 1,
                        quote=_line(text.raw, url.start()),
                    )
                )
                break
    found += [
        Pointer(
            product=f"llama-{match['version']}",
            document=_document(match["policy"] is not None),
            url=None,
            line=text.raw.count("\n", 0, match.start()) + 1,
            quote=_line(text.raw, match.start()),
        )
        for match in islice(_NAME.finditer(text.raw), _MOST)
    ]
    return tuple(found[:_MOST])


def _document(policy: bool) -> Document:  # noqa: FBT001 - a private choice of two words
    return "policy" if policy else "license"


def _line(raw: str, at: int) -> str:
    start = max(raw.rfind("\n", 0, at) + 1, at - 80)
    stop = raw.find("\n", at, at + 120)
    return " ".join(raw[start : stop if stop >= 0 else at + 120].split())
