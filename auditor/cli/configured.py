"""Commands that take what they are not given from the user's settings.

What is given on the command line wins, then the environment (`AUDITOR_FAIL_ON`), then the file of settings, then the
default: the order of click, which knows the file as a command's `default_map`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperOption

from auditor.escape import visible
from auditor.usertoml import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditor.settings import Settings


class Configured(TyperCommand):
    """A command whose options can stand in a file of settings, and in the environment."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (click's)
        super().__init__(*args, **kwargs)
        for name, option in self._options().items():
            option.envvar = "AUDITOR_" + name.removeprefix("--").replace("-", "_").upper()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 (click's own types are private in typer)
        """Look for the settings before anything is parsed for good."""
        from auditor.cli.console import errors

        with errors():
            given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
            path = _file(given.get("config"), _targets(given))
            if path is not None:
                from auditor.settings import read_settings

                ctx.default_map = {**self._defaults(read_settings(path)), "config": str(path)}
        return super().parse_args(ctx, args)

    def _defaults(self, settings: Settings) -> dict[str, object]:
        """Return the settings that this command has an option for."""
        options = self._options()
        defaults: dict[str, object] = {}
        for key, value in settings.values.items():
            option = options.get(f"--{key}")
            if option is None:
                continue
            defaults[str(option.name)] = list(value) if isinstance(value, tuple) else value
        return defaults

    def _options(self) -> dict[str, TyperOption]:
        """Return the options that settings can set, by their long names."""
        options = {name: param for param in self.params if isinstance(param, TyperOption) for name in param.opts}
        if not getattr(options.get("--output"), "multiple", False):  # of an attestation, and of an answer: no reports
            options.pop("--output", None)
            options.pop("--format", None)
        return {name: option for name, option in options.items() if name[2:] in {*SETTINGS, "config", "sample-seed"}}


def _targets(given: dict[str, Any]) -> Sequence[str]:
    target = given.get("target")
    return [target] if isinstance(target, str) else list(target or ())


def _file(given: object, targets: Sequence[str]) -> Path | None:
    """Return the settings to use: those named, else those of the folder that the command runs in.

    Settings that a target brings along are none: it would choose by what it is judged.
    """
    if isinstance(given, str):
        return Path(given)
    if named := os.environ.get("AUDITOR_CONFIG"):
        return Path(named)
    from auditor.settings import find_settings

    found = find_settings(Path())
    if found is None:
        return None
    for target in targets:
        if Path(target).is_dir() and found.resolve().is_relative_to(Path(target).resolve()):
            typer.echo(
                f"auditor: {visible(str(found))} lies in the target itself and is not used; "
                f"--config {visible(str(found))} uses it",
                err=True,
            )
            return None
    return found
