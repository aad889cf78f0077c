"""Measure what descriptors cost beside the relaxation of their records.

Each record is described twice (before and after, as in `reopt`) and relaxed
once; both in seconds of CPU.  Without --sdf the bundled sample is taken, whose
relaxation with the bundled model takes minutes: --test does the first one.
"""
from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from mpiapp.benchmarks.optimisers import (
    DONE, USAGE, Counted, relax_by_ours, structures
)
from mpiapp.data_files import data_file
from mpiapp.errors import InputError
from mpiapp.optimize import names

#: descriptions of a record, of which the median counts
REPEATS = 9


@dataclass(frozen=True)
class Row:
    """One record: seconds of CPU; `share` = described / relaxed."""

    name: str
    n_atoms: int
    n_pairs: int
    described: float
    evaluations: int
    relaxed: float
    share: float


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = parser().parse_args(argv)
    rows = []
    print(f'{"record":28s} atoms pairs descriptors/ms evaluations '
          'relaxation/s  share')
    try:
        for row in measure(options):
            rows.append(row)
            print(f'{row.name:28s} {row.n_atoms:5d} {row.n_pairs:5d} '
                  f'{1e3 * row.described:14.2f} {row.evaluations:11d} '
                  f'{row.relaxed:12.3f} {row.share:6.2%}', flush=True)
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        return USAGE
    total = sum(r.described for r in rows) / sum(r.relaxed for r in rows)
    print(f'{len(rows)} records: {total:.3%} of the relaxation')
    if options.json:
        Path(options.json).write_text(json.dumps(
            {'share': total, 'cases': [asdict(r) for r in rows]}, indent=1))
    return DONE


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    p = argparse.ArgumentParser(
        prog='python -m mpiapp.benchmarks.descriptors',
        description=(__doc__ or '').partition('\n\n')[0])
    p.add_argument('--sdf', nargs='+', metavar='FILE',
                   default=[str(data_file('dimers/library_sample.sdf'))])
    p.add_argument('--every', type=int, default=1, metavar='N',
                   help='take every Nth record of the files')
    p.add_argument('--test', action='store_true', help='one record')
    p.add_argument('--optimizer', default='internal', choices=names())
    p.add_argument('--calculator', default='mace')
    p.add_argument('--model-path', help='MACE model; default: the bundled')
    p.add_argument('--backend', help='of MACE; default: poly')
    p.add_argument('--fmax', type=float, default=0.005, help='eV/A')
    p.add_argument('--max-steps', type=int, default=500)
    p.add_argument('--json', metavar='FILE', help='write the results there')
    return p


def measure(options: argparse.Namespace) -> Iterator[Row]:
    """Yield the row of each record.

    Raises:
        InputError: a wrong option or an unreadable file.
    """
    from mpiapp.potentials import PotentialOptions, build, obtain
    usual = 'poly' if options.calculator == 'mace' else 'auto'
    potential = build(obtain(PotentialOptions(
        options.calculator, model_path=options.model_path,
        backend=options.backend or usual)))
    for name, structure in structures(options, potential.accepts_charge):
        end = relax_by_ours(structure, Counted(potential), options)
        described, n_pairs = describe(structure, end.positions)
        yield Row(name, len(structure.numbers), n_pairs, described,
                  end.evaluations, end.seconds, described / end.seconds)
        if options.test:
            return


def describe(structure: Any, final: Any) -> tuple[float, int]:
    """Return CPU seconds (median) of the descriptors, and the pairs.

    The first description, which searches the molecule, does not count: it
    is done once for all conformers.
    """
    from mpiapp.chemistry.descriptors import descriptor_columns
    seconds = []
    for _ in range(REPEATS + 1):
        began = time.process_time()
        row = descriptor_columns(structure, structure.positions, final)
        seconds.append(time.process_time() - began)
    return median(seconds[1:]), len(row['pair_a'])


if __name__ == '__main__':
    sys.exit(main())
