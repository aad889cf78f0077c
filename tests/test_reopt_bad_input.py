"""Wrong input: a clear message and exit code 2, or a status in the row."""
from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mpiapp.records import Status
from mpiapp.store.reader import load
from tests.jobs import Ended, needs_mpirun, run

ETHANE = """ethane
     test          3D

  8  7  0  0  0  0  0  0  0  0999 V2000
   -0.7560    0.0000    0.0000 C   0  0
    0.7560    0.0000    0.0000 C   0  0
   -1.1404    0.6586    0.7845 H   0  0
   -1.1404    0.3501   -0.9626 H   0  0
   -1.1405   -1.0087    0.1781 H   0  0
    1.1404   -0.3501    0.9626 H   0  0
    1.1405    1.0087   -0.1781 H   0  0
    1.1404   -0.6586   -0.7845 H   0  0
  1  2  1  0
  1  3  1  0
  1  4  1  0
  1  5  1  0
  2  6  1  0
  2  7  1  0
  2  8  1  0
M  END
$$$$
"""
BARE_CARBONS = """no hydrogens
     test          3D

  2  1  0  0  0  0  0  0  0  0999 V2000
   -0.7560    0.0000    0.1000 C   0  0
    0.7560    0.0000    0.0000 C   0  0
  1  2  1  0
M  END
$$$$
"""


def reopt(path: Path | str, out: Path, *more: object) -> Ended:
    ended = run('reopt', '--sdf', path, '--output-dir', out,
                '--output-prefix', 'x', *('--calculator', 'lj'), *more)
    assert 'Traceback' not in ended.output
    return ended


def write(tmp_path: Path, data: str | bytes, name: str = 'in.sdf') -> Path:
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


FLAT = ETHANE.replace('3D', '2D')
CASES_OF_FILES: dict[str, tuple[str, bytes | None, str]] = {
    'missing file': ('absent.sdf', None, 'no such file'),
    'empty file': ('in.sdf', b'', 'empty'),
    'only blank lines': ('in.sdf', b'\n \n', 'white space'),
    'another format': ('in.pdb', b'ATOM', 'pdb'),
    'a web page': ('in.sdf', b'<html><body>404</body></html>', 'in.sdf'),
    'noise': ('in.sdf', bytes(range(256)) * 20, 'in.sdf'),
}


@pytest.mark.parametrize('case', CASES_OF_FILES)
def test_a_file_that_holds_no_records_is_refused(
    tmp_path: Path, case: str,
) -> None:
    name, data, text = CASES_OF_FILES[case]
    if data is not None:
        write(tmp_path, data, name)
    ended = reopt(tmp_path / name, tmp_path / 'out')
    assert ended.code == 2, ended.output
    assert text in ended.output
    assert not list(tmp_path.glob('out/*.h5'))


def test_each_bad_record_is_a_row_and_the_good_ones_go_on(
    tmp_path: Path,
) -> None:
    lines = ETHANE.splitlines(keepends=True)
    overlap = ETHANE.replace('    0.7560    0.0000    0.0000 C',
                             '   -0.7560    0.0000    0.1000 C')
    records = [
        (ETHANE, 'converged', ''),
        (ETHANE.replace('  8  7', '  9  7'), 'rejected', 'unparsable'),
        (ETHANE.replace('  8  7', '  0  0'), 'rejected', 'unparsable'),
        (ETHANE.replace('\n', '\r\n'), 'converged', ''),
        ('', 'rejected', 'unparsable'),
        (BARE_CARBONS, 'rejected', 'no_hydrogens'),
        (flattened(), 'rejected', 'no_coordinates'),
        (ETHANE.replace('   -1.1404    0.6586', '       nan    0.6586'),
         'rejected', None),
        (overlap, 'rejected', 'atoms_overlap'),
        (ETHANE.replace('ethane', 'éthane'), 'converged', ''),
        (ETHANE, 'converged', ''),
        (''.join(lines[:8]), 'rejected', 'unparsable'),
    ]
    text = b''.join(
        (r if r else '$$$$\n').encode('latin-1') for r, _, _ in records)
    ended = reopt(write(tmp_path, text), tmp_path)
    assert ended.code == 3, ended.output
    table = load(tmp_path / 'x.h5').table
    assert table['record'].tolist() == list(range(len(records)))
    found = [Status(s).name.lower() for s in table['status']]
    assert found == [status for _, status, _ in records], table['message']
    for reason, (_, _, expected) in zip(table['reason'], records):
        assert expected is None or reason == expected
    assert all(table['message'][table['status'] == Status.REJECTED])


def flattened() -> str:
    """Return ethane as a 2D drawing, with hydrogens."""
    rows = []
    for line in FLAT.splitlines(keepends=True):
        if line[31:32] in 'CH' and len(line) > 35:
            line = line[:20] + '    0.0000' + line[30:]
        rows.append(line)
    return ''.join(rows)


@pytest.mark.parametrize('policy, expected', [
    ('refuse', 'charged'), ('neutralise', ''), ('allow', '')])
def test_charged_molecules_follow_the_policy(
    data_dir: Path, tmp_path: Path, policy: str, expected: str,
) -> None:
    ended = run('reopt', '--sdf', data_dir / 'dimers/moe_et_5.sdf',
                '--model', 'student', '--max-steps', '1', '--end-index', '1',
                '--charge-policy', policy, '--output-dir', tmp_path,
                '--output-prefix', 'x')
    row = load(tmp_path / 'x.h5').table.iloc[0]
    assert row['input_charge'] == -1
    if expected:
        assert (row['reason'], ended.code) == ('charged', 3)
        return
    assert ended.code == 0, ended.output
    assert row['status'] == Status.UNCONVERGED
    neutralised = policy == 'neutralise'
    assert row['n_added_hydrogens'] == int(neutralised)
    assert bool(row['charge_ignored']) is not neutralised


def test_an_element_that_the_model_does_not_know_is_a_row(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, '3\nboron\nB 0 0 0\nH 0 0 1.2\nH 0 1.2 0\n',
                 'b.xyz')
    ended = run('reopt', '--sdf', path, '--model', 'student',
                '--output-dir', tmp_path, '--output-prefix', 'x')
    assert ended.code == 3
    row = load(tmp_path / 'x.h5').table.iloc[0]
    assert row['reason'] == 'element' and 'B' in row['message']


@pytest.mark.parametrize('content, text', [
    (b'<!DOCTYPE html><html>not found</html>', 'model'),
    (b'', 'empty'), (None, 'no such'), (b'PK\x03\x04 torn', 'model')])
def test_a_file_that_is_no_model_is_refused(
    data_dir: Path, tmp_path: Path, content: bytes | None, text: str,
) -> None:
    model = tmp_path / 'some.model'
    if content is not None:
        model.write_bytes(content)
    ended = run('reopt', '--sdf', data_dir / 'dimers/library_sample.sdf',
                '--model-path', model, '--output-dir', tmp_path)
    assert ended.code == 2, ended.output
    assert 'Traceback' not in ended.output
    assert text in ended.output.lower() and 'some.model' in ended.output


def test_a_model_that_cannot_be_had_names_the_ways_out(
    data_dir: Path, tmp_path: Path,
) -> None:
    ended = run('reopt', '--sdf', data_dir / 'dimers/library_sample.sdf',
                '--output-dir', tmp_path, XDG_CACHE_HOME=str(tmp_path),
                HTTPS_PROXY='http://127.0.0.1:9',
                https_proxy='http://127.0.0.1:9')
    assert ended.code == 2, ended.output
    for way in ('--model-path', '--model student', str(tmp_path)):
        assert way in ended.output
    assert 'Traceback' not in ended.output


def blocked(tmp_path: Path) -> Path:
    """Return a folder below a file."""
    (tmp_path / 'file').write_text('in the way')
    return tmp_path / 'file' / 'out'


def kernel(tmp_path: Path) -> Path:
    """Return a folder that even root can't make files in."""
    return Path('/proc/mpiapp')


@pytest.mark.parametrize('place', [blocked, kernel])
def test_an_output_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, place: Callable[[Path], Path],
) -> None:
    ended = reopt(write(tmp_path, ETHANE), place(tmp_path))
    assert ended.code == 2, ended.output
    assert 'output folder' in ended.output


@pytest.mark.skipif(os.geteuid() != 0, reason='needs a mount')
def test_a_full_output_folder_is_refused(tmp_path: Path) -> None:
    import subprocess
    out = tmp_path / 'small'
    out.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs',
                       str(out)], capture_output=True).returncode:
        pytest.skip('mounting is not allowed here')
    try:
        ended = reopt(write(tmp_path, ETHANE * 200), out)
    finally:
        subprocess.run(['umount', '-l', str(out)], check=True)
    assert ended.code == 2, ended.output
    assert 'free' in ended.output


@pytest.mark.parametrize('words, text', [
    (['--fmax', '-1'], '--fmax'),
    (['--no-such-option'], 'unrecognized arguments'),
    (['--device', 'cuda'], 'no NVIDIA GPU'),
    (['--start-index', '5'], 'the input has 1 record'),
    (['--calculator', 'dft9'], 'allowed'),
    (['--smiles-csv', 'absent.csv'], 'absent.csv'),
    (['--backend', 'warp'], 'back end'),
    (['--descriptors', 'some'], '--descriptors'),
    (['--systems', 'absent.toml'], 'absent.toml'),
    (['--compat-system', 'benzene'], 'no aromatic system'),
])
def test_wrong_options_are_refused(
    tmp_path: Path, words: list[str], text: str,
) -> None:
    ended = reopt(write(tmp_path, ETHANE), tmp_path / 'out', *words)
    assert ended.code == 2, ended.output
    assert text in ended.output
    assert not list(tmp_path.glob('out/*.h5'))


@needs_mpirun
def test_an_error_is_said_once_for_all_ranks(tmp_path: Path) -> None:
    for words in (['--bogus'], ['--sdf', tmp_path / 'absent.sdf']):
        ended = run('reopt', *words, n=3)
        assert ended.code == 2
        assert ended.output.count('error: ') == 1, ended.output


@needs_mpirun
def test_more_ranks_than_gpus_are_refused(tmp_path: Path) -> None:
    ended = run('reopt', '--sdf', write(tmp_path, ETHANE), '--device',
                'cuda', n=2, CUDA_VISIBLE_DEVICES='0')
    assert ended.code == 2
    assert '--ranks-per-gpu' in ended.output


def test_one_structure_that_fails_takes_no_other_down(
    tmp_path: Path,
) -> None:
    water = '3\n{}\nO 0 0 0\nH 0 {} 0.59\nH 0 -0.76 0.59\n'
    path = write(tmp_path, water.format('good', 0.76)
                 + '2\ncharge=-20\nN 0 0 0\nN 0 0 1.1\n'
                 + water.format('good', 0.8), 'in.xyz')
    ended = run('reopt', '--sdf', path, '--calculator', 'gfn2',
                '--output-dir', tmp_path, '--output-prefix', 'x')
    assert ended.code == 3, ended.output
    table = load(tmp_path / 'x.h5').table
    assert table['status'].tolist() == [1, 3, 1]
    assert table['reason'][1] == 'calculator_error'
    assert table['message'][1]


@pytest.mark.parametrize('more, fault', [
    (['--two-stage'], '--calculator lj'),
    (['--calculator', 'mace', '--model', 'student', '--two-stage',
      '--mace-dtype', 'float32'], '--mace-dtype float32'),
    (['--calculator', 'mace', '--model', 'student', '--two-stage',
      '--two-stage-fmax', '0.005'], '--two-stage-fmax 0.005'),
    (['--two-stage-fmax', '-1'], '--two-stage-fmax'),
    (['--optimizer', 'newton'], '--optimizer'),
])
def test_stages_and_optimisers_that_do_not_exist_are_wrong_usage(
    tmp_path: Path, more: list[str], fault: str,
) -> None:
    ended = reopt(write(tmp_path, ETHANE), tmp_path, *more)
    assert ended.code == 2 and fault in ended.output
    assert not (tmp_path / 'x.h5').exists()


def test_a_refused_start_leaves_nothing_unpacked(tmp_path: Path) -> None:
    packed = write(tmp_path, gzip.compress(ETHANE.encode()), 'in.sdf.gz')
    out, temporary = tmp_path / 'out', tmp_path / 'tmp'
    temporary.mkdir()
    ended = run('reopt', '--sdf', packed, tmp_path / 'none.sdf',
                '--output-dir', out, '--output-prefix', 'x',
                '--calculator', 'lj')
    assert ended.code == 2 and 'none.sdf' in ended.output
    assert not list(out.iterdir())
    assert reopt(packed, out, '--fmax', 1.0).code == 0
    before = sorted(out.rglob('*'))
    for more in ((), ('--dry-run',)):
        ended = run('reopt', '--sdf', packed, '--output-dir', out,
                    '--output-prefix', 'x', '--calculator', 'lj', '--resume',
                    '--fmax', 0.5, *more, TMPDIR=str(temporary))
        assert ended.code == 2 and 'was started differently' in ended.output
        assert sorted(out.rglob('*')) == before
        assert not list(temporary.iterdir())
