"""The summary in the terminal: numbers are whole, whatever its width."""
from __future__ import annotations

from typing import Any

import pytest

from mpiapp.reporting.blocks import Fact, Facts, Field, Report, Section, Table
from mpiapp.reporting.text import show
from tests.reporting.test_sections import block, column


def printed(report: Report, width: int) -> str:
    """Return what a terminal of that width shows."""
    from rich.console import Console
    console = Console(width=width, record=True, file=open('/dev/null', 'w'))
    show(report, console)
    return console.export_text()


@pytest.mark.parametrize('width, left_out', [
    (80, 'unique, n_eff, twist'), (100, 'n_eff'), (160, '')])
def test_a_table_shows_the_columns_that_fit_and_names_the_others(
    width: int, left_out: str, small_report: Report,
) -> None:
    table = block(small_report, 'boltzmann')
    text = printed(Report('t', '', [Section('m', 'M', [table])]), width)
    assert '…' not in text
    assert max(map(len, text.splitlines())) <= width
    told = [x for x in text.splitlines() if x.startswith('No room here for')]
    assert told == ([f'No room here for: {left_out}'] if left_out else [])
    share = next(f for f in table.fields if f.name == 'frac_excimer')
    for i in range(20):
        line = next(x.split() for x in text.splitlines()
                    if x.split()[:1] == [column(table, 'molecule')[i]])
        assert line[1] == '298' and f'{share.values[i]:.1f}' in line


def test_text_is_folded_and_numbers_are_not() -> None:
    words = ' '.join(f'word{i}' for i in range(20))
    table = Table('t', 'T', [
        Field('name', 'name', ['a' * 40]),
        Field('x', 'a_heading_of_one_long_word', [-1.2345e-105], -1),
        Field('message', 'message', [words])], terminal=1)
    text = printed(Report('t', '', [Section('s', 'S', [table])]), 70)
    assert '-1.2345e-105' in text and '…' not in text
    assert ''.join(text.split()).count('word19') == 1
    assert text.count('a' * 28) == 1


def test_marks_of_the_terminal_are_text() -> None:
    odd: Any = '[/y] [bold]x'
    report = Report('t', '', [Section('s', odd, [
        Facts([Fact('a', 'b')]),
        Table('t', odd, [Field('x', odd, [odd])], terminal=1)])])
    assert printed(report, 80).count('[/y] [bold]x') == 4
