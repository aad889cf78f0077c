"""Join campaign files: python -m mpiapp.merge A.h5 B.h5 --output C.h5."""
from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpiapp.errors import InputError
from mpiapp.parallel.launch import DONE, FAILED, USAGE
from mpiapp.program import unchanged_inputs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mpiapp.store.reader import Campaign, FileSource

ABOUT = '''Join campaign files that were made with the same settings.
Files of different input are put one after the other.  Files of the same
input (windows of one campaign, as a job array makes them) are laid over each
other: every record is taken from the file in which it was worked on.  One
that is pending in a file and done in none stays pending.'''
#: the program whose results have tables beside them
TABLED = 'reopt'
EXIT_CODES = ('exit codes: 0 done; 1 stopped by an unforeseen error; 2 wrong '
              'usage or input, nothing written; 3 written, but some records '
              'were worked on in none of the files')
#: what a record is in a file, what counts most last: outside its window,
#: left out for another reason, not done yet, worked on
OUTSIDE, SKIPPED, PENDING, WORKED_ON = range(4)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(
        prog='python -m mpiapp.merge', description=ABOUT, epilog=EXIT_CODES)
    made.add_argument('files', nargs='+', type=Path, metavar='FILE.h5')
    made.add_argument('--output', type=Path, required=True,
                      metavar='FILE.h5', help='file to be written')
    made.add_argument('--overwrite', action='store_true',
                      help='replace the output if it exists')
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parser().parse_args(argv)
    try:
        n_records, left = merge(options.files, options.output,
                                options.overwrite)
        tables = write_tables_beside(options.output)
    except (InputError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return USAGE
    print(f'{options.output}: {n_records} records of '
          f'{len(options.files)} files')
    for path in tables:
        print(path)
    for line in left:
        print(f'warning: {line}', file=sys.stderr)
    return FAILED if left else DONE


def write_tables_beside(output: Path) -> list[Path]:
    """Write the tables of a joined `reopt` file beside it.

    The SDF needs the input files as they were; without them there are the
    CSV files alone.
    """
    from mpiapp.store.export import write_tables
    from mpiapp.store.reader import load
    meta = load(output).meta
    if meta.get('program') != TABLED:
        return []
    with tempfile.TemporaryDirectory() as spool:
        return write_tables(output, output.with_suffix(''),
                            unchanged_inputs(meta, Path(spool)))


def merge(
    files: Sequence[Path], output: Path, overwrite: bool,
) -> tuple[int, list[str]]:
    """Write the joined file; return its number of records.

    With it come sentences about records that no file worked on; with any
    the file is not called complete.

    Raises:
        InputError: fewer than two files, different settings or columns,
            damaged files, a record worked on in two of them, an output
            that exists or is one of the files.
        OSError: the output can't be written.
    """
    import numpy as np

    from mpiapp.parallel.agree import AgreedExit
    from mpiapp.parallel.serial import SerialComm
    from mpiapp.store.campaign import write_campaign
    from mpiapp.store.export import tables_of
    from mpiapp.store.output import check_written
    from mpiapp.store.reader import load
    from mpiapp.store.sources import JoinedSource
    if len(files) < 2:
        raise InputError('name at least two files to join')
    if output.exists() and not overwrite:
        raise InputError(f'{output} exists already: use --overwrite')
    if not output.absolute().parent.is_dir():
        raise InputError(f'no such folder: {output.absolute().parent}')
    parts = [load(path) for path in files]
    check_alike(parts)
    same = all(_identity(p) == _identity(parts[0]) for p in parts)
    kinds = [kinds_of(part) for part in parts]
    sources, n_records = overlay(parts, kinds) if same else chain(parts)
    inputs = parts[0].meta['inputs'] if same else [
        item for part in parts for item in part.meta['inputs']]
    tables = tables_of(output.with_suffix('')) \
        if parts[0].meta.get('program') == TABLED else []
    check_written([output, *tables],
                  [*files, *(item['path'] for item in inputs)], overwrite)
    left = told_left(np.max(kinds, axis=0) if same
                     else np.concatenate(kinds))
    blank = idle_rows(parts, np.argmax(kinds, axis=0)) if same else None
    try:
        write_campaign(
            SerialComm(), output, parts[0].schema, n_records,
            JoinedSource(sources),
            {**joined([p.meta for p in parts]), 'inputs': inputs},
            {'merged': [p.timeline for p in parts]}, blank=blank,
            extend=ensembles_of(parts[0]), whole=not left)
    except AgreedExit as error:
        raise error.__cause__ or error from None
    return n_records, left


def ensembles_of(part: Campaign) -> Callable[[Path], None] | None:
    """Return what makes the ensembles anew, with the options of a part."""
    from mpiapp.parallel.serial import SerialComm
    from mpiapp.workers.ensembles import finale
    add = finale(part.meta.get('options', {}))
    return None if add is None else lambda path: add(SerialComm(), path)


def joined(items: Sequence[Any]) -> Any:
    """Return what all the items are; of mappings, value by value.

    Where they differ (windows, versions of packages) it is the list of them,
    in the order of the files.
    """
    if all(item == items[0] for item in items):
        return items[0]
    if not all(isinstance(item, Mapping) for item in items):
        return list(items)
    keys = dict.fromkeys(key for item in items for key in item)
    return {key: joined([item.get(key) for item in items]) for key in keys}


def _identity(part: Campaign) -> list[Any]:
    return [item.get('sha256') for item in part.meta.get('inputs', [])]


def check_alike(parts: Sequence[Campaign]) -> None:
    """Raise InputError where columns or settings differ."""
    from mpiapp.store.folder import differences
    from mpiapp.store.packing import layout
    first = parts[0]
    for part in parts:
        if 'inputs' not in part.meta or 'settings' not in part.meta:
            raise InputError(f'{part.path} does not tell its settings and '
                             'inputs')
        if layout(part.schema) != layout(first.schema):
            raise InputError(f'{part.path} has other columns than '
                             f'{first.path}')
        lines = differences(first.meta['settings'], part.meta['settings'])
        if lines:
            raise InputError(
                f'{first.path} (was) and {part.path} (now) have different '
                'settings:\n  ' + '\n  '.join(lines))


def chain(parts: Sequence[Campaign]) -> tuple[list[FileSource], int]:
    """Put the records of the files one after the other.

    Raises:
        InputError: an input of one is an input of another too.
    """
    import numpy as np

    from mpiapp.store.reader import FileSource
    seen: dict[str, Campaign] = {}
    for part in parts:
        for item in part.meta['inputs']:
            other = seen.setdefault(item.get('sha256') or '', part)
            if item.get('sha256') and other is not part:
                raise InputError(
                    f'{other.path} and {part.path} both hold the records of '
                    f'{item["path"]}, and have not the same list of inputs: '
                    'they would count twice (windows of one input are joined '
                    'by themselves)')
    sources = []
    n_records = n_files = 0
    for part in parts:
        records = np.arange(part.n_records)
        changes = {'file_number': n_files} \
            if 'file_number' in part.table else {}
        sources.append(FileSource(
            part, records + n_records, records, changes))
        n_records += part.n_records
        n_files += len(part.meta['inputs'])
    return sources, n_records


def overlay(
    parts: Sequence[Campaign], kinds: Sequence[NDArray[np.int8]],
) -> tuple[list[FileSource], int]:
    """Take each record from the only file in which it was worked on."""
    import numpy as np

    from mpiapp.store.reader import FileSource
    n_records = parts[0].n_records
    taken = np.zeros(n_records, bool)
    sources = []
    for part, kind in zip(parts, kinds, strict=True):
        if part.n_records != n_records:
            raise InputError(f'{part.path} has {part.n_records} records, '
                             f'{parts[0].path} {n_records}, of the same '
                             'input')
        done = kind == WORKED_ON
        if (taken & done).any():
            row = int(np.flatnonzero(taken & done)[0])
            raise InputError(f'{part.path}: record {row} was worked on in '
                             'another of the files too')
        taken |= done
        rows = np.flatnonzero(done)
        sources.append(FileSource(part, rows, rows))
    return sources, n_records


def kinds_of(part: Campaign) -> NDArray[np.int8]:
    """Return what each record [n_records] is in a file, OUTSIDE and so on."""
    import numpy as np

    from mpiapp.records import Status
    status = part.table['status'].to_numpy()
    skipped = status == Status.SKIPPED
    outside = skipped & (part.table['reason'] == 'window').to_numpy() \
        if 'reason' in part.table else np.zeros_like(skipped)
    return np.select([outside, skipped, status == Status.PENDING],
                     [OUTSIDE, SKIPPED, PENDING], WORKED_ON).astype(np.int8)


def told_left(kinds: NDArray[np.int8]) -> list[str]:
    """Say how many records are still to be worked on, and why."""
    n_pending = int((kinds == PENDING).sum())
    n_outside = int((kinds == OUTSIDE).sum())
    told = []
    if n_pending:
        told.append(f'{n_pending} record(s) are pending: finish the runs that '
                    'began them with --resume, and join the files again')
    if n_outside:
        told.append(f'{n_outside} record(s) are outside the windows of all '
                    'files: the file of a window is missing, or was not made')
    return told


def idle_rows(
    parts: Sequence[Campaign], owners: NDArray[np.intp],
) -> Callable[[int], dict[str, Any]]:
    """Return what tells how a record looks that no file worked on.

    `owners` [n_records] are the files that tell it.
    """
    tables = [part.table for part in parts]

    def blank(row: int) -> dict[str, Any]:
        found: dict[str, Any] = tables[owners[row]].loc[row].to_dict()
        return found
    return blank


def _run() -> int:
    # no MPI is needed, and on the login node of a cluster it can't start
    import mpi4py
    mpi4py.rc.initialize = False
    return main()


if __name__ == '__main__':
    sys.exit(_run())
