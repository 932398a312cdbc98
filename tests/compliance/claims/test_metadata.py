"""Configs, merge configs and GGUF headers: what they say, and every way of saying it wrong."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.compliance.claims.mergekit import MergeConfig, parse_mergekit
from auditor.compliance.claims.metadata import (
    AdapterConfig,
    GgufMetadata,
    ModelConfig,
    parse_adapter_config,
    parse_config,
    parse_gguf_metadata,
)
from auditor.compliance.claims.values import PROBLEMS
from auditor.limits import LIMITS


def config(text: str) -> ModelConfig:
    return parse_config(text.encode(), file="config.json")


def codes(parsed: ModelConfig | AdapterConfig | GgufMetadata | MergeConfig) -> set[str]:
    return {problem.code for problem in parsed.problems}


# config.json -----------------------------------------------------------------------------------------------------


def test_a_config_says_where_it_was_loaded_from() -> None:
    parsed = config(
        """{"_name_or_path": "meta-llama/Llama-2-7b-hf", "model_type": "llama",
            "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 32, "num_key_value_heads": null,
            "quantization_config": {"quant_method": "gptq", "model_name_or_path": "TheBloke/Llama-2-7B-GPTQ"}}"""
    )
    assert parsed.problems == ()
    assert parsed.readable
    assert [(value.text, value.key) for value in parsed.bases] == [("meta-llama/Llama-2-7b-hf", "_name_or_path")]
    assert parsed.model_type is not None
    assert parsed.model_type.text == "llama"
    assert [value.text for value in parsed.architectures] == ["LlamaForCausalLM"]
    assert parsed.quant_method is not None
    assert parsed.quant_method.text == "gptq"
    assert [value.text for value in parsed.quant_bases] == ["TheBloke/Llama-2-7B-GPTQ"]


def test_the_language_model_inside_a_multimodal_config_is_read() -> None:
    parsed = config('{"_name_or_path": "x/llava", "text_config": {"_name_or_path": "lmsys/vicuna-7b-v1.5"}}')
    assert [value.key for value in parsed.bases] == ["_name_or_path", "text_config._name_or_path"]


def test_remote_code_is_named_and_never_imported() -> None:
    parsed = config('{"auto_map": {"AutoModel": "modeling_x.X", "AutoTokenizer": ["evil/repo--tok.T", null]}}')
    assert [value.text for value in parsed.auto_map] == ["modeling_x.X", "evil/repo--tok.T"]
    assert codes(parsed) == {"auto-map"}


UNREADABLE = {
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "list": b"[1, 2]",
    "null": b"null",
    "huge int": b'{"num_hidden_layers": ' + b"9" * 5000 + b"}",
    "infinity": b'{"x": Infinity}',
    "overflowing float": b'{"x": 1e999}',
    "nan": b'{"x": NaN}',
    "duplicate key": b'{"model_type": "llama", "model_type": "gpt2"}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "utf-16": '{"model_type": "llama"}'.encode("utf-16"),
    "bad utf-8": b'{"model_type": "ll\xffma"}',
    "lone surrogate": b'{"model_type": "\\ud800"}',
    "empty": b"",
    "cut": b'{"model_type": "lla',
    "trailing": b"{} {}",
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_an_unreadable_config_is_a_value_with_a_reason(case: str) -> None:
    start = time.monotonic()
    for parsed in (
        parse_config(UNREADABLE[case], file="config.json"),
        parse_adapter_config(UNREADABLE[case], file="adapter_config.json"),
    ):
        assert not parsed.readable
        assert codes(parsed) <= {"unreadable", "not-a-mapping"}
        assert parsed.problems
    assert time.monotonic() - start < 5


def test_an_over_long_config_is_not_read() -> None:
    parsed = parse_config(b" " * (LIMITS.config_bytes + 1), file="config.json")
    assert codes(parsed) == {"too-large"}
    assert not parsed.readable


WRONG = {
    "types": (
        """{"_name_or_path": 1, "model_type": [], "architectures": {"a": 1}, "auto_map": 3,
            "quantization_config": "x", "num_hidden_layers": "32", "hidden_size": true}""",
        "wrong-type",
    ),
    "float layers": ('{"num_hidden_layers": 32.0}', "wrong-type"),
    "huge layers": ('{"num_hidden_layers": 1000000000}', "out-of-range"),
    "negative layers": ('{"num_hidden_layers": -1}', "out-of-range"),
    "zero heads": ('{"num_attention_heads": 0}', "out-of-range"),
    "zero heads inside": ('{"text_config": {"num_key_value_heads": 0}}', "out-of-range"),
    "huge vocabulary": ('{"vocab_size": 9999999999999999999999}', "out-of-range"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_value_is_a_problem_that_names_its_key(case: str) -> None:
    text, code = WRONG[case]
    parsed = config(text)
    assert codes(parsed) <= set(PROBLEMS)
    assert codes(parsed) == {code}
    assert all(problem.key for problem in parsed.problems)
    assert parsed.readable


@pytest.mark.parametrize(
    "text",
    [
        '{"num_hidden_layers": 80, "num_attention_heads": 64, "vocab_size": 32000, "hidden_size": 8192}',
        '{"intermediate_size": [1, 2]}',
        '{"model_type": null, "architectures": null, "auto_map": null}',
        '{"_name_or_path": ""}',
        "{}",
    ],
)
def test_the_benign_twins_have_no_problem(text: str) -> None:
    assert config(text).problems == ()


# adapter_config.json ---------------------------------------------------------------------------------------------


def test_an_adapter_names_its_base() -> None:
    parsed = parse_adapter_config(
        b'{"base_model_name_or_path": "meta-llama/Llama-2-7b-hf", "peft_type": "LORA", "revision": null}',
        file="adapter_config.json",
    )
    assert parsed.problems == ()
    assert parsed.base is not None
    assert parsed.base.text == "meta-llama/Llama-2-7b-hf"
    assert parsed.peft_type is not None
    assert parsed.revision is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"peft_type": "LORA"}', "empty-value"),
        ('{"base_model_name_or_path": null}', "empty-value"),
        ('{"base_model_name_or_path": ["a"]}', "wrong-type"),
    ],
)
def test_an_adapter_without_a_base_is_a_problem(text: str, code: str) -> None:
    parsed = parse_adapter_config(text.encode(), file="adapter_config.json")
    assert parsed.base is None
    assert codes(parsed) == {code}


# mergekit --------------------------------------------------------------------------------------------------------

MERGE = """models:
  - model: meta-llama/Llama-2-7b-hf
    # the base needs no parameters
  - model: mosaicml/mpt-7b-chat+someone/lora
    parameters:
      density: 0.5
      weight: 0.3
  - model: {model: {path: a/b, revision: main}}
    parameters: {weight: [0, 0.5, 1]}
merge_method: ties
base_model: meta-llama/Llama-2-7b-hf
tokenizer_source: union
"""


def test_a_merge_config_lists_its_parents_with_weights_and_lines() -> None:
    parsed = parse_mergekit(MERGE.encode(), file="mergekit_config.yml", first_line=10)
    assert parsed.problems == ()
    assert parsed.complete
    assert [(m.text, m.line) for m in parsed.methods] == [("ties", 19)]
    assert [(p.model.text, p.role, p.weight, p.model.line) for p in parsed.parents] == [
        ("meta-llama/Llama-2-7b-hf", "base", None, 20),
        ("meta-llama/Llama-2-7b-hf", "model", None, 11),
        ("mosaicml/mpt-7b-chat", "model", 0.3, 13),
        ("someone/lora", "lora", None, 13),
        ("a/b", "model", None, 17),
    ]


def test_slices_modules_experts_and_chains_of_merges_are_read() -> None:
    text = (
        "slices:\n- sources:\n  - {model: a/one, layer_range: [0, 16]}\n- sources:\n  - model: a/two\n"
        "merge_method: passthrough\n---\n"
        "base_model: a/three\nexperts:\n- source_model: a/four\n  positive_prompts: [x]\n---\n"
        "modules:\n  text_decoder:\n    slices:\n    - sources: [{model: a/five}]\n---\nmodels: [a/six]\n"
    )
    parsed = parse_mergekit(text.encode(), file="m.yml")
    assert [p.model.text for p in parsed.parents] == ["a/one", "a/two", "a/three", "a/four", "a/five", "a/six"]
    assert parsed.problems == ()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("models: &m [*m]", "alias"),
        ("models:\n- model: !!python/name:os.system ''", "tag"),
        ("models:\n- model: [a, b]", "wrong-type"),
        ("- a\n- b", "not-a-mapping"),
        ("models: [", "yaml-syntax"),
        ("models: " + "[" * 1000, "too-deep"),
        ("a: b\n---\n" * 40, "document-count"),
        ("base_model: a/b\nbase_model: c/d", "duplicate-key"),
    ],
)
def test_a_broken_merge_config_is_a_problem(text: str, code: str) -> None:
    assert code in codes(parse_mergekit(text.encode(), file="m.yml"))


def test_a_parent_that_was_refused_makes_the_config_incomplete() -> None:
    parsed = parse_mergekit(b"x: &a secret/parent\nmodels:\n- model: *a\n- model: b/c\n", file="m.yml")
    assert not parsed.complete
    assert [p.model.text for p in parsed.parents] == ["b/c"]


def test_bytes_that_are_not_utf8_and_over_long_text_are_reported() -> None:
    assert codes(parse_mergekit(b"models: [\xff]", file="m.yml")) == {"not-text"}
    assert "too-large" in codes(parse_mergekit(b"#" * (LIMITS.front_matter + 1), file="m.yml"))


# GGUF ------------------------------------------------------------------------------------------------------------


def test_a_header_says_licence_and_bases() -> None:
    parsed = parse_gguf_metadata(
        {
            "general.name": "Thing",
            "general.license": "apache-2.0",
            "general.license.name": "x",
            "general.license.link": "https://x.example",
            "general.base_model.count": 2,
            "general.base_model.0.name": "Llama 2 7b",
            "general.base_model.0.organization": "Meta",
            "general.base_model.0.repo_url": "https://huggingface.co/meta-llama/Llama-2-7b",
            "general.base_model.1.name": "Other",
            "general.dataset.0.repo_url": "https://huggingface.co/datasets/a/b",
            "general.datasets": ["c/d"],
            "general.tags": ("llama-2",),
            "general.source.url": "https://huggingface.co/x/y",
            "tokenizer.ggml.model": "llama",
        },
        file="x.gguf",
    )
    assert parsed.problems == ()
    assert parsed.license is not None
    assert (parsed.license.text, parsed.license.key) == ("apache-2.0", "general.license")
    assert [base.index for base in parsed.base_models] == [0, 1]
    first = parsed.base_models[0].repo_url
    assert first is not None
    assert first.text == "https://huggingface.co/meta-llama/Llama-2-7b"
    assert [value.text for value in parsed.datasets] == ["c/d", "https://huggingface.co/datasets/a/b"]
    assert [value.text for value in parsed.sources] == ["https://huggingface.co/x/y"]


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({"general.license": 3}, "wrong-type"),
        ({"general.name": b"bytes"}, "wrong-type"),
        ({"general.tags": [1, None, "a"]}, "wrong-type"),
        ({"general.base_model.count": 2**63}, "out-of-range"),
        ({"general.base_model.count": "1"}, "out-of-range"),
        ({"general.base_model.count": True}, "out-of-range"),
        ({"general.base_model.count": 3, "general.base_model.0.name": "a"}, "out-of-range"),
        ({"general.base_model.0.name": "a"}, "out-of-range"),
        ({"general.tags": ["a"] * 5000}, "too-large"),
        ({"general.license": "x" * 5000}, "too-large"),
    ],
)
def test_a_wrong_header_value_is_a_problem(header: dict[str, object], code: str) -> None:
    assert codes(parse_gguf_metadata(header, file="x.gguf")) == {code}


@pytest.mark.parametrize("header", [{}, {"general.architecture": "llama"}, {"general.base_model.count": 0}])
def test_a_header_that_says_nothing_is_no_problem(header: dict[str, object]) -> None:
    assert parse_gguf_metadata(header, file="x.gguf") == GgufMetadata(path="x.gguf")


# laws ------------------------------------------------------------------------------------------------------------

KEYS = st.sampled_from(
    [
        *("_name_or_path", "model_type", "architectures", "auto_map", "quantization_config", "quant_method", "x"),
        *("text_config", "num_hidden_layers", "num_attention_heads", "base_model_name_or_path", "peft_type"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)
GGUF_KEYS = st.sampled_from(
    [
        *(
            "general.name",
            "general.license",
            "general.base_model.count",
            "general.base_model.0.name",
            "general.tags",
        ),
        *(
            "general.base_model.999.repo_url",
            "general.dataset.1.name",
            "general.datasets",
            "general.base_model..name",
        ),
    ]
)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value(data: bytes) -> None:
    assert isinstance(parse_config(data, file="c"), ModelConfig)
    assert isinstance(parse_adapter_config(data, file="a"), AdapterConfig)
    assert isinstance(parse_mergekit(data, file="m"), MergeConfig)


@given(st.dictionaries(KEYS, JSON, max_size=6))
def test_any_json_gives_a_value(root: dict[str, object]) -> None:
    data = json.dumps(root).encode()
    assert isinstance(parse_config(data, file="c"), ModelConfig)
    assert isinstance(parse_adapter_config(data, file="a"), AdapterConfig)
    assert isinstance(parse_mergekit(data, file="m"), MergeConfig)


@given(st.dictionaries(GGUF_KEYS, JSON | st.binary(max_size=4), max_size=6))
def test_any_header_gives_a_value(header: dict[str, object]) -> None:
    assert isinstance(parse_gguf_metadata(header, file="x.gguf"), GgufMetadata)
