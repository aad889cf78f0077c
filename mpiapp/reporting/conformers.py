"""What `conformers` tells: the plan before, what came of it after."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.parallel.progress import clock
from mpiapp.reporting.terminal import status_lines

#: molecules that are listed by name
MOST_LISTED = 8


def open_lines(left_open: Mapping[str, Sequence[str]], how: str) -> list[str]:
    """List the molecules whose SMILES leave stereo open, by name.

    `left_open` maps a name to its open centres and double bonds.
    """
    if not left_open:
        return []
    lines = [f'open stereo   {len(left_open)} molecule(s) leave centres or '
             f'double bonds open; {how}']
    lines += [f'  {name:20s} {" ".join(places)}'
              for name, places in list(left_open.items())[:MOST_LISTED]]
    if len(left_open) > MOST_LISTED:
        lines.append(f'  and {len(left_open) - MOST_LISTED} more: column '
                     'left_open of the result')
    return lines


def trouble_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """List the molecules that have a reason, one a line."""
    bad = [r for r in rows if r.get('message')]
    lines = [f'  {r["name"]:20s} {r["reason"]}: {r["message"]}'
             for r in bad[:MOST_LISTED]]
    if len(bad) > MOST_LISTED:
        lines.append(f'  and {len(bad) - MOST_LISTED} more: column message')
    return lines


def closing(
    rows: Sequence[Mapping[str, Any]], open_: Sequence[str],
    timing: Mapping[str, Any], n_attempts: int, paths: Sequence[Path],
) -> str:
    """Return what a run came to; `rows` are those of the molecules."""
    def total(name: str) -> int:
        return int(sum(r.get(name, 0) for r in rows))

    lines = ['', *status_lines([r['status'] for r in rows],
                               [r.get('reason', '') for r in rows]),
             *trouble_lines(rows), *open_]
    lines.append(
        f'conformers    {total("n_written")} written of '
        f'{total("n_unique")} distinct, {total("n_attempts")} attempts, '
        f'{total("n_embedded")} embedded, {total("n_minimised")} minimised, '
        f'{total("n_folded")} written from folded starts')
    lines += timing_lines(timing, n_attempts)
    return '\n'.join([*lines, *(f'wrote         {path}' for path in paths)])


def timing_lines(timing: Mapping[str, Any], n_attempts: int) -> list[str]:
    """Tell how the time of the ranks was spent on `n_attempts`.

    The busy share is that of work in the time of all ranks, the waiting for
    the last one at the end of each round included.
    """
    wall, works = timing['wall_seconds'], timing['work']
    if not n_attempts:
        return ['this run made no attempt']
    busy = sum(works) / max(len(works) * wall, 1e-9)
    return [
        f'this run      {n_attempts} attempts in {clock(wall)} on '
        f'{len(works)} rank(s), {timing["n_rounds"]} round(s), '
        f'{n_attempts / max(wall, 1e-9):.3g} attempts/s',
        f'ranks         busy {100 * busy:.1f} %, slowest/mean '
        f'{max(works) / max(float(np.mean(works)), 1e-12):.2f}',
    ]


def plan_lines(
    source: Mapping[str, Any], rows: Sequence[Mapping[str, Any]],
    open_: Sequence[str], probe: tuple[str, float], seconds: float,
    n_ranks: int, paths: Sequence[Path],
) -> str:
    """Return the plan of a run as text, one fact a line.

    `rows` have name, n_atoms, n_asked, force_field, reason, message of each
    molecule; `probe` is name and seconds of a timed attempt, `seconds` what
    the run is predicted to take.
    """
    good = [r for r in rows if not r.get('message')]
    atoms = [r['n_atoms'] for r in good]
    fields = sorted({r['force_field'] for r in good})
    return '\n'.join([
        f'input        {source["path"]}: {source["n_records"]} molecules, '
        f'sha256 {source["sha256"][:12]}',
        f'molecules    {len(good)} of {len(rows)} can be embedded, '
        f'{min(atoms)}-{max(atoms)} atoms, {" and ".join(fields)}',
        *trouble_lines(rows), *open_,
        f'records      {sum(r["n_asked"] for r in good)}',
        f'attempt      {probe[1]:.3g} s for {probe[0]}',
        f'predicted    {clock(seconds)} on {n_ranks} rank(s), without '
        'further rounds',
        *(f'result       {path}' for path in paths),
        'dry run: nothing was written',
    ])
