"""The table of means of SPHNet's evaluation script, under its own names."""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

#: its key: our column
KEYS: Mapping[str, str] = {
    **{f'hamiltonian_diff ({a}-{b})': f'{a}-{b}/hamiltonian_diff'
       for a, b in (('pred', 'gt'), ('pred', 'calc'), ('gt', 'calc'))},
    'pred_energy': 'e_pred', 'gt_energy': 'e_gt', 'calc_energy': 'e_calc',
    'energy_diff (pred-gt)': 'pred-gt/energy_diff',
    'energy_diff (pred-calc_energy)': 'pred-calc/energy_diff',
    'energy_diff (gt-calc_energy)': 'gt-calc/energy_diff',
    'forces_diff l2 (pred-gt)': 'pred-gt/force_mae',
    'forces_diff l2 (pred-calc_forces)': 'pred-calc/force_mae',
    'forces_diff l2 (gt-calc_forces)': 'gt-calc/force_mae',
    'pred_force_norm_diff (pred-gt)': 'pred-gt/force_norm_diff',
    'pred_force_norm_diff (pred-calc_forces)': 'pred-calc/force_norm_diff',
    'gt_force_norm_diff (gt-calc_forces)': 'gt-calc/force_norm_diff',
    **{f'{name} ({a}-{b})': f'{a}-{b}/{name}'
       for name in ('orbital_coeff_similarity', 'occupied_orbital_energy_mae')
       for a, b in (('pred', 'gt'), ('pred', 'calc'), ('gt', 'calc'))},
    'overlap_diff (gt-calc)': 'gt-calc/overlap_diff',
}


def means(
    column: Callable[[str], Any], n_failed: int,
) -> dict[str, float | int | None]:
    """Return its keys with means over the frames that are well.

    `column` returns the values of a column for these frames; what has no
    value in any is None.  `error_count` is the number of failed frames.
    """
    found: dict[str, float | int | None] = {}
    for key, name in KEYS.items():
        values = [float(v) for v in column(name) if math.isfinite(v)]
        found[key] = math.fsum(values) / len(values) if values else None
    found['error_count'] = n_failed
    return found
