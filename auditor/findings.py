"""One rule outcome, the same shape for every part that has rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["fail", "warn", "pass", "manual", "n/a", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one rule said of one subject.

    Attributes
    ----------
    id : str
        Rule id, "LIC-001".
    status : {"fail", "warn", "pass", "manual", "n/a", "unknown"}
    title : str
        What the rule asks, as a short sentence.
    evidence : str
        What was seen. May hold text of the model as it was read; renderers escape it.
    path : str or None
        File that the evidence was read in.
    clause : str or None
        Clause of the licence that the rule stands for; None for rules about the files themselves.
    fix : str or None
        What a person can do about it.
    waived_until : str or None
        ISO date, where a valid waiver covers this finding.
    in_baseline : bool
        An earlier report that the user holds this one against has it too, as grave or graver.
    """

    id: str
    status: Status
    title: str
    evidence: str
    path: str | None = None
    clause: str | None = None
    fix: str | None = None
    waived_until: str | None = None
    in_baseline: bool = False

    @property
    def covered(self) -> bool:
        """A waiver or the baseline covers it: it is shown, and does not fail an audit."""
        return self.waived_until is not None or self.in_baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRule:
    """A rule about the files themselves, or about the audit's own settings, rather than a licence."""

    id: str
    title: str
    why: str
    fix: str


FILE_RULES = (
    FileRule(
        id="FILE-001",
        title="Every safetensors file beside an index is named in it",
        why="Weights that no index names are loaded by some tools and overlooked by others.",
        fix="Add the file to the index or remove it. It was audited as a model of its own.",
    ),
    FileRule(
        id="FILE-002",
        title="One folder holds one set of safetensors weights",
        why="Where two sets share tensor names, loaders differ in which one they take.",
        fix="Keep one set of weights in a folder. Each set was audited.",
    ),
    FileRule(
        id="FILE-003",
        title="Sampled weights are finite numbers",
        why="A model with NaN or infinity in its weights does not compute, and such rows cannot be compared.",
        fix="Re-export the weights.",
    ),
    FileRule(
        id="FILE-004",
        title="File names say what the files hold",
        why="Loaders that go by the suffix misread a file of another format.",
        fix="Rename the file.",
    ),
    FileRule(
        id="FILE-005",
        title="Metadata says one thing to every reader",
        why="Duplicate keys, aliases, broken or oversized metadata are read differently by different tools, or not "
        "at all.",
        fix="Write the metadata plainly: each key once, no anchors or tags, UTF-8, front matter at line 1.",
    ),
    FileRule(
        id="FILE-006",
        title="Loading the model runs no code of the repository",
        why="A config with auto_map makes loaders run Python from the repository when they are told to trust it.",
        fix="Read that code before loading the model with it, or use an implementation that ships with the library.",
    ),
    FileRule(
        id="FILE-007",
        title="Weights are data: loading them runs no code of the file",
        why="A pickle can name any function and have it called by whoever loads the file, with arguments of its own.",
        fix="Do not load the file. Convert the weights to safetensors in a sandbox, or ask for such a copy.",
    ),
    FileRule(
        id="FILE-008",
        title="Archives hold the same for every reader",
        why="Where an archive contradicts itself, a scanner may see other members than the loader that runs them.",
        fix="Save the checkpoint again with torch.save, or better as safetensors. It was not read.",
    ),
    FileRule(
        id="BSL-001",
        title="The baseline is of this target, with this verdict",
        why="A baseline covers what was found before. Of other weights, or another model, it says nothing.",
        fix="Look at this report, and make it the new baseline where that is right.",
    ),
    FileRule(
        id="WVR-001",
        title="Waivers are valid",
        why="A waiver that has expired, or whose pinned file has changed, covers nothing any more.",
        fix="Renew the waiver in auditor.toml with a new reason and date, or put right what it covered.",
    ),
)
"""Rules about files, wherever they are decided."""

AUDIT_RULES = (
    FileRule(
        id="AUD-001",
        title="Everything that could hold weights was read",
        why="A clean answer about part of a model says nothing of the rest of it.",
        fix="See the reason beside each file: convert it, repair it, or take it out of the repository.",
    ),
    FileRule(
        id="AUD-002",
        title="The weights gave an answer",
        why="Where nothing could be compared, nothing was found out: that is no clean result.",
        fix="See the reason: it names what was lacking, a reference to build or a format to convert.",
    ),
    FileRule(
        id="ATT-001",
        title="The attestation that the list names holds",
        why="A signed audit stands in for a new one only where its signature, policy, files and verdict are as asked.",
        fix="Have the model audited and signed anew, or take the attestation out of the list to audit it here.",
    ),
    FileRule(
        id="LINEAGE",
        title="What the weights show",
        why="Descent is read from the weights with a p-value; what licence duties follow is said by the other rules.",
        fix="Nothing by itself. `auditor compare BASE TARGET` repeats the test; docs/lineage.md says what it means.",
    ),
)
"""What an audit itself must have done. Formats that list results show these where the report has no finding."""


def file_finding(rule_id: str, status: Status, evidence: str = "") -> Finding:
    """Make the finding of a rule about files."""
    rule = next(rule for rule in FILE_RULES if rule.id == rule_id)
    acts = status not in {"pass", "n/a"}
    return Finding(id=rule.id, status=status, title=rule.title, evidence=evidence, fix=rule.fix if acts else None)
