"""mpiapp: MPI-parallel work on ensembles of molecules.

`mpiapp.load('FILE.h5')` gives a result file as tables and arrays.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = '0.1.0'
__all__ = ['__version__', 'load']

if TYPE_CHECKING:
    from mpiapp.store.reader import load


def __getattr__(name: str) -> Any:
    """Load the reader when it is asked for, not with the package."""
    if name == 'load':
        from mpiapp.store.reader import load
        return load
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
