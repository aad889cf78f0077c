"""Samples: files, starts, noise, faults."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mpiapp.records import InputError
from mpiapp.saddle.interpolation import laid_on, middle
from mpiapp.saddle.samples import noise_of, parse_start
from mpiapp.workers.saddle_samples import SampleChoice, load_samples

T1X = 'saddles/t1x_C3H8O.extxyz'
NOISE_42_0_0 = [0.30471708, -1.03998411, 0.7504512]


def test_triples_are_read_by_role(data_dir: Path) -> None:
    loaded = load_samples([data_dir / T1X], SampleChoice('midpoint_rt'))
    assert loaded.n_reactions == len(loaded.samples) == 12
    first = loaded.samples[0]
    assert first.name == 'rxn0926' and first.n_atoms == 12
    assert first.reactant is not None and first.ts is not None
    np.testing.assert_allclose(
        first.start, 0.5 * (first.reactant + first.ts), atol=1e-12)
    three = load_samples([data_dir / T1X],
                         SampleChoice('three_quarter_rt')).samples[0]
    np.testing.assert_allclose(
        three.start, 0.25 * first.reactant + 0.75 * first.ts, atol=1e-12)


def test_two_frames_of_one_name_and_role_are_a_fault(
    data_dir: Path, tmp_path: Path,
) -> None:
    """A second reaction of the same name must not vanish in silence."""
    text = (data_dir / 'saddles/small_reactions.extxyz').read_text()
    path = tmp_path / 'twice.extxyz'
    path.write_text(text.replace('rxn=nh3_inversion', 'rxn=hcn_hnc', 1))
    by_name = {s.name: s for s in load_samples(
        [path], SampleChoice('ts')).samples}
    reason, message = by_name['hcn_hnc'].fault
    assert reason == 'bad_input'
    assert 'two frames have rxn=hcn_hnc and are its reactant' in message
    assert by_name['vinyl_alcohol'].fault == ('', '')


def test_folders_and_files_may_be_mixed(data_dir: Path) -> None:
    loaded = load_samples(
        [data_dir / 'saddles/rdb7', data_dir / 'saddles/baker'],
        SampleChoice('ts', max_samples=None))
    assert loaded.n_reactions == 12 + 25
    assert [s.number for s in loaded.samples] == list(range(37))
    by_name = {s.name: s for s in loaded.samples}
    assert by_name['16_h2po4_anion'].charge == -1
    assert by_name['04_ch3o'].unpaired == 1
    assert by_name['20_hconh3_cation'].unpaired == 0
    assert {'rxn000000'} < set(by_name)


def test_noise_has_the_stated_size_and_depends_on_its_numbers_alone() -> None:
    many = noise_of(20000, 0.3, 42, 5, 0)
    assert many.std() == pytest.approx(0.3, rel=0.02)
    rms = np.sqrt((many**2).sum(axis=1).mean())
    assert rms == pytest.approx(np.sqrt(3) * 0.3, rel=0.02)
    same = noise_of(4, 0.3, 42, 5, 0)
    assert np.array_equal(same, noise_of(4, 0.3, 42, 5, 0))
    for other in ((43, 5, 0), (42, 6, 0), (42, 5, 1)):
        assert not np.array_equal(same, noise_of(4, 0.3, *other))
    # as it was when this was written: the generator is part of the format
    np.testing.assert_allclose(
        noise_of(1, 1.0, 42, 0, 0)[0], NOISE_42_0_0, atol=1e-7)


def test_a_window_does_not_change_the_noise(data_dir: Path) -> None:
    choice = SampleChoice('ts_noise0.2A', draws=2, max_samples=None)
    everything = load_samples([data_dir / T1X], choice).samples
    window = load_samples([data_dir / T1X], SampleChoice(
        'ts_noise0.2A', draws=2, max_samples=2, skip=3)).samples
    assert [(s.number, s.draw) for s in window] == [
        (3, 0), (3, 1), (4, 0), (4, 1)]
    for sample in window:
        other = everything[2 * sample.number + sample.draw]
        assert np.array_equal(sample.start, other.start)


@pytest.mark.parametrize('text, words', [
    ('midpoint', 'there are reactant'),
    ('midpoint_rt_noise', 'expected a number'),
    ('midpoint_rt_noiseA', 'expected a number'),
    ('midpoint_rt_noise-1A', 'expected a number'),
    ('midpoint_rt_noise0A', 'above 0'),
    ('midpoint_rt_noise99A', '10 A at most'),
    ('', 'there are reactant'),
])
def test_bad_starts_are_told(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_start(text)


def test_starts_are_read() -> None:
    rule = parse_start('midpoint_rt_noise1.0A')
    assert (rule.kind, rule.noise, rule.uses_answer) == (
        'midpoint_rt', 1.0, True)
    assert not parse_start('interp').uses_answer
    assert not parse_start('reactant_noise.5').uses_answer


def test_the_product_is_laid_on_the_reactant(
    rng: np.random.Generator,
) -> None:
    from scipy.spatial.transform import Rotation
    x = rng.normal(size=(5, 3))
    turned = x @ Rotation.random(random_state=1).as_matrix().T + 3.0
    np.testing.assert_allclose(laid_on(turned, x), x, atol=1e-9)


def test_interpolation_keeps_atoms_apart_that_change_places() -> None:
    # H goes round: the straight way leads through the other atoms
    reactant = np.array([[0.0, 0, 0], [1.16, 0, 0], [-1.06, 0, 0]])
    product = np.array([[0.0, 0, 0], [1.16, 0, 0], [2.16, 0, 0]])
    numbers = np.array([6, 7, 1], np.int32)

    def nearest(x: np.ndarray) -> float:
        i, j = np.triu_indices(3, 1)
        return float(np.linalg.norm(x[i] - x[j], axis=1).min())
    straight = middle(numbers, reactant, product, relaxed=False)
    fitted = middle(numbers, reactant, product)
    assert nearest(straight) < 0.7 < nearest(fitted)


def write(path: Path, *frames: str) -> Path:
    path.write_text(''.join(frames))
    return path


def frame(atoms: str, comment: str = '', shift: float = 0.0) -> str:
    lines = [f'{a} {k + shift:.3f} {k * k:.1f} 0.0'
             for k, a in enumerate(atoms.split())]
    return f'{len(lines)}\n{comment}\n' + '\n'.join(lines) + '\n'


def test_triples_without_roles_are_in_order(tmp_path: Path) -> None:
    path = write(tmp_path / 'x.xyz', frame('C N H'), frame('C N H', '', 1),
                 frame('C N H', '', 2))
    sample, = load_samples([path], SampleChoice('ts')).samples
    assert sample.start[0, 0] == 1.0 and sample.product is not None


@pytest.mark.parametrize('frames, words', [
    ([frame('C N H'), frame('C N H H')], 'ts has 4 atoms, reactant 3'),
    ([frame('C N H'), frame('N C H')], 'another order'),
    ([frame('C N H'), frame('C N H', 'charge=1')], 'charge 1'),
    ([frame('C N H'), frame('C N Q')], 'no element'),
    ([frame('C N H'), '3\n\nC 0 0 0\nN 0 0 nan\nH 1 0 0\n'],
     'a coordinate is not a number'),
])
def test_faulty_reactions_are_told(
    frames: list[str], words: str, tmp_path: Path,
) -> None:
    path = write(tmp_path / 'x.xyz', *frames)
    with pytest.raises(InputError, match=words):
        load_samples([path], SampleChoice('ts'))
    # beside a sound one they are rows of their own
    sound = [frame('C N H')] * 3
    both = write(tmp_path / 'y.xyz', *sound, *frames)
    loaded = load_samples([both], SampleChoice('ts'))
    assert [s.fault[0] for s in loaded.samples] == ['', 'bad_input']
    assert words in loaded.samples[1].fault[1]


def test_nothing_to_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='no input file'):
        load_samples([])
    with pytest.raises(InputError, match='no files'):
        load_samples([tmp_path])
    with pytest.raises(InputError):
        load_samples([tmp_path / 'none.xyz'])
    with pytest.raises(InputError):
        load_samples([write(tmp_path / 'empty.xyz', '')])
    path = write(tmp_path / 'x.xyz', *[frame('C N H')] * 3)
    with pytest.raises(InputError, match='no samples'):
        load_samples([path], SampleChoice('ts', skip=5))
