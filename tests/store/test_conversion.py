"""Results as objects and files of other programs, there and back."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest

from mpiapp.parallel import ase_serial
from mpiapp.parallel.serial import SerialComm
from mpiapp.records import RELAX
from mpiapp.store.campaign import write_campaign
from mpiapp.store.reader import Campaign, load
from mpiapp.store.sources import MemorySource
from mpiapp.structures import Collection

SMILES = ('c1ccc2ccccc2c1', 'CCO', 'C[N+](C)(C)C')
#: A; four decimals in an SD record
SDF_TOLERANCE = 5.1e-5


@pytest.fixture(scope='module')
def results(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """Return a campaign of three molecules and a record without any."""
    from rdkit import Chem
    from rdkit.Chem import AllChem
    rows = {}
    for row, smiles in enumerate(SMILES):
        found = Chem.AddHs(Chem.MolFromSmiles(smiles))
        AllChem.EmbedMolecule(found, randomSeed=7)
        Chem.Kekulize(found, clearAromaticFlags=True)
        x = found.GetConformer().GetPositions()
        rows[row] = {
            'status': 1, 'record': row, 'name': f'say "{smiles}", {row}',
            'e_total': -100.0 - row / 3, 'n_atoms': len(x),
            'charge': Chem.GetFormalCharge(found),
            'numbers': [a.GetAtomicNum() for a in found.GetAtoms()],
            'x_start': x + 0.1, 'x_final': x,
            'formal_charges': [a.GetFormalCharge()
                               for a in found.GetAtoms()],
            'bonds': [[b.GetBeginAtomIdx(), b.GetEndAtomIdx()]
                      for b in found.GetBonds()],
            'bond_orders': [int(2 * b.GetBondTypeAsDouble())
                            for b in found.GetBonds()]}
    rows[3] = {'status': 4, 'record': 3, 'name': 'bad',
               'reason': 'unparsable'}
    path = tmp_path_factory.mktemp('conversion') / 'x.h5'
    write_campaign(SerialComm(), path, RELAX, 4, MemorySource(RELAX, rows),
                   {'program': 'reopt', 'settings': {'fmax': 0.01}}, {})
    return load(path)


@pytest.mark.parametrize('row', range(3))
def test_an_rdkit_molecule_is_that_of_the_record(
    results: Campaign, row: int,
) -> None:
    from rdkit import Chem
    found = results.molecule(row)
    assert Chem.MolToSmiles(Chem.RemoveHs(found)) \
        == Chem.CanonSmiles(SMILES[row])
    assert np.array_equal(found.GetConformer().GetPositions(),
                          results.positions(row))
    assert found.GetDoubleProp('e_total') == results.table.e_total[row]


def test_a_record_without_structure_is_told(results: Campaign) -> None:
    with pytest.raises(ValueError, match='record 3 has no structure'):
        results.molecule(3)


def test_xarray_has_all_columns_with_their_units(results: Campaign) -> None:
    data = results.dataset()
    assert data.e_total.attrs['units'] == 'eV'
    assert np.array_equal(data.e_total[:3], results.table.e_total[:3])
    assert data.x_final.dims == ('geometry_atom', 'width_3')
    mine = data.x_final[data.geometry_atom_record == 1]
    assert np.array_equal(mine, results.positions(1))
    assert data.sizes['record'] == 4


def test_csv_comes_back_as_it_was(
    results: Campaign, tmp_path: Path,
) -> None:
    path = results.to_csv(tmp_path / 'x.csv')
    back = pandas.read_csv(path, index_col='row', keep_default_na=False,
                           na_values={c: [''] for c in results.table.columns
                                      if results.table[c].dtype == float})
    for name in results.table:
        ours = results.table[name]
        assert back[name].tolist() == ours.tolist() or np.array_equal(
            back[name].to_numpy(float), ours.to_numpy(float),
            equal_nan=True), name


def test_extxyz_comes_back_as_it_was(
    results: Campaign, tmp_path: Path,
) -> None:
    path = results.to_extxyz(tmp_path / 'x.xyz')
    ours = Collection.open([str(path)])
    assert len(ours) == 3
    for row in range(3):
        frame = ase_serial.read(str(path), index=row)
        assert np.abs(frame.positions - results.positions(row)).max() < 1e-9
        assert frame.get_potential_energy() == results.table.e_total[row]
        read = ours.load(row)
        assert read.charge == results.table.charge[row]
        assert read.numbers.tolist() == results.ragged(
            'numbers', row).tolist()
        # the format has no way to write a quote
        assert frame.info['name'] == results.table['name'][row].replace(
            '"', "'")


def test_sdf_comes_back_as_it_was(
    results: Campaign, tmp_path: Path,
) -> None:
    path = results.to_sdf(tmp_path / 'x.sdf', rows=[2, 0])
    ours = Collection.open([str(path)])
    assert len(ours) == 2
    for place, row in enumerate((2, 0)):
        read = ours.load(place)
        assert np.abs(read.positions
                      - results.positions(row)).max() < SDF_TOLERANCE
        assert read.charge == results.table.charge[row]
        assert sorted(map(tuple, read.bonds.tolist())) == sorted(
            map(tuple, results.ragged('bonds', row).tolist()))
        assert float(read.tags['e_total']) == results.table.e_total[row]
        assert read.tags['name'] == results.table['name'][row]
