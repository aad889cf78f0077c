"""The options of all programs as a page, made from their parsers.

    python -m jobs.options_reference > options.md
"""
from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from typing import Any
from unittest import mock

from mpiapp.__main__ import programs
from mpiapp.errors import InputError

HEAD = '''# Options
Made from the parsers of the programs: what `--help` says, as a page.
'''


class Shown(Exception):
    """Carries a parser out of the program that wanted to print it."""


def reference() -> str:
    """Return the page, a heading a program."""
    parts = [HEAD]
    for name, about in programs().items():
        parts.append(f'\n## {name}\n{about}\n')
        found = list(parsers(name))
        parts += [section(parser) for parser in found] or [
            f'\nSee `python -m mpiapp.{name} --help`.\n']
    return ''.join(parts)


def parsers(name: str) -> Iterator[argparse.ArgumentParser]:
    """Yield the parsers of a program and of its commands."""
    module = import_module(f'mpiapp.{name}')
    commands = list(getattr(module, 'COMMANDS', None)
                    or getattr(module, 'ACTIONS', ()))
    for words in [[c, '--help'] for c in commands] or [['--help']]:
        parser = parser_of(module, words)
        if parser is not None:
            yield parser
            yield from below(parser)


def below(parser: argparse.ArgumentParser,
          ) -> Iterator[argparse.ArgumentParser]:
    """Yield the parsers of sub-commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


def parser_of(
    module: Any, words: list[str],
) -> argparse.ArgumentParser | None:
    """Return the parser that prints the help of a program."""
    def show(self: argparse.ArgumentParser, file: Any = None) -> None:
        raise Shown(self)

    line = [sys.argv[0], *words]
    with mock.patch.object(argparse.ArgumentParser, 'print_help', show), \
            mock.patch.object(sys, 'argv', line), \
            redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        try:
            module.main(words)
        except Shown as shown:
            found: argparse.ArgumentParser = shown.args[0]
            return found
        except (SystemExit, InputError):
            return None
    return None


def section(parser: argparse.ArgumentParser) -> str:
    """Return usage, exit codes and the options by group, as tables."""
    lines = ['', f'`{parser.prog}`', '']
    for group in parser._action_groups:
        actions = [a for a in group._group_actions
                   if a.help != argparse.SUPPRESS
                   and not isinstance(a, argparse._SubParsersAction)]
        if not actions:
            continue
        lines += [f'| {group.title or "options"} | |', '|---|---|']
        lines += [f'| {flags(a)} | {cell(a, parser)} |' for a in actions]
        lines.append('')
    if parser.epilog:
        lines += [f'{parser.epilog[0].upper()}{parser.epilog[1:]}.', '']
    return '\n'.join(lines)


def flags(action: argparse.Action) -> str:
    """Return the flags with what they take, as code."""
    metavar = action.metavar or action.dest
    words = metavar if isinstance(metavar, str) else ' '.join(metavar)
    if action.choices:
        words = ' \\| '.join(map(str, action.choices))
    takes = action.nargs != 0 and not isinstance(
        action, argparse.BooleanOptionalAction)
    names = ' '.join(f'`{f}`' for f in action.option_strings) \
        or f'`{words}`'
    return f'{names} {words}' if takes and action.option_strings else names


def cell(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    """Return the help of an option, safe in a table."""
    text = parser._get_formatter()._expand_help(action) if action.help \
        else ''
    return ' '.join(text.split()).replace('|', '\\|') \
        .replace('<', '&lt;').replace('*', '\\*')


if __name__ == '__main__':
    print(reference(), end='')
