"""Every command of README and docs is executed, or its page says why not.

The quick ones by default, on stand-ins for the files that slow ones make;
all of them as they stand, page by page, in `make test-slow`; those of
OWN_TESTS take too long, and have shorter likenesses in other tests.
"""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.options_reference import parsers
from mpiapp.errors import InputError
from tests.commands import ROOT, Command, commands, pages
from tests.jobs import environment, needs_mpirun, run

#: commands that something else executes
COVERED = {
    'make demo': 'test_the_demo_runs', 'make test': '.ci/run',
    '. .venv/bin/activate': 'every target of the Makefile'}
#: pages of long commands: tests of their programs parse these and run others
OWN_TESTS = {
    f'docs/{name}.md': f'tests/test_{name}.py' for name in (
        'hameval', 'hpo')}
#: programs whose options are compared with the pages
KNOWN = ('reopt', 'conformers', 'validate', 'report', 'merge')
#: a command that takes longer hangs
LIMIT_SECONDS = 1500

ALL = [c for page in pages() for c in commands(page)]
OURS = [c for c in ALL if c.page not in OWN_TESTS]


def is_quick(command: Command) -> bool:
    """Tell whether a command takes seconds, given its files."""
    text = command.text
    # the pages' other reports are of the same kind
    if 'mpiapp.report' in text:
        return command.page == 'docs/report.md'
    return text.startswith(('mkdir', 'grep')) or 'mpirun' not in text \
        and any(words in text for words in (
            '--analyse runs/et.h5 --output-prefix again',
            '--smiles CCOC', 'python -m mpiapp  '))


def is_covered(command: Command) -> bool:
    return any(command.text.split('  ')[0] == c for c in COVERED)


RUN = [c for c in OURS if not c.why and not is_covered(c)]


def test_commands_are_found() -> None:
    assert len(RUN) > 20 and len({c.page for c in RUN}) > 7
    assert sum(map(is_quick, RUN)) > 7


@pytest.mark.parametrize('command', OURS, ids=lambda c: f'{c.page}:{c.line}')
def test_a_command_is_run_or_says_why_not(command: Command) -> None:
    # what is run must be a command of ours or harmless in a folder
    assert command.why or is_covered(command) or command.text.startswith(
        ('mkdir', 'grep')) or 'python -m mpiapp' in command.text


def test_pages_of_programs_have_tests_of_their_own() -> None:
    lacking = [page for page, test in OWN_TESTS.items()
               if (ROOT / page).exists() and not (ROOT / test).exists()]
    assert lacking == []


@pytest.mark.parametrize('name', KNOWN)
def test_options_in_commands_exist(name: str) -> None:
    found = [c for c in ALL if c.program == name]
    assert found or name == 'merge'
    parser, = parsers(name)
    for command in found:
        words = command.words
        after = words[words.index(f'mpiapp.{name}') + 1:]
        try:
            parser.parse_args([w for w in after if w != '...'])
        except (InputError, SystemExit) as error:
            raise AssertionError(f'{command.page}: {command.text}: {error}'
                                 ) from error


def folder(path: Path) -> Path:
    """Make a folder in which commands find the bundled data."""
    path.mkdir(parents=True, exist_ok=True)
    (path / 'data').symlink_to(ROOT / 'data')
    (path / 'runs').mkdir()
    return path


def execute(command: Command, where: Path) -> None:
    """Run a command in a shell as it stands."""
    env = environment(PYTHONPATH=str(ROOT))
    env['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{env["PATH"]}'
    done = subprocess.run(
        ['bash', '-c', command.text], cwd=where, env=env, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=LIMIT_SECONDS)
    # 3: records failed, as validate of a method may well tell
    allowed = (0, 3) if command.program == 'validate' else (0,)
    assert done.returncode in allowed, f'{command.text}\n{done.stdout}'


@pytest.fixture(scope='module')
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files that slow commands would make."""
    where = folder(tmp_path_factory.mktemp('docs') / 'quick')
    ended = run('reopt', '--calculator', 'lj', '--fmax', '0.5', '--sdf',
                ROOT / 'data/dimers/moe_et_5.sdf', '--output-dir',
                where / 'runs', '--output-prefix', 'et')
    assert ended.code == 0, ended.output
    for name in ('demo', 'a', 'b'):
        shutil.copy(where / 'runs/et.h5', where / f'runs/{name}.h5')
        shutil.copytree(where / 'runs/et.journal',
                        where / f'runs/{name}.journal')
    return where


@pytest.mark.timeout(600)
@pytest.mark.parametrize('page', sorted({c.page for c in RUN
                                         if is_quick(c)}))
def test_quick_commands_run(page: str, stand_ins: Path) -> None:
    for command in RUN:
        if command.page == page and is_quick(command):
            execute(command, stand_ins)


@needs_mpirun
@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize('page', sorted({c.page for c in RUN}))
def test_all_commands_of_a_page_run(
    page: str, tmp_path: Path, stand_ins: Path,
) -> None:
    where = folder(tmp_path / 'slow')
    mine = [c for c in RUN if c.page == page]
    if not any('--output-prefix' in c.text for c in mine):
        # a page about results: those of another page are there
        for path in (stand_ins / 'runs').iterdir():
            shutil.copytree(path, where / 'runs' / path.name) \
                if path.is_dir() else shutil.copy(path, where / 'runs')
    if page == 'docs/ensembles.md':
        shutil.copy(stand_ins / 'runs/et.h5', where / 'runs')
    for command in mine:
        execute(command, where)


@needs_mpirun
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_runs(tmp_path: Path) -> None:
    env = environment(PYTHONPATH=str(ROOT))
    env['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{env["PATH"]}'
    done = subprocess.run(
        ['bash', ROOT / 'jobs/demo.sh', tmp_path], env=env, text=True,
        capture_output=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'exit code 0: done' in done.stdout
    assert (tmp_path / 'demo.html').stat().st_size > 500_000


def test_the_session_of_the_docs_runs(
    stand_ins: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    import re
    text = (ROOT / 'docs/notebook.md').read_text('utf-8')
    blocks = re.findall(r'^```python\n(.*?)^```', text, re.M | re.S)
    assert len(blocks) == 7
    monkeypatch.chdir(stand_ins)
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    assert (stand_ins / 'runs/et.png').stat().st_size > 1000
