"""The columns of a campaign of `tssearch`."""
from __future__ import annotations

from mpiapp.records import RUN, Column, Schema

#: those of RUN that are of relaxations alone
_LEFT_OUT = ('fmax_final', 'evaluations_float32', 'float32_energy_error',
             'float32_force_error')

SAMPLES = (
    Column('sample', 'samples', 'i4', '1',
           'number of the reaction, counted over all files from 0'),
    Column('draw', 'samples', 'i4', '1', 'number of the noise draw, from 0'),
    Column('name', 'samples', 'S64', '', 'name of the reaction'),
    Column('n_atoms', 'samples', 'i4', '1', 'atoms', default=0),
    Column('charge', 'samples', 'i4', 'e', 'total charge', default=0),
    Column('unpaired', 'samples', 'i4', '1', 'unpaired electrons',
           default=0),
    Column('start_from', 'samples', 'S24', '', 'what the start is made of'),
    Column('noise', 'samples', 'f8', 'angstrom',
           'standard deviation of one coordinate', default=0.0),
    Column('noise_rms', 'samples', 'f8', 'angstrom',
           'RMS displacement of an atom, sqrt(3) times noise', default=0.0),
    Column('has_ts', 'samples', 'i1', '1', '1: the TS is known', default=0),
)

ENDS = (
    Column('n_calls', 'results', 'i4', '1',
           'evaluations of energy and forces outside Hessians', default=0),
    Column('n_hess', 'results', 'i4', '1', 'Hessians', default=0),
    Column('n_displaced', 'results', 'i4', '1',
           'evaluations inside Hessians by finite differences', default=0),
    Column('n_escape', 'results', 'i4', '1', 'escapes', default=0),
    Column('n_neg', 'results', 'i4', '1',
           'negative eigenvalues at the end, -1: unknown'),
    Column('lambda0', 'results', 'f8', 'eV/(angstrom^2 amu)',
           'lowest eigenvalue of the vibrations'),
    Column('lambda1', 'results', 'f8', 'eV/(angstrom^2 amu)',
           'second lowest eigenvalue'),
    Column('fmax', 'results', 'f8', 'eV/angstrom',
           'largest force on an atom at the end'),
    Column('energy', 'results', 'f8', 'eV', 'energy at the end'),
    Column('rmsd_to_reference', 'results', 'f8', 'angstrom',
           'RMSD to the reference TS after superposition'),
    Column('same_connectivity', 'results', 'i1', '1',
           '1: bonds as those of the reference TS, -1: unknown'),
    Column('ends', 'results', 'S8', '',
           'downhill on both sides: ok, half, other, unknown; '
           'empty: not asked'),
)

ATOMS = (
    Column('numbers', 'samples', 'i4', '1', 'atomic numbers', ragged='atom'),
    Column('x_start', 'samples', 'f8', 'angstrom', 'start', shape=(3,),
           ragged='atom'),
    Column('x_reference', 'samples', 'f8', 'angstrom',
           'TS of the file, or with --reference own the calculator\'s; NaN '
           'if there is none', shape=(3,),
           ragged='atom'),
    Column('x_final', 'final_coords', 'f8', 'angstrom', 'end', shape=(3,),
           ragged='atom'),
)

SADDLE = Schema(
    SAMPLES + tuple(c for c in RUN if c.name not in _LEFT_OUT) + ENDS
    + ATOMS)
