"""Tables of molecules from result files that are known in full."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mpiapp.chemistry.boltzmann import GAS_CONSTANT
from mpiapp.records import RELAX
from mpiapp.store.export import worked_on
from mpiapp.store.reader import Campaign
from mpiapp.units import KCAL_PER_EV
from mpiapp.workers import ensembles
from mpiapp.workers.ensembles import descriptor_columns, settings_from
from mpiapp.workers.molecule import EnsembleSettings
from tests.chemistry.ensemble_molecules import mirrored
from tests.workers.campaigns import META, conformers, record, turned, write

#: what the specification asks of the sum of weights
EXACT = 1e-12
#: a difference of energies of 5000 eV, in kT
ROUNDING = 1e-9
RT = GAS_CONSTANT * 298.0  # kcal/mol


def molecule(campaign: Campaign, i: int = 0) -> dict[str, Any]:
    return dict(campaign.ensembles['molecules'].iloc[i])


def at(campaign: Campaign, i: int = 0, t: float = 298.0) -> dict[str, Any]:
    """Return the line of the i-th molecule at a temperature."""
    table = campaign.ensembles['boltzmann']
    return dict(table[table.temperature == t].iloc[i])


def test_duplicates_are_merged_before_anything_is_weighed(
    tmp_path: Path,
) -> None:
    one, two = conformers(2)
    campaign = write(tmp_path / 'x.h5', [
        record(0, one), record(1, two, kcal=RT),
        record(2, turned(one), kcal=0.01), record(3, turned(one, 2))])
    line = molecule(campaign)
    assert (line['n'], line['n_unique'], line['n_records']) == (4, 2, 4)
    records = campaign.ensembles['records']
    assert records['duplicate_of'].tolist() == [-1, -1, 0, 0]
    assert records['duplicate_rmsd'].isna().tolist() == [
        True, True, False, False]
    weight = records['boltz_weight_298K'].to_numpy()
    assert weight == pytest.approx(
        [1 / (1 + 1 / np.e), 1 / (1 + np.e), 0, 0], abs=ROUNDING)
    assert abs(at(campaign)['weight_sum'] - 1) < EXACT
    assert at(campaign)['rel_energy'] == pytest.approx(
        RT / (1 + np.e), abs=ROUNDING)


def test_without_the_merging_a_conformer_would_count_twice(
    tmp_path: Path,
) -> None:
    one, two = conformers(2)
    rows = [record(0, one), record(1, two), record(2, turned(one))]
    apart = write(tmp_path / 'x.h5', rows, EnsembleSettings(dedupe_rmsd=0.0))
    assert apart.ensembles['records']['boltz_weight_298K'].tolist() == [
        pytest.approx(1 / 3, abs=ROUNDING)] * 3
    merged = write(tmp_path / 'y.h5', rows)
    assert merged.ensembles['records']['boltz_weight_298K'].tolist() == [
        pytest.approx(0.5, abs=ROUNDING)] * 2 + [0.0]


def test_descriptors_are_averaged_with_spread_and_change(
    tmp_path: Path,
) -> None:
    one, two = conformers(2)
    campaign = write(tmp_path / 'x.h5', [
        record(0, one, plane_angle=10.0, classification='strong', dark=1),
        record(1, two, kcal=RT, plane_angle=40.0,
               classification='monomer', dark=0)])
    line, w = at(campaign), 1 / (1 + 1 / np.e)
    assert line['plane_angle'] == pytest.approx(40 - 30 * w, abs=1e-6)
    for name in ('frac_strong', 'frac_excimer', 'frac_dark'):
        assert line[name] == pytest.approx(w, abs=ROUNDING)
    assert line['frac_weak'] == 0
    assert 0 < line['plane_angle_spread'] < 30
    assert 0 < line['frac_excimer_change'] < 0.5
    assert at(campaign, t=200.0)['frac_strong'] > w
    features = campaign.ensembles['features'].iloc[0]
    assert features['plane_angle_mean'] == 25.0
    assert features['frac_any'] == 0.5


def test_it_is_told_how_much_weight_has_a_distance(tmp_path: Path) -> None:
    one, two, three = conformers(3)
    campaign = write(tmp_path / 'x.h5', [
        record(0, one, vertical=3.5, classification='monomer'),
        record(1, two, vertical=np.nan, classification='monomer'),
        record(2, three, classification='none')])
    line = at(campaign)
    assert line['vertical'] == pytest.approx(3.5, abs=ROUNDING)
    assert line['frac_vertical'] == pytest.approx(0.5, abs=ROUNDING)


def test_angles_that_go_round_are_not_averaged() -> None:
    names = {c.name for c in descriptor_columns(RELAX)}
    assert {'plane_angle', 'twist', 'compat_overlap'} <= names
    assert not [n for n in names if 'dihedral' in n or 'bridge' in n
                or n.endswith('_start')]


def test_one_conformer_is_a_molecule(tmp_path: Path) -> None:
    campaign = write(tmp_path / 'x.h5', [
        record(0, conformers(1)[0], plane_angle=5.0)])
    line = at(campaign)
    assert (line['n'], line['n_unique'], line['weight_sum']) == (1, 1, 1)
    assert line['n_eff'] == 1 and line['plane_angle'] == 5
    # one draw says nothing of others
    assert np.isnan(line['plane_angle_spread'])
    assert line['plane_angle_change'] == 0
    # the original had no line for it
    assert len(campaign.ensembles['compat']) == 0


def test_equal_energies_have_equal_weights(tmp_path: Path) -> None:
    campaign = write(tmp_path / 'x.h5', [
        record(i, c) for i, c in enumerate(conformers(5, 'CCCCCCCCO'))])
    line = at(campaign)
    assert (line['n'], line['n_unique']) == (5, 5)
    assert line['n_eff'] == pytest.approx(5, abs=ROUNDING)


def test_energies_that_are_no_numbers_are_left_out_and_told(
    tmp_path: Path,
) -> None:
    one, two, three = conformers(3)
    campaign = write(tmp_path / 'x.h5', [
        record(0, one, e_total=np.nan), record(1, two),
        record(2, three, e_total=np.inf)])
    line = molecule(campaign)
    assert (line['n'], line['n_converged']) == (1, 3)
    assert line['note'] == '2 without energy or geometry'
    weight = campaign.ensembles['records']['boltz_weight_298K']
    assert weight.isna().tolist() == [True, False, True]


@pytest.mark.parametrize('status, reason', [
    (3, 'calculator_error'), (4, 'mismatch'), (5, 'exploded'),
    (2, 'step_limit')])
def test_a_molecule_of_which_all_failed_says_so(
    tmp_path: Path, status: int, reason: str,
) -> None:
    bad = [record(i, c, 'bad', status=status, reason=reason)
           for i, c in enumerate(conformers(3))]
    good = record(3, conformers(1, 'CCO')[0], 'good')
    campaign = write(tmp_path / 'x.h5', [*bad, good])
    line = molecule(campaign)
    assert line['name'] == 'bad' and line['n'] == 0
    assert line['note'] == f'no converged conformer (3 {reason})'
    assert np.isnan(line['e_min'])
    assert at(campaign)['weight_sum'] == 0
    assert np.isnan(at(campaign)['rel_energy'])
    assert molecule(campaign, 1)['n'] == 1


def test_a_campaign_without_any_result_has_tables(tmp_path: Path) -> None:
    campaign = write(tmp_path / 'x.h5', [
        record(i, None, f'x_{i}', status=4, reason='unparsable',
               e_total=np.nan) for i in range(2)])
    assert campaign.ensembles['molecules']['n'].tolist() == [0, 0]
    empty = write(tmp_path / 'y.h5', [], n_records=3)
    assert len(empty.ensembles['molecules']) == 0
    assert empty.ensemble_settings['n_pending'] == 3
    assert len(empty.ensembles['records']) == 3


def test_unconverged_records_take_part_on_request(tmp_path: Path) -> None:
    one, two = conformers(2)
    rows = [record(0, one), record(1, two, status=2, reason='step_limit')]
    assert molecule(write(tmp_path / 'x.h5', rows))['n'] == 1
    asked = EnsembleSettings(include_unconverged=True)
    assert molecule(write(tmp_path / 'y.h5', rows, asked))['n'] == 2


def test_charge_states_have_tables_of_their_own(tmp_path: Path) -> None:
    one, two, three = conformers(3)
    campaign = write(tmp_path / 'x.h5', [
        record(0, one, charge=-1), record(1, two, kcal=-9.0),
        record(2, three, charge=-1)])
    table = campaign.ensembles['molecules']
    assert table['charge'].tolist() == [-1, 0]
    assert table['n'].tolist() == [2, 1]
    assert campaign.ensembles['records']['molecule'].tolist() == [0, 1, 0]


def test_relative_energies_are_within_a_molecule(tmp_path: Path) -> None:
    one, two = conformers(2)
    campaign = write(tmp_path / 'x.h5', [
        record(0, one, charge=-1), record(1, two, kcal=-9.0),
        record(2, two, kcal=2.0, charge=-1)])
    kcal = worked_on(campaign)['rel_energy'] * KCAL_PER_EV
    assert kcal.to_numpy() == pytest.approx([0, 0, 2], abs=1e-6)


def test_without_ensembles_molecules_are_told_apart_by_the_same_rules(
    tmp_path: Path,
) -> None:
    ether, alcohol = (conformers(1, s)[0] for s in ('CCOC', 'CCCO'))
    untitled = [record(i, c, f'a_{i}', kcal=i, mseq=-1)
                for i, c in enumerate(conformers(2))]
    rows = [*untitled, record(2, alcohol, kcal=-300.0),
            record(3, ether, kcal=-100.0),
            record(4, turned(alcohol), kcal=-297.0),
            record(5, alcohol, kcal=-500.0, charge=-1),
            record(6, None, status=4, e_total=np.nan)]
    grouped = write(tmp_path / 'x.h5', rows)
    bare = write(tmp_path / 'y.h5', rows, ensembles=False)
    assert not bare.ensembles
    for campaign in (grouped, bare):
        table = worked_on(campaign)
        assert table['rel_energy'].to_numpy() * KCAL_PER_EV == pytest.approx(
            [0, 1, 0, 0, 3, 0, np.nan], abs=1e-6, nan_ok=True)
        assert len(set(table['molecule'][:6])) == 4


def test_isomers_of_one_name_are_not_mixed(tmp_path: Path) -> None:
    campaign = write(tmp_path / 'x.h5', [
        record(0, conformers(1, 'CCCO')[0]),
        record(1, conformers(1, 'CCOC')[0]),
        record(2, turned(conformers(1, 'CCCO')[0]))])
    assert campaign.ensembles['molecules']['n'].tolist() == [2, 1]
    assert campaign.ensembles['molecules']['n_unique'].tolist() == [1, 1]


def test_bonds_are_found_where_the_file_has_none(tmp_path: Path) -> None:
    one = conformers(1)[0]
    bare = {'bonds': np.empty((0, 2)), 'bond_orders': np.empty(0)}
    campaign = write(tmp_path / 'x.h5', [
        record(0, one), record(1, turned(one), **bare)])
    assert campaign.ensembles['records']['duplicate_of'].tolist() == [-1, 0]


def test_records_named_by_number_are_one_molecule(tmp_path: Path) -> None:
    campaign = write(tmp_path / 'x.h5', [
        record(i, c, f'a_{i}', mseq=-1)
        for i, c in enumerate(conformers(3))])
    assert molecule(campaign)['name'] == 'a_0'
    assert molecule(campaign)['n'] == 3


@pytest.mark.parametrize('group_by, expected', [('name', 3), ('graph', 0)])
def test_names_that_may_number_conformers_are_counted(
    tmp_path: Path, group_by: str, expected: int,
) -> None:
    rows = [record(i, c, f'frame {i}') for i, c in enumerate(conformers(3))]
    rows += [record(3, conformers(1, 'CCO')[0], 'alone'),
             record(4, conformers(1)[0], 'ion', charge=-1),
             record(5, None, 'none', status=4, e_total=np.nan)]
    campaign = write(tmp_path / 'x.h5', rows,
                     EnsembleSettings(group_by=group_by))
    assert campaign.ensemble_settings['n_alike'] == expected


def test_a_long_file_name_does_not_part_its_records(tmp_path: Path) -> None:
    """Names of 97 bytes are cut in the file."""
    stem = 'b' * 94
    meta = META | {'inputs': [{'path': f'{stem}.xyz'}]}
    campaign = write(tmp_path / 'x.h5', [
        record(i, c, f'{stem}_{i}', mseq=-1)
        for i, c in zip((8, 9, 10, 11), conformers(4), strict=True)],
        meta=meta)
    assert campaign.ensembles['molecules']['n'].tolist() == [4]


def test_mixed_stereoisomers_are_told_or_told_apart(tmp_path: Path) -> None:
    one = conformers(1, 'C[C@H](O)CC(F)Cl')[0]
    rows = [record(0, one, cip='2R'), record(1, mirrored(one), cip='2S')]
    together = write(tmp_path / 'x.h5', rows)
    assert molecule(together)['n_cip'] == 2
    assert molecule(together)['note'] == '2 patterns of CIP labels'
    apart = write(tmp_path / 'y.h5', rows, EnsembleSettings(
        group_by='stereo'))
    assert apart.ensembles['molecules']['n'].tolist() == [1, 1]


def test_mirror_images_are_merged_and_weighed_on_request(
    tmp_path: Path,
) -> None:
    chiral = conformers(1, 'C[C@H](O)CC(F)Cl')[0]
    rows = [record(0, chiral), record(1, mirrored(chiral))]
    assert molecule(write(tmp_path / 'x.h5', rows))['n_unique'] == 2
    same = write(tmp_path / 'y.h5', rows, EnsembleSettings(
        mirror_images='same', degeneracy='mirror'))
    assert molecule(same)['n_unique'] == 1
    assert same.ensembles['records']['degeneracy'].tolist() == [2, 0]
    flat = write(tmp_path / 'z.h5', [
        record(0, conformers(1, 'c1ccccc1')[0])],
        EnsembleSettings(degeneracy='mirror'))
    assert flat.ensembles['records']['degeneracy'].tolist() == [1]


def test_the_energy_window_leaves_out_and_tells(tmp_path: Path) -> None:
    one, two, three = conformers(3)
    campaign = write(
        tmp_path / 'x.h5',
        [record(0, one), record(1, two, kcal=4.9), record(2, three, kcal=5.1)],
        EnsembleSettings(energy_window=5.0))
    assert molecule(campaign)['n'] == 2
    assert molecule(campaign)['note'] == '1 above the energy window'


def test_the_shortlist_is_per_molecule(tmp_path: Path) -> None:
    """The original's energies were above the lowest of all molecules."""
    stacked = {'plane_angle': 5.0, 'vertical': 3.4, 'overlap_gated': 60.0,
               'classification': 'strong'}
    campaign = write(tmp_path / 'x.h5', [
        record(0, conformers(1, 'CCCO')[0], 'a', -500.0, **stacked),
        *(record(i, c, 'b', i, **stacked)
          for i, c in enumerate(conformers(4), 1)),
        record(5, conformers(1, 'CCOC')[0], 'c', plane_angle=80.0)])
    table = campaign.ensembles['shortlist']
    assert sorted(table['row']) == [0, 1, 2]
    assert dict(zip(table['row'], table['rel_energy'], strict=True)) == {
        0: 0, 1: 0, 2: pytest.approx(1.0, abs=1e-6)}
    assert table['score'].is_monotonic_decreasing


def test_compat_mode_judges_by_the_original_columns(tmp_path: Path) -> None:
    columns = {'compat_plane_angle': 5.0, 'compat_distance': 3.4,
               'compat_overlap': 60.0, 'compat_classification': 'strong',
               'classification': 'monomer'}
    rows = [record(i, c, **columns) for i, c in enumerate(conformers(2))]
    full = write(tmp_path / 'x.h5', rows)
    assert len(full.ensembles['shortlist']) == 0
    assert at(full)['frac_excimer'] == 0
    assert full.ensembles['compat']['boltz_excimer_fraction'].tolist() == [
        1.0] * 4
    compat = write(tmp_path / 'y.h5', rows, EnsembleSettings(
        descriptors='compat'))
    assert len(compat.ensembles['shortlist']) == 2
    assert at(compat)['frac_excimer'] == 1


def test_the_compatible_table_counts_duplicates_again(
    tmp_path: Path,
) -> None:
    one, two = conformers(2)
    campaign = write(tmp_path / 'x.h5', [
        record(0, one, compat_plane_angle=0.0),
        record(1, turned(one), compat_plane_angle=0.0),
        record(2, two, compat_plane_angle=30.0)])
    table = campaign.ensembles['compat']
    assert table['n'].tolist() == [3] * 4
    assert table['plane_angle_deg_boltz'].to_numpy() == pytest.approx(
        10.0, abs=1e-6)
    assert at(campaign)['n_unique'] == 2


def test_what_goes_wrong_in_one_molecule_is_told_in_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(conformers: Any, settings: Any) -> Any:
        if conformers.identity['name'] == 'bad':
            raise FloatingPointError('of its own')
        return real(conformers, settings)
    real = ensembles.tell
    monkeypatch.setattr(ensembles, 'tell', fail)
    campaign = write(tmp_path / 'x.h5', [
        record(0, conformers(1)[0], 'bad'),
        record(1, conformers(2)[1], 'good')])
    table = campaign.ensembles['molecules']
    assert table['note'].tolist() == [
        'not analysed: FloatingPointError: of its own', '']
    assert table['n'].tolist() == [0, 1]
    assert len(campaign.ensembles['boltzmann']) == 8


def test_settings_come_from_options_as_they_are_stored() -> None:
    stored = {'temperatures': [100.0], 'dedupe_rmsd': 0.5, 'fmax': 1,
              'energy_window': None, 'descriptors': 'compat'}
    assert settings_from(stored) == EnsembleSettings(
        (100.0,), dedupe_rmsd=0.5, descriptors='compat')


def test_tables_are_described_in_the_file(tmp_path: Path) -> None:
    write(tmp_path / 'x.h5', [record(0, conformers(1)[0])])
    with h5py.File(tmp_path / 'x.h5') as file:
        group = file['ensembles']
        assert group.attrs['dedupe_rmsd'] == 0.125
        for table in group.values():
            for name, dataset in table.items():
                if name != 'line':
                    assert dataset.attrs['description']
                    assert dataset.dtype.kind in 'ifS'
