"""Odd molecules end in a stated status, by the host and by the device."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mpiapp.store.reader import load
from tests.jobs import run

#: water, A
WATER = np.array([[0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]])


def eclipsed() -> np.ndarray:
    """Return ethane [8, 3] A on the saddle of its rotation."""
    angles = 2 * np.pi * np.arange(3) / 3
    ring = 1.02 * np.stack(
        [np.cos(angles), np.sin(angles), 0 * angles], 1)
    return np.concatenate([[[0, 0, -0.77], [0, 0, 0.77]],
                           ring - [0, 0, 1.16], ring + [0, 0, 1.16]])


#: elements, positions, status and reason
ODD = {
    'linear': ('HCCH', [[0, 0, z] for z in (0, 1.0, 2.25, 3.25)], 1, ''),
    'two atoms': ('HH', [[0, 0, 0], [0, 0, 0.9]], 1, ''),
    'one atom': ('N', [[0, 0, 0]], 4, 'unparsable'),
    'fragments 8 A apart': (
        'OHHOHH', np.concatenate([WATER, WATER + [0, 0, 8]]), 1, ''),
    'coincident atoms': (
        'OHHH', np.concatenate([WATER, WATER[2:]]), 4, 'atoms_overlap'),
    'saddle start': ('CCHHHHHH', eclipsed(), 1, ''),
}


def write(path: Path) -> None:
    """Write all as one xyz file."""
    text = ''
    for elements, positions, _, _ in ODD.values():
        text += f'{len(elements)}\ncharge=0\n'
        for element, x in zip(elements, positions, strict=True):
            text += f'{element} {x[0]:.6f} {x[1]:.6f} {x[2]:.6f}\n'
    path.write_text(text)


@pytest.mark.parametrize('where', ['host', 'device'])
def test_odd_molecules_have_a_stated_end(
    tmp_path: Path, where: str,
) -> None:
    write(tmp_path / 'odd.xyz')
    ended = run('reopt', '--sdf', tmp_path / 'odd.xyz', '--calculator',
                'gfn2', '--relax-on', where, '--batch', 'auto',
                '--no-boltzmann', '--output-prefix', tmp_path / 'odd')
    assert ended.code == 3, ended.output  # two records are rejected
    table = load(tmp_path / 'odd.h5').table
    found = dict(zip(ODD, zip(table.status, table.reason)))
    assert found == {name: odd[2:] for name, odd in ODD.items()}
    assert (table.status == 1).sum() == 4
    assert np.isfinite(table.e_total[table.status == 1]).all()


@pytest.mark.parametrize('words, message', [
    (['--batch', '0'], 'must be a number greater than 0, or auto'),
    (['--batch', 'many'], 'must be a number greater than 0, or auto'),
    (['--relax-on', 'device', '--optimizer', 'lbfgs'], 'internal only'),
    (['--relax-on', 'device', '--two-stage'], 'has one stage'),
    (['--relax-on', 'moon'], 'moon')])
def test_wrong_words_about_the_device_are_refused(
    tmp_path: Path, words: list[str], message: str,
) -> None:
    ended = run('reopt', *words, '--output-prefix', tmp_path / 'x')
    assert ended.code == 2
    assert message in ended.output


def test_a_batch_in_a_file_of_options_may_be_a_number(
    tmp_path: Path,
) -> None:
    from mpiapp.config import read_options
    from mpiapp.relaxation import Options
    path = tmp_path / 'x.toml'
    path.write_text('batch = 8\n')
    options = read_options(Options, 'reopt', '', ['--config', str(path)])
    assert options.molecules == 8
    assert Options().molecules is None
