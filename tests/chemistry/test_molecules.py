"""The molecule table: matching, names, and tables that are wrong."""
from dataclasses import replace

import numpy as np
import pytest

from mpiapp.chemistry.charge import apply_policy
from mpiapp.chemistry.molecules import (
    MoleculeTable, default_name, neutral_formula
)
from mpiapp.records import InputError, Rejection, Structure

HEADER = 'name,r_group,screen_group,smiles\n'


def _table(folder, text):
    path = folder / 'table.csv'
    path.write_text(text)
    return MoleculeTable.read(path)


def _bare(structure: Structure) -> Structure:
    return replace(structure, bonds=np.empty((0, 2), np.int64),
                   orders=np.empty(0, np.int64),
                   formal_charges=np.empty(0, np.int32))


@pytest.mark.parametrize('as_xyz', [False, True])
def test_starts_match_their_rows_in_any_order(library, table_path, as_xyz):
    table = MoleculeTable.read(table_path)
    assert len(table.rows) == 64
    for row in (2, 0, 3, 1):
        structure = library.load(row)
        expected = structure.tags['name']
        structure = _bare(structure) if as_xyz else structure
        match = table.match(structure)
        assert match.name == expected
        assert match.r_group == 'DCV_Th'
        assert match.screen_group == expected.removeprefix('DCV_Th_')
        assert (match.match, match.mseq) == ('structure', -1)


def test_a_right_mseq_is_believed_and_a_wrong_one_corrected(
        library, table_path):
    table = MoleculeTable.read(table_path)
    names = [row.name for row in table.rows]
    structure = library.load(0)
    right = names.index('DCV_Th_H') + 1
    for mseq, expected in ((right, 'mseq'), (1, 'structure'),
                           (999, 'structure')):
        tagged = replace(structure, tags={'mseq': str(mseq)})
        match = table.match(tagged)
        assert (match.name, match.match, match.mseq) == (
            'DCV_Th_H', expected, mseq)


def test_ensembles_of_other_molecules_mismatch(anions, table_path):
    table = MoleculeTable.read(table_path)
    for row in range(len(anions)):
        structure = apply_policy(anions.load(row), 'neutralise',
                                 False).structure
        with pytest.raises(Rejection) as error:
            table.match(structure)
        assert error.value.reason == 'mismatch'
        assert neutral_formula(structure) in error.value.message
        assert 'Pyr_H' in error.value.message
        match = table.match(structure, allow_mismatch=True)
        assert (match.name, match.r_group, match.screen_group, match.match,
                match.mseq) == ('mol_1', '?', '?', 'none', 1)


@pytest.mark.parametrize('smiles', [
    'CC(=O)[O-]', 'CC(=O)O', '[O-]C(C)=O'])
def test_anions_match_their_neutral_form(embed, tmp_path, smiles):
    table = _table(tmp_path, HEADER + 'acid,a,b,OC(C)=O\n')
    for structure in (embed(smiles), _bare(embed(smiles))):
        assert table.match(structure).name == 'acid'


def test_a_charged_row_matches_its_ion(embed, tmp_path):
    table = _table(tmp_path, HEADER + 'salt,a,b,C[N+](C)(C)C\n')
    assert table.match(embed('C[N+](C)(C)C')).name == 'salt'


def test_stereo_does_not_matter(embed, tmp_path):
    table = _table(tmp_path, HEADER + 'x,a,b,C[C@H](N)O\n')
    assert table.match(embed('C[C@@H](N)O')).name == 'x'


def test_isomers_do_not_match(embed, tmp_path):
    table = _table(tmp_path, HEADER + 'ether,a,b,COC\n')
    for structure in (embed('CCO'), _bare(embed('CCO'))):
        with pytest.raises(Rejection, match='no row'):
            table.match(structure)


def test_two_rows_of_one_molecule_need_mseq(embed, tmp_path):
    table = _table(tmp_path, HEADER + 'one,a,b,CCO\ntwo,a,b,OCC\n')
    with pytest.raises(Rejection, match='one two'):
        table.match(embed('CCO'))
    tagged = replace(embed('CCO'), tags={'mseq': '2'})
    assert table.match(tagged).name == 'two'


def test_mismatches_without_mseq_are_named_by_record(embed, tmp_path):
    table = _table(tmp_path, HEADER + 'one,a,b,CCO\n')
    stranger = replace(embed('CCN'), record=7)
    assert table.match(stranger, allow_mismatch=True).name == 'mol_7'


def test_a_table_of_names_and_smiles_is_enough(tmp_path):
    row, = _table(tmp_path, 'smiles,name\nCCO,ethanol\n').rows
    assert (row.name, row.r_group, row.screen_group, row.smiles) == (
        'ethanol', '', '', 'CCO')


@pytest.mark.parametrize('text, message', [
    ('', 'no column name'),
    ('name,r_group\n', 'no column smiles'),
    (HEADER, 'no rows'),
    (HEADER + 'a,b,c,CCO\nb,b,c,C(C\n', r'row 2 \(b\)'),
    (HEADER + 'a,b,c,\n', r'row 1 \(a\)'),
    (HEADER + 'a,b,c\n', r'row 1 \(a\)'),
    (HEADER + ',b,c,CCO\n', 'row 1 has no name'),
    (HEADER + 'a,b,c,CCO\na,b,c,CC\n', 'rows 1 and 2'),
    (HEADER + 'a,b,c,"CCO\n', 'cannot be read'),
])
def test_wrong_tables_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as error:
        _table(tmp_path, text)
    assert 'table.csv' in str(error.value)


def test_missing_and_binary_tables_are_refused(tmp_path):
    with pytest.raises(InputError, match='no.csv'):
        MoleculeTable.read(tmp_path / 'no.csv')
    path = tmp_path / 'binary.csv'
    path.write_bytes(bytes(range(256)))
    with pytest.raises(InputError):
        MoleculeTable.read(path)


def test_tables_with_a_byte_order_mark_are_read(tmp_path):
    path = tmp_path / 'table.csv'
    path.write_text(HEADER + 'a,b,c,CCO\n', encoding='utf-8-sig')
    assert MoleculeTable.read(path).rows[0].formula == 'C2H6O'


@pytest.mark.parametrize('title, tags, expected', [
    ('the title', {'name': 'tag'}, 'the title'),
    ('', {'name': ' a  tag ', 'ID': 'id'}, 'a tag'),
    ('  ', {'ID': 'id'}, 'id'),
    ('', {'molname': 'm', 'mseq': '4'}, 'm'),
    ('', {'mseq': '4'}, 'stem_4'),
    ('', {'mseq': 'four'}, 'stem_9'),
    ('', {'mseq': '9' * 5000}, 'stem_9'),
    ('', {}, 'stem_9'),
    ('        -15.19999', {}, 'stem_9'),
    ('-42.1 !CONF12', {}, 'stem_9'),
    (' energy: -15.19999 gnorm: 0.000 xtb: 6.4.0 (8d0f)', {}, 'stem_9'),
    ('Energy = -1.5D+02 kcal/mol', {'ID': 'id'}, 'id'),
    ('E -76.4 Eh', {}, 'stem_9'),
    # numbers of compounds, and words that look like energies
    ('2244', {}, '2244'),
    ('CHEMBL1.5', {}, 'CHEMBL1.5'),
    ('E1.5', {}, 'E1.5'),
    ('-1.5 isomer', {}, '-1.5 isomer'),
])
def test_names_without_a_table(embed, title, tags, expected):
    structure = replace(embed('C'), record=9, title=title, tags=tags)
    assert default_name(structure, 'stem') == expected
