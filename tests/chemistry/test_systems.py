"""Aromatic systems of users, and the limits of mixed pairs."""
import re
from pathlib import Path

import pytest

from mpiapp.chemistry.descriptors import descriptor_settings
from mpiapp.chemistry.systems import (
    SYSTEMS, Limits, limits_of, pattern_of, read_systems
)
from mpiapp.errors import InputError

#: the table of limits: strong angle, from, to, overlap, weak angle,
#: distance, overlap, warning
LIMITS = {
    'binaphthalene': (20, 3.0, 3.6, 40, 50, 4.5, 25, 50),
    'pyrene': (20, 3.3, 3.7, 50, 60, 4.5, 30, 60),
    'naphthalene': (20, 3.3, 3.7, 50, 60, 4.5, 30, 60),
    'phenanthrene': (20, 3.3, 3.7, 50, 60, 4.5, 30, 60),
    'chrysene': (20, 3.3, 3.7, 50, 60, 4.5, 30, 60),
    'perylene': (20, 3.4, 3.8, 50, 60, 4.5, 30, 60),
    'anthracene': (20, 3.4, 3.93, 50, 60, 4.5, 30, 60),
}
CORONENE = '''[[system]]
name = "coronene"
smarts = "c1cc2ccc3ccc4ccc5ccc6ccc1c1c2c3c4c5c61"
strong_angle = 15
strong_distance = [3.2, 3.6]
strong_overlap = 45
weak_angle = 40
weak_distance = 4.2
weak_overlap = 20
'''


def write(folder: Path, text: str) -> Path:
    path = folder / 'systems.toml'
    path.write_text(text, encoding='utf-8')
    return path


@pytest.mark.parametrize('name', LIMITS)
def test_limits_are_those_of_the_table(name):
    assert limits_of(name) == Limits(*LIMITS[name])


def test_every_system_of_the_table_is_built_in():
    assert {system.name for system in SYSTEMS} == set(LIMITS)
    assert all(pattern_of(system.smarts) for system in SYSTEMS)


def test_an_unknown_system_has_the_limits_of_pyrene():
    assert limits_of('fused22') == limits_of('pyrene')


def test_a_mixed_pair_takes_the_stricter_of_each_limit():
    mixed = limits_of('anthracene').stricter(limits_of('binaphthalene'))
    assert mixed == Limits(20, 3.4, 3.6, 50, 50, 4.5, 30, 50)
    assert mixed == limits_of('binaphthalene').stricter(
        limits_of('anthracene'))


def test_a_system_of_a_user_is_read(tmp_path):
    systems = read_systems(write(tmp_path, CORONENE))
    assert len(systems) == len(SYSTEMS) + 1
    assert systems[0].limits == Limits(15, 3.2, 3.6, 45, 40, 4.2, 20, 60)
    settings = descriptor_settings(str(tmp_path / 'systems.toml'), 'coronene')
    assert settings.compat.name == 'coronene'


def test_a_system_of_a_user_is_found_by_its_pattern(tmp_path, embed):
    from mpiapp.chemistry.chromophores import chromophores_of
    from mpiapp.chemistry.descriptors import descriptor_graph
    systems = read_systems(write(tmp_path, CORONENE))
    structure = embed(systems[0].smarts)
    found = chromophores_of(
        descriptor_graph(structure, structure.positions), systems)
    assert [(s.name, len(s.atoms)) for s in found.systems] == [
        ('coronene', 24)]


def test_the_example_of_the_docs_is_read(tmp_path):
    page = Path(__file__).parents[2] / 'docs/descriptors.md'
    text = re.search(r'```toml\n(.*?)```', page.read_text(), re.S)[1]
    assert read_systems(write(tmp_path, text))[0].limits == limits_of(
        'pyrene')


def test_a_built_in_system_can_be_replaced(tmp_path):
    text = CORONENE.replace('coronene', 'pyrene')
    systems = read_systems(write(tmp_path, text))
    assert len(systems) == len(SYSTEMS)
    assert limits_of('pyrene', systems).strong_angle == 15


@pytest.mark.parametrize('old, new, message', [
    ('[[system]]', '[system]', 'expected tables'),
    ('weak_overlap = 20\n', '', 'lacks weak_overlap'),
    ('weak_overlap', 'weak_overlaps', 'lacks weak_overlap'),
    ('weak_overlap = 20', 'weak_overlap = 20\ncolour = 1',
     'does not know colour'),
    ('"c1cc2', '"c1cc(2', 'no SMARTS'),
    ('"coronene"', '""', 'name must be'),
    ('"coronene"', '"a name far too long"', 'name must be'),
    ('[3.2, 3.6]', '[3.6, 3.2]', 'must ascend'),
    ('[3.2, 3.6]', '3.2', r'\[from, to\]'),
    ('strong_angle = 15', 'strong_angle = "15"', 'positive number'),
    ('strong_angle = 15', 'strong_angle = nan', 'positive number'),
    ('strong_angle = 15', 'strong_angle = 50', 'exceeds weak_angle'),
    ('weak_distance = 4.2', 'weak_distance = -1', 'positive number'),
    ('[[system]]', '[[system', 'systems.toml'),
])
def test_a_bad_file_is_refused_with_its_fault(tmp_path, old, new, message):
    assert old in CORONENE
    path = write(tmp_path, CORONENE.replace(old, new))
    with pytest.raises(InputError, match=message):
        read_systems(path)


def test_two_systems_of_one_name_are_refused(tmp_path):
    with pytest.raises(InputError, match='one name'):
        read_systems(write(tmp_path, CORONENE * 2))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match='nowhere'):
        read_systems(tmp_path / 'nowhere.toml')


def test_an_unknown_system_of_compat_mode_is_refused():
    with pytest.raises(InputError, match="no aromatic system 'benzene'"):
        descriptor_settings('', 'benzene')
