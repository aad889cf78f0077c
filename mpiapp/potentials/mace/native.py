"""The native back end: symmetrix-xl, compiled loops on the CPU.

Molecules are evaluated one after the other through the library's prepared
graphs, from our own list of pairs.  The library makes radial tables for the
elements of a graph and makes them anew, in seconds, whenever that set
changes.  Hence all elements met so far are in each graph: those that the
molecule lacks as atoms without neighbours, whose energy is left out.
"""
from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.potentials.base import (
    Potential, PotentialOptions, file_sha256, settle, unusable
)
from mpiapp.potentials.mace import graph as graphs
from mpiapp.potentials.mace.conversion import (
    DISTRIBUTION, SPLINE_POINTS, converted
)
from mpiapp.potentials.mace.loading import Loaded, load
from mpiapp.potentials.mace.reference import settle_torch
from mpiapp.records import Batch, Evaluation, Floats, InputError, Ints

#: Memory of a molecule of 200 atoms: they are evaluated one by one, so that
#: larger batches cost nothing; 4.2 MB for 154 atoms, as the library says
BYTES_PER_ATOM = 3e4
#: Bytes of the radial tables per spline point, ordered pair of elements and
#: radial function: measured 26 to 42 with 256 to 1792 functions
TABLE_BYTES = 42
#: CPU seconds for each byte of them: measured 2e-9 to 5e-9
SECONDS_PER_BYTE = 5e-9

#: How the library is to multiply matrices.  Left to itself it looks through
#: all loaded libraries, at every product, whether its BLAS is safe to call
#: from several threads: a fifth to half of an evaluation.  With one thread
#: it is (`unsafe` speaks of more), with more it must not be called.
BLAS = 'SYMMETRIX_HOST_WORKER_BLAS'

#: values of `BLAS` that are ours
_told: set[str] = set()

log = logging.getLogger(__name__)


def build(options: PotentialOptions, name: str) -> MaceNative:
    """Build the potential from resolved options; see `mace.build`.

    Raises InputError, saying why, where the library can't run the model
    here.
    """
    if settle_torch(options.threads, options.device) != 'cpu':
        raise InputError('back end native runs on the CPU only: '
                         '--device cpu, or another --backend')
    tell_blas_policy(options.threads)
    path = str(options.model_path)
    model = load(path, 'float64', 'cpu')
    evaluator = _evaluator(converted(path), options)
    notes = {
        'file': Path(path).name,
        'sha256': file_sha256(path),
        'architecture': type(model.module).__name__,
        'head': model.head_name,
        'r_max': repr(model.r_max),
        'spline_points': str(SPLINE_POINTS),
        'reproducible': 'bit for bit' if options.threads == 1 else
        'to rounding only: more than one thread',
        **{p: version(p) for p in (DISTRIBUTION, 'torch', 'mace-torch')},
    }
    # the module itself is not needed any more, and memory is
    return MaceNative(name, evaluator, replace(model, module=None),
                      options.dtype, None, notes,
                      radial_functions=radial_functions(model))


def tell_blas_policy(threads: int) -> None:
    """Tell the library how a process of so many threads multiplies.

    Once for the process, as threads are; a value of the user's stays.
    """
    policy = 'unsafe' if threads == 1 else 'off'
    if os.environ.setdefault(BLAS, policy) in _told:
        os.environ[BLAS] = policy
    if os.environ[BLAS] == policy:
        _told.add(policy)


def radial_functions(model: Loaded) -> int:
    """Return how many radial functions a pair of elements has."""
    return sum(layer.conv_tp.weight_numel
               for layer in model.module.interactions)


def table_bytes(functions: int, n_elements: int) -> float:
    """Estimate the memory of the radial tables of one process."""
    return float(TABLE_BYTES * SPLINE_POINTS * n_elements ** 2 * functions)


@dataclass(frozen=True, eq=False)
class MaceNative:
    """A MACE model evaluated by the native library, on one process.

    `met` holds the species of all molecules so far, in a fixed order;
    `radial_functions` are those of a pair of elements.
    """

    name: str
    evaluator: Any
    model: Loaded
    dtype: str
    finisher: Potential | None
    notes: Mapping[str, str] = field(default_factory=dict)
    met: set[int] = field(default_factory=set)
    radial_functions: int = 0
    accepts_charge: bool = False
    topology_guards: bool = True
    bytes_per_atom: float = BYTES_PER_ATOM

    @property
    def elements(self) -> frozenset[int]:
        """Atomic numbers that the model was trained on."""
        return frozenset(self.model.numbers.tolist())

    def describe(self) -> dict[str, str]:
        """Return what is stored in the result file."""
        return {'name': self.name, 'backend': 'native', 'dtype': self.dtype,
                'device': 'cpu', **self.notes}

    def noting(self, **notes: str) -> MaceNative:
        """Return the same potential with more lines in `describe`."""
        return replace(self, notes={**self.notes, **notes})

    def finishing(self, finisher: Potential | None) -> MaceNative:
        """Return the same potential with that finisher."""
        return replace(self, finisher=finisher)

    def evaluate(self, batch: Batch) -> Evaluation:
        """Return energies and forces, molecule by molecule."""
        energies = np.zeros(len(batch))
        interaction = np.zeros(len(batch))
        forces = np.zeros_like(batch.positions)
        failures = unusable(batch, self.elements, self.name)
        good = [i for i in range(len(batch)) if i not in failures]
        species = self._species(batch.numbers)
        for i in good:
            self.met.update(species[batch.part(i)].tolist())
        for i in good:
            part = batch.part(i)
            found = self._one(species[part], batch.positions[part])
            if found is None:
                failures[i] = ('nan', 'two atoms are at the same place')
                continue
            interaction[i], forces[part] = found
            e0 = float(self.model.e0[species[part]].sum())
            energies[i] = interaction[i] + e0
        return settle(batch, energies, forces, interaction, failures)

    def _species(self, numbers: NDArray[np.int32]) -> Ints:
        """Return indices into the model's elements; -1 for others."""
        table = np.full(int(max(numbers.max(initial=0), 119)) + 1, -1)
        table[self.model.numbers] = np.arange(len(self.model.numbers))
        return table[np.maximum(numbers, 0)].astype(np.int64)

    def _one(
        self, species: Ints, positions: Floats,
    ) -> tuple[float, Floats] | None:
        """Return E - E0, eV, and forces, eV/A; None for touching atoms."""
        n = len(species)
        first, second = graphs.pairs(positions, self.model.r_max)
        vectors = positions[second] - positions[first]
        others = sorted(self.met - set(species.tolist()))
        if not len(first):  # the library refuses a graph without edges
            first, second = np.array([[n, n + 1], [n + 1, n]])
            vectors = 0.5 * self.model.r_max * np.array([[1., 0, 0],
                                                         [-1., 0, 0]])
            others = [int(species[0])] * 2 + others
        distances = np.sqrt(np.einsum('ij,ij->i', vectors, vectors))
        if not (distances > 0.0).all():
            return None
        types = np.array([*species, *others], np.int32)
        energies, forces = _run(
            self.evaluator, types, first.astype(np.int32),
            second.astype(np.int32), vectors, distances)
        return float(energies[:n].sum()), forces[:n]


def _run(
    native: Any, types: NDArray[np.int32], receivers: NDArray[np.int32],
    senders: NDArray[np.int32], vectors: Floats, distances: Floats,
) -> tuple[Floats, Floats]:
    """Return energies [n_atoms] and forces [n_atoms, 3] of a graph.

    `types` [n_atoms] are species; the edges [n_edges] are sorted by their
    receivers, `vectors` [n_edges, 3] lead to the senders.
    """
    counts = np.bincount(receivers, minlength=len(types)).astype(np.int32)
    prepared = native._prepare_factorized_graph(
        len(types), types, counts, senders, types[senders])
    native._compute_prepared_factorized(
        prepared, vectors.reshape(-1), distances)
    energies = np.array(native.node_energies, np.float64)
    forces = np.array(native._reduce_atom_forces(
        len(types), receivers, senders, prepared), np.float64)
    return energies, forces.reshape(-1, 3)


def _evaluator(path: Path, options: PotentialOptions) -> Any:
    """Load the converted model; compiles a kernel when it is new."""
    with _environment(
            KOKKOS_NUM_THREADS=str(options.threads),
            KOKKOS_DISABLE_WARNINGS='true'):
        try:
            from symmetrix import Symmetrix
            calculator = Symmetrix(
                str(path), dtype=options.dtype, streamed_edges='direct',
                execution_profile='speed')
        except Exception as error:  # of its loader, compiler and parser
            raise InputError(
                'back end native: the library refuses the model '
                f'({type(error).__name__}: {error})') from error
    # Its ASE calculator would build a list of pairs of its own, in a cell.
    evaluator = calculator.evaluator
    absent = [name for name in ('_prepare_factorized_graph',
                                '_compute_prepared_factorized',
                                '_reduce_atom_forces')
              if not hasattr(evaluator, name)]
    if absent:
        raise InputError(
            f'back end native: {DISTRIBUTION} {version(DISTRIBUTION)} lacks '
            f'{", ".join(absent)}; 0.1.1 is known to work')
    if options.dtype == 'float64' and hasattr(
            evaluator, '_set_m1_polynomial_policy'):
        # Keeps the polynomials of the second layer for the way back, as
        # its planner does not on CPUs: the same bits in up to a third less
        # time.  In float32 it is slower.
        evaluator._set_m1_polynomial_policy('retained')
    return evaluator


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set environment variables for a while, those that are not set."""
    new = {k: v for k, v in values.items() if k not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for key in new:
            del os.environ[key]
