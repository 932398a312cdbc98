"""Whole cards in the manner of public ones, and all that the rules say of each: proved, and held against nothing."""

from __future__ import annotations

import pytest
from repokit import DENIED, LIMITATIONS, NOTICE, UNTESTED, acting, agreement, card, findings, situation

QUANTISED = """---
base_model: meta-llama/Llama-2-7b-hf
inference: false
license: llama2
model_creator: Meta
model_name: Llama 2 7B
quantized_by: Somebody
tags: [facebook, meta, pytorch, llama, llama-2]
---
# Llama 2 7B - GGUF

- Model creator: [Meta](https://huggingface.co/meta-llama)
- Original model: [Llama 2 7B](https://huggingface.co/meta-llama/Llama-2-7b-hf)

This repo contains GGUF files for Meta's Llama 2 7B. llama.cpp is the open source project for GGUF.

# Original model card: Meta's Llama 2 7B

Meta developed and publicly released the Llama 2 family of large language models (LLMs).

# **Ethical Considerations and Limitations**

Llama 2 is a new technology that carries risks with use. Testing conducted to date has been in English.
"""
IN_ITS_TEXT = """---
license: llama2
inference: false
---
# Model Card

A chat assistant trained by fine-tuning Llama 2 on conversations.

- **License:** Llama 2 Community License Agreement
- **Finetuned from model:** [Llama 2](https://arxiv.org/abs/2307.09288)
"""
MIT_CARD = """---
license:
- mit
tags: [llama-2, self-instruct, distillation]
---
# Model Card

A language model fine-tuned on over 300,000 instructions, trained almost entirely on GPT-4 outputs.
"""
KOREAN = """---
license: cc-by-nc-sa-4.0
base_model: beomi/llama-2-ko-7b
---
# LLaMA-2-KO-7B

## 라이선스

이 모델은 Llama 2 Community License 를 따릅니다.

## 한계

이 모델은 영어와 한국어로만 시험되었으며 잘못되거나 편향된 내용을 생성할 수 있습니다.
의료나 법률에 관한 결정에 쓰지 마십시오.
"""
CHINESE = """---
license: apache-2.0
language: [zh, en]
---
# 模型

本模型基于 Llama 2 训练。权重遵循 [Llama 2 许可](https://ai.meta.com/llama/license/)。
"""
GERMAN = """---
license: llama2
base_model: meta-llama/Llama-2-13b-hf
---
# Ein deutsches Modell

## Einschränkungen

Das Modell wurde nur in begrenztem Umfang getestet; seine Ausgaben können falsch oder voreingenommen sein.
"""
CODE_AND_MODEL = """# Project

The model comes with limitations.

- **Model License:** [LLAMA 2 COMMUNITY LICENSE AGREEMENT](https://ai.meta.com/llama/license/)
- **Code License:** [APACHE 2.0 LICENSE](LICENSE)
- **Continue-pretrained from model:** [Llama-2-70B](https://huggingface.co/meta-llama/Llama-2-70b)
"""

CARDS = {
    "quantised": (QUANTISED, "LIC-001 NOT-001", "AUP-001"),
    "base and licence in its text": (IN_ITS_TEXT, "LIC-001 NOT-001 AUP-G4", "LIC-003 AUP-001 BASE-001"),
    "MIT card with a tag": (MIT_CARD, "LIC-001 NOT-001 AUP-G4 CARD-001 BASE-001", "AUP-001"),
    # What it says of the agreement beside CC is not read in Korean: a person must, and so CARD-001 does not fail.
    "Korean": (KOREAN, "LIC-001 NOT-001", "LIC-003 AUP-001 CARD-001"),
    "Chinese": (CHINESE, "LIC-001 NOT-001 AUP-G4 BASE-001", "LIC-003 AUP-001 CARD-001"),
    "German": (GERMAN, "LIC-001 NOT-001", "AUP-001"),
    "code and model told apart": (CODE_AND_MODEL, "LIC-001 NOT-001 AUP-G4", "LIC-003 AUP-001 CARD-004 BASE-001"),
}


@pytest.mark.parametrize("name", CARDS)
def test_all_that_is_said_of_a_card(name: str) -> None:
    text, fails, warns = CARDS[name]
    expected = dict.fromkeys(fails.split(), "fail") | dict.fromkeys(warns.split(), "warn")
    assert acting(findings(situation({"README.md": text}))) == expected
    untested = situation({"README.md": text}, UNTESTED)
    assert acting(findings(untested)) == (dict.fromkeys(expected, "warn") if untested.bound else {})


@pytest.mark.parametrize("name", CARDS)
def test_on_weights_that_are_not_llama_2_it_is_at_most_an_over_claim(name: str) -> None:
    found = acting(findings(situation({"README.md": CARDS[name][0]}, DENIED)))
    assert set(found) <= {"OVR-001", "NAME-002"}
    assert set(found.values()) <= {"warn"}


def test_an_agpl_card_beside_a_right_notice_is_for_a_person_to_read() -> None:
    front = "license: agpl-3.0\nbase_model: meta-llama/Llama-2-7b-hf\n"
    files = {"README.md": card(front), "LICENSE": agreement(), "notice.txt": NOTICE}
    assert acting(findings(situation(files))) == {"CARD-001": "warn"}


def test_the_agreement_in_a_folder_beside_a_card_that_says_other() -> None:
    body = (
        "### Licence\n\nThe models are built on top of llama-2. The base model has a custom Meta license: see "
        f"[meta-license/LICENSE.txt](meta-license/LICENSE.txt).\n\n{LIMITATIONS}"
    )
    files = {
        "README.md": card("license: other\n", body),
        "meta-license/LICENSE.txt": agreement(),
        "meta-license/Responsible-Use-Guide.pdf": b"%PDF",
    }
    assert acting(findings(situation(files))) == {"NOT-001": "fail", "CARD-003": "warn", "BASE-001": "warn"}


@pytest.mark.parametrize("shown", [UNTESTED, DENIED], ids=["untested", "independent"])
def test_a_model_with_the_architecture_of_llama_is_left_alone(shown: object) -> None:
    body = (
        "# TinyLlama-1.1B\n\nWe adopted exactly the same architecture and tokenizer as Llama 2. TinyLlama can be "
        "plugged into many open-source projects built upon Llama. It is trained from scratch and open source.\n"
    )
    files = {"README.md": card("license: apache-2.0\n", body), "tokenizer.model": bytes(499_723)}
    found = findings(situation(files, shown, names=("TinyLlama-1.1B-Chat-v1.0",)))  # type: ignore[arg-type]
    assert acting(found) == {}
    assert {finding.status for finding in found.values()} == {"pass", "n/a"}
