"""What of a target can be audited: its models, and its adapters, alone or merged into the base that the user gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditor.errors import FileError, LimitExceeded, UsageError
from auditor.formats.strictjson import quoted
from auditor.limits import LIMITS
from auditor.model.adapter import find_adapters
from auditor.model.finding import model_views, unplaced_share
from auditor.model.merged import MergedView, merge
from auditor.model.view import ModelView
from auditor.sources.base import Unread

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auditor.formats import Checkpoints, Container
    from auditor.model.adapter import Adapter
    from auditor.sources.base import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The model that adapters of a target are merged into, as the user names it.

    Attributes
    ----------
    uri : str
    revision : str or None
    view : ModelView
    """

    uri: str
    revision: str | None
    view: ModelView


@dataclass(frozen=True, slots=True, kw_only=True)
class Subjects:
    """What is compared with references.

    Attributes
    ----------
    own : tuple of ModelView
        Models of the target itself.
    merged : tuple of MergedView
        Adapters merged into the base.
    saved : tuple of ModelView
        Whole modules that adapters hold which are not merged.
    adapters : tuple of Adapter
    base : Base or None
    containers : tuple of Container
        In which every matrix should have its place in one of the models.
    unread : tuple of Unread
    """

    own: tuple[ModelView, ...]
    merged: tuple[MergedView, ...]
    saved: tuple[ModelView, ...]
    adapters: tuple[Adapter, ...]
    base: Base | None
    containers: tuple[Container, ...]
    unread: tuple[Unread, ...]

    @property
    def models(self) -> tuple[ModelView, ...]:
        """All that is compared."""
        return (*self.own, *self.merged, *self.saved)

    @property
    def unplaced(self) -> float:
        """Share of the weights that nothing here knows, see `unplaced_share`."""
        known = (*self.own, *((self.base.view,) if self.base else ()))
        return unplaced_share(self.containers, known)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Why matrices of known names are left out, each reason once."""
        return tuple(dict.fromkeys(unplaced.reason for view in self.models for unplaced in view.unplaced))

    @property
    def alone(self) -> bool:
        """There are adapters, no base for them, and no other weights."""
        others = any(len(entry.shape) > 1 for container in self.containers for entry in container.tensors)
        return bool(self.adapters) and not self.own and not self.merged and not others


def find_base(source: Source, checkpoints: Checkpoints) -> Base:
    """Find the one model that adapters are merged into.

    Raises
    ------
    UsageError
        There is none, or more than one, or not all of it can be read.
    """
    views: list[ModelView] = []
    for container in checkpoints.containers:
        try:
            views.extend(view for view in model_views(source, container) if view.gated)
        except FileError as error:
            raise UsageError(f"--base {source.uri}: {error}") from error
    if checkpoints.unread:
        unread = checkpoints.unread[0]
        raise UsageError(f"--base {source.uri}: cannot be read whole: {unread.path}: {unread.reason}")
    if len(views) != 1:
        raise UsageError(f"--base {source.uri}: {len(views) or 'no'} models with gated MLP blocks, where one is needed")
    return Base(uri=source.uri, revision=source.revision, view=views[0])


def find_subjects(source: Source, checkpoints: Checkpoints, *, base: Base | None = None) -> Subjects:
    """Find every model of a target, and merge its adapters.

    Parameters
    ----------
    source : Source
    checkpoints : Checkpoints
    base : Base, optional
        What every adapter of the target is merged into.

    Raises
    ------
    UsageError
        A base is given, and there is no adapter.
    """
    adapters, unread_configs = find_adapters(source, checkpoints.containers)
    if base is not None and not adapters:
        raise UsageError(f"--base is for adapters, and there is none in {source.uri}")
    unread = [*checkpoints.unread, *unread_configs]
    apart = {id(adapter.container) for adapter in adapters if adapter.container.files == (adapter.file,)}
    plain = [container for container in checkpoints.containers if id(container) not in apart]
    own = _views(source, plain, unread)
    merged: list[MergedView] = []
    saved: list[ModelView] = []
    for adapter in adapters:
        view = _merged(base, adapter, source, unread) if base else None
        if view is not None:
            merged.append(view)
        else:
            saved += _saved(source, adapter, unread)
    kept = plain
    if base is None and own:  # weights may hide in what looks like changes of another model
        kept = list(checkpoints.containers)
    found = [*own, *merged, *saved]
    for over in found[LIMITS.models :]:
        path = over.container.files[0]
        unread.append(
            Unread.from_error(LimitExceeded(file=path, field="models", actual=len(found), limit=LIMITS.models))
        )
    room = LIMITS.models
    return Subjects(
        own=tuple(own[:room]),
        merged=tuple(merged[: max(0, room - len(own))]),
        saved=tuple(saved[: max(0, room - len(own) - len(merged))]),
        adapters=adapters,
        base=base,
        containers=(*kept, *((base.view.container,) if base else ())),
        unread=tuple(dict.fromkeys(unread)),
    )


def _views(source: Source, containers: Iterable[Container], unread: list[Unread]) -> list[ModelView]:
    views: list[ModelView] = []
    for container in containers:
        try:
            views.extend(model_views(source, container))
        except FileError as error:
            unread.append(Unread.from_error(error))
    return views


def _merged(base: Base, adapter: Adapter, source: Source, unread: list[Unread]) -> MergedView | None:
    try:
        return merge(base.view, adapter, source)
    except FileError as error:
        unread.append(Unread.from_error(error))
        return None


def _saved(source: Source, adapter: Adapter, unread: list[Unread]) -> list[ModelView]:
    """See the modules that an adapter holds whole as a model: by their names, or else one by one."""
    views = [view for view in _views(source, [adapter.container], unread) if view.gated]
    if views or not adapter.full:
        return views
    return [ModelView(source=source, container=adapter.container, prefix="", tensors=dict(adapter.full))]


def told(adapter: Adapter) -> str:
    """Say in words what an adapter claims; text of the file in it is not escaped."""
    claimed = f"it names {quoted(adapter.base)} as its base" if adapter.base else "it names no base"
    problems = f"; it cannot be merged: {adapter.problems[0]}" if adapter.problems else ""
    return f"{claimed}, which its weights do not prove{problems}"
