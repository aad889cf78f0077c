"""The back end that was chosen is a setting: kept on resume."""
import json
from dataclasses import replace
from pathlib import Path

import pytest

from mpiapp import planning, potentials, relaxation
from mpiapp.records import InputError
from mpiapp.store import folder


@pytest.fixture
def chooses(monkeypatch):
    """Let `auto` become what is written here; list what is asked for."""
    class Chooser:
        answer = 'poly'
        asked = []

    def obtain(options, structures_sample=(), atom_steps=0.0):
        Chooser.asked.append((options.backend, len(structures_sample)))
        Chooser.atom_steps = atom_steps
        new = Chooser.answer if options.backend == 'auto' else options.backend
        return replace(potentials.resolve(options), backend=new)

    Chooser.asked = []
    monkeypatch.setattr(potentials, 'obtain', obtain)
    return Chooser


def prepared_of(options):
    """Return what comes before the work; nothing is compressed here."""
    return planning.prepare(options, Path(options.output_dir))


def options_for(tmp_path, data_dir, backend='auto', **changes):
    return relaxation.settle(relaxation.Options(
        backend=backend,
        sdf=(str(data_dir / 'dimers' / 'moe_et_5.sdf'),), model='student',
        output_dir=str(tmp_path), output_prefix='run', **changes))


def start(prepared):
    """Begin the campaign as the engine would."""
    plan = prepared.plan
    folder.open_campaign(plan.result, plan.settings, plan.inputs,
                         plan.schema, plan.resume, plan.overwrite)


def test_the_choice_is_stored_and_taken_over_on_resume(
        tmp_path, data_dir, chooses):
    prepared = prepared_of(options_for(tmp_path, data_dir))
    # the user's own structures decide
    assert chooses.asked == [('auto', 2)]
    # and what is to be done with them: 5 records of 117 atoms
    assert chooses.atom_steps > 5 * 117
    assert prepared.plan.settings['backend'] == 'poly'
    start(prepared)
    chooses.answer = 'reference'
    again = prepared_of(options_for(tmp_path, data_dir, resume=True))
    assert chooses.asked[-1] == ('poly', 2)
    assert json.dumps(again.plan.settings) == json.dumps(
        prepared.plan.settings)


def test_another_back_end_by_name_does_not_resume(
        tmp_path, data_dir, chooses):
    start(prepared_of(options_for(tmp_path, data_dir)))
    changed = prepared_of(options_for(
        tmp_path, data_dir, resume=True, backend='reference'))
    assert changed.plan.settings['backend'] == 'reference'
    with pytest.raises(InputError, match='backend'):
        start(changed)


def test_the_work_is_that_of_the_window(tmp_path, data_dir, chooses):
    prepared_of(options_for(tmp_path, data_dir))
    whole = chooses.atom_steps
    prepared_of(options_for(tmp_path, data_dir, end_index=1))
    assert chooses.atom_steps == pytest.approx(whole / 5, rel=0.05)


def test_a_fresh_start_has_no_stored_settings(tmp_path):
    assert folder.stored_settings(tmp_path / 'run.h5') == {}
