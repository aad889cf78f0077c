"""What comes out of the yardstick: ratios, their spread, agreement."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mpiapp.benchmarks import ways
from mpiapp.benchmarks.context import machine, quartiles, versions
from mpiapp.chemistry.geometry import superposed_rmsd
from mpiapp.records import Batch

#: meV; ends further apart are different minima
APART = 1.0
#: the shape whose product of ratios is reported
PRODUCT_SHAPE = 'small'


def of(
    cases: Sequence[Any], cells: Sequence[Mapping[str, Any]],
    described: Sequence[Mapping[str, Any]], judges: Mapping[str, Any],
) -> dict[str, Any]:
    """Return all results; `judges` are float64 references by model."""
    rows = [row_of(case, judges[case.model]) for case in cases]
    evaluations = [r['evaluations_ratio'] for r in rows
                   if 'evaluations_ratio' in r]
    middle = quartiles(evaluations)
    ratios = evaluation_ratios(cells)
    ends = {name: conformer_ratios(rows, name) for name in (
        ways.ASE_MACE, ways.ASE_NATIVE, ways.TORCH_SIM)}
    product = {shape: {dtype: middle[1] * q[1] for dtype, q in found.items()}
               for shape, found in ratios.items()}
    return {
        'evaluations_ratio': middle[1] if evaluations else None,
        'evaluation_ratio': {shape: {d: q[1] for d, q in found.items()}
                             for shape, found in ratios.items()},
        'conformer_ratio': {
            'end_to_end': medians(ends[ways.ASE_MACE]),
            'end_to_end_over_ase_native': medians(ends[ways.ASE_NATIVE]),
            'end_to_end_over_torch_sim': medians(ends[ways.TORCH_SIM]),
            'product_mace_off_small': product.get(PRODUCT_SHAPE, {}),
        },
        'agreement': agreement(rows),
        'spread': {'evaluations_ratio': [middle[0], middle[2]]
                   if evaluations else None,
                   'evaluation_ratio': {
                       shape: {d: [q[0], q[2]] for d, q in found.items()}
                       for shape, found in ratios.items()},
                   'conformer_ratio': {
                       name: {m: [q[0], q[2]] for m, q in found.items()}
                       for name, found in ends.items()}},
        'n': {'conformers': len(rows), 'evaluation_rounds': max(
            (c.get('rounds', 0) for c in cells), default=0)},
        'machine': machine(), 'versions': versions(),
        'ways': [dict(d) for d in described], 'cases': rows,
        'cells': [dict(c) for c in cells],
    }


def medians(found: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the middle of the quartiles by model."""
    return {model: q[1] for model, q in found.items()}


def row_of(case: Any, judge: Any) -> dict[str, Any]:
    """Return a conformer's numbers: of each way, and ours against others.

    Energies are those of the judge at the ends, eV; `energy_meV` and
    `rmsd_A` compare ours with the yardstick.
    """
    n_atoms = len(case.structure.numbers)
    row: dict[str, Any] = {
        'model': case.model, 'name': case.name, 'n_atoms': n_atoms,
        'ways': {way: {
            'outcome': end.outcome, 'evaluations': end.evaluations,
            'cpu_s': end.cpu, 'wall_s': end.wall,
            'us_per_atom_step': us_per_atom_step(end, n_atoms),
            'energy': energy_at(judge, case.structure, end.positions),
        } for way, end in case.ends.items()}}
    ours = row['ways'].get(ways.OURS)
    row['ratio'] = {way: other['cpu_s'] / ours['cpu_s']
                    for way, other in row['ways'].items()
                    if ours and way != ways.OURS}
    theirs = row['ways'].get(ways.ASE_MACE)
    if ours and theirs:
        row['evaluations_ratio'] = (
            theirs['evaluations'] / ours['evaluations'])
        row['energy_meV'] = 1000 * (ours['energy'] - theirs['energy'])
        row['rmsd_A'] = superposed_rmsd(
            case.ends[ways.ASE_MACE].positions,
            case.ends[ways.OURS].positions)
    return row


def us_per_atom_step(end: Any, n_atoms: int) -> float:
    """Return what an atom costs in an evaluation, its share of steps too.

    CPU time on one core, which a busy machine leaves as it is; wall time
    where the work is done on a GPU.
    """
    seconds = end.wall if end.on_gpu else end.cpu
    return float(1e6 * seconds / (n_atoms * end.evaluations))


def energy_at(judge: Any, structure: Any, positions: Any) -> float:
    """Return the energy [eV] of a geometry by the judge."""
    found = judge.evaluate(Batch.join([
        (structure.numbers, positions, structure.charge,
         structure.unpaired)]))
    return float(found.energies[0])


def evaluation_ratios(
    cells: Sequence[Mapping[str, Any]],
) -> dict[str, dict[str, list[float]]]:
    """Return quartiles of MACECalculator over ours by shape and precision.

    Ours is the fastest way that agreed with the reference.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for cell in cells:
        if cell['way'] == 'MACECalculator' or 'ratio' not in cell:
            continue
        by_dtype = found.setdefault(cell['model'], {})
        before = by_dtype.get(cell['dtype'], [0.0] * 3)
        by_dtype[cell['dtype']] = max(
            before, cell['ratio'], key=lambda q: float(q[1]))
    return found


def conformer_ratios(
    rows: Sequence[Mapping[str, Any]], way: str,
) -> dict[str, list[float]]:
    """Return quartiles by model of a way's CPU time over ours."""
    models = dict.fromkeys(r['model'] for r in rows if way in r['ratio'])
    return {m: quartiles([r['ratio'][way] for r in rows
                          if r['model'] == m and way in r['ratio']])
            for m in models}


def agreement(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Compare our ends with those of the yardstick, case by case."""
    compared = [r for r in rows if 'energy_meV' in r]
    same = [r for r in compared if abs(r['energy_meV']) <= APART]
    energies = np.array([r['energy_meV'] for r in compared])
    return {
        'energy_meV': {
            'median': float(np.median(energies)) if compared else None,
            'largest_same_minimum': max(
                (abs(r['energy_meV']) for r in same), default=None)},
        'rmsd_A': {
            'median': float(np.median([r['rmsd_A'] for r in compared]))
            if compared else None,
            'largest_same_minimum': max(
                (r['rmsd_A'] for r in same), default=None)},
        'higher': int((energies > APART).sum()),
        'lower': int((energies < -APART).sum()),
        'differ': [{k: r[k] for k in (
            'model', 'name', 'energy_meV', 'rmsd_A')}
            for r in compared if r not in same],
        'not_converged': [
            {'model': r['model'], 'name': r['name'], 'way': way}
            for r in rows for way, end in r['ways'].items()
            if end['outcome'] != 'converged'],
    }


def case_line(case: Any) -> str:
    """Return a conformer as a line of the table."""
    n_atoms = len(case.structure.numbers)
    parts = [
        f'{way} {end.evaluations} ev {end.cpu:.1f} s CPU {end.wall:.1f} s '
        f'{us_per_atom_step(end, n_atoms):.1f} us/atom-step'
        + ('' if end.outcome == 'converged' else f' ({end.outcome})')
        for way, end in case.ends.items()]
    return f'{case.model} {case.name} {n_atoms} atoms: ' + '; '.join(parts)


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the totals in words."""
    spread = result['spread']
    if result['evaluations_ratio'] is not None:
        low, high = spread['evaluations_ratio']
        yield (f'evaluations, ASE L-BFGS / ours: median '
               f'{result["evaluations_ratio"]:.1f} ({low:.1f}-{high:.1f})')
    for shape, found in result['evaluation_ratio'].items():
        for dtype, ratio in found.items():
            low, high = spread['evaluation_ratio'][shape][dtype]
            yield (f'one evaluation, MACECalculator / ours, {shape} {dtype}:'
                   f' {ratio:.1f} ({low:.1f}-{high:.1f})')
    for way, by_model in spread['conformer_ratio'].items():
        for model, (low, high) in by_model.items():
            key = {ways.ASE_MACE: 'end_to_end',
                   ways.ASE_NATIVE: 'end_to_end_over_ase_native',
                   ways.TORCH_SIM: 'end_to_end_over_torch_sim'}[way]
            ratio = result['conformer_ratio'][key][model]
            yield (f'a conformer, {way} / ours, {model}: {ratio:.1f} '
                   f'({low:.1f}-{high:.1f})')
    product = result['conformer_ratio']['product_mace_off_small']
    for dtype, ratio in product.items():
        yield (f'product of both for the shape of MACE-OFF23 small, {dtype}: '
               f'{ratio:.0f}')
    found = result['agreement']
    if found['energy_meV']['median'] is not None:
        yield (f'ends, ours less ASE: median '
               f'{found["energy_meV"]["median"]:.2f} meV, '
               f'{found["rmsd_A"]["median"]:.3f} A; higher by over '
               f'{APART:g} meV in {found["higher"]}, lower in '
               f'{found["lower"]} of {result["n"]["conformers"]}')
    for way in found['not_converged']:
        yield (f'not converged: {way["model"]} {way["name"]} by '
               f'{way["way"]}')
