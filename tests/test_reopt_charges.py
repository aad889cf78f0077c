"""One deprotonated phosphonate under all charge policies, side by side."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpiapp.store.reader import Campaign, load
from mpiapp.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE
from tests.jobs import run

#: four runs and four evaluations of 117 atoms on a busy machine
pytestmark = pytest.mark.timeout(600)

#: eV; two self-consistent fields of the same accuracy
SCF = 1e-5
#: eV; an electron more on 117 atoms
AN_ELECTRON = 1.0

RUNS = {
    'charged': ('--calculator', 'gfn2'),
    'neutralised': ('--calculator', 'gfn2', '--charge-policy', 'neutralise'),
    'allowed': ('--model', 'student', '--charge-policy', 'allow'),
    'refused': ('--model', 'student'),
}


@pytest.fixture(scope='module')
def results(
    data_dir: Path, tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Campaign]:
    """Return one conformer after one step, computed in each way."""
    out = tmp_path_factory.mktemp('charges')
    found = {}
    for name, words in RUNS.items():
        ended = run('reopt', '--sdf', data_dir / 'dimers/moe_et_5.sdf',
                    '--end-index', 1, '--max-steps', 1, '--max-failed', 1,
                    '--output-dir', out, '--output-prefix', name, *words)
        assert ended.code == 0, ended.output
        found[name] = load(out / f'{name}.h5')
    return found


def column(results: dict[str, Campaign], name: str) -> list[Any]:
    """Return a column of the record in all runs."""
    return [results[key].table[name].tolist()[0] for key in RUNS]


def gfn2(campaign: Campaign, charge: int) -> float:
    """Return the energy [eV] of the start, by tblite's own interface."""
    from tblite.interface import Calculator
    calculator = Calculator(
        'GFN2-xTB', campaign.ragged('numbers', 0),
        campaign.ragged('x_start', 0) / ANGSTROM_PER_BOHR, charge=charge)
    calculator.set('verbosity', 0)
    return float(calculator.singlepoint().get('energy')) * EV_PER_HARTREE


def test_every_row_says_what_was_done(results: dict[str, Campaign]) -> None:
    assert column(results, 'charge') == [-1, 0, -1, -1]
    assert column(results, 'input_charge') == [-1] * 4
    assert column(results, 'charge_ignored') == [0, 0, 1, 0]
    assert column(results, 'n_added_hydrogens') == [0, 1, 0, 0]
    assert column(results, 'n_atoms') == [117, 118, 117, 117]
    assert column(results, 'reason') == ['step_limit'] * 3 + ['charged']


def test_gfn2_has_the_true_charge(results: dict[str, Campaign]) -> None:
    charged = results['charged']
    energy = charged.table['e_start'][0]
    assert energy == pytest.approx(gfn2(charged, -1), abs=SCF)
    assert abs(energy - gfn2(charged, 0)) > AN_ELECTRON
    neutral = results['neutralised']
    assert neutral.table['e_start'][0] == pytest.approx(
        gfn2(neutral, 0), abs=SCF)


def test_the_tables_of_molecules_show_the_charge(
    results: dict[str, Campaign],
) -> None:
    lines = {key: campaign.ensembles['molecules'].iloc[0]
             for key, campaign in results.items()}
    assert [lines[key]['charge'] for key in RUNS] == [-1, 0, -1, -1]
    assert [lines[key]['formula'] for key in RUNS] == [
        'C55H53NO7P', 'C55H54NO7P', 'C55H53NO7P', 'C55H53NO7P']
    assert lines['refused']['note'] == 'no converged conformer (1 charged)'
    assert lines['allowed']['note'] == (
        'charge ignored by the model; no converged conformer (1 step_limit)')
    assert all(np.isnan(line['e_min']) for line in lines.values())
