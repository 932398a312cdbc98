"""Model cards as people write them, drawn for property tests, and a diff applied."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence

# Front matter as people write it: any order, comments, both kinds of list, the same words elsewhere.
_OTHER = st.sampled_from(
    [
        "# license: mit\n",
        "\n",
        "tags:\n- mit\n- license\n",
        "language: [en, 'de']  # mit\n",
        "model-index:\n- name: x\n  license: mit\n  base_model:\n  - mistral-7b\n",
        'title: "license: mit"\n',
        "text: |\n  license: mit\n  - a\n\n",
        "fold: >+\n  base_model: x\n\n\n",
        "long: a\n  b c\n",
        "pipeline_tag: text-generation\n",
        "widget:\n  - text: '---'\n",
        "datasets:\n    - a/b # c\n    # d\n    - c/d\n",
        "empty:\n",
    ]
)
_LICENSES = st.lists(st.sampled_from(["mit", "apache-2.0", "agpl-3.0", "llama2"]), min_size=1, max_size=4, unique=True)
_BASES = st.lists(st.sampled_from(["mistral-7b", "x/mistral", "acme/base-7b", "a/b"]), max_size=3, unique=True)
_QUOTES = st.sampled_from(["", "'", '"'])
_TAILS = st.sampled_from(["", "  # a comment", " # mit", "\t"])


@st.composite
def _field(draw: st.DrawFn, key: str, values: st.SearchStrategy[list[str]]) -> str:
    quote, tail = draw(_QUOTES), draw(_TAILS)
    items = [f"{quote}{value}{quote}" for value in draw(values)]
    style = draw(st.sampled_from(["scalar", "flow", "block", "indented", "lines"]))
    if not items:
        return f"{key}:{draw(st.sampled_from(['', ' []', ' ~', ' null']))}{tail}\n"
    if style == "scalar":
        return f"{key}: {items[0]}{tail}\n"
    if style == "flow":
        return f"{key}: [{draw(st.sampled_from([', ', ',', ' , '])).join(items)}]{tail}\n"
    if style == "lines":
        return f"{key}: [\n  " + ",\n  ".join(items) + f"\n]{tail}\n"
    indent = "  " if style == "indented" else ""
    return f"{key}:\n" + "".join(f"{indent}- {item}{tail}\n" for item in items)


@st.composite
def cards(draw: st.DrawFn) -> str:
    blocks = draw(st.lists(_OTHER, max_size=5, unique=True))
    if draw(st.booleans()):
        blocks.append(draw(_field("license", _LICENSES)))
    if draw(st.booleans()):
        blocks.append(draw(_field("base_model", _BASES)))
    if draw(st.booleans()):
        blocks.append("license_link: https://example.org/other\n")
    front = "".join(draw(st.permutations(blocks)))
    body = draw(st.sampled_from(["", "Text\n", "# T\n\n---\n\nlicense: mit\n\n---\n", "\n\nlast line"]))
    # Without front matter, a block like that in the text would pass for metadata in the wrong place.
    text = f"---\n{front}---\n{body}" if draw(st.integers(0, 5)) else body.replace("license: mit", "words")
    return draw(st.sampled_from(["", "\ufeff"])) + text.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))


def bare(text: str) -> list[str]:
    """The lines without their ends."""
    return [line.rstrip("\r\n") for line in re.findall(r"[^\n]*\n|[^\n]+", text)]


def apply_diff(text: str, diff: Sequence[str]) -> list[str]:
    """What `patch` does: every line of a hunk must be where the hunk says it is, on either side."""
    old, new, at = bare(text), [], 0
    for line in diff:
        if hunk := re.fullmatch(r"@@ -(\d+),(\d+) \+(\d+),(\d+) @@", line):
            start, count, start_new, count_new = map(int, hunk.groups())
            start -= count > 0
            new += old[at:start]
            at = start
            assert len(new) == start_new - (count_new > 0)
        elif line[0] == "+":
            new.append(line[1:])
        else:
            assert old[at] == line[1:]
            new += [line[1:]] if line[0] == " " else []
            at += 1
    return new + old[at:]
