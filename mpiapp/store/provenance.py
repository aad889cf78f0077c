"""Which software made a result: versions of what takes part."""
from __future__ import annotations

import platform
from importlib import metadata

import mpiapp

#: distributions whose version may change a result
PACKAGES = ('numpy', 'scipy', 'torch', 'mace-torch', 'e3nn', 'matscipy',
            'ase', 'rdkit', 'tblite', 'h5py', 'mpi4py', 'pandas')


def package_versions() -> dict[str, str]:
    """Return name and version of mpiapp, Python and the packages."""
    found = {'mpiapp': mpiapp.__version__,
             'python': platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = 'absent'
    return found
