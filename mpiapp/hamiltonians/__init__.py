"""Matrices of model Hamiltonians: files, AO orders, orbitals, metrics.

Arrays go in and come out; nothing here knows PySCF, MPI or HDF5.  Bohr,
Hartree and Hartree/bohr.
"""
