"""float32 first, float64 to the end, with the bundled MACE model."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpiapp.chemistry.geometry import superposed_rmsd
from mpiapp.potentials import PotentialOptions, build, obtain
from mpiapp.potentials.mace.first_stage import TOLERANCE, build_first
from mpiapp.records import RELAX, Batch, Finished, Item, Status, Structure
from mpiapp.structures import Collection
from mpiapp.workers.reading import FileRecords
from mpiapp.workers.relax import RelaxSettings, RelaxWorker

# of TorchScript, which e3nn is made of
pytestmark = [pytest.mark.filterwarnings('ignore::DeprecationWarning'),
              pytest.mark.filterwarnings('ignore::UserWarning')]

#: eV and A between both ends: 1 meV tells minima apart, and so far do the
#: softest modes reach at the force that ends a relaxation
SAME_ENERGY, SAME_PLACE = 1e-3, 0.02


class Stream:
    """A list of rows, never stopped."""

    dry = False

    def __init__(self, rows: list[int]) -> None:
        self.rows = rows

    def take(self, n: int, wait: bool = True) -> list[Item]:
        taken, self.rows = self.rows[:n], self.rows[n:]
        self.dry = not taken
        return [Item(row) for row in taken]

    def stopping(self) -> bool:
        return False


@pytest.fixture(scope='module')
def molecule(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a small flexible molecule, not relaxed, as a file."""
    from rdkit import Chem
    from rdkit.Chem.rdDistGeom import EmbedMolecule
    mol = Chem.AddHs(Chem.MolFromSmiles('CCCCO'))
    EmbedMolecule(mol, randomSeed=11)
    path = tmp_path_factory.mktemp('two') / 'butanol.sdf'
    path.write_text(Chem.MolToMolBlock(mol) + '$$$$\n')
    return path


@pytest.fixture(scope='module')
def chosen() -> PotentialOptions:
    """Give the resolved options of the bundled model."""
    return obtain(PotentialOptions('mace', backend='poly'))


@pytest.fixture(scope='module')
def exact(chosen: PotentialOptions) -> Any:
    """Give the float64 potential."""
    return build(chosen)


@pytest.fixture(scope='module')
def rows(molecule: Path, chosen: PotentialOptions, exact: Any) -> Any:
    """Give the rows after one stage and after two."""
    collection = Collection.open([molecule])
    sample = [collection.load(0)]
    results = []
    for first in (None, build_first(chosen, exact, sample)):
        records = FileRecords(collection, None, ['butanol'])
        worker = RelaxWorker(RelaxSettings(), records, exact, first)
        finished, = worker(Stream([0]))
        assert isinstance(finished, Finished)
        results.append(RELAX.complete(finished.values))
    return results


def test_both_end_in_the_same_minimum(rows: Any) -> None:
    one, two = rows
    assert one['status'] == two['status'] == Status.CONVERGED
    assert two['e_total'] == pytest.approx(one['e_total'], abs=SAME_ENERGY)
    assert superposed_rmsd(one['x_final'], two['x_final']) < SAME_PLACE


def test_energies_are_float64_and_the_error_is_stored(
    rows: Any, exact: Any,
) -> None:
    one, two = rows
    found = exact.evaluate(Batch.join(
        [(two['numbers'], two['x_final'], 0, 0)]))
    assert two['e_total'] == found.energies[0]
    assert two['e_start'] == one['e_start']
    assert 0 < two['evaluations_float32'] <= two['steps']
    assert 0 < abs(two['float32_energy_error']) < 1e-3
    assert 0 < two['float32_force_error'] < 2e-3
    assert one['evaluations_float32'] == 0
    assert np.isnan(one['float32_force_error'])


def test_a_first_stage_that_disagrees_is_refused(
    chosen: PotentialOptions, exact: Any, molecule: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Wrong:
        """Another energy than that of the model."""

        elements = exact.elements

        def evaluate(self, batch: Batch) -> Any:
            found = exact.evaluate(batch)
            n_atoms = len(batch.numbers)
            found.energies[:] += 2 * TOLERANCE.energy * n_atoms
            return found
    sample: list[Structure] = [Collection.open([molecule]).load(0)]
    assert build_first(chosen, Wrong(), sample) is None  # type: ignore
    assert 'one stage only' in caplog.text
