"""mpiapp: MPI-parallel work on ensembles of molecules."""

__version__ = '0.1.0'
