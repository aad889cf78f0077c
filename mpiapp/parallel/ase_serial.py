"""ASE without MPI: the only module that uses its readers and optimisers.

Once mpi4py is imported ASE takes COMM_WORLD by itself: `ase.io.read` hands
every rank the molecule of rank 0, `write` writes on rank 0 alone, and
optimisers wait for ranks that are elsewhere.
"""
from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

#: JAX's thread pool would take all cores of the node
XLA_ONE_THREAD = ('--xla_cpu_multi_thread_eigen=false '
                  'intra_op_parallelism_threads=1')


def read(path: Any, index: Any = -1, format: str | None = None) -> Any:
    """Read Atoms on this rank alone, from a name or a file that is open;
    see `ase.io.read`."""
    import ase.io
    return ase.io.read(path, index=index, format=format, parallel=False)


def write(path: str, images: Any, format: str | None = None) -> None:
    """Write Atoms from this rank alone; see `ase.io.write`."""
    import ase.io
    ase.io.write(path, images, format=format, parallel=False)


def optimizer(name: str, atoms: Any, **options: Any) -> Any:
    """Return an ASE optimiser (`LBFGS`, `BFGS`, `FIRE`) of this rank."""
    import ase.optimize
    from ase.parallel import DummyMPI
    options.setdefault('logfile', None)
    return getattr(ase.optimize, name)(atoms, comm=DummyMPI(), **options)


def atoms_of(numbers: Any, positions: Any, point: Callable[[Any], Any]) -> Any:
    """Return Atoms whose energy and forces `point(positions)` gives."""
    from ase import Atoms
    from ase.calculators.calculator import Calculator, all_changes

    class Points(Calculator):  # type: ignore[misc]
        """Asks `point`, once for each geometry."""

        implemented_properties = ['energy', 'forces']

        def calculate(self, atoms: Any = None, properties: Any = ('energy',),
                      system_changes: Any = all_changes) -> None:
            """Fill in energy and forces."""
            super().calculate(atoms, properties, system_changes)
            found = point(atoms.get_positions())
            self.results = {'energy': found.energy, 'forces': found.forces}
    atoms = Atoms(numbers=numbers, positions=positions)
    atoms.calc = Points()
    return atoms


def sella(atoms: Any, **options: Any) -> Any:
    """Return a Sella optimiser of this rank, of one thread.

    Sella hands no communicator on to ASE.  Importing it starts JAX, sets its
    arithmetic to 64 bits for the whole process and makes a folder for
    compiled functions, in the user's home unless JAX_COMPILATION_CACHE_DIR
    names another: here in that of temporary files.
    """
    folder = Path(tempfile.gettempdir()) / f'mpiapp-jax-{os.getuid()}'
    os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(folder))
    flags = os.environ.get('XLA_FLAGS', '')
    if 'xla_cpu_multi_thread_eigen' not in flags:
        os.environ['XLA_FLAGS'] = f'{flags} {XLA_ONE_THREAD}'.strip()
    from ase.parallel import DummyMPI
    optimiser = import_module('sella').Sella(
        atoms, logfile=None, trajectory=None, max_cpu_threads=1, **options)
    optimiser.comm = DummyMPI()
    return optimiser


def steps_of(optimiser: Any, fmax: float, limit: int) -> Iterator[int]:
    """Yield the steps made after each of an ASE optimiser, from 0."""
    for _ in optimiser.irun(fmax=fmax, steps=limit):
        yield int(optimiser.nsteps)
