"""SD files: what is read, what is rejected, and what is written."""
from dataclasses import replace

import numpy as np
import pytest

from mpiapp.records import InputError, Rejection, Structure
from mpiapp.structures import index_file, load, write_sdf_record
from mpiapp.structures.sdf import parse

#: half a unit of the last digit: V2000 has four, V3000 is written with six
V2000_ROUNDING = 0.5e-4 + 1e-9
V3000_ROUNDING = 0.5e-6 + 1e-9


def _rejection(text: str | bytes) -> Rejection:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(Rejection) as error:
        parse(data)
    return error.value


@pytest.mark.parametrize('name, n_bonds', [
    ('moe_binaph_H_10.sdf', 117), ('moe_et_5.sdf', 125)])
def test_moe_ensembles_are_anions(dimers, name, n_bonds):
    index = index_file(dimers / name)
    for record in range(len(index)):
        structure = load(index, record)
        assert structure.charge == structure.formal_charges.sum() == -1
        assert structure.bonds.shape == (n_bonds, 2)
        assert structure.orders.shape == (n_bonds,)
        assert structure.unpaired == 0
        assert structure.tags['mseq'] == '1'
        assert list(structure.tags) == [
            'mseq', 'E', 'dE', 'chi', 'rgyr', 'glob', 'ecc']
        assert not structure.flat


def test_values_of_the_first_moe_record(dimers):
    structure = load(index_file(dimers / 'moe_binaph_H_10.sdf'), 0)
    assert structure.positions[0].tolist() == [1.972, -5.134, -2.231]
    assert structure.tags['E'] == '-80.878693'
    assert structure.numbers[:3].tolist() == [6, 8, 6]
    assert structure.title == ''


def test_library_starts_are_neutral(dimers):
    index = index_file(dimers / 'library_sample.sdf')
    names = [load(index, i).tags['name'] for i in range(len(index))]
    assert names == ['DCV_Th_H', 'DCV_Th_F', 'DCV_Th_CN', 'DCV_Th_Me']
    assert [load(index, i).charge for i in range(len(index))] == [0] * 4


def test_aromatic_bonds_are_order_one_and_a_half(water):
    text = water.replace('  1  2  1', '  1  2  4')
    assert parse(text.encode()).orders.tolist() == [3, 2]


def test_tags_are_kept_exactly(water):
    text = water.replace(
        '>  <E>\n-1.5\n\n',
        '>  <E>\n -1.5 \n\n'
        '> 1 <lines> (7)\nfirst\n\nthird\n> no header\n\n\n'
        '>  <empty>\n\n'
        '>  <a<b>c>\nodd\n\n'
        '> no name\nlost\n\n'
        '>  <last>\nlast\n')
    assert parse(text.encode()).tags == {
        'E': ' -1.5 ', 'lines': 'first\n\nthird\n> no header', 'empty': '',
        'a<b>c': 'odd', 'last': 'last'}


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'latin-1'])
def test_text_of_any_encoding_is_read(water, encoding):
    text = water.replace('water', 'Wässer').replace('-1.5', '20 °C')
    structure = parse(text.encode(encoding))
    assert structure.title == 'Wässer'
    assert structure.tags == {'E': '20 °C'}


def test_text_in_the_second_line_does_not_shift_the_dimension(water):
    text = water.replace('  test              3D', '  tést              2D')
    flat = text.replace('0.1173', '0.0000').replace('-0.4692', ' 0.0000')
    assert parse(flat.encode()).flat
    assert not parse(text.encode()).flat


def test_isotopes_of_hydrogen_are_hydrogen(water):
    text = water.replace(' H ', ' D ', 1)
    assert parse(text.encode()).numbers.tolist() == [8, 1, 1]


@pytest.mark.parametrize('old, new, message', [
    ('  3  2  0', '  4  2  0', 'claims 6'),
    ('  3  2  0', '  3  3  0', 'claims 6'),
    ('  3  2  0', '  2  3  0', ''),
    ('  3  2  0', '999999  0', 'claims 1998'),
    ('  3  2  0', ' -1  2  0', 'counts line'),
    ('  3  2  0', 'abc  2  0', 'counts line'),
    ('M  END\n', '', 'M  END'),
    (' O ', ' A ', 'query'),
    (' O ', ' R#', 'R group'),
    (' O ', ' * ', 'dummy'),
    (' O ', ' Qq', ''),
    ('  1  2  1', '  1  2  8', 'bond 1'),
    ('  1  2  1', '  1  2  0', 'bond 1'),
    ('  1  2  1', '  1  9  1', ''),
    ('  1  2  1', '  1  2  3', 'more bonds'),
])
def test_wrong_records_are_unparsable(water, old, new, message):
    assert old in water
    rejection = _rejection(water.replace(old, new))
    assert rejection.reason == 'unparsable'
    assert message in rejection.message
    assert '\n' not in rejection.message


@pytest.mark.parametrize('text', ['       nan', '      -inf', '**********'])
def test_lost_coordinates_are_named_so(water, text):
    broken = water.replace('    0.0000    0.7572', f'    0.0000{text}')
    assert _rejection(broken).reason == 'no_coordinates'


def test_a_record_cut_anywhere_is_read_or_rejected(water, dimers):
    index = index_file(dimers / 'moe_binaph_H_10.sdf')
    end = water.index('M  END') + len('M  END')
    for cut in range(end):
        assert _rejection(water[:cut]).reason == 'unparsable'
    assert parse(water[:end].encode()).numbers.tolist() == [8, 1, 1]
    with open(index.path, 'rb') as source:
        record = source.read(int(index.sizes[0]))
    for cut in range(0, record.index(b'M  END'), 97):
        assert _rejection(record[:cut]).reason == 'unparsable'


def test_wrong_v3000_counts_are_unparsable(dimers):
    text = (dimers / 'moe_et_5.sdf').read_text().split('$$$$')[0]
    for counts in ('117 124', '116 125', '999999999 125', '-1 125', 'x y',
                   '² 125', '9' * 5000 + ' 1'):
        broken = text.replace('COUNTS 117 125', f'COUNTS {counts}')
        assert _rejection(broken).reason == 'unparsable'


def test_v3000_continuation_lines_are_joined(dimers):
    text = (dimers / 'moe_et_5.sdf').read_text().split('$$$$')[0]
    line = next(x for x in text.split('\n') if x.startswith('M  V30 1 '))
    words = line.removeprefix('M  V30 ').split()
    split = ('M  V30 ' + ' '.join(words[:3]) + ' -\nM  V30 '
             + ' '.join(words[3:]))
    broken = parse(text.replace(line, split).encode())
    whole = parse(text.encode())
    assert np.array_equal(broken.positions, whole.positions)


EXPECTED = {
    'Issue3482695.sdf': [0],
    'missingCR.sdf': [1],
    'hs_crash.mol': [48],
    'zinc.leads.3.sdf': [14, 22, 12],
    '1a9u.sdf': [27],
    'github3553.sdf': [12] * 4,
    'good_bad_good_bad.sdf': [6, 'unparsable', 6, 'unparsable'],
    'sdErrors1.sdf': [5],
    'sdErrors3.sdf': ['unparsable'],
    'SkipLines.sdf': ['unparsable', 1],
    'BlankPropLines.sdf': [19],
    'list-query.mol': ['unparsable'],
    'query_A.mol': ['unparsable'],
    'bond-query.mol': ['unparsable'],
    'rgroups1.mol': ['unparsable'],
    'chebi_57262.v3k.mol': ['unparsable'],
    'strictLax2.sdf': [5, 6],
    'v3k.crash1.mol': [7],
    'precision.v3k.mol': [7],
}


@pytest.mark.parametrize('name', EXPECTED)
def test_odd_files_keep_their_numbering(bad_inputs, name):
    index = index_file(bad_inputs / name)
    found: list[int | str] = []
    for record in range(len(index)):
        try:
            structure = load(index, record)
            assert structure.record == record
            found.append(len(structure.numbers))
        except Rejection as rejection:
            found.append(rejection.reason)
    assert found == EXPECTED[name]


@pytest.mark.parametrize('name', ['empty.sdf', 'empty2.sdf'])
def test_empty_files_are_no_input(bad_inputs, name):
    with pytest.raises(InputError):
        index_file(bad_inputs / name)


def test_details_of_odd_files(bad_inputs):
    tags = load(index_file(bad_inputs / 'github3553.sdf'), 0).tags
    assert tags['boiling.point.predicted'].startswith('123.4±56.7')
    assert load(index_file(bad_inputs / 'zinc.leads.3.sdf'), 2).flat
    assert load(index_file(bad_inputs / '1a9u.sdf'), 0).title == '1a9u_1'
    radical = load(index_file(bad_inputs / 'radical.mol'), 0)
    assert radical.unpaired == 1
    assert load(index_file(bad_inputs / 'precision.v3k.mol'), 0).charge == -1


def test_rdkit_says_nothing_on_the_terminal(bad_inputs, capfd):
    for name in ('SkipLines.sdf', 'good_bad_good_bad.sdf', 'Cubane.sdf'):
        index = index_file(bad_inputs / name)
        for record in range(len(index)):
            try:
                load(index, record)
            except Rejection as rejection:
                assert rejection.message
    captured = capfd.readouterr()
    assert captured.out == captured.err == ''


def _round_trip(structure: Structure, tmp_path) -> Structure:
    path = tmp_path / 'written.sdf'
    path.write_text(write_sdf_record(structure, structure.positions,
                                     structure.tags))
    return load(index_file(path), 0)


@pytest.mark.parametrize('name', [
    'library_sample.sdf', 'moe_binaph_H_10.sdf', 'moe_et_5.sdf'])
def test_written_records_read_the_same(dimers, tmp_path, name):
    before = load(index_file(dimers / name), 2)
    after = _round_trip(before, tmp_path)
    assert after.title == before.title
    assert list(after.tags.items()) == list(before.tags.items())
    for field in ('numbers', 'bonds', 'orders', 'formal_charges'):
        assert np.array_equal(getattr(after, field), getattr(before, field))
    assert np.allclose(after.positions, before.positions, rtol=0,
                       atol=V2000_ROUNDING)


def test_written_records_are_the_same_to_rdkit(dimers):
    from rdkit import Chem

    structure = load(index_file(dimers / 'moe_et_5.sdf'), 0)
    text = write_sdf_record(structure, structure.positions, {'a': 'b'})
    assert text == write_sdf_record(structure, structure.positions,
                                    {'a': 'b'})
    original = (dimers / 'moe_et_5.sdf').read_text().split('$$$$')[0]
    smiles = [Chem.MolToSmiles(Chem.MolFromMolBlock(t, removeHs=False))
              for t in (original, text)]
    assert smiles[0] == smiles[1]


def test_large_records_are_written_as_v3000(tmp_path):
    n_atoms = 1001
    positions = np.zeros((n_atoms, 3))
    positions[:, 0] = 3.0 * np.arange(n_atoms) + 1 / 3
    bonds = np.array([[0, 1]])
    charges = np.zeros(n_atoms, np.int32)
    charges[7] = 1
    before = Structure(
        0, 0, 0, np.full(n_atoms, 11, np.int32), positions, charge=1,
        formal_charges=charges, bonds=bonds, orders=np.array([2]))
    after = _round_trip(before, tmp_path)
    assert after.charge == 1
    assert np.array_equal(after.formal_charges, charges)
    assert np.array_equal(after.bonds, bonds)
    assert np.allclose(after.positions, positions, rtol=0,
                       atol=V3000_ROUNDING)


def test_coordinates_beyond_the_columns_are_written_as_v3000(tmp_path):
    positions = np.array([[0, 0, -12345.678901], [0, 0, -12344.9]])
    before = Structure(
        0, 0, 0, np.array([1, 1], np.int32), positions,
        bonds=np.array([[0, 1]]), orders=np.array([2]))
    assert np.allclose(_round_trip(before, tmp_path).positions, positions,
                       rtol=0, atol=V3000_ROUNDING)


def test_a_radical_survives_writing(tmp_path):
    positions = np.array([[0, 0, 0], [1.08, 0, 0.01], [-.54, .935, 0],
                          [-.54, -.935, 0]])
    before = Structure(
        0, 0, 0, np.array([6, 1, 1, 1], np.int32), positions, unpaired=1,
        formal_charges=np.zeros(4, np.int32),
        bonds=np.array([[0, 1], [0, 2], [0, 3]]), orders=np.full(3, 2))
    assert _round_trip(before, tmp_path).unpaired == 1


def test_perceived_bonds_are_for_others_only(bad_inputs, tmp_path):
    from rdkit import Chem

    before = load(index_file(bad_inputs / 'acetate.xyz'), 0)
    after = _round_trip(before, tmp_path)
    assert len(after.bonds) == len(after.orders) == 0
    assert after.charge == before.charge == -1
    text = (tmp_path / 'written.sdf').read_text()
    molecule = Chem.MolFromMolBlock(text, removeHs=False)
    assert molecule.GetNumBonds() == 6
    assert Chem.AddHs(molecule).GetNumAtoms() == len(before.numbers)


def test_no_tag_can_end_the_record(water, tmp_path):
    structure = replace(parse(water.encode()), tags={'x': 'a\n$$$$\nb'})
    path = tmp_path / 'a.sdf'
    path.write_text(write_sdf_record(structure, structure.positions,
                                     structure.tags) * 2)
    assert len(index_file(path)) == 2


IONS = {
    'ammonium': (1, 0, 'N 0 0 0;H .6 .6 .6;H -.6 -.6 .6;H -.6 .6 -.6;'
                 'H .6 -.6 -.6'),
    'tetrafluoroborate': (-1, 0, 'B 0 0 0;F .8 .8 .8;F -.8 -.8 .8;'
                          'F -.8 .8 -.8;F .8 -.8 -.8'),
    'methyl': (0, 1, 'C 0 0 0;H 1.08 0 0;H -.54 .935 0;H -.54 -.935 0'),
}


@pytest.mark.parametrize('name', IONS)
def test_charge_and_spin_survive_where_bonds_are_by_distance(name, tmp_path):
    """As read from xyz, and as restored from a result file."""
    from mpiapp.bonding import bond_list
    from mpiapp.chemistry.descriptors import stored_structure

    charge, unpaired, text = IONS[name]
    path = tmp_path / 'a.xyz'
    atoms = text.split(';')
    path.write_text('\n'.join([
        str(len(atoms)), f'charge={charge} unpaired={unpaired}', *atoms, '']))
    read = load(index_file(path), 0)
    bonds = bond_list(read.numbers, read.positions)
    stored = stored_structure({
        'file_number': 0, 'record': 0, 'numbers': read.numbers,
        'x_start': read.positions, 'charge': charge, 'unpaired': unpaired,
        'formal_charges': np.zeros(len(atoms)), 'bonds': bonds,
        'bond_orders': np.zeros(len(bonds)), 'name': name})
    for before in (read, stored):
        after = _round_trip(before, tmp_path)
        assert (after.charge, after.unpaired) == (charge, unpaired)
        assert len(after.bonds) == len(after.orders) == 0
        text = (tmp_path / 'written.sdf').read_text()
        assert len(bonds) == len(atoms) - 1
        assert text.splitlines()[3].startswith(
            f'{len(atoms):3d}{len(bonds):3d}')


def test_an_ion_pair_without_bonds_stays_one(tmp_path):
    before = Structure(
        0, 0, 0, np.array([11, 17], np.int32),
        np.array([[0, 0, 0], [2.3, 0, 0]]),
        formal_charges=np.array([1, -1], np.int32))
    after = _round_trip(before, tmp_path)
    assert after.formal_charges.tolist() == [1, -1] and not len(after.bonds)


def test_dative_bonds_stay_dative(tmp_path):
    from rdkit import Chem
    from rdkit.Chem import AllChem

    molecule = Chem.AddHs(Chem.MolFromSmiles('N->[Zn+2]<-N'))
    AllChem.Compute2DCoords(molecule)
    before = parse(Chem.MolToV3KMolBlock(molecule).encode())
    assert sorted(before.orders.tolist()) == [1, 1, 2, 2, 2, 2, 2, 2]
    after = _round_trip(before, tmp_path)
    assert after.orders.tolist() == before.orders.tolist()
    assert after.bonds.tolist() == before.bonds.tolist()
    assert after.charge == 2 and after.unpaired == before.unpaired == 0
