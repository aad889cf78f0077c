"""A report in the terminal: the numbers of the page, as rich tables."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mpiapp.reporting.blocks import Fact, Facts, Field, Report, Table, Text

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: characters of a cell of text, and how wide its column gets
LONGEST, WIDEST = 200, 48
#: columns of text are folded, but not below these widths, the first apart
NARROWEST, FIRST = 12, 28
#: a longer word of a heading is folded
HEADING = 16
#: blanks between columns
GAP = 2


def show(report: Report, console: Console) -> None:
    """Print the facts of all sections and the tables meant for people."""
    console.print(f'[bold]{_plain(report.title)}[/bold]  '
                  f'{_plain(report.subtitle)}')
    for section in report.sections:
        for block in section.blocks:
            drawn = renderable(section.title, block, console.width)
            if drawn is not None:
                console.print()
                console.print(drawn)


def renderable(
    title: str, block: Any, width: int,
) -> RenderableType | None:
    """Return what the terminal shows of a block; None: nothing."""
    if isinstance(block, Facts):
        return facts(title, list(block.items))
    if isinstance(block, Table) and block.terminal:
        return table(block, width)
    if isinstance(block, Text):
        return _plain(block.text)
    return None


def facts(title: str, items: list[Fact]) -> RenderableType:
    """Return facts as lines of label, value and hint."""
    from rich.console import Group
    from rich.table import Table as Grid
    grid = Grid(box=None, show_header=False, pad_edge=False)
    for _ in ('label', 'value'):
        grid.add_column(no_wrap=True)
    for fact in items:
        grid.add_row(_plain(fact.label), _plain(fact.value),
                     f'[dim]{_plain(fact.hint)}[/dim]')
    return Group(_heading(title), grid)


def table(block: Table, width: int) -> RenderableType:
    """Return the first lines of a table, as many columns as there is room.

    No number is cut: what does not fit is left out and named below.
    """
    from rich import box
    from rich.console import Group
    from rich.table import Table as Grid
    fields = [f for f in block.fields if f.brief]
    n = len(fields[0].values) if fields else 0
    shown = min(n, block.terminal)
    title = block.title if n <= shown else \
        f'{block.title} (first {shown} of {n} lines)'
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False,
                padding=(0, GAP - 1, 0, 0))
    texts = [[cell(f, i) for i in range(shown)] for f in fields]
    # one for the edge of the grid
    widths = fitted(fields, texts, width - 1)
    for i in sorted(widths):
        f = fields[i]
        grid.add_column(
            _plain(f'{f.label} {f.unit}'.strip()), width=widths[i],
            overflow='fold', justify='left' if f.digits is None else 'right')
    for k in range(shown):
        grid.add_row(*(_plain(texts[i][k]) for i in sorted(widths)))
    left = [f.label for i, f in enumerate(fields) if i not in widths]
    return Group(_heading(title), grid, *(
        [_plain(f'No room here for: {", ".join(left)}')] if left else []))


def fitted(
    fields: Sequence[Field], texts: Sequence[Sequence[str]], width: int,
) -> dict[int, int]:
    """Return the widths of the columns that fit, by their number.

    The first column is always there, then the others by importance, those
    of equal importance in their order.
    """
    from rich.cells import cell_len
    wide = [max(map(cell_len, t), default=0) for t in texts]
    least = []
    for i, f in enumerate(fields):
        words = f'{f.label} {f.unit}'.split()
        heading = max(map(cell_len, words), default=1)
        wide[i] = max(wide[i], min(heading, HEADING))
        if f.digits is None:
            wide[i] = min(wide[i], WIDEST)
        least.append(wide[i] if f.digits is not None else min(
            wide[i], NARROWEST if i else FIRST))
    found: dict[int, int] = {}
    for i in sorted(range(len(fields)),
                    key=lambda i: (i > 0, -int(fields[i].brief), i)):
        if not found or least[i] + GAP <= width:
            found[i] = least[i]
            width -= least[i] + GAP
    for i in sorted(found):
        more = max(0, min(wide[i] - least[i], width))
        found[i] += more
        width -= more
    return found


def cell(f: Field, i: int) -> str:
    """Return a value with its spread; empty where there is none."""
    value = f.values[i]
    if f.digits is None:
        text = str(value)
        return text if len(text) <= LONGEST else f'{text[:LONGEST - 3]}...'
    if not math.isfinite(value):
        return ''
    shown = f'{value:.5g}' if f.digits < 0 else f'{value:.{f.digits}f}'
    if len(f.spread) and math.isfinite(f.spread[i]):
        shown += f' ± {f.spread[i]:.{f.digits}f}'
    return shown


def _heading(text: str) -> str:
    return f'[bold]{_plain(text)}[/bold]'


def _plain(text: str) -> str:
    """Return text in which rich sees no marks of its own."""
    from rich.markup import escape
    return escape(text)
