"""The package's metadata, pins, wheel and environment script."""
from __future__ import annotations

import configparser
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import mpiapp
from mpiapp.data_files import folders

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / 'jobs' / 'environment.sh'
WHEEL_SECONDS = 100  # seen: 3


def pins() -> dict[str, str]:
    """Return the pinned version by canonical name."""
    lines = (ROOT / 'constraints.txt').read_text().splitlines()
    pairs = [
        line.split('==') for line in lines if not line.startswith('#')
    ]
    names = [canonicalize_name(name) for name, _ in pairs]
    assert len(names) == len(set(names)), 'a package is pinned twice'
    return dict(zip(names, (version for _, version in pairs), strict=True))


def requirements(section: str, key: str) -> list[Requirement]:
    """Return the requirements of one list in setup.cfg."""
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    return [Requirement(x) for x in config[section][key].split('\n') if x]


NEEDED = requirements('options', 'install_requires')
FOR_TESTS = requirements('options.extras_require', 'test')


@pytest.mark.parametrize('needed', NEEDED + FOR_TESTS, ids=str)
def test_pin_satisfies_the_requirement(needed: Requirement) -> None:
    """What setup.cfg asks for is pinned, at a version it allows."""
    assert needed.specifier.contains(pins()[canonicalize_name(needed.name)])


@pytest.mark.parametrize('needed', NEEDED, ids=str)
def test_installed_version_is_the_pinned_one(needed: Requirement) -> None:
    """The tests run with the versions that constraints.txt calls tested."""
    installed = Version(metadata.version(needed.name)).base_version
    assert installed == pins()[canonicalize_name(needed.name)]


def test_pins_name_no_local_build_and_no_path() -> None:
    """A pin holds on every machine and for CPU and CUDA builds."""
    assert all(re.fullmatch(r'[\w.]+', pin) for pin in pins().values())


def test_citation_has_the_version_of_the_package() -> None:
    """CITATION.cff is not left behind by a release."""
    text = (ROOT / 'CITATION.cff').read_text()
    assert f'\nversion: {mpiapp.__version__}\n' in text


def test_every_folder_with_modules_is_a_package() -> None:
    """Folders without __init__.py would be left out of the wheel."""
    folders = {path.parent for path in (ROOT / 'mpiapp').rglob('*.py')}
    bare = [path for path in folders if not (path / '__init__.py').exists()]
    assert bare == []


def test_wheel_carries_all_modules_and_data(tmp_path: Path) -> None:
    """An installed mpiapp has its modules, bundled model and sample."""
    source = tmp_path / 'source'
    for folder in ('mpiapp', 'data'):
        shutil.copytree(ROOT / folder, source / folder,
                        ignore=shutil.ignore_patterns('__pycache__', '.*'))
    for name in ('setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '.', '--no-deps',
         '--no-build-isolation', '--no-index', '-w', tmp_path],
        cwd=source, check=True, capture_output=True, timeout=WHEEL_SECONDS,
    )
    wheel, = tmp_path.glob('mpiapp-*.whl')
    inside = set(zipfile.ZipFile(wheel).namelist())
    share = f'mpiapp-{mpiapp.__version__}.data/data/share/mpiapp'
    modules = {
        f'mpiapp/{path.relative_to(ROOT / "mpiapp")}'
        for path in (ROOT / 'mpiapp').rglob('*.py')
    }
    data = {
        f'{share}/data/{path.relative_to(ROOT / "data")}'
        for path in (ROOT / 'data').rglob('*') if path.is_file()
    }
    assets = {f'mpiapp/{path.relative_to(ROOT / "mpiapp")}'
              for path in (ROOT / 'mpiapp').rglob('assets/*')}
    assert 'mpiapp/reporting/assets/3Dmol-min.js' in assets
    assert (modules | data | assets) - inside == set()


@pytest.mark.parametrize('packages', [
    'lib/python3.11/site-packages', 'lib64/python3.12/dist-packages', '.'])
def test_data_of_a_wheel_are_found_wherever_it_is_installed(
    tmp_path: Path, packages: str,
) -> None:
    """A virtual environment, ~/.local, /usr/local, or --target FOLDER."""
    data = tmp_path / 'share' / 'mpiapp' / 'data'
    assert data in folders(tmp_path / packages / 'mpiapp')


def test_continuous_integration_calls_make_test() -> None:
    """.ci/run is the test command of the README and can be executed."""
    script = ROOT / '.ci' / 'run'
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[-1] == 'exec make test'
    assert '\n    make test' in (ROOT / 'README.md').read_text()


def activate(venv: Path, **env: str) -> dict[str, str]:
    """Return the variables that the block in bin/activate leaves behind."""
    block = re.search(
        r'^# >>> mpiapp.*?^# <<< mpiapp$', SCRIPT.read_text(), re.M | re.S,
    )
    assert block
    result = subprocess.run(
        ['bash', '-euc', f'{block[0]}\n{block[0]}\nexec env -0'],
        env={'PATH': os.defpath, 'VIRTUAL_ENV': str(venv), **env},
        check=True, capture_output=True, text=True, timeout=20,
    )
    lines = result.stdout.rstrip('\0').split('\0')
    return dict(line.split('=', 1) for line in lines)


def test_activation_lets_root_start_more_ranks_than_cores(
    tmp_path: Path,
) -> None:
    """The settings of Open MPI 4 and 5 are exported."""
    env = activate(tmp_path)
    assert env['OMPI_ALLOW_RUN_AS_ROOT'] == '1'
    assert env['OMPI_ALLOW_RUN_AS_ROOT_CONFIRM'] == '1'
    assert env['OMPI_MCA_rmaps_base_oversubscribe'] == '1'
    assert env['PRTE_MCA_rmaps_default_mapping_policy'] == \
        'slot:oversubscribe'
    assert 'LD_LIBRARY_PATH' not in env


def test_activation_does_not_slow_down_the_end_of_a_failed_job(
    tmp_path: Path,
) -> None:
    """Open MPI 4 sleeps twice this time after every non-zero exit."""
    assert not [x for x in activate(tmp_path) if 'sigkill_timeout' in x]


def test_activation_keeps_the_settings_of_the_user(tmp_path: Path) -> None:
    """Only what is unset is set; an empty value is a choice."""
    env = activate(tmp_path, OMPI_MCA_mpi_yield_when_idle='0',
                   OMPI_MCA_rmaps_base_oversubscribe='')
    assert env['OMPI_MCA_mpi_yield_when_idle'] == '0'
    assert env['OMPI_MCA_rmaps_base_oversubscribe'] == ''


def test_activation_finds_the_mpi_of_the_wheel_once(tmp_path: Path) -> None:
    """A second activation does not lengthen the library path."""
    library = tmp_path / 'lib'
    library.mkdir()
    (library / 'libmpi.so').touch()
    env = activate(tmp_path, LD_LIBRARY_PATH='elsewhere')
    assert env['LD_LIBRARY_PATH'] == f'{library}:elsewhere'


def environment_script(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the script where it changes nothing."""
    return subprocess.run(
        ['bash', SCRIPT, *words], capture_output=True, text=True, timeout=20,
        env={**os.environ, 'MPIAPP_NO_APT': '1'},
    )


def test_the_script_names_the_missing_daemons_of_slurm() -> None:
    """make test-slurm runs or skips by this exit code."""
    path = os.pathsep.join((os.environ['PATH'], '/usr/sbin', '/sbin'))
    missing = [name for name in ('munged', 'slurmctld', 'slurmd')
               if not shutil.which(name, path=path)]
    result = environment_script('slurm')
    assert result.returncode == bool(missing)
    assert len(result.stdout.splitlines()) == bool(missing)
    assert all(name in result.stdout for name in missing)


def test_the_script_tells_whether_there_is_a_browser() -> None:
    """The tests of the page then run or skip with this reason."""
    from tests.browser import PROGRAM
    result = environment_script('browser')
    assert result.returncode == (PROGRAM is None)
    assert ('chromium' in result.stdout) == (PROGRAM is None)


def test_the_viewer_is_the_version_that_is_stated() -> None:
    """3Dmol.js is carried unchanged, with source and licence."""
    assets = ROOT / 'mpiapp/reporting/assets'
    source = (assets / '3Dmol-SOURCE.txt').read_text('utf-8')
    digest = hashlib.sha256((assets / '3Dmol-min.js').read_bytes())
    assert digest.hexdigest() in source
    assert 'BSD-3-Clause' in (assets / '3Dmol-LICENSE.txt').read_text('utf-8')
    assert source.split(',')[0] in (
        ROOT / 'docs/report.md').read_text('utf-8')


def test_an_unknown_argument_of_the_script_is_refused() -> None:
    """A typing error must not start an installation."""
    result = environment_script('slrum')
    assert result.returncode == 1
    assert 'slrum' in result.stderr
