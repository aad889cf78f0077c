"""The program `distill`: label on any number of ranks, prove, bundle."""
from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpiapp import distill as program
from mpiapp import labelling
from mpiapp.chemistry.molecules import TableRow
from mpiapp.chemistry.smiles_input import table_of
from mpiapp.config import parser, read_options
from mpiapp.distillation import bundling, frames, proofs, testing, verdicts
from mpiapp.errors import InputError
from mpiapp.records import Status
from mpiapp.store.digest import content_digest
from mpiapp.store.reader import load
from mpiapp.workers.label_items import Subject, read_held_back
from mpiapp.workers.label_plan import drawn, valid_names
from tests.distillation import small
from tests.jobs import Ended, needs_mpirun, run, run_and

ROOT = Path(__file__).resolve().parent.parent
SMI = 'COc1ccccc1 anisole\nCC#N acetonitrile\nCCO ethanol\n' \
      'CC(=O)Nc1ccc(O)cc1 a_held_back_one\n'
TOTAL = 18


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('distill')
    (path / 'few.smi').write_text(SMI)
    return path


def words(folder: Path, name: str, *more: object) -> list[object]:
    return ['label', '--smi', folder / 'few.smi', '--total', TOTAL,
            '--md-steps', 6, '--output', folder / f'{name}.h5',
            '--save-every', 1, *more]


def label(folder: Path, name: str, *more: object, n: int = 0) -> Ended:
    return run('distill', *words(folder, name, *more), n=n)


@pytest.fixture(scope='module')
def serial(folder: Path) -> Path:
    ended = label(folder, 'serial')
    assert ended.code == 0, ended.output
    assert 'held back' in ended.output
    return folder / 'serial.h5'


def test_labels_are_those_of_the_teacher(serial: Path) -> None:
    from mpiapp.potentials import PotentialOptions, build
    from mpiapp.records import Batch
    found = load(serial)
    assert found.complete and found.meta['teacher']['calculator'] == 'gfn2'
    table = found.table
    good = table[table.status == Status.CONVERGED]
    assert len(good) > TOTAL // 2 and not good.energy.isna().any()
    assert set(table.kind) == set(labelling.SOURCES)
    assert 'a_held_back_one' not in '+'.join(table.molecule)
    i = int(good.index[good.kind == 'md'][0])
    teacher = build(PotentialOptions('gfn2'))
    e = teacher.evaluate(Batch.join([(found.ragged('numbers', i),
                                      found.ragged('x', i), 0, 0)]))
    assert e.energies[0] == table.energy[i]
    np.testing.assert_array_equal(e.forces, found.ragged('forces', i))


def test_every_row_is_sound_or_says_why_not(serial: Path) -> None:
    table = load(serial).table
    bad = table[table.status != Status.CONVERGED]
    assert set(bad.reason) <= {'force_ceiling', 'atoms_overlap'}
    good = table[table.status == Status.CONVERGED]
    assert (good.fmax <= 15.0).all() and (good.nearest >= 0.7).all()


def test_training_keeps_the_split_of_the_labels(
    serial: Path,
) -> None:
    table = load(serial).table
    marks = list(table[table.status == Status.CONVERGED].split)
    for path in (serial, serial.with_suffix('.xyz')):
        assert [f.split for f in frames.read(path)] == marks


@pytest.mark.parametrize('names, share, n', [
    (('a', 'b'), 0.05, 1), (('a',), 0.05, 0), (('a', 'b'), 0.0, 0),
    (tuple(map(str, range(200))), 0.2, None)])
def test_of_several_molecules_one_at_least_is_for_validation(
    names: tuple[str, ...], share: float, n: int | None,
) -> None:
    subjects = [Subject(TableRow(name, '', '', 'C', 'CH4'), 5, False, False)
                for name in names]
    found = valid_names(subjects, share, 0)
    ours = [name for name in names if drawn(name, 0) < share]
    assert len(found) == n if n is not None else list(found) == ours
    assert valid_names(subjects, share, 0) == found


def test_labelled_structures_are_read_as_atoms(serial: Path) -> None:
    campaign = load(serial)
    row = int(campaign.table.index[
        campaign.table.status == Status.CONVERGED][0])
    first = frames.read(serial)[0]
    atoms = campaign.atoms(row)
    np.testing.assert_array_equal(atoms.numbers, first.numbers)
    np.testing.assert_allclose(atoms.positions, first.positions, atol=1e-8)
    assert (campaign.table.finished_at > 1e9).all()


def test_extxyz_has_the_same_structures(serial: Path) -> None:
    a, b = frames.read(serial), frames.read(serial.with_suffix('.xyz'))
    assert len(a) == len(b) > TOTAL // 2
    for one, other in zip(a, b):
        assert one.energy == other.energy and one.kind == other.kind
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-8)
    head = serial.with_suffix('.xyz').read_text().splitlines()[1]
    assert 'energy_unit=eV' in head and 'force_unit=eV/Angstrom' in head


@needs_mpirun
@pytest.mark.parametrize('n', [2, 4])
def test_labels_do_not_depend_on_the_number_of_ranks(
    serial: Path, folder: Path, n: int,
) -> None:
    ended = label(folder, f'of{n}', n=n)
    assert ended.code == 0, ended.output
    assert content_digest(folder / f'of{n}.h5') == content_digest(serial)
    assert (folder / f'of{n}.xyz').read_bytes() == \
        serial.with_suffix('.xyz').read_bytes()


@needs_mpirun
def test_a_killed_run_is_resumed_to_the_same_labels(
    serial: Path, folder: Path,
) -> None:
    def kill(job: int, ranks: list[int]) -> None:
        for pid in ranks:
            os.kill(pid, signal.SIGKILL)

    def some() -> bool:
        return sum(p.stat().st_size for p in
                   folder.glob('killed.journal/*.jnl')) > 12_000

    ended = run_and(kill, some, 'distill', *words(folder, 'killed'),
                    marker=str(folder / 'killed.h5'))
    assert ended.code and not (folder / 'killed.h5').exists()
    ended = label(folder, 'killed', '--resume')
    assert ended.code == 0, ended.output
    assert content_digest(folder / 'killed.h5') == content_digest(serial)


def test_a_functional_teaches_its_energies_and_forces(folder: Path) -> None:
    from pyscf import dft, gto
    from pyscf.data.nist import BOHR, HARTREE2EV
    ended = run('distill', 'label', '--smiles', 'CO', '--total', 2,
                '--sources', 'conformer', '--valid-share', 0, '--teacher',
                'pbe/sto-3g', '--output', folder / 'dft.h5', n=2)
    assert ended.code == 0, ended.output
    for atoms in frames.read(folder / 'dft.h5'):
        mean_field = dft.RKS(gto.M(atom=[
            (int(z), x) for z, x in zip(atoms.numbers, atoms.positions)
        ], basis='sto-3g', verbose=0), xc='pbe').density_fit()
        mean_field.conv_tol = 1e-10
        assert atoms.energy == pytest.approx(
            mean_field.kernel() * HARTREE2EV, abs=1e-4)
        forces = -mean_field.nuc_grad_method().kernel() * HARTREE2EV / BOHR
        np.testing.assert_allclose(atoms.forces, forces, atol=5e-3)


def test_molecules_that_the_teacher_does_not_know_are_left_out(
    folder: Path, data_dir: Path,
) -> None:
    (folder / 'br.smi').write_text(
        'CBr bromomethane\nCO methanol\nC[CH2] ethyl\nC[NH3+] ion\n')
    ended = run('distill', 'label', '--smi', folder / 'br.smi', '--total', 4,
                '--sources', 'conformer', '--teacher',
                f'mace:{data_dir / "models" / "student.model"}',
                '--output', folder / 'br.h5')
    assert ended.code == 0, ended.output
    assert 'bromomethane: teacher or sampler do not know Br' in ended.output
    assert 'ethyl: a radical' in ended.output
    assert 'ion: charged: the molecule has the charge +1' in ended.output
    table = load(folder / 'br.h5').table
    assert set(table.molecule) == {'methanol'}
    # none is there twice: methanol has one conformer
    assert len(set(table.energy.round(4))) == 4
    found = frames.read(folder / 'br.h5')
    assert len(found) == 4 and frames.teachers_of(found) == [
        'mace:' + hashlib.sha256((data_dir / 'models' / 'student.model')
                                 .read_bytes()).hexdigest()[:12]]
    assert frames.teachers_of(frames.read(folder / 'br.xyz')) == \
        frames.teachers_of(found)


def test_a_report_is_on_the_teacher_of_the_data(
    folder: Path, serial: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    assert program.main(['test', '--data', str(serial), '--teacher', 'gfn1',
                         '--output', str(folder / 'r')]) == 2
    assert 'was labelled by gfn2, and --teacher is gfn1' in \
        capsys.readouterr().err


def test_a_teacher_that_fails_leaves_rows_that_say_so() -> None:
    from mpiapp.potentials import PotentialOptions, build
    from mpiapp.potentials.base import settle
    from mpiapp.workers.label import LabelSettings, LabelWorker
    from mpiapp.workers.label_items import LabelItem, subjects_of
    sampler = build(PotentialOptions('lj'))

    class Failing:
        elements, name = None, 'failing'

        def evaluate(self, batch: Any) -> Any:
            n = len(batch)
            return settle(batch, np.zeros(n), np.zeros_like(batch.positions),
                          np.zeros(n), {0: ('no_scf', 'did not converge')})

    subjects = subjects_of(table_of(['c1ccccc1']).rows, {}, 50).all
    teacher: Any = Failing()
    worker = LabelWorker(LabelSettings(), subjects, [
        LabelItem('rattle', (0,), 0)], teacher, sampler)
    stream: Any = None
    row = worker.row_of(0, stream).values
    assert (row['status'], row['reason']) == (Status.FAILED, 'teacher')
    assert 'no_scf: did not converge' in row['message']
    assert 'energy' not in row and len(row['numbers']) == 12


def test_a_pool_is_labelled_where_structures_are_new(
    folder: Path, serial: Path,
) -> None:
    more = ('--select', 'distance', '--total', 4, '--pool', 12, '--against',
            serial, '--sources', 'rattle', 'slip')
    ended = label(folder, 'chosen', *more)
    assert ended.code == 0, ended.output
    assert 'chosen       4 of 12' in ended.output
    pool = load(folder / 'chosen_pool.h5')
    found = load(folder / 'chosen.h5')
    assert pool.table.energy.isna().all()
    with pytest.raises(InputError, match='structure 0 .* no finite energy'):
        frames.read(folder / 'chosen_pool.h5')
    assert len(frames.read(folder / 'chosen_pool.h5', labels=False)) == 12
    # a preview of the same command goes on with the pool
    assert labelling.prepare(labelling.settle(read_options(
        labelling.Options, 'distill label', '', [str(w) for w in (*words(
            folder, 'chosen'), *more, '--resume', '--dry-run')][1:])))
    xs = [pool.ragged('x', i) for i in range(12)]
    for i in range(4):
        x = found.ragged('x', i)
        assert any(x.shape == y.shape and (x == y).all() for y in xs)


def test_a_committee_chooses_where_it_disagrees(
    folder: Path, data_dir: Path,
) -> None:
    import torch

    from mpiapp.potentials.mace.importing import import_mace
    import_mace()
    first = data_dir / 'models' / 'student.model'
    other = torch.load(first, weights_only=False)
    with torch.no_grad():
        for p in other.readouts.parameters():
            p.mul_(1.1)
    torch.save(other, folder / 'other.model')
    ended = label(folder, 'committee', '--select', 'committee', '--models',
                  first, folder / 'other.model', '--total', 2, '--pool', 8,
                  '--sources', 'rattle', 'conformer')
    assert ended.code == 0, ended.output
    pool = load(folder / 'committee_pool.h5').table
    chosen = load(folder / 'committee.h5').table
    assert (pool.score > 0).all()
    best = pool.sort_values('score', ascending=False).head(6)
    assert set(zip(chosen.kind, chosen.molecule, chosen.number)) <= set(
        zip(best.kind, best.molecule, best.number))


@pytest.mark.parametrize('more, fault', [
    ([], 'by one of'), (['--smiles', 'CO', '--smi', 'x.smi'], 'by one of'),
    (['--smiles', 'CO', '--output', 'x.xyz'], 'must end in .h5'),
    (['--smiles', 'CO', '--select', 'committee', '--models', 'a.model'],
     'two --models'),
    (['--smiles', 'CO', '--models', 'a.model'], 'belongs to --select'),
    (['--smiles', 'CO', '--pool', '5'], 'belongs to --select'),
    (['--smiles', 'CO', '--select', 'distance', '--pool', '5'], 'less than'),
    (['--smiles', 'CO', '--output', 'x.h5', '--output-dir', 'y'], 'not both'),
    (['--smiles', 'CO', '--resume', '--overwrite'], 'exclude')])
def test_options_that_contradict_are_refused(
    more: list[str], fault: str,
) -> None:
    with pytest.raises(InputError, match=fault):
        labelling.settle(read_options(
            labelling.Options, 'distill label', '', more))


@pytest.mark.parametrize('more, fault', [
    (['--smiles', 'C1C'], 'can not be read'),
    (['--smiles', 'CO', '--teacher', 'nonsense'], 'unknown calculator'),
    (['--smiles', 'CO', '--teacher', 'mace:none.model'], 'none.model'),
    (['--smiles', 'CO', '--sampler', 'mace'], 'mace:FILE'),
    (['--smiles', 'CCCO'], 'no molecule is left'),
    (['--smiles', 'CO', '--held-back', 'none.csv'], 'none.csv'),
    (['--smiles', 'CO', '--sources', 'stack'], 'no molecule serves'),
    (['--smiles', 'CO', '--select', 'distance', '--against', 'none.xyz'],
     'none.xyz: no such file'),
    (['--smiles', 'CO', '--max-atoms', '3'], 'no molecule is left')])
def test_what_cannot_be_labelled_is_refused_before_any_work(
    tmp_path: Path, more: list[str], fault: str,
) -> None:
    options = labelling.settle(read_options(
        labelling.Options, 'distill label', '',
        [*more, '--output', str(tmp_path / 'x.h5')]))
    with pytest.raises(InputError, match=fault):
        labelling.prepare(options)
    assert not list(tmp_path.iterdir())


def prepared(folder: Path, *more: object) -> labelling.Prepared:
    """Return what a small run would do."""
    return labelling.prepare(labelling.settle(read_options(
        labelling.Options, 'distill label', '', [
            '--total', '4', '--output', str(folder / 'x.h5'), '--resume',
            *map(str, more)])))


def test_a_run_goes_on_with_the_same_molecules_alone(
    tmp_path: Path,
) -> None:
    from mpiapp.store.folder import differences

    def settings(folder: str, held: str, *smiles: str) -> Any:
        path = tmp_path / folder
        path.mkdir(exist_ok=True)
        (path / 'held.csv').write_text(f'name,smiles\nx,{held}\n')
        return prepared(tmp_path, '--held-back', path / 'held.csv',
                        '--smiles', *smiles).plan.settings

    first = settings('a', 'CCN', 'CCO', 'CC#N')
    assert differences(first, settings('b', 'CCN', 'CCO', 'CC#N')) == []
    for held, smiles, names in (
            ('CCC', ('CCO', 'CC#N'), ['held_back']),
            ('CCN', ('CCO', 'CCS'), ['subjects'])):
        found = differences(first, settings('a', held, *smiles))
        assert [line.split(':')[0] for line in found] == names


def test_rows_without_a_result_say_what_they_would_be(
    tmp_path: Path,
) -> None:
    plan = labelling.with_blanks(prepared(tmp_path, '--smiles', 'CCO'))
    assert plan.blank is not None
    row = plan.blank(0)
    assert row['kind'] in labelling.SOURCES
    assert row['molecule'].startswith('molecule_1') and row['n_atoms']


def test_without_labels_no_earlier_extxyz_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    import types

    import pandas as pd
    ready = prepared(tmp_path, '--smiles', 'CCO')
    (tmp_path / 'x.xyz').write_text('of an earlier run')
    table = pd.DataFrame({'kind': ['md'], 'reason': ['teacher'],
                          'status': [int(Status.FAILED)]})
    monkeypatch.setattr('mpiapp.store.reader.load',
                        lambda _: types.SimpleNamespace(table=table))
    outcome: Any = types.SimpleNamespace(verdict=lambda *_: '')
    labelling.finish(labelling.Options(), ready, outcome)
    assert not (tmp_path / 'x.xyz').exists()


@pytest.mark.parametrize('kind', ['md', 'relax', 'stack'])
def test_a_row_that_takes_too_long_has_no_label(kind: str) -> None:
    import time
    import types

    from mpiapp.potentials import PotentialOptions, build
    from mpiapp.workers.label import LabelSettings, LabelWorker
    from mpiapp.workers.label_items import LabelItem, subjects_of
    teacher, calls = build(PotentialOptions('lj')), []

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(teacher, name)

        def evaluate(self, batch: Any) -> Any:
            calls.append(1)
            time.sleep(0.02)
            return teacher.evaluate(batch)

    subjects = subjects_of(table_of(['c1ccccc1']).rows, {}, 50).all
    parts = (0, 0) if kind == 'stack' else (0,)
    stream: Any = types.SimpleNamespace(stopping=lambda: False)
    slow: Any = Slow()

    def row(limit: float | None) -> tuple[Any, int]:
        calls.clear()
        worker = LabelWorker(LabelSettings(record_timeout=limit, md_steps=24),
                             subjects, [LabelItem(kind, parts, 1)], teacher,
                             slow)
        return worker.row_of(0, stream).values, len(calls)

    (cut, few), (whole, all_) = row(0.1), row(None)
    assert cut['status'] == Status.UNCONVERGED and 'energy' not in cut
    assert cut['reason'] == 'time_limit' != whole.get('reason')
    assert few <= 5 < all_


def report(name: str, **numbers: float) -> dict[str, Any]:
    return {'model': name, 'sha256': hashlib.sha256(
        name.encode()).hexdigest(), 'numbers': numbers, 'not_proved': {},
        'teacher': {'name': 'gfn2', 'guard': 'none'}, 'data': 'd1',
        'trial': {'picoseconds': 10.0, 'rounds': 7}}


def bundled(
    folder: Path, new: dict[str, Any], old: dict[str, Any],
) -> int:
    """Try to put `new` in the place of `old`; return the exit code."""
    (folder / 'new.model').write_text('new')
    for name, found in (('new', new), ('old', old)):
        (folder / f'{name}.json').write_text(json.dumps(found))
    code = program.main([
        'bundle', '--model', str(folder / 'new.model'), '--report',
        str(folder / 'new.json'), '--against', str(folder / 'old.json'),
        '--output', str(folder / 'out.model')])
    assert (folder / 'out.model').exists() == (code == 0)
    return code


@pytest.mark.parametrize('force, scan, better', [
    (30.0, 0.5, True), (45.0, 1.0, False), (20.0, 1.3, False),
    (43.0, 0.9, True)])
def test_a_model_that_got_worse_is_refused_with_the_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], force: float,
    scan: float, better: bool,
) -> None:
    code = bundled(tmp_path, report('new', force_mae=force, scan_mae=scan),
                   report('old', force_mae=43.0, scan_mae=1.0))
    assert code == (0 if better else 3)
    said = capsys.readouterr()
    assert 'force_mae' in (said.out if better else said.err)


@pytest.mark.parametrize('numbers, said', [
    ({'unstable': 1.0}, '| unstable | 1 | 1 | 0 |'),
    ({}, '| unstable | 1 | missing | 0 |')])
def test_a_model_not_shown_to_be_stable_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
    numbers: dict[str, float], said: str,
) -> None:
    old = report('old', force_mae=43.0, unstable=0.0)
    assert bundled(tmp_path, report('new', force_mae=20.0, **numbers),
                   old) == 3
    assert said in capsys.readouterr().err
    assert bundled(tmp_path, report('new', force_mae=20.0, unstable=0.0),
                   old) == 0


def test_a_model_with_less_measured_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    assert bundled(tmp_path, report('new', force_mae=20.0),
                   report('old', force_mae=43.0, rmsd=0.2)) == 3
    assert '| rmsd | A | missing | 0.2 |' in capsys.readouterr().err


def test_a_model_that_failed_somewhere_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    new = report('new', force_mae=20.0)
    new['not_proved'] = {'relaxations of a': '4 of 4 conformers failed'}
    assert bundled(tmp_path, new, report('old', force_mae=43.0)) == 3
    assert 'relaxations of a: 4 of 4' in capsys.readouterr().err


@pytest.mark.parametrize('change, said', [
    ({'data': 'd2'}, 'data: was "d1", now "d2"'),
    ({'teacher': {'name': 'gfn1'}}, 'teacher.name: was "gfn2", now "gfn1"'),
    ({'trial': {'picoseconds': 1.0}}, 'picoseconds: was 10.0, now 1.0'),
    ({'trial': 3}, 'no report')])
def test_reports_on_unlike_trials_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
    change: dict[str, Any], said: str,
) -> None:
    new, old = report('new', slip=0.1), report('old', slip=1.0)
    assert bundled(tmp_path, {**new, **change}, old) == 2
    assert said in capsys.readouterr().err
    alike = {'trial': {'picoseconds': 10.0, 'rounds': 1},
             'teacher': {'name': 'gfn2', 'guard': 'passed'}}
    assert bundled(tmp_path, {**new, **alike}, old) == 0


def test_a_report_on_another_model_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / 'x.model').write_text('something else')
    (tmp_path / 'new.json').write_text(json.dumps(report('new')))
    line = ['bundle', '--model', str(tmp_path / 'x.model'), '--report',
            str(tmp_path / 'new.json'), '--against',
            str(tmp_path / 'new.json'), '--output', str(tmp_path / 'o')]
    assert program.main(line) == 2
    assert 'checksums differ' in capsys.readouterr().err


def test_a_too_large_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / 'n').write_text('new')
    path = tmp_path / 'new.json'
    path.write_text(json.dumps(report('new', force_mae=1.0)))
    with pytest.raises(bundling.Refused, match='MB'):
        bundling.bundle(tmp_path / 'n', path, path, tmp_path / 'o', 1e-6)


def test_what_is_far_below_its_goal_is_noise() -> None:
    old = {'force_mae': 30.0, 'scan_mae': 2e-4}
    assert verdicts.comparison({'force_mae': 25.0, 'scan_mae': 9e-4}, old)[0]
    assert not verdicts.comparison({'force_mae': 25.0, 'scan_mae': 9e-3},
                                   old)[0]


def test_a_report_is_json_without_numbers_that_are_none(
    tmp_path: Path,
) -> None:
    rows = [{'tau': float('nan'), 'stretch': float('inf'), 'n': 2}]
    whole = {**report('x', force_mae=1.0), 'bytes': 1, 'backend': 'poly',
             'goals': [], 'dynamics': rows}
    testing.write(testing.Paths.of(str(tmp_path / 'r')), [whole])
    text = (tmp_path / 'r.json').read_text()

    def none(word: str) -> Any:
        raise AssertionError(word)
    assert json.loads(text, parse_constant=none)['dynamics'] == [
        {'tau': None, 'stretch': None, 'n': 2}]


def test_without_common_numbers_no_model_is_better() -> None:
    better, rows = verdicts.comparison({'slip': 0.1}, {'rmsd': 0.1})
    assert not better and [r['number'] for r in rows] == ['rmsd']
    assert verdicts.comparison({}, {}) == (False, [])


def test_a_report_holds_all_proofs(tmp_path: Path, data_dir: Path) -> None:
    path = tmp_path / 'test.xyz'
    frames.write_xyz(path, small.frames(4))
    (tmp_path / 'm.csv').write_text('name,smiles\nmethanol,CO\n')
    code = program.main([
        'test', '--data', str(path), '--smiles-csv', str(tmp_path / 'm.csv'),
        '--dimers', 'benzene', '--conformers', '2', '--picoseconds', '0.01',
        '--max-steps', '30', '--rounds', '1', '--output',
        str(tmp_path / 'r'), '--proofs', 'errors', 'scans', 'stacks',
        'relaxations', 'dynamics'])
    assert code == 0
    found = json.loads((tmp_path / 'r.json').read_text())
    # too short a time to prove stability, too small a molecule
    assert set(found['numbers']) == set(verdicts.GOALS) - {
        'unstable', 'rmsd_large', 'relative_large'}
    assert found['relaxations'][0]['size'] == 'small'
    assert found['dynamics'][0]['stable']
    text = (tmp_path / 'r.md').read_text()
    for title in ('## Goals', '## Scans', '## Relaxations', '## Dynamics'):
        assert title in text
    at = {(r['slip'], r['distance']): r for r in found['scans']}
    # the minimum of GFN2, whichever the start: 0.01 eV/A would not find it
    for row in found['stacks']:
        assert row['teacher_vertical'] == pytest.approx(3.318, abs=0.01)
        assert row['teacher_slip'] == pytest.approx(1.085, abs=0.03)
    # GFN2's by tblite alone; the bundled model is within 1 kcal/mol of it
    assert at[0.0, 3.6]['teacher'] == pytest.approx(-3.80, abs=0.03)
    assert at[0.0, 3.6]['model'] == pytest.approx(-3.80, abs=1.0)
    assert at[0.0, 4.8]['model'] == pytest.approx(-1.01, abs=0.8)


def test_molecules_of_elements_that_a_model_lacks_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / 'test.xyz'
    frames.write_xyz(path, small.frames(2))
    (tmp_path / 'm.csv').write_text(
        'name,smiles\nmethanol,CO\nbromomethane,CBr\n')
    code = program.main([
        'test', '--data', str(path), '--smiles-csv', str(tmp_path / 'm.csv'),
        '--picoseconds', '0.01', '--output', str(tmp_path / 'r'),
        '--proofs', 'errors', 'dynamics'])
    assert code == 3
    found = json.loads((tmp_path / 'r.json').read_text())
    assert found['not_proved'] == {
        'bromomethane': 'the model does not know Br'}
    assert [r['molecule'] for r in found['dynamics']] == ['methanol']
    assert 'not proved: bromomethane' in capsys.readouterr().out


def quick(folder: Path, *more: str) -> list[str]:
    """Return the words of a test of two proofs."""
    frames.write_xyz(folder / 'test.xyz', small.frames(2))
    (folder / 'm.csv').write_text('name,smiles\nmethanol,CO\n')
    return ['test', '--data', str(folder / 'test.xyz'), '--smiles-csv',
            str(folder / 'm.csv'), '--picoseconds', '0.01', '--output',
            str(folder / 'r'), '--proofs', 'errors', 'dynamics', *more]


def test_an_interrupted_test_goes_on_after_the_last_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    def again(*_: object) -> None:
        pytest.fail('the errors were proved again')

    with monkeypatch.context() as patched:
        patched.setattr(proofs, 'dynamics', interrupted)
        with pytest.raises(KeyboardInterrupt):
            program.main(quick(tmp_path))
    parts = tmp_path / 'r.parts.json'
    assert parts.exists() and not (tmp_path / 'r.json').exists()
    with monkeypatch.context() as patched:
        patched.setattr(proofs, 'errors', again)
        assert program.main(quick(tmp_path)) == 0
    found = json.loads((tmp_path / 'r.json').read_text())
    assert found['errors'][-1]['n'] == 2 and found['dynamics'][0]['stable']
    assert not parts.exists()


def test_a_report_keeps_the_name_that_it_is_given(tmp_path: Path) -> None:
    assert program.main([*quick(tmp_path)[:-1], '--output',
                         str(tmp_path / 'r_0.1')]) == 0
    assert {p.name for p in tmp_path.glob('r*')} == {
        'r_0.1.json', 'r_0.1.md'}
    for text in ('r_0.5', 'r_0.5.json', 'r_0.5.md'):
        assert testing.Paths.of(text).json == Path('r_0.5.json')


@pytest.mark.parametrize('name, fault', [
    ('r.json', 'no report'), ('r.md', 'no report'),
    ('test.json', 'which is read')])
def test_a_report_replaces_reports_alone(
    tmp_path: Path, name: str, fault: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = quick(tmp_path)
    (tmp_path / name).write_text('{"mine": 1}')
    if fault == 'which is read':
        words += ['--data', str(tmp_path / name), '--output',
                  str(tmp_path / 'test')]
    assert program.main(words) == 2
    assert fault in capsys.readouterr().err
    assert (tmp_path / name).read_text() == '{"mine": 1}'


def test_two_tests_do_not_write_one_report(tmp_path: Path) -> None:
    paths = testing.Paths.of(str(tmp_path / 'r'))
    with testing.kept_at(paths):
        with pytest.raises(InputError, match='another job works on'):
            with testing.kept_at(paths):
                pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('output, fault', [
    ('new.json', 'which is read'), ('', 'is a folder'),
    ('new.json/x/y.model', 'is not a folder')])
def test_a_model_is_put_in_no_wrong_place(
    tmp_path: Path, output: str, fault: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / 'new.model').write_text('new')
    text = json.dumps(report('new', force_mae=1.0))
    for name in ('new', 'old'):
        (tmp_path / f'{name}.json').write_text(text)
    line = ['bundle', '--model', str(tmp_path / 'new.model'), '--report',
            str(tmp_path / 'new.json'), '--against',
            str(tmp_path / 'old.json'), '--output', str(tmp_path / output)]
    assert program.main(line) == 2
    assert fault in capsys.readouterr().err
    assert (tmp_path / 'new.json').read_text() == text


def test_proofs_of_another_trial_are_not_taken(tmp_path: Path) -> None:
    from mpiapp.distillation.kept import Kept
    one: dict[str, Any] = {
        'sha256': 'a', 'backend': 'poly', 'teacher': {'guard': 'x'},
        'data': 'd', 'trial': {'fmax': 0.01, 'proofs': ['errors']}}
    Kept(tmp_path / 'k.json').keep(one, {'errors': []})
    kept = Kept(tmp_path / 'k.json')
    more = {'trial': {'fmax': 0.01, 'proofs': ['scans']}}
    assert kept.of({**one, **more}) == {'errors': []}
    for other in ({'sha256': 'b'}, {'data': 'e'}, {'trial': {'fmax': 0.02}}):
        assert kept.of({**one, **other}) == {}
    (tmp_path / 'k.json').write_text('{')
    assert Kept(tmp_path / 'k.json').of(one) == {}


def test_all_models_are_checked_before_any_is_proved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], data_dir: Path,
) -> None:
    class Knowing:
        def __init__(self, *elements: int) -> None:
            self.elements = frozenset(elements)

    built = iter([Knowing(1, 6, 7, 8), Knowing(1, 6, 8)])
    monkeypatch.setattr(testing, 'build', lambda *_: next(built))
    monkeypatch.setattr(testing, 'prove', lambda *_: pytest.fail('proved'))
    other = str(data_dir / 'models' / 'student.model')
    assert program.main(quick(tmp_path, '--compare', other)) == 2
    assert f'{other} does not know N' in capsys.readouterr().err


def test_the_bundled_molecules_are_small_and_full_size() -> None:
    from mpiapp.data_files import data_file
    table = testing.read_molecules(str(data_file('distill/relaxed.csv')))
    held = testing.read_molecules(str(data_file('distill/held_back.csv')))
    assert set(table.values()) <= set(held.values())
    chosen = testing.first_of(table, 4, 2)
    sizes = [len(proofs.atomic_numbers(t)) for t in chosen.values()]
    assert max(sizes[:4]) < 30 and min(sizes[4:]) > 150 and len(sizes) == 6
    assert len(testing.first_of(table, 1, 0)) == 1


def test_tables_of_spreadsheets_are_read(tmp_path: Path) -> None:
    path = tmp_path / 'm.csv'
    path.write_text('\ufeffname,smiles\r\nethanol,CCO\r\n', 'utf-8')
    assert testing.read_molecules(path) == {'ethanol': 'CCO'}
    assert read_held_back(path) == {'CCO': 'ethanol'}


@pytest.mark.parametrize('text, fault', [
    ('Name,smiles\nx,CO\n', 'no column name in the first line; found Name'),
    ('', 'no column name and smiles'),
    ('name,smiles\nx,CO\nshort\n', r"row 2 \(short\): the SMILES ''"),
    ('name,smiles\nx,C1C\n', r"row 1 \(x\): the SMILES 'C1C'")])
def test_a_table_with_a_fault_is_refused_with_its_place(
    tmp_path: Path, text: str, fault: str,
) -> None:
    path = tmp_path / 'm.csv'
    path.write_text(text)
    for read in (testing.read_molecules, read_held_back):
        with pytest.raises(InputError, match=fault):
            read(path)


def test_unknown_actions_and_files_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    assert program.main(['teach']) == 2
    assert program.main([]) == 2
    assert program.main(['--help']) == 0
    assert program.main(['train']) == 2
    assert program.main(['test', '--model', str(tmp_path / 'none')]) == 2
    assert program.main(['bundle']) == 2
    assert 'no action teach' in capsys.readouterr().err


@pytest.mark.parametrize('obtained', ['teacher', 'start'])
def test_a_model_file_is_warned_of_with_its_hash_once(
    tmp_path: Path, data_dir: Path, obtained: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from mpiapp import potentials
    from mpiapp.distillation.training import energies_of
    from mpiapp.workers.label_plan import teacher_options
    bundled = data_dir / 'models' / 'student.model'
    path = tmp_path / 'mine.model'
    path.write_bytes(bundled.read_bytes())

    def obtain(text: str) -> None:
        with caplog.at_level('WARNING', 'mpiapp'):
            if obtained == 'start':
                energies_of(text.removeprefix('mace:'))
            else:
                potentials.obtain(teacher_options(text, 1, 'cpu'))

    for text in (f'mace:{path}', f'mace:{path}', f'mace:{bundled}'):
        obtain(text)
    said = [r.getMessage() for r in caplog.records if 'pickle' in
            r.getMessage()]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(said) == 1 and f'{path}, sha256 {digest}' in said[0]


def test_the_help_starts_one_process_where_several_are_refused() -> None:
    for cls in (program.TrainOptions, program.TestOptions,
                program.BundleOptions):
        assert 'mpirun' not in parser(cls, 'distill', '').format_help()
    assert 'usage: mpirun -n P python -m mpiapp.distill label' in \
        parser(labelling.Options, 'distill label', '').format_help()


@needs_mpirun
def test_training_on_several_ranks_is_refused() -> None:
    ended = run('distill', 'train', '--data', 'x.h5', n=2)
    assert ended.code == 2 and 'without mpirun' in ended.output


def test_commands_and_options_of_the_page_exist() -> None:
    classes = {'label': labelling.Options, 'train': program.TrainOptions,
               'test': program.TestOptions, 'bundle': program.BundleOptions}
    page = (ROOT / 'docs' / 'distill.md').read_text()
    script = (ROOT / 'jobs' / 'distill.sbatch').read_text()
    text = re.sub(r'\\\n\s*', ' ', page + script)
    lines = re.findall(r"(?:mpiapp\.|')distill (\w+)'? ([^`\n|]+)",
                       text.replace('$DEVICE', 'cuda')
                       .replace('$TEST_OPTIONS', '--picoseconds 1'))
    assert {name for name, _ in lines} == set(classes)
    for name, line in lines:
        # a variable of the script stands for any value
        given = shlex.split(re.sub(r'\$\{?\w+\}?', '1', line))
        read_options(classes[name], f'distill {name}', '', given)
    known = {w.strip(',') for cls in classes.values()
             for w in parser(cls, 'x', '').format_help().split()}
    described = set(re.findall(r'`(--[a-z][a-z0-9-]+)', page))
    assert described - known == set()
