"""Supporting evidence: shown beside a verdict, never deciding one.

Each piece is weak, or is shared for reasons other than descent; each says what was tested and why it is not enough.
Most of it needs no sketch, so that it can be given where the reference itself is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log10
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from auditor.errors import FileError
from auditor.lineage.embeddings import shared_embeddings
from auditor.lineage.reader import ModelReader, mlp_shape
from auditor.lineage.sketch import NORM_ROLES, read_norms

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

    from auditor.lineage.known import KnownFiles, KnownMatch
    from auditor.lineage.references.table import Reference
    from auditor.lineage.sketch import Sketch
    from auditor.model import ModelView
    from auditor.sources import FileInfo

    Floats = NDArray[np.float64]

Kind = Literal["known-file", "super-weight", "norm-gains", "embeddings", "tokenizer", "config"]

SUPER_WEIGHT_ROWS: Final = 16
"""Rows of `down_proj` read for one coordinate: the row itself and others, to say what is usual in its column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One piece.

    Attributes
    ----------
    kind : {"known-file", "super-weight", "norm-gains", "embeddings", "tokenizer", "config"}
    reference : str or None
        Which reference it speaks of; None where it speaks of none.
    text : str
        What was tested, on what, with what outcome; text of the model in it is not escaped.
    value : float or None
        The statistic that `text` explains; None where it could not be taken.
    log10_p : float or None
        Where there is one. Never corrected, never combined with that of a rung.
    """

    kind: Kind
    reference: str | None
    text: str
    value: float | None = None
    log10_p: float | None = None

    def as_dict(self) -> dict[str, object]:
        """Return the piece as plain data, as the report's `lineage.supporting` carries it."""
        return {
            "kind": self.kind,
            "reference": self.reference,
            "text": self.text,
            "value": self.value,
            "log10_p": self.log10_p,
        }


def supporting_evidence(view: ModelView, reference: Reference, sketch: Sketch | None = None) -> tuple[Evidence, ...]:
    """Gather everything about one model and one reference.

    Parameters
    ----------
    view : ModelView
        Of the target.
    reference : Reference
    sketch : Sketch, optional
        Of the reference; without one there are no norm gains to compare.

    Returns
    -------
    tuple of Evidence
        What cannot be read is said in the piece; nothing is raised.
    """
    pieces = [config_agreement(reference, **shape_of(view))]
    pieces += [super_weight(view, reference, coordinate) for coordinate in reference.super_weights]
    if sketch is not None and sketch.norms:
        pieces.append(norm_gains(view, sketch))
    if sketch is not None and view.on_disk and (piece := embedding_columns(view, sketch)):
        pieces.append(piece)
    return tuple(pieces)


def shape_of(view: ModelView) -> dict[str, int | None]:
    """Return the shape of a model as its tensors have it, whatever its config says: None where it has none."""
    try:
        neurons, hidden = mlp_shape(view)
    except FileError:
        return dict.fromkeys(("layers", "hidden_size", "neurons", "vocabulary"))
    try:
        vocabulary: int | None = view.tensor(None, "embed").shape[0]
    except (KeyError, IndexError, FileError):
        vocabulary = None
    layers = len(view.layers("gate", "up"))
    return {"layers": layers, "hidden_size": hidden, "neurons": neurons, "vocabulary": vocabulary}


def config_agreement(
    reference: Reference,
    *,
    layers: int | None,
    hidden_size: int | None,
    neurons: int | None,
    vocabulary: int | None,
) -> Evidence:
    """Compare shapes. Independent models share them all, and descendants can differ in each.

    Returns
    -------
    Evidence
        `value` is the share of the known fields that agree.
    """
    found = {"layers": layers, "hidden_size": hidden_size, "neurons": neurons, "vocabulary": vocabulary}
    known = {key: getattr(reference, key) for key in found}
    compared = [key for key in found if found[key] is not None and known[key] is not None]
    differing = [f"{key} {found[key]}, not {known[key]}" for key in compared if found[key] != known[key]]
    text = f"{len(compared) - len(differing)} of {len(compared)} shape fields agree"
    text += f" ({'; '.join(differing)})" if differing else ""
    text += ": independent models share shapes, so this is no evidence of descent"
    value = 1.0 - len(differing) / len(compared) if compared else None
    return Evidence(kind="config", reference=reference.name, text=text, value=value)


def super_weight(view: ModelView, reference: Reference, coordinate: tuple[int, int, int]) -> Evidence:
    """Look whether a known super weight stands out where the reference has it.

    The coordinates were found through activations (Yu et al., arXiv 2411.07191), so the value need not be the
    largest; and they move with the neurons and the hidden dimension, so that their absence excludes nothing.

    Parameters
    ----------
    view : ModelView
    reference : Reference
    coordinate : (layer, row, column)
        In `down_proj`, shape (hidden size, neurons).
    """
    layer, row, column = coordinate
    where = f"down_proj of layer {layer}, row {row}, column {column}"

    def untested(reason: str) -> Evidence:
        return Evidence(kind="super-weight", reference=reference.name, text=f"{where}: not tested: {reason}")

    if layer not in view.layers("down"):
        return untested("there is no such matrix")
    try:
        shape = view.tensor(layer, "down").shape
    except FileError as error:
        return untested(error.reason)
    if shape != (reference.hidden_size, reference.neurons):
        return untested(f"the matrix is {' x '.join(map(str, shape))}, not the reference's")
    start = max(0, min(row - SUPER_WEIGHT_ROWS // 2, shape[0] - SUPER_WEIGHT_ROWS))
    index = np.arange(start, min(start + SUPER_WEIGHT_ROWS, shape[0]))  # side by side: one range of bytes
    try:
        rows = view.rows(layer, "down", index)
    except FileError as error:
        return untested(error.reason)
    found = outlier(rows, row=row - start, column=column)
    if found is None:
        return untested("the row holds no finite values other than zero")
    text = (
        f"{where}: |w| is {found.times_usual:.1f} times its row's root mean square, number {found.rank} of {found.n} "
        f"in its row and {found.column_rank} of {len(rows)} rows read in its column"
    )
    return Evidence(
        kind="super-weight",
        reference=reference.name,
        text=text,
        value=found.times_usual,
        log10_p=log10(found.rank / found.n),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlier:
    """How far one entry of a matrix stands out.

    Attributes
    ----------
    times_usual : float
        Its size over the root mean square of the rest of its row.
    rank, n : int
        Entries of its row that are at least as large, itself included, of how many. Were the columns (neurons)
        exchangeable, rank / n would be an exact p-value.
    column_rank : int
        The same in its column, of the rows given.
    """

    times_usual: float
    rank: int
    n: int
    column_rank: int


def outlier(rows: ArrayLike, *, row: int, column: int) -> Outlier | None:
    """Measure how far an entry stands out of some rows of its matrix.

    Parameters
    ----------
    rows : array_like of float, shape (k, n)
    row, column : int
        Of the entry, in `rows`.

    Returns
    -------
    Outlier or None
        None where the entry is not finite or the rest of its row is zero. Values that are not finite are left out.

    Examples
    --------
    >>> outlier([[1.0, -1.0, 8.0, 1.0]], row=0, column=2)
    Outlier(times_usual=8.0, rank=1, n=4, column_rank=1)
    """
    sizes = np.abs(np.asarray(rows, dtype=np.float64))
    sizes = np.where(np.isfinite(sizes), sizes, np.nan)
    here, line = sizes[row, column], sizes[row]
    rest = np.delete(line, column)
    rest = rest[~np.isnan(rest)]
    if np.isnan(here) or not rest.size or not rest.any():
        return None
    usual = float(np.sqrt(np.mean((rest / rest.max()) ** 2))) * float(rest.max())
    with np.errstate(invalid="ignore"):  # NaN compares false
        return Outlier(
            times_usual=float(here / usual),
            rank=1 + int((rest >= here).sum()),
            n=1 + int(rest.size),
            column_rank=int((sizes[:, column] >= here).sum()),
        )


def norm_gains(view: ModelView, sketch: Sketch) -> Evidence:
    """Compare the norm gains of layers of equal number with those of a sketch."""

    def piece(text: str, value: float | None = None) -> Evidence:
        return Evidence(kind="norm-gains", reference=sketch.name, text=text, value=value)

    known = sketch.norms or {}
    layers = tuple(layer for layer in sketch.sample.layers if layer in set(view.layers("gate", "up", *known)))
    try:
        target = read_norms(view, layers, sketch.sample.hidden_size) if layers else {}
    except FileError as error:
        return piece(f"norm gains: not tested: {error.reason}")
    place = [sketch.sample.layers.index(layer) for layer in layers]
    roles = [role for role in NORM_ROLES if role in known and role in target]
    if not roles:
        return piece("norm gains: not tested: no layer of equal number has them in the reference's width")
    ours = np.concatenate([np.asarray(known[role], dtype=np.float64)[place] for role in roles])
    theirs = np.concatenate([target[role] for role in roles])
    found = column_agreement(ours, theirs)
    if found is None:
        return piece("norm gains: not tested: they are constant")
    return piece(
        f"norm gains of {len(layers)} layers correlate by {found.correlation:.3f} on average, z {found.z:.1f} against "
        "permutations of the hidden dimension (nominal)",
        found.z,
    )


def embedding_columns(view: ModelView, sketch: Sketch) -> Evidence | None:
    """Compare the embeddings of tokens of equal number; None where one side has none in the same width.

    Embeddings can be transplanted, so that they agree says nothing of the rest.
    """
    tokens = sketch.token_rows()
    reader = ModelReader(view)
    try:
        vocabulary = reader.vocabulary() if reader.shape[1] == sketch.sample.hidden_size else 0
        same = tokens.ids < vocabulary if tokens is not None else np.zeros(0, dtype=np.bool_)
        if tokens is None or not same.any():
            return None
        found = shared_embeddings(tokens.rows[same], reader.tokens(tokens.ids[same]))
    except FileError as error:
        return Evidence(kind="embeddings", reference=sketch.name, text=f"embeddings: not tested: {error.reason}")
    if found is None:
        return None
    return Evidence(
        kind="embeddings",
        reference=sketch.name,
        text=f"embeddings of {found.tokens} tokens have a mean cosine of {found.cosine:.3f}; columns were exchanged",
        value=found.cosine,
        log10_p=found.log10_p,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How well the columns of two matrices agree.

    Attributes
    ----------
    correlation : float
        Mean correlation of rows of equal number.
    z : float
        Of the sum of correlations, against its exact mean and variance under permutations of one side's columns.
    rows : int
        Rows that could be compared.
    """

    correlation: float
    z: float
    rows: int


def column_agreement(ours: ArrayLike, theirs: ArrayLike) -> Agreement | None:
    r"""Compare two matrices column by column, under exchangeable columns.

    With centred unit rows :math:`a_i, b_i`, the statistic is :math:`S = \sum_i a_i \cdot b_i`. Under a uniform
    permutation of one side's :math:`d` columns, the same for all rows, it has mean 0 and variance
    :math:`\frac{1}{d-1} \sum_{ij} (a_i \cdot a_j)(b_i \cdot b_j)` (W. Hoeffding, *Ann. Math. Statist.* 22, 1951), so
    nothing is simulated, and rows may correlate among themselves. `z` is nominal where few columns carry it all.

    Parameters
    ----------
    ours, theirs : array_like of float, shape (m, d)

    Returns
    -------
    Agreement or None
        None where no row is finite and varies on both sides.

    Examples
    --------
    >>> a = [[1.0, 2.0, 3.0, 4.0]]
    >>> round(column_agreement(a, a).z, 3)
    1.732
    """
    a, ours_ok = _centred_units(ours)
    b, theirs_ok = _centred_units(theirs)
    ok = ours_ok & theirs_ok
    a, b = a[ok], b[ok]
    if not len(a):
        return None
    correlations = np.einsum("ij,ij->i", a, b)
    variance = float(((a @ a.T) * (b @ b.T)).sum()) / (a.shape[1] - 1)
    if variance <= 0.0:
        return None
    return Agreement(
        correlation=float(correlations.mean()), z=float(correlations.sum()) / variance**0.5, rows=len(correlations)
    )


def tokenizer_agreement(files: Iterable[FileInfo], known: KnownFiles) -> tuple[Evidence, ...]:
    """Say which tokenizer files are known ones: evidence of nothing but a vocabulary."""
    return tuple(
        Evidence(
            kind="tokenizer",
            reference=None,
            text=f"{match.path} is the {match.known.model}, {match.known.note or 'shared by many models'}: "
            "no evidence of descent",
        )
        for match in known.match(files)
        if match.known.relation == "shared"
    )


def known_files(matches: Iterable[KnownMatch]) -> tuple[Evidence, ...]:
    """Turn matches of rung 0 into pieces: those that do not decide it, and those that do."""
    return tuple(
        Evidence(kind="known-file", reference=match.known.reference, text=match.text)
        for match in matches
        if match.known.relation != "shared"
    )


def _centred_units(rows: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    values = np.asarray(rows, dtype=np.float64)
    ok = np.asarray(np.isfinite(values).all(axis=1), dtype=np.bool_)
    values = np.where(ok[:, None], values, 0.0)
    top = np.abs(values).max(axis=1, initial=0.0, keepdims=True)
    values = values / np.where(top > 0.0, top, 1.0)
    centred = values - values.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1)
    ok &= length > 1e-9 * np.sqrt(values.shape[1])  # relative to the largest entry: a constant row, up to rounding
    return centred / np.where(ok, length, 1.0)[:, None], ok
