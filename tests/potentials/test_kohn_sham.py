"""One molecule under DFT: ladder, hooks, and the GPU path with a stand-in.

No GPU is there: `cupy` and `gpu4pyscf` are stand-ins that compute with NumPy
and PySCF, so that what is tested is our way to call them.
"""
from __future__ import annotations

import itertools
import sys
import types
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mpiapp.potentials import kohn_sham, names
from mpiapp.potentials.gaussians import checked_molecule, same_basis
from mpiapp.potentials.kohn_sham import (
    Field, FieldSettings, Solution, check_method, gpu_fault, same_functional
)
from mpiapp.records import InputError, Rejection

CHEAP = FieldSettings(basis='sto-3g', grid_level=0)
WATER = (np.array([8, 1, 1]), np.array(
    [[0, 0, 0.22], [0, 1.43, -0.89], [0, -1.43, -0.89]]))


def field(settings: FieldSettings = CHEAP, **more: Any) -> Field:
    return Field(checked_molecule(*WATER, settings.basis, 0, 1000), settings,
                 **more)


def solved(settings: FieldSettings = CHEAP) -> Solution:
    made = field(settings)
    return made.solve(made.guess('minao'))


def test_the_fock_matrix_and_energies_are_those_of_pyscf() -> None:
    made = field()
    s = made.solve(made.guess('minao'))
    assert s.converged and not s.rescue and s.cycles == len(s.energies)
    there = made.mean_field
    np.testing.assert_allclose(s.fock, there.get_fock(dm=s.density),
                               atol=1e-12)
    assert made.energy(s.density) == pytest.approx(s.energy, abs=1e-10)
    assert s.start_energy == pytest.approx(
        made.energy(made.guess('minao')), abs=1e-10)
    assert 0 < s.loose_cycles <= s.cycles


def test_forces_are_minus_the_slope_of_the_energy() -> None:
    fine = replace(CHEAP, grid_level=4, conv_tol=1e-10)
    made = field(fine)
    s = made.solve(made.guess('minao'))
    force = made.forces(s.eps, s.coeff, s.occ)
    step, energies = 1e-3, []
    for sign in (1, -1):
        numbers, where = WATER
        where = where.copy()
        where[1, 1] += sign * step
        moved = Field(checked_molecule(numbers, where, 'sto-3g', 0, 1000),
                      fine)
        energies.append(moved.solve(moved.guess('minao')).energy)
    slope = (energies[0] - energies[1]) / (2 * step)
    assert force[1, 1] == pytest.approx(-slope, abs=2e-4)


def test_rungs_are_climbed_in_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    true = solved()
    for rungs in (('level_shift',), ('damping',), ('newton',)):
        monkeypatch.setattr(kohn_sham, 'LADDER', rungs)
        # level shift and damping need more cycles than a plain SCF
        made = field(replace(CHEAP, max_cycle=3))
        climbed: list[str] = []
        whole = Field._climbed

        def longer(self: Field, rung: str, told: Any) -> Any:
            climbed.append(rung)
            self.mean_field.max_cycle = 60
            return whole(self, rung, told)
        monkeypatch.setattr(Field, '_climbed', longer)
        s = made.solve(made.guess('minao'))
        monkeypatch.setattr(Field, '_climbed', whole)
        assert s.converged and s.rescue == rungs[0] and climbed == [*rungs]
        assert s.energy == pytest.approx(true.energy, abs=1e-6)
        assert s.cycles > 3
        assert made.mean_field.level_shift == made.mean_field.damp == 0


def test_without_rescue_a_poor_start_stays_unconverged() -> None:
    made = field(replace(CHEAP, max_cycle=1))
    s = made.solve(made.guess('minao'), rescue=False)
    assert not s.converged and s.cycles == 1 and not s.rescue


def test_what_the_pulse_raises_ends_the_scf() -> None:
    looks = []

    def pulse() -> None:
        looks.append(1)
        if len(looks) == 3:
            raise TimeoutError
    made = field(pulse=pulse)
    with pytest.raises(TimeoutError):
        made.solve(made.guess('minao'))
    assert len(looks) == 3


def test_seconds_are_those_of_the_cycles_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # a clock that ticks when it is read: once at the start, once a cycle;
    # neither integrals nor the check at the end are in between
    ticks = itertools.count()
    monkeypatch.setattr(kohn_sham, 'time', types.SimpleNamespace(
        perf_counter=lambda: float(next(ticks))))
    of = field()
    first = of.solve(of.guess('minao'))
    again = of.solve(of.guess('minao'), check=False)
    assert first.seconds == again.seconds == first.cycles == again.cycles


def test_a_restart_builds_a_matrix_a_cycle_and_one_to_begin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of = field()
    density = of.solve(of.guess('minao')).density
    built: list[int] = []
    true = of.mean_field.get_veff

    def counted(*args: Any, **kwargs: Any) -> Any:
        built.append(1)
        return true(*args, **kwargs)
    monkeypatch.setattr(of.mean_field, 'get_veff', counted)
    s = of.solve(density, check=False, rescue=False, want_fock=False)
    assert s.converged and len(built) == s.cycles + 1
    assert s.fock.size == 0


@pytest.mark.parametrize('change', [{}, {'density_fit': True}])
def test_integrals_are_there_before_the_clock_runs(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, bool],
) -> None:
    of = field(replace(CHEAP, **change))
    made: list[Any] = []
    # the next thing after the integrals
    monkeypatch.setattr(kohn_sham, '_Told', lambda *args: made.append(
        of.mean_field.with_df._cderi if change else of.mean_field._eri))
    with pytest.raises(AttributeError):
        of.solve(of.guess('minao'))
    assert made[0] is not None


def test_orbitals_of_a_cycle_are_kept() -> None:
    made = field()
    s = made.solve(made.guess('minao'), keep=2)
    assert s.kept is not None
    eps, coeff, occ = s.kept
    assert occ.sum() == 10 and coeff.shape == (7, 7)
    assert 0 < np.abs(eps - s.eps).max() < 0.5


@pytest.mark.parametrize('change, fault', [
    ({'xc': 'pbe99'}, '--xc pbe99'), ({'basis': 'mine'}, '--basis mine')])
def test_unknown_methods_are_refused(
    change: dict[str, str], fault: str,
) -> None:
    with pytest.raises(InputError, match=fault):
        check_method(replace(CHEAP, **change))


def test_names_mean_the_same() -> None:
    assert same_functional('PBE', 'pbe,pbe') and same_functional(
        'PBE0', 'pbe1pbe')
    assert not same_functional('pbe', 'pbe0')
    assert not same_functional('pbe', 'nonsense')
    assert same_basis('def2-SVP', 'def2svp')
    assert not same_basis('6-31g', '6-31g*')


@pytest.mark.parametrize('numbers, charge, reason', [
    ([8, 1, 1], 1, 'odd_electrons'), ([1, 1, 1], 3, 'odd_electrons'),
    ([8, 1, 0], 0, 'no_basis'), ([8, 1, 200], 0, 'no_basis')])
def test_what_cannot_be_computed_is_refused(
    numbers: list[int], charge: int, reason: str,
) -> None:
    with pytest.raises(Rejection, match=reason):
        checked_molecule(np.array(numbers), WATER[1], 'sto-3g', charge, 1000)


def test_it_is_no_potential() -> None:
    assert not {'kohn_sham', 'gaussians'} & set(names())


def stand_ins(monkeypatch: pytest.MonkeyPatch, n_gpus: int) -> None:
    cupy: Any = types.ModuleType('cupy')
    cupy.asarray = np.asarray
    cupy.cuda = types.SimpleNamespace(runtime=types.SimpleNamespace(
        getDeviceCount=lambda: n_gpus))
    monkeypatch.setitem(sys.modules, 'cupy', cupy)
    monkeypatch.setitem(sys.modules, 'gpu4pyscf',
                        types.ModuleType('gpu4pyscf'))


def test_a_missing_package_or_gpu_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, 'cupy', None)
    assert 'cupy' in gpu_fault()
    stand_ins(monkeypatch, 0)
    assert gpu_fault() == 'no GPU is visible'
    stand_ins(monkeypatch, 1)
    assert gpu_fault() == ''


def test_the_gpu_path_gives_host_arrays_and_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pyscf import dft
    stand_ins(monkeypatch, 1)
    moved: list[Any] = []

    def to_gpu(self: Any) -> Any:
        moved.append(self)
        return self
    monkeypatch.setattr(dft.rks.RKS, 'to_gpu', to_gpu, raising=False)
    one, other = field(), field(replace(CHEAP, on_gpu=True))
    a, b = (f.solve(f.guess('minao')) for f in (one, other))
    assert len(moved) == 1
    assert a.energy == b.energy and type(b.fock) is np.ndarray
    np.testing.assert_array_equal(
        one.forces(a.eps, a.coeff, a.occ), other.forces(b.eps, b.coeff,
                                                        b.occ))
    assert other.energy(b.density) == one.energy(a.density)
    np.testing.assert_array_equal(one.initial(), other.initial())


def test_without_hooks_of_the_scf_the_numbers_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # GPU4PySCF need not call what PySCF calls before and after
    a = solved()
    for name in ('before', 'after'):
        monkeypatch.setattr(kohn_sham._Told, name, lambda self, inside: None)
    b = solved()
    assert b.start_energy == pytest.approx(a.start_energy, abs=1e-12)
    np.testing.assert_allclose(a.fock, b.fock, atol=1e-12)


@pytest.mark.parametrize('basis, known', [
    ('def2-svp', True), ('crenbl', True), ('no-such', False)])
def test_a_basis_is_known_where_any_common_element_has_it(
    basis: str, known: bool,
) -> None:
    settings = FieldSettings(basis=basis)
    if known:
        check_method(settings)
    else:
        with pytest.raises(InputError, match='knows no such basis'):
            check_method(settings)
