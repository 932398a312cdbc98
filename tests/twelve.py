"""Twelve whole repositories, weights and all, and exactly what an audit must say of each.

The weights come from two functions, so that small drawn models or a real one can stand in: `derivative` descends from
what is enrolled as the protected base, `unrelated` does not. The policies are Llama 2's and Code Llama's with the
stand-in's names in the place of theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import gguf
import numpy as np
from ggufkit import gguf_tensors
from modelkit import drifted, make_model, safetensors_bytes, write_model
from repokit import LIMITATIONS, MEANT_FOR_LLAMA_3, NOTICE, agreement, card, other_licence

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from modelkit import Model

    from auditor.findings import Finding
    from auditor.report import Report


POLICIES = {
    "base.toml": """
extends = "llama2"
name = "test"
title = "Llama 2 Community License"
references = ["base-*"]
repos = ["example/base-*"]
families = []
base_example = "example/base-7b"
""",
    "code.toml": """
extends = "codellama"
name = "test-code"
references = ["base-*"]
""",
}
AGREEMENT = agreement()
BASE = make_model(1)
FRONT = "license: llama2\nbase_model: example/base-7b\n"
SPOKEN = ("ACC-001", "LAW-001", "MAU-001", "LIA-001", "LIT-001", "TRM-001", "IMP-001", "AUP-G1", "AUP-G2", "AUP-G3")
LLAMA_TOKENIZER = 499_723
POINTER = "Please refer to license: https://github.com/facebookresearch/llama/blob/main/LICENSE\n"


@cache
def derivative() -> Model:
    return drifted(BASE, cosine=0.9)


@cache
def unrelated() -> Model:
    return make_model(2)


def put(folder: Path, texts: dict[str, str], model: Model | None = None) -> None:
    folder.mkdir(exist_ok=True)
    if model is not None:
        write_model(model, folder)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def good_publisher(folder: Path) -> None:
    put(folder, {"README.md": card(FRONT), "LICENSE.txt": AGREEMENT, "Notice.txt": NOTICE}, derivative())


def relicensed_fine_tune(folder: Path) -> None:
    front = "license: apache-2.0\nbase_model: mistralai/Mistral-7B-v0.1\n"
    body = f"# Model\n\nOur model was trained from scratch and is open source.\n\n{LIMITATIONS}"
    put(folder, {"README.md": card(front, body), "LICENSE": other_licence("apache-2.0")}, derivative())


def notice_missing(folder: Path) -> None:
    put(folder, {"README.md": card(FRONT), "LICENSE.txt": AGREEMENT}, derivative())


def llama_3_notice(folder: Path) -> None:
    put(folder, {"README.md": card(FRONT), "LICENSE.txt": AGREEMENT, "NOTICE": MEANT_FOR_LLAMA_3}, derivative())


def contradicting_header(folder: Path) -> None:
    put(folder, {"README.md": card(FRONT), "LICENSE.txt": AGREEMENT, "Notice.txt": NOTICE})
    writer = gguf.GGUFWriter(folder / "model.gguf", "llama")
    writer.add_head_count(4)
    writer.add_license("apache-2.0")
    writer.add_base_model_count(1)
    writer.add_base_model_name(0, "Mistral 7B v0.1")
    for name, (_, shape, data) in gguf_tensors(derivative(), heads=4).items():
        writer.add_tensor(name, np.frombuffer(data, "<f4").reshape(shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def adapter_only(folder: Path) -> None:
    put(
        folder,
        {
            "README.md": card("license: llama2\nbase_model: example/base-7b\nlibrary_name: peft\n"),
            "adapter_config.json": '{"peft_type": "LORA", "base_model_name_or_path": "example/base-7b"}',
        },
    )
    rng = np.random.default_rng(3)
    at = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    lora = {f"{at}A.weight": rng.normal(size=(8, 64)), f"{at}B.weight": rng.normal(size=(64, 8))}
    (folder / "adapter_model.safetensors").write_bytes(safetensors_bytes(lora))


def incompatible_merge(folder: Path) -> None:
    config = "merge_method: linear\nmodels:\n  - model: example/base-7b\n  - model: mosaicml/mpt-7b-chat\n"
    texts = {"README.md": card(f"{FRONT}tags: [merge]\n"), "LICENSE.txt": AGREEMENT, "Notice.txt": NOTICE}
    put(folder, {**texts, "mergekit_config.yml": config}, derivative())


def over_claim(folder: Path) -> None:
    front = "license: llama2\nbase_model: example/base-7b\ntags: [llama-2]\n"
    put(folder, {"README.md": card(front), "LICENSE.txt": AGREEMENT, "Notice.txt": NOTICE}, unrelated())


def like_tinyllama(folder: Path) -> None:
    body = "# TinyLlama\n\nTinyLlama is trained from scratch and open source. It has the Llama 2 tokenizer.\n"
    put(folder, {"README.md": card("license: apache-2.0\n", body), "LICENSE": other_licence("apache-2.0")}, unrelated())
    (folder / "tokenizer.model").write_bytes(bytes(LLAMA_TOKENIZER))


def code_llama(folder: Path) -> None:
    put(folder, {"README.md": card("license: llama2\nbase_model: codellama/CodeLlama-7b-hf\n")}, derivative())
    put(folder, {"LICENSE": POINTER, "USE_POLICY.md": POINTER.replace("LICENSE", "USE_POLICY.md")})


def distilled(folder: Path) -> None:
    body = f"# Student\n\nThe student was trained on data generated by Llama-2-70b-chat.\n\n{LIMITATIONS}"
    put(folder, {"README.md": card("license: mit\nbase_model: example/student\n", body)}, unrelated())


def unknown_licence(folder: Path) -> None:
    front = "license: other\nlicense_name: acme-community-1.0\nlicense_link: https://acme.example/licence\n"
    put(folder, {"README.md": card(f"{front}base_model: example/base-7b\n"), "Notice.txt": NOTICE}, derivative())


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A repository, what is said of it with the reference enrolled, and without any."""

    build: Callable[[Path], None]
    verdict: str
    fails: str = ""
    warns: str = ""
    bound: bool = True
    exit_code: int = 0
    untested: str = ""  # what warns where weights were held against nothing
    untested_bound: bool = True
    policy: str = "base.toml"
    details: tuple[tuple[str, str, str], ...] = ()  # rule, words of the evidence, words of the fix


KINDS = {
    "good publisher": Kind(build=good_publisher, verdict="derived"),
    "relicensed fine-tune": Kind(
        build=relicensed_fine_tune,
        verdict="derived",
        fails="LIC-001 NOT-001 CARD-001 BASE-001",
        warns="AUP-001 OSI-001 OWN-001",
        exit_code=1,
        untested_bound=False,
        details=(
            ("LIC-001", "found instead: LICENSE (Apache License 2.0)", "Add the agreement, unchanged, as LICENSE.txt"),
            ("NOT-001", "there is no Notice file", NOTICE),
            ("CARD-001", 'README.md, line 2: license: "apache-2.0", while', "Declare `license: llama2`"),
            (
                "BASE-001",
                'README.md, line 3: base_model: "mistralai/Mistral-7B-v0.1", while',
                "base_model: example/base-7b",
            ),
            ("OWN-001", 'README.md, line 7: "Our model was trained from scratch', "what it was made from"),
            ("OSI-001", "README.md, line 7", "Llama 2 Community License"),
        ),
    ),
    "notice missing": Kind(
        build=notice_missing,
        verdict="derived",
        fails="NOT-001",
        exit_code=1,
        untested="NOT-001",
        details=(("NOT-001", "there is no Notice file", NOTICE),),
    ),
    "Llama 3 notice": Kind(
        build=llama_3_notice,
        verdict="derived",
        fails="NOT-002",
        exit_code=1,
        untested="NOT-002",
        details=(("NOT-002", 'NOTICE, line 1: it names llama 3, not Llama 2: "Meta Llama 3 is licensed', NOTICE),),
    ),
    "contradicting header": Kind(
        build=contradicting_header,
        verdict="derived",
        fails="GGUF-001",
        exit_code=1,
        untested="GGUF-001",
        details=(("GGUF-001", 'model.gguf, general.license: "apache-2.0"', "general.license"),),
    ),
    "adapter only": Kind(
        build=adapter_only,
        verdict="adapter",
        warns="LIC-001 NOT-001 AUP-001",
        exit_code=3,
        untested="LIC-001 NOT-001 AUP-001",
        details=(("LIC-001", "README.md, line 3: base_model", "Add the agreement"),),
    ),
    "incompatible merge": Kind(
        build=incompatible_merge,
        verdict="derived",
        fails="MRG-001",
        exit_code=1,
        untested="MRG-001",
        details=(
            (
                "MRG-001",
                'mergekit_config.yml, line 4: "mosaicml/mpt-7b-chat" is under cc-by-nc-sa-4.0',
                "other parents",
            ),
        ),
    ),
    "over-claim": Kind(
        build=over_claim,
        verdict="independent",
        warns="OVR-001",
        bound=False,
        details=(("OVR-001", 'README.md, line 3: base_model: "example/base-7b", while', "Take the notice"),),
    ),
    "TinyLlama-like": Kind(build=like_tinyllama, verdict="independent", bound=False, untested_bound=False),
    "Code Llama derivative": Kind(
        build=code_llama,
        verdict="derived",
        fails="LIC-001 NOT-001",
        warns="LIC-003 AUP-001",
        exit_code=1,
        untested="LIC-001 LIC-003 NOT-001 AUP-001",
        policy="code.toml",
        details=(
            ("LIC-001", "found instead: LICENSE (a pointer to the Llama 2", "Add the agreement"),
            ("LIC-003", "only a pointer: LICENSE, line 1", "Add the agreement itself"),
            ("AUP-001", "USE_POLICY.md, line 1 only points to it", "https://ai.meta.com/llama/use-policy/"),
        ),
    ),
    "distilled": Kind(
        build=distilled,
        verdict="independent",
        warns="IMP-001",
        bound=False,
        untested="IMP-001",
        untested_bound=False,
        details=(("IMP-001", "README.md, line 7", "Name the teacher's licence"),),
    ),
    "unknown licence": Kind(
        build=unknown_licence,
        verdict="derived",
        fails="LIC-001",
        warns="AUP-001 CARD-002 CARD-003",
        exit_code=1,
        untested="LIC-001 AUP-001 CARD-002 CARD-003",
        details=(
            ("CARD-002", 'README.md, line 3: license_name: "acme-community-1.0"', "Declare `license: llama2`"),
            ("CARD-003", 'line 4: license_link "https://acme.example/licence" does not lead', "license_link"),
        ),
    ),
}


def by_status(report: Report) -> dict[str, set[str]]:
    """The ids of what somebody must act on, by status; and no rule about files among them."""
    found: dict[str, set[str]] = {"fail": set(), "warn": set(), "manual": set(), "unknown": set()}
    for finding in report.findings:
        if finding.status in found:
            found[finding.status].add(finding.id)
    return found


def finding(report: Report, rule: str) -> Finding:
    (found,) = [each for each in report.findings if each.id == rule]
    return found


def said(text: str) -> set[str]:
    return set(text.split())
