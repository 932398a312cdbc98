"""Names: what reads as Llama or Meta, what only sounds like it, and what nobody may demand."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.compliance.claims.confusables import fold
from auditor.compliance.claims.families import LLAMA2_TERMS, family_of
from auditor.compliance.claims.naming import check_name, check_org, llama_mentions


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("llama-2", "llama2"),
        ("llama2", "llama2"),
        ("Llama_2", "llama2"),
        ("LLaMA 2", "llama2"),
        ("Llama v2", "llama2"),
        ("Llama-2-7b-hf", "llama2"),
        ("llama2-13b", "llama2"),
        ("chinese-llama-2-7b", "llama2"),
        ("MetaLlama2", "llama2"),
        ("Llama 2.", "llama2"),
        ("llama-7b", "llama"),
        ("llama-13b", "llama"),
        ("Llama-2b", "llama"),
        ("llama-30b", "llama"),
        ("Sheared-LLaMA-1.3B", "llama"),
        ("Sheared-LLaMA-2.7B", "llama"),
        ("llama_v1", "llama1"),
        ("Llama-3-8B", "llama3"),
        ("Meta-Llama-3-8B", "llama3"),
        ("llama-3.1-8b", "llama3.1"),
        ("llama-3-1-8b", "llama3.1"),
        ("Llama-3.2-1B", "llama3.2"),
        ("Llama 3.3 70B", "llama3.3"),
        ("Llama 4 Scout", "llama4"),
        ("CodeLlama-7b-hf", "codellama"),
        ("Code Llama 70B", "codellama"),
        ("code_llama", "codellama"),
        ("LicenseRef-scancode-llama-2-license-2023", "llama2"),
    ],
)
def test_versions_are_told_from_sizes(text: str, family: str) -> None:
    assert [mention.family for mention in llama_mentions(text)] == [family]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "ollama",
            "Ollama models",
            "llama.cpp",
            "llamacpp",
            "llama-cpp-python",
            "GGUF for llama.cpp",
            "llamafile",
        ),
        *("LlamaIndex", "llama-index", "LLaMA-Factory", "llama-recipes", "llama2.c", "llama2.rs", "llama-stack"),
        *("alpaca", "Dalai Lama", "LIAMA", "villarna", "small ama", "amall", ""),
    ],
)
def test_programs_and_near_words_are_no_mention(text: str) -> None:
    assert llama_mentions(text) == ()


@pytest.mark.parametrize("text", ["Llama tokenizer", "Llama 2 tokenizer", "llama-style", "Llama-2 prompt format"])
def test_parts_are_marked_as_parts(text: str) -> None:
    assert [mention.of_part for mention in llama_mentions(text)] in ([True], [True, True])


@pytest.mark.parametrize(
    ("text", "project"),
    [
        ("VideoLLaMA2", "video"),
        ("Video-LLaMA-2", "video"),
        ("TinyLlama-1.1B", "tiny"),
        ("open_llama_7b_v2", "open"),
    ],
)
def test_another_projects_number_is_no_llama_version(text: str, project: str) -> None:
    (mention,) = llama_mentions(text)
    assert (mention.family, mention.project) == ("llama", project)


@pytest.mark.parametrize(
    "text",
    [
        "ll4ma-2",
        "l1ama-2",
        "Ilama-2",
        "Ll\u0430ma-2",  # Cyrillic a
        "\u04cflama-2",  # palochka
        "Llam\u0251 2",  # Latin alpha
        "\uff2c\uff4c\uff41\uff2d\uff21-2",  # fullwidth
        "\U0001d40b\U0001d425\U0001d41a\U0001d426\U0001d41a 2",  # mathematical bold
        "\U0001f17b\U0001f17b\U0001f170\U0001f17c\U0001f170 2",  # squared
        "l\u200blama2",  # zero width space
        "ll\u00e5ma-2",
        "llarna-2",
    ],
)
def test_disguises_are_seen_through(text: str) -> None:
    (mention,) = llama_mentions(text)
    assert mention.family == "llama2"
    assert mention.disguised
    assert not llama_mentions("Llama-2")[0].disguised


def test_a_mention_points_into_the_text_as_it_was_written() -> None:
    text = "\u202ean L\u200blama-2 tune, and \ufb01nally Llama 3"
    for mention in llama_mentions(text):
        assert text[mention.start : mention.stop] == mention.text
    assert [mention.family for mention in llama_mentions(text)] == ["llama2", "llama3"]


@pytest.mark.parametrize("org", ["meta-llama", "Meta-Llama", "facebook", "codellama"])
def test_metas_own_accounts(org: str) -> None:
    assert check_org(org).kind == "official"


@pytest.mark.parametrize(
    "org",
    [
        *(
            "meta-Ilama",
            "metallama",
            "meta_llama",
            "meta.llama",
            "meta-ai",
            "MetaAI",
            "meta-llama-official",
            "llama-meta",
        ),
        *(
            "faceb00k",
            "facebook-ai",
            "facebok",
            "faecbook",
            "the-facebook",
            "metta-llama",
            "meta-platforms",
            "meta",
        ),
        *("m\u0435ta-llama", "meta-ll\u0430ma", "meta\u2010llama", "code-llama"),
    ],
)
def test_look_alikes_of_metas_accounts(org: str) -> None:
    found = check_org(org)
    assert found.kind == "lookalike"
    assert found.reason


@pytest.mark.parametrize(
    "org",
    [
        "meta-math",
        "metavoiceio",
        "MetaGPT",
        "NousResearch",
        "TheBloke",
        "openlm-research",
        "TinyLlama",
        "llama-moe",
        "",
    ],
)
def test_other_accounts_are_left_alone(org: str) -> None:
    assert check_org(org).kind == "other"


@pytest.mark.parametrize(
    "name",
    [
        *("Official-Llama-2", "llama-2-official", "Llama-2-7B-verified", "Llama-2-by-Meta", "Meta's Llama 2"),
        *("0fficial llama 2", "off\u0456cial-llama-2", "Llama 2 by M3ta"),
    ],
)
def test_names_that_imply_metas_approval(name: str) -> None:
    assert check_name(name).endorsement


@pytest.mark.parametrize(
    "name",
    [
        *(
            "unofficial-llama2",
            "Non-Official Llama 2",
            "Llama-2-7b-chat",
            "my-llama-2-tune",
            "Meta-Llama-3-8B-GGUF",
        ),
        *("Fine-tune of Meta's Llama 2", "MyModel-official", "officially-great", "metamath-7b"),
    ],
)
def test_describing_is_not_endorsing(name: str) -> None:
    assert check_name(name).endorsement is None


@pytest.mark.parametrize("name", ["assistant-7b", "Vicuna-7B-v1.5", "orca-2"])
def test_no_prefix_and_no_built_with_is_ever_asked_for(name: str) -> None:
    found = check_name(name)
    assert (found.mentions, found.endorsement, found.deceptive) == ((), None, False)


@pytest.mark.parametrize(
    ("name", "deceptive"),
    [
        ("m\u0430gic", True),
        ("gpt\u200b2", True),
        ("ll4ma", True),
        ("\u0421\u0430\u0439\u0433\u0430-7b", False),  # wholly Cyrillic
        ("Z\u00fcrich", False),
        ("Saiga \u2013 chat", False),
        ("\U0001f468\u200d\U0001f4bb Coder", False),  # a joined emoji
        ("\u30eb\u30ca", False),
        ("\uff26ULL", False),
    ],
)
def test_mixed_scripts_deceive_and_other_scripts_do_not(name: str, deceptive: bool) -> None:  # noqa: FBT001
    assert check_name(name).deceptive is deceptive


@pytest.mark.parametrize(
    ("base", "family"),
    [
        ("meta-llama/Llama-2-7b-hf", "llama2"),
        ("https://huggingface.co/NousResearch/Llama-2-7b-hf", "llama2"),
        ("Llama 2", "llama2"),
        ("lmsys/vicuna-7b-v1.5", "llama2"),
        ("LMSYS/Vicuna-7B-v1.5", "llama2"),
        ("TheBloke/airoboros-l2-13b-GGUF", "llama2"),
        ("codellama/CodeLlama-7b-hf", "codellama"),
        ("EleutherAI/llemma_7b", "codellama"),
        ("lmsys/vicuna-7b-v1.3", "llama1"),
        ("meta-llama/Meta-Llama-3-8B", "llama3"),
        ("meta-llama/Llama-3.2-1B", "llama3.2"),
        ("huggyllama/llama-7b", "llama1"),
        ("someone/llama-thing", "llama"),
        ("openlm-research/open_llama_7b_v2", "other"),
        ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", "other"),
        ("mistralai/Mistral-7B-v0.1", "other"),
        ("mosaicml/mpt-7b", "other"),
        ("HuggingFaceTB/SmolLM2-135M", "other"),
        ("ibm-granite/granite-7b-base", "other"),
        ("someone/thing-7b", "unknown"),
        ("../../llama-2-7b", "llama2"),
        ("", "unknown"),
    ],
)
def test_the_family_that_a_base_is_named_after(base: str, family: str) -> None:
    assert family_of(base) == family


def test_code_llama_is_under_llama_2s_terms() -> None:
    assert family_of("codellama/CodeLlama-7b-hf") in LLAMA2_TERMS
    assert family_of("meta-llama/Meta-Llama-3-8B") not in LLAMA2_TERMS


@pytest.mark.slow
@given(st.text(max_size=60))
def test_any_text_folds_to_aligned_views(text: str) -> None:
    folded = fold(text)
    assert len(folded.text) == len(folded.skeleton) == len(folded.origin)
    assert all(0 <= index < len(text) for index in folded.origin)
    for mention in llama_mentions(text):
        assert text[mention.start : mention.stop] == mention.text
    check_name(text)
    check_org(text)
    family_of(text)


@pytest.mark.slow
def test_long_names_take_no_time() -> None:
    start = time.monotonic()
    for text in ("llama" * 100_000, "ll\u0430ma" * 20_000, "code " * 100_000, "meta" * 100_000, "-" * 500_000):
        llama_mentions(text)
        check_name(text)
        check_org(text)
        family_of(text)
    assert time.monotonic() - start < 5
