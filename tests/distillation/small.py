"""Small labelled structures and a recipe that trains in seconds."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from mpiapp.distillation.frames import Frame

#: numbers and positions, A, of a few molecules
MOLECULES = {
    'water': ([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]),
    'ammonia': ([7, 1, 1, 1], [[0, 0, 0], [0.94, 0, 0.38],
                               [-0.47, 0.81, 0.38], [-0.47, -0.81, 0.38]]),
    'methane': ([6, 1, 1, 1, 1], [[0, 0, 0], [.63, .63, .63],
                                  [-.63, -.63, .63], [-.63, .63, -.63],
                                  [.63, -.63, -.63]]),
    'methanol': ([6, 8, 1, 1, 1, 1],
                 [[-.05, .67, 0], [-.05, -.76, 0], [-1.1, .98, 0],
                  [.44, 1.07, .9], [.44, 1.07, -.9], [.87, -1.05, 0]]),
}
RECIPE = '''model = 'ScaleShiftMACE'
num_interactions = 2
hidden_irreps = '4x0e'
max_ell = 1
correlation = 2
r_max = 3.0
num_radial_basis = 4
radial_MLP = '[4]'
MLP_irreps = '4x0e'
interaction = 'RealAgnosticResidualInteractionBlock'
interaction_first = 'RealAgnosticResidualInteractionBlock'
default_dtype = 'float64'
lr = 0.005
batch_size = 4
valid_batch_size = 4
error_table = 'PerAtomMAE'
ema = true
'''


def frames(n: int = 12) -> list[Frame]:
    """Return n rattled molecules under springs between all atoms."""
    rng = np.random.default_rng(3)
    made = []
    for i in range(n):
        name = list(MOLECULES)[i % len(MOLECULES)]
        numbers, rest = MOLECULES[name]
        ideal = np.array(rest, float)
        x = ideal + 0.05 * rng.standard_normal(ideal.shape)
        energy, forces = springs(ideal, x)
        made.append(Frame(np.array(numbers, np.int32), x,
                          energy - 10.0 * sum(numbers), forces, name,
                          'rattle'))
    return made


def springs(ideal: np.ndarray, x: np.ndarray) -> tuple[float, np.ndarray]:
    """Return energy, eV, and forces of springs of 5 eV/A^2."""
    i, j = np.triu_indices(len(x), 1)
    rest = np.linalg.norm(ideal[i] - ideal[j], axis=1)
    apart = x[i] - x[j]
    length = np.linalg.norm(apart, axis=1)
    pull = (-5.0 * (length - rest) / length)[:, None] * apart
    forces = np.zeros_like(x)
    np.add.at(forces, i, pull)
    np.add.at(forces, j, -pull)
    return float(2.5 * ((length - rest) ** 2).sum()), forces


def recipe(folder: Path, **changes: object) -> Path:
    """Write the recipe, with changes, and return its path."""
    import tomllib
    values = {**tomllib.loads(RECIPE), **changes}
    path = folder / 'recipe.toml'
    path.write_text('\n'.join(
        f'{k} = {str(v).lower() if isinstance(v, bool) else repr(v)}'
        for k, v in values.items()))
    return path
