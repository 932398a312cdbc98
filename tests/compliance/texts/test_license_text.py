"""The licence recogniser on the true agreement, rendered harmlessly, edited, cut, renamed and added to.

The Llama 2 agreement comes from the `licensedcode-data` package. The texts that no package holds (use policies,
Llama 3 and later) are read from the folder that AUDITOR_LICENSE_CORPUS names, or those tests are skipped; what
can be shown without the text is shown on the word hashes (`test_alignment.py`).
"""

from __future__ import annotations

import html
import json
import os
import re
import textwrap
from bisect import bisect_right
from importlib.metadata import distribution
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.compliance.texts.license_text import decode, recognise
from auditor.compliance.texts.notice import LLAMA2_NOTICE

if TYPE_CHECKING:
    from collections.abc import Callable

LIST_ITEM = r"\s*(?:(\d)\.|([a-c])\.|(i{1,3}|iv|v)\.)\s"


@pytest.fixture(scope="session")
def agreement() -> str:
    """The Llama 2 agreement as Meta published it."""
    package = distribution("licensedcode-data")  # of the test extra: without it these tests fail, and do not skip
    path = package.locate_file("licensedcode/data/licenses/llama-2-license-2023.LICENSE")
    return Path(str(path)).read_text(encoding="utf-8").split("\n---\n", 1)[1]


@pytest.fixture(scope="session")
def official() -> Path:
    """The folder of all official texts."""
    folder = os.environ.get("AUDITOR_LICENSE_CORPUS")
    if not folder:
        pytest.skip("AUDITOR_LICENSE_CORPUS names no folder of official licence texts")
    return Path(folder)


def clause_starts(text: str) -> list[tuple[int, str]]:
    """Where each line begins and which clause it is in, told by its numbering alone."""
    starts = []
    section = letter = roman = ""
    at = 0
    for line in text.split("\n"):
        item = re.match(LIST_ITEM, line)
        if item:
            section, letter, roman = (
                (item[1], "", "") if item[1] else (section, item[2], "") if item[2] else (section, letter, item[3])
            )
        starts.append((at, ".".join(filter(None, (section, letter, roman))) or "preamble"))
        at += len(line) + 1
    return starts


def clause_at(text: str, position: int) -> str:
    starts = clause_starts(text)
    return starts[bisect_right(starts, position, key=lambda start: start[0]) - 1][1]


def places(text: str) -> list[tuple[int, int]]:
    """Every word of a text, with the punctuation that clings to it."""
    return [match.span() for match in re.finditer(r"\S*\w\S*", text)]


def paragraphs(text: str) -> list[str]:
    return [
        " ".join(p.split()) for p in re.split(rf"\n\s*\n|\n(?={LIST_ITEM})", text) if p and p.strip() and len(p) > 4
    ]


def unnumbered(paragraph: str) -> str:
    return re.sub(rf"\A{LIST_ITEM}", "", f" {paragraph}").strip()


def quoted(text: str, prefix: str) -> str:
    return prefix + text.replace("\n", f"\n{prefix}")


def curly(text: str) -> str:
    text = re.sub(r'(^|[\s(])"', "\\1\u201c", text).replace('"', "\u201d")
    return text.replace("'", "\u2019").replace("(c)", "\u00a9")


def hyphenated(text: str, width: int = 40) -> str:
    """Wrap, and break long words with a hyphen at the end of the line."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > width:
            if len(word) > 6 and word.isalpha():
                half = len(word) // 2
                lines[-1] += f" {word[:half]}-"
                lines.append(word[half:])
                continue
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


RENDERINGS: dict[str, Callable[[str], str]] = {
    "as published": str,
    **{
        f"wrapped at {width}": lambda text, width=width: "\n\n".join(textwrap.fill(p, width) for p in paragraphs(text))
        for width in (20, 40, 72, 100, 1000)
    },
    "one line": lambda text: " ".join(text.split()),
    "unwrapped by joining lines": lambda text: text.replace("\n", " "),
    "double spaced": lambda text: text.replace("\n", "\n\n"),
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "CR": lambda text: text.replace("\n", "\r"),
    "no-break spaces": lambda text: text.replace(" ", "\u00a0"),
    "form feeds": lambda text: text.replace("\n\n", "\n\f\n"),
    "line separators": lambda text: text.replace("\n", "\u2028"),
    "hyphenated": hyphenated,
    "hyphenated, quoted": lambda text: quoted(hyphenated(text), "> "),
    "soft hyphens": lambda text: re.sub(r"(\w{4})(\w{4})", "\\1\u00ad\\2", text),
    **{
        f"prefix {prefix!r}": lambda text, prefix=prefix: quoted(text, prefix)
        for prefix in ("> ", ">> > ", "# ", "// ", " * ", "-- ", "; ", "% ", "| ", "\t")
    },
    "curly quotes": curly,
    "curly quotes lost to ?": lambda text: curly(text).encode("ascii", "replace").decode(),
    "curly quotes in mojibake": lambda text: curly(text).encode().decode("cp1252", "replace"),
    "upper case": str.upper,
    "bullets": lambda text: "\n".join(f"- {p}" for p in paragraphs(text)),
    "bold headings": lambda text: re.sub(r"(?m)^(\d)\. ([\w ]+)\.", r"\1\\. **\2**.", text),
    "parentheses around numbers": lambda text: re.sub(rf"(?m)^{LIST_ITEM}", r"(\1\2\3) ", text),
    "romans as bullets": lambda text: re.sub(r"(?m)^(\s+)(?:i{1,3}|iv|v)\.", r"\1*", text),
    "numbered in another style": lambda text: re.sub(
        r"(?m)^(\s+)([a-c])\.", lambda m: f"{m[1]}{ord(m[2]) - 96}.", text
    ),
    "code fence": lambda text: f"```text\n{text}\n```",
    "markdown links": lambda text: re.sub(r"https://([\w./-]+)", r"[https://\1](https://\1)", text),
    "autolinks": lambda text: re.sub(r"(https://[\w./-]+)", r"<\1>", text),
    "html paragraphs": lambda text: (
        "<html><head><title>Licence</title><style>p { color: red }</style></head><body>"
        + "".join(f"<p>{html.escape(p)}</p>" for p in paragraphs(text))
    ),
    "html line breaks": lambda text: html.escape(text).replace("\n", "<br>"),
    "html entities": lambda text: html.escape(curly(text)).replace("\u00a9", "&copy;").replace("  ", "&nbsp; "),
    "html list without numbers": lambda text: "".join(
        f"<li>{html.escape(unnumbered(p))}</li>" for p in paragraphs(text)
    ),
    "html spans": lambda text: re.sub(r"(\w+)", r'<span class="w">\1</span>', text),
    "html comment": lambda text: f"<!--\n{text}\n-->",
    "C comment": lambda text: f"/*\n{quoted(text, ' * ')}\n */\nint main() {{ return 0; }}\n",
    "JSON": lambda text: json.dumps({"license": text, "modelfile": "FROM llama2"}),
    "JSON without ASCII": lambda text: json.dumps({"license": curly(text)}),
    "YAML block": lambda text: f"---\nextra_gated_prompt: >-\n{quoted(text, '  ')}\nlicense: llama2\n---\n# Model\n",
    "e-mail": lambda text: (
        f"From: a@example.org\nSubject: licence\n\nHi all,\nbelow is the licence.\n\n{text}\n--\nJo\n"
    ),
    "README": lambda text: (
        f"# A model\n\nBased on Llama 2.\n\n## License\n\n{text}\n\n## Citation\n\nThanks for reading.\n"
    ),
    "with a copyright line": lambda text: f"Copyright 2024 Example\n\n{text}\n\nEnd of file\n",
}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "mac_roman", "gb18030")


@pytest.mark.parametrize("name", RENDERINGS)
def test_a_rendering_of_the_true_text_is_exact(agreement: str, name: str) -> None:
    result = recognise(RENDERINGS[name](agreement))
    assert (result.kind, result.clauses) == ("exact", ())
    assert result.coverage == 1.0
    assert result.identifier == "LicenseRef-scancode-llama-2-license-2023"


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_renderings_on_top_of_each_other_are_exact(agreement: str, data: st.DataObject) -> None:
    text = agreement
    outer = [
        n for n in RENDERINGS if n.startswith(("prefix", "CR", "no-break", "wrapped", "README", "e-mail", "upper"))
    ]
    inner = [
        "as published",
        "curly quotes",
        "bold headings",
        "hyphenated",
        "bullets",
        "romans as bullets",
        "autolinks",
    ]
    for name in (data.draw(st.sampled_from(inner)), data.draw(st.sampled_from(outer))):
        text = RENDERINGS[name](text)
    encoding = data.draw(st.sampled_from(ENCODINGS))
    assert recognise(decode(text.encode(encoding, "replace"))).kind == "exact"


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("quotes", ["straight", "curly"])
def test_an_encoding_of_the_true_text_is_exact(agreement: str, encoding: str, quotes: str) -> None:
    text = curly(agreement) if quotes == "curly" else agreement
    assert recognise(decode(text.encode(encoding))).kind == "exact"


OFFICIAL_WITHOUT = {("5.c", "an")}  # words that one of the official copies does not have


def edited(text: str, at: tuple[int, int], edit: str) -> str:
    i, j = at
    return {
        "changed": f"{text[:i]}xyzzy{text[j:]}",
        "deleted": text[:i] + text[j:],
        "inserted": f"{text[:i]}xyzzy {text[i:]}",
        "doubled": f"{text[:j]} {text[i:j]}{text[j:]}",
    }[edit]


def assert_caught(text: str, at: tuple[int, int], edit: str) -> None:
    clause, word = clause_at(text, at[0]), text[at[0] : at[1]]
    result = recognise(edited(text, at, edit))
    if edit == "deleted" and (clause, word) in OFFICIAL_WITHOUT:
        assert result.kind == "exact"
        return
    assert result.kind == "altered", (edit, word, clause)
    assert [difference.clause for difference in result.clauses] == [clause], (edit, word)
    if edit in ("deleted", "inserted") and text[at[1] - 1] != "-" and text[at[0] - 2 : at[0] - 1] != "-":
        change = "missing" if edit == "deleted" else "added"  # half of a word that is broken over lines is a change
        assert result.clauses[0].change == change
    line = text.count("\n", 0, at[0]) + 1
    assert abs(result.clauses[0].line - line) <= 2


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_single_edited_word_is_caught_in_its_clause(agreement: str, data: st.DataObject) -> None:
    at = data.draw(st.sampled_from(places(agreement)))
    assert_caught(agreement, at, data.draw(st.sampled_from(["changed", "deleted", "inserted", "doubled"])))


@pytest.mark.slow
@pytest.mark.parametrize("edit", ["changed", "deleted", "inserted", "doubled"])
def test_every_single_edited_word_is_caught_in_its_clause(agreement: str, edit: str) -> None:
    for at in places(agreement):
        assert_caught(agreement, at, edit)


@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_an_edited_word_is_caught_under_any_rendering(agreement: str, data: st.DataObject) -> None:
    at = data.draw(st.sampled_from(places(agreement)))
    clause, word = clause_at(agreement, at[0]), agreement[at[0] : at[1]]
    if (clause, word) in OFFICIAL_WITHOUT or re.fullmatch(r"(\w|i+|iv)\.", word):
        return  # list numbers go with the list style
    names = ["wrapped at 72", "one line", "curly quotes", "html paragraphs", "prefix '> '", "JSON", "README"]
    text = edited(agreement, at, data.draw(st.sampled_from(["changed", "deleted"])))
    result = recognise(RENDERINGS[data.draw(st.sampled_from(names))](text))
    assert result.kind == "altered"
    assert clause in {difference.clause for difference in result.clauses}


def test_two_edits_are_two_differences(agreement: str) -> None:
    result = recognise(agreement.replace("700 million", "7 billion").replace("California", "Delaware", 1))
    assert [(d.clause, d.change, d.words) for d in result.clauses] == [("2", "changed", 2), ("7", "changed", 1)]
    assert "[7 billion]" in result.clauses[0].quote


@pytest.mark.parametrize(
    ("old", "new", "clause", "change"),
    [
        ("700 million", "700 thousand", "2", "changed"),
        ("700 million", "7 million", "2", "changed"),
        ("shall terminate", "shall t\u0435rminate", "5.c", "changed"),  # a Cyrillic letter
        ("will not apply to you", "will apply to you", "1.b.ii", "missing"),
        ("You will not use", "~~You will not use~~", "1.b.v", "missing"),
        ("You will not use", "<del>You will not use</del>", "1.b.v", "missing"),
        ("You will not use", "<!-- You will not use -->", "1.b.v", "missing"),
        ("You will not use", '<span style="display:none">You will not use</span>', "1.b.v", "missing"),
        ("Copyright (c) Meta", "Copyright (c) 2023 Meta", "1.b.iii", "added"),
        ("3. Disclaimer", "2A. You shall pay a fee.\n\n3. Disclaimer", "2", "added"),
        ("such rights.", "such rights. Example Inc. may audit you.", "2", "added"),
        ("ii.  If", "iii.  If", "1.b.ii", "changed"),
        ("6. Term", "8. Term", "6", "changed"),
        ("Sections 3, 4 and 7", "Sections 3, 4, 6 and 7", "6", "added"),
    ],
)
def test_what_an_edit_is_called(agreement: str, old: str, new: str, clause: str, change: str) -> None:
    assert old in agreement
    result = recognise(agreement.replace(old, new))
    assert result.kind == "altered"
    assert [(d.clause, d.change) for d in result.clauses] == [(clause, change)]


def test_both_official_forms_of_5c_are_exact(agreement: str) -> None:
    without = agreement.replace("constitutes an infringement", "constitutes infringement")
    with_an = without.replace("constitutes infringement", "constitutes an infringement")
    assert recognise(without).kind == recognise(with_an).kind == "exact"
    assert recognise(with_an.replace("constitutes an", "constitutes any")).kind == "altered"


@pytest.mark.parametrize("before", ["", "# Our licence\n\n", "This is based on Llama 2.\n\n## License\n\n"])
def test_the_web_text_without_its_title_is_exact(agreement: str, before: str) -> None:
    text = agreement[agreement.index("Llama 2 Version Release") :]
    assert recognise(before + text).kind == "exact"


def test_an_altered_title_is_an_altered_preamble(agreement: str) -> None:
    result = recognise(agreement.replace("COMMUNITY LICENSE", "LICENSE", 1))
    assert [(d.clause, d.change) for d in result.clauses] == [("preamble", "missing")]


def test_invisible_characters_are_reported_and_do_not_count(agreement: str) -> None:
    result = recognise(agreement.replace("terminate as", "ter\u200bmi\u2060nate as"))
    assert result.kind == "exact"
    assert any("invisible" in note for note in result.notes)


def boundaries(text: str) -> list[int]:
    starts = clause_starts(text)
    return [start for (_, before), (start, name) in pairwise(starts) if name != before]


def test_a_text_cut_at_a_clause_is_truncated(agreement: str) -> None:
    for at in boundaries(agreement):
        result = recognise(agreement[:at])
        missing = {difference.clause for difference in result.clauses}
        assert result.kind == "truncated", clause_at(agreement, at)
        assert missing == {name for start, name in clause_starts(agreement) if start >= at}
        assert all(d.change == "missing" and d.whole for d in result.clauses)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_a_text_cut_anywhere_is_not_exact(agreement: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(600, len(agreement.rstrip()) - 12))
    result = recognise(agreement[:at])
    assert result.kind in ("truncated", "altered")
    assert result.clauses[-1].clause == "7"
    tail = recognise(agreement[at:])
    assert tail.kind != "exact"


def test_missing_beginning_is_truncated(agreement: str) -> None:
    result = recognise(agreement[agreement.index("2. Additional") :])
    assert (result.kind, result.clauses[0].clause, result.clauses[-1].clause) == ("truncated", "preamble", "1.b.v")


@pytest.mark.parametrize("clause", ["1.b.v", "2", "3", "4", "5.a", "6"])
def test_a_clause_left_out_is_missing(agreement: str, clause: str) -> None:
    starts = clause_starts(agreement)
    first = next(start for start, name in starts if name == clause)
    last = next(start for start, name in starts if start > first and name != clause)
    result = recognise(agreement[:first] + agreement[last:])
    assert result.kind == "altered"
    assert [(d.clause, d.change, d.whole) for d in result.clauses] == [(clause, "missing", True)]


@pytest.mark.parametrize("renumber", [False, True])
def test_clauses_in_another_order_are_moved(agreement: str, renumber: bool) -> None:  # noqa: FBT001
    third, fourth, fifth = (agreement.index(head) for head in ("3. Disclaimer", "4. Limitation", "5. Intellectual"))
    one, other = agreement[third:fourth], agreement[fourth:fifth]
    if renumber:
        one, other = one.replace("3.", "4.", 1), other.replace("4.", "3.", 1)
    result = recognise(agreement[:third] + other + one + agreement[fifth:])
    assert result.kind == "altered"
    assert [(d.clause, d.change) for d in result.clauses] == [("4", "moved")]
    assert not any(extra.terms for extra in result.extra)


def renamed(text: str, holder: str, product: str) -> str:
    for old, new in (("Llama 2", product), ("LLAMA 2", product), ("Llama", product), ("LLAMA", product.upper())):
        text = text.replace(old, new)
    return text.replace("Meta", holder).replace("META", holder.upper())


def test_another_licensor_is_a_look_alike(agreement: str) -> None:
    result = recognise(renamed(agreement, "Example authors", "Zebra"))
    assert (result.kind, result.holder, result.clauses) == ("look-alike", "Example authors", ())
    changed = recognise(renamed(agreement, "Example", "Zebra").replace("700 million", "7 million"))
    assert (changed.kind, [d.clause for d in changed.clauses]) == ("look-alike", ["2"])


def test_only_the_licensor_replaced_is_a_look_alike(agreement: str) -> None:
    assert recognise(agreement.replace("Meta", "Example").replace("META", "EXAMPLE")).kind == "look-alike"


def test_one_name_replaced_is_an_alteration(agreement: str) -> None:
    result = recognise(agreement.replace("license from Meta", "license from Example"))
    assert [(d.clause, d.names_only) for d in result.clauses] == [("2", True)]
    assert result.kind == "altered"


def test_the_same_licensors_licence_of_another_product_is_another_licence(agreement: str) -> None:
    result = recognise(renamed(agreement, "Meta", "Zebra"))
    assert (result.kind, result.text) == ("other-license", None)


TERMS = [
    "8. Additional Terms. You may not use the Llama Materials for commercial purposes.",
    "The following restrictions also apply:\n- no military use",
    '"Commons Clause" License Condition v1.0\n\nThe Software is provided subject to the following condition.',
    "Notwithstanding the above, Example Inc. owns all derivatives.",
    "Clause 2 does not apply.",
    "For research use only.",
    "A fee of 5 USD a month is payable to Example Inc.",
    "All derivatives must be released under the GPL.",
    "Only universities are allowed to use this model.",
    "\u672c\u6a21\u578b\u4e0d\u5f97\u7528\u4e8e\u5546\u4e1a\u7528\u9014\u3002",
    "Das Modell darf nicht kommerziell genutzt werden.",
]
NO_TERMS = [
    "Copyright (c) 2024 Example Inc.",
    "END OF THE AGREEMENT",
    "This file is part of the example project, see https://example.org.",
    LLAMA2_NOTICE.sentence,
    "SPDX-FileCopyrightText: 2024 Example",
]


@pytest.mark.parametrize("terms", TERMS)
def test_terms_after_the_text_are_appended(agreement: str, terms: str) -> None:
    result = recognise(f"{agreement}\n\n{terms}\n")
    assert (result.kind, result.clauses) == ("appended", ())
    (extra,) = result.extra
    assert (extra.where, extra.terms, extra.span.first) == ("after", True, agreement.count("\n") + 3)
    assert extra.quote


@pytest.mark.parametrize("terms", TERMS[:7])
def test_terms_before_the_text_are_appended(agreement: str, terms: str) -> None:
    result = recognise(f"{terms}\n\n{agreement}")
    assert (result.kind, result.extra[0].where) == ("appended", "before")


@pytest.mark.parametrize("terms", TERMS[:4])
def test_terms_in_a_readme_are_appended(agreement: str, terms: str) -> None:
    filler = "The model answers questions in English and was trained on eight machines.\n" * 300
    assert recognise(f"# Model\n\n{filler}\n\n{agreement}\n\n{filler}{terms}\n{filler}").kind == "appended"


@pytest.mark.parametrize("plain", NO_TERMS)
def test_other_text_beside_it_is_not_terms(agreement: str, plain: str) -> None:
    assert recognise(f"{plain}\n\n{agreement}").kind == "exact"
    assert recognise(f"{agreement}\n\n{plain}\n").kind == "exact"


@pytest.mark.parametrize(
    "preface",
    [
        "This model is a fine-tune of Llama 2 and is released under the following license.",
        "The weights are licensed under the following terms:",
        "Dear user,\n\nplease read the licence. By downloading the model you accept it.",
        "The code is licensed under Apache-2.0, the weights under the Llama 2 licence:",
    ],
)
def test_an_introduction_is_not_terms(agreement: str, preface: str) -> None:
    result = recognise(f"{preface}\n\n{agreement}")
    assert (result.kind, result.extra[0].terms) == ("exact", False)


def test_a_true_copy_beside_an_altered_one_is_not_exact(agreement: str) -> None:
    altered = agreement.replace("700 million", "7 billion")
    for text in (f"{agreement}\n\n{altered}", f"{altered}\n\n{agreement}"):
        result = recognise(text)
        assert result.kind == "appended"
        assert "altered" in result.notes[0]
    assert recognise(f"{agreement}\n\n{agreement}").kind == "exact"


@pytest.mark.parametrize(
    ("text", "product", "document"),
    [
        (
            "Please refer to license: https://github.com/facebookresearch/llama/blob/main/LICENSE",
            "llama-2",
            "license",
        ),
        ("https://github.com/facebookresearch/llama/blob/main/USE_POLICY.md", "llama-2", "policy"),
        ("See [the licence](https://ai.meta.com/llama/license/).", "llama-2", "license"),
        ("https://huggingface.co/meta-llama/Llama-2-7b-hf/blob/main/LICENSE.txt", "llama-2", "license"),
        ("https://llama.meta.com/llama3/license", "llama-3", "license"),
        ("https://www.llama.com/llama3_1/use-policy", "llama-3.1", "policy"),
        ("https://github.com/meta-llama/llama-models/blob/main/models/llama3_2/LICENSE", "llama-3.2", "license"),
        ("https://huggingface.co/meta-llama/Meta-Llama-3.1-8B/blob/main/LICENSE", "llama-3.1", "license"),
        ("This model is under the Llama 2 Community License.", "llama-2", "license"),
    ],
)
def test_a_pointer_is_told_from_the_text(text: str, product: str, document: str) -> None:
    result = recognise(text)
    assert result.kind == "pointer"
    assert result.text is not None
    assert (result.text.product, result.document) == (product, document)


QUOTED_CLAUSE = (  # a sentence quoted is not a licence given
    "You will not use the Llama Materials or any output or results of the Llama Materials to improve any other "
    "large language model (excluding Llama 2 or derivative works thereof)."
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://example.org/github.com/LICENSE",
        "https://notgithub.com/meta-llama/llama/blob/main/LICENSE",
        LLAMA2_NOTICE.sentence,
        QUOTED_CLAUSE,
        "License: LLAMA 2 ... July 18, 2023",
    ],
)
def test_none_of_it_is_there(text: str) -> None:
    assert recognise(text).kind == "none"


OTHER = {
    "Apache-2.0": "apache-2.0",
    "MIT": "mit",
    "BSD-3-Clause": "bsd-new",
    "BSD-2-Clause": "bsd-simplified",
    "ISC": "isc",
    "GPL-2.0-only": "gpl-2.0",
    "GPL-3.0-only": "gpl-3.0",
    "LGPL-2.1-only": "lgpl-2.1",
    "LGPL-3.0-only": "lgpl-3.0",
    "AGPL-3.0-only": "agpl-3.0",
    "MPL-2.0": "mpl-2.0",
    "CC0-1.0": "cc0-1.0",
    "CC-BY-4.0": "cc-by-4.0",
    "CC-BY-NC-4.0": "cc-by-nc-4.0",
    "CC-BY-SA-3.0": "cc-by-sa-3.0",
    "CC-BY-NC-SA-4.0": "cc-by-nc-sa-4.0",
    "CC-BY-NC-ND-4.0": "cc-by-nc-nd-4.0",
    "LicenseRef-scancode-llama-license-2023": "llama-license-2023",
    "LicenseRef-scancode-bigcode-open-rail-m-v1": "bigcode-open-rail-m-v1",
    "LicenseRef-scancode-bigscience-rail-1.0": "bigscience-rail-1.0",
}


def read_packaged(name: str) -> str:
    path = distribution("licensedcode-data").locate_file(f"licensedcode/data/licenses/{name}.LICENSE")
    return Path(str(path)).read_text(encoding="utf-8").split("\n---\n", 1)[1]


@pytest.mark.parametrize("identifier", OTHER)
@pytest.mark.usefixtures("agreement")
def test_other_licences_are_named(identifier: str) -> None:
    result = recognise(read_packaged(OTHER[identifier]))
    assert (result.kind, result.identifier) == ("other-license", identifier)


@pytest.mark.usefixtures("agreement")
def test_another_licence_beside_the_text_is_named(agreement: str) -> None:
    result = recognise(f"{read_packaged('apache-2.0')}\n\n{agreement}")
    assert (result.kind, [other.identifier for other in result.also]) == ("appended", ["Apache-2.0"])


@pytest.mark.slow
@pytest.mark.usefixtures("agreement")
def test_no_other_licence_of_two_thousand_is_taken_for_a_text_of_metas() -> None:
    folder = Path(str(distribution("licensedcode-data").locate_file("licensedcode/data/licenses")))
    taken = {}
    for path in sorted(folder.glob("*.LICENSE")):
        result = recognise(decode(path.read_bytes()))
        if result.kind not in ("none", "other-license"):
            taken[path.name] = result.kind
    assert taken == {"llama-2-license-2023.LICENSE": "exact"}


def test_what_is_wanted_decides_what_is_another_version(agreement: str) -> None:
    result = recognise(agreement, wanted="llama-3")
    assert (result.kind, result.condition) == ("other-version", "exact")


def test_a_document_that_was_asked_for_and_is_not_there_is_none(agreement: str) -> None:
    result = recognise(agreement, document="policy")
    assert (result.kind, [other.kind for other in result.also]) == ("none", ["exact"])
    linked = recognise(f"{agreement}\n\nSee https://ai.meta.com/llama/use-policy", document="policy")
    assert (linked.kind, linked.document) == ("pointer", "policy")


def test_a_long_text_is_cut_and_says_so(agreement: str) -> None:
    result = recognise("a " * 600_000 + agreement)
    assert result.kind == "none"
    assert "longer" in result.notes[0]


HOSTILE = {
    "spaces": " ",
    "letters": "a ",
    "tags": "<b>",
    "unclosed tags": "<a ",
    "struck": "~~a~~ ",
    "nested struck": "<del>",
    "links": "](",
    "comments": "<!--",
    "escapes": "\\n",
    "hyphens": "a-\n",
    "combining marks": "a\u0300\u0327",
    "expanding": "\ufdfa",
    "addresses": "github.com/",
    "zero width": "a\u200b",
    "terms": "you must ",
    "broken scheme": "htt\n",
    "no-space script": "\u4e0d\u5f97",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_answered(name: str) -> None:
    """A step that is quadratic in any of these would take minutes, and the run would stop here."""
    unit = HOSTILE[name]
    assert recognise(unit * (300_000 // len(unit))).kind in ("none", "other-license")


# What follows needs the official texts that no package holds.

TEXTS = {
    "llama2_LICENSE_variant_b": ["llama-2-license"],
    "llama2_USE_POLICY.md": ["llama-2-policy"],
    "modelgo_Llama2.txt": ["llama-2-license", "llama-2-policy"],
    "lm_llama3_LICENSE": ["llama-3-license", "llama-3-policy"],
    "lm_llama3_USE_POLICY.md": ["llama-3-policy"],
    "lm_llama3_1_LICENSE": ["llama-3.1-license"],
    "lm_llama3_1_USE_POLICY.md": ["llama-3.1-policy"],
    "lm_llama3_2_LICENSE": ["llama-3.2-license"],
    "lm_llama3_2_USE_POLICY.md": ["llama-3.2-policy"],
    "lm_llama3_3_LICENSE": ["llama-3.3-license"],
    "lm_llama3_3_USE_POLICY.md": ["llama-3.3-policy"],
    "lm_llama4_LICENSE": ["llama-4-license"],
    "lm_llama4_USE_POLICY.md": ["llama-4-policy"],
}


@pytest.mark.parametrize("name", TEXTS)
def test_each_official_text_is_recognised(official: Path, name: str) -> None:
    result = recognise(decode((official / name).read_bytes()))
    found = [result, *result.also]
    assert [r.text.id for r in found if r.text] == TEXTS[name]
    assert {r.condition for r in found} == {"exact"}
    assert result.kind == ("exact" if "llama-2" in TEXTS[name][0] else "other-version")


def test_every_edited_word_of_the_use_policy_is_caught(official: Path) -> None:
    text = decode((official / "llama2_USE_POLICY.md").read_bytes())
    body = text.index("We want everyone")
    for i, j in places(text)[:: 1 + len(text) % 7]:
        if i > body and re.search(r"[a-z]{2}", text[i:j]) and "](" not in text[i:j]:
            assert recognise(f"{text[:i]}xyzzy{text[j:]}").kind == "altered", text[i:j]


def test_agreement_and_policy_in_one_file_are_both_found(agreement: str, official: Path) -> None:
    policy = decode((official / "llama2_USE_POLICY.md").read_bytes())
    both = f"{policy}\n\n{agreement}"
    assert [(r.document, r.kind) for r in (recognise(both), *recognise(both).also)] == [
        ("license", "exact"),
        ("policy", "exact"),
    ]
    assert recognise(both, document="policy").document == "policy"
