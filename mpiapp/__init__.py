"""mpiapp: MPI-parallel work on ensembles of molecules.

`mpiapp.load('FILE.h5')` gives a result file as tables and arrays;
`mpiapp.relax('FILE.sdf', model='student')` runs a campaign from a script.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = '0.1.0'
__all__ = ['__version__', 'load', 'relax']

if TYPE_CHECKING:
    from mpiapp.reopt import relax
    from mpiapp.store.reader import load


def __dir__() -> list[str]:
    """List what is offered."""
    return __all__


def __getattr__(name: str) -> Any:
    """Import what is asked for, not all with the package."""
    if name == 'load':
        from mpiapp.store.reader import load
        return load
    if name == 'relax':
        from mpiapp.reopt import relax
        return relax
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
