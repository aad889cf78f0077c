"""What must survive an optimisation: bonds, CIP labels, biaryl axes."""
from mpiapp.chemistry.bonds import bond_list, bonds_changed
from mpiapp.chemistry.stereo import Stereo, stereo_changed, stereo_labels

__all__ = [
    'Stereo',
    'bond_list',
    'bonds_changed',
    'stereo_changed',
    'stereo_labels',
]
