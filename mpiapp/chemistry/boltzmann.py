"""Boltzmann weights, weighted means, and how far these can be trusted.

Energies are eV in float64, temperatures K.  Differences are taken before
anything is exponentiated (log-sum-exp): absolute energies of -200 keV and
ranges of 100 eV are safe.
"""
from __future__ import annotations

import hashlib

import numpy as np

from mpiapp.records import Floats
from mpiapp.units import KCAL_PER_EV

#: kcal/mol/K, the constant of the original tables (pyrene_analyzer 1.1.0)
GAS_CONSTANT = 0.001987204
#: conformers drawn anew so many times, and random errors likewise
N_SAMPLES = 200
#: kcal/mol, standard deviation of a random error of each energy
ENERGY_ERROR = 0.5


def log_weights(
    energies: Floats, temperature: float, degeneracies: Floats | None = None,
) -> Floats:
    """Return ln of the weights [..., n], normalised along the last axis.

    `energies` [..., n] eV, `degeneracies` [n] (default 1; 0 leaves out).
    """
    exponents = -(energies - energies.min(axis=-1, keepdims=True)) \
        * (KCAL_PER_EV / (GAS_CONSTANT * temperature))
    if degeneracies is not None:
        with np.errstate(divide='ignore'):
            exponents = exponents + np.log(degeneracies)
    top = exponents.max(axis=-1, keepdims=True)
    total = np.log(np.exp(exponents - top).sum(axis=-1, keepdims=True))
    return np.asarray(exponents - top - total)


def weights(
    energies: Floats, temperature: float, degeneracies: Floats | None = None,
) -> Floats:
    """Return the weights [n], whose sum is 1, of `energies` [n] eV."""
    found = np.exp(log_weights(energies, temperature, degeneracies))
    return np.asarray(found / found.sum(axis=-1, keepdims=True))


def n_effective(w: Floats) -> float:
    """Return exp(-sum w ln w): how many conformers matter, 1 to n."""
    some = w[w > 0]
    return float(np.exp(-(some * np.log(some)).sum()))


def weighted_means(w: Floats, values: Floats) -> Floats:
    """Return the means [..., d] of values [n, d] under weights [..., n].

    A mean is over the finite values; NaN where there is none of weight.
    """
    finite = np.isfinite(values)
    weight = w @ finite.astype(np.float64)
    total = w @ np.where(finite, values, 0.0)
    with np.errstate(divide='ignore', invalid='ignore'):
        return np.asarray(np.where(weight > 0, total / weight, np.nan))


def bootstrap_spread(
    energies: Floats, temperature: float, values: Floats, seed: int,
    degeneracies: Floats | None = None, n_samples: int = N_SAMPLES,
) -> Floats:
    """Return how much means [d] vary if other conformers had been found.

    Standard deviation over samples of n conformers drawn with replacement
    from the n there are; NaN for one conformer, of which nothing is known.
    """
    n = len(energies)
    if n < 2:
        return np.full(values.shape[1], np.nan)
    drawn = np.random.default_rng(seed).multinomial(
        n, np.full(n, 1 / n), n_samples).astype(np.float64)
    if degeneracies is not None:
        drawn *= degeneracies
    sampled = weights(np.broadcast_to(energies, drawn.shape), temperature,
                      drawn)
    return _spread(weighted_means(sampled, values))


def energy_error_change(
    energies: Floats, temperature: float, values: Floats, seed: int,
    degeneracies: Floats | None = None, n_samples: int = N_SAMPLES,
    error: float = ENERGY_ERROR,
) -> Floats:
    """Return how much means [d] change by a random error of the energies.

    Root mean square change under independent normal errors of standard
    deviation `error` [kcal/mol] on each energy.
    """
    errors = np.random.default_rng(seed).normal(
        scale=error / KCAL_PER_EV, size=(n_samples, len(energies)))
    w = weights(energies, temperature, degeneracies)
    disturbed = weights(energies - energies.min() + errors, temperature,
                        degeneracies)
    change = weighted_means(disturbed, values) - weighted_means(w, values)
    return np.asarray(np.sqrt((change**2).mean(axis=0)))


def _spread(samples: Floats) -> Floats:
    """Return the standard deviation [d] of samples [n, d], NaN left out."""
    finite = np.isfinite(samples)
    n = finite.sum(axis=0)
    with np.errstate(divide='ignore', invalid='ignore'):
        mean = np.where(finite, samples, 0.0).sum(axis=0) / n
        squares = np.where(finite, (samples - mean)**2, 0.0).sum(axis=0)
        return np.asarray(np.where(n > 1, np.sqrt(squares / (n - 1)),
                                   np.nan))


def seed_of(*identity: object) -> int:
    """Return a seed that follows from what a molecule is, and nothing else.

    The same on every rank, in every run and order of work.
    """
    text = '\0'.join(map(str, identity)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], 'big')
