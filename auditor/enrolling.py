"""Making references: a sketch of any model, or that of one which the library lists, from its own repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor import __version__
from auditor.digests.files import digest_files
from auditor.digests.layout import tensor_layouts
from auditor.digests.weights import weights_digest
from auditor.errors import FileError, HubError, HubMismatch, HubUnreachable, TargetError, UsageError
from auditor.formats import open_checkpoints
from auditor.lineage import dump_sketch, sketch_model
from auditor.lineage.references import build_reference, find_reference, install_sketch
from auditor.lineage.sketch import Provenance
from auditor.model import model_views
from auditor.sources import open_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditor.digests.files import Progress
    from auditor.lineage.references import Installed

    Notify = Callable[[str], None]


def sketch(
    target: str,
    *,
    name: str,
    seed: int = 0,
    license: str | None = None,  # noqa: A002 (the word the field uses)
    deep: bool = False,
    progress: Progress | None = None,
) -> bytes:
    """Make a reference of a model: the bytes of a sketch file.

    Parameters
    ----------
    target : str
        Folder or file that holds one model, all of it readable.
    name : str
        What the reference is called.
    seed : int
        Of the sampled neurons.
    license : str, optional
        Licence of the model, as an SPDX id or Hub name.
    deep : bool
        Also keep second moments, with which disguised derivatives are found where tokens do not help.
    progress : callable, optional
        See `digest_files`: every byte of the weights is read once.

    Raises
    ------
    TargetError
        When the target holds no model, several, or one that cannot be read whole.
    """
    source = open_source(target)
    checkpoints = open_checkpoints(source)
    if checkpoints.unread:
        unread = checkpoints.unread[0]
        raise TargetError(f"{target}: cannot be read whole: {unread.path}: {unread.reason}")
    try:
        models = [view for container in checkpoints.containers for view in model_views(source, container)]
        if len(models) != 1:
            found = ", ".join(model.container.files[0] for model in models) or "none with gated MLP blocks"
            raise TargetError(f"{target}: one model is needed for a reference, found: {found}")
        (model,) = models
        layouts = tensor_layouts([model.container], models)
        # What the Hub vouches for need not be fetched whole; then nothing is known of the values of all tensors.
        on_disk = all(source.on_disk(path) is not None for path in model.container.files)
        done = digest_files(source, model.container.files, tensors=layouts if on_disk else None, progress=progress)
        if done.unread:
            raise TargetError(f"{target}: cannot be read whole: {done.unread[0].path}: {done.unread[0].reason}")
        made = sketch_model(
            model,
            name=name,
            seed=seed,
            origin=done.files,
            license=license,
            norms=True,
            tokens=True,
            moments=deep,
            provenance=Provenance(weights=weights_digest(model, done.tensors)),
        )
    except FileError as error:
        raise TargetError(f"{target}: cannot be read whole: {error}") from error
    return dump_sketch(made, tool_version=__version__)


def build(name: str, *, folder: str | None = None, deep: bool = False, notify: Notify | None = None) -> Installed:
    """Make the sketch of a reference that the library lists, and keep it in the cache.

    Parameters
    ----------
    name : str
        Of the library.
    folder : str, optional
        A licensed copy on this machine, whose pinned files are hashed. The reference's repositories on the Hub where
        left out: the official one, and its mirrors where that is closed to us: gated, gone, or not in the cache of a
        machine that is offline.
    deep : bool
        Also keep what finds disguised derivatives without their tokens; needs `folder`, for the model is read whole.
    notify : callable, optional
        Told what is about to be read.

    Raises
    ------
    UsageError
        There is no such reference.
    TargetError
        It cannot be reached.
    BadReference
        What is there is not the reference.
    """
    reference = find_reference(name)
    say = notify or (lambda _: None)
    if folder is not None:
        say(f"making the sketch of {name} from {folder}; its weight files are hashed")
        data = build_reference(reference, open_source(folder), tool_version=__version__, deep=deep)
        return install_sketch(reference, data)
    if deep:
        raise UsageError(f"{name}: --deep reads the whole model, so it needs a copy on this machine: --from FOLDER")
    if not reference.repos:
        raise UsageError(f"{name}: the library names no repository of it; give a folder with --from")
    closed: TargetError | None = None
    for repo in reference.repos:
        try:
            say(f"making the sketch of {name} from {repo}, once: some tens of MB")
            source = open_source(f"hf://{repo}")
            data = build_reference(reference, source, repo=repo, tool_version=__version__)
        except (HubUnreachable, HubMismatch):  # the server, not the repository
            raise
        except HubError as error:
            closed = closed or error
            continue
        return install_sketch(reference, data)
    raise closed or UsageError(name)
