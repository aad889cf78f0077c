"""The molecules of a campaign, a line each, for the closing table."""
from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas

#: K, of the weights that are shown
ROOM = 298.0
#: molecules that are all shown; of more the best
MOST = 20
BEST = 10
#: characters of a name and of a note
NAME, NOTE = 36, 44


def molecule_lines(
    tables: Mapping[str, pandas.DataFrame], n_alike: int = 0,
) -> list[str]:
    """Return a line for each molecule: conformers and excimer share.

    `n_alike` names of one record that share their graph are told of.

    All of few, the best of many: by the Boltzmann share of excimers at the
    temperature next to 298 K, then by name.
    """
    if not tables or not len(tables['molecules']):
        return []
    table = tables['boltzmann']
    temperatures = table['temperature'].to_numpy()
    nearest = temperatures[np.argmin(np.abs(temperatures - ROOM))]
    shown = table[temperatures == nearest]
    n = len(shown)
    head = f'molecules     {n}, at {nearest:g} K'
    if n > MOST:
        shown = shown.sort_values(
            ['frac_excimer', 'name'], ascending=[False, True],
            kind='stable')[:BEST]
        head += f'; the {BEST} with the largest share of excimers'
    width = min(NAME, max(8, *(len(name) for name in shown['name'])))
    lines = [head, f'  {"name":{width}s}  charge      n  unique   n_eff  '
             f'{"excimer %":>14s}  note']
    lines += [molecule_line(line, width) for line in shown.to_dict('records')]
    if n_alike:
        lines.append(f'  {n_alike} names of one record share their graph: '
                     'if they number the conformers, --group-by graph')
    return lines


def molecule_line(line: Mapping[str, Any], width: int) -> str:
    """Return one line; the excimer share with its bootstrap spread."""
    note = line['note']
    if len(note) > NOTE:
        note = f'{note[:NOTE - 3]}...'
    name = line['name']
    if len(name) > width:
        name = f'{name[:width - 2]}..'
    n_eff = number(line['n_eff'], '6.2f')
    share = number(100 * line['frac_excimer'], '5.1f')
    spread = number(100 * line['frac_excimer_spread'], '4.1f')
    shares = f'{share} +- {spread}' if spread.strip('-') else share
    return (f'  {name:{width}s}  {line["charge"]:+6d}  {line["n"]:5d}  '
            f'{line["n_unique"]:6d}  {n_eff:>6s}  {shares:>14s}  '
            f'{note}').rstrip()


def number(value: float, form: str) -> str:
    """Return a number, a dash where there is none."""
    return format(value, form) if np.isfinite(value) else '-'
