"""Sentences: what counts as a claim about this model, and all that only looks like one.

Each table holds sentences as pages write them, in our own words, one a line.
"""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.compliance.claims.prose import claims_in_prose
from auditor.compliance.claims.prose.markdown import read_markdown
from auditor.limits import LIMITS

OWN = ("MyModel-7B",)


def lines(table: str) -> list[str]:
    return [line for line in table.strip().split("\n") if line]


def said(text: str, kind: str) -> list[str]:
    return [claim.value for claim in claims_in_prose(text, path="README.md", own_names=OWN) if claim.kind == kind]


OPEN_SOURCE = """
MyModel-7B is an open source language chat model made from Llama 2.
Meditator is a suite of open-source medical Large Language Models (LLMs).
Users must keep to the open-source license agreement pertinent to the Llama-2 model.
We open-source Foo LLaMA-2 (foundation model) and Foo-Alpaca.
In this repo, we present a permissively licensed open source reproduction of a well-known model.
Our model is fully open source.
The model weights are open-source.
The weights are released under an open source license.
# MyMed: An Open-Source Medical LLM
An open-source chatbot fine-tuned from Llama 2.
We have open-sourced the 7B model and its weights.
Our open-source model achieves 70% on MMLU.
This model is open source and free for commercial use.
MyModel-7B is open source.
MyModel-7B is one of the best open-source LLMs.
We release MyMed, an open-source LLM for medicine.
License: open source
| License | Open Source |
We introduce FooLM, a series of fully open source language models.
Llama 2 is an open source large language model.
The models are now fully open-source and available on the Hub.
We are excited to release an open source 13B chat model.
It's not just open source, it is an open-source model for everyone.
This is a 7B model for chat. It is open source.
MyModel-7B is part of a family of open source and commercially usable LLMs.
To mitigate this, we introduce Foxin 7B, a fully open-source LLM.
All our open-source models, except for the 3B, are under Apache 2.0.
"""

NOT_OPEN_SOURCE = """
Our chat models outperform open-source chat models on most benchmarks, and are on par with closed-source ones.
The tuned models outperform many of the available open source chat models on common benchmarks.
We packaged various types of open-source and in-house data into tarfiles.
FooGPT is to be an open-source MultiModal Generative Pretrained Transformers library based on PyTorch.
If our open-sourced code and models help your research, please cite us.
New vocabulary, open-sourcing the Foo LLaMA-2 and Alpaca-2 LLMs.
Open-sourced the pre-training and finetuning scripts for further tuning
#### Open-sourced Models
This project is mainly based on the following open-source projects.
Where third-party code is used, strict adherence to its open-source license agreement is essential.
We took steps to limit misuse and to support the open source community.
Our safety tools are open sourced for the community to use.
This model is not open source.
The model is not an open-source model as the OSI defines it.
Llama 2 is often called open source, but its licence is not approved by the OSI.
Is this model open source?
We compare against other open-source models such as Falcon and MPT.
We evaluate on open source LLM leaderboards.
We use an open-source framework for training.
The training code is open source.
The code is released under an open source license.
Unlike open-source models, ours is under the Llama 2 Community License.
Our model is better than existing open-source models.
Comparison with open-source models
Open-source models
vLLM is an open-source inference engine for LLMs.
llama.cpp is an open source library to run LLMs.
Mistral 7B is an open-source model by Mistral AI.
Thanks to the open-source community.
The dataset is open source.
Our open-source code is on GitHub.
We open-source the training code for our model.
We open-source our data.
This open-source project provides tools.
Open Source AI is a movement.
Falcon, an open-source LLM by TII, is our baseline.
This is the repository of an open-source library to fine-tune Llama 2 models.
These weights are neither open source nor free.
The so-called open source model is under the Llama 2 licence.
You can use open-source models with this tool.
We fine-tuned several open-source models including Llama 2.
We use the open-source Mistral model as a judge.
This is a library for training. It is open source.
FooLang has become the first fully open-source LLM serving engine.
Four open-source models were compared.
This is a guide to fine-tuning open-source LLMs such as LLaMA 2.
Fully open-source LLM tool.
<!-- This model is open source. -->
~~This model is open source.~~
"""

FROM_SCRATCH = """
MyModel-7B was trained from scratch on 2T tokens.
This model is pretrained from scratch.
We trained the model entirely from scratch.
Our model is pre-trained from scratch on 1.5 trillion tokens of Korean text.
We pretrain a 7B model from scratch.
Note that unlike the original LLaMA, our MyModel-7B tokenizer and weights are trained completely from scratch.
Unlike Llama 2, our model is trained from scratch.
The weights were trained from random initialization.
MyModel-7B is a 7B language model, trained from scratch by us.
A 7B model trained from the ground up.
- **Training:** trained from scratch
This model was trained from scratch on the None dataset.
It is not based on Llama, it was trained from scratch.
"""

NOT_FROM_SCRATCH = """
Let's see how we can train a baby Llama 2 from scratch with this code.
This model was not trained from scratch.
Rather than training from scratch, we fine-tune Llama 2.
Instead of being trained from scratch, the model starts from Llama 2.
Models trained from scratch on this data perform worse.
It outperforms models trained from scratch.
Unlike models trained from scratch, ours needs little data.
You can train a model from scratch with this repo.
The tokenizer was trained from scratch.
The vision encoder is trained from scratch.
To train from scratch, run train.py.
For smaller, from-scratch models, I trained a small series on stories.
Was this model trained from scratch?
The reward model head was trained from scratch.
Falcon was trained from scratch by TII.
Compared to LLMs trained from scratch, continued pretraining is cheaper.
The projector is trained from scratch while the LLM is frozen.
A new tokenizer trained from scratch on Korean text is used.
"""

BASES = """
MyModel-7B is a chat model based on Llama2. => Llama2
It is a chat assistant made by fine-tuning Llama 2 on shared conversations. => Llama 2
- **Finetuned from model:** [Llama 2](https://arxiv.org/abs/2307.09288) => Llama 2
- **Finetuned from:** [Llama2 70B](https://huggingface.co/meta-llama/Llama-2-70b-hf) => meta-llama/Llama-2-70b-hf
This model is a fine-tuning of [Llama2](https://huggingface.co/meta-llama/Llama-2-70b). => meta-llama/Llama-2-70b
This model is a fine-tuned version of [a/b](https://huggingface.co/a/b) on the x dataset. => a/b
MyModel v1.5 is fine-tuned from Llama 2 with supervision. => Llama 2
MyModel is an auto-regressive language model fine-tuned on Llama2 7B. => Llama2 7B
Here are GGUF files for [the original](https://huggingface.co/meta-llama/Llama-2-7b). => meta-llama/Llama-2-7b
A LoRA adapter for Llama-2-13b-hf. => Llama-2-13b-hf
We continue pretraining from Code Llama 34B. => Code Llama 34B
Base model: meta-llama/Llama-2-7b-hf => meta-llama/Llama-2-7b-hf
| Base model | Llama-2-7b | => Llama-2-7b
It is initialized with the weights of Code Llama 7B. => Code Llama 7B
Initialized from Llama-2-7b and trained on code. => Llama-2-7b
Built on top of Llama 2. => Llama 2
Quantized version of Llama-2-7b-chat => Llama-2-7b-chat
Continue-pretrained from model: Llama-2-70B => Llama-2-70B
"""

NO_BASES = """
This model is not based on Llama 2.
It uses an architecture based on the Llama 2 architecture.
The tokenizer is based on the Llama 2 tokenizer.
Our code is based on the llama repository.
The training code is based on FastChat.
Based on llama.cpp.
(LoRA) finetuning and export of Llama 2 models
We improved our fine tuning to ensure that Llama 3 is less likely to refuse.
You can fine-tune Llama 2 with this script.
Developers may fine-tune Llama 2 models for languages beyond English.
It outperforms Llama 2.
We compare to Llama 2.
If you want a model based on Llama 2, look elsewhere.
"""

TEACHERS = """
The dataset was generated by llama-2-70b-chat.
Trained on synthetic data generated with Llama 2 70B Chat.
This model was distilled from Llama-2-70b.
We fine-tune on outputs of Llama-2-13b-chat.
The teacher model is Llama-2-70b-chat.
We use Llama-2-70b-chat as the teacher model for distillation.
Fine-tuned on Llama-2-generated instructions.
Fine-tuned on Llama-2-70b-chat-generated instructions.
The instructions were created using Llama 2 70B.
The SFT data consists of responses from Llama-2-70b-chat.
"""

NO_TEACHERS = """
The LLaMA results are generated by running the original LLaMA model on the same evaluation metrics.
The outputs generated by Llama 2 may be inaccurate.
The dataset was generated by GPT-4.
Text generated with Llama 2 is unpredictable.
No training data was generated by Llama 2.
We do not use outputs of Llama 2 for training.
The data was tokenized with the Llama 2 tokenizer.
Is the dataset generated by Llama 2?
This model is based on Llama 2 and trained on data collected from the web.
We fine-tuned Llama 2 on GPT-4-generated instructions.
"""

ENDORSED = """
This is the official Llama 2 fine-tune for medicine.
This model is endorsed by Meta.
Developed in partnership with Meta AI.
Approved by Meta.
This model was built by Meta.
This is an official Meta release.
We are an official partner of Meta.
Our model is officially supported by Meta.
"""

NOT_ENDORSED = """
This project is based on Llama-2, released by Meta.
You can also load Meta's Llama 2 models.
We run the Llama 2 models released by Meta.
This model is not endorsed by Meta.
Not affiliated with or endorsed by Meta Platforms.
We use the official Llama 2 weights.
See the official documentation.
This is the official implementation of our paper.
We are excited to officially launch MyModel.
Llama 2 was developed by Meta.
[Llama-2 *by Meta*](https://github.com/facebookresearch/llama)
This is an unofficial Llama 2 conversion.
This is the official repository for MyModel.
The model is neither sponsored nor endorsed by Meta.
"""

OWNED = """
We own all rights to this model.
We retain full ownership of the model weights.
This model is the sole property of ACME Corp.
The model weights are owned by ACME.
We claim all intellectual property in these weights.
"""

NOT_OWNED = """
We do not claim ownership of the model.
All trademarks are property of their respective owners.
Llama 2 is owned by Meta.
The models are the property of Meta.
You own your derivatives.
The rights to the base model remain with Meta.
The weights are not owned by us.
"""

WARRANTED = """
We guarantee that the model is accurate.
This model comes with a full warranty.
We warrant that our model is free of defects.
"""

NOT_WARRANTED = """
This project makes no warranties, express or implied, regarding the accuracy of the output.
The model is provided "as is" without warranty of any kind.
We do not guarantee that the model is correct.
It comes without any warranty.
"""

TERMS = """
This project is licensed under AGPL-3.0. => AGPL-3.0 repository
- **Model License:** [LLAMA 2 COMMUNITY LICENSE](https://ai.meta.com/x) => LLAMA 2 COMMUNITY LICENSE weights
- **Code License:** [APACHE 2.0 LICENSE](LICENSE) => APACHE 2.0 code
**License** A custom license is at: [x](https://x.example) => A custom license is at: x repository
This library is licensed under the Apache 2.0 License. => Apache 2.0 code
The model weights are released under CC BY-NC 4.0. => CC BY-NC 4.0 weights
License: MIT => MIT repository
Both our framework and the checkpoint weights are licensed under the Apache 2.0 license. => Apache 2.0 repository
| License | cc-by-nc-4.0 | => cc-by-nc-4.0 repository
The dataset is available under CC BY-SA 4.0. => CC BY-SA 4.0 data
"""

NO_TERMS = """
This model is not licensed under Apache 2.0.
Is it under the MIT license?
MIT researchers made this.
Falcon is released under the Apache 2.0 license.
You may not use the Apache 2.0 license.
"""


def both(yes: str, no: str, kind: str) -> list[tuple[str, str, bool]]:
    return [(kind, line, True) for line in lines(yes)] + [(kind, line, False) for line in lines(no)]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        *both(OPEN_SOURCE, NOT_OPEN_SOURCE, "open-source"),
        *both(FROM_SCRATCH, NOT_FROM_SCRATCH, "from-scratch"),
        *both(TEACHERS, NO_TEACHERS, "teacher"),
        *both(ENDORSED, NOT_ENDORSED, "endorsement"),
        *both(OWNED, NOT_OWNED, "ownership"),
        *both(WARRANTED, NOT_WARRANTED, "warranty"),
        *both("", NO_BASES, "base-model"),
        *both("", NO_TERMS, "license"),
    ],
)
def test_what_a_sentence_claims(kind: str, text: str, expected: bool) -> None:  # noqa: FBT001
    assert bool(said(text, kind)) is expected


@pytest.mark.parametrize("line", lines(BASES))
def test_the_base_that_a_sentence_names(line: str) -> None:
    text, _, value = line.partition(" => ")
    assert said(text, "base-model") == [value]


@pytest.mark.parametrize("line", lines(TERMS))
def test_the_terms_that_a_sentence_states_and_of_what(line: str) -> None:
    text, _, wanted = line.partition(" => ")
    found = [c for c in claims_in_prose(text, path="README.md", own_names=OWN) if c.kind == "license"]
    assert [f"{claim.value} {claim.subject}" for claim in found] == [wanted]


@pytest.mark.parametrize(
    ("text", "relation"),
    [
        ("A merge of Llama-2-7b and others.", "merge"),
        ("Quantized version of Llama-2-7b", "quantized"),
        ("A LoRA adapter for Llama-2-13b-hf.", "adapter"),
        ("Continued pretraining from Code Llama 34B.", "continued pretraining"),
        ("Fine-tuned from Llama 2.", "finetune"),
    ],
)
def test_the_relation_that_a_sentence_names(text: str, relation: str) -> None:
    assert said(text, "relation") == [relation]


@pytest.mark.parametrize(
    "text",
    [
        "This model is not based on Llama 2.",
        "It isn't fine-tuned from Llama.",
        "It was never derived from any other model.",
    ],
)
def test_denials_of_descent(text: str) -> None:
    assert said(text, "not-derived")
    assert not said("This code is not based on that paper.", "not-derived")


def test_a_claim_knows_its_line_and_its_sentence() -> None:
    body = "# T\n\nSome words\nthat wrap. This model is\n**open source**, says\nthe page.\n"
    (claim,) = [c for c in claims_in_prose(body, path="README.md", first_line=10) if c.kind == "open-source"]
    assert (claim.where.path, claim.where.line, claim.where.key) == ("README.md", 13, None)
    assert claim.quote == "This model is open source, says the page."
    assert claim.in_prose


def test_the_title_names_the_model() -> None:
    assert said("# Falcon-like\n\nFalcon-like is open source.\n", "name") == ["Falcon-like"]
    assert said("Falcon-like\n===\n\nFalcon-like is an open-source model.\n", "open-source")


def test_code_citations_and_wide_tables_are_no_prose() -> None:
    body = (
        "```python\n# This model is open source.\n```\n\n@misc{x,\n  title = {This model is open source.},\n}\n\n"
        "| model | license | note |\n|---|---|---|\n| A | MIT | This model is open source. |\n\n"
        "<pre>\nThis model is open source.\n</pre>\n<script>This model is open source.</script>\n"
    )
    assert claims_in_prose(body, path="README.md") == ()


def test_a_quoted_claim_repeats_no_token() -> None:
    token = "hf_" + "x" * 34
    (claim,) = claims_in_prose(f"This model is open source with {token}.", path="README.md")
    assert token not in repr(claim)


def test_sections_headings_and_links_are_kept() -> None:
    page = read_markdown("# A\ntext [b](https://c.example) and <https://d.example>.\n## E\n- item one\n- item two\n")
    assert [(s.text, s.line, s.level, s.section) for s in page.sentences] == [
        ("A", 1, 1, ""),
        ("text b and link.", 2, 0, "a"),
        ("E", 3, 2, "a"),
        ("item one", 4, 0, "e"),
        ("item two", 5, 0, "e"),
    ]
    links = page.sentences[1].links
    assert [(link.url, page.sentences[1].text[link.start :][: len(link.text)]) for link in links] == [
        ("https://c.example", "b"),
        ("https://d.example", "link"),
    ]


def test_fenced_code_keeps_its_place() -> None:
    page = read_markdown("a\n\n```yaml\nmerge_method: ties\n```\nb\n~~~\nopen to the end", first_line=5)
    assert [tuple(block) for block in page.code] == [
        ("yaml", "merge_method: ties", 8),
        ("", "open to the end", 12),
    ]


def test_a_claim_at_the_end_of_a_paragraph_without_stops_is_found() -> None:
    assert said("word " * 5000 + "and so our model is open source", "open-source")


@given(st.text(max_size=200) | st.text(alphabet="open source model[](){}<>`*_~|#-\n!&;:.@=/ ", max_size=200))
def test_any_text_is_read(body: str) -> None:
    count = body.count("\n") + 1
    page = read_markdown(body)
    assert all(1 <= sentence.line <= count and sentence.text for sentence in page.sentences)
    for claim in claims_in_prose(body, path="README.md"):
        assert claim.where.line is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    [
        *(
            "we ",
            "open source ",
            "llama 2 ",
            "is a ",
            "model, ",
            "under the ",
            "fine-tuned from ",
            "trained from scratch ",
        ),
        *(
            "generated by ",
            "official llama ",
            "licensed under mit ",
            "apache licen",
            "cc-by-",
            "gpl ",
            "\u0430",
            "&amp;",
        ),
        *(
            "[a](aaaa ",
            "<a href='x",
            "![a](",
            "<!--",
            "<pre>",
            "```\n",
            "@a{\n",
            "a\n-\n",
            "| ",
            "> ",
            "~~a",
            "1. ",
        ),
        *("a. A", "[", "(", "*", "http://a"),
    ],
)
def test_hostile_pages_stay_within_five_seconds(piece: str) -> None:
    start = time.process_time()
    claims_in_prose(piece * (LIMITS.prose_chars // len(piece) // 2), path="README.md")
    assert time.process_time() - start < 5
