"""Everything that is told of one molecule, from the rows of its conformers.

Pure: arrays in, lines of tables out.  The tables are described by
`ensemble_columns`.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.chemistry.boltzmann import (
    bootstrap_spread, energy_error_change, n_effective, seed_of,
    weighted_means, weights
)
from mpiapp.chemistry.distribution import (
    CLASSES, FRACTIONS, STATISTICS, fractions, indicators, statistics
)
from mpiapp.chemistry.duplicates import (
    Clusters, Limits, find_duplicates, is_own_mirror_image
)
from mpiapp.chemistry.shortlist import TEMPERATURE, Candidates, candidates
from mpiapp.chemistry.skeleton import Skeleton
from mpiapp.records import Floats, Ints, Status
from mpiapp.units import KCAL_PER_EV

#: weighted beside the descriptors; all but the first are fractions
OURS = ('rel_energy', 'frac_strong', 'frac_weak', 'frac_excimer',
        'frac_dark', 'frac_vertical')
SPREAD, CHANGE = '_spread', '_change'
#: prefix of the columns that are defined as in the original tables
COMPAT = 'compat_'
#: those of its Boltzmann table: our column, its name
ORIGINAL = {
    'compat_plane_angle': 'plane_angle_deg_boltz',
    'compat_distance': 'interplane_distance_A_boltz',
    'compat_overlap': 'pi_overlap_pct_boltz',
    'compat_centroid': 'centroid_distance_A_boltz',
    'compat_slip': 'slip_stack_displacement_A_boltz',
    'compat_excimer_score': 'boltz_excimer_score',
}
#: fewer conformers had no line in the original's table
LEAST_COMPAT = 2

Line = dict[str, Any]


@dataclass(frozen=True)
class EnsembleSettings:
    """What decides the tables of the ensembles.

    `temperatures` K; `dedupe_energy` and `energy_window` kcal/mol,
    `dedupe_rmsd` A; `descriptors` (full or compat) decide classes.
    """

    temperatures: tuple[float, ...] = (200.0, 298.0, 350.0, 400.0)
    dedupe_energy: float = 0.05
    dedupe_rmsd: float = 0.125
    mirror_images: str = 'different'
    degeneracy: str = 'none'
    energy_window: float | None = None
    include_unconverged: bool = False
    group_by: str = 'name'
    shortlist: int = 96
    descriptors: str = 'full'


@dataclass(frozen=True)
class Conformers:
    """The records of one molecule, [n] each, in the order of their rows.

    `columns` are the descriptors by name, those of the original with the
    prefix `compat_`; `classes`, `dark` (0, 1 or NaN) and `judged`
    (plane_angle, vertical, overlap) are those that decide.  `skeletons` and
    `positions` (of their atoms, A) are by the index of the record; one that
    lacks them has no final geometry.
    """

    rows: Ints
    status: Ints
    reasons: Sequence[str]
    energies: Floats
    columns: Mapping[str, Floats]
    classes: Sequence[str]
    compat_classes: Sequence[str]
    dark: Floats
    judged: Mapping[str, Floats]
    cip: Sequence[str]
    identity: Line
    charge_ignored: bool = False
    skeletons: Mapping[int, Skeleton] = field(default_factory=dict)
    positions: Mapping[int, Floats] = field(default_factory=dict)


@dataclass(frozen=True)
class Told:
    """The lines of one molecule for each table.

    `molecule` is its only line, `boltzmann` has one for each temperature,
    `compat` likewise or none.  `rows` [n] and `records` are the lines of the
    table of records, `short_weights` the weights of the shortlist by row.
    """

    molecule: Line
    boltzmann: list[Line]
    compat: list[Line]
    features: Line
    rows: Ints
    records: Mapping[str, NDArray[Any]]
    shortlist: Candidates
    short_weights: Mapping[int, float]


def weight_name(temperature: float) -> str:
    """Return the name of the column of weights at a temperature [K]."""
    return f'boltz_weight_{temperature:g}K'


def tell(conformers: Conformers, settings: EnsembleSettings) -> Told:
    """Return all that is told of a molecule."""
    c, s = conformers, settings
    used, notes = _used(c, s)
    clusters = _clusters(c, used, s)
    unique = used[clusters.unique]
    energies = c.energies[unique]
    degeneracies = _degeneracies(c, unique, s)
    if clusters.n_undecided:
        notes.append(f'{clusters.n_undecided} comparisons undecided')
    columns = {name: values[unique] for name, values in c.columns.items()}
    classes = [c.classes[i] for i in unique]
    rel_energy = (energies - energies.min(initial=np.inf)) * KCAL_PER_EV
    own = {n: v for n, v in columns.items() if not n.startswith(COMPAT)}
    dark = c.dark[unique]
    judged = {name: values[unique] for name, values in c.judged.items()}
    names = [*OURS, *own]
    values = np.column_stack([
        rel_energy, indicators(classes, dark),
        _has_distance(judged, classes), *own.values()])
    identity = {**c.identity, 'note': '; '.join(notes)}
    seed = seed_of(identity['name'], identity['charge'],
                   identity['formula'])
    counts = {'n': len(used), 'n_unique': len(unique)}
    boltzmann = [
        {**identity, **counts, 'temperature': t,
         **_weighted(energies, t, names, values, seed, degeneracies)}
        for t in s.temperatures]
    weight = weights(energies, TEMPERATURE, degeneracies) \
        if len(unique) else np.empty(0)
    return Told(
        {**identity, **counts, **_counts(c, used, clusters),
         'e_min': energies.min(initial=np.inf) if len(unique) else np.nan},
        boltzmann, _compat(c, s), {
            **identity, **counts, **_features(own, judged, classes, dark)},
        c.rows, _records(c, used, clusters, degeneracies, s),
        candidates(c.rows[unique], judged, classes, weight, rel_energy),
        dict(zip(c.rows[unique].tolist(), weight.tolist(), strict=True)))


def _has_distance(
    judged: Mapping[str, Floats], classes: Sequence[str],
) -> Floats:
    """Tell [n] by 1 or 0 whether planes have a distance; NaN: no class.

    Means of distances are over these conformers alone.
    """
    known = np.isin(np.array(classes, object), CLASSES)
    distance = judged.get('vertical', np.full(len(classes), np.nan))
    return np.where(known, np.isfinite(distance).astype(np.float64), np.nan)


def _used(
    c: Conformers, s: EnsembleSettings,
) -> tuple[Ints, list[str]]:
    """Return the indices of the records in the ensemble, and what to say."""
    wanted = [Status.CONVERGED]
    if s.include_unconverged:
        wanted.append(Status.UNCONVERGED)
    done = np.isin(c.status, wanted)
    finite = np.isfinite(c.energies) & np.isin(
        np.arange(len(c.rows)), list(c.positions))
    used = done & finite
    notes = []
    if c.charge_ignored:
        notes.append('charge ignored by the model')
    if (done & ~finite).any():
        notes.append(f'{int((done & ~finite).sum())} without energy or '
                     'geometry')
    if s.energy_window is not None and used.any():
        above = (c.energies - c.energies[used].min()) * KCAL_PER_EV
        outside = used & ~(above <= s.energy_window)
        used &= ~outside
        if outside.any():
            notes.append(f'{int(outside.sum())} above the energy window')
    if not used.any():
        why = Counter(reason for reason in c.reasons if reason)
        text = ', '.join(f'{n} {word}' for word, n in why.most_common())
        notes.append('no converged conformer' + (f' ({text})' if text
                                                 else ''))
    n_patterns = len({c.cip[i] for i in np.flatnonzero(used).tolist()})
    if n_patterns > 1:
        notes.append(f'{n_patterns} patterns of CIP labels')
    return np.flatnonzero(used), notes


def _clusters(c: Conformers, used: Ints, s: EnsembleSettings) -> Clusters:
    limits = Limits(s.dedupe_energy / KCAL_PER_EV, s.dedupe_rmsd,
                    s.mirror_images == 'same')
    return find_duplicates(
        c.energies[used], [c.skeletons[i] for i in used.tolist()],
        [c.positions[i] for i in used.tolist()], limits)


def _degeneracies(
    c: Conformers, unique: Ints, s: EnsembleSettings,
) -> Floats | None:
    """Count a conformer twice that has a mirror image of its own."""
    if s.degeneracy == 'none' or not len(unique):
        return None
    return np.array([
        1.0 if is_own_mirror_image(c.skeletons[i], c.positions[i],
                                   s.dedupe_rmsd) else 2.0
        for i in unique.tolist()])


def _weighted(
    energies: Floats, temperature: float, names: Sequence[str],
    values: Floats, seed: int, degeneracies: Floats | None,
) -> Line:
    """Return weights in short, and means with spread and change."""
    if not len(energies):
        return {'weight_sum': 0.0}
    w = weights(energies, temperature, degeneracies)
    parts = {
        '': weighted_means(w, values),
        SPREAD: bootstrap_spread(energies, temperature, values, seed,
                                 degeneracies),
        CHANGE: energy_error_change(energies, temperature, values, seed,
                                    degeneracies)}
    return {'weight_sum': float(w.sum()), 'n_eff': n_effective(w)} | {
        f'{name}{end}': float(part[i]) for i, name in enumerate(names)
        for end, part in parts.items()}


def _counts(c: Conformers, used: Ints, clusters: Clusters) -> Line:
    status = c.status
    n_left_out = int(np.isin(status, [
        Status.FAILED, Status.REJECTED, Status.BROKEN]).sum())
    return {
        'n_records': len(c.rows), 'first_row': int(c.rows[0]),
        'n_converged': int((status == Status.CONVERGED).sum()),
        'n_left_out': n_left_out,
        'n_cip': len({c.cip[i] for i in used.tolist()}),
        'n_close_pairs': clusters.n_close,
        'n_superposed': clusters.n_searched}


def _compat(c: Conformers, s: EnsembleSettings) -> list[Line]:
    """Return the original's table: duplicates count again, one is none."""
    some = np.flatnonzero(np.isfinite(c.energies) & np.isin(
        c.status, [Status.CONVERGED, Status.UNCONVERGED]))
    if len(some) < LEAST_COMPAT:
        return []
    names = [name for name in ORIGINAL if name in c.columns]
    excimer = indicators(
        [c.compat_classes[i] for i in some.tolist()], None)[:, 2]
    values = np.column_stack([excimer, *(c.columns[n][some] for n in names)])
    lines = []
    for t in s.temperatures:
        means = weighted_means(weights(c.energies[some], t), values)
        lines.append({
            **c.identity, 'temperature': t, 'n': len(some),
            'boltz_excimer_fraction': float(means[0]),
            **{ORIGINAL[name]: float(mean)
               for name, mean in zip(names, means[1:], strict=True)}})
    return lines


def _features(
    columns: Mapping[str, Floats], judged: Mapping[str, Floats],
    classes: Sequence[str], dark: Floats,
) -> Line:
    found: Line = dict(zip(FRACTIONS, fractions(
        {**judged, 'dark': dark}, classes), strict=True))
    for name, values in columns.items():
        found |= {f'{name}_{word}': value for word, value in zip(
            STATISTICS, statistics(values), strict=True)}
    return found


def _records(
    c: Conformers, used: Ints, clusters: Clusters,
    degeneracies: Floats | None, s: EnsembleSettings,
) -> dict[str, NDArray[Any]]:
    """Return duplicates and weights [n]; NaN outside the ensemble.

    A duplicate has the weight 0: its representative stands for it.
    """
    n = len(c.rows)
    duplicate_of = np.full(n, -1)
    rmsd = np.full(n, np.nan)
    of = clusters.representative
    is_copy = of != np.arange(len(used))
    duplicate_of[used[is_copy]] = c.rows[used[of[is_copy]]]
    rmsd[used[is_copy]] = clusters.rmsd[is_copy]
    unique = used[clusters.unique]
    found = {'duplicate_of': duplicate_of, 'duplicate_rmsd': rmsd}
    degeneracy = np.full(n, np.nan)
    degeneracy[used] = 0.0
    degeneracy[unique] = 1.0 if degeneracies is None else degeneracies
    found['degeneracy'] = degeneracy
    for t in s.temperatures:
        weight = np.full(n, np.nan)
        weight[used] = 0.0
        if len(unique):
            weight[unique] = weights(c.energies[unique], t, degeneracies)
        found[weight_name(t)] = weight
    return found
