"""The worker of `tssearch`: one sample at a time, one row each.

A row is the same on whatever rank it is made.  A sample that is running when
the job stops is searched from its start again on resume.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.partition import cost_model
from mpiapp.records import Finished, Floats, Row, Stream, Suspended
from mpiapp.saddle.base import Sample, SearchResult, SearchSettings, Stopped
from mpiapp.workers.saddle_process import Searcher
from mpiapp.workers.saddle_search import FD, SurfaceChoice


class SaddleWorker:
    """Call it with the stream of this rank."""

    def __init__(self, searcher: Searcher, samples: Sequence[Sample],
                 settings: SearchSettings) -> None:
        self.searcher = searcher
        self.samples = samples
        self.settings = settings

    def __call__(self, stream: Stream) -> Iterator[Finished | Suspended]:
        """Yield a `Finished` for each sample, `Suspended` at a stop."""
        try:
            while items := stream.take(1):
                row = items[0].row
                try:
                    yield self.row_of(row, stream)
                except Stopped:
                    yield Suspended(row, b'')
        finally:
            self.searcher.close()

    def row_of(self, row: int, stream: Stream) -> Finished:
        """Search one sample; raises Stopped."""
        sample = self.samples[row]
        found = self.searcher.search(sample, self.settings, stream.stopping)
        values = values_of(sample, found, self.settings.reference)
        return Finished(
            row, {**known_values(sample), **values},
            sample.n_atoms * (found.n_calls + found.n_displaced),
            found.seconds)


def known_values(sample: Sample) -> Row:
    """Return what is known of a sample before any work, atoms apart."""
    return {
        'sample': sample.number, 'draw': sample.draw,
        'name': sample.name[:64], 'n_atoms': sample.n_atoms,
        'charge': sample.charge,
        'unpaired': sample.unpaired, 'start_from': sample.start_from,
        'noise': sample.noise, 'noise_rms': float(np.sqrt(3) * sample.noise),
        'has_ts': int(sample.ts is not None)}


def filled(positions: Floats | None, n_atoms: int) -> Floats:
    """Return positions [n_atoms, 3], NaN where there are none."""
    if positions is None or len(positions) != n_atoms:
        return np.full((n_atoms, 3), np.nan)
    return positions


def values_of(sample: Sample, found: SearchResult,
              reference: str) -> dict[str, Any]:
    """Return what a search has found, as columns.

    `reference` as in `SearchSettings`.
    """
    names = ('steps', 'n_calls', 'n_hess', 'n_displaced', 'n_escape', 'n_neg',
             'lambda0', 'lambda1', 'fmax', 'energy', 'rmsd_to_reference',
             'same_connectivity', 'ends', 'seconds', 'reason')
    known = sample.ts if reference == 'file' else found.reference
    return {name: getattr(found, name) for name in names} | {
        'status': int(found.status), 'message': found.message[:160],
        'numbers': sample.numbers,
        'x_start': filled(sample.start, sample.n_atoms),
        'x_reference': filled(known, sample.n_atoms),
        'x_final': filled(found.positions, sample.n_atoms)}


#: steps of a search as costs are predicted
STEPS = {'sella': 25.0, 'gad': 300.0, 'multimode': 150.0}


def predicted_seconds(
    n_atoms: NDArray[np.int32], settings: SearchSettings,
    choice: SurfaceChoice, about: Mapping[str, str],
) -> Floats:
    """Predict the seconds of samples on one core."""
    n = np.maximum(n_atoms, 1).astype(np.float64)
    name = choice.options.calculator
    steps = np.minimum(STEPS[settings.method], settings.max_steps or 1)
    fd = about.get('hessian') == FD
    hessian = 6.0 * n if fd else np.full(len(n), 6.0)
    share = 0.5 if settings.method == 'sella' else 1.0
    known = 'lj' if choice.toy or name == 'sparrow' else name
    model = cost_model(known, 1)
    one = model.atom_step * n**(1.0 + model.power)
    return np.asarray(one * steps * (1.0 + share * hessian) + 1e-3)
