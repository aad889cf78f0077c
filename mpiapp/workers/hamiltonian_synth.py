"""Make pairs of files with a known error from geometries."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.hamiltonians.ao_order import permutation
from mpiapp.hamiltonians.frame import BOHR_PER_ANGSTROM, check_contacts
from mpiapp.hamiltonians.perturb import RECIPES
from mpiapp.potentials.gaussians import checked_molecule, overlap_of, shells_of
from mpiapp.potentials.kohn_sham import Field, FieldSettings
from mpiapp.records import Floats, Rejection, Structure
from mpiapp.store.files import replacing


@dataclass(frozen=True)
class Synthesis:
    """What is made of each geometry.

    Frames from number `unshifted` on are moved by `rattle` angstrom.
    """

    field: FieldSettings = field(default_factory=FieldSettings)
    error: str = 'zero'
    size: float = 1e-3
    order: str = 'e3nn'
    delta: bool = True
    forces: bool = True
    rattle: float = 0.0
    unshifted: int = 0
    seed: int = 0
    suffix: str = '.pt'


def stem_of(number: int) -> str:
    """Return the stem of the files of a frame."""
    return f'batch0_mol{number}'


def rattled(
    positions: Floats, settings: Synthesis, number: int,
) -> Floats:
    """Return positions [n, 3] moved at random, by `rattle` angstrom."""
    if not settings.rattle or number < settings.unshifted:
        return positions
    rng = np.random.default_rng([settings.seed, number, 1])
    return positions + rng.normal(0.0, settings.rattle, positions.shape)


def made_pair(
    structure: Structure, number: int, settings: Synthesis,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the contents of reference and prediction.

    Raises:
        Rejection: the molecule cannot be computed, or its SCF does not
            converge.
    """
    positions = rattled(structure.positions, settings, number) \
        * BOHR_PER_ANGSTROM
    check_contacts(positions)
    molecule = checked_molecule(
        structure.numbers, positions, settings.field.basis,
        structure.charge, settings.field.memory)
    whole = Field(molecule, settings.field)
    initial = whole.initial()
    s = whole.solve(whole.guess('minao'))
    if not s.converged:
        raise Rejection('scf_unconverged', f'frame {number}: the SCF does '
                        'not converge')
    overlap = overlap_of(molecule)
    shells = shells_of(molecule)
    recipe = RECIPES.get(settings.error, RECIPES['zero'])
    predicted = recipe(s.fock, overlap, shells, settings.size,
                       np.random.default_rng([settings.seed, number]))
    if settings.error == 'float32':
        # in the form in which it is stored
        predicted = recipe(predicted - settings.delta * initial, overlap,
                           shells, 0.0, np.random.default_rng(0)) \
            + settings.delta * initial
    told = 'pyscf' if settings.error == 'permuted' else settings.order
    turn = permutation(told, shells)
    away = settings.delta * initial
    common = {
        'atoms': structure.numbers.astype(np.int64),
        'pos': positions / BOHR_PER_ANGSTROM
        if settings.error == 'unit' else positions,
        'overlap': turn.back(overlap), 'format': settings.order,
        'length_unit': 'bohr', 'idx': number, 'charge': structure.charge,
        'remove_init': settings.delta, 'xc': settings.field.xc,
        'basis': settings.field.basis}
    reference = {**common, 'hamiltonian': turn.back(s.fock - away),
                 'init_ham': turn.back(initial),
                 'energy': np.array([s.energy])}
    if settings.forces:
        reference['force'] = whole.forces(s.eps, s.coeff, s.occ)
    return reference, {**common,
                       'pred_hamiltonian': turn.back(predicted - away)}


def write_pair(
    folder: Path, number: int, pair: tuple[Mapping[str, Any],
                                           Mapping[str, Any]],
    suffix: str,
) -> None:
    """Write both files of a frame, each complete or not at all."""
    for prefix, values in zip(('gt_', 'pred_'), pair, strict=True):
        path = folder / f'{prefix}{stem_of(number)}{suffix}'
        with replacing(path) as part:
            write_mapping(part, values, suffix)


def write_mapping(
    path: Path, values: Mapping[str, Any], suffix: str,
) -> None:
    """Write a mapping as a PyTorch or a NumPy file."""
    if suffix == '.npz':
        with open(path, 'wb') as file:
            arrays: dict[str, Any] = {
                k: np.asarray(v) for k, v in values.items()}
            np.savez(file, **arrays)
        return
    import torch
    torch.save({k: torch.from_numpy(np.ascontiguousarray(v))
                if isinstance(v, np.ndarray) else v
                for k, v in values.items()}, path)
