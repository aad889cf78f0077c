"""Compare relaxations in two stages with float64 throughout.

Each molecule is relaxed from the same start in float64, and in float32 until
the force of the change and float64 from there, by the same optimiser.
Without --sdf a few small molecules are taken.
"""
from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mpiapp.benchmarks.optimisers import DONE, USAGE, Counted, structures
from mpiapp.errors import InputError


@dataclass(frozen=True)
class Row:
    """One molecule: evaluations alone and in both stages, and differences.

    `cpu` is the CPU time of two stages over that of float64 alone,
    `energy_difference` [meV] and `rmsd` [A] are between the ends, the
    errors [meV], [eV/A] are those of float32 where the stages changed.
    """

    name: str
    n_atoms: int
    alone: int
    float32: int
    float64: int
    cpu: float
    energy_difference: float
    rmsd: float
    energy_error: float
    force_error: float
    outcome: str


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = parser().parse_args(argv)
    rows = []
    print(f'{"molecule":24s} atoms alone float32 float64   cpu  dE/meV RMSD/A '
          'error/meV error/eV/A')
    try:
        for row in measure(options):
            rows.append(row)
            print(line(row), flush=True)
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        return USAGE
    if options.json:
        Path(options.json).write_text(json.dumps(
            {'options': vars(options), 'cases': [asdict(r) for r in rows]},
            indent=1))
    return DONE


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    p = argparse.ArgumentParser(
        prog='python -m mpiapp.benchmarks.two_stages',
        description=(__doc__ or '').partition('\n\n')[0])
    p.add_argument('--sdf', nargs='+', default=[], metavar='FILE',
                   help='structures instead of the default set')
    p.add_argument('--every', type=int, default=1, metavar='N',
                   help='take every Nth record of the files')
    p.add_argument('--model-path', help='MACE model; default: the bundled')
    p.add_argument('--backend', default='poly')
    p.add_argument('--optimizer', default='internal')
    p.add_argument('--change', type=float, default=0.02,
                   help='largest force that ends the first stage, eV/A')
    p.add_argument('--fmax', type=float, default=0.005, help='eV/A')
    p.add_argument('--max-steps', type=int, default=500)
    p.add_argument('--json', metavar='FILE', help='write the results there')
    return p


def measure(options: argparse.Namespace) -> Iterator[Row]:
    """Yield the row of each molecule.

    Raises:
        InputError: a wrong option, a model that float32 does not suit.
    """
    from mpiapp.potentials import PotentialOptions, build, obtain
    from mpiapp.potentials.mace.first_stage import build_first
    chosen = obtain(PotentialOptions(
        'mace', model_path=options.model_path, backend=options.backend))
    molecules = list(structures(options, False))
    sample = [s for _, s in molecules[:2]]
    fine = build(chosen, sample)
    rough = build_first(chosen, fine, sample)
    if rough is None:
        raise InputError('float32 disagrees with float64 on these structures')
    for name, structure in molecules:
        yield compare(name, structure, fine, rough, options)


def compare(
    name: str, structure: Any, fine: Any, rough: Any,
    options: argparse.Namespace,
) -> Row:
    """Relax a molecule both ways and return its row."""
    from mpiapp.chemistry.geometry import superposed_rmsd
    for potential in (fine, rough):  # tables, compiled code
        potential.evaluate(batch_of(structure))
    one, seconds, _ = relaxed(structure, fine, None, options)
    two, less, calls = relaxed(structure, fine, rough, options)
    return Row(
        name, len(structure.numbers), one.evaluations,
        two.rough_evaluations, calls, less / seconds,
        1000 * (two.e_final - one.e_final),
        superposed_rmsd(two.positions, one.positions),
        1000 * two.rough_energy_error, two.rough_force_error,
        f'{one.outcome}, {two.outcome}')


def relaxed(
    structure: Any, fine: Any, rough: Any, options: argparse.Namespace,
) -> tuple[Any, float, int]:
    """Return how it ended, CPU seconds, and evaluations of the fine one."""
    from mpiapp.optimize import optimizer
    from mpiapp.optimize.driver import Limits, Rough, Task, relax
    tasks = [Task(0, structure.numbers, structure.positions)]
    counted, began = Counted(fine), time.process_time()
    end, = relax(
        lambda n: [tasks.pop()] if tasks else [], counted.evaluate,
        optimizer(options.optimizer), Limits(options.fmax, options.max_steps),
        1, lambda: False,
        rough=rough and Rough(rough.evaluate, options.change))
    return end, time.process_time() - began, counted.calls


def batch_of(structure: Any) -> Any:
    """Return a structure as a batch of one."""
    from mpiapp.records import Batch
    return Batch.join([(structure.numbers, structure.positions, 0, 0)])


def line(row: Row) -> str:
    """Return a line of the table."""
    ends = row.outcome.split(', ')
    note = '' if ends == ['converged'] * 2 else f'  {row.outcome}'
    return (f'{row.name:24s} {row.n_atoms:5d} {row.alone:5d} '
            f'{row.float32:7d} {row.float64:7d} {row.cpu:5.2f} '
            f'{row.energy_difference:7.3f} {row.rmsd:6.4f} '
            f'{row.energy_error:9.3f} {row.force_error:10.1e}{note}')


if __name__ == '__main__':
    sys.exit(main())
