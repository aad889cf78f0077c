"""Which back end is taken, what is refused, and what is kept in the cache."""
import logging
import threading
from dataclasses import dataclass, replace
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mpiapp.potentials import PotentialOptions, build, mace, obtain, resolve
from mpiapp.potentials.mace import choosing, conversion
from mpiapp.records import InputError

# of TorchScript, which e3nn is made of, and of mace-torch's own torch.load
pytestmark = [pytest.mark.filterwarnings('ignore::DeprecationWarning'),
              pytest.mark.filterwarnings('ignore::UserWarning')]

needs_native = pytest.mark.skipif(
    find_spec('symmetrix') is None, reason='symmetrix-xl is not installed')


@dataclass(frozen=True, eq=False)
class Wrong:
    """A potential whose forces are off by a factor."""

    of: Any
    factor: float

    def __getattr__(self, name):
        return getattr(self.of, name)

    def evaluate(self, batch):
        found = self.of.evaluate(batch)
        return replace(found, forces=self.factor * found.forces)


@pytest.fixture
def sample(tools):
    return [tools.structure(*tools.embed(s)) for s in ('CCO', 'c1ccsc1')]


@pytest.fixture
def only_torch(monkeypatch):
    """Let no optional package be installed."""
    monkeypatch.setattr(mace, 'available', lambda: ['poly', 'reference'])
    monkeypatch.setattr(choosing, 'available', lambda: ['poly', 'reference'])


@pytest.fixture
def seconds(monkeypatch):
    """Give the race its outcome; what is not named takes one second."""
    chosen = {}
    monkeypatch.setattr(choosing, 'race', lambda entrants, structures: {
        name: chosen.get(name, 1.0) for name in entrants})
    return chosen


@pytest.mark.parametrize('fastest', ['poly', 'reference'])
def test_auto_takes_the_fastest(sample, only_torch, seconds, fastest):
    seconds[fastest] = 0.5
    assert obtain(PotentialOptions(), sample).backend == fastest


def test_the_race_has_new_positions_at_each_call(sample):
    seen = []
    potential = SimpleNamespace(
        evaluate=lambda batch: seen.append(batch.positions.copy()))
    found = choosing.race({'a': potential, 'b': potential}, sample[:1])
    rounds = choosing.RACE_ROUNDS + 1
    assert set(found) == {'a', 'b'}
    assert len(seen) == 2 * rounds
    # both get the same in each round
    assert len(np.unique([x[0, 0] for x in seen])) == rounds


def test_auto_without_structures_is_the_reference():
    assert obtain(PotentialOptions()).backend == 'reference'


def test_auto_that_was_not_chosen_is_the_reference(sample):
    assert build(PotentialOptions(), sample).describe()[
        'backend'] == 'reference'


def test_what_disagrees_is_not_chosen(
        sample, only_torch, seconds, monkeypatch, caplog):
    load = choosing.load_backend

    def loaded(name, options):
        found = load(name, options)
        return Wrong(found, 1.001) if name == 'poly' else found

    monkeypatch.setattr(choosing, 'load_backend', loaded)
    seconds['poly'] = 0.01
    with caplog.at_level(logging.WARNING):
        chosen = obtain(PotentialOptions(), sample)
    assert chosen.backend == 'reference'
    assert 'poly is not used: refused: 2 structures' in caplog.text


def test_a_named_back_end_that_disagrees_gives_way(sample, monkeypatch):
    load = mace.load_backend

    def loaded(name, options):
        found = load(name, options)
        return Wrong(found, 1.001) if name == 'poly' else found

    monkeypatch.setattr(mace, 'load_backend', loaded)
    described = build(PotentialOptions(backend='poly'), sample).describe()
    assert described['backend'] == 'reference'
    assert described['guard'].startswith('refused: 2 structures')


def test_a_named_back_end_that_cannot_run_gives_way(
        sample, monkeypatch, caplog):
    load = choosing.load_backend

    def loaded(name, options):
        if name == 'poly':
            raise InputError('no such contraction')
        return load(name, options)

    monkeypatch.setattr(choosing, 'load_backend', loaded)
    with caplog.at_level(logging.WARNING):
        chosen = obtain(PotentialOptions(backend='poly'), sample)
    assert chosen.backend == 'reference'
    assert 'poly is not used: no such contraction' in caplog.text


def test_a_package_that_is_absent_is_named(only_torch):
    with pytest.raises(InputError, match='pip install symmetrix-xl'):
        resolve(PotentialOptions(backend='native'))


@needs_native
def test_a_model_that_native_cannot_do_falls_back_to_poly(
        tools, random_models, sample, monkeypatch, caplog):
    """The converter wants spherical harmonics up to 3."""
    monkeypatch.setenv('XDG_CACHE_HOME', tools.cache_folder().name)
    options = PotentialOptions(model_path=random_models['scaled'],
                               backend='native')
    with caplog.at_level(logging.WARNING):
        chosen = obtain(options, sample)
    assert chosen.backend == 'poly'
    assert 'native is not used: ' in caplog.text
    assert build(chosen, sample).describe()['backend'] == 'poly'


@needs_native
def test_native_passes_its_guard(tools, sample, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', tools.cache_folder().name)
    for dtype in ('float64', 'float32'):
        potential = build(
            PotentialOptions(backend='native', dtype=dtype), sample)
        described = potential.describe()
        assert described['backend'] == 'native'
        assert described['guard'].startswith('passed: 2 structures')
        assert described['reproducible'] == 'bit for bit'
    assert potential.finisher.describe()['backend'] == 'poly'


@pytest.mark.parametrize('change, words', [
    ({'threads': 2}, 'several threads'), ({}, 'GB')])
def test_auto_leaves_native_out_where_it_does_not_fit(
        tools, sample, monkeypatch, change, words):
    exact = tools.potential('mace')
    monkeypatch.setattr(choosing, '_memory', lambda: 1e6)
    reason = choosing._unsuitable(
        'native', PotentialOptions(**change), exact, sample)
    assert words in reason
    monkeypatch.setattr(choosing, '_memory', lambda: 1e15)
    assert not choosing._unsuitable(
        'native', PotentialOptions(), exact, sample)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Give an empty cache and count the conversions into it."""
    calls = []

    def convert(path):
        calls.append(path)
        return b'{"converted": true}'

    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(conversion, 'convert', convert)
    monkeypatch.setattr(conversion, 'version', lambda name: '0.1.1')
    model = tmp_path / 'a.model'
    model.write_bytes(b'weights')
    return SimpleNamespace(model=str(model), calls=calls)


def test_a_model_is_converted_once(cache):
    path = conversion.converted(cache.model)
    assert path == conversion.converted(cache.model)
    assert path.read_bytes() == b'{"converted": true}'
    assert len(cache.calls) == 1


def test_another_model_is_another_entry(cache, tmp_path):
    other = tmp_path / 'b.model'
    other.write_bytes(b'other weights')
    assert conversion.converted(str(other)) != conversion.converted(
        cache.model)
    assert len(cache.calls) == 2


@pytest.mark.parametrize('damage', [b'', b'{"converted": fals', b'<html>'])
def test_a_damaged_entry_is_made_anew(cache, damage, caplog):
    path = conversion.converted(cache.model)
    path.write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        assert conversion.converted(cache.model) == path
    assert path.read_bytes() == b'{"converted": true}'
    assert 'is damaged' in caplog.text
    assert len(cache.calls) == 2


def test_processes_that_start_together_convert_once(cache):
    """A lock belongs to an open file: threads stand for processes."""
    start = threading.Barrier(4)
    found = []

    def job():
        start.wait()
        found.append(conversion.converted(cache.model))

    threads = [threading.Thread(target=job) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1 and len(found) == 4
    assert len(cache.calls) == 1


def test_a_cache_that_cannot_be_written_is_an_input_error(
        cache, tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('in the way')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    with pytest.raises(InputError, match='cannot write'):
        conversion.converted(cache.model)
