"""The rules, as one table: id, clause, kind, severity, needs, check, fix.

Add a rule: write its check in one of the modules beside this one, and add a row. Clauses are the Llama 2
agreement's; what a rule compares with comes from the policy, so another licence of the same build is a data file.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from auditor.compliance.rules import agreement, attribution, licence, names, origin, promises, use_policy
from auditor.compliance.rules.base import PUBLISHER, Outcome, Rule, a_person_must_say
from auditor.compliance.situation import Derivation
from auditor.escape import visible
from auditor.findings import Finding

if TYPE_CHECKING:
    from auditor.compliance.situation import Situation

__all__ = ["RULES", "Outcome", "Rule", "apply"]

_STATE = "Record a statement for {id} in auditor.toml: who says so, when, and until when."

_EVIDENCE = 900  # characters; a few places with a quotation each

RULES: tuple[Rule, ...] = (
    Rule(
        id="ACC-001", clause="6", kind="person", severity="medium", needs=("files",),
        title="Acceptance of the agreement is recorded",
        why="The agreement binds whoever clicks to accept it or uses the materials, from that moment. Nobody but the "
        "licensee can say when that was and for which entity.",
        fix=_STATE.format(id="ACC-001"),
        decided="by a statement; a gate in the card is evidence of what users accept, not of your own acceptance",
        check=promises.acceptance_recorded,
    ),
    Rule(
        id="LIC-001", clause="1.b.i", kind="decides", severity="high", needs=("weights", "files"),
        title="A copy of the agreement comes with the weights",
        why="Whoever passes on the materials or a derivative must give a copy of the agreement to the recipient. "
        "A link, or a licence name on the card, is no copy.",
        fix="Add the agreement, unchanged, as LICENSE.txt.",
        decided="by any text in the repository that holds the agreement: LICENSE*, NOTICE, a folder, the card, a gate",
        check=agreement.present, profiles=PUBLISHER,
    ),
    Rule(
        id="LIC-002", clause="1.b.i", kind="decides", severity="high", needs=("weights", "files"),
        title="The copy of the agreement is unaltered",
        why="A copy with a clause changed, missing or added, or with another licensor's name, is not the agreement. "
        "One word can turn it round.",
        fix="Replace the copy by the agreement as published.",
        decided="word by word against the official texts; wrapping, case, quotes and markup do not count",
        check=agreement.unaltered, profiles=PUBLISHER,
    ),
    Rule(
        id="LIC-003", clause="1.b.i", kind="evidence", severity="medium", needs=("weights", "files"),
        title="The agreement is copied, not only linked",
        why="The clause asks for a copy. Links move, and the recipient must have the text.",
        fix="Add the agreement itself beside the link.",
        decided="by links and pointers in the licence files and the card",
        check=agreement.not_only_linked, profiles=PUBLISHER,
    ),
    Rule(
        id="LIC-004", clause="1.b.i", kind="decides", severity="high", needs=("weights", "files"),
        title="The agreement is of the right version",
        why="Llama 3 and later have other terms; their agreement does not license Llama 2.",
        fix="Ship the agreement of the version that the weights come from.",
        decided="by which official text the licence files hold",
        check=agreement.of_this_version, profiles=PUBLISHER,
    ),
    Rule(
        id="LIC-005", clause="1.b.i", kind="evidence", severity="medium", needs=("weights", "files"),
        title="No further terms are put beside the agreement",
        why="You may add terms for your own changes (clause 5.b), but they cannot narrow or widen what Meta granted. "
        "A person must look at them.",
        fix="Keep terms of your own in a file of their own, and say what they are for.",
        decided="by text with terms before, inside or after the agreement in the same file",
        check=agreement.no_further_terms, profiles=PUBLISHER,
    ),
    Rule(
        id="NOT-001", clause="1.b.iii", kind="decides", severity="high", needs=("weights", "files"),
        title="A Notice file carries the attribution",
        why='Every copy passed on must keep the attribution sentence in a "Notice" text file.',
        fix="Run `auditor fix`: it writes the notice file.",
        decided="by the sentence, in a file whose name has `notice` in it, in any case and folder",
        check=attribution.present, profiles=PUBLISHER,
    ),
    Rule(
        id="NOT-002", clause="1.b.iii", kind="decides", severity="high", needs=("weights", "files"),
        title="The attribution has the right words",
        why="The agreement gives the sentence. Another product, licence or holder in it attributes something else.",
        fix="Run `auditor fix`: it writes the sentence as the agreement gives it.",
        decided="by the words; white space, wrapping, (c) or the sign, quotes and a missing full stop do not count",
        check=attribution.worded, profiles=PUBLISHER,
    ),
    Rule(
        id="AUP-001", clause="1.b.iv", kind="evidence", severity="medium", needs=("weights", "files"),
        title="Users can find the use policy",
        why="Use must keep the use policy, which the agreement incorporates by reference. Shipping it is not required.",
        fix="Link the use policy from the card.",
        decided="by the policy's text, a link to it, or the agreement itself",
        check=use_policy.reachable, profiles=("publisher", "deployer"),
    ),
    Rule(
        id="AUP-002", clause="1.b.iv", kind="evidence", severity="medium", needs=("weights", "files"),
        title="A use policy in the repository is the right one, unaltered",
        why="A policy of another version, or one's own under the same name, misleads users about what binds them.",
        fix="Replace it by the policy as published, or give your own policy another name.",
        decided="word by word against the official policies",
        check=use_policy.unaltered,
    ),
    Rule(
        id="LAW-001", clause="1.b.iv", kind="person", severity="medium", needs=("files",),
        title="Use complies with laws and regulations, trade control included",
        why="The clause makes compliance with law a condition of the licence.",
        fix=_STATE.format(id="LAW-001"), decided="by a statement", check=a_person_must_say,
    ),
    Rule(
        id="IMP-001", clause="1.b.v", kind="evidence", severity="high", needs=("weights", "card"),
        title="Outputs are not used to improve another language model",
        why="Neither the materials nor their outputs may improve any other large language model, Llama 2 and its "
        "derivatives excepted. The clause binds everyone who uses them. Llama 3.1 and later dropped it.",
        fix="Name the teacher's licence, train on other data, or have a person record why the clause is kept.",
        decided="by teachers and data sets that card, configs and headers name; else by a statement",
        check=promises.no_teacher, stated=True, bound_only=False,
    ),
    Rule(
        id="MAU-001", clause="2", kind="person", severity="high", needs=("files",),
        title="The licensee had at most 700 million monthly active users",
        why="Whoever had more than 700 million monthly active users, affiliates included, in the calendar month before "
        "18 July 2023 must ask Meta for a licence. It is tested once, at that date, not on later growth.",
        fix=_STATE.format(id="MAU-001"), decided="by a statement", check=a_person_must_say,
    ),
    Rule(
        id="WAR-001", clause="3", kind="evidence", severity="low", needs=("weights", "card"),
        title="The repository promises nothing that the agreement disclaims",
        why="The materials come as is. A warranty on top is yours alone to keep.",
        fix="Take the promise out, or say that it is yours and what it covers.",
        decided="by sentences of the card, and by clauses 3 and 4 of the copy", check=promises.no_warranty,
    ),
    Rule(
        id="LIA-001", clause="4, 5.c", kind="person", severity="low", needs=("files",),
        title="Limited liability and the indemnity are understood",
        why="Meta is not liable for damages, and you indemnify Meta against claims that arise from your use.",
        fix=_STATE.format(id="LIA-001"), decided="by a statement", check=a_person_must_say,
    ),
    Rule(
        id="NAME-001", clause="5.a", kind="decides", severity="high", needs=("card",),
        title="No name or sentence implies that the model is Meta's or approved by Meta",
        why="The agreement grants no trademark licence beyond describing and redistributing the materials. It asks for "
        'no prefix and no "Built with" line either: those came with Llama 3.',
        fix='Describe the origin ("derived from Llama 2") without official, Meta or a look-alike of either.',
        decided="by the names of target, model and organisation, letters folded to what they look like; sentences "
        "are evidence only",
        check=names.no_endorsement, bound_only=False,
    ),
    Rule(
        id="NAME-002", clause="5.a", kind="evidence", severity="medium", needs=("weights", "card"),
        title="A name with Llama in it stands on weights with Llama in them",
        why="A mark on something else misleads about where it comes from.",
        fix="Name the model for what it is.", decided="by the name, and the verdict on the weights",
        check=names.fits_weights, bound_only=False,
    ),
    Rule(
        id="OWN-001", clause="5.b", kind="evidence", severity="medium", needs=("weights", "card"),
        title="Nobody claims to own, or to have made from nothing, what comes from the base",
        why="You own your derivatives subject to Meta's ownership of the materials in them.",
        fix="Say what is yours (data, code, the change) and what it was made from.",
        decided="by sentences of the card", check=promises.no_ownership_claim,
    ),
    Rule(
        id="LIT-001", clause="5.c", kind="person", severity="high", needs=("files",),
        title="No litigation over the materials was begun against Meta",
        why="Instituting litigation over the materials or their outputs ends the licence at once.",
        fix=_STATE.format(id="LIT-001"), decided="by a statement", check=a_person_must_say,
    ),
    Rule(
        id="TRM-001", clause="6", kind="person", severity="low", needs=("files",),
        title="Where the materials are kept is recorded, so that deletion can be proved",
        why="When the licence ends, the materials must be deleted and their use must cease.",
        fix=_STATE.format(id="TRM-001") + " A signed report pins the inventory of this copy.",
        decided="by a statement", check=a_person_must_say,
    ),
    Rule(
        id="AUP-G1", clause="AUP 1", kind="evidence", severity="high", needs=("weights", "card"),
        title="The card invites to nothing unlawful or harmful to others' rights",
        why="The use policy prohibits it.", fix="Take the use out of the card, and out of the product.",
        decided="by what the card calls intended use; else by a statement", stated=True,
        check=use_policy.intended_use("1"),
    ),
    Rule(
        id="AUP-G2", clause="AUP 2", kind="evidence", severity="high", needs=("weights", "card"),
        title="The card invites to nothing dangerous",
        why="The use policy prohibits military use, weapons, critical infrastructure and the like.",
        fix="Take the use out of the card, and out of the product.",
        decided="by what the card calls intended use; else by a statement", stated=True,
        check=use_policy.intended_use("2"),
    ),
    Rule(
        id="AUP-G3", clause="AUP 3", kind="evidence", severity="high", needs=("weights", "card"),
        title="The card invites to no deception",
        why="The use policy prohibits deceiving or misleading others.",
        fix="Take the use out of the card, and out of the product.",
        decided="by what the card calls intended use; else by a statement", stated=True,
        check=use_policy.intended_use("3"),
    ),
    Rule(
        id="AUP-G4", clause="AUP 4", kind="decides", severity="medium", needs=("weights", "card"),
        title="Users are told of known dangers",
        why="The use policy asks to disclose known dangers of the system to its end users.",
        fix="Add a section on limitations and risks that says what was found for this model.",
        decided="by a section of the card on limitations or risks that is more than a template",
        check=use_policy.dangers_are_told, profiles=("publisher", "deployer"),
    ),
    Rule(
        id="OSI-001", clause="2", kind="evidence", severity="medium", needs=("card",),
        title="The weights are not called open source",
        why="The agreement is not approved by the OSI: clause 2 discriminates against persons or groups (OSD 5), and "
        "the use policy against fields of endeavour (OSD 6). It does allow modifying and redistributing.",
        fix="Say that the weights are available under the Llama 2 Community License.",
        decided="by sentences and tags that call the weights open source", check=promises.not_called_open_source,
        bound_only=False,
    ),
    Rule(
        id="ALT-001", clause=None, kind="decides", severity="medium", needs=("weights", "card"),
        title="An alternative base's licence is that of its very variant",
        why="Variants of one family differ: MPT-7B is Apache-2.0, MPT-7B-Chat is non-commercial.",
        fix="Declare the licence of the variant that the model was made from.",
        decided="by a table of repositories and what each declares, never by the family",
        check=licence.of_the_very_variant, bound_only=False,
    ),
    Rule(
        id="CARD-001", clause="1.b.i", kind="decides", severity="high", needs=("weights", "card"),
        title="The card does not put the weights under other terms",
        why="The licence is not transferable into another one. A permissive or Creative Commons licence on a "
        "derivative promises rights that the publisher does not have.",
        fix="Declare `license: llama2` for the weights.",
        decided="by the licence that the card declares, unless it says that the weights are under the agreement",
        check=licence.not_relicensed, profiles=("publisher", "deployer"),
    ),
    Rule(
        id="CARD-002", clause="1.b.i", kind="evidence", severity="medium", needs=("weights", "card"),
        title="No licence of the publisher's own making is put on a derivative",
        why="A custom licence may add terms to your own changes; a person must read whether it replaces the agreement.",
        fix="Declare `license: llama2`, and keep terms of your own in a file of their own.",
        decided="by licence names that are no known licence", check=licence.no_custom_name,
        profiles=("publisher", "deployer"),
    ),
    Rule(
        id="CARD-003", clause=None, kind="evidence", severity="low", needs=("weights", "card"),
        title="`license: other` says which licence, and links the agreement",
        why="Without a name and a link nobody can tell what `other` means.",
        fix="Declare `license: llama2`; or add license_name and license_link.",
        decided="by the card's metadata", check=licence.other_is_named, profiles=PUBLISHER,
    ),
    Rule(
        id="CARD-004", clause=None, kind="evidence", severity="low", needs=("weights", "card"),
        title="The licence is in the card's metadata",
        why="The Hub, and tools, read the metadata, not the text.",
        fix="Add `license:` to the front matter of README.md.",
        decided="by the card's metadata", check=licence.in_metadata, profiles=PUBLISHER,
    ),
    Rule(
        id="CARD-005", clause="1.b.i", kind="decides", severity="high", needs=("weights", "card"),
        title="A licence is declared",
        why="Without any, recipients are not told that the agreement binds them.",
        fix="Add `license: llama2` to the front matter of README.md.",
        decided="by metadata, text and licence files", check=licence.some_licence, profiles=PUBLISHER,
    ),
    Rule(
        id="CARD-006", clause=None, kind="evidence", severity="low", needs=("weights", "card"),
        title="Where several licences are declared, the card says what each is for",
        why='"llama2 and apache-2.0" lets readers believe that they may choose.',
        fix="Say in the card which licence is for the weights, the code and the data.",
        decided="by the card's metadata and text", check=licence.parts_are_told_apart, profiles=PUBLISHER,
    ),
    Rule(
        id="BASE-001", clause=None, kind="decides", severity="high", needs=("weights", "card"),
        title="The card names the base that the weights show",
        why="Recipients, and every tool that follows the lineage, must know what the model was made from.",
        fix="Name the base in `base_model` of the front matter; mirrors and intermediate models are fine.",
        decided="by base_model, configs, headers and text, against the verdict on the weights",
        check=origin.base_is_named,
    ),
    Rule(
        id="MRG-001", clause="1.b.v", kind="decides", severity="high", needs=("weights", "card"),
        title="Every parent of a merge has terms that can stand beside the agreement",
        why="A merge is a derivative of each parent, and keeps the duties of each.",
        fix="Merge with other parents, or have a person read the terms that do not fit.",
        decided="by mergekit configs and base_model lists, against a table of terms with reasons",
        check=origin.merge_parents_fit,
    ),
    Rule(
        id="ADP-001", clause=None, kind="evidence", severity="medium", needs=("files",),
        title="An adapter names its base",
        why="An adapter alone carries fewer duties, but is of no use without the base, whose licence then applies.",
        fix="Set base_model_name_or_path to the base's repository.",
        decided="by adapter_config.json", check=origin.adapter_names_base, bound_only=False,
    ),
    Rule(
        id="OVR-001", clause="5.a", kind="evidence", severity="medium", needs=("weights", "card"),
        title="Nothing says that the weights are the protected model where they are not",
        why="A notice or tag on other weights misleads, and burdens users with terms that do not apply.",
        fix="Take the notice, tag or base_model away, or say what they are for.",
        decided="by what card, headers and files say, against the verdict on the weights",
        check=origin.no_over_claim, bound_only=False,
    ),
    Rule(
        id="CMP-001", clause=None, kind="evidence", severity="low", needs=("weights", "files"),
        title="Joined components have a licence each",
        why="A vision tower or a speech encoder comes with terms of its own.",
        fix="Say in the card which licence is for which component.",
        decided="by the configs' model types, and the licences that the card declares",
        check=origin.components_licensed,
    ),
    Rule(
        id="TOK-001", clause=None, kind="evidence", severity="info", needs=("files",),
        title="A Llama tokenizer proves nothing about the weights",
        why="Its file is the same, byte for byte, in LLaMA 1, Llama 2, TinyLlama and many independent models.",
        fix="Nothing to do.", decided="by the file's size; it never fails", check=origin.tokenizer_proves_nothing,
        bound_only=False,
    ),
    Rule(
        id="GGUF-001", clause=None, kind="decides", severity="high", needs=("weights", "files"),
        title="GGUF headers agree with the card and the weights",
        why="The header travels with the file, long after the card is lost.",
        fix="Write the file again with the right general.license and general.base_model fields.",
        decided="by general.license* and general.base_model.* of each file", check=origin.headers_agree,
        bound_only=False,
    ),
)  # fmt: skip
"""Every rule of the licence audit."""


def apply(situation: Situation) -> tuple[Finding, ...]:
    """Ask every rule; each gives exactly one finding, in the order of the table."""
    return tuple(_ask(rule, situation) for rule in RULES)


def _ask(rule: Rule, s: Situation) -> Finding:
    if s.profile not in rule.profiles:
        outcome = Outcome(status="n/a", evidence=f"no duty of a {s.profile}")
    elif rule.bound_only and not s.bound:
        outcome = Outcome(status="n/a", evidence=s.basis)
    else:
        outcome = rule.check(s)
    if outcome.status == "fail" and "weights" in rule.needs and s.derivation is not Derivation.PROVED:
        # Nothing about descent fails on somebody's word: without the weights' evidence it is a warning.
        told = s.basis in outcome.evidence
        outcome = replace(
            outcome, status="warn", evidence=outcome.evidence if told else f"{outcome.evidence}; {s.basis}"
        )
    fix = _STATE.format(id=rule.id) if outcome.status == "manual" else outcome.fix or rule.fix
    return Finding(
        id=rule.id,
        status=outcome.status,
        clause=rule.clause,
        title=rule.title,
        evidence=visible(outcome.evidence, limit=_EVIDENCE),  # file names are text of the model too
        path=outcome.path,
        fix=visible(fix, limit=_EVIDENCE) if outcome.status in {"fail", "warn", "manual", "unknown"} else None,
    )
