"""Licences by the names that people write: in running text, and where an identifier belongs."""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class LicenseName(NamedTuple):
    """A licence named in running text."""

    text: str
    hub_id: str
    start: int
    stop: int


_NAMES: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), hub_id)
    for pattern, hub_id in (
        (r"\bllama[\s-]*(?P<v>2|3\.[123]|3|4)[\s-]+(?:community[\s-]+)?licen[sc]e(?:\s+agreement)?", "llama{v}"),
        (r"\bapache(?:[\s-]+licen[sc]e)?,?[\s-]*(?:v|version)?\.?\s*2(?:\.0)?\b", "apache-2.0"),
        (r"\bMIT(?=[\s-]+licen[sc]e)|(?<=under )MIT\b|(?<=under the )MIT\b", "mit"),
        (r"\bcc[\s-]?by[\s-]?nc[\s-]?sa(?:[\s-]*(?P<v>[234]\.0))", "cc-by-nc-sa-{v}"),
        (r"\bcc[\s-]?by[\s-]?nc[\s-]?nd(?:[\s-]*(?P<v>[34]\.0))", "cc-by-nc-nd-{v}"),
        (r"\bcc[\s-]?by[\s-]?nc(?:[\s-]*(?P<v>[234]\.0))", "cc-by-nc-{v}"),
        (r"\bcc[\s-]?by[\s-]?sa(?:[\s-]*(?P<v>[34]\.0))", "cc-by-sa-{v}"),
        (r"\bcc[\s-]?by[\s-]?nd(?:[\s-]*(?P<v>4\.0))", "cc-by-nd-{v}"),
        (r"\bcc[\s-]?by(?:[\s-]*(?P<v>2\.0|2\.5|3\.0|4\.0))", "cc-by-{v}"),
        (r"\bcc0(?:[\s-]?1\.0)?\b", "cc0-1.0"),
        (r"\battribution-non-?commercial-share-?alike[\s-]*(?P<v>[234]\.0)", "cc-by-nc-sa-{v}"),
        (r"\battribution-non-?commercial[\s-]+(?P<v>[234]\.0)", "cc-by-nc-{v}"),
        (r"\battribution-share-?alike[\s-]+(?P<v>[34]\.0)", "cc-by-sa-{v}"),
        (
            r"\b(?:agpl|gnu affero general public licen[sc]e)[\s-]*(?:,?\s*v(?:ersion)?)?\.?\s*3(?:\.0)?\b",
            "agpl-3.0",
        ),
        (
            r"\b(?:lgpl|gnu lesser general public licen[sc]e)[\s-]*(?:,?\s*v(?:ersion)?)?\.?\s*3(?:\.0)?\b",
            "lgpl-3.0",
        ),
        (r"\b(?:lgpl|gnu lesser general public licen[sc]e)[\s-]*(?:,?\s*v(?:ersion)?)?\.?\s*2\.1\b", "lgpl-2.1"),
        (
            r"\b(?:gpl|gnu general public licen[sc]e)[\s-]*(?:,?\s*v(?:ersion)?)?\.?\s*(?P<v>[23])(?:\.0)?\b",
            "gpl-{v}.0",
        ),
        (r"\bbsd[\s-]*(?P<v>[23])[\s-]*clause\b", "bsd-{v}-clause"),
        (r"\bmpl[\s-]*2(?:\.0)?\b|\bmozilla public licen[sc]e[\s,v]*(?:ersion)?\s*2(?:\.0)?\b", "mpl-2.0"),
        (r"\bbigcode[\s-]*open[\s-]*rail[\s-]*-?m\b", "bigcode-openrail-m"),
        (r"\bcreativeml[\s-]*open[\s-]*rail[\s-]*-?m\b", "creativeml-openrail-m"),
        (r"\b(?:bigscience[\s-]*)?bloom[\s-]*rail\b", "bigscience-bloom-rail-1.0"),
        (r"\bopen[\s-]*rail\+\+", "openrail++"),
        (r"\bopen[\s-]*rail\b", "openrail"),
        (r"\bgemma (?:terms of use|licen[sc]e)", "gemma"),
        (r"\bthe unlicense\b", "unlicense"),
    )
)
ALIASES: Final = {
    "apache": "apache-2.0",
    "apache2": "apache-2.0",
    "apache 2": "apache-2.0",
    "apache license 2.0": "apache-2.0",
    "apache licence 2.0": "apache-2.0",
    "mit license": "mit",
    "mit licence": "mit",
    "the mit license": "mit",
    "gplv2": "gpl-2.0",
    "gplv3": "gpl-3.0",
    "gpl3": "gpl-3.0",
    "agplv3": "agpl-3.0",
    "agpl": "agpl-3.0",
    "lgplv3": "lgpl-3.0",
    "cc0": "cc0-1.0",
    "public domain": "unlicense",
    "llama-2": "llama2",
    "llama 2": "llama2",
    "llama2-community": "llama2",
    "llama-2-community": "llama2",
    "llama-2-community-license": "llama2",
    "llama2-community-license": "llama2",
    "llama-2-license": "llama2",
    "llama2-license": "llama2",
    "meta-llama-2": "llama2",
    "codellama": "llama2",
    "llama-3": "llama3",
    "llama 3": "llama3",
    "meta-llama-3": "llama3",
    "llama-3.1": "llama3.1",
    "llama-3.2": "llama3.2",
    "llama-3.3": "llama3.3",
    "llama-4": "llama4",
    "llama3_1": "llama3.1",
    "bloom-rail-1.0": "bigscience-bloom-rail-1.0",
    "none": "unknown",
    "n/a": "unknown",
    "tbd": "unknown",
    "?": "unknown",
}
"""Names people write for a Hub id, lower case."""


def find_license_names(text: str) -> tuple[LicenseName, ...]:
    """Find well-known licences named in running text, in order, without overlaps.

    Examples
    --------
    >>> [name.hub_id for name in find_license_names("code under the Apache 2.0 License, data CC BY-NC 4.0")]
    ['apache-2.0', 'cc-by-nc-4.0']
    """
    found: list[LicenseName] = []
    for pattern, hub_id in _NAMES:
        for match in pattern.finditer(text):
            name = hub_id.format(v=match["v"]) if "{v}" in hub_id else hub_id
            span = LicenseName(match.group(), name, match.start(), match.end())
            if not any(other.start < span.stop and span.start < other.stop for other in found):
                found.append(span)
    return tuple(sorted(found, key=lambda name: name.start))
