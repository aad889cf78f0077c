"""What one evaluation costs: the back ends against MACECalculator.

    python -m mpiapp.benchmarks.evaluation [--rounds 9] [--json FILE]

Every way to compute a model is built and compared with the float64
reference before it is timed; one that disagrees gets no time.  All are run
in turns on one thread, at new positions in every call.
"""
from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.benchmarks.context import machine, quartiles, versions
from mpiapp.benchmarks.shapes import (
    SHAPES, organic_molecule, pyrene_dimer, write_model
)
from mpiapp.errors import InputError
from mpiapp.potentials import PotentialOptions
from mpiapp.potentials.guard import TOLERANCES
from mpiapp.potentials.mace import available, files, load_backend
from mpiapp.records import Batch, Floats, Structure

#: energy, eV, and forces, eV/A
Evaluate = Callable[[Floats], tuple[float, Floats]]
#: A; how far the atoms are moved from call to call
RATTLE = 1e-3


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print one line a cell; 1 if a way was refused or failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--json', metavar='FILE')
    options = parser.parse_args(argv)
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    warnings.filterwarnings('ignore')
    cells: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for model, path, molecule, structure in cases(Path(folder)):
            for dtype in ('float64', 'float32'):
                name = {'model': model, 'molecule': molecule, 'dtype': dtype}
                for row in measure(path, dtype, structure, options.rounds):
                    cells.append({**name, **row})
                    print(line(cells[-1]), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps(
            {'machine': machine(), 'versions': versions(), 'cells': cells},
            indent=1))
    return int(any(cell['state'] in ('refused', 'failed') for cell in cells))


def cases(folder: Path) -> list[tuple[str, str, str, Structure]]:
    """Return (model, its file, molecule, structure) of all cases."""
    found = [('student', str(files.bundled_path()), 'library molecule',
              library_start(folder))]
    for name, shape in SHAPES.items():
        path = folder / f'{name}.model'
        write_model(shape, path)
        found += [(name, str(path), 'pyrene dimer', pyrene_dimer()),
                  (name, str(path), 'organic molecule', organic_molecule())]
    return found


def library_start(folder: Path) -> Structure:
    """Return the first record of the bundled library sample."""
    from mpiapp.structures import Collection
    sample = files.bundled_path().parents[1] / 'dimers/library_sample.sdf'
    return Collection.open([str(sample)], folder).load(0)


def measure(
    path: str, dtype: str, structure: Structure, rounds: int,
    names: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Return one row for each way to compute a model, the yardstick first.

    The ways are `names` beside MACECalculator, else all that are installed.
    """
    exact = of_backend('reference', path, 'float64', structure)
    expected = exact(structure.positions)
    ways: dict[str, Evaluate] = {}
    rows: dict[str, dict[str, Any]] = {}
    for name in ('MACECalculator', *(names or available()[::-1])):
        start = time.perf_counter()
        try:
            way = calculator(path, dtype, structure) \
                if name == 'MACECalculator' \
                else of_backend(name, path, dtype, structure)
        except InputError as error:
            rows[name] = {'way': name, 'state': 'failed',
                          'reason': str(error)}
            continue
        found = way(structure.positions)
        rows[name] = {'way': name, 'state': 'ok',
                      'setup_s': time.perf_counter() - start,
                      'n_atoms': len(structure.numbers),
                      **difference(found, expected)}
        # the yardstick's float32 energies have no more digits than that
        if name != 'MACECalculator' and not agrees(rows[name], dtype):
            rows[name]['state'] = 'refused'
        else:
            ways[name] = way
    for name, numbers in timed(ways, structure, rounds).items():
        rows[name] |= numbers
    return list(rows.values())


def difference(
    found: tuple[float, Floats], expected: tuple[float, Floats],
) -> dict[str, float]:
    """Return the differences of energy, per atom, and of forces."""
    return {
        'd_energy': abs(found[0] - expected[0]) / len(expected[1]),
        'd_force': float(np.abs(found[1] - expected[1]).max()),
        'max_force': float(np.abs(expected[1]).max()),
    }


def agrees(row: dict[str, Any], dtype: str) -> bool:
    """Tell whether differences are within what the guard allows."""
    allowed = TOLERANCES[dtype]
    force = allowed.force + allowed.relative * row['max_force']
    return bool(row['d_energy'] <= allowed.energy
                and row['d_force'] <= force)


def timed(
    ways: dict[str, Evaluate], structure: Structure, rounds: int,
) -> dict[str, dict[str, Any]]:
    """Return CPU ms and ratios to the first way, quartiles of all rounds.

    Two rounds more than `rounds` are run; the first two do not count.
    """
    rng = np.random.default_rng(0)
    taken = np.zeros((rounds + 2, len(ways)))
    for i in range(len(taken)):
        moved = structure.positions + rng.normal(
            0.0, RATTLE, structure.positions.shape)
        for j, way in enumerate(ways.values()):
            start = time.process_time()
            way(moved)
            taken[i, j] = 1e3 * (time.process_time() - start)
    ratios = taken[2:, :1] / taken[2:]
    return {name: {
        'cpu_ms': quartiles(taken[2:, j]),
        'ratio': quartiles(ratios[:, j]),
        'rounds': rounds,
    } for j, name in enumerate(ways)}


def of_backend(
    name: str, path: str, dtype: str, structure: Structure,
) -> Evaluate:
    """Return one of our back ends, on the CPU with one thread."""
    potential = load_backend(name, PotentialOptions(
        model_path=path, dtype=dtype, device='cpu'))

    def evaluate(positions: Floats) -> tuple[float, Floats]:
        found = potential.evaluate(
            Batch.join([(structure.numbers, positions, 0, 0)]))
        return float(found.energies[0]), found.forces

    return evaluate


def calculator(path: str, dtype: str, structure: Structure) -> Evaluate:
    """Return the ordinary way: mace-torch's calculator for ASE."""
    from ase import Atoms
    from mace.calculators import MACECalculator
    atoms = Atoms(structure.numbers, structure.positions)
    atoms.calc = MACECalculator(
        model_paths=path, device='cpu', default_dtype=dtype)

    def evaluate(positions: Floats) -> tuple[float, Floats]:
        # ASE returns kept results where nothing has moved
        atoms.calc.reset()
        atoms.positions = positions
        return float(atoms.get_potential_energy()), atoms.get_forces()

    return evaluate


def line(cell: dict[str, Any]) -> str:
    """Return a cell as a line of a Markdown table."""
    head = (f"| {cell['model']} | {cell['molecule']} | {cell['dtype']} | "
            f"{cell['way']} | ")
    if 'cpu_ms' not in cell:
        return head + f"{cell['state']} | {cell.get('reason', '')} | | |"
    low, ms, high = cell['cpu_ms']
    r_low, ratio, r_high = cell['ratio']
    return head + (
        f'{ms:.1f} ({low:.1f}-{high:.1f}) | '
        f'{ratio:.1f} ({r_low:.1f}-{r_high:.1f}) | '
        f"{cell['d_energy']:.0e} | {cell['d_force']:.0e} |")


if __name__ == '__main__':
    sys.exit(main())
