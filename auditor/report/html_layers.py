"""The layers of a target against those of a reference, as a table that can be coloured: what the page draws first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from auditor.lineage import Candidate, LayerMatch

MOST_LAYERS: Final = 256
"""Rows and columns of a map; the deepest public models have some 130 layers."""
MOST_CELLS: Final = 1024
"""Filled cells of a map: where every layer matches several, as blown-up copies do, a list reads better."""
LEVELS: Final = 10
"""Steps of the colour scale, each a tenth wide."""
_MOST: Final = 1.005
"""What a cosine can be, rounded. A report read from a file can say anything."""
_WIDTHS: Final = ((12, "narrow"), (40, "medium"), (80, "wide"))
"""Columns up to which cells are so wide; the widest map is left out on paper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of the map.

    Attributes
    ----------
    text : str
        The number, as ".93"; empty where no pair was matched.
    level : str
        Class of its colour: "h0" to "h9", or "hx" where there is no number.
    span : int
        Columns that it takes: runs of empty cells are one.
    """

    text: str
    level: str
    span: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A layer of the target.

    Attributes
    ----------
    target : str
    cells : tuple of Cell
        From the first reference layer to the last; in a list the one that stands for all.
    neurons : str
        Matched of sampled, "16/16".
    source : str
        Layers of the reference that it matches, in words; empty where none does.
    """

    target: str
    cells: tuple[Cell, ...]
    neurons: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """What was found layer by layer.

    Attributes
    ----------
    rows : tuple of Row
        Those that are shown.
    more : int
        How many layers are not.
    columns : int
        Reference layers of the map, from 0; 0 where there is no map to draw, and rows are a list.
    width : str
        "narrow", "medium", "wide" or "widest".
    of_rows : bool
        Numbers are mean row cosines; else shares of the sampled neurons that were found again.
    whole : int
        Layers that the target has.
    """

    rows: tuple[Row, ...]
    more: int
    columns: int
    width: str
    of_rows: bool
    whole: int


def layers_of(best: Candidate) -> Layers | None:
    """Arrange what is known of each layer; None where layers were not told apart.

    A pair of layers has a cell of its own. Experts of one layer share it: their mean is shown.
    """
    pairs = [layer for layer in best.layers if layer.n > 0 or layer.cosine is not None]
    if not pairs:
        return None
    # Of neurons found again in another order, the cosine in place says nothing.
    of_rows = best.rung != "searched-neurons" and any(layer.cosine is not None for layer in pairs)
    by_target: dict[int, list[LayerMatch]] = {}
    for layer in pairs:
        by_target.setdefault(layer.target, []).append(layer)
    shown = dict(list(by_target.items())[:MOST_LAYERS])
    columns = _columns(shown.values(), best.relation.dropped if best.relation else ())
    return Layers(
        rows=tuple(_row(target, of, columns, of_rows=of_rows) for target, of in shown.items()),
        more=len(by_target) - len(shown),
        columns=columns,
        width=next((name for most, name in _WIDTHS if columns <= most), "widest"),
        of_rows=of_rows,
        whole=max(best.layers_in_model, len(by_target)),
    )


def _columns(rows: Iterable[list[LayerMatch]], dropped: tuple[int, ...]) -> int:
    """Return how many reference layers the map has, or 0 where none can be drawn."""
    matched = [{layer.reference for layer in row if layer.reference is not None} for row in rows]
    filled = set().union(*matched)
    if not filled or min(filled) < 0 or sum(map(len, matched)) > MOST_CELLS:
        return 0
    columns = 1 + max(filled | {layer for layer in dropped if layer < MOST_LAYERS})
    return columns if columns <= MOST_LAYERS else 0


def _row(target: int, pairs: list[LayerMatch], columns: int, *, of_rows: bool) -> Row:
    by_reference: dict[int, list[LayerMatch]] = {}
    for pair in pairs:
        if pair.reference is not None:
            by_reference.setdefault(pair.reference, []).append(pair)
    if columns:
        cells = tuple(_cells({r: _cell(of, of_rows=of_rows) for r, of in by_reference.items()}, columns))
    else:
        cells = (_cell([pair for of in by_reference.values() for pair in of] or pairs, of_rows=of_rows),)
    hits, of = sum(pair.fixed_points for pair in pairs), sum(pair.n for pair in pairs)
    return Row(
        target=_number(target),
        cells=cells,
        neurons=f"{_number(hits)}/{_number(of)}" if of else "\u2013",
        source=_several(sorted(by_reference)),
    )


def _cells(filled: dict[int, Cell], columns: int) -> Iterator[Cell]:
    """Yield the cells of a row, empty ones in runs."""
    at = 0
    for reference in (*sorted(filled), columns):
        if reference > at:
            yield Cell(text="", level="", span=reference - at)
        if reference < columns:
            yield filled[reference]
        at = reference + 1


def _cell(pairs: list[LayerMatch], *, of_rows: bool) -> Cell:
    if of_rows:
        values = [pair.cosine for pair in pairs if pair.cosine is not None and abs(pair.cosine) < _MOST]
    else:
        values = [pair.fixed_points / pair.n for pair in pairs if 0 <= pair.fixed_points <= pair.n > 0]
    if not values:
        return Cell(text="\u2013", level="hx")
    value = round(sum(values) / len(values), 2)  # so that number and colour are never of two minds
    return Cell(text=short(value), level=f"h{min(LEVELS - 1, max(0, int(value * LEVELS + 1e-9)))}")


def _several(layers: list[int]) -> str:
    more = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
    return f"{_number(layers[0])}{more}" if layers else ""


def _number(value: int) -> str:
    return str(value) if abs(value) < 10**9 else "\u2026"


def short(value: float) -> str:
    r"""Write a number between -1 and 1 as a small cell has room for.

    Examples
    --------
    >>> short(0.934), short(1.0), short(0.001)
    ('.93', '1', '0')
    >>> short(-0.02) == "\N{MINUS SIGN}.02"
    True
    """
    text = {"0.00": "0", "1.00": "1"}.get(f"{abs(value):.2f}") or f"{abs(value):.2f}".removeprefix("0")
    return f"\u2212{text}" if value < 0 and text != "0" else text
