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


@pytest.mark.parametrize('name', [
    'inference', 'md', 'neighbours', 'precision', 'scaling', 'tune'])
def test_a_folder_that_cannot_be_is_found_first(
        name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'afile').touch()
    words = [name, '--json', 'afile/x.json']
    if name == 'inference':
        ended = run('bench', *words, '--ci', '--output-dir', str(tmp_path))
        code, told = ended.code, ended.output
    else:
        code, told = bench.main(words), capsys.readouterr().err
    assert code == 2
    assert 'afile is not a folder' in told


@pytest.mark.parametrize('words, told', [
    (['-o', 'afile/p.toml'], 'afile is not a folder'),
    (['-o', '.'], 'is a folder'),
    (['--model-path', 'absent.model'], 'absent.model')])
def test_tune_finds_wrong_files_first(
        words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'afile').touch()
    assert bench.main(['tune', *words]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize('words', [[], ['nothing']])
def test_without_a_command_the_usage_is_an_error(words, capsys):
    assert bench.main(words) == 2
    assert 'python -m mpiapp.bench COMMAND' in capsys.readouterr().err
