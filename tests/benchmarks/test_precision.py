"""Precision: sums, stages in lower precision, trainings."""
import json
from types import SimpleNamespace

import numpy as np
import pytest

from mpiapp.benchmarks import precision, shapes, training
from mpiapp.benchmarks.harness import clock, halves, molecules
from mpiapp.benchmarks.harness.spread import LEAST_ROUNDS
from mpiapp.errors import InputError

pytestmark = [pytest.mark.filterwarnings('ignore::DeprecationWarning'),
              pytest.mark.filterwarnings('ignore::UserWarning')]


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp('m') / 'tiny.model'
    shapes.write_model(shapes.TINY, path)
    return str(path)


def test_a_compensated_sum_keeps_what_a_plain_one_loses():
    values = np.full(100_000, 0.1)
    truth = float(np.float32(0.1)) * len(values)
    plain = precision.plain_sum(values[:5000].repeat(4), np.float32)
    exact = precision.compensated(values[:5000].repeat(4), np.float32)
    truth = 20_000 * float(np.float32(0.1))
    assert abs(exact - truth) <= np.spacing(np.float32(truth))
    assert abs(plain - truth) > 10 * abs(exact - truth)


def test_compensation_cannot_give_back_what_e0_took():
    rng = np.random.default_rng(3)
    interaction = rng.normal(-5, 1, 60)
    e0 = np.full(60, -16_000.0)
    single = interaction.astype(np.float32)
    both = single + e0.astype(np.float32)
    truth = float(interaction.sum() + e0.sum())
    found = precision.sum_errors(both, single, e0, truth)
    ours = abs(found[
        'float64 sum of the interaction, float64 E0 (ours)'])
    kahan = abs(found['compensated float32, E0 added per atom'])
    assert ours < 1e-5
    assert kahan > 1e-3 and kahan > 100 * ours


def test_a_stage_is_lowered_and_the_rest_stays(model):
    batch = clock.copies(molecules.molecule('water'), 1)
    exact = precision.lowered(model, 'float32', 'cpu')
    base = exact.evaluate(batch, True)
    module = exact.potential.model.module
    names = halves.parts(module)
    assert 'node_embedding.linear' in names
    assert 'interactions.0.conv_tp_weights' in names
    one = precision.lowered(model, 'bfloat16', 'cpu',
                            'interactions.0.conv_tp_weights')
    inner = one.potential.model.module
    dtypes = {n: str(p.dtype) for n, p in inner.named_parameters()}
    low = {n for n, d in dtypes.items() if d == 'torch.bfloat16'}
    assert low and all('conv_tp_weights' in n for n in low)
    finer = precision.lowered(model, 'float16', 'cpu',
                              'interactions.0.conv_tp_weights')
    coarse, fine = (np.abs(way.evaluate(batch, True).forces
                           - base.forces).max() for way in (one, finer))
    assert 0 < fine < coarse


STAGES = ('radial_embedding', 'interactions.0.conv_tp',
          'products.0.symmetric_contractions', 'readouts.1')


def test_every_stage_is_lowered_to_float32_alone(model):
    found = precision.variants_of(model, 'cpu')
    assert {('float32', s) for s in (
        *STAGES, 'node_embedding', 'spherical_harmonics')} < set(found)
    assert sum(bool(stage) for _, stage in found) > 20
    way = precision.lowered(model, 'float32', 'cpu', STAGES[1])
    inner = way.potential.model.module
    assert str(inner.radial_embedding.bessel_fn.bessel_weights.dtype
               ) == 'torch.float64'
    assert str(inner.get_submodule(STAGES[1]).dtype) == 'torch.float32'


def test_rows_tell_errors_by_precision(model, monkeypatch):
    monkeypatch.setattr(precision, 'variants_of', lambda path, device: [
        *((name, '') for name in precision.WHOLE),
        *(('float32', stage) for stage in STAGES)])
    batch = clock.copies(molecules.molecule('water'), 1)
    rows = precision.measured(model, batch, 'cpu', 5)
    whole = {r['precision']: r for r in rows if r['stage'] == 'all'}
    assert whole['float64']['d_force_max'] == 0.0
    order = [whole[p]['d_force_scaled'] for p in (
        'float32', 'float16', 'bfloat16')]
    assert order == sorted(order) and order[0] > 0
    assert whole['tf32']['state'] == 'skipped'
    assert whole['float64']['peak_bytes'] > whole['float32']['peak_bytes']
    assert set(whole['float32']['by_element']) == {'1', '8'}
    stages = {r['stage']: r for r in rows if r['precision'] == 'float32'}
    assert set(stages) == {'all', *STAGES}
    for row in stages.values():
        # a stage alone costs more than nothing, and not more than all
        assert row['state'] == 'ok', row
        assert 0 < row['d_force_rms'] < 10 * stages['all']['d_force_rms']


def test_a_training_learns_and_several_starts_are_told():
    frames = training.read().pick(range(9))
    rows = training.compare(frames, 2, 3)
    # each precision is first in its turn
    assert [(r['start'], r['dtype']) for r in rows] == [
        (0, 'float64'), (0, 'float32'), (1, 'float32'), (1, 'float64')]
    for row in rows:
        assert row['last_loss'] < row['first_loss']
    same, other = rows[0]['first_loss'], rows[1]['first_loss']
    assert same == pytest.approx(other, rel=1e-4)
    assert rows[0]['peak_bytes'] > rows[1]['peak_bytes']
    text = '\n'.join(training.lines(rows))
    # two starts show nothing, and nothing is claimed
    assert text.count('no ratio: 2 rounds') == 3
    assert json.dumps(rows)


def test_the_default_starts_give_intervals():
    assert precision.STARTS >= precision.QUICK_STARTS >= LEAST_ROUNDS
    rows = [{'start': i, 'dtype': d, 'epochs': 1, 'peak_bytes': 1.0,
             'cpu_s': (2.0 if d == 'float64' else 1.0) + 0.01 * i,
             'energy_rmse_meV': 1.0 + i, 'force_rmse_meV_A': 1.0 + i}
            for i in range(precision.QUICK_STARTS) for d in training.DTYPES]
    text = list(training.lines(rows))
    assert 'no ratio' not in '\n'.join(text)
    assert text[-1].startswith('CPU time, float64 / float32: 1.9')


def test_a_cold_step_is_neither_timed_nor_taken(monkeypatch):
    frames = training.read().pick(range(6))
    asked, now = [], [0.0]
    loss = training._loss

    def watched(model, some, e0, dtype):
        asked.append([float(p.detach().sum()) for p in model.parameters()])
        now[0] += 100.0 if len(asked) == 1 else 1.0
        return loss(model, some, e0, dtype)
    monkeypatch.setattr(training, '_loss', watched)
    monkeypatch.setattr(training, 'time', SimpleNamespace(
        process_time=lambda: now[0]))
    row = training.train(frames, frames, training.isolated(frames), 0,
                         'float64', 1)
    assert asked[0] == asked[1]
    assert row['cpu_s'] == 1.0


def test_a_float32_that_fails_leaves_the_others_their_times(
        model, monkeypatch):
    right = precision.lowered

    def lowered(path, name, device, stage=''):
        if name == 'float32' and not stage:
            raise RuntimeError('no float32 here')
        return right(path, name, device, stage)
    monkeypatch.setattr(precision, 'lowered', lowered)
    monkeypatch.setattr(precision, 'variants_of', lambda path, device: [
        ('float64', ''), ('float32', ''), ('float32', 'readouts.0')])
    rows = precision.measured(
        model, clock.copies(molecules.molecule('water'), 1), 'cpu', 5)
    assert [r['state'] for r in rows] == ['ok', 'failed', 'ok']
    assert all(precision.line({'molecule': 'water', 'n_atoms': 3} | r)
               for r in rows)


def test_wrong_training_files_are_refused(tmp_path):
    with pytest.raises(InputError):
        training.read(str(tmp_path / 'absent.xyz'))
    path = tmp_path / 'x.xyz'
    path.write_text('1\nProperties=species:S:1:pos:R:3\nH 0 0 0\n')
    with pytest.raises(InputError, match='REF_'):
        training.read(str(path))
