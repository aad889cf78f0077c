"""CSV and SD files made from a campaign file."""
from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpiapp.chemistry.charge import apply_policy
from mpiapp.errors import InputError
from mpiapp.parallel.serial import SerialComm
from mpiapp.records import RELAX, Column, Schema
from mpiapp.store.campaign import write_campaign
from mpiapp.store.export import CONFORMER, write_tables
from mpiapp.store.sources import MemorySource
from mpiapp.store.summary_table import COUNTS, HEADER
from mpiapp.structures import Collection
from mpiapp.units import KCAL_PER_EV

#: what six decimals in a table leave of a number
ROUNDING = 1e-6
#: four decimals of a V2000 coordinate, angstrom
SDF_ROUNDING = 6e-5
N_RECORDS = 5


@pytest.fixture(scope='module')
def collection() -> Collection:
    """Return five real anions of 117 atoms."""
    data = Path(__file__).parents[2] / 'data' / 'dimers'
    return Collection.open([data / 'moe_et_5.sdf'])


def made_rows(collection: Collection) -> dict[int, dict[str, Any]]:
    """Return rows of each kind: 0, 1 converged, 2 broken, 3 rejected.

    Record 0 was neutralised, so that it has an atom more than the input.
    Record 4 was skipped.
    """
    rows: dict[int, dict[str, Any]] = {}
    for i in range(N_RECORDS):
        structure = collection.load(i)
        if i == 0:
            structure = apply_policy(structure, 'neutralise', False).structure
        rows[i] = {
            'record': i, 'mseq': 1, 'name': 'ä, "b"' if i < 3 else 'other',
            'r_group': 'Pyr', 'status': (1, 1, 5, 4, 6)[i], 'steps': 10 * i,
            'reason': 'bonds_changed' if i == 2 else '',
            'unpaired': i % 2,
            'n_added_hydrogens': int(i == 0), 'e_total': -1000.0 - i,
            'rmsd_start_final': 0.5 * i, 'moe_energy_kcal': -38.442741,
        }
        if i < 3:
            rows[i].update(numbers=structure.numbers,
                           x_start=structure.positions,
                           x_final=structure.positions + 0.25)
        else:
            rows[i]['e_total'] = np.nan
    return rows


@pytest.fixture(scope='module')
def tables(
    collection: Collection, tmp_path_factory: pytest.TempPathFactory,
) -> list[Path]:
    """Return the paths of the exported files."""
    folder = tmp_path_factory.mktemp('export')
    result = folder / 'x.h5'
    rows = made_rows(collection)
    write_campaign(SerialComm(), result, RELAX, N_RECORDS,
                   MemorySource(RELAX, rows), {}, {})
    return write_tables(result, folder / 'x', collection)


def read(path: Path) -> list[dict[str, str]]:
    """Return the lines of a table."""
    with open(path, encoding='utf-8-sig', newline='') as file:
        return list(csv.DictReader(file))


def test_files_have_their_names_and_byte_order_mark(
    tables: list[Path],
) -> None:
    assert [p.name for p in tables] == [
        'x_all_conformers.csv', 'x_summary.csv', 'x_final.sdf']
    assert all(p.read_bytes().startswith(b'\xef\xbb\xbf')
               for p in tables[:2])
    assert sorted(p.name for p in tables[0].parent.iterdir()) == sorted(
        ['x.h5', *(p.name for p in tables)])


def test_conformer_table_has_a_line_for_each_record_not_skipped(
    tables: list[Path],
) -> None:
    lines = read(tables[0])
    assert list(lines[0]) == [c[0] for c in CONFORMER]
    assert [line['conformer_id'] for line in lines] == list('0123')
    assert [line['status'] for line in lines] == [
        'converged', 'converged', 'broken', 'rejected']
    assert [line['converged'] for line in lines] == [
        'True', 'True', 'False', 'False']
    assert lines[0]['name'] == 'ä, "b"'
    assert [line['unpaired'] for line in lines] == list('0101')
    assert lines[0]['moe_energy_kcal'] == '-38.442741'
    assert lines[3]['e_total_eV'] == lines[3]['mace_energy_kcal'] == ''
    assert float(lines[1]['mace_energy_kcal']) == pytest.approx(
        -1001.0 * KCAL_PER_EV, abs=ROUNDING)


def test_relative_energies_are_over_converged_records_of_a_name(
    tables: list[Path],
) -> None:
    first, second, broken, rejected = (
        line['rel_energy_kcal'] for line in read(tables[0]))
    assert float(first) == pytest.approx(KCAL_PER_EV, abs=ROUNDING)
    assert float(second) == 0.0
    assert broken == rejected == ''


def test_summary_counts_and_means_leave_out_what_failed(
    tables: list[Path],
) -> None:
    lines = read(tables[1])
    assert tuple(lines[0]) == HEADER
    first, other = lines
    counted = ('n_conformers', *COUNTS)
    assert [first[n] for n in counted] == ['3', '2', '0', '1', '0', '1', '']
    assert [other[n] for n in counted] == ['1', '0', '0', '0', '1', '1', '']
    names = ('mean_energy', 'min_energy_kcal', 'energy_spread_kcal',
             'mean_steps', 'mean_rmsd_A')
    assert [float(first[n]) for n in names] == pytest.approx([
        -1000.5 * KCAL_PER_EV, -1001.0 * KCAL_PER_EV, KCAL_PER_EV, 5.0, 0.25],
        abs=ROUNDING)
    assert [other[n] for n in names] == [''] * 5


def test_final_structures_keep_tags_and_added_hydrogens(
    tables: list[Path], collection: Collection,
) -> None:
    final = Collection.open([tables[2]])
    assert len(final) == 3
    for i in range(3):
        before, after = collection.load(i), final.load(i)
        n = len(before.numbers)
        assert len(after.numbers) == n + (i == 0)
        np.testing.assert_allclose(
            after.positions[:n], before.positions + 0.25, atol=SDF_ROUNDING)
        kept = list(before.tags)
        assert list(after.tags)[:len(kept)] == kept
        assert {k: after.tags[k] for k in kept} == dict(before.tags)
        assert float(after.tags['mpiapp_energy_eV']) == -1000.0 - i
    assert final.load(0).charge == 0 and final.load(1).charge == -1
    assert final.load(2).tags['mpiapp_status'] == 'broken'
    assert final.load(2).tags['mpiapp_reason'] == 'bonds_changed'


def test_other_input_than_the_results_is_refused(
    tables: list[Path], collection: Collection, tmp_path: Path,
) -> None:
    result = tables[0].with_name('x.h5')
    text = collection.files[0].path
    double = Collection.open([text, text])
    with pytest.raises(InputError, match='5 records, the input 10'):
        write_tables(result, tmp_path / 'y', double)


def test_input_that_is_gone_or_changed_leaves_the_stored_structures(
    tables: list[Path], collection: Collection, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / 'lost.sdf'
    text = Path(collection.files[0].path).read_text()
    path.write_text(text)
    mine = Collection.open([path])
    cut = text.index('$$$$') + 5
    for left, n_tagged in ((text[:cut], 1), (text.replace(' P ', ' S '), 0),
                           (None, 0)):
        if left is None:
            path.unlink()
        else:
            path.write_text(left)
        caplog.clear()
        final = Collection.open([write_tables(
            tables[0].with_name('x.h5'), tmp_path / 'y', mine)[2]])
        assert len(final) == 3
        assert [len(final.load(i).numbers) for i in range(3)] == [
            118, 117, 117]
        assert [final.load(i).title for i in range(3)][n_tagged:] == [
            'ä, "b"'] * (3 - n_tagged)
        assert sum('E' in final.load(i).tags for i in range(3)) == n_tagged
        assert sum(str(path) in r.message for r in caplog.records) == 1


def test_a_result_of_another_program_is_refused(
    tmp_path: Path, collection: Collection,
) -> None:
    schema = Schema((Column('status', 'results', 'i4', '1', '', 0),
                     Column('e_total', 'energies', 'f8', 'eV', ''),
                     Column('name', 'records', 'S8', '', '')))
    write_campaign(SerialComm(), tmp_path / 'x.h5', schema, N_RECORDS,
                   MemorySource(schema, {}), {}, {})
    with pytest.raises(InputError, match='no columns .*moe_energy_kcal'):
        write_tables(tmp_path / 'x.h5', tmp_path / 'x', collection)
