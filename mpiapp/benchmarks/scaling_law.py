"""Fit what a batch costs: t = a + b atoms + c edges, and what follows.

a is what a call costs whatever it holds (launches, Python), 1 / b the
ceiling.  The knee is the batch at which both halves are equal.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mpiapp.records import Floats

#: share of the ceiling that the recommended batch reaches
WANTED_SHARE = 0.8
#: points that a fit needs: with three, three coefficients leave no residual
LEAST_POINTS = 5


@dataclass(frozen=True)
class Law:
    """Seconds a + b * atoms + c * edges of a call; all coefficients >= 0.

    `error` is the RMS of the relative residuals.
    """

    a: float
    b: float
    c: float
    error: float
    n_points: int

    def seconds(self, atoms: Any, edges: Any) -> Any:
        """Return the seconds of a call."""
        return self.a + self.b * np.asarray(atoms) + self.c * np.asarray(
            edges)

    def per_molecule(self, atoms: float, edges: float) -> float:
        """Return the seconds that one more molecule costs."""
        return self.b * atoms + self.c * edges

    def knee(self, atoms: float, edges: float) -> float:
        """Return the batch at which half of the time is work."""
        work = self.per_molecule(atoms, edges)
        return float('inf') if work <= 0 else self.a / work

    def share(self, batch: int, atoms: float, edges: float) -> float:
        """Return the share of the ceiling of structures/s at a batch."""
        work = batch * self.per_molecule(atoms, edges)
        return work / (self.a + work) if self.a + work > 0 else 0.0

    def recommended(
        self, atoms: float, edges: float, most: int = 4096,
    ) -> int:
        """Return the least batch with the wanted share, at most `most`."""
        knee = self.knee(atoms, edges)
        wanted = knee * WANTED_SHARE / (1 - WANTED_SHARE)
        return int(min(most, max(1, np.ceil(wanted - 1e-9))))

    def as_row(self) -> dict[str, Any]:
        """Return it as data."""
        return asdict(self)


def fit(atoms: Floats, edges: Floats, seconds: Floats) -> Law | None:
    """Return the law of points [n], None with fewer than `LEAST_POINTS`.

    Least squares of relative errors, no coefficient below 0.
    """
    from scipy.optimize import nnls
    n = len(seconds)
    if n < LEAST_POINTS:
        return None
    x = np.column_stack([np.ones(n), atoms, edges]) / seconds[:, None]
    # columns of one size, which the solver needs
    scale = np.linalg.norm(x, axis=0)
    scale[scale == 0] = 1.0
    (a, b, c), _ = nnls(x / scale, np.ones(n))
    a, b, c = np.array([a, b, c]) / scale
    residual = (a + b * atoms + c * edges) / seconds - 1
    return Law(float(a), float(b), float(c),
               float(np.sqrt((residual ** 2).mean())), n)


#: what the points of one law share
SAME = ('model', 'device', 'quantity', 'threads', 'dtype', 'way',
        'neighbours')


def laws(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a law for each configuration with enough timed sizes."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row['state'] == 'ok' and row.get('steady') and 'n_edges' in row:
            groups.setdefault(tuple(row[n] for n in SAME), []).append(row)
    found = []
    for key, members in groups.items():
        atoms = np.array([r['n_atoms'] * r['batch'] for r in members], float)
        edges = np.array([r['n_edges'] for r in members], float)
        law = fit(atoms, edges, np.array(
            [r['steady']['median'] for r in members]))
        if law is None:
            continue
        one = members[-1]
        size = one['n_atoms'], one['n_edges'] / one['batch']
        batch = law.recommended(*size)
        found.append({
            **dict(zip(SAME, key)), **law.as_row(), 'atoms': size[0],
            'edges': size[1], 'knee_batch': law.knee(*size),
            'recommended_batch': batch, 'share': law.share(batch, *size),
            'ceiling_structures_per_s': 1 / law.per_molecule(*size)
            if law.per_molecule(*size) > 0 else None})
    return found


def law_line(law: Mapping[str, Any]) -> str:
    """Return a law in words."""
    return (
        f'{law["model"]} {law["way"]} {law["dtype"]} {law["quantity"]}: '
        f't = {1e3 * law["a"]:.2f} ms + {1e6 * law["b"]:.1f} us/atom + '
        f'{1e6 * law["c"]:.2f} us/edge ({law["n_points"]} sizes, residual '
        f'{100 * law["error"]:.0f} %); at {law["atoms"]} atoms the knee is '
        f'batch {law["knee_batch"]:.1f}, recommended '
        f'{law["recommended_batch"]} ({100 * law["share"]:.0f} % of the '
        'ceiling)')
