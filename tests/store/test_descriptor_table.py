"""Columns of descriptors in the table of conformers."""
from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpiapp.parallel.serial import SerialComm
from mpiapp.records import DESCRIPTORS, RELAX
from mpiapp.store.campaign import write_campaign
from mpiapp.store.descriptor_table import ORIGINAL, OURS
from mpiapp.store.export import CONFORMER, write_tables
from mpiapp.store.sources import MemorySource

#: the original's columns behind the energies, in its order
HEADER = [
    'name', 'r_group', 'screen_group', 'mseq', 'conformer_id',
    'moe_energy_kcal', 'mace_energy_kcal', 'moe_plane_angle_deg',
    'moe_interplane_distance_A', 'moe_pi_overlap_pct', 'plane_angle_deg',
    'interplane_distance_A', 'pi_overlap_pct', 'centroid_distance_A',
    'slip_stack_displacement_A', 'bridge_dihedral_deg', 'geometry_warnings',
    'classification', 'dark_excimer_warning', 'distance_delta_A']
ROW: dict[str, Any] = {
    'status': 1, 'name': 'x', 'plane_angle': 3.0, 'plane_angle_start': 4.0,
    'vertical': 3.4, 'vertical_start': 3.6, 'overlap_gated': 55.0,
    'overlap_gated_start': 50.0, 'overlap': 56.0, 'centroid': 3.8,
    'slip': 1.7, 'classification': 'strong', 'dark': 1,
    'classification_start': 'weak', 'bridge_dihedral': -60.0,
    'best_names': 'pyrene-chrysene', 'descriptor_note': 'a note',
    'compat_plane_angle': 64.26, 'compat_plane_angle_start': 12.0,
    'compat_distance': 1.5, 'compat_distance_start': 5.5,
    'compat_overlap': 10.0, 'compat_overlap_start': 20.0,
    'compat_centroid': 6.0, 'compat_slip': 5.8,
    'compat_classification': 'monomer', 'compat_dark': 0,
}


def table_of(tmp_path: Path, descriptors: dict[str, Any],
             **changes: Any) -> list[dict[str, str]]:
    write_campaign(
        SerialComm(), tmp_path / 'x.h5', RELAX, 2,
        MemorySource(RELAX, {0: {**ROW, **changes}, 1: {'status': 4}}),
        {'descriptors': descriptors} if descriptors else {}, {})
    path = write_tables(tmp_path / 'x.h5', tmp_path / 'x', None)[0]
    with open(path, encoding='utf-8-sig', newline='') as file:
        return list(csv.DictReader(file))


def test_the_columns_of_the_original_come_first_and_in_its_order() -> None:
    headers = [column[0] for column in CONFORMER]
    assert headers[:len(HEADER)] == HEADER
    assert len(set(headers)) == len(headers)


def test_every_fixed_measure_is_in_the_table() -> None:
    shown = {column for _, column, _ in ORIGINAL + OURS}
    hidden = {'best_pair', 'best_pair_start', 'best_names_start', 'n_halves',
              'dark', 'dark_start', 'compat_dark', 'compat_dark_start'}
    assert {c.name for c in DESCRIPTORS if not c.ragged} - shown == hidden


@pytest.mark.parametrize('descriptors', [
    {}, {'mode': 'full'}, {'mode': ['full', 'compat']}])
def test_full_mode_shows_the_best_pair(
    tmp_path: Path, descriptors: dict[str, Any],
) -> None:
    line = table_of(tmp_path, descriptors)[0]
    assert [line[name] for name in HEADER[7:]] == [
        '4.0000', '3.600000', '50.0000', '3.0000', '3.400000', '55.0000',
        '3.800000', '1.700000', '-60.0000', 'a note', 'strong_excimer',
        'True', '0.200000']
    assert line['compat_distance_A'] == '1.500000'


def test_compat_mode_shows_the_ring_sets(tmp_path: Path) -> None:
    line = table_of(tmp_path, {'mode': 'compat', 'warn_angle': 50.0})[0]
    assert [line[name] for name in HEADER[7:]] == [
        '12.0000', '5.500000', '20.0000', '64.2600', '1.500000', '10.0000',
        '6.000000', '5.800000', '-60.0000',
        'interplane_distance unreliable at angle 64.3 deg (>50 deg); '
        'CRITICAL: likely measuring edge-to-face, not pi-pi distance',
        'monomer', 'False', '4.000000']
    assert line['best_vertical_A'] == '3.400000'
    assert line['best_classification'] == 'strong_excimer'


def test_a_tilted_pair_has_no_distance_and_says_why(tmp_path: Path) -> None:
    line = table_of(tmp_path, {}, plane_angle=71.25, vertical=np.nan,
                    descriptor_note='')[0]
    assert line['interplane_distance_A'] == line['distance_delta_A'] == ''
    assert line['geometry_warnings'] == (
        'no interplane distance at angle 71.2 deg (>60 deg)')


def test_a_record_without_descriptors_has_empty_fields(
    tmp_path: Path,
) -> None:
    line = table_of(tmp_path, {})[1]
    assert line['classification'] == 'none'
    assert line['dark_excimer_warning'] == 'False'
    assert line['plane_angle_deg'] == line['geometry_warnings'] == ''
