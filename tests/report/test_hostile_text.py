"""Hostile text in every place of a report, in every format: one table over all of them."""

from __future__ import annotations

import re

import pytest
from reportkit import HOSTILE, UNSAFE, hostile, rendered

from auditor.report import FORMATS, JOINT_FORMATS, Place, Placed, render

PLACE = Place(path="models.yaml", line=3)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", FORMATS)
def test_no_control_byte_and_no_workflow_command(text: str, name: str) -> None:
    shown = rendered(name, hostile(text), PLACE)
    assert not UNSAFE.search(shown)
    assert not re.search(r"^\s*::", shown, re.MULTILINE)
    shown.encode("utf-8")


@pytest.mark.parametrize("name", ["html", "markdown", "junit"])
@pytest.mark.parametrize("text", [text for text in HOSTILE if "<" in text])
def test_no_markup_of_the_model_stands_raw(text: str, name: str) -> None:
    shown = rendered(name, hostile(text), PLACE)
    assert not re.search(r"<(script|img|b>|x/|!-- -->)", shown)


@pytest.mark.parametrize("name", sorted(JOINT_FORMATS))
def test_several_reports_stand_in_one_file(name: str) -> None:
    shown = render(name, [Placed(report=hostile(text)) for text in HOSTILE])
    assert not UNSAFE.search(shown)
