"""The attribution notice: what may surround and render it, and what may not change in it."""

from __future__ import annotations

import textwrap
from importlib.metadata import distribution
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.compliance.texts.normalize import decode
from auditor.compliance.texts.notice import LLAMA2_NOTICE, NoticeSpec, find_notice

SENTENCE = LLAMA2_NOTICE.sentence
LLAMA3 = NoticeSpec(
    product="Meta Llama 3", license_name="Meta Llama 3 Community License", holder="Meta Platforms, Inc."
)

OK = {
    "as the licence gives it": SENTENCE,
    "no final stop": SENTENCE[:-1],
    "wrapped": SENTENCE.replace("License, ", "License,\n    "),
    "a word a line": "\n".join(SENTENCE.split()),
    "wrapped in the product's name": f"Something else.\n{SENTENCE.replace('Llama 2', 'Llama' + chr(10) + '2')}",
    "copyright sign": SENTENCE.replace("(c)", "\u00a9"),
    "capital C": SENTENCE.replace("(c)", "(C)"),
    "entity": SENTENCE.replace("(c)", "&copy;"),
    "mojibake": SENTENCE.replace("(c)", "\u00c2\u00a9"),
    "straight quotes": f'"{SENTENCE}"',
    "curly quotes": f"\u201c{SENTENCE}\u201d",
    "bold": f"***{SENTENCE}***",
    "html": f"<p>{SENTENCE}</p>",
    "markdown link": SENTENCE.replace("LLAMA 2 Community License", "[LLAMA 2 Community License](LICENSE.txt)"),
    "markdown quote": "> " + SENTENCE.replace("License, ", "License,\n> "),
    "code comment": "# Copyright (c) Meta Platforms, Inc. and affiliates.\n# All rights reserved.\n#\n# "
    + SENTENCE.replace("License, ", "License,\n# "),
    "heading": f"Notice\n======\n\n{SENTENCE}",
    "preface": f"This product includes a derivative of Llama 2.\n\nNotice: {SENTENCE}",
    "preface on the same line": f"It is a fine-tune of Llama 2. {SENTENCE}",
    "more after it": f"{SENTENCE} See LICENSE.\n\nCopyright (c) 2024 Example Inc. All Rights Reserved.",
    "beside an Apache notice": f"Example\nLicensed under the Apache License, Version 2.0\n\n{SENTENCE}",
    "beside the notice of Llama 3": f"{LLAMA3.sentence}\n\n{SENTENCE}",
    "upper case": SENTENCE.upper(),
    "no-break spaces": SENTENCE.replace(" ", "\u00a0"),
}
NOTED = {
    "a year": SENTENCE.replace("(c) Meta", "(c) 2023 Meta"),
    "a range of years": SENTENCE.replace("(c) Meta", "(c) 2023-2024 Meta"),
    "a year at the end": SENTENCE.replace("Inc. All", "Inc. 2023. All"),
    "sign without word": SENTENCE.replace("Copyright (c)", "\u00a9"),
    "word without sign": SENTENCE.replace(" (c)", ""),
    "words before the product": f"Meta {SENTENCE}",
    "invisible character": SENTENCE.replace("Meta", "Me\u200bta"),
    "pasted with its clause": "You must retain in all copies the following attribution notice within a "
    f'"Notice" text file distributed as a part of such copies: "{SENTENCE}"',
}
MISWORDED = {
    "agreement": SENTENCE.replace("License,", "License Agreement,"),
    "no rights reserved": SENTENCE.replace(" All Rights Reserved.", ""),
    "no copyright": SENTENCE.replace("Copyright (c) ", ""),
    "only the first half": "Llama 2 is licensed under the LLAMA 2 Community License.",
    "only the second half": SENTENCE.split("under the ")[1],
    "the derivative's name": SENTENCE.replace("Llama 2 is", "ExampleModel is"),
    "Code Llama": SENTENCE.replace("Llama 2 is", "Code Llama is"),
    "one word for two": SENTENCE.replace("Llama 2", "Llama2"),
    "hyphen": SENTENCE.replace("Llama 2", "Llama-2"),
    "negated": SENTENCE.replace("is licensed", "is not licensed"),
    "a word left out": SENTENCE.replace("Community ", ""),
    "British spelling": SENTENCE.replace("licensed", "licenced"),
}
WRONG_HOLDER = {
    "another": SENTENCE.replace("Meta Platforms, Inc.", "Example Inc."),
    "former name": SENTENCE.replace("Meta Platforms, Inc.", "Facebook, Inc."),
    "part of the name": SENTENCE.replace("Meta Platforms, Inc.", "Meta"),
    "another one as well": SENTENCE.replace("Inc.", "Inc. and Example Corp."),
    "Irish company": SENTENCE.replace("Platforms, Inc.", "Platforms Ireland Limited"),
    "a Cyrillic letter": SENTENCE.replace("Meta", "M\u0435ta"),
}
WRONG_VERSION = {
    "Llama 3": LLAMA3.sentence,
    "Llama 3.1": SENTENCE.replace("Llama 2", "Llama 3.1").replace("LLAMA 2", "Llama 3.1"),
    "Llama 3.2, wrapped": SENTENCE.replace("Llama 2", "Llama 3.2").replace("LLAMA 2", "Llama\n3.2"),
    "only the product": SENTENCE.replace("Llama 2", "Llama 3"),
    "only the licence": SENTENCE.replace("LLAMA 2", "LLAMA 4"),
}
ABSENT = {
    "nothing": "",
    "another licence": "Licensed under the Apache License, Version 2.0",
    "prose": "Llama 2 is licensed under the Llama 2 Community License Agreement, which provides some permissions.",
    "metadata": "name: Llama 2 Community License Agreement\nholder: Copyright (c) Meta Platforms, Inc.",
    "another licence and a copyright": "Licensed under the MIT License.\nCopyright 2024 Example. All Rights Reserved.",
    "a copyright line": "Copyright (c) Meta Platforms, Inc. All Rights Reserved.",
}
TABLE = [
    (status, name, text)
    for status, texts in {
        "ok": OK,
        "ok-with-note": NOTED,
        "misworded": MISWORDED,
        "wrong-holder": WRONG_HOLDER,
        "wrong-version": WRONG_VERSION,
        "absent": ABSENT,
    }.items()
    for name, text in texts.items()
]


@pytest.mark.parametrize(("status", "name", "text"), TABLE, ids=[f"{status}: {name}" for status, name, _ in TABLE])
def test_each_form_of_the_sentence(status: str, name: str, text: str) -> None:
    result = find_notice(text)
    assert result.status == status, (name, result)
    assert (result.note is None) == (status in ("ok", "absent"))
    assert (result.quote is None) == (status == "absent")


def test_it_says_where_and_what() -> None:
    result = find_notice(f"Example\n\n{SENTENCE.replace('(c)', '(c) 2023')}\n")
    assert result.line == 3
    assert result.quote is not None
    assert result.quote.startswith("Llama 2 is licensed")
    assert "Copyright (c) 2023" in result.quote
    assert result.note == "a year was added"


def test_the_sentence_is_data() -> None:
    assert find_notice(LLAMA3.sentence, LLAMA3).status == "ok"
    assert find_notice(SENTENCE, LLAMA3).status == "wrong-version"


def test_the_agreements_own_words_are_no_notice() -> None:
    package = distribution("licensedcode-data")  # of the test extra: without it these tests fail, and do not skip
    path = package.locate_file("licensedcode/data/licenses/llama-2-license-2023.LICENSE")
    agreement = Path(str(path)).read_text(encoding="utf-8").split("\n---\n", 1)[1]
    result = find_notice(agreement)
    assert (result.status, result.in_agreement) == ("absent", True)
    assert find_notice(f"{SENTENCE}\n\n{agreement}").status == "ok"


@given(
    width=st.integers(12, 120),
    prefix=st.sampled_from(["", "> ", "# ", "// ", " * ", "    "]),
    sign=st.sampled_from(["(c)", "\u00a9", "(C)", "&copy;"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252", "mac_roman"]),
    before=st.sampled_from(["", "NOTICE\n\n", "A fine-tune of Llama 2.\n\n"]),
)
@settings(max_examples=150, deadline=None)
def test_no_rendering_is_misread(width: int, prefix: str, sign: str, encoding: str, before: str) -> None:
    text = before + textwrap.fill(
        SENTENCE.replace("(c)", sign),
        width,
        initial_indent=prefix,
        subsequent_indent=prefix,
        break_long_words=False,
    )
    assert find_notice(decode(text.encode(encoding))).status == "ok"


@given(index=st.integers(0, len(SENTENCE.split()) - 1), edit=st.sampled_from(["changed", "deleted", "inserted"]))
def test_no_edited_word_passes(index: int, edit: str) -> None:
    words = SENTENCE.split()
    sign_or_subject = words[index] in ("Copyright", "(c)") or (index == 0 and edit == "inserted")
    words[index : index + 1] = {"changed": ["xyzzy"], "deleted": [], "inserted": ["xyzzy", words[index]]}[edit]
    status = find_notice(" ".join(words)).status
    assert status != "ok"
    assert status != "ok-with-note" or sign_or_subject


def test_a_megabyte_of_near_notices_is_answered() -> None:
    text = "Llama 2 is licensed under the LLAMA 2 Community License, " * 4000
    assert find_notice(text).status in ("misworded", "absent")
