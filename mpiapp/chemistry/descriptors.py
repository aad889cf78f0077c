"""All descriptors of a record before and after, as columns of the result.

`descriptor_columns` is the seam: the worker calls it with what it relaxed,
an analysis with `stored_structure` of a row of the result file.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from mpiapp import measures
from mpiapp.bonding import bond_list
from mpiapp.chemistry.bridges import dihedrals, torsions_of
from mpiapp.chemistry.chromophores import Chromophores, chromophores_of
from mpiapp.chemistry.classes import (
    CLASSES, NONE, WEAK_FROM, classify, dark, dark_by_angle, excimer_score
)
from mpiapp.chemistry.compat import DEFAULT_SYSTEM, compat_measures, ring_sets
from mpiapp.chemistry.graph import Graph, graph_of
from mpiapp.chemistry.planes import PairMeasures, pair_measures, plane
from mpiapp.chemistry.systems import SYSTEMS, System, read_systems
from mpiapp.errors import InputError
from mpiapp.records import Floats, Ints, Row, Structure

#: A; ring atoms farther from their plane on average are remarked upon
FLAT = 0.2
#: decimals of A and per cent that decide which pair is the best
_DECIMALS = 6
_NAMES = tuple(name for name, _, _ in measures.PAIR)
_ENDS = tuple(end for end, _ in measures.MOMENTS)


@dataclass(frozen=True)
class DescriptorSettings:
    """What decides descriptors besides the geometry.

    `systems` name chromophores and hold the limits of their classes;
    `compat` is the system that compatibility mode looks for.
    """

    systems: tuple[System, ...] = SYSTEMS
    compat: System = DEFAULT_SYSTEM

    def described(self) -> dict[str, Any]:
        """Return what is stored with the results."""
        return {'compat_system': self.compat.name,
                'warn_angle': self.compat.limits.warn_angle,
                'systems': [f'{s.name} {s.smarts}' for s in self.systems],
                'strong_distance': {
                    s.name: [s.limits.strong_from, s.limits.strong_to]
                    for s in self.systems}}


def descriptor_settings(path: str = '',
                        compat: str = DEFAULT_SYSTEM.name,
                        ) -> DescriptorSettings:
    """Return the settings with the systems of a file, if one is named.

    Raises:
        InputError: a bad file, or no system called `compat`.
    """
    systems = read_systems(path) if path else SYSTEMS
    for system in systems:
        if system.name == compat:
            return DescriptorSettings(systems, system)
    raise InputError(f'no aromatic system {compat!r}; there are '
                     f'{", ".join(s.name for s in systems)}')


def descriptor_columns(
    structure: Structure, x_start: Floats, x_final: Floats | None,
    settings: DescriptorSettings | None = None,
) -> Row:
    """Return the columns of group `descriptors` for one record.

    `x_start` and `x_final` [n_atoms, 3] A; None: no valid final geometry,
    whose columns then stay empty.  Never raises: what can't be computed is
    NaN, with the reason in `descriptor_note` or `descriptor_note_start`.
    """
    settings = settings or DescriptorSettings()
    try:
        return _columns(structure, x_start, x_final, settings)
    except Exception as error:
        # shown in the table: a descriptor must not cost a relaxed structure
        note = f'failed: {type(error).__name__}: {error}'
        return {f'descriptor_note{end}': note for end in _ENDS}


def connectivity(structure: Structure) -> Row:
    """Return bonds and formal charges as columns of group `geometry`.

    Bonds by distance, their orders 0, where the structure has none.
    """
    n_atoms = len(structure.numbers)
    bonds, orders = structure.bonds, structure.orders
    if not len(bonds):
        bonds = bond_list(structure.numbers, structure.positions)
    if len(orders) != len(bonds):
        orders = np.zeros(len(bonds), np.int64)
    charges = structure.formal_charges
    return {'bonds': bonds, 'bond_orders': orders,
            'formal_charges': charges if len(charges)
            else np.zeros(n_atoms, np.int32),
            'unpaired': structure.unpaired}


def stored_structure(row: Mapping[str, Any]) -> Structure:
    """Return the structure of a row of the result, at its start geometry.

    As it was computed: with the hydrogens of the charge policy.
    """
    orders = np.asarray(row['bond_orders'], np.int64)
    return Structure(
        0, int(row['file_number']), int(row['record']),
        np.asarray(row['numbers'], np.int32),
        np.asarray(row['x_start'], np.float64), charge=int(row['charge']),
        formal_charges=np.asarray(row['formal_charges'], np.int32),
        unpaired=int(row['unpaired']),
        bonds=np.asarray(row['bonds'], np.int64).reshape(-1, 2),
        orders=orders if (orders > 0).all() else np.empty(0, np.int64),
        title=str(row['name']))


def descriptor_graph(structure: Structure, x_start: Floats) -> Graph:
    """Return the graph that descriptors use; bonds by distance if need be."""
    if not len(structure.bonds):
        structure = replace(
            structure, bonds=bond_list(structure.numbers, x_start),
            orders=np.empty(0, np.int64))
    return graph_of(structure)


def measure_pairs(found: Chromophores, positions: Floats) -> PairMeasures:
    """Measure all pairs of geometries [n_conf, n_atoms, 3] A.

    Returns arrays [n_conf, n_pairs].
    """
    shape = (len(positions), len(found.pairs))
    result = {name: np.full(shape, np.nan) for name in _NAMES}
    alike = defaultdict(list)
    for k, pair in enumerate(found.pairs):
        sides = found.systems[pair.a], found.systems[pair.b]
        alike[tuple((len(s.atoms), len(s.carbons)) for s in sides)].append(k)
    for places in alike.values():
        pairs = [found.pairs[k] for k in places]
        atoms = [[found.systems[i].atoms for i in side] for side in (
            [p.a for p in pairs], [p.b for p in pairs])]
        carbons = [[found.systems[i].carbons for i in side] for side in (
            [p.a for p in pairs], [p.b for p in pairs])]
        part = pair_measures(*(
            positions[:, np.array(table, np.int64)]
            for table in (*atoms, *carbons)))
        for name in _NAMES:
            result[name][:, places] = getattr(part, name)
    return PairMeasures(**result)


def pair_classes(found: Chromophores, measured: PairMeasures) -> Ints:
    """Return class codes [n_conf, n_pairs]; -1 for pairs in one half."""
    codes = np.full(measured.vertical.shape, NONE, np.int64)
    for k, pair in enumerate(found.pairs):
        if not pair.same_half:
            codes[:, k] = classify(
                measured.plane_angle[:, k], measured.vertical[:, k],
                measured.overlap_gated[:, k], pair.limits, WEAK_FROM)
    return codes


def best_pairs(measured: PairMeasures, codes: Ints) -> Ints:
    """Return the number [n_conf] of the best pair, -1 where none is.

    Strongest class, then largest gated overlap, then shortest contact, then
    lowest number.
    """
    n_conf, n_pairs = codes.shape
    if not n_pairs:
        return np.full(n_conf, -1)
    places = np.broadcast_to(np.arange(n_pairs), codes.shape)
    order = np.lexsort((
        places, np.round(np.nan_to_num(measured.contact), _DECIMALS),
        -np.round(np.nan_to_num(measured.overlap_gated), _DECIMALS), -codes))
    best = order[:, 0]
    return np.where(codes[np.arange(n_conf), best] == NONE, -1, best)


def _columns(structure: Structure, x_start: Floats, x_final: Floats | None,
             settings: DescriptorSettings) -> Row:
    geometries = [x_start] if x_final is None else [x_start, x_final]
    positions = np.stack([np.asarray(x, np.float64) for x in geometries])
    graph = descriptor_graph(structure, x_start)
    found = chromophores_of(graph, settings.systems)
    row = _chromophore_columns(found, positions)
    row.update(_pair_columns(found, positions, row))
    row.update(_dihedral_columns(graph, found, positions))
    row.update(_compat_columns(graph, positions, settings.compat))
    if x_final is None:
        row['descriptor_note'] = 'no valid final geometry'
    return row


def _by_moment(name: str, values: Any) -> Row:
    """Return columns from values [n_geometries, ...], start first."""
    names = [f'{name}_start', name]
    return dict(zip(names, values))


def _chromophore_columns(found: Chromophores, positions: Floats) -> Row:
    systems = found.systems
    planes = [plane(positions[:, list(s.atoms)]) for s in systems]
    row: Row = {
        'n_halves': found.n_halves,
        'chromophore_name': [s.name for s in systems],
        'chromophore_atom': [s.atoms[0] for s in systems],
        'chromophore_size': [len(s.atoms) for s in systems],
        'chromophore_half': [s.half for s in systems],
    }
    for name in ('planarity_rms', 'axis_quality'):
        table = np.array([getattr(p, name) for p in planes])
        row.update(_by_moment(f'chromophore_{name}', table.reshape(
            len(systems), len(positions)).T))
    return row


def _pair_columns(found: Chromophores, positions: Floats,
                  chromophores: Row) -> Row:
    """Return the columns of all pairs and of the best one."""
    row: Row = {'pair_a': [p.a for p in found.pairs],
                'pair_b': [p.b for p in found.pairs]}
    measured = measure_pairs(found, positions)
    codes = pair_classes(found, measured)
    best = best_pairs(measured, codes)
    row.update(_by_moment('pair_class', codes))
    for name in _NAMES:
        row.update(_by_moment(f'pair_{name}', getattr(measured, name)))
    for end, i in zip(('_start', ''), range(len(positions))):
        rms = chromophores[f'chromophore_planarity_rms{end}']
        row.update(_best_columns(found, measured, codes, int(best[i]), i,
                                 rms, end))
    return row


def _best_columns(
    found: Chromophores, measured: PairMeasures, codes: Ints, best: int,
    i: int, rms: Floats, end: str,
) -> Row:
    """Return the columns of the best pair of geometry i."""
    if best < 0:
        return {f'descriptor_note{end}': found.note or _fault(rms)}
    pair = found.pairs[best]
    one = {name: getattr(measured, name)[i, best:best + 1]
           for name in _NAMES}
    code = codes[i, best:best + 1]
    flat = float(np.max(rms[[pair.a, pair.b]]))
    score = excimer_score(
        one['plane_angle'], one['vertical'], one['overlap_gated'],
        one['slip'], pair.limits, eclipsed_by=one['twist'])
    row: Row = {
        'classification': CLASSES[code[0] + 1],
        'excimer_score': float(score[0]),
        'dark': int(dark(code, one['twist'], one['slip'])[0]),
        'descriptor_note': _remark(found, flat), 'best_pair': best,
        'best_names': '-'.join(
            found.systems[k].name for k in (pair.a, pair.b)),
        'planarity_rms': flat,
        **{name: float(values[0]) for name, values in one.items()},
    }
    return {f'{name}{end}': value for name, value in row.items()}


def _fault(rms: Floats) -> str:
    return 'positions are not finite' if np.isnan(rms).any() \
        else 'a chromophore has no plane'


def _remark(found: Chromophores, rms: float) -> str:
    """Return what a reader of a classified pair should know."""
    if rms > FLAT:
        return f'chromophore not flat: {rms:.2f} A rms'
    if found.n_halves > 2:
        n = sum(not pair.same_half for pair in found.pairs)
        return f'{found.n_halves} halves: the best of {n} pairs'
    return ''


def _dihedral_columns(graph: Graph, found: Chromophores,
                      positions: Floats) -> Row:
    if not found.systems:
        return {}
    table = dihedrals(torsions_of(graph, found), positions)
    row: Row = {'dihedral_name': list(table.names),
                'dihedral_atoms': table.atoms,
                **_by_moment('dihedral_angle', table.degrees)}
    if any(name.startswith('bridge') for name in table.names):
        row.update(_by_moment('bridge_dihedral', table.degrees[:, 0]))
    return row


def _compat_columns(graph: Graph, positions: Floats,
                    system: System) -> Row:
    sets = ring_sets(graph, system)
    if sets is None:
        return {}
    measured = compat_measures(sets, positions)
    codes = classify(measured.plane_angle, measured.distance,
                     measured.overlap, system.limits)
    score = excimer_score(measured.plane_angle, measured.distance,
                          measured.overlap, measured.slip, system.limits)
    row = _by_moment('compat_classification', [CLASSES[c + 1] for c in codes])
    row.update(_by_moment('compat_excimer_score', score))
    row.update(_by_moment('compat_dark', np.where(
        codes == NONE, -1, dark_by_angle(codes, measured.plane_angle))))
    for field in fields(measured):
        row.update(_by_moment(f'compat_{field.name}',
                              getattr(measured, field.name)))
    return row
