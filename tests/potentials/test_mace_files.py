"""Files that are no models, models to download, options that can't be."""
import io
import pickle
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from email.message import Message
from pathlib import Path

import pytest

from mpiapp import potentials
from mpiapp.potentials import PotentialOptions, build, obtain, resolve
from mpiapp.potentials.mace import files, reference
from mpiapp.records import InputError

# of TorchScript, which e3nn is made of, and of mace-torch's own torch.load
pytestmark = [pytest.mark.filterwarnings('ignore::DeprecationWarning'),
              pytest.mark.filterwarnings('ignore::UserWarning')]


@pytest.fixture
def student(data_dir):
    return data_dir / 'models' / 'student.model'


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    """Give each test its own cache, and no network."""
    def offline(*args, **kwargs):
        raise urllib.error.URLError('Name or service not known')

    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(urllib.request, 'urlopen', offline)
    return tmp_path / 'cache' / 'mace'


CHEAP = {
    'html': (b'<!DOCTYPE html><html>404</html>', 'HTML'),
    'empty': (b'', 'empty'),
    'text': (b'Not Found', 'not a PyTorch file'),
    'lfs': (b'version https://git-lfs.github.com/spec/v1\n', 'Git LFS'),
    'zip': (b'PK\x03\x04' + bytes(200), 'truncated'),
}


@pytest.mark.parametrize('kind', CHEAP)
def test_bad_file_is_refused_without_loading_it(tmp_path, kind):
    content, word = CHEAP[kind]
    path = tmp_path / 'bad.model'
    path.write_bytes(content)
    with pytest.raises(InputError, match=word) as caught:
        resolve(PotentialOptions(model_path=str(path)))
    assert str(path) in str(caught.value)


def test_truncated_model_is_refused(tmp_path, student):
    path = tmp_path / 'half.model'
    path.write_bytes(student.read_bytes()[:600_000])
    with pytest.raises(InputError, match='truncated'):
        resolve(PotentialOptions(model_path=str(path)))


@pytest.mark.parametrize('name', ['missing.model', '.'])
def test_missing_file_and_directory_are_refused(tmp_path, name):
    path = str(tmp_path / name)
    with pytest.raises(InputError, match='No such file|Is a directory'):
        resolve(PotentialOptions(model_path=path))


def save_contents(path, kind):
    import torch
    if kind == 'pickle':
        path.write_bytes(pickle.dumps({'a': [1, 2]}))
    elif kind == 'absent module':
        path.write_bytes(b'\x80\x04cno_such_module\nThing\n.')
    elif kind == 'state_dict':
        torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    elif kind == 'list':
        torch.save([1, 2, 3], path)
    elif kind == 'other model':
        torch.save(torch.nn.Linear(2, 2), path)
    elif kind == 'torchscript':
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(path))


CONTENTS = {
    'pickle': 'not a model that PyTorch can load',
    'absent module': 'not a model that PyTorch can load',
    'state_dict': 'state_dict',
    'list': 'holds a list',
    'other model': 'Linear is no MACE model: it lacks atomic_numbers',
    'torchscript': 'TorchScript',
}


@pytest.mark.parametrize('kind', CONTENTS)
def test_file_without_a_mace_model_is_refused_in_words(tmp_path, kind):
    path = tmp_path / 'strange.model'
    save_contents(path, kind)
    with pytest.raises(InputError, match=CONTENTS[kind]) as caught:
        build(PotentialOptions(model_path=str(path)))
    assert str(path) in str(caught.value)


def test_damage_inside_the_archive_is_refused(tmp_path, student):
    content = bytearray(student.read_bytes())
    content[2000:60_000] = bytes(58_000)
    path = tmp_path / 'damaged.model'
    path.write_bytes(content)
    with pytest.raises(InputError, match='not a model that PyTorch can load'):
        build(PotentialOptions(model_path=str(path)))


@pytest.mark.parametrize('size', files.SIZES)
def test_offline_and_not_cached_names_all_ways_out(size, empty_cache):
    options = resolve(PotentialOptions(model=size))
    assert options.model_path is None
    with pytest.raises(InputError) as caught:
        obtain(options)
    text = str(caught.value)
    for way in ('--model-path FILE', '--model student', '--calculator gfn2',
                f"mace_off(model='{size}'", 'Name or service not known',
                str(empty_cache / f'MACE-OFF23_{size}.model')):
        assert way in text
    assert list(empty_cache.iterdir()) == []


def test_building_never_downloads():
    with pytest.raises(InputError, match='--model-path FILE'):
        build(PotentialOptions(model='small'))


class Answer(io.BytesIO):
    """What a web server sends."""

    def __init__(self, content):
        super().__init__(content)
        self.headers = Message()

    def info(self):
        return self.headers


def serve(monkeypatch, content):
    """Answer each request with content; return the list of timeouts."""
    waits = []

    def answer(request, timeout):
        waits.append(timeout)
        return Answer(content)

    monkeypatch.setattr(urllib.request, 'urlopen', answer)
    return waits


def test_download_goes_to_the_cache_with_the_licence(
        student, empty_cache, monkeypatch, capsys):
    waits = serve(monkeypatch, student.read_bytes())
    options = obtain(PotentialOptions(model='small'))
    path = empty_cache / 'MACE-OFF23_small.model'
    assert options.model_path == str(path)
    assert path.read_bytes() == student.read_bytes()
    assert list(empty_cache.iterdir()) == [path]
    assert waits[0] == files.ANSWER_TIMEOUT
    printed = capsys.readouterr()
    assert 'Academic Software License' in printed.err
    assert printed.out == ''
    assert resolve(PotentialOptions(model='small')) == replace(
        options, backend='auto')
    # what is cached is not asked for again
    serve(monkeypatch, b'')
    assert obtain(PotentialOptions(model='small')) == options


@pytest.mark.parametrize('content', [b'<html>rate limit</html>', b'',
                                     b'PK\x03\x04' + bytes(100)])
def test_bad_download_leaves_nothing_behind(
        content, empty_cache, monkeypatch):
    serve(monkeypatch, content)
    with pytest.raises(InputError, match='Ways out'):
        obtain(PotentialOptions(model='small'))
    assert list(empty_cache.iterdir()) == []


def test_broken_file_in_the_cache_is_named(empty_cache):
    empty_cache.mkdir(parents=True)
    path = empty_cache / 'MACE-OFF23_large.model'
    path.write_bytes(b'<html>')
    with pytest.raises(InputError, match='HTML.*delete it') as caught:
        resolve(PotentialOptions(model='large'))
    assert str(path) in str(caught.value)


def test_cache_names_are_those_of_mace():
    from mace.calculators.foundations_models import mace_off_urls
    for size in files.SIZES:
        assert mace_off_urls[size].endswith(files.cached_path(size).name)


def test_without_a_choice_the_bundled_model_is_taken(student):
    options = resolve(PotentialOptions())
    assert Path(options.model_path) == student
    assert resolve(options) == options
    assert build(options).name == 'mace:student'


def test_bundled_file_is_the_one_described(student):
    stated = (student.parent / 'README.md').read_text()
    assert potentials.file_sha256(student) in stated
    assert f'{student.stat().st_size:,} bytes' in stated


WRONG = {
    'calculator': (PotentialOptions('nosuch'), 'gfn1, gfn2, lj, mace'),
    'model': (PotentialOptions(model='huge'), 'student, small, medium, large'),
    'dtype': (PotentialOptions(dtype='float16'), 'float64, float32'),
    'device': (PotentialOptions(device='tpu'), 'auto, cpu, cuda'),
    'threads': (PotentialOptions(threads=0), 'at least 1'),
    'backend': (PotentialOptions(backend='warp'), 'allowed: auto, native'),
    'solvent': (PotentialOptions(solvent='water'), 'gfn1 and gfn2'),
    'lj solvent': (PotentialOptions('lj', solvent='water'), 'gfn1 and gfn2'),
    'lj model': (PotentialOptions('lj', model='small'), 'no model files'),
    'gfn2 float32': (PotentialOptions('gfn2', dtype='float32'), 'float64'),
    'gfn2 cuda': (PotentialOptions('gfn2', device='cuda'), 'CPU only'),
    'gfn2 backend': (PotentialOptions('gfn2', backend='poly'), 'back end'),
}


@pytest.mark.parametrize('which', WRONG)
def test_wrong_options_are_refused_with_what_is_allowed(which):
    options, words = WRONG[which]
    with pytest.raises(InputError, match=words):
        resolve(options)


def test_cuda_asked_for_and_absent_is_refused(monkeypatch):
    import torch
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(InputError, match='sees no CUDA device'):
        build(PotentialOptions(device='cuda'))
    assert reference.settle_torch(1, 'auto') == 'cpu'


LISTING = """
import sys
from mpiapp.potentials import PotentialOptions, names, resolve
for name in names():
    resolve(PotentialOptions(name))
heavy = {'torch', 'mace', 'e3nn', 'tblite', 'rdkit', 'mpi4py', 'h5py'}
print(*names(), '/', *sorted(heavy & set(sys.modules)))
"""


def test_listing_and_resolving_import_nothing_heavy():
    root = Path(potentials.__file__).resolve().parents[2]
    printed = subprocess.run(
        [sys.executable, '-c', LISTING], cwd=root, check=True,
        capture_output=True, text=True).stdout
    found, _, heavy = printed.partition('/')
    assert {'gfn1', 'gfn2', 'lj', 'mace', 'mmff94s'} <= set(found.split())
    assert not heavy.strip()
