"""Which back end is taken, what is refused, and what is kept in the cache."""
import logging
import os
import threading
from dataclasses import dataclass, replace
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest

from mpiapp.potentials import PotentialOptions, build, mace, obtain, resolve
from mpiapp.potentials.mace import (
    choosing, conversion, loading, native, switched
)
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
    monkeypatch.setattr(mace, 'find_spec', lambda name: None)


#: atom-steps that are worth any start, and a few that are not
LONG, SHORT = 1e12, 1e3
#: what makes native fit; the model is the student
FIT = {'n_elements': 4, 'atom_steps': LONG, 'dtype': 'float64',
       'device': 'cpu', 'memory': 1e12}


@pytest.fixture(scope='session')
def student(data_dir):
    return loading.load(
        str(data_dir / 'models/student.model'), 'float64', 'cpu')


@pytest.fixture
def installed(monkeypatch):
    """Let all optional packages seem to be installed."""
    monkeypatch.setattr(mace, 'find_spec', lambda name: object())


def test_a_long_campaign_on_cpus_is_native(student, installed):
    assert choosing.unfit_for_native(choosing.Job(student, **FIT)) == ''


@pytest.mark.parametrize('change, words', [
    ({'device': 'cuda'}, 'CPU only'), ({'memory': 1e6}, 'GB'),
    ({'atom_steps': SHORT}, 'its start takes')])
def test_native_is_left_out_with_a_reason(
        student, installed, change, words):
    job = choosing.Job(student, **{**FIT, **change})
    assert words in choosing.unfit_for_native(job)


def test_an_absent_package_is_a_reason(student, only_torch):
    assert 'symmetrix-xl is not installed' in choosing.unfit_for_native(
        choosing.Job(student, **FIT))


def test_more_elements_or_less_work_end_the_worth(student, installed):
    """The border is where the saving is WORTH times the start."""
    seconds = choosing.CONVERSION_SECONDS + \
        native.SECONDS_PER_BYTE * native.table_bytes(
            native.radial_functions(student), 4)
    border = choosing.WORTH * seconds / choosing.saved_seconds(
        student, 'float64')
    job = choosing.Job(student, **{**FIT, 'atom_steps': 1.01 * border})
    assert not choosing.unfit_for_native(job)
    for change in ({'atom_steps': 0.99 * border}, {'n_elements': 5},
                   {'dtype': 'float32'}):
        assert choosing.unfit_for_native(replace(job, **change))


def test_auto_logs_why_it_is_not_native(sample, only_torch, caplog):
    with caplog.at_level(logging.INFO):
        chosen = obtain(PotentialOptions(), sample, LONG)
    assert chosen.backend == 'poly'
    assert 'native is not used: the package symmetrix-xl' in caplog.text


def test_auto_takes_native_where_it_is_fit(sample, monkeypatch, caplog):
    monkeypatch.setattr(choosing, 'unfit_for_native', lambda job: '')
    monkeypatch.setattr(choosing, 'load_backend', lambda name, options: name)
    assert obtain(PotentialOptions(), sample).backend == 'native'


def test_auto_falls_back_where_native_cannot_run(
        sample, monkeypatch, caplog):
    def loaded(name, options):
        if name == 'native':
            raise InputError('no such model')
        return name

    monkeypatch.setattr(choosing, 'unfit_for_native', lambda job: '')
    monkeypatch.setattr(choosing, 'load_backend', loaded)
    with caplog.at_level(logging.WARNING):
        assert obtain(PotentialOptions(), sample).backend == 'poly'
    assert 'native is not used: no such model' in caplog.text


def test_auto_without_structures_is_the_reference():
    assert obtain(PotentialOptions()).backend == 'reference'


def test_auto_that_was_not_chosen_is_the_reference(sample):
    assert build(PotentialOptions(), sample).describe()[
        'backend'] == 'reference'


@pytest.mark.parametrize('wrong, chosen', [
    ({'poly'}, 'reference'), ({'native'}, 'poly'),
    ({'native', 'poly'}, 'reference')])
def test_what_disagrees_gives_way(
        sample, monkeypatch, installed, caplog, wrong, chosen):
    load = mace.load_backend

    def loaded(name, options):
        found = load('poly' if name == 'native' else name, options)
        return Wrong(found, 1.001) if name in wrong else found

    monkeypatch.setattr(mace, 'load_backend', loaded)
    named = 'native' if 'native' in wrong else 'poly'
    with caplog.at_level(logging.INFO):
        described = build(
            PotentialOptions(backend=named), sample).describe()
    assert described['backend'] == chosen
    for name in wrong:
        assert f'by {name}' in described['guard']
        assert f'back end {name}: refused: 2 structures' in caplog.text


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


@pytest.mark.parametrize('name, distribution', [
    ('cueq', 'cuequivariance-torch'), ('oeq', 'openequivariance')])
def test_gpu_back_ends_name_what_they_need(
        only_torch, name, distribution):
    with pytest.raises(InputError, match=f'pip install {distribution}'):
        resolve(PotentialOptions(backend=name))


def test_back_ends_for_gpus_are_not_for_any_machine(installed):
    assert mace.available() == ['native', 'poly', 'reference']


@pytest.mark.parametrize('name', ['cueq', 'oeq'])
def test_gpu_back_ends_give_way_on_the_cpu(
        sample, installed, caplog, name):
    with caplog.at_level(logging.WARNING):
        chosen = obtain(
            PotentialOptions(backend=name, device='cpu'), sample)
    assert chosen.backend == 'poly'
    assert f'back end {name} runs on a GPU only' in caplog.text


def test_a_converter_that_fails_is_an_input_error(monkeypatch):
    """Whatever mace-torch's converters raise; they need packages."""
    def run(module, device):
        raise KeyError('no such irreps')

    monkeypatch.setattr(switched, 'import_module',
                        lambda name: SimpleNamespace(run=run))
    with pytest.raises(InputError, match='cueq.*no such irreps'):
        switched.convert(object(), 'cueq', 'cpu')


@needs_native
def test_a_corrupt_conversion_that_has_its_checksum_is_refused(
        tools, sample, cache, caplog):
    """Damage that no checksum shows: the library reads and refuses it."""
    path = conversion.converted(cache.model)
    with pytest.raises(InputError, match='library refuses the model'):
        native._evaluator(path, PotentialOptions())


def test_the_library_is_told_once_how_to_multiply(monkeypatch):
    monkeypatch.setenv(native.BLAS, '')
    monkeypatch.delenv(native.BLAS)
    monkeypatch.setattr(native, '_told', set())
    for threads, policy in [(1, 'unsafe'), (2, 'off'), (1, 'unsafe')]:
        native.tell_blas_policy(threads)
        assert os.environ[native.BLAS] == policy


def test_a_policy_of_the_user_stays(monkeypatch):
    monkeypatch.setenv(native.BLAS, 'off')
    monkeypatch.setattr(native, '_told', set())
    native.tell_blas_policy(1)
    assert os.environ[native.BLAS] == 'off'


@needs_native
def test_an_evaluation_finds_the_policy(tools, sample, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', tools.cache_folder().name)
    monkeypatch.setenv(native.BLAS, '')
    monkeypatch.delenv(native.BLAS)
    monkeypatch.setattr(native, '_told', set())
    potential = tools.potential('mace', backend='native')
    native.tell_blas_policy(1)
    assert os.environ[native.BLAS] == 'unsafe'
    found = potential.evaluate(tools.one(*tools.embed('CCO')))
    assert not found.failures


def test_auto_gives_native_one_thread_and_others_all():
    options = PotentialOptions(threads=4)
    fit = choosing.chosen_by_rule(options, 'native')
    assert (fit.backend, fit.threads) == ('native', 1)
    fit = choosing.chosen_by_rule(options, 'poly')
    assert (fit.backend, fit.threads) == ('poly', 4)


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
