"""Pictures: drawn from result files, each where its data are."""
import numpy as np
import pytest

from mpiapp.benchmarks.plots import PICTURES, draw_all

X = (1e-3 * (1 + 0.02 * np.sin(np.arange(9.0)))).tolist()


def cell(way, n_atoms, batch=1, factor=1.0):
    samples = [factor * x * n_atoms for x in X]
    median = float(np.median(samples))
    return {
        'model': 'm', 'model_sha256': 'a', 'molecule': f'm{n_atoms}',
        'inputs_sha256': f'{n_atoms}', 'device': 'cpu', 'threads': 1,
        'quantity': 'energy+forces', 'batch': batch, 'ranks': 1,
        'dtype': 'float64', 'way': way, 'neighbours': 'tree', 'state': 'ok',
        'n_atoms': n_atoms, 'n_edges': 10 * n_atoms * batch,
        'samples': samples, 'steady': {'median': median, 'mad': 0.0},
        'structures_per_s': batch / median, 'build_s': 2.0 / factor,
        'first_s': 0.1, 'warm_s': 0.1, 'errors': {'d_force_rms': 1e-6}}


CELLS = {'rows': [cell(w, n, b, f) for w, f in (('reference', 1.0),
                                                ('poly', 0.4))
                  for n, b in ((3, 1), (9, 1), (24, 1), (24, 4))],
         'laws': [{'model': 'm', 'way': 'poly', 'dtype': 'float64',
                   'neighbours': 'tree', 'quantity': 'energy+forces',
                   'a': 1e-3, 'b': 1e-4, 'c': 0.0, 'knee_batch': 2.0}]}
PRECISION = {'rows': [{
    'molecule': 'w', 'n_atoms': 3, 'stage': 'all', 'precision': 'float32',
    'state': 'ok', 'steady': {'median': 1e-3}, 'd_force_rms': 1e-6,
    'by_element': {'1': [1e-8, 1e-7, 2e-7, 5e-7, 1e-6],
                   '8': [1e-8, 1e-7, 2e-7, 5e-7, 1e-6]}}]}
MD = {'rows': [{'backend': 'poly', 'dtype': 'float64',
                'drift_meV_atom_ps': 0.01,
                'series': {'ps': [0, 1, 2], 'meV_per_atom': [0, 0.1, 0]}}]}
RANKS = {'rows': [], 'laws': [
    {'kind': k, 'schedule': 'dynamic', 'ranks': n, 'efficiency': 0.9,
     'ratio': r, 'low': 0.9 * r, 'high': 1.1 * r}
    for k, n, r in (('strong', 2, 1.8), ('weak', 2, 0.9))]}
PROFILE = {'rows': [{
    # as in a profile: a time, but no cell of a matrix
    **{k: v for k, v in cell('poly', 3).items() if k not in (
        'build_s', 'first_s', 'warm_s', 'errors')}, 'stages': [
        {'stage': 'a', 'share': 0.7, 'forward_ms': 2.0, 'backward_ms': 1.0,
         'bound': 'host-bound'}],
    'memory': {'atoms': [3, 6], 'edges': [6, 12], 'peaks': [1e6, 2e6],
               'limit_bytes': 1e9, 'largest_batch': 900,
               'law': {'m0': 0.0, 'per_atom': 3e5, 'per_edge': 1e3}}}]}
DRAWN = {
    'inference': (CELLS, {'latency', 'throughput', 'speed_up', 'pareto',
                          'break_even'}),
    'precision': (PRECISION, {'pareto', 'elements'}),
    'md': (MD, {'nve'}), 'scaling': (RANKS, {'scaling'}),
    'profiler': (PROFILE, {'stages', 'memory'}),
}


@pytest.mark.parametrize('name', DRAWN)
def test_a_result_has_its_pictures(name, tmp_path):
    content, expected = DRAWN[name]
    paths = draw_all(content, tmp_path / 'r')
    assert {p.stem.removeprefix('r_') for p in paths} == expected
    assert all(p.stat().st_size > 3000 for p in paths)


def test_every_picture_is_drawn_by_some_result():
    assert set(PICTURES) == set().union(*(e for _, e in DRAWN.values()))


def test_nothing_to_show_draws_nothing(tmp_path):
    assert draw_all({'rows': []}, tmp_path / 'r') == []
