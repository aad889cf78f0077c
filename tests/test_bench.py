"""The program that measures: its commands and its usage."""
import pytest

from mpiapp import bench
from tests.jobs import run


@pytest.mark.parametrize('name', bench.COMMANDS)
def test_every_command_has_its_parts(name, capsys):
    with pytest.raises(SystemExit) as left:
        bench.main([name, '--help'])
    assert left.value.code == 0
    printed = capsys.readouterr().out
    assert '--json' in printed and 'exit codes' in printed


def test_help_lists_the_commands():
    ended = run('bench', '--help')
    assert ended.code == 0
    for name, about in bench.COMMANDS.items():
        assert name in ended.output and about in ended.output


@pytest.mark.parametrize('words', [[], ['nothing']])
def test_without_a_command_the_usage_is_an_error(words, capsys):
    assert bench.main(words) == 2
    assert 'python -m mpiapp.bench COMMAND' in capsys.readouterr().err
