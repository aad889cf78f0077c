"""How often conformers of a bridged dimer are stacked, and what they cost.

    python -m mpiapp.benchmarks.stacking --sdf FILE ... [--attempts 40]
    python -m mpiapp.benchmarks.stacking --smiles-csv FILE --names A B

For each molecule: the conformers of the file (of an SD file), attempts with
ordinary starts and attempts with folded starts.  A conformer is stacked if
the centroids of two of its largest aromatic systems, in different arms, are
closer than 5.5 A and their planes within 25 degrees.
"""
from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from mpiapp.chemistry.embedding import Recipe, attempt, prepare
from mpiapp.chemistry.folding import Pair, fold_pairs
from mpiapp.chemistry.graph import graph_of, molecule_of
from mpiapp.chemistry.molecules import MoleculeTable, TableRow
from mpiapp.chemistry.smiles_input import table_of
from mpiapp.errors import InputError
from mpiapp.records import Floats, Structure
from mpiapp.structures import Collection

#: A and degrees of a stack
CLOSE, PARALLEL = 5.5, 25.0
#: kcal/mol; the window in which the share is given once more
WINDOW = 7.0


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print one line a molecule and way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--sdf', nargs='+', default=[], metavar='FILE')
    parser.add_argument('--smiles-csv', default='', metavar='FILE')
    parser.add_argument('--names', nargs='+', default=[], metavar='NAME')
    parser.add_argument('--attempts', type=int, default=40)
    options = parser.parse_args(argv)
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    try:
        cases = [*of_files(options.sdf),
                 *of_table(options.smiles_csv, options.names)]
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print('molecule              way       n  stacked  below 7 kcal/mol  '
          'centroids 5/50/95 %  s/attempt')
    for name, row, ensemble in cases:
        for text in lines(name, row, ensemble, options.attempts):
            print(text, flush=True)
    return 0


Case = tuple[str, TableRow, list[Structure]]


def of_files(paths: Iterable[str]) -> Iterator[Case]:
    """Yield each SD file as one molecule, neutral, and its conformers."""
    from rdkit import Chem
    from rdkit.Chem.MolStandardize.rdMolStandardize import Uncharger
    for path in paths:
        collection = Collection.open([path])
        ensemble = [collection.load(i) for i in range(len(collection))]
        molecule = Chem.Mol(molecule_of(graph_of(ensemble[0])))
        conformer = Chem.Conformer(molecule.GetNumAtoms())
        conformer.SetPositions(ensemble[0].positions)
        molecule.AddConformer(conformer)
        Chem.AssignStereochemistryFrom3D(molecule)
        neutral = Uncharger().uncharge(Chem.RemoveHs(molecule))
        yield (path.rsplit('/', 1)[-1],
               table_of([Chem.MolToSmiles(neutral)]).rows[0], ensemble)


def of_table(path: str, names: Sequence[str]) -> Iterator[Case]:
    """Yield molecules of a table, all without `names`."""
    rows = MoleculeTable.read(path).rows if path else ()
    for row in rows:
        if row.name in names or not names:
            yield row.name, row, []


def lines(
    name: str, row: TableRow, ensemble: list[Structure], n: int,
) -> Iterator[str]:
    """Yield a line for the file and for each way to start."""
    if ensemble:
        pairs = fold_pairs(molecule_of(graph_of(ensemble[0])))
        energies = np.array([float(s.tags.get('E', 'nan'))
                             for s in ensemble])
        yield line(name, 'file', [closest_pair(s.positions, pairs)
                                  for s in ensemble], energies, np.nan)
    for way, share in (('ordinary', 0.0), ('folded', 1.0)):
        recipe = Recipe(folded=share)
        subject = prepare(row, recipe)
        pairs = fold_pairs(subject.isomers[0])
        began = time.process_time()
        made = [attempt(subject, recipe, i) for i in range(n)]
        seconds = (time.process_time() - began) / n
        good = [a for a in made if a.positions is not None]
        yield line(name, way, [closest_pair(a.positions, pairs)
                               for a in good],
                   np.array([a.energy for a in good]), seconds)


def line(
    name: str, way: str, found: list[tuple[float, float]],
    energies: Floats, seconds: float,
) -> str:
    """Format one row of the table."""
    distances, angles = np.array(found).reshape(-1, 2).T
    stacked = (distances < CLOSE) & (angles < PARALLEL)
    low = energies < energies.min(initial=np.inf) + WINDOW
    places = '/'.join(f'{d:.1f}' for d in np.percentile(
        distances, [5, 50, 95]))
    return (f'{name[:20]:20s}  {way:8s} {len(found):3d}  '
            f'{100 * stacked.mean():5.1f} %  {100 * stacked[low].mean():5.1f}'
            f' % of {low.sum():3d}    {places:19s}  {seconds:8.2f}')


def closest_pair(positions: Any, pairs: list[Pair]) -> tuple[float, float]:
    """Return centroid distance (A) and plane angle (degrees), closest pair.

    `positions` [n_atoms, 3] A.
    """
    return min(face_to_face(positions[list(a)], positions[list(b)])
               for a, b in pairs)


def face_to_face(a: Floats, b: Floats) -> tuple[float, float]:
    """Return centroid distance (A) and angle (degrees) of two planes."""
    middles = a.mean(axis=0), b.mean(axis=0)
    normals = [np.linalg.svd(x - middle)[2][2]
               for x, middle in zip((a, b), middles)]
    cosine = min(1.0, abs(float(normals[0] @ normals[1])))
    return (float(np.linalg.norm(middles[1] - middles[0])),
            float(np.degrees(np.arccos(cosine))))


if __name__ == '__main__':
    sys.exit(main())
