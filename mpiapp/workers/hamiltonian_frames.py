"""Frames made ready: described as asked, unit and order proved."""
from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np

from mpiapp.hamiltonians.ao_order import (
    NAMES, ORDERS, Permutation, permutation, proved, shells_size
)
from mpiapp.hamiltonians.frame import BOHR_PER_ANGSTROM, Frame, check_contacts
from mpiapp.potentials.gaussians import (
    checked_molecule, overlap_of, same_basis, shells_of
)
from mpiapp.potentials.kohn_sham import FieldSettings, same_functional
from mpiapp.records import Floats, Rejection

#: units of length that are tried where a file names none, in this order
UNITS = ('bohr', 'angstrom')


@dataclass(frozen=True)
class Reading:
    """How frames are to be read; 'auto' is what the file says or proves."""

    field: FieldSettings = field(default_factory=FieldSettings)
    order: str = 'auto'
    unit: str = 'auto'
    delta: str = 'auto'
    charge: int | None = None
    allow_xc_mismatch: bool = False


@dataclass(frozen=True)
class Ready:
    """A frame in our order and unit, with its molecule.

    Matrices of `frame` are in PySCF's order, positions in bohr; `overlap`
    is the computed one.  `proof` is overlap or empty, `error` the largest
    difference of the overlaps, NaN without a stored one.
    """

    frame: Frame
    molecule: Any
    shells: list[tuple[int, int]]
    overlap: Floats
    permutation: Permutation
    unit: str
    proof: str
    error: float

    @property
    def n_occ(self) -> int:
        """Number of occupied orbitals."""
        return int(self.molecule.nelectron) // 2


def check_described(frame: Frame, reading: Reading) -> None:
    """Compare what files say of their method with what is asked.

    Raises:
        Rejection: xc_mismatch.
    """
    field = reading.field
    for what, basis, xc in (
            ('file', frame.basis, frame.xc),
            ('prediction', frame.prediction_basis, frame.prediction_xc)):
        if basis and not same_basis(basis, field.basis):
            raise Rejection('xc_mismatch', f'the {what} is of basis {basis}, '
                            f'--basis is {field.basis}')
        if xc and not reading.allow_xc_mismatch \
                and not same_functional(xc, field.xc):
            raise Rejection('xc_mismatch', f'the {what} is of functional '
                            f'{xc}, --xc is {field.xc}; '
                            '--allow-xc-mismatch compares all the same')


def made_ready(frame: Frame, reading: Reading) -> Ready:
    """Prove unit and order of a frame, and turn it into ours.

    Raises:
        Rejection: xc_mismatch, no_basis, odd_electrons, atoms_overlap,
            wrong_shape, overlap_mismatch.
    """
    check_described(frame, reading)
    if reading.charge is not None:
        frame = replace(frame, charge=reading.charge)
    units, orders = claimed(frame, reading)
    check_contacts(in_bohr(frame, units[-1]))
    if frame.overlap is None:
        return turned(frame, reading, units[0], orders[0])
    fault = None
    for unit in units:
        try:
            return turned(frame, reading, unit, orders)
        except Rejection as error:
            if error.reason != 'overlap_mismatch':
                raise
            fault = fault or error
    assert fault is not None
    raise Rejection(fault.reason, fault.message + hint(
        frame, reading, set(product(units, orders))))


def claimed(
    frame: Frame, reading: Reading,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the units and orders that are allowed to fit.

    What option or file names is alone; else all that are known.
    """
    unit = reading.unit if reading.unit != 'auto' else frame.length_unit
    order = reading.order if reading.order != 'auto' \
        else NAMES.get(frame.order.lower(), '')
    return ((unit,) if unit else UNITS), ((order,) if order else ORDERS)


def in_bohr(frame: Frame, unit: str) -> Floats:
    """Return the positions [n, 3] in bohr."""
    factor = BOHR_PER_ANGSTROM if unit == 'angstrom' else 1.0
    return frame.positions * factor


def turned(
    frame: Frame, reading: Reading, unit: str,
    orders: str | tuple[str, ...],
) -> Ready:
    """Return the frame in our order if its overlap allows one of `orders`.

    A single name is taken without proof.
    """
    positions = in_bohr(frame, unit)
    molecule = checked_molecule(
        frame.numbers, positions, reading.field.basis, frame.charge,
        reading.field.memory)
    shells = shells_of(molecule)
    if shells_size(shells) != frame.nao:
        raise Rejection('wrong_shape', f'the matrices have {frame.nao} '
                        f'orbitals, {reading.field.basis} gives this '
                        f'molecule {shells_size(shells)}')
    overlap = overlap_of(molecule)
    if isinstance(orders, str):
        turn, error, proof = permutation(orders, shells), np.nan, ''
    else:
        assert frame.overlap is not None
        turn, error = proved(orders, frame.overlap, overlap, shells)
        proof = 'overlap'
    matrices = {
        name: None if matrix is None else turn.here(matrix)
        for name, matrix in (
            ('reference', frame.reference), ('overlap', frame.overlap),
            ('prediction', frame.prediction), ('initial', frame.initial))}
    ours = replace(frame, positions=positions, length_unit='bohr',
                   order='pyscf', **matrices)  # type: ignore[arg-type]
    return Ready(ours, molecule, shells, overlap, turn, unit, proof,
                 float(error))


def hint(
    frame: Frame, reading: Reading, tried: set[tuple[str, str]],
) -> str:
    """Say which unit and order would have fitted, if any."""
    for unit, order in product(UNITS, ORDERS):
        if (unit, order) in tried:
            continue
        try:
            turned(frame, reading, unit, (order,))
        except Rejection:
            continue
        return f'; it fits as {unit} in order {order}'
    return '; no known unit and order fits: another basis or geometry'
