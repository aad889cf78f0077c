"""Count the evaluations that optimisers need, against ASE's L-BFGS.

Each molecule is relaxed from the same start by `ase.optimize.LBFGS` and by an
optimiser of ours on the same potential.  Without --sdf a few small molecules
are taken, which the bundled model relaxes in about two minutes on one core.
"""
from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from mpiapp.errors import InputError, Rejection
from mpiapp.optimize import names

DONE, USAGE = 0, 2
#: SMILES of the default set, all of elements that the bundled model knows
SMALL = {
    'hexanol': 'CCCCCCO',
    'biphenyl': 'c1ccc(cc1)-c1ccccc1',
    'butylbenzene': 'CCCCc1ccccc1',
    'diethyl-phthalate': 'CCOC(=O)c1ccccc1C(=O)OCC',
    'benzene-dimer': 'c1ccccc1.c1ccccc1',
    'glycine-dipeptide': 'CC(=O)NCC(=O)NC',
}
#: height [A] of a part above the one before
BETWEEN = 4.0
#: apart [meV]: another minimum
APART = 1.0


@dataclass(frozen=True)
class Row:
    """One molecule: evaluations, differences of the ends, times.

    `energy_difference` [meV] is ours less ASE's, `rmsd` [A] between both
    ends, `step_ms` and `evaluation_ms` are CPU times of ours, each.
    """

    name: str
    n_atoms: int
    ase: int
    ours: int
    ratio: float
    energy_difference: float
    rmsd: float
    step_ms: float
    evaluation_ms: float
    outcome: str


@dataclass(frozen=True, eq=False)
class End:
    """How a relaxation ended; times in seconds of CPU."""

    outcome: str
    evaluations: int
    energy: float
    positions: Any
    seconds: float
    evaluating: float


class Counted:
    """A potential that counts the calls and their CPU seconds."""

    def __init__(self, potential: Any) -> None:
        self.potential = potential
        self.calls, self.seconds = 0, 0.0

    def evaluate(self, batch: Any) -> Any:
        """Evaluate; see `Potential`."""
        began = time.process_time()
        answer = self.potential.evaluate(batch)
        self.seconds += time.process_time() - began
        self.calls += 1
        return answer


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = parser().parse_args(argv)
    try:
        rows = []
        print(head())
        for row in measure(options):
            rows.append(row)
            print(line(row), flush=True)
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        return USAGE
    print(summary(rows))
    if options.json:
        report = {'options': vars(options), 'machine': platform.processor()
                  or platform.machine(), 'cases': [asdict(r) for r in rows],
                  **numbers_of(rows)}
        Path(options.json).write_text(json.dumps(report, indent=1))
    return DONE


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    p = argparse.ArgumentParser(
        prog='python -m mpiapp.benchmarks.optimisers',
        description=(__doc__ or '').partition('\n\n')[0])
    p.add_argument('--sdf', nargs='+', default=[], metavar='FILE',
                   help='structures instead of the default set')
    p.add_argument('--every', type=int, default=1, metavar='N',
                   help='take every Nth record of the files')
    p.add_argument('--optimizer', default='internal', choices=names())
    p.add_argument('--calculator', default='mace')
    p.add_argument('--model-path', help='MACE model; default: the bundled')
    p.add_argument('--fmax', type=float, default=0.005, help='eV/A')
    p.add_argument('--max-steps', type=int, default=2000)
    p.add_argument('--json', metavar='FILE', help='write the results there')
    return p


def measure(options: argparse.Namespace) -> Iterator[Row]:
    """Yield the row of each molecule.

    Raises:
        InputError: a wrong option or an unreadable file.
    """
    from mpiapp.potentials import PotentialOptions, build, obtain
    chosen = PotentialOptions(options.calculator,
                              model_path=options.model_path)
    potential = build(obtain(chosen))
    for name, structure in structures(options, potential.accepts_charge):
        theirs = relax_by_ase(structure, Counted(potential), options)
        ours = relax_by_ours(structure, Counted(potential), options)
        yield compare(name, theirs, ours)


def structures(
    options: argparse.Namespace, accepts_charge: bool,
) -> Iterator[tuple[str, Any]]:
    """Yield (name, Structure); charged ones neutralised for the model."""
    from mpiapp.chemistry.charge import apply_policy
    from mpiapp.structures import Collection
    if not options.sdf:
        yield from small_molecules()
        return
    collection = Collection.open(options.sdf)
    policy = 'refuse' if accepts_charge else 'neutralise'
    for row in range(0, len(collection), options.every):
        try:
            structure = collection.load(row)
            prepared = apply_policy(structure, policy, accepts_charge)
        except Rejection as error:
            raise InputError(f'record {row}: {error.message}') from error
        stem = Path(options.sdf[structure.file_number]).name.split('.')[0]
        yield f'{stem}:{structure.record}', prepared.structure


def small_molecules() -> Iterator[tuple[str, Any]]:
    """Yield the default set, from distance geometry with a fixed seed."""
    import numpy as np

    from mpiapp.records import Structure
    for row, (name, smiles) in enumerate(SMALL.items()):
        parts = [embedded(part) for part in smiles.split('.')]
        heights = [[0.0, 0.0, BETWEEN * k] for k in range(len(parts))]
        yield name, Structure(
            row, 0, row, np.concatenate([p[0] for p in parts]),
            np.concatenate([p[1] + h for p, h
                            in zip(parts, heights, strict=True)]))


def embedded(smiles: str) -> tuple[Any, Any]:
    """Return numbers [n] and positions [n, 3] A, the flat way up."""
    import numpy as np
    from rdkit import Chem
    from rdkit.Chem.rdDistGeom import EmbedMolecule
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    EmbedMolecule(mol, randomSeed=11)
    x = mol.GetConformer().GetPositions()
    x -= x.mean(axis=0)
    _, _, axes = np.linalg.svd(x)
    return (np.array([a.GetAtomicNum() for a in mol.GetAtoms()], np.int32),
            x @ axes.T)


def relax_by_ours(
    structure: Any, potential: Counted, options: argparse.Namespace,
) -> End:
    """Relax by the optimiser of the options."""
    from mpiapp.optimize import optimizer
    from mpiapp.optimize.driver import Limits, Relaxed, Task, relax
    tasks = [Task(0, structure.numbers, structure.positions,
                  structure.charge, structure.unpaired)]
    began = time.process_time()
    end, = relax(lambda n: [tasks.pop()] if tasks else [],
                 potential.evaluate, optimizer(options.optimizer),
                 Limits(options.fmax, options.max_steps), 1, lambda: False)
    assert isinstance(end, Relaxed)
    return End(end.outcome, end.evaluations, end.e_final, end.positions,
               time.process_time() - began, potential.seconds)


def relax_by_ase(
    structure: Any, potential: Counted, options: argparse.Namespace,
) -> End:
    """Relax by ASE's L-BFGS with its defaults, and count evaluations."""
    from ase import Atoms

    from mpiapp.parallel.ase_serial import optimizer
    atoms = Atoms(structure.numbers, structure.positions)
    atoms.calc = calculator(structure, potential)
    began = time.process_time()
    converged = optimizer('LBFGS', atoms).run(options.fmax,
                                              options.max_steps)
    return End('converged' if converged else 'step_limit', potential.calls,
               atoms.get_potential_energy(), atoms.positions,
               time.process_time() - began, potential.seconds)


def calculator(structure: Any, potential: Counted) -> Any:
    """Return the potential as an ASE calculator."""
    from ase.calculators.calculator import Calculator, all_changes

    from mpiapp.records import Batch

    class OneMolecule(Calculator):  # type: ignore[misc]
        """Evaluates one molecule at a time."""

        implemented_properties = ['energy', 'forces']

        def calculate(self, atoms: Any = None, properties: Any = (),
                      system_changes: Any = all_changes) -> None:
            """Fill in the results; see ASE."""
            super().calculate(atoms, properties, system_changes)
            answer = potential.evaluate(Batch.join([
                (structure.numbers, self.atoms.positions, structure.charge,
                 structure.unpaired)]))
            if answer.failures:
                raise InputError(f'evaluation failed: {answer.failures}')
            self.results = {'energy': float(answer.energies[0]),
                            'forces': answer.forces}

    return OneMolecule()


def compare(name: str, theirs: End, ours: End) -> Row:
    """Return the row of two relaxations of a molecule."""
    from mpiapp.chemistry.geometry import superposed_rmsd
    steps = max(ours.evaluations - 1, 1)
    failed = [f'{who}: {end.outcome}' for who, end
              in (('ASE', theirs), ('ours', ours))
              if end.outcome != 'converged']
    return Row(
        name, len(ours.positions), theirs.evaluations, ours.evaluations,
        theirs.evaluations / ours.evaluations,
        1000 * (ours.energy - theirs.energy),
        superposed_rmsd(theirs.positions, ours.positions),
        1000 * (ours.seconds - ours.evaluating) / steps,
        1000 * ours.evaluating / ours.evaluations,
        ', '.join(failed) or 'converged')


def head() -> str:
    """Return the head of the table."""
    return (f'{"molecule":28s} atoms   ASE  ours ratio  dE/meV RMSD/A '
            'step/ms evaluation/ms')


def line(row: Row) -> str:
    """Return a line of the table."""
    outcome = '' if row.outcome == 'converged' else f'  {row.outcome}'
    return (f'{row.name:28s} {row.n_atoms:5d} {row.ase:5d} {row.ours:5d} '
            f'{row.ratio:5.1f} {row.energy_difference:7.2f} {row.rmsd:6.3f} '
            f'{row.step_ms:7.2f} {row.evaluation_ms:13.1f}{outcome}')


def numbers_of(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the totals of the table; empty without rows."""
    if not rows:
        return {}
    ratios = sorted(r.ratio for r in rows)
    return {
        'evaluations_ratio': median(ratios),
        'ratio_smallest': ratios[0],
        'ratio_largest': ratios[-1],
        'higher': [r.name for r in rows if r.energy_difference > APART],
        'lower': [r.name for r in rows if r.energy_difference < -APART],
        'failed': [r.name for r in rows if r.outcome != 'converged'],
    }


def summary(rows: Sequence[Row]) -> str:
    """Return the totals in words."""
    if not rows:
        return 'no molecule'
    n = numbers_of(rows)
    return (f'{len(rows)} molecules, ASE / ours: median '
            f'{n["evaluations_ratio"]:.2f}, {n["ratio_smallest"]:.2f} to '
            f'{n["ratio_largest"]:.2f}; ours is higher by over {APART:g} meV '
            f'in {len(n["higher"])}, lower in {len(n["lower"])}; '
            f'{len(n["failed"])} not converged')


if __name__ == '__main__':
    sys.exit(main())
