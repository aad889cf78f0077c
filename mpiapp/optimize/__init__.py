"""Step 3: relaxation of molecules on a potential seen as a function.

`optimizer(name)` gives the pure init/step functions of one method,
`driver.relax` runs many molecules through one potential at once.
"""
from mpiapp.optimize.registry import names, optimizer

__all__ = ['names', 'optimizer']
