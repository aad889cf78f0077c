"""Conversion factors: the only place in the project that holds any.

Inside the programs lengths are angstrom, energies eV, forces eV/A and angles
degrees; conversion happens where a table or a foreign library needs it.
"""
from ase import units as _ase

#: kcal/mol per eV, the constant of the original tables
#: (pyrene_analyzer 1.1.0); CODATA 2018 gives 23.0605478, 3e-7 higher.
KCAL_PER_EV = 23.060541945329334

#: eV per Hartree and angstrom per bohr, ASE's (CODATA 2014).
EV_PER_HARTREE = _ase.Hartree
ANGSTROM_PER_BOHR = _ase.Bohr

#: eV per kelvin, and eV of 1 amu (A/fs)^2: masses in eV fs^2/A^2.
EV_PER_KELVIN = _ase.kB
EV_PER_AMU_A2_FS2 = 1.0 / _ase.fs ** 2
