"""The parts of profiler: stages, operators, ceilings, memory, spans."""
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from torch.autograd import DeviceType

from mpiapp import profiler
from mpiapp.benchmarks import shapes
from mpiapp.benchmarks.harness import molecules, variants
from mpiapp.benchmarks.profiling import (
    measure, memory, report, roofline, spans
)
from mpiapp.benchmarks.profiling.measure import Subject, profile
from mpiapp.parallel.serial import SerialComm

# of TorchScript, which e3nn is made of, and of mace-torch's own torch.load
pytestmark = [pytest.mark.filterwarnings('ignore::DeprecationWarning'),
              pytest.mark.filterwarnings('ignore::UserWarning')]

CEILINGS = roofline.Ceilings(1e10, {'float64': 1e10, 'float32': 2e10}, 5e-6)


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp('m') / 'tiny.model'
    shapes.write_model(shapes.TINY, path)
    return str(path)


@pytest.fixture(scope='module')
def found(model):
    water = molecules.molecule('water')
    return {way: profile(Subject(model, water, way, calls=5), CEILINGS)
            for way in ('reference', 'poly')}


def stage(profile, name):
    return next(s for s in profile['stages'] if s['stage'] == name)


def test_all_parts_of_a_call_are_stages_or_other(found):
    for p in found.values():
        names = [s['stage'] for s in p['stages']]
        assert names[-1] == 'other'
        assert {'radial_embedding', 'interactions.0.conv_tp',
                'products.1.symmetric_contractions', 'readouts.1'} <= set(
                    names)
        assert sum(s['share'] for s in p['stages']) == pytest.approx(1.0)
        spent = sum(s['forward_ms'] + s['backward_ms'] for s in p['stages'])
        # no second is counted twice: the calls that were timed are shared
        assert spent == pytest.approx(1e3 * p['hooked_s'], rel=1e-6)


def test_a_call_runs_each_stage_once(found):
    for p in found.values():
        assert {s['calls'] for s in p['stages'][:-1]} == {1}


def test_backward_work_belongs_to_the_stage_that_caused_it(found):
    for p in found.values():
        for name in ('products.0.symmetric_contractions',
                     'interactions.0.conv_tp', 'spherical_harmonics'):
            s = stage(p, name)
            assert s['nodes'] > 0 and s['backward_ms'] > 0, name
        # elements do not depend on positions: nothing flows back
        assert stage(p, 'node_embedding')['backward_ms'] == 0.0
        # what no stage owns is the sum of energies and its like
        other = stage(p, 'other')['operations']
        assert other < 0.25 * p['total']['operations']


def test_flops_of_the_contraction_fall_with_the_polynomial(found):
    name = 'products.0.symmetric_contractions'
    dense, poly = (stage(found[w], name)['flops']
                   for w in ('reference', 'poly'))
    assert poly < dense / 5
    rows, ratio = report.difference(found['reference'], found['poly'])
    row = next(r for r in rows if r['stage'] == name)
    assert row['flops'] == poly - dense
    assert ratio.reason == '' or 'unequal' not in ratio.reason


def test_host_synchronisations_are_listed(found):
    assert {s['stage'] for s in found['poly']['synchronisations']} >= {
        'interactions.0.conv_tp', 'products.0.symmetric_contractions'}
    assert found['reference']['synchronisations'] == []


def test_memory_follows_the_batch_and_predicts_the_largest(found):
    m = found['reference']['memory']
    assert m['peaks'] == sorted(m['peaks']) and m['peaks'][0] > 0
    law = memory.MemoryModel(**m['law'])
    one = m['atoms'][0], m['edges'][0]
    n = law.largest_batch(*one, m['limit_bytes'])
    assert law.bytes(n * one[0], n * one[1]) <= m['limit_bytes']
    assert law.bytes((n + 1) * one[0], (n + 1) * one[1]) > m['limit_bytes']
    assert stage(found['reference'], 'products.0.symmetric_contractions')[
        'peak_bytes'] > 0


def test_a_law_of_memory_is_found_again():
    atoms, edges = np.array([3, 6, 9, 20.0]), np.array([6, 30, 50, 300.0])
    law = memory.fit(atoms, edges, 1e6 + 5e4 * atoms + 2e3 * edges)
    assert (law.m0, law.per_atom, law.per_edge) == pytest.approx(
        (1e6, 5e4, 2e3))


def test_a_leak_is_told_from_noise(rng):
    noise = rng.normal(0, 1e4, 40)
    assert not memory.leaks(*memory.leak_slope(1e8 + noise))
    assert not memory.leaks(*memory.leak_slope(np.full(40, 1e8)))
    assert memory.leaks(*memory.leak_slope(
        1e8 + noise + 1e5 * np.arange(40)))


def test_what_bounds_a_stage():
    def bound(seconds, flops=0.0, n_bytes=0.0, operations=0):
        return roofline.verdict(seconds, flops, n_bytes, operations,
                                CEILINGS, 'float64')[0]
    assert bound(1.1, flops=1e10, n_bytes=1e9) == 'compute-bound'
    assert bound(1.1, flops=1e9, n_bytes=1e10) == 'bandwidth-bound'
    assert bound(1.1, operations=200_000) == 'launch-bound'
    assert bound(9.0, flops=1e10) == 'host-bound'


def test_r7_a_stage_is_told_with_its_bound_and_the_whole():
    assert roofline.amdahl(0.5) == 2.0
    assert roofline.amdahl(0.5, 2.0) == pytest.approx(4 / 3)

    def profile_of(radial_ms, whole_ms):
        return {
            'state': 'ok', 'way': 'poly', 'dtype': 'float64',
            'samples': [1e-3 * whole_ms] * 6,
            'steady': {'median': 1e-3 * whole_ms},
            'stages': [{'stage': n, 'forward_ms': ms, 'backward_ms': 0.0,
                        'share': ms / whole_ms, 'operations': 1, 'flops': 1}
                       for n, ms in (('radial', radial_ms), ('rest', 92.0))]}
    text = list(report.difference_lines(
        profile_of(8.0, 100.0), profile_of(1.36, 93.36)))
    # 5.88 times faster, yet the whole call is 1.07 and could be 1.09
    assert '100.00 -> 93.36 ms, 1.07x' in text[0]
    row = next(x for x in text if x.startswith('| radial'))
    assert '8.00 | 1.36 | 8.0 %' in row and row.endswith('1.09x |')


def test_r7_every_stage_of_a_profile_has_its_bound(found):
    for p in found.values():
        rows = [x for x in report.lines(p) if x.startswith('| ')][1:]
        assert len(rows) == len(p['stages'])
        for text, s in zip(rows, p['stages']):
            assert text.endswith(f'{1 / (1 - s["share"]):.2f}x |')


def test_r2_a_wrong_way_is_not_profiled(model, monkeypatch, capsys):
    class Wrong(measure.TorchWay):
        def fetched(self, built, found, forces):
            right = super().fetched(built, found, forces)
            return replace(right, forces=right.forces + 0.01)
    monkeypatch.setattr(measure, 'make', lambda cell, path: Wrong(
        variants._built(cell, path)))
    row = profile(Subject(model, molecules.molecule('water'), 'poly'),
                  CEILINGS)
    assert row['state'] == 'refused' and 'equal: ' in row['reason']
    assert not {'samples', 'steady', 'stages'} & set(row)
    text, = report.lines(row)
    assert 'refused' in text and ' ms' not in text


def test_kernels_are_counted_once_of_host_and_device():
    def event(device, us):
        return SimpleNamespace(device_type=device, self_device_time_total=us)
    # the operator on the host, and the kernel that it launched
    assert measure.busy_us([event(DeviceType.CPU, 40.0),
                            event(DeviceType.CUDA, 40.0)]) == 40.0


def test_ceilings_are_measured():
    found = roofline.measure_ceilings('cpu', triad=2 ** 12, gemm=32)
    assert found.bandwidth > 0 and found.launch > 0
    assert set(found.flops) == {'float64', 'float32'}


def test_spans_of_ranks_are_one_trace():
    ticks = iter(range(100))
    mine = spans.Spans(lambda: float(next(ticks)))
    comm = spans.SpannedComm(SerialComm(), mine)
    with mine.span('model'):
        comm.allgather(1)
    assert comm.rank == 0
    assert [n for n, *_ in mine.found] == ['MPI allgather', 'model']
    by_rank = [mine.found, [('model', 'work', 2.5, 1.0)]]
    events = spans.trace_events(by_rank)['traceEvents']
    assert {e['pid'] for e in events} == {0, 1}
    complete = [e for e in events if e['ph'] == 'X']
    assert min(e['ts'] for e in complete) == 0.0
    assert complete[-1]['ts'] == 2.5e6 and complete[-1]['dur'] == 1e6
    assert spans.shares(by_rank)[0] == {'mpi': 1.0, 'work': 3.0}


def test_two_files_are_compared(found, tmp_path, capsys):
    for i, ms in enumerate((1, 2)):
        (tmp_path / f'{i}.json').write_text(json.dumps({
            'schema': 1, 'command': 'profiler',
            'rows': [found['poly'] | {'samples': [1e-3 * ms] * 6}]}))
    paths = [str(tmp_path / f'{i}.json') for i in range(2)]
    assert profiler.main(['--compare', *paths]) == 0
    assert '0.50x' in capsys.readouterr().out


@pytest.mark.parametrize('words, text', [
    (['--compare', 'a'], 'two files'), (['--compare', 'a', 'b'], 'No such'),
    (['--batch', '0'], 'greater than 0'), (['--dtype', 'half'], 'invalid')])
def test_wrong_options_are_refused(words, text, capsys):
    with pytest.raises(SystemExit) as left:
        profiler.main(words)
    assert left.value.code == 2 and text in capsys.readouterr().err
