"""A report in the terminal: the numbers of the page, as rich tables."""
from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mpiapp.reporting.blocks import Fact, Facts, Field, Report, Table, Text

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: characters of a cell of text
WIDEST = 48


def show(report: Report, console: Console) -> None:
    """Print the facts of all sections and the tables meant for people."""
    console.print(f'[bold]{_plain(report.title)}[/bold]  '
                  f'{_plain(report.subtitle)}')
    for section in report.sections:
        for block in section.blocks:
            drawn = renderable(section.title, block)
            if drawn is not None:
                console.print()
                console.print(drawn)


def renderable(title: str, block: Any) -> RenderableType | None:
    """Return what the terminal shows of a block; None: nothing."""
    if isinstance(block, Facts):
        return facts(title, list(block.items))
    if isinstance(block, Table) and block.terminal:
        return table(block)
    if isinstance(block, Text):
        return _plain(block.text)
    return None


def facts(title: str, items: list[Fact]) -> RenderableType:
    """Return facts as lines of label, value and hint."""
    from rich.table import Table as Grid
    grid = Grid(title=title, title_justify='left', box=None,
                show_header=False, pad_edge=False, title_style='bold')
    for fact in items:
        grid.add_row(_plain(fact.label), _plain(fact.value),
                     f'[dim]{_plain(fact.hint)}[/dim]')
    return grid


def table(block: Table) -> RenderableType:
    """Return the first lines of a table."""
    from rich import box
    from rich.table import Table as Grid
    fields = [f for f in block.fields if f.brief]
    n = len(fields[0].values) if fields else 0
    shown = min(n, block.terminal)
    title = block.title if n <= shown else \
        f'{block.title} (first {shown} of {n} lines)'
    grid = Grid(title=title, title_justify='left', box=box.SIMPLE_HEAD,
                pad_edge=False, title_style='bold')
    for f in fields:
        grid.add_column(f'{f.label} {f.unit}'.strip(), no_wrap=True,
                        justify='left' if f.digits is None else 'right')
    for i in range(shown):
        grid.add_row(*cells(fields, i))
    return grid


def cells(fields: Any, i: int) -> Iterator[str]:
    """Yield the texts of one line."""
    for f in fields:
        yield _plain(cell(f, i))


def cell(f: Field, i: int) -> str:
    """Return a value with its spread; empty where there is none."""
    value = f.values[i]
    if f.digits is None:
        text = str(value)
        return text if len(text) <= WIDEST else f'{text[:WIDEST - 3]}...'
    if not math.isfinite(value):
        return ''
    shown = f'{value:.5g}' if f.digits < 0 else f'{value:.{f.digits}f}'
    if len(f.spread) and math.isfinite(f.spread[i]):
        shown += f' ± {f.spread[i]:.{f.digits}f}'
    return shown


def _plain(text: str) -> str:
    """Return text in which rich sees no marks of its own."""
    from rich.markup import escape
    return escape(text)
