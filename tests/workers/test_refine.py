"""Stages of a refinement: their words, and which records they take."""
from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mpiapp.errors import InputError
from mpiapp.records import Status
from mpiapp.units import KCAL_PER_EV
from mpiapp.workers.refine import parse_stage, parse_stages
from mpiapp.workers.selecting import select


@pytest.mark.parametrize('text, selection, amount, single, changes', [
    ('all', 'all', 0, False, {}),
    ('top', 'top', 5, False, {}),
    ('top:3', 'top', 3, False, {}),
    ('top:3:fmax=0.001,max-steps=900', 'top', 3, False,
     {'fmax': 0.001, 'max_steps': 900}),
    ('window:1.5:calculator=gfn2', 'window', 1.5, False,
     {'calculator': 'gfn2'}),
    ('shortlist:model=medium,dtype=float64', 'shortlist', math.inf, False,
     {'model': 'medium', 'mace_dtype': 'float64', 'calculator': 'mace'}),
    ('unique:calculator=gfn2,task=single,solvent=water', 'unique', 0, True,
     {'calculator': 'gfn2', 'solvent': 'water'}),
    ('top:5:calculator=pbe-d3bj/def2-svp', 'top', 5, True,
     {'calculator': 'pbe-d3bj/def2-svp'}),
    ('top:5:calculator=hf/sto-3g,task=relax', 'top', 5, False,
     {'calculator': 'hf/sto-3g'}),
    ('all:model-path=a:b/c.model', 'all', 0, False,
     {'model_path': 'a:b/c.model', 'calculator': 'mace'}),
])
def test_a_stage_is_selection_amount_and_keys(
    text: str, selection: str, amount: float, single: bool,
    changes: dict[str, Any],
) -> None:
    stage = parse_stage(text, 1)
    assert (stage.selection, stage.amount, stage.single, stage.changes) == (
        selection, amount, single, changes)


@pytest.mark.parametrize('text, said', [
    ('', 'unknown selection'), ('best:3', "unknown selection 'best'"),
    ('top:x', "amount is 'x'"), ('top:1.5', 'without fraction'),
    ('top:0', 'above 0'), ('window:-1', 'above 0'),
    ('window:nan', 'not finite'), ('all:3', 'takes no amount'),
    ('top:3:color=red', "'color=red' is not understood"),
    ('top:3:fmax', "'fmax' is not understood"),
    ('top:3:fmax=', "'fmax=' is not understood"),
    ('top:3:fmax=low', "fmax is 'low'"),
    ('top:3:fmax=1,fmax=2', 'given twice'),
    ('top:3:task=guess', 'task=guess'),
])
def test_what_is_not_understood_is_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_stage(text, 1)


def test_names_tell_number_and_method_and_suit_files() -> None:
    stages = parse_stages([
        'all:model=medium', 'all:calculator=gfn2', 'top:2',
        'top:5:calculator=pbe-d3bj/def2-svp',
        'all:model-path=/a/b/my model.v2.model'])
    assert [s.name for s in stages] == [
        '1_medium', '2_gfn2', '3_relax', '4_pbe-d3bj_def2-svp', '5_my_model']


def campaign(**ensembles: Any) -> Any:
    """Return two molecules: a has three conformers, b has two and a fail."""
    table = pd.DataFrame({
        'name': list('aaabbb'),
        'status': [1, 1, 1, 1, Status.FAILED, 1],
        'e_total': np.array([3.0, 1.0, 2.0, 5.0, -9.0, 5.0]) / KCAL_PER_EV})
    return SimpleNamespace(table=table, ensembles=ensembles)


@pytest.mark.parametrize('text, rows', [
    ('all', [0, 1, 2, 3, 5]), ('top:1', [1, 3]), ('top:2', [1, 2, 3, 5]),
    ('window:1.0', [1, 2, 3, 5]), ('window:0.5', [1, 3, 5]),
])
def test_energies_are_compared_within_a_molecule(
    text: str, rows: list[int],
) -> None:
    found = select(parse_stage(text, 1), campaign())
    assert np.flatnonzero(found).tolist() == rows


@pytest.mark.parametrize('text, rows', [
    ('unique', [0, 1, 3, 5]), ('shortlist', [3, 0]), ('shortlist:1', [3]),
])
def test_duplicates_and_shortlist_are_those_of_the_ensembles(
    text: str, rows: list[int],
) -> None:
    records = pd.DataFrame({'molecule': [0, 0, 0, 1, 1, 1],
                            'duplicate_of': [-1, -1, 1, -1, -1, -1]})
    # a failed record on the list is not computed
    found = select(parse_stage(text, 1), campaign(
        records=records, shortlist=pd.DataFrame({'row': [3, 0, 4]})))
    assert np.flatnonzero(found).tolist() == sorted(rows)


def test_nothing_converged_selects_nothing() -> None:
    none = campaign()
    none.table['status'] = int(Status.FAILED)
    for text in ('all', 'top:3', 'window:2'):
        assert not select(parse_stage(text, 1), none).any()
