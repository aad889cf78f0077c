"""What must survive an optimisation: bonds, CIP labels, biaryl axes."""
from mpiapp.bonding import bond_list
from mpiapp.chemistry.bonds import bonds_changed
from mpiapp.chemistry.stereo import Stereo, stereo_changed, stereo_labels

__all__ = [
    'Stereo',
    'bond_list',
    'bonds_changed',
    'stereo_changed',
    'stereo_labels',
]
