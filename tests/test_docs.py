"""README and docs: links lead somewhere, commands and examples work."""
from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mpiapp import relaxation
from mpiapp.config import read_options
from tests.jobs import run

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md')),
         *sorted((ROOT / 'data').rglob('*.md'))]


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize('page', PAGES, ids=ids)
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r'\]\(([^)#]+)', page.read_text())
    broken = [t for t in targets if '://' not in t
              and not (page.parent / t).exists()]
    assert not broken


def commands(page: Path) -> list[str]:
    """Return the reopt commands of a page, continued lines joined."""
    text = page.read_text().replace('\\\n', ' ')
    lines = re.findall(r'^[ ]*(?:mpirun.*)?python -m mpiapp\.reopt[^`\n]*',
                       text, re.M)
    return [line.partition('#')[0].partition('mpiapp.reopt')[2]
            for line in lines]


@pytest.mark.parametrize('page', PAGES, ids=ids)
def test_commands_have_options_that_exist(page: Path) -> None:
    for line in commands(page):
        words = shlex.split(line)
        if not {'--help', '...'} & set(words):
            relaxation.settle(
                read_options(relaxation.Options, 'reopt', '', words))


def test_the_readme_has_commands() -> None:
    assert len(commands(ROOT / 'README.md')) >= 4


def test_the_example_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = run('reopt', '--calculator', 'lj', '--fmax', '0.5', '--sdf',
                ROOT / 'data/dimers/moe_et_5.sdf', '--output-dir',
                tmp_path / 'runs', '--output-prefix', 'et')
    assert ended.code == 0, ended.output
    text = (ROOT / 'README.md').read_text()
    block = re.search(r'```python\n(.*?)```', text, re.S)
    assert block
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(block[1], names)
    assert len(names['atoms']) == 117  # type: ignore[arg-type]


def test_every_option_is_in_the_help() -> None:
    ended = run('reopt', '--help')
    assert ended.code == 0
    described = set(re.findall(r'`(--[a-z][a-z-]+)', ''.join(
        p.read_text() for p in (ROOT / 'README.md', ROOT / 'docs/reopt.md'))))
    missing = {o for o in described if o not in ended.output}
    assert not missing


def test_the_commands_of_hpo_have_options_that_exist() -> None:
    from mpiapp import tuner
    text = (ROOT / 'docs' / 'hpo.md').read_text() \
        + (ROOT / 'docs' / 'benchmarks_hpo.md').read_text()
    lines = re.findall(r'python -m mpiapp\.hpo([^`\n]*)',
                       text.replace('\\\n', ' '))
    assert len(lines) >= 5
    for line in lines:
        words = shlex.split(line)
        action = words.pop(0) if words[0] in tuner.ACTIONS else 'run'
        tuner.settle(read_options(tuner.Options, 'hpo', '', words), action)
