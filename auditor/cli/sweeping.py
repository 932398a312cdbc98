"""`auditor sweep`: everything that a team mirrors into one store, and what the store holds for people and programs."""

from __future__ import annotations

import re
import signal
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.cli import options as opt
from auditor.cli.console import echo_json, errors, in_ci, parse_size, quit_with
from auditor.errors import EngineDown, HostDown, UsageError
from auditor.escape import visible
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditor.sweep.driver import Plan, Step
    from auditor.sweep.reading import Totals


class EngineName(StrEnum):
    """Where audits run."""

    local = "local"
    ray = "ray"


_EXIT_INTERRUPTED = 130  # as shells say it
_EVERY = 5.0  # seconds between two lines of progress

StoreOption = Annotated[
    Path, typer.Option("--store", metavar="FILE", help="The store of the sweep (SQLite).", show_default=False)
]


def run(
    collection: Annotated[
        str,
        typer.Argument(
            metavar="TARGETS",
            help="A file of targets, hf:org/*, models:/* (MLflow), oci://registry/*, or s3://bucket/* (gs: too).",
            show_default=False,
        ),
    ],
    store: StoreOption,
    against: opt.AgainstOption = None,
    policy: opt.PolicyOption = None,
    profile: opt.ProfileOption = opt.ProfileName.publisher,
    config: opt.ConfigOption = None,
    strict: opt.StrictOption = False,  # noqa: FBT002 (a flag)
    full: opt.FullOption = False,  # noqa: FBT002 (a flag)
    fail_on: opt.FailOnOption = opt.FailOn.fail,
    fail_on_incomplete: opt.IncompleteOption = None,
    layers: opt.LayersOption = opt.Layers.auto,
    quick: opt.QuickOption = False,  # noqa: FBT002 (a flag)
    max_bytes: opt.MaxBytesOption = None,
    build_references: opt.BuildOption = True,  # noqa: FBT002 (a flag)
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", help="hf: only models with this tag. May be repeated.", show_default=False),
    ] = None,
    updated_since: Annotated[
        str | None,
        typer.Option("--updated-since", metavar="DATE", help="hf: only models changed since.", show_default=False),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option("--max-size", help="hf: only models whose weights take no more: 20GB.", show_default=False),
    ] = None,
    families: Annotated[  # noqa: FBT002 (a flag)
        bool,
        typer.Option("--families/--no-families", help="Keep a kilobyte of each model, for `sweep families`."),
    ] = True,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Targets at once. Default: one for each core.", show_default=False),
    ] = None,
    engine: Annotated[EngineName, typer.Option("--engine", help="Where audits run.")] = EngineName.local,
    ray_address: Annotated[
        str | None,
        typer.Option("--ray-address", help="Of a Ray cluster. Default: one is started here.", show_default=False),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="I/N", help="Only the I-th of N parts, into a store of its own; see merge."),
    ] = None,
    max_tries: Annotated[int, typer.Option("--max-tries", min=1, help="Tries at one target.")] = 3,
    target_seconds: Annotated[
        float, typer.Option("--target-seconds", min=1, help="Longest try at one target.")
    ] = LIMITS.sweep_target_seconds,
    rate: Annotated[
        int | None,
        typer.Option(
            "--rate",
            min=1,
            help="Requests to one host in five minutes. Default: what the public Hub grants; no limit elsewhere.",
            show_default=False,
        ),
    ] = None,
    patience: Annotated[
        float, typer.Option("--patience", min=0, help="Seconds that a host may serve nothing before the sweep stops.")
    ] = 300.0,
) -> None:
    """Audit every target of a list or an organisation, and keep each result. Run again, it goes on where it was ended.

    A revision that was audited under the same options, tool and references is not read again.

    Exit codes: 0 nothing to act on, 1 findings in any model, 2 usage error, 3 incomplete, inconclusive or not finished.
    """
    from auditor.audit import Options
    from auditor.report import EXIT_OK
    from auditor.sources.hub_settings import HubSettings
    from auditor.sweep.driver import Plan
    from auditor.sweep.keys import Keys
    from auditor.sweep.listings import Filters, open_listing

    with errors():
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
            compact=families,
            fail_on=fail_on.value,
            fail_on_incomplete=in_ci() if fail_on_incomplete is None else fail_on_incomplete,
        )
        filters = Filters(tags=tuple(tag or ()), updated_since=_date(updated_since), max_bytes=parse_size(max_size))
        settings = HubSettings.current()
        plan = Plan(
            name=collection,
            listing=open_listing(collection, filters),
            options=chosen,
            keys=Keys(chosen, str(settings.origin)),
            shard=_shard(shard),
            filters=repr(filters),
            max_tries=max_tries,
            target_seconds=target_seconds,
            patience=patience,
        )
        found = _sweep(plan, store, engine, workers, ray_address, rate)
        _say_totals(found)
    empty = not found.targets and plan.shard[1] > 1  # other parts have them all
    quit_with(EXIT_OK if empty else _code(found))


def status(store: StoreOption, format: opt.AnswerOption = opt.Answer.text) -> None:  # noqa: A002 (the option's name)
    """Say how far a store is. Changes nothing, and disturbs no sweep."""
    from auditor.sweep.connection import opened_reading
    from auditor.sweep.reading import totals

    with errors(), opened_reading(store) as connection:
        found = totals(connection, store)
    if format is opt.Answer.json:
        echo_json({
            "source": found.source,
            "ended": found.ended,
            "targets": found.targets,
            "states": found.states,
            "verdicts": found.verdicts,
            "unchanged": found.unchanged,
            "copies": found.copies,
            "bytes": found.bytes,
            "requests": found.requests,
            "seconds": round(found.seconds, 3),
            "driver": found.driver,
        })  # fmt: skip
        return
    for line in _lines(found):
        typer.echo(line)


def families(store: StoreOption, format: opt.AnswerOption = opt.Answer.text) -> None:  # noqa: A002 (the option's name)
    """Say which of the swept models descend from one another, whatever is enrolled: the nearest relative of each.

    Exact p-values, corrected for every model of the same shape. Likeness has no direction: the one that was listed
    first is named as what the other is like.
    """
    from auditor.sweep.connection import opened_reading
    from auditor.sweep.families import family_graph

    with errors(), opened_reading(store) as connection:
        found = family_graph(connection, store)
    if format is opt.Answer.json:
        echo_json([member.as_dict() for member in found])
        return
    for member in found:
        near = member.nearest
        like = f"like {visible(near.target)}, cosine {near.cosine:.2f}, log10 p {near.log10_p:.0f}" if near else "-"
        enrolled = f"; {visible(member.verdict)}" + (f" {visible(member.reference)}" if member.reference else "")
        typer.echo(f"{member.family:>5}  {visible(member.target)}: {like}{enrolled}")


def export(
    store: StoreOption,
    jsonl: Annotated[
        Path | None, typer.Option("--jsonl", metavar="FILE", help="A line of JSON a target.", show_default=False)
    ] = None,
    parquet: Annotated[
        Path | None,
        typer.Option("--parquet", metavar="FILE", help="A table, for DuckDB and others.", show_default=False),
    ] = None,
    sarif: Annotated[
        Path | None, typer.Option("--sarif", metavar="FILE", help="Findings, for code scanning.", show_default=False)
    ] = None,
) -> None:
    """Write every target, with its latest result, to files."""
    from auditor.sweep.connection import opened_reading
    from auditor.sweep.export import write_jsonl, write_parquet, write_sarif
    from auditor.sweep.reading import records

    with errors():
        if jsonl is None and parquet is None and sarif is None:
            raise UsageError("nothing to write: give --jsonl, --parquet or --sarif")
        with opened_reading(store) as connection:
            for path, write in ((jsonl, write_jsonl), (parquet, write_parquet)):
                if path is not None:
                    count = write(path, records(connection, store))
                    typer.echo(f"{visible(str(path))}: {count} targets", err=True)
            if sarif is not None:
                for path in write_sarif(sarif, records(connection, store)):
                    typer.echo(f"{visible(str(path))}: written", err=True)


def report(
    store: StoreOption,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to make, or to replace.", show_default=False)
    ],
) -> None:
    """Write a folder of HTML: an index with filters and a drawer for each target, and the report of each."""
    from auditor.sweep.connection import opened_reading
    from auditor.sweep.pages import write_pages
    from auditor.sweep.reading import records, totals

    with errors(), opened_reading(store) as connection:
        pages = write_pages(output, records(connection, store, gravest_first=True), totals(connection, store))
        typer.echo(f"{visible(str(output / 'index.html'))}: {pages} page{'s' if pages > 1 else ''}", err=True)


def merge(
    stores: Annotated[list[Path], typer.Argument(metavar="STORE...", help="Stores of shards.", show_default=False)],
    store: Annotated[
        Path, typer.Option("--store", metavar="FILE", help="Store to merge into; made if need be.", show_default=False)
    ],
) -> None:
    """Merge stores, as of the shards of one sweep: all of them, or nothing where two contradict each other."""
    from auditor.sweep.merging import merge as take_over
    from auditor.sweep.store import Store

    with errors():
        if any(path.resolve() == store.resolve() for path in stores):
            raise UsageError(f"{store}: a store is not merged into itself")
        with Store(store) as opened:
            count = take_over(opened, stores)
        typer.echo(f"{visible(str(store))}: {count} targets from {len(stores)} stores", err=True)


def _sweep(
    plan: Plan, path: Path, engine: EngineName, workers: int | None, address: str | None, rate: int | None
) -> Totals:
    from auditor.sources.hub_settings import HubSettings
    from auditor.sweep.connection import opened_reading
    from auditor.sweep.driver import sweep
    from auditor.sweep.engines import open_engine
    from auditor.sweep.pacing import Pace, host_of, quota_for
    from auditor.sweep.reading import totals
    from auditor.sweep.store import Store

    settings = HubSettings.current()
    hub = str(settings.origin)
    pace = Pace(quota_for(settings, rate), patience=LIMITS.sweep_host_failures, pause=LIMITS.sweep_pause_seconds)
    with Store(path) as store:
        running = open_engine(engine.value, workers=workers, address=address)
        try:
            with _ended_by_signals():
                sweep(store, plan, running, pace=pace, host_of=lambda target: host_of(target, hub), notify=_Told())
        except KeyboardInterrupt:
            typer.echo("auditor: interrupted; run the same again to go on", err=True)
            quit_with(_EXIT_INTERRUPTED)
        except (EngineDown, HostDown) as error:
            typer.echo(f"auditor: {visible(str(error), limit=1000)}", err=True)
        finally:
            running.stop()
    with opened_reading(path) as connection:
        return totals(connection, path, round_only=True)


class _Told:
    """Lines on standard error: every failure, and now and then how far it is."""

    def __init__(self) -> None:
        self._said = time.monotonic()
        self._done = 0
        self._begun = time.monotonic()

    def __call__(self, step: Step) -> None:
        self._done += step.state != "queued"
        if step.state == "failed":
            outcome = step.outcome
            typer.echo(f"failed: {visible(f'{outcome.error_code}: {outcome.error}', limit=1000)}", err=True)
        now = time.monotonic()
        if now - self._said >= _EVERY:
            self._said = now
            a_minute = 60 * self._done / (now - self._begun)
            typer.echo(f"{self._done} done, {step.left} left, {a_minute:.0f} a minute", err=True)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM end the sweep as Ctrl-C does: what is under way is given back to the store."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _code(found: Totals) -> int:
    from auditor.report import EXIT_INCOMPLETE, joint_exit_code

    unfinished = [EXIT_INCOMPLETE] if set(found.states) - {"done"} else []
    return joint_exit_code([*found.exit_codes, *unfinished])


def _say_totals(found: Totals) -> None:
    for line in _lines(found):
        typer.echo(line, err=True)


def _lines(found: Totals) -> Iterator[str]:
    from auditor.report.words import size

    counts = ", ".join(f"{count} {state}" for state, count in sorted(found.states.items()))
    yield f"targets    {found.targets}" + (f": {counts}" if counts else "")
    if found.verdicts:
        yield "verdicts   " + ", ".join(f"{count} {visible(name)}" for name, count in sorted(found.verdicts.items()))
    yield f"unchanged  {found.unchanged}"
    if found.copies:
        yield f"copies     {found.copies}, of weights that were judged once"
    yield f"took       {size(found.bytes)} in {found.requests} requests, {found.seconds:.0f} s of workers"
    if found.source is not None:
        yield f"sweep      {visible(found.source)}, {'ended' if found.ended else 'not ended: run it again to go on'}"
    if found.driver is not None:
        yield f"writing    {visible(found.driver)}"


_SHARD = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


def _shard(text: str | None) -> tuple[int, int]:
    if text is None:
        return 1, 1
    match = _SHARD.fullmatch(text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard {text}: write 1/4 for the first of four parts")
    return int(match[1]), int(match[2])


def _date(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--updated-since {text}: write 2026-11-02") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)
