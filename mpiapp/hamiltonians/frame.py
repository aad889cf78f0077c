"""A frame: geometry, matrices and what its file says of them."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.records import Floats, Rejection

#: matrices further from their transpose are refused, Hartree
SYMMETRY_TOLERANCE = 1e-5
#: largest difference of the positions and overlaps of two files of a frame
SAME_GEOMETRY, SAME_OVERLAP = 1e-3, 1e-5
#: bohr; atoms nearer to each other coincide
CLOSEST = 0.5
#: larger atomic numbers are none; those of no element get a better word
LARGEST_NUMBER = 999
#: bohr in an angstrom, inverse of the value of the source of the data sets
BOHR_PER_ANGSTROM = 1 / 0.5291772105638411

#: names of one thing in the file kinds that are read
KEYS: Mapping[str, tuple[str, ...]] = {
    'numbers': ('atoms', 'atomic_numbers', 'numbers', 'z'),
    'positions': ('pos', 'positions', 'R'),
    'reference': ('hamiltonian', 'Ham', 'ham'),
    'prediction': ('pred_hamiltonian', 'predicted_hamiltonian'),
    'initial': ('init_ham', 'Ham_init', 'initial_hamiltonian',
                'init_hamiltonian'),
    'overlap': ('overlap', 'S'),
    'energy': ('energy', 'energy_ha'),
    'forces': ('force', 'forces', 'forces_ha_bohr'),
    'length_unit': ('length_unit',),
    'order': ('format', 'ao_order'),
    'delta': ('remove_init', 'delta'),
    'xc': ('xc', 'functional'),
    'basis': ('basis',),
    'charge': ('charge',),
    'index': ('idx', 'id'),
}
UNITS = {'bohr': 'bohr', 'au': 'bohr', 'a.u.': 'bohr',
         'angstrom': 'angstrom', 'ang': 'angstrom', 'a': 'angstrom'}


@dataclass(frozen=True)
class Frame:
    """One molecule and its matrices, as they are stored.

    `positions` [n, 3] in `length_unit` ('' where the file does not say);
    `reference`, `prediction`, `initial`, `overlap` [nao, nao] in the AO
    order `order` ('' where it does not say), Hartree.  `delta` tells
    whether reference and prediction lack the initial matrix, None: unknown.
    `energy` [Hartree] and `forces` [n, 3] [Hartree/bohr] are those of the
    data set.  `prediction_xc` and `prediction_basis` are what the file of
    the prediction names, where it is another one.
    """

    name: str
    numbers: NDArray[np.int32]
    positions: Floats
    reference: Floats
    prediction: Floats | None = None
    initial: Floats | None = None
    overlap: Floats | None = None
    energy: float = float('nan')
    forces: Floats | None = None
    length_unit: str = ''
    order: str = ''
    delta: bool | None = None
    charge: int = 0
    xc: str = ''
    basis: str = ''
    index: int = -1
    prediction_xc: str = ''
    prediction_basis: str = ''
    charge_named: bool = False

    @property
    def nao(self) -> int:
        """Number of atomic orbitals."""
        return len(self.reference)


def formula_of(numbers: NDArray[Any]) -> str:
    """Return the formula in Hill's order, such as C2H6O."""
    from ase.data import chemical_symbols
    from ase.formula import Formula
    symbols = [chemical_symbols[n] if 0 <= n < len(chemical_symbols)
               else 'X' for n in np.asarray(numbers).tolist()]
    return str(Formula.from_list(symbols).format('hill'))


def frame_from(
    name: str, reference: Mapping[str, Any],
    prediction: Mapping[str, Any] | None = None,
) -> Frame:
    """Make a frame of what files hold; their shapes may be flat.

    Raises:
        Rejection: missing_key, wrong_shape, not_finite, not_symmetric,
            wrong_partner.
    """
    predicted = prediction or {}
    numbers = whole(name, needed(reference, 'numbers')).ravel()
    n = len(numbers)
    positions = shaped('positions', needed(reference, 'positions'), (n, 3))
    nao = side_of('hamiltonian', needed(reference, 'reference'))
    matrices = {
        key: matrix(key, found(source, key), nao)
        for key, source in (
            ('reference', reference), ('initial', reference),
            ('overlap', reference),
            ('prediction', predicted if prediction else reference))}
    # a prediction may stand under the name of the reference
    if prediction is not None and matrices['prediction'] is None:
        matrices['prediction'] = matrix(
            'prediction', found(predicted, 'reference'), nao)
        if matrices['prediction'] is None:
            raise Rejection('missing_key', 'the prediction has no '
                            'pred_hamiltonian')
    check_partners(reference, predicted)
    forces = found(reference, 'forces')
    main = matrices.pop('reference')
    assert main is not None
    return Frame(
        name, numbers, positions, main, matrices['prediction'],
        matrices['initial'], matrices['overlap'], scalar(reference, 'energy'),
        None if forces is None else shaped('forces', forces, (n, 3)),
        unit_of(word(reference, 'length_unit')), word(reference, 'order'),
        flag(reference, 'delta'), integer(reference, 'charge', 0),
        word(reference, 'xc'), word(reference, 'basis'),
        integer(reference, 'index', -1), word(predicted, 'xc'),
        word(predicted, 'basis'), found(reference, 'charge') is not None)


def found(mapping: Mapping[str, Any], key: str) -> Any:
    """Return what a file holds under any of the names of a thing."""
    return next((mapping[name] for name in KEYS[key] if name in mapping),
                None)


def needed(mapping: Mapping[str, Any], key: str) -> Any:
    """Return what a file must hold; Rejection missing_key without it."""
    value = found(mapping, key)
    if value is None:
        raise Rejection('missing_key', f'no {" or ".join(KEYS[key])}; there '
                        f'are {", ".join(sorted(map(str, mapping)))}')
    return value


def numeric(key: str, value: Any) -> Floats:
    """Return a finite float64 array.

    Raises:
        Rejection: wrong_shape for what is no array of numbers, not_finite.
    """
    try:
        if hasattr(value, 'detach'):
            value = value.detach().cpu()
            # what NumPy lacks, such as bfloat16, goes by double
            value = (value if value.is_complex() else value.double()).numpy()
        if np.iscomplexobj(value):
            raise TypeError('complex')
        array = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise Rejection('wrong_shape', f'{key} is no array of real numbers '
                        f'({error})') from error
    if not np.isfinite(array).all():
        raise Rejection('not_finite', f'{key} holds NaN or infinity')
    return array


def whole(name: str, value: Any) -> NDArray[np.int32]:
    """Return atomic numbers."""
    array = numeric('atomic numbers', value)
    if array.size == 0 or (array != np.round(array)).any() \
            or np.abs(array).max() > LARGEST_NUMBER:
        raise Rejection('wrong_shape', 'atomic numbers are no small whole '
                        'numbers, or there are none')
    return array.astype(np.int32)


def shaped(key: str, value: Any, shape: tuple[int, ...]) -> Floats:
    """Return an array of this shape; flat and padded by 1 it may be."""
    array = numeric(key, value)
    if array.size != int(np.prod(shape)) or (
            array.ndim > 1 and tuple(n for n in array.shape if n != 1)
            != tuple(n for n in shape if n != 1)):
        raise Rejection('wrong_shape', f'{key} has shape {array.shape}, '
                        f'expected {shape}')
    return array.reshape(shape)


def side_of(key: str, value: Any) -> int:
    """Return the side of a square matrix, flat or not."""
    size = int(numeric(key, value).size)
    side = round(size ** 0.5)
    if side * side != size or not size:
        raise Rejection('wrong_shape', f'{key} has {size} entries: no '
                        'square matrix')
    return side


def matrix(key: str, value: Any, nao: int) -> Floats | None:
    """Return a symmetric matrix [nao, nao], None for None.

    Raises:
        Rejection: wrong_shape, not_finite, not_symmetric.
    """
    if value is None:
        return None
    array = shaped(key, value, (nao, nao))
    skew = float(np.abs(array - array.T).max())
    if skew > SYMMETRY_TOLERANCE:
        raise Rejection('not_symmetric', f'{key} differs from its transpose '
                        f'by {skew:.2g}, allowed {SYMMETRY_TOLERANCE:g}')
    return np.asarray((array + array.T) / 2)


def check_partners(
    reference: Mapping[str, Any], prediction: Mapping[str, Any],
) -> None:
    """Refuse a prediction that says it is of another frame, or stored so.

    What holds for the reference is taken to hold for the prediction, so
    order, unit and overlap of the two must not differ.

    Raises:
        Rejection: wrong_partner.
    """
    check_same_array(reference, prediction, 'numbers', 0.0)
    for key in ('length_unit', 'order'):
        one, other = word(reference, key), word(prediction, key)
        if one and other and one.lower() != other.lower():
            raise Rejection('wrong_partner', f'{key} of the reference is '
                            f'{one}, of the prediction {other}')
    check_same_array(reference, prediction, 'positions', SAME_GEOMETRY)
    check_same_array(reference, prediction, 'overlap', SAME_OVERLAP)
    for key in ('index', 'charge'):
        first, second = scalar(reference, key), scalar(prediction, key)
        if first != second and first == first and second == second:
            raise Rejection('wrong_partner', f'{key} of the reference is '
                            f'{first:g}, of the prediction {second:g}')
    if None not in (told := {flag(reference, 'delta'),
                             flag(prediction, 'delta')}) and len(told) > 1:
        raise Rejection('wrong_partner', 'one file of the two holds '
                        'differences from the initial matrix, the other '
                        'says it does not')


def check_same_array(
    reference: Mapping[str, Any], prediction: Mapping[str, Any], key: str,
    tolerance: float,
) -> None:
    """Refuse arrays of two files that differ; one may have none.

    Raises:
        Rejection: wrong_partner.
    """
    one, other = found(reference, key), found(prediction, key)
    if one is None or other is None:
        return
    first, second = numeric(key, one).ravel(), numeric(key, other).ravel()
    off = np.inf if first.shape != second.shape \
        else float(np.abs(first - second).max(initial=0.0))
    if off > tolerance:
        raise Rejection('wrong_partner', f'prediction and reference have '
                        f'different {key} (by {off:.2g})')


def description(frame: Frame) -> dict[str, Any]:
    """Return what a frame says of itself, under the keys of files."""
    told = {'atoms': frame.numbers, 'pos': frame.positions,
            'overlap': frame.overlap, 'length_unit': frame.length_unit,
            'format': frame.order, 'remove_init': frame.delta,
            'idx': None if frame.index < 0 else frame.index,
            'charge': frame.charge if frame.charge_named else None}
    return {name: value for name, value in told.items()
            if value is not None}


def scalar(
    mapping: Mapping[str, Any], key: str, otherwise: float = float('nan'),
) -> float:
    """Return a number of a file, or `otherwise`."""
    value = found(mapping, key)
    if value is None:
        return otherwise
    array = numeric(key, value)
    if array.size != 1:
        raise Rejection('wrong_shape', f'{key} has {array.size} entries')
    return float(array.reshape(()))


def integer(
    mapping: Mapping[str, Any], key: str, otherwise: int,
) -> int:
    """Return a whole number of a file; Rejection for one that is none."""
    number = scalar(mapping, key, float(otherwise))
    if number != round(number):
        raise Rejection('wrong_shape', f'{key} is {number:g}, expected a '
                        'whole number')
    return int(number)


def word(mapping: Mapping[str, Any], key: str) -> str:
    """Return a text of a file, '' where there is none."""
    value = found(mapping, key)
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    if isinstance(value, bytes):
        value = value.decode('utf-8', 'replace')
    return value.strip() if isinstance(value, str) else ''


def flag(mapping: Mapping[str, Any], key: str) -> bool | None:
    """Return yes, no or None (not said; -1 says so too)."""
    value = found(mapping, key)
    if value is None:
        return None
    number = scalar(mapping, key)
    return None if number < 0 else bool(number)


def unit_of(text: str) -> str:
    """Return bohr or angstrom; '' for no unit.

    Raises:
        Rejection: a word that is no unit of length.
    """
    if not text:
        return ''
    if text.lower() not in UNITS:
        raise Rejection('overlap_mismatch', f'length_unit {text!r}: allowed '
                        'are bohr and angstrom')
    return UNITS[text.lower()]


def check_contacts(positions: Floats) -> None:
    """Refuse coinciding atoms; positions [n, 3] in bohr.

    Raises:
        Rejection: atoms_overlap.
    """
    gaps = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    np.fill_diagonal(gaps, np.inf)
    if len(positions) > 1 and gaps.min() < CLOSEST:
        i, j = np.unravel_index(int(gaps.argmin()), gaps.shape)
        raise Rejection('atoms_overlap', f'atoms {i} and {j} are '
                        f'{gaps.min():.3f} bohr apart')
