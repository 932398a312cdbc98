"""Every rule of the licence audit, on small repositories: each of its statuses, with evidence and a fix."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ggufkit import gguf_bytes
from hypothesis import given, settings
from hypothesis import strategies as st
from repokit import (
    DENIED,
    FRONT,
    LIMITATIONS,
    MEANT_FOR_LLAMA_3,
    NOTICE,
    PROVED,
    UNTESTED,
    acting,
    agreement,
    card,
    findings,
    lineage,
    other_licence,
    situation,
)

from auditor.compliance import RULES, Rule
from auditor.compliance.explain import explain
from auditor.compliance.repository import LegalText
from auditor.compliance.rules import apply
from auditor.compliance.texts.license_hashes import hash_table
from auditor.compliance.texts.license_text import Recognition, Span
from auditor.errors import UsageError
from auditor.findings import FILE_RULES

if TYPE_CHECKING:
    from auditor.compliance import Situation
    from auditor.lineage import Lineage

AGREEMENT = agreement()
APACHE, MIT = other_licence("apache-2.0"), other_licence("mit")
RENAMED = re.sub(r"Llama", "Bear", AGREEMENT.replace("Meta", "Acme"), flags=re.IGNORECASE)
POINTER = "Please refer to license: https://github.com/facebookresearch/llama/blob/main/LICENSE\n"
POLICY_POINTER = POINTER.replace("license:", "acceptable use policy:").replace("LICENSE", "USE_POLICY.md")
GOOD = {"README.md": card(), "LICENSE.txt": AGREEMENT, "Notice.txt": NOTICE + "\n"}
MISTRAL = "license: llama2\nbase_model: mistralai/Mistral-7B-v0.1\n"
TEMPLATE = (
    "## Bias, Risks, and Limitations\n\n<!-- This section is meant to convey both technical and sociotechnical "
    "limitations. -->\n\n[More Information Needed]\n\n### Recommendations\n\nUsers (both direct and downstream) should "
    "be made aware of the risks, biases and limitations of the model. More information needed for further "
    "recommendations.\n"
)
ADAPTER = '{"peft_type": "LORA", "base_model_name_or_path": "meta-llama/Llama-2-7b-hf"}'

IDS = (
    "ACC-001",
    *("LIC-001", "LIC-002", "LIC-003", "LIC-004", "LIC-005"),
    *("NOT-001", "NOT-002"),
    *("AUP-001", "AUP-002", "LAW-001"),
    "IMP-001",
    "MAU-001",
    *("WAR-001", "LIA-001"),
    *("NAME-001", "NAME-002"),
    "OWN-001",
    "LIT-001",
    "TRM-001",
    *("AUP-G1", "AUP-G2", "AUP-G3", "AUP-G4"),
    "OSI-001",
    "ALT-001",
    *("CARD-001", "CARD-002", "CARD-003", "CARD-004", "CARD-005", "CARD-006"),
    "BASE-001",
    "MRG-001",
    "ADP-001",
    "OVR-001",
    "CMP-001",
    "TOK-001",
    "GGUF-001",
)
"""The table of clauses and checks, row by row."""

PERSONS = ("ACC-001", "LAW-001", "MAU-001", "LIA-001", "LIT-001", "TRM-001")

STATUSES = {
    **dict.fromkeys(PERSONS, "manual n/a"),
    "LIC-001": "pass fail warn unknown n/a",
    "LIC-002": "pass fail warn n/a",
    "LIC-003": "pass warn n/a",
    "LIC-004": "pass fail warn n/a",
    "LIC-005": "pass warn n/a",
    "NOT-001": "pass fail warn unknown n/a",
    "NOT-002": "pass fail warn n/a",
    "AUP-001": "pass warn n/a",
    "AUP-002": "pass warn n/a",
    "IMP-001": "warn manual n/a",
    "WAR-001": "pass warn n/a",
    "NAME-001": "pass fail warn",
    "NAME-002": "pass warn n/a",
    "OWN-001": "pass warn n/a",
    "AUP-G1": "warn manual n/a",
    "AUP-G2": "warn manual n/a",
    "AUP-G3": "warn manual n/a",
    "AUP-G4": "pass fail warn unknown n/a",
    "OSI-001": "pass fail warn n/a",
    "ALT-001": "pass fail warn n/a",
    "CARD-001": "pass fail warn unknown n/a",
    "CARD-002": "pass warn n/a",
    "CARD-003": "pass warn n/a",
    "CARD-004": "pass warn unknown n/a",
    "CARD-005": "pass fail warn unknown n/a",
    "CARD-006": "pass warn n/a",
    "BASE-001": "pass fail warn unknown n/a",
    "MRG-001": "pass fail warn unknown n/a",
    "ADP-001": "pass warn n/a",
    "OVR-001": "pass warn n/a",
    "CMP-001": "pass warn n/a",
    "TOK-001": "pass n/a",
    "GGUF-001": "pass fail warn n/a",
}
"""What each rule can say; the cases below make it say each of them."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A repository, and what one rule says of it."""

    rule: str
    status: str
    files: dict[str, str | bytes] = field(default_factory=lambda: dict(GOOD))
    shown: Lineage = PROVED
    evidence: tuple[str, ...] = ()
    options: dict[str, object] = field(default_factory=dict)

    def situation(self) -> Situation:
        return situation(self.files, self.shown, **self.options)  # type: ignore[arg-type]


def case(rule: str, status: str, files: dict[str, str | bytes] | None = None, *evidence: str, **more: object) -> Case:
    shown = more.pop("shown", PROVED)
    return Case(
        rule=rule,
        status=status,
        files=dict(GOOD) if files is None else files,
        shown=shown,  # type: ignore[arg-type]
        evidence=evidence,
        options=more,
    )


def good(**changes: str | bytes | None) -> dict[str, str | bytes]:
    """The good repository with its card, licence or notice changed or (None) taken away."""
    files: dict[str, str | bytes | None] = dict(GOOD)
    files |= {{"card": "README.md", "licence": "LICENSE.txt", "notice": "Notice.txt"}[k]: v for k, v in changes.items()}
    return {path: text for path, text in files.items() if text is not None}


def front(text: str) -> dict[str, str | bytes]:
    """A repository that has a card with this metadata, and no more."""
    return {"README.md": card(text)}


def prose(text: str) -> dict[str, str | bytes]:
    """A repository that has a card with these sentences, and no more."""
    return {"README.md": card(body=f"# Model\n\n{text}\n\n{LIMITATIONS}")}


def header(**fields: object) -> bytes:
    names = {"license": "general.license", "base": "general.base_model.0.name", "org": "general.organization"}
    metadata: dict[str, object] = {"general.architecture": "llama"} | {names[k]: v for k, v in fields.items()}
    if "base" in fields:
        metadata["general.base_model.count"] = 1
    return gguf_bytes({}, metadata)


def gguf(data: bytes) -> dict[str, str | bytes]:
    """A repository with this GGUF file and a right card."""
    return {"README.md": card(), "a.gguf": data}


def merged(parent: str) -> dict[str, str | bytes]:
    """A repository of a merge with this parent."""
    config = f"merge_method: ties\nbase_model: meta-llama/Llama-2-7b-hf\nmodels:\n  - model: {parent}\n"
    return {"README.md": card(), "mergekit_config.yml": config}


def bodied(body: str) -> dict[str, str | bytes]:
    """A repository that has a card with this body, and no more."""
    return {"README.md": card(body=body)}


def config(**fields: str) -> str:
    return "{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}"


OTHER = "license: other\nlicense_name: {name}\nlicense_link: {link}\nbase_model: meta-llama/Llama-2-7b-hf\n"
NO_BASE = "license: llama2\n"
UNKNOWN_BASE = "license: apache-2.0\nbase_model: someone/thing-7b\n"
LATER = "## Use\n\nLoad it.\n"
NOT_BOUND = {"README.md": card("license: mit\n")}
PREFACE = "This repository includes a model of another party.\n\n  "
NOT_PUBLISHED = [rule.id for rule in RULES if rule.profiles == ("publisher",)]

CASES = [
    *(case(rule, "manual") for rule in PERSONS),
    *(case(rule, "n/a", NOT_BOUND, shown=UNTESTED) for rule in PERSONS),
    case(
        "ACC-001", "manual", front(f"{FRONT}extra_gated_prompt: Accept the terms\n"), "README.md, line 4: extra_gated"
    ),
    # the copy of the agreement
    case("LIC-001", "pass", None, "LICENSE.txt", "exact"),
    case("LIC-001", "pass", good(licence=None) | {"meta-license/LICENSE.md": AGREEMENT}, "meta-license"),
    case("LIC-001", "pass", good(licence=None) | {"LLAMA 2 LICENSE/terms.txt": AGREEMENT}, "LLAMA 2 LICENSE/terms.txt"),
    case("LIC-001", "pass", good(licence=None) | {"LICENSE.llama2": AGREEMENT}, "LICENSE.llama2"),
    case("LIC-001", "pass", good(licence=APACHE) | {"LICENSE-MODEL": AGREEMENT}, "LICENSE-MODEL"),
    case("LIC-001", "pass", good(licence=None) | {"Llama2 terms.txt": AGREEMENT}, "Llama2 terms.txt"),
    case("LIC-001", "pass", good(licence=None, card=card() + AGREEMENT), "README.md"),
    case(
        "LIC-001",
        "pass",
        good(licence=None, card=card(FRONT + "extra_gated_prompt: |\n" + textwrap.indent(AGREEMENT, "  "))),
        "README.md",
    ),
    case("LIC-001", "pass", good(licence=AGREEMENT.replace("700 million", "7 billion")), "altered"),
    case("LIC-001", "fail", good(licence=None), "no file of the repository holds the Llama 2 Community License"),
    case("LIC-001", "fail", good(licence=APACHE), "found instead: LICENSE.txt (Apache License 2.0)"),
    case("LIC-001", "fail", good(licence=POINTER), "a pointer to the Llama 2"),
    case("LIC-001", "fail", good(licence=RENAMED), "LICENSE.txt has its wording under another licensor's name"),
    case("LIC-001", "warn", good(licence=None), 'README.md, line 3: base_model: "meta-llama', shown=UNTESTED),
    case("LIC-001", "unknown", good(licence=None) | {"LICENSE.pdf": b"%PDF"}, "LICENSE.pdf"),
    case("LIC-001", "unknown", good(licence=b"x" * 5_000_000), "LICENSE.txt"),
    case("LIC-001", "n/a", NOT_BOUND, "nothing says", shown=UNTESTED),
    case("LIC-001", "n/a", good(licence=None), "independent of llama-2-7b", shown=DENIED),
    case("LIC-001", "n/a", good(licence=None), "no duty of a internal", profile="internal"),
    case("LIC-002", "pass"),
    case("LIC-002", "fail", good(licence=AGREEMENT.replace("700 million", "7 billion")), "clause 2 changed", "line 68"),
    case("LIC-002", "fail", good(licence=AGREEMENT[: len(AGREEMENT) // 2]), "LICENSE.txt: truncated"),
    case("LIC-002", "fail", good(licence=RENAMED), 'the wording with "Acme" as licensor'),
    case(
        "LIC-002",
        "fail",
        GOOD | {"COPYING": AGREEMENT.replace("royalty-free", "royalty-bearing")},
        "clause 1.a changed",
    ),
    case("LIC-002", "warn", GOOD | {"LICENSE": RENAMED}, "a whole copy stands in LICENSE.txt"),
    case("LIC-002", "warn", good(card=card() + AGREEMENT[:1500]), "README.md: truncated"),
    case("LIC-002", "warn", good(licence=AGREEMENT.replace("700", "70")), "clause 2", shown=UNTESTED),
    case("LIC-002", "n/a", good(licence=APACHE)),
    case("LIC-003", "pass"),
    case("LIC-003", "warn", good(licence=POINTER), "LICENSE.txt, line 1", "https://github.com/facebookresearch"),
    case(
        "LIC-003",
        "warn",
        good(licence=None, card=card() + "Under the Llama 2 Community License."),
        "README.md, line 10",
    ),
    case(
        "LIC-003",
        "warn",
        good(licence=None, card=card(OTHER.format(name="llama2", link="https://ai.meta.com/llama/license/"))),
        "README.md, line 4: license_link",
    ),
    case("LIC-003", "n/a", good(licence=MIT)),
    case("LIC-003", "n/a", good(licence="See https://llama.meta.com/llama3/license/ for the terms.\n")),
    case("LIC-005", "pass"),
    case(
        "LIC-005", "warn", good(licence=AGREEMENT + "\nYou may not use the model commercially.\n"), "not use the model"
    ),
    case("LIC-005", "n/a", good(licence=None)),
    # the notice
    case("NOT-001", "pass", None, "Notice.txt, line 1"),
    case(
        "NOT-001",
        "pass",
        good(notice=None) | {"notice.txt": PREFACE + "\n  ".join(textwrap.wrap(NOTICE, 30))},
        "line 3",
    ),
    case("NOT-001", "pass", good(notice=None) | {"docs/NOTICES.md": f"> {NOTICE}"}, "docs/NOTICES.md"),
    case("NOT-001", "pass", good(notice=None) | {"notice/llama2.txt": NOTICE}, "notice/llama2.txt"),
    case("NOT-001", "pass", good(notice=MEANT_FOR_LLAMA_3)),
    case("NOT-001", "fail", good(notice=None), "there is no Notice file"),
    case("NOT-001", "fail", good(notice="Thanks to all.\n"), "Notice.txt does not hold the sentence"),
    case(
        "NOT-001",
        "fail",
        good(notice=None, card=card(body=f"# M\n\n{NOTICE}\n{LIMITATIONS}")),
        "only in README.md, line 7",
    ),
    case(
        "NOT-001", "warn", good(notice=None, licence=f"{NOTICE}\n\n{AGREEMENT}"), "LICENSE.txt, line 1, a file that is"
    ),
    case("NOT-001", "warn", good(notice=None) | {"adapter_config.json": ADAPTER}, weights=False),
    case("NOT-001", "unknown", good(notice=b"x" * 5_000_000), "Notice.txt"),
    case("NOT-001", "n/a", good(notice=None), profile="deployer"),
    case("NOT-002", "pass", None, "Notice.txt, line 1"),
    case("NOT-002", "pass", good(notice=NOTICE.replace("(c)", "\u00a9").rstrip(".").lower())),
    case("NOT-002", "pass", GOOD | {"NOTICE.old": MEANT_FOR_LLAMA_3}),
    case("NOT-002", "fail", good(notice=MEANT_FOR_LLAMA_3), "Notice.txt, line 1: it names llama 3, not Llama 2"),
    case("NOT-002", "fail", good(notice=NOTICE.replace("Meta Platforms, Inc.", "Acme Ltd.")), "the holder is Meta"),
    case("NOT-002", "fail", good(notice=NOTICE.replace("Community License", "License")), "the licence asks for"),
    case("NOT-002", "fail", good(notice=MEANT_FOR_LLAMA_3, card=card(body=f"{NOTICE}\n{LIMITATIONS}")), "Notice.txt"),
    case("NOT-002", "warn", good(notice=NOTICE.replace("(c)", "(c) 2023")), "a year was added"),
    case("NOT-002", "warn", good(notice=MEANT_FOR_LLAMA_3) | {"adapter_config.json": ADAPTER}, weights=False),
    case("NOT-002", "n/a", good(notice=None)),
    case("NOT-002", "n/a", prose("The models of this project are licensed under the LLAMA 2 Community License.")),
    case("NOT-002", "n/a", good(notice=None, licence=other_licence("llama-license-2023"))),
    # the use policy
    case("AUP-001", "pass", None, "the agreement in LICENSE.txt refers to it"),
    case("AUP-001", "pass", good(licence=None, card=card() + f"See {POLICY_POINTER}"), "README.md, line 10"),
    case("AUP-001", "warn", good(licence=None), "neither in the repository nor linked"),
    case(
        "AUP-001", "warn", {"README.md": card(), "USE_POLICY.md": POLICY_POINTER}, "USE_POLICY.md, line 1 only points"
    ),
    case("AUP-001", "n/a", good(licence=None), profile="internal"),
    case("AUP-002", "warn", GOOD | {"USE_POLICY.md": "# Acme Acceptable Use Policy\n\nDo no evil.\n"}, "USE_POLICY.md"),
    case("AUP-002", "n/a"),
    case("AUP-002", "n/a", GOOD | {"USE_POLICY.md": POLICY_POINTER}),
    *(case(f"AUP-G{n}", "manual") for n in (1, 2, 3)),
    *(case(f"AUP-G{n}", "n/a", NOT_BOUND, shown=UNTESTED) for n in (1, 2, 3)),
    case("AUP-G1", "warn", prose("This model is designed for writing malware."), "README.md, line 7", "malware"),
    case("AUP-G2", "warn", prose("## Intended uses\n\nTargeting aid for military drones."), "README.md, line 9"),
    case("AUP-G3", "warn", prose("The model can be used to write fake reviews."), "fake reviews"),
    case("AUP-G3", "manual", prose("The model can be used to detect fake reviews.")),
    case("AUP-G3", "manual", prose("## Out-of-scope uses\n\nIt is built for chat, not for disinformation.")),
    case("AUP-G4", "pass", None, 'README.md, line 7: "Limitations and risks"'),
    case("AUP-G4", "pass", bodied(f"# M\n\n## Bias and risks\n\n### Found\n\n{LIMITATIONS}")),
    case("AUP-G4", "pass", bodied("**Limitations:** " + LIMITATIONS.split("\n\n")[1])),
    case(
        "AUP-G4",
        "pass",
        good(
            card=card(
                body="# 模型\n\n## 局限性\n\n模型可能生成错误或有偏见的内容。请勿用于医疗或法律或金融方面的决定。\n"
            )
        ),
    ),
    case("AUP-G4", "pass", {"README.md": card(body="# 模型\n"), "README_EN.md": LIMITATIONS}),
    case("AUP-G4", "fail", bodied(LATER), "README.md has no section"),
    case("AUP-G4", "fail", bodied(TEMPLATE + LATER), "line 5", "a template's stub"),
    case("AUP-G4", "fail", bodied("- [Limitations](#limitations)\n- [Use](#use)\n\n" + LATER * 9)),
    case("AUP-G4", "fail", good(card=None), "there is no card"),
    case("AUP-G4", "warn", bodied("# M\n\nIt may produce biased or offensive text.\n"), "README.md, line 7"),
    case("AUP-G4", "warn", bodied(LATER), shown=UNTESTED),
    case("AUP-G4", "unknown", good(card=b"x" * 5_000_000), "README.md"),
    case("AUP-G4", "n/a", good(card=None), profile="internal"),
    # what is promised
    case("IMP-001", "manual"),
    case("IMP-001", "manual", prose("It was trained on data generated by Llama-2-70b-chat.")),
    case("IMP-001", "manual", prose("It was trained on data generated by Llama-2-70b-chat."), shown=UNTESTED),
    case(
        "IMP-001",
        "warn",
        {"README.md": card("license: mit\n", "It was trained on data generated by Llama-2-70b-chat.\n")},
        "README.md, line 4",
        "independent of llama-2-7b",
        shown=DENIED,
    ),
    case("IMP-001", "warn", front(f"{MISTRAL}datasets: acme/llama2-outputs\n"), "datasets", shown=UNTESTED),
    case(
        "IMP-001",
        "n/a",
        {"README.md": card("license: mit\n", "It was trained on data generated by Llama-3.1-70B-Instruct.\n")},
        shown=DENIED,
    ),
    case("IMP-001", "n/a", NOT_BOUND, shown=DENIED),
    case("WAR-001", "pass"),
    case("WAR-001", "warn", prose("The model comes with a full warranty."), "README.md, line 7", "full warranty"),
    case("WAR-001", "warn", good(licence=AGREEMENT.replace('AN "AS IS"', 'A "SOUND"')), "clause 3 is changed"),
    case("WAR-001", "n/a", NOT_BOUND, shown=UNTESTED),
    case("OWN-001", "pass"),
    case("OWN-001", "warn", prose("We own all rights to this model."), "README.md, line 7"),
    case("OWN-001", "warn", prose("Our model was trained from scratch."), "trained from scratch", "share descent"),
    case("OWN-001", "n/a", prose("Our model was trained from scratch."), shown=DENIED),
    case("OSI-001", "pass"),
    case("OSI-001", "pass", {"README.md": card("license: mit\n", "This model is open source.\n")}, shown=UNTESTED),
    case("OSI-001", "warn", prose("This model is open source."), "README.md, line 7", "OSD 5", "OSD 6"),
    case("OSI-001", "warn", front(f"{FRONT}tags: [open-source]\n"), "README.md, line 4: tags[0]"),
    case("OSI-001", "fail", prose("This model is open source."), "OSD 5", strict=True),
    case("OSI-001", "warn", {"README.md": card(NO_BASE, "This model is open source.\n")}, shown=DENIED),
    case("OSI-001", "n/a", {"README.md": card("license: rail\n", "This model is open source.\n")}, shown=UNTESTED),
    # names
    case("NAME-001", "pass"),
    case("NAME-001", "pass", names=("my-llama-2-7b-chat",)),
    case("NAME-001", "pass", names=("Meta-Llama-2-7B-GGUF",)),
    case("NAME-001", "pass", names=("unofficial-llama-2",)),
    case("NAME-001", "pass", NOT_BOUND, shown=UNTESTED, names=("official-tinyllama",)),
    case("NAME-001", "pass", gguf(header(org="Meta Llama"))),
    case("NAME-001", "fail", None, "official", names=("Official-Llama-2-7b",)),
    case("NAME-001", "fail", None, "the target's organisation", names=("meta-Ilama/Llama-2-7b",)),
    case("NAME-001", "fail", None, "hides its letters", names=("Ll\u0430ma-2-7b",)),
    case("NAME-001", "fail", front(f"{FRONT}model_name: Certified Llama 2\n"), "README.md, line 4", "certified"),
    case("NAME-001", "warn", prose("This model is endorsed by Meta."), "README.md, line 7"),
    case("NAME-001", "warn", bodied("# Official Llama 2 recipes\n" + LIMITATIONS), "README.md, line 5"),
    case("NAME-001", "warn", gguf(header(org="Meta AI")), "a.gguf, general.organization"),
    case("NAME-001", "warn", NOT_BOUND, shown=UNTESTED, names=("meta-llama-ai/thing",)),
    case("NAME-002", "pass", names=("llama-2-7b-tuned",)),
    case("NAME-002", "warn", NOT_BOUND, "independent of llama-2-7b", shown=DENIED, names=("llama-2-7b-tuned",)),
    case("NAME-002", "warn", NOT_BOUND, shown=DENIED, names=("coolllama-and-llama-7b",)),
    case("NAME-002", "pass", {"README.md": card("license: llama3\n")}, shown=DENIED, names=("llama-tuned",)),
    case("NAME-002", "n/a"),
    case("NAME-002", "n/a", NOT_BOUND, shown=DENIED, names=("TinyLlama-1.1B",)),
    case("NAME-002", "n/a", NOT_BOUND, shown=DENIED, names=("llama-3-8b-tuned",)),
    case("NAME-002", "n/a", NOT_BOUND, shown=UNTESTED, names=("llama-2-7b-tuned",)),
    case("NAME-002", "n/a", {"README.md": "# OpenLLaMA: An Open Reproduction of LLaMA\n"}, shown=DENIED),
    # the licence that the card declares
    case("CARD-001", "pass"),
    case("CARD-001", "pass", front("license: [llama2, apache-2.0]\nbase_model: meta-llama/Llama-2-7b-hf\n")),
    case("CARD-001", "pass", front(OTHER.format(name="llama2", link="LICENSE.txt"))),
    case(
        "CARD-001",
        "pass",
        good(card=card("license: apache-2.0\n", "The weights are under the Llama 2 Community License.\n")),
        "beside README.md, line 4",
    ),
    case("CARD-001", "pass", front("license: llama2\n") | {"LICENSE-CODE": APACHE}),
    case("CARD-001", "fail", front("license: apache-2.0\n"), 'README.md, line 2: license: "apache-2.0"'),
    case("CARD-001", "fail", front("license: MIT License\n"), 'license: "MIT License"'),
    case("CARD-001", "fail", front("license: cc-by-nc-4.0\n")),
    case("CARD-001", "fail", front("license: cc0-1.0\n")),
    case("CARD-001", "fail", front("license:\n  - mit\n  - apache-2.0\n")),
    case("CARD-001", "fail", good(card="This model is released under the Apache 2.0 license.\n"), "README.md, line 1"),
    case(
        "CARD-001",
        "fail",
        good(card=card("license: mit\n", f"# M\n\n{NOTICE}\n")),
        'license: "mit"',
    ),
    case("CARD-001", "warn", good(card="This project is released under the Apache 2.0 license.\n"), "This project"),
    case("CARD-001", "warn", front("license: agpl-3.0\n"), "agpl-3.0"),
    case("CARD-001", "warn", front("license: llama3\n"), "llama3"),
    case("CARD-001", "warn", front("license: openrail\n")),
    case("CARD-001", "warn", front("license: mit\nbase_model: meta-llama/Llama-2-7b-hf\n"), shown=UNTESTED),
    case(
        "CARD-001",
        "warn",
        good(card=card("license: apache-2.0\n", "# 模型\n\n本模型权重遵循 Llama 2 Community License。\n")),
        "README.md, line 6 names the agreement",
    ),
    case("CARD-001", "unknown", good(card=b"x" * 5_000_000), "README.md"),
    case("CARD-001", "n/a", good(card="# Model\n")),
    case("CARD-001", "n/a", front("license: mit\n"), profile="internal"),
    case("CARD-001", "n/a", NOT_BOUND, shown=DENIED),
    case("CARD-002", "pass"),
    case("CARD-002", "pass", front(OTHER.format(name="Llama 2 Community License", link="LICENSE.txt"))),
    case(
        "CARD-002",
        "warn",
        front(OTHER.format(name="acme-1.0", link="https://acme.example")),
        'license_name: "acme-1.0"',
    ),
    case("CARD-002", "warn", front("license: acme-research-license\n"), 'README.md, line 2: license: "acme-research'),
    case("CARD-002", "n/a", front("license: acme\n"), shown=DENIED),
    case("CARD-003", "pass", good(card=card(OTHER.format(name="llama2", link="LICENSE.txt")))),
    case("CARD-003", "pass", good(card=card(OTHER.format(name="llama2", link="LICENSE")))),
    case("CARD-003", "pass", front(OTHER.format(name="x", link="https://ai.meta.com/llama/license/"))),
    case("CARD-003", "warn", front("license: other\n"), "line 2", "without license_name and license_link"),
    case("CARD-003", "warn", front("license: other\nlicense_name: llama2\n"), "without license_link"),
    case(
        "CARD-003", "warn", front(OTHER.format(name="llama2", link="https://llama.meta.com/llama3/license/")), "line 4"
    ),
    case("CARD-003", "warn", good(licence=APACHE, card=card(OTHER.format(name="llama2", link="LICENSE.txt")))),
    case("CARD-003", "n/a"),
    case("CARD-004", "pass"),
    case(
        "CARD-004",
        "warn",
        good(card="# M\n\nThis model is under the Llama 2 Community License.\n"),
        "README.md, line 3",
    ),
    case("CARD-004", "unknown", good(card="---\nlicense: no\n---\n"), "line 2"),
    case("CARD-004", "n/a", good(card="# M\n")),
    case("CARD-004", "n/a", good(card=None)),
    case("CARD-005", "pass"),
    case("CARD-005", "pass", good(card="# M\n\nThis model is under the Llama 2 Community License.\n")),
    case("CARD-005", "warn", good(card=None), "only by LICENSE.txt"),
    case("CARD-005", "warn", good(card="# M\n", licence=APACHE), "only by LICENSE.txt (Apache License 2.0)"),
    case("CARD-005", "warn", {"README.md": "# M\n", "a.gguf": header(license="llama2")}, "general.license"),
    case(
        "CARD-005",
        "warn",
        {"README.md": "# M\n\nhttps://ai.meta.com/llama/license/\n"},
        "only by a link: README.md, line 3",
    ),
    case("CARD-005", "fail", {"README.md": "# M\n"}, "README.md declares no licence"),
    case("CARD-005", "fail", {"README.md": card("license: []\n")}, "README.md, line 2", "empty list"),
    case("CARD-005", "fail", {"README.md": card("license: unknown\n")}, "README.md"),
    case("CARD-005", "fail", {}, "there is no card"),
    case("CARD-005", "warn", {"README.md": "# M\n\nBased on Llama 2.\n"}, shown=UNTESTED),
    case("CARD-005", "unknown", {"README.md": "---\nlicense: {a: b}\n---\n"}, "README.md, line 2"),
    case("CARD-005", "n/a", {"README.md": "# M\n"}, shown=DENIED),
    case(
        "CARD-006",
        "pass",
        front("license: [llama2, apache-2.0]\n") | {"README_EN.md": "The code is under Apache 2.0.\n"},
    ),
    case(
        "CARD-006", "warn", front("license: [llama2, apache-2.0]\n"), 'license[0]: "llama2"', 'license[1]: "apache-2.0"'
    ),
    case("CARD-006", "warn", front("license: llama2 and apache-2.0\n"), "llama2 and apache-2.0"),
    case("CARD-006", "n/a", front("license: [mit, apache-2.0]\n")),
    case("CARD-006", "n/a"),
    # what it was made from
    *(
        case("BASE-001", "pass", front(f"license: llama2\nbase_model: {base}\n"), "README.md, line 3")
        for base in (
            "meta-llama/Llama-2-13b-chat-hf",
            "https://huggingface.co/NousResearch/Llama-2-7b-hf",
            "lmsys/vicuna-7b-v1.5",
            "codellama/CodeLlama-7b-hf",
            "TheBloke/Llama-2-7B-fp16",
            "someone/intermediate-7b",
            "[mistralai/Mistral-7B-v0.1, meta-llama/Llama-2-7b-hf]",
        )
    ),
    case("BASE-001", "pass", {"a.gguf": header(base="Llama 2 7B")}, "a.gguf"),
    case("BASE-001", "pass", {"README.md": card("license: llama2\n")}, shown=lineage("derived", kind="copy")),
    case("BASE-001", "fail", front(NO_BASE), "no base model is named"),
    case("BASE-001", "fail", front(f"{NO_BASE}base_model: []\n"), "README.md, line 3", "empty list"),
    case("BASE-001", "fail", front(f'{NO_BASE}base_model: ""\n'), "README.md, line 3", "empty"),
    case("BASE-001", "fail", front(MISTRAL), 'README.md, line 3: base_model: "mistralai/Mistral-7B-v0.1", while'),
    case("BASE-001", "fail", front(MISTRAL) | {"adapter_config.json": ADAPTER}, "mistralai"),
    case("BASE-001", "warn", front(NO_BASE) | {"adapter_config.json": ADAPTER}, "only in adapter_config.json"),
    case("BASE-001", "warn", prose("A model fine-tuned from Llama 2 7B.") | front(UNKNOWN_BASE), "someone/thing-7b"),
    case("BASE-001", "warn", good(card="This model is a fine-tuned version of Llama 2 7B.\n"), "README.md, line 1"),
    case(
        "BASE-001",
        "warn",
        front(NO_BASE) | {"config.json": config(_name_or_path='"NousResearch/Llama-2-7b-hf"')},
        "config.json, _name_or_path",
    ),
    case("BASE-001", "warn", front(MISTRAL), shown=UNTESTED),
    case("BASE-001", "unknown", good(card="---\nlicense: llama2\nbase_model: &a [*a]\n---\n")),
    case("BASE-001", "unknown", good(card=b"x" * 5_000_000), "README.md"),
    case("BASE-001", "n/a", NOT_BOUND, shown=DENIED),
    case("MRG-001", "pass", merged("NousResearch/Llama-2-7b-hf"), "2 parents"),
    case("MRG-001", "fail", merged("mosaicml/mpt-7b-chat"), "line 4", "cc-by-nc-sa-4.0"),
    case("MRG-001", "fail", merged("meta-llama/Meta-Llama-3-8B"), "1.b.v"),
    case(
        "MRG-001",
        "fail",
        front("license: llama2\ntags: [merge]\nbase_model: [meta-llama/Llama-2-7b-hf, mosaicml/mpt-7b-chat]\n"),
        "README.md, line 4",
    ),
    case("MRG-001", "warn", merged("someone/thing"), "terms not known here"),
    case("MRG-001", "warn", merged("garage-bAInd/Platypus2-13B"), "cc-by-nc-sa-4.0"),
    case("MRG-001", "warn", merged("microsoft/Orca-2-7b"), "person must read"),
    case("MRG-001", "warn", merged("mosaicml/mpt-7b-chat"), shown=UNTESTED),
    case("MRG-001", "unknown", merged("NousResearch/Llama-2-7b-hf\n  - model: *missing")),
    case("MRG-001", "n/a"),
    case("ADP-001", "pass", {"adapter_config.json": ADAPTER}, "fewer duties", weights=False),
    case(
        "ADP-001",
        "pass",
        front(FRONT) | {"adapter_config.json": '{"base_model_name_or_path": "/home/me/x"}'},
        weights=False,
    ),
    case(
        "ADP-001",
        "warn",
        {"adapter_config.json": '{"base_model_name_or_path": "/home/me/base"}'},
        'base_model_name_or_path is "/home/me/base"',
        weights=False,
    ),
    case("ADP-001", "warn", {"adapter_config.json": '{"peft_type": "LORA"}'}, "nothing", shown=UNTESTED, weights=False),
    case("ADP-001", "n/a", {"adapter_config.json": ADAPTER}),
    case("OVR-001", "pass", NOT_BOUND, shown=DENIED),
    case("OVR-001", "warn", good(), 'base_model: "meta-llama/Llama-2-7b-hf", while', shown=DENIED),
    case("OVR-001", "warn", front("license: mit\ntags: [llama-2]\n"), "tags[0]", shown=DENIED),
    case("OVR-001", "warn", {"README.md": card(NO_BASE)}, 'license: "llama2"', shown=DENIED),
    case("OVR-001", "warn", {"NOTICE": NOTICE}, "the notice in NOTICE, line 1", shown=DENIED),
    case("OVR-001", "warn", {"LICENSE": AGREEMENT}, "the agreement in LICENSE", shown=DENIED),
    case("OVR-001", "n/a"),
    case(
        "CMP-001",
        "warn",
        front(FRONT) | {"config.json": config(model_type='"llava"')},
        'config.json, model_type: "llava"',
    ),
    case(
        "CMP-001",
        "pass",
        front("license: [llama2, mit]\n") | {"config.json": config(architectures='["LlavaLlamaForCausalLM"]')},
    ),
    case("CMP-001", "n/a", front(FRONT) | {"config.json": config(model_type='"llama"')}),
    case("TOK-001", "pass", {"tokenizer.model": b"x" * 499_723}, "tokenizer.model", shown=DENIED),
    case("TOK-001", "n/a", {"tokenizer.model": b"x"}),
    case("GGUF-001", "pass", gguf(header(license="llama2", base="Llama 2 7B")), "1 header agrees"),
    case(
        "GGUF-001",
        "fail",
        gguf(header(license="apache-2.0")),
        'a.gguf, general.license: "apache-2.0", while the',
    ),
    case("GGUF-001", "fail", gguf(header(license="llama3")), "general.license"),
    case("GGUF-001", "fail", gguf(header(base="Mistral 7B v0.1")), "general.base_model.0.name"),
    case("GGUF-001", "fail", gguf(header(license="gpl-3.0")), 'while README.md, line 2: license: "llama2"'),
    case(
        "GGUF-001", "warn", {"README.md": card("license: mit\n"), "a.gguf": header(license="apache-2.0")}, shown=DENIED
    ),
    case("GGUF-001", "warn", front(MISTRAL) | {"a.gguf": header(base="Llama 2 7B")}, "line 3 names", shown=UNTESTED),
    case("GGUF-001", "n/a"),
    case("GGUF-001", "n/a", gguf(header())),
    case("ALT-001", "pass", front("license: apache-2.0\nbase_model: mosaicml/mpt-7b\n"), "apache-2.0", shown=DENIED),
    case(
        "ALT-001",
        "warn",
        front("license: apache-2.0\nbase_model: mosaicml/mpt-7b-chat\n"),
        'base_model: "mosaicml/mpt-7b-chat" is under cc-by-nc-sa-4.0',
        shown=DENIED,
    ),
    case("ALT-001", "fail", front("license: mit\nbase_model: [meta-llama/Llama-2-7b-hf, mosaicml/mpt-7b-chat]\n")),
    case("ALT-001", "n/a", NOT_BOUND, shown=DENIED),
]


@pytest.mark.parametrize("row", CASES, ids=lambda row: f"{row.rule}-{row.status}")
def test_what_a_rule_says(row: Case) -> None:
    found = findings(row.situation())[row.rule]
    assert found.status == row.status, found.evidence
    for words in row.evidence:
        assert words in found.evidence


def official(product: str, document: str, *, condition: str = "exact", path: str = "LICENSE") -> LegalText:
    """A text that holds one of the official texts, none of which the tests carry."""
    text = hash_table().get(product, document)  # type: ignore[arg-type]
    assert text is not None
    recognition = Recognition(
        kind="other-version",
        text=text,
        condition=condition,  # type: ignore[arg-type]
        document=text.document,
        name=text.title,
        span=Span(first=1, last=9),
    )
    return LegalText(path=path, text="", recognition=recognition, place="file")


@pytest.mark.parametrize(
    ("rule", "status", "texts", "evidence"),
    [
        ("LIC-004", "fail", (official("llama-3", "license"),), "Meta Llama 3 Community License"),
        ("LIC-004", "fail", (official("llama-3.1", "license", condition="altered"),), "Llama 3.1"),
        ("LIC-001", "fail", (official("llama-4", "license"),), "found instead: LICENSE (Llama 4"),
        ("AUP-002", "warn", (official("llama-3", "policy", path="USE_POLICY.md"),), "Meta Llama 3 Acceptable"),
        ("AUP-002", "pass", (official("llama-2", "policy", path="USE_POLICY.md"),), "word for word"),
        ("AUP-002", "warn", (official("llama-2", "policy", condition="altered", path="USE_POLICY.md"),), "altered"),
        ("AUP-001", "pass", (official("llama-2", "policy", path="USE_POLICY.md"),), "USE_POLICY.md"),
        ("AUP-001", "warn", (official("llama-3", "policy", path="USE_POLICY.md"),), "neither"),
        # Llama 3's agreement ends with its policy: one finding, not two.
        ("AUP-002", "n/a", (official("llama-3", "license"), official("llama-3", "policy")), "no use policy"),
    ],
)
def test_texts_of_every_version(rule: str, status: str, texts: tuple[LegalText, ...], evidence: str) -> None:
    s = situation({"README.md": card()})
    found = findings(replace(s, repository=replace(s.repository, texts=texts)))[rule]
    assert found.status == status
    assert evidence in found.evidence


def test_the_right_agreement_beside_another_versions() -> None:
    s = situation(GOOD)
    texts = (*s.repository.texts, official("llama-3", "license", path="LICENSE.llama3"))
    found = findings(replace(s, repository=replace(s.repository, texts=texts)))
    assert acting(found) == {"LIC-004": "warn"}
    assert "beside the right one in LICENSE.txt" in found["LIC-004"].evidence
    assert findings(s)["LIC-004"].status == "pass"
    assert findings(situation(good(licence=None)))["LIC-004"].status == "n/a"


def test_every_status_of_every_rule_has_a_case() -> None:
    with_texts = {("LIC-004", status) for status in ("pass", "fail", "warn", "n/a")} | {("AUP-002", "pass")}
    shown = {(row.rule, row.status) for row in CASES} | with_texts | {(r.id, "n/a") for r in RULES if r.bound_only}
    assert shown == {(rule, status) for rule, statuses in STATUSES.items() for status in statuses.split()}


@pytest.mark.parametrize("shown", [UNTESTED, DENIED], ids=["untested", "denied"])
def test_where_the_licence_does_not_apply_most_rules_ask_nothing(shown: Lineage) -> None:
    s = situation({"README.md": card("license: mit\n")}, shown)
    for rule in RULES:
        finding = findings(s)[rule.id]
        assert finding.status in ({"n/a"} if rule.bound_only else {"n/a", "pass"})
        assert not rule.bound_only or finding.evidence == s.basis


def test_the_table_of_clauses_is_the_table_of_rules() -> None:
    assert sorted(rule.id for rule in RULES) == sorted(IDS)
    assert set(STATUSES) == set(IDS)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_row_of_the_table_is_whole(rule: Rule) -> None:
    assert rule.kind in {"decides", "evidence", "person"}
    assert rule.severity in {"high", "medium", "low", "info"}
    assert rule.needs
    assert set(rule.needs) <= {"weights", "files", "card"}
    assert all((rule.title, rule.why, rule.fix, rule.decided, rule.profiles))
    assert rule.clause is None or re.fullmatch(r"\d[\w.]*(, \d[\w.]*)*|AUP \d", rule.clause)
    assert (rule.kind == "person") <= ("manual" in STATUSES[rule.id])
    assert (rule.kind == "evidence") <= ("fail" not in STATUSES[rule.id] or rule.id == "OSI-001")
    assert rule.answerable == ("manual" in STATUSES[rule.id])


@pytest.mark.parametrize("rule", [*IDS, *(row.id for row in FILE_RULES)])
def test_every_rule_is_explained(rule: str) -> None:
    page = explain(rule.lower())
    assert page.startswith(rule)
    assert all(f"\n{label}" in page for label in ("why", "fix", "decided"))
    assert "not legal advice" in page


def test_the_page_for_users_has_every_row_of_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "llama2.md").read_text(encoding="utf-8")
    rows = {cells[1].strip(): cells for line in page.splitlines() if (cells := line.split("|"))[1:]}
    for rule in RULES:
        cells = rows[rule.id]
        assert cells[2].strip() == (rule.clause or "-")
        assert cells[4].strip() == ", ".join(s for s in STATUSES[rule.id].split() if s != "n/a")
        assert cells[6].strip() == ("all" if len(rule.profiles) == 3 else ", ".join(rule.profiles))
    assert "not legal advice" in page.lower()


def test_an_unknown_rule_is_not_explained() -> None:
    with pytest.raises(UsageError, match="did you mean LIC-001"):
        explain("LIC-0001")


@pytest.mark.parametrize("row", CASES, ids=lambda row: f"{row.rule}-{row.status}")
def test_what_must_be_acted_on_has_evidence_and_a_fix(row: Case) -> None:
    for found in apply(row.situation()):
        assert "built with" not in f"{found.evidence} {found.fix}".lower()  # Llama 2 asks for no such line,
        assert "prefix" not in f"{found.evidence} {found.fix}".lower()  # and for no name
        if found.status in {"fail", "warn", "manual", "unknown"}:
            assert found.evidence
            assert found.fix
        else:
            assert found.fix is None
        assert found.evidence.isprintable()


@pytest.mark.parametrize("row", CASES, ids=lambda row: f"{row.rule}-{row.status}")
@pytest.mark.parametrize("shown", [UNTESTED, DENIED], ids=["untested", "denied"])
def test_without_proof_nothing_about_descent_fails(row: Case, shown: Lineage) -> None:
    failed = {found.id for found in apply(replace_shown(row, shown)) if found.status == "fail"}
    assert failed <= {"NAME-001", "OSI-001"}  # names and boasts, which do not depend on descent


def replace_shown(row: Case, shown: Lineage) -> Situation:
    return replace(row, shown=shown).situation()


def test_a_good_repository_has_nothing_to_act_on_but_statements() -> None:
    found = findings(situation(GOOD))
    assert acting(found) == {}
    manual = {rule for rule, finding in found.items() if finding.status == "manual"}
    assert manual == {*PERSONS, "IMP-001", "AUP-G1", "AUP-G2", "AUP-G3"}


def test_silence_is_never_a_pass() -> None:
    found = findings(situation({"README.md": card(), "acceptance.txt": "We accept everything."}))
    assert {found[rule].status for rule in PERSONS} == {"manual"}


@pytest.mark.parametrize("profile", ["deployer", "internal"])
def test_what_only_a_publisher_owes_is_not_asked_of_others(profile: str) -> None:
    found = findings(situation({}, profile=profile))  # type: ignore[arg-type]
    for rule in RULES:
        asked = found[rule.id].status != "n/a" or "no duty" not in found[rule.id].evidence
        assert asked == (profile in rule.profiles)
    assert found["LIC-001"].status == found["NOT-001"].status == "n/a"
    assert found["MAU-001"].status == found["LIT-001"].status == "manual"
    assert found["AUP-G4"].status == ("fail" if profile == "deployer" else "n/a")


def test_text_of_the_model_is_escaped_in_evidence_and_fix() -> None:
    found = findings(
        situation(
            {
                "README.md": card('license: "mit\\e[31m"\nbase_model: "a\\u202eb"\n'),
                "LICENSE\x1b[31m.txt": AGREEMENT.replace("700 million", "7\u202e billion"),
                "NOTICE\n::error::.txt": MEANT_FOR_LLAMA_3.replace("Meta Platforms", "\x07Meta"),
            }
        )
    )
    assert found["LIC-002"].status == "fail"
    assert "LICENSE\\x1b[31m.txt" in found["LIC-002"].evidence
    assert "LICENSE\\x1b[31m.txt" in str(found["LIC-002"].fix)
    for finding in found.values():
        assert f"{finding.evidence}{finding.fix}".isprintable()


def test_a_readme_of_a_part_taken_over_does_not_speak_for_the_weights() -> None:
    files = GOOD | {
        "third_party/fid/README.md": "---\nlicense: mit\n---\nThis model is under the MIT license.\n",
        "third_party/fid/LICENSE": MIT,
    }
    assert acting(findings(situation(files))) == {}


@pytest.mark.parametrize("other", ["README-zh.md", "README.ja.md", "README_EN.md", "readme-fr.md"])
def test_readme_md_is_the_card_whatever_stands_beside_it(other: str) -> None:
    s = situation(GOOD | {other: "---\nlicense: mit\n---\n"})
    assert s.repository.card is not None
    assert s.repository.card.path == "README.md"


def test_a_claim_of_the_licence_alone_brings_warnings_only() -> None:
    found = findings(situation({"README.md": card(NO_BASE)}, UNTESTED))
    assert {found[rule].status for rule in ("LIC-001", "NOT-001", "BASE-001")} == {"warn"}
    assert "README.md, line 2" in found["LIC-001"].evidence


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ({"LICENSE": AGREEMENT}, ("model",)),
        ({"notice.txt": NOTICE}, ("model",)),
        ({"LICENSE": POINTER}, ("model",)),
        ({"USE_POLICY.md": POLICY_POINTER}, ("model",)),
        ({"README.md": card("tags: [llama-2]\n")}, ("model",)),
        ({"README.md": card("license: other\nlicense_name: llama2\n")}, ("model",)),
        ({"README.md": "# M\n"}, ("llama-2-7b-tuned",)),
        ({"a.gguf": header(license="llama2")}, ("model",)),
    ],
    ids=[
        "agreement",
        "notice",
        "pointer",
        "policy pointer",
        "tag",
        "name of the licence",
        "name of the target",
        "header",
    ],
)
def test_every_way_to_say_it_binds(files: dict[str, str | bytes], names: tuple[str, ...]) -> None:
    assert situation(files, UNTESTED, names=names).bound
    assert not situation(files, DENIED, names=names).bound


@pytest.mark.parametrize(
    "name", ["TinyLlama-1.1B", "open_llama_7b", "VideoLLaMA2-7B", "llama.cpp", "llama3-8b", "ollama"]
)
def test_names_of_others_do_not_bind(name: str) -> None:
    assert not situation({"README.md": "# M\n"}, UNTESTED, names=(name,)).bound


FRONTS = st.lists(
    st.sampled_from(
        [
            *(
                "license: llama2",
                "license: mit",
                "license: [llama2, mit]",
                "license: other",
                "license: no",
                "license: []",
            ),
            *(
                "license_name: llama2",
                "license_link: LICENSE",
                "license: {a: b}",
                "license: *x",
                "license: 'apache-2.0'",
            ),
            *("base_model: meta-llama/Llama-2-7b-hf", "base_model: []", "base_model: ../../x", "base_model: &a [*a]"),
            *("tags: [merge, llama-2]", "model_name: Official Llama 2", "datasets: [x/llama2-outputs]", "\ttabs: x"),
            *('extra_gated_prompt: "\\e[31m"', "license: !!python/object:os.system x", "---", "\x00"),
        ]
    ),
    max_size=4,
)
BODIES = st.lists(
    st.sampled_from(
        [
            *("# Llama 2", NOTICE, MEANT_FOR_LLAMA_3, LIMITATIONS, TEMPLATE, "## Limitations", "# \u202eModel"),
            *("This model is open source.", "We own all rights to this model.", "```yaml\nmerge_method: x\n```"),
            *("It was trained on outputs of Llama 2.", "Under the Llama 2 Community License.", "\x1b[31m::error::"),
        ]
    ),
    max_size=4,
)
OTHERS = st.dictionaries(
    st.sampled_from(
        [
            "LICENSE",
            "Notice",
            "notice/a.md",
            "USE_POLICY.md",
            "config.json",
            "adapter_config.json",
            "mergekit_config.yml",
        ]
    ),
    st.sampled_from(
        [AGREEMENT, AGREEMENT[:900], MIT, NOTICE, POINTER, ADAPTER, "{", "", "\x00\xff", "merge_method: x"]
    ),
    max_size=3,
)


@settings(max_examples=60)
@given(
    fronts=FRONTS,
    bodies=BODIES,
    others=OTHERS,
    shown=st.sampled_from([PROVED, DENIED, UNTESTED]),
    profile=st.sampled_from(["publisher", "deployer", "internal"]),
    weights=st.booleans(),
)
def test_whatever_a_repository_says_every_rule_answers(
    fronts: list[str],
    bodies: list[str],
    others: dict[str, str],
    shown: Lineage,
    profile: str,
    weights: bool,  # noqa: FBT001
) -> None:
    text = "---\n" + "".join(f"{line}\n" for line in fronts) + "---\n" + "\n\n".join(bodies)
    files: dict[str, str | bytes] = {"README.md": text, **others}
    s = situation(files, shown, profile=profile, weights=weights)  # type: ignore[arg-type]
    for finding in findings(s).values():  # one for each rule, or `findings` fails
        assert finding.status in {*STATUSES[finding.id].split(), "n/a"}
        assert (finding.status in {"pass", "n/a"}) == (finding.fix is None)
        assert f"{finding.evidence}{finding.fix}".isprintable()
        if finding.status == "fail" and shown is not PROVED:
            assert finding.id == "NAME-001"


def test_large_files_that_only_may_be_legal_texts_are_left_alone() -> None:
    large = b"x" * 5_000_000
    files = {"legal_corpus.txt": large, "license_plates.onnx": large, "terms/words.txt": large, "llama.md": large}
    assert situation(GOOD | files).repository.unread == ()
    assert len(situation(GOOD | {"LICENSE": large}).repository.unread) == 1


def test_of_two_policies_the_one_whose_base_is_named_applies() -> None:
    code = {"README.md": card("license: llama2\nbase_model: codellama/CodeLlama-7b-hf\n"), "LICENSE": POINTER}
    assert situation(code, UNTESTED).policy.name == "codellama"
    assert situation(GOOD, UNTESTED).policy.name == "llama2"
    assert situation(code, lineage("derived", "codellama-7b")).policy.name == "codellama"
    assert situation(code, PROVED).policy.name == "llama2"
    assert findings(situation(code, PROVED))["BASE-001"].status == "pass"


def test_independence_of_llama_2_is_independence_of_code_llama() -> None:
    s = situation({"README.md": card("license: llama2\nbase_model: codellama/CodeLlama-7b-hf\n")}, DENIED)
    assert not s.bound
    assert findings(s)["OVR-001"].status == "warn"


def test_weak_evidence_for_the_base_is_no_denial_of_it() -> None:
    weak = replace(lineage("inconclusive").candidates[0], log10_p=-6.0)
    other = lineage("derived", "smollm2", others=(*DENIED.candidates, weak))
    assert situation(GOOD, other).bound


def test_a_model_that_was_held_against_nothing_is_not_denied() -> None:
    spare = replace(lineage("inconclusive").candidates[0], model="spare/model.safetensors")
    assert situation(GOOD, lineage("independent", others=(spare,))).bound
