"""Look at results: one page that opens anywhere, a summary, a live view."""
from __future__ import annotations

import argparse
import codecs
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from mpiapp.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from mpiapp.reporting.blocks import Report
    from mpiapp.reporting.packed import Packed
    from mpiapp.store.reader import Campaign

ABOUT = '''Show a result file of any program of mpiapp: a summary in the
terminal, and with --html one page that needs neither network nor other
files.  Reads only; no MPI is started.'''
#: one character for one, so that columns stay in line
PLAINER = {'Å': 'A', '±': '~', '→': '>', '·': '-', '°': 'o', '━': '='}
#: seconds between two looks at most
DAY = 86400
EXIT_CODES = ('exit codes: 0 done; 1 stopped by an unforeseen error; 2 wrong '
              'usage or input, nothing written')


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(
        prog='python -m mpiapp.report', description=ABOUT,
        epilog=EXIT_CODES)
    made.add_argument('file', nargs='?', type=Path, metavar='FILE.h5',
                      help='result file, or JSON of bench; with --watch the '
                      'result file of a campaign that runs, whether it is '
                      'there yet or not')
    made.add_argument('--html', type=Path, metavar='FILE.html',
                      help='write the page')
    made.add_argument('--export', type=Path, metavar='FOLDER',
                      help='write every figure as PNG and SVG and every '
                      'figure and table as CSV')
    made.add_argument('--compare', type=Path, nargs=2,
                      metavar=('A.h5', 'B.h5'),
                      help='report how the second file differs from the '
                      'first, record by record')
    made.add_argument('--structures', type=int, default=5000, metavar='N',
                      help='records whose structures the page holds at most '
                      '(default: 5000; 2 kB for 200 atoms)')
    made.add_argument('--watch', action='store_true',
                      help='follow a running campaign from its journals '
                      'until it ends')
    made.add_argument('--interval', type=float, metavar='SECONDS',
                      help='between two looks of --watch (default: 2 on a '
                      'terminal, else 30)')
    made.add_argument('--overwrite', action='store_true',
                      help='replace files in the way that no report wrote')
    made.add_argument('--quiet', action='store_true',
                      help='print no summary')
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parser().parse_args(argv)
    codecs.register_error('plainer', plainer)
    for stream in (sys.stdout, sys.stderr):
        # names of molecules and files may have what a terminal can't show
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors='plainer')
    try:
        check(options)
        if options.watch:
            from mpiapp.reporting.watching import follow
            from mpiapp.store.following import Follower
            return follow(Follower(options.file), options.interval)
        report, structures = compared(options) if options.compare \
            else reported(options)
        written = write(options, report, structures)
    except (InputError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    if not options.quiet:
        from mpiapp.reporting.text import show
        show(report, console())
    for path in written:
        print(f'wrote {path}')
    return 0


def plainer(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for characters that a terminal does not have."""
    assert isinstance(error, UnicodeEncodeError)
    lost = error.object[error.start:error.end]
    return ''.join(PLAINER.get(c, '?') for c in lost), error.end


def check(options: argparse.Namespace) -> None:
    """Check the options before anything is read.

    Raises:
        InputError: what they ask for contradicts itself or can't be done.
    """
    if (options.file is None) == (options.compare is None):
        raise InputError('name one result file, or two after --compare')
    if options.watch and (options.compare or options.html
                          or options.export):
        raise InputError('--watch goes with none of --html, --export and '
                         '--compare')
    if options.interval is not None and not 0 < options.interval <= DAY:
        raise InputError(f'--interval {options.interval:g}: must be greater '
                         f'than 0, and at most {DAY}')
    if options.structures < 0:
        raise InputError(f'--structures {options.structures}: must not be '
                         'negative')
    for path in (options.html, options.export):
        if path is not None and not path.absolute().parent.is_dir():
            raise InputError(f'no such folder: {path.absolute().parent}')
    if options.html is not None:
        check_page(options)
    if options.export is not None and options.export.is_file():
        raise InputError(f'--export {options.export}: this is a file')


def check_page(options: argparse.Namespace) -> None:
    """Check that the page replaces nothing but an earlier one.

    Raises:
        InputError: it would, or the name is that of no page.
    """
    from mpiapp.reporting.page import is_page
    from mpiapp.store.output import check_written
    path = options.html
    if path.suffix.lower() not in ('.html', '.htm'):
        raise InputError(f'--html {path}: the name of a page ends in .html '
                         'or .htm')
    check_written([path], [*filter(None, [options.file]),
                           *(options.compare or ())], True)
    if path.exists() and not options.overwrite and not is_page(path):
        raise InputError(f'--html {path} is there already, and no page of a '
                         'report: choose another name, or --overwrite')


def reported(
    options: argparse.Namespace,
) -> tuple[Report, Packed | None]:
    """Return the report of one file, and its structures for a page."""
    from mpiapp.reporting.packed import packed
    from mpiapp.reporting.registry import report_of
    if options.file.suffix == '.json':
        from mpiapp.reporting.measured import report_of_json
        return report_of_json(options.file), None
    campaign = opened(options.file)
    report = report_of(campaign)
    structures = packed(campaign, options.structures) \
        if options.html else None
    return report, structures


def compared(
    options: argparse.Namespace,
) -> tuple[Report, Packed | None]:
    """Return the report of the differences of two files."""
    from mpiapp.reporting.comparing import report_of_two
    return report_of_two(*(opened(p) for p in options.compare)), None


def opened(path: Path) -> Campaign:
    """Open a result file.

    Raises:
        InputError: missing, damaged, of another kind; says where a campaign
            that has not ended yet can be followed.
    """
    from mpiapp.store.folder import folder_of
    from mpiapp.store.reader import load
    if not path.exists() and folder_of(path).is_dir():
        raise InputError(f'{path} is not there yet: its campaign has not '
                         f'ended; follow it with --watch {path}')
    return load(path)


def write(
    options: argparse.Namespace, report: Report, structures: Packed | None,
) -> list[Path]:
    """Write what the options ask for; return the paths."""
    written = []
    if options.export:
        # first: it may find files of others in the way
        from mpiapp.reporting.exporting import export
        paths = export(options.export, report, options.overwrite)
        written.append(options.export / f'*  ({len(paths)} files)')
    if options.html:
        from mpiapp.reporting.page import write_page
        write_page(options.html, report, structures)
        written.append(options.html)
    return written


def console() -> Console:
    """Return the terminal, or a wide page where there is none."""
    from rich.console import Console
    return Console(highlight=False) if sys.stdout.isatty() \
        else Console(highlight=False, width=160)


def _run() -> int:
    # no MPI is needed, and on the login node of a cluster it can't start
    import mpi4py
    mpi4py.rc.initialize = False
    return main()


if __name__ == '__main__':
    sys.exit(_run())
