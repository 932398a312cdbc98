"""The command that stands in a pull request: `auditor gate models`, over every model that a repository names."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.cli import options as opt
from auditor.cli.console import errors, in_ci, parse_size, quit_with
from auditor.cli.outputs import Outputs, emit, parse_outputs
from auditor.cli.progress import Progress
from auditor.errors import UsageError
from auditor.escape import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditor.attest import Voucher
    from auditor.cli.options import Format
    from auditor.judging import Judged
    from auditor.listing import Entry

_SLOT = "{target}"


def models(
    list_: Annotated[
        Path | None,
        typer.Argument(
            metavar="[LIST]",
            help="models.yaml, or a text file with a target a line. Default: `targets` of the settings.",
            show_default=False,
        ),
    ] = None,
    against: opt.AgainstOption = None,
    policy: opt.PolicyOption = None,
    profile: opt.ProfileOption = opt.ProfileName.publisher,
    config: opt.ConfigOption = None,
    strict: opt.StrictOption = False,  # noqa: FBT002 (a flag)
    full: opt.FullOption = False,  # noqa: FBT002 (a flag)
    format: opt.FormatOption = opt.Format.text,  # noqa: A002 (the option's name)
    output: opt.OutputOption = None,
    fail_on: opt.FailOnOption = opt.FailOn.fail,
    fail_on_incomplete: opt.IncompleteOption = None,
    layers: opt.LayersOption = opt.Layers.auto,
    quick: opt.QuickOption = False,  # noqa: FBT002 (a flag)
    max_bytes: opt.MaxBytesOption = None,
    build_references: opt.BuildOption = True,  # noqa: FBT002 (a flag)
) -> None:
    """Audit every model of a list, or verify the attestation that the list gives for it.

    A list names targets, and may say more: `attestation` with `key` (or `identity` and `issuer`), `against`, `base`.
    Reports in one file speak of all models (sarif, junit, gitlab, markdown, text) and point at the line that names
    each; a file name with {target} in it is one for each model.

    Exit codes: 0 nothing to act on, 1 findings in any model, 2 usage error, 3 incomplete or inconclusive.
    """
    from auditor.audit import Options
    from auditor.judging import judge_entry
    from auditor.report import Placed, joint_exit_code

    with errors():
        entries = _entries(list_, config)
        outputs = parse_outputs(format, output)
        _check(outputs, entries)
        chosen = Options(
            against=tuple(against or ()),
            policies=tuple(policy or ()),
            profile=profile.value,
            strict=strict,
            config=str(config) if config else None,
            digests="tensors" if full else "known",
            max_bytes=parse_size(max_bytes),
            first_layers=layers.value,
            depth="quick" if quick else "auto",
            build_references=build_references,
            fail_on=fail_on.value,
            fail_on_incomplete=in_ci() if fail_on_incomplete is None else fail_on_incomplete,
        )
        vouchers = [_voucher(entry) for entry in entries]  # a key that is not there is told before the first audit
        judged: list[Judged] = []
        for entry, voucher in zip(entries, vouchers, strict=True):
            with Progress("hashed", phase="reading layers") as progress:
                done = judge_entry(entry, chosen, voucher=voucher, progress=progress, notify=progress.say)
            judged.append(done)
            typer.echo(_line(done), err=True)
        placed = [Placed(report=each.report, place=each.entry.place) for each in judged]
        joint, single = _split(outputs)
        emit(placed, joint)
        for each, slug in zip(placed, _slugs(entries), strict=True):
            emit([each], _filled(single, slug))
    quit_with(joint_exit_code(each.report.exit_code for each in placed))


def _entries(list_: Path | None, config: Path | None) -> tuple[Entry, ...]:
    from auditor.listing import from_settings, read_list
    from auditor.settings import read_settings

    if list_ is not None:
        return read_list(list_)
    if config is not None and (targets := read_settings(config).targets):
        return from_settings(targets, str(config))
    raise UsageError("no models: give a LIST, or set `targets` in auditor.toml")


def _check(outputs: Outputs, entries: Sequence[Entry]) -> None:
    """Refuse several reports in a format that holds one, before the first audit."""
    from auditor.report import JOINT_FORMATS

    joint, _ = _split(outputs)
    formats = [format_ for format_, _ in joint.files] + ([joint.printed] if joint.printed else [])
    for format_ in formats:
        if len(entries) > 1 and format_ not in JOINT_FORMATS:
            raise UsageError(f"{format_.value} holds one report: write one for each model, as {format_.value}={_SLOT}")


def _voucher(entry: Entry) -> Voucher | None:
    if entry.attestation is None:
        return None
    from auditor.cli.verifying import voucher_of

    return voucher_of(
        Path(entry.key) if entry.key else None,
        entry.identity,
        entry.issuer,
        Path(entry.trust_config) if entry.trust_config else None,
        online=False,
    )


def _line(judged: Judged) -> str:
    report = judged.report
    how = "verified" if judged.verified else report.lineage.verdict
    reference = report.lineage.best.reference if report.lineage.best and not judged.error else ""
    about = f" {visible(reference)}" if reference and how in {"identical", "derived"} else ""
    place = judged.entry.place
    where = f"{place.path}:{place.line}"
    return f"{visible(where)}: {visible(judged.entry.target)}: {how}{about}, exit {report.exit_code}"


def _split(outputs: Outputs) -> tuple[Outputs, tuple[tuple[Format, Path], ...]]:
    """Part the files that hold all reports from those that there is one of for each model."""
    single = tuple(file for file in outputs.files if _SLOT in file[1].name)
    return replace(outputs, files=tuple(file for file in outputs.files if file not in single)), single


def _filled(files: Sequence[tuple[Format, Path]], slug: str) -> Outputs:
    return Outputs(
        printed=None,
        files=tuple((format_, path.with_name(path.name.replace(_SLOT, slug))) for format_, path in files),
    )


def _slugs(entries: Sequence[Entry]) -> list[str]:
    """Return names for files: readable, safe in any file system, each once."""
    slugs: list[str] = []
    for entry in entries:
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", entry.name or entry.target).strip("-.")[:100] or "model"
        number = 2
        found = slug
        while found.lower() in {other.lower() for other in slugs}:
            found = f"{slug}-{number}"
            number += 1
        slugs.append(found)
    return slugs
