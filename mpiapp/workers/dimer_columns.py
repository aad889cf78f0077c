"""The columns of a campaign of `validate`."""
from __future__ import annotations

from mpiapp.records import RUN, Column, Schema

WHERE = (
    Column('benchmark', 'records', 'S32', '', 'dimer, or frame of a set'),
    Column('method', 'records', 'S32', '', 'name of the method in tables'),
    Column('potential', 'records', 'S32', '', 'name of it among options'),
    Column('start', 'records', 'S16', '',
           'start geometry; single_point: energies at a fixed geometry'),
    Column('kick', 'records', 'i4', '1',
           'number of the random kick, 0: none', default=0),
    Column('data_set', 'records', 'S16', '',
           'published set of a single point, empty for named dimers'),
    Column('n_atoms', 'records', 'i4', '1', 'atoms', default=0),
    Column('n_first', 'records', 'i4', '1',
           'atoms of the first monomer, which come first', default=0),
    Column('n_aromatic_atoms', 'records', 'i4', '1',
           'heavy atoms of rings with at most three neighbours', default=0),
)

ENDS = (
    Column('structure', 'results', 'S16', '',
           'stacked, twisted, crossed, t, tilted, apart, or saddle: any of '
           'these from which a shift leads downhill'),
    Column('verdict', 'results', 'S16', '',
           'pass, marginal, fail, ungated, not_run'),
    Column('energy_change', 'results', 'f8', 'eV',
           'change of the energy in the last step'),
    Column('load_seconds', 'results', 'f8', 's',
           'time to load the method on this rank', volatile=True),
)

ENERGY = (
    Column('e_total', 'energies', 'f8', 'eV', 'total energy of the dimer'),
    Column('binding_kcal', 'energies', 'f8', 'kcal/mol',
           'dimer less both monomers at their own minima'),
    Column('interaction_kcal', 'energies', 'f8', 'kcal/mol',
           'dimer less both monomers as they are in it'),
    Column('binding_after_kcal', 'energies', 'f8', 'kcal/mol',
           'binding where the optimisation went on from a saddle'),
)

#: name of a measure, unit, what it is
MEASURES = (
    ('centroid', 'angstrom', 'distance of the heavy-atom centroids'),
    ('vertical', 'angstrom', 'distance along the mean normal'),
    ('slip', 'angstrom', 'distance across the mean normal'),
    ('slip_long', 'angstrom', 'slip along the mean long axis'),
    ('slip_short', 'angstrom', 'slip across the mean long axis'),
    ('twist', 'degree', 'angle of the long axes, 0 to 90'),
    ('plane_angle', 'degree', 'angle of the planes'),
    ('contact', 'angstrom', 'shortest distance of two carbons'),
    ('d12', 'angstrom', 'distance of the centroids along normal 1'),
    ('d21', 'angstrom', 'distance of the centroids along normal 2'),
)
#: those that are also kept for the structure after a saddle
KEPT_AFTER = ('centroid', 'vertical', 'slip', 'twist', 'plane_angle',
              'contact')


def measure_columns() -> tuple[Column, ...]:
    """Return the columns of the geometry, those after a saddle last."""
    return (*(Column(name, 'geometry', 'f8', unit, about)
              for name, unit, about in MEASURES),
            *(Column(f'{name}_after', 'geometry', 'f8', unit,
                     f'{about}, after a saddle')
              for name, unit, about in MEASURES if name in KEPT_AFTER))


ATOMS = (
    Column('numbers', 'geometry', 'i4', '1', 'atomic numbers',
           ragged='atom'),
    Column('x_start', 'geometry', 'f8', 'angstrom', 'positions before',
           shape=(3,), ragged='atom'),
    Column('x_final', 'geometry', 'f8', 'angstrom',
           'positions at the stationary point', shape=(3,), ragged='atom'),
    Column('x_after', 'geometry', 'f8', 'angstrom',
           'positions where it went on from a saddle, else NaN', shape=(3,),
           ragged='atom'),
)

REFERENCE = (
    Column('ref_kind', 'reference', 'S16', '',
           'kind of the stationary point of the reference'),
    Column('ref_vertical', 'reference', 'f8', 'angstrom', 'its vertical'),
    Column('ref_slip', 'reference', 'f8', 'angstrom', 'its slip'),
    Column('ref_centroid', 'reference', 'f8', 'angstrom',
           'its centroid distance; for start `original` what the original '
           'compared with'),
    Column('ref_energy_kcal', 'reference', 'f8', 'kcal/mol',
           'its binding energy, of a single point its interaction energy'),
    Column('ref_source', 'reference', 'S96', '', 'where it is from'),
    Column('ref_confirmed', 'reference', 'i1', '1',
           '1: the distance was checked in its source', default=0),
)

DIMER = Schema(WHERE + RUN + ENDS + ENERGY + measure_columns() + ATOMS
               + REFERENCE)
