"""Descriptors in the table of conformers: those of the original, then ours.

Columns with the original's names show what `--descriptors` asks for, the
best pair of chromophores (full) or the two ring sets (compat).
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mpiapp import measures
from mpiapp.chemistry.classes import geometry_warnings
from mpiapp.chemistry.planes import MAX_PLANE_ANGLE
from mpiapp.store.formats import flag, number

if TYPE_CHECKING:
    import pandas

#: (header, column, formatter)
Shown = tuple[str, str, Callable[[Any], str]]

#: column of either mode behind what is shown
_SOURCES = {
    'full': {'angle': 'plane_angle', 'distance': 'vertical',
             'overlap': 'overlap_gated', 'centroid': 'centroid',
             'slip': 'slip', 'class': 'classification', 'dark': 'dark'},
    'compat': {'angle': 'compat_plane_angle', 'distance': 'compat_distance',
               'overlap': 'compat_overlap', 'centroid': 'compat_centroid',
               'slip': 'compat_slip', 'class': 'compat_classification',
               'dark': 'compat_dark'},
}
#: the original's words
_WORDS = {'strong': 'strong_excimer', 'weak': 'weak_excimer'}
_SUFFIXES = {'degree': '_deg', 'angstrom': '_A', 'percent': '_pct', '1': ''}
_DEGREES = number('.4f')
_FINE = number('.6f')


def _is_dark(value: Any) -> str:
    return flag(value == 1)


def _class(word: str) -> str:
    return _WORDS.get(word, word)


ORIGINAL: tuple[Shown, ...] = (
    ('moe_plane_angle_deg', 'shown_angle_start', _DEGREES),
    ('moe_interplane_distance_A', 'shown_distance_start', _FINE),
    ('moe_pi_overlap_pct', 'shown_overlap_start', _DEGREES),
    ('plane_angle_deg', 'shown_angle', _DEGREES),
    ('interplane_distance_A', 'shown_distance', _FINE),
    ('pi_overlap_pct', 'shown_overlap', _DEGREES),
    ('centroid_distance_A', 'shown_centroid', _FINE),
    ('slip_stack_displacement_A', 'shown_slip', _FINE),
    ('bridge_dihedral_deg', 'bridge_dihedral', _DEGREES),
    ('geometry_warnings', 'shown_warnings', str),
    ('classification', 'shown_class', _class),
    ('dark_excimer_warning', 'shown_dark', _is_dark),
    ('distance_delta_A', 'shown_delta', _FINE),
)


def _both(prefix: str, header: str, name: str, unit: str) -> list[Shown]:
    form = _FINE if unit in ('angstrom', '1') else _DEGREES
    return [(f'{start}{header}{name}{_SUFFIXES[unit]}',
             f'{prefix}{name}{end}', form)
            for start, end in (('', ''), ('start_', '_start'))]


OURS: tuple[Shown, ...] = (
    ('best_names', 'best_names', str),
    ('best_classification', 'classification', _class),
    ('start_best_classification', 'classification_start', _class),
    *_both('', 'best_', 'excimer_score', '1'),
    *[column for name, unit, _ in measures.PAIR
      for column in _both('', 'best_', name, unit)],
    *_both('', 'best_', 'planarity_rms', 'angstrom'),
    ('start_bridge_dihedral_deg', 'bridge_dihedral_start', _DEGREES),
    ('descriptor_note', 'descriptor_note', str),
    ('start_descriptor_note', 'descriptor_note_start', str),
    ('compat_classification', 'compat_classification', _class),
    ('start_compat_classification', 'compat_classification_start', _class),
    *_both('compat_', 'compat_', 'excimer_score', '1'),
    *[column for name, unit, _ in measures.COMPAT
      for column in _both('compat_', 'compat_', name, unit)],
)

#: columns of the table that are not in the result file
ADDED = frozenset(column for _, column, _ in ORIGINAL
                  if column.startswith('shown_'))


def with_shown(table: pandas.DataFrame,
               meta: Mapping[str, Any]) -> pandas.DataFrame:
    """Add the columns `ADDED`, as the campaign's options ask for them."""
    chosen = meta.get('descriptors', {})
    # joined files that differ have a list there, older ones nothing
    mode = 'compat' if chosen.get('mode') == 'compat' else 'full'
    source = _SOURCES[mode]
    columns = {f'shown_{name}': table[column]
               for name, column in source.items()}
    columns.update({f'shown_{name}_start': table[f'{source[name]}_start']
                    for name in ('angle', 'distance', 'overlap')})
    columns['shown_delta'] = (columns['shown_distance_start']
                              - columns['shown_distance'])
    warn = compat_warning if mode == 'compat' else full_warning
    limit = float(chosen.get('warn_angle', MAX_PLANE_ANGLE))
    columns['shown_warnings'] = [
        warn(angle, distance, note, limit) for angle, distance, note in zip(
            columns['shown_angle'], columns['shown_distance'],
            table['descriptor_note'], strict=True)]
    return table.assign(**columns)


def compat_warning(angle: float, distance: float, note: str,
                   limit: float) -> str:
    """Return the original's warnings."""
    return geometry_warnings(angle, distance, limit)


def full_warning(angle: float, distance: float, note: str,
                 limit: float) -> str:
    """Return the note, and why there is no distance."""
    tilted = (f'no interplane distance at angle {angle:.1f} deg '
              f'(>{MAX_PLANE_ANGLE:.0f} deg)'
              if np.isfinite(angle) and angle > MAX_PLANE_ANGLE else '')
    return '; '.join(text for text in (note, tilted) if text)
