"""The columns of a campaign of `hameval`."""
from __future__ import annotations

from mpiapp.hamiltonians.metrics import FORCES, LABELS, METRICS
from mpiapp.records import RUN, Column, Schema, taken

#: states a Hamiltonian belongs to
STATES = {'calc': 'a fresh SCF', 'gt': 'the stored reference',
          'pred': 'the prediction',
          'init': 'the matrix of the minao guess: no prediction at all'}
#: densities an SCF is started from
STARTS = {'minao': 'the minao guess, which is the SCF of calc',
          'pred': 'the density of the prediction',
          'gt': 'the density of the reference',
          'init': 'the density of the orbitals of the guess matrix',
          'atom': 'superposed atoms'}

ONE_CYCLE = ('energy_one_cycle', 'Hartree',
             'error of the energy after one SCF cycle from the prediction')
OVERLAP = ('overlap_diff', '1', 'mean absolute difference of the stored and '
           'the computed overlap')
#: pairs of states and their metrics; data: the labels of the data set,
#: pred_scf: the prediction after the cycles of --force-cycles
PAIRS = {
    'pred-gt': METRICS,
    'pred-calc': (*METRICS, ONE_CYCLE),
    'gt-calc': (*METRICS, OVERLAP),
    'init-gt': METRICS,
    'init-calc': METRICS,
    'pred-data': LABELS,
    'gt-data': LABELS,
    'calc-data': LABELS,
    'pred_scf-calc': FORCES,
}

WHERE = (
    Column('file_number', 'records', 'i4', '1',
           'position of the input in the given order, from 0', default=0),
    Column('record', 'records', 'i8', '1',
           'number of the frame in its input, from 0'),
    Column('name', 'records', 'S96', '',
           'stem of the two files, or name of the record'),
    Column('index', 'records', 'i8', '1',
           'number that the file gives the frame (idx); -1: none'),
    Column('molecule', 'records', 'S48', '', 'formula'),
    Column('charge', 'records', 'i4', 'e', 'total charge', default=0),
    Column('n_atoms', 'records', 'i4', '1', 'atoms', default=0),
    Column('nao', 'records', 'i4', '1', 'atomic orbitals', default=0),
    Column('n_electrons', 'records', 'i4', '1',
           'electrons outside core potentials', default=0),
)

RESULTS = (
    Column('status', 'results', 'i4', '1', 'see attribute codes', default=0),
    Column('reason', 'results', 'S24', '', 'reason word, empty if none'),
    Column('message', 'results', 'S240', '', 'reason in words'),
    Column('flags', 'results', 'S64', '',
           'what to know of metrics that are kept: near_singular, '
           'gap_closed'),
    Column('retries', 'results', 'i4', '1',
           'how often the frame was tried before', default=0),
    Column('proof', 'results', 'S16', '',
           'what proved unit and order: overlap; orbitals, where no overlap '
           'is stored'),
    Column('ao_order', 'results', 'S16', '',
           'order of the functions that made the proof hold'),
    Column('length_unit', 'results', 'S16', '',
           'unit of length that made it hold'),
    Column('overlap_error', 'results', 'f8', '1',
           'largest difference of stored and computed overlap in that '
           'order'),
    Column('delta', 'results', 'i1', '1',
           '1: the matrices are differences from the initial one'),
    Column('reference_orbital_mae', 'results', 'f8', 'Hartree',
           'occupied orbital energies of gt against calc, as used for '
           'delta'),
    Column('smallest_overlap', 'results', 'f8', '1',
           'least eigenvalue of the computed overlap'),
    Column('n_small_overlap', 'results', 'i4', '1',
           'eigenvalues below 1e-8, dropped or raised'),
    Column('rescue', 'results', 'S16', '',
           'what made the SCF converge: level_shift, damping, newton; empty '
           'if nothing was needed'),
    Column('cached', 'results', 'i1', '1',
           '1: calc came from --calc-cache', default=0, volatile=True),
    Column('seconds', 'results', 'f8', 's', 'time spent on the frame',
           volatile=True),
    *(Column(f'seconds_{stage}', 'results', 'f8', 's', f'of that: {what}',
             volatile=True)
      for stage, what in (
          ('load', 'reading and proving'), ('scf', 'the SCF of calc'),
          ('forces', 'gradients'), ('restart', 'SCF from other starts'))),
    *taken(RUN, 'rank', 'finished_at'),
)

ENERGIES = (
    *(Column(f'e_{state}', 'energies', 'f8', 'Hartree',
             f'total energy of the density of {what}')
      for state, what in STATES.items()),
    Column('e_data', 'energies', 'f8', 'Hartree',
           'energy that the data set states'),
)


def scf_columns() -> list[Column]:
    """Return the columns of the SCF runs."""
    made = []
    for start, what in STARTS.items():
        made += [
            Column(f'cycles_{start}', 'scf', 'i4', '1',
                   f'SCF cycles to --conv-tol from {what}'),
            Column(f'loose_cycles_{start}', 'scf', 'i4', '1',
                   'the same until the energy changes by less than 1e-5 '
                   'Hartree'),
            Column(f'converged_{start}', 'scf', 'i1', '1', '1: converged'),
            Column(f'start_error_{start}', 'scf', 'f8', 'Hartree',
                   'energy of the starting density less that of calc'),
            Column(f'seconds_{start}', 'scf', 'f8', 's', 'its time',
                   volatile=True),
        ]
        if start in ('pred', 'gt', 'init'):
            made.append(Column(
                f'gradient_{start}', 'scf', 'f8', 'Hartree',
                'orbital gradient at cycle 0, root mean square'))
        if start != 'minao':
            made += [
                Column(f'cycles_saved_{start}', 'scf', 'f8', '1',
                       'cycles from minao, without those of a rescue, less '
                       'those from here; where both converged, after a '
                       'rescue a lower bound'),
                Column(f'seconds_saved_{start}', 'scf', 'f8', 's',
                       'the same in seconds', volatile=True)]
    return made


def metric_columns() -> list[Column]:
    """Return the columns of all metrics, named pair/metric."""
    return [Column(f'{pair}/{name}', 'metrics', 'f8', unit, text)
            for pair, metrics in PAIRS.items()
            for name, unit, text in metrics]


def array_columns(matrices: bool) -> list[Column]:
    """Return the columns of arrays; matrices only where they are kept."""
    made = [
        Column('numbers', 'arrays', 'i4', '1', 'atomic numbers',
               ragged='atom'),
        Column('positions', 'arrays', 'f8', 'bohr', 'positions',
               shape=(3,), ragged='atom'),
        *(Column(f'forces_{state}', 'arrays', 'f8', 'Hartree/bohr',
                 f'forces of {what}' + (
                     '' if state == 'calc' else ', not self-consistent'),
                 shape=(3,), ragged='atom')
          for state, what in STATES.items()),
        Column('forces_pred_scf', 'arrays', 'f8', 'Hartree/bohr',
               'forces of the prediction after --force-cycles cycles',
               shape=(3,), ragged='atom'),
        *(Column(f'eps_{state}', 'arrays', 'f8', 'Hartree',
                 f'orbital energies of {what}; NaN for dropped orbitals',
                 ragged='orbital') for state, what in STATES.items()),
        *(Column(f'dipole_{state}', 'arrays', 'f8', 'Debye',
                 f'dipole of {what}', shape=(3,))
          for state, what in STATES.items())]
    if matrices:
        made += [Column(f'{letter}_{state}', 'arrays', 'f8', unit,
                        f'{word} of {what}, flat, PySCF order',
                        ragged='element')
                 for letter, unit, word in (
                     ('h', 'Hartree', 'Hamiltonian'),
                     ('p', '1', 'density matrix'))
                 for state, what in STATES.items()]
    return made


def schema_of(matrices: bool = False) -> Schema:
    """Return the columns of a campaign."""
    return Schema((*WHERE, *RESULTS, *ENERGIES, *scf_columns(),
                   *metric_columns(), *array_columns(matrices)))
