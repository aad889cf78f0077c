"""What `distill label` does before, between and after its rounds of work."""
from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.chemistry.novelty import descriptor, farthest
from mpiapp.errors import InputError
from mpiapp.partition import cost_model
from mpiapp.potentials import PotentialOptions
from mpiapp.records import Floats, Ints, Status
from mpiapp.store.reader import Campaign
from mpiapp.workers.label import PATH_STEPS
from mpiapp.workers.label_items import LabelItem, Subject

#: of the best scores so many times the number wanted are looked at for
#: those that differ most
PREFERRED = 3


@dataclass(frozen=True)
class Selection:
    """How labels are spent: all, by a committee, or by distance."""

    by: str = 'none'
    models: tuple[str, ...] = ()
    against: tuple[str, ...] = ()


def teacher_options(
    text: str, threads: int, device: str, backend: str = '',
) -> PotentialOptions:
    """Return the potential that --teacher or --sampler names.

    `mace:FILE` is a model file, `mace:small` a model by its short name and
    `student` the bundled one; everything else is a name of a potential.

    Raises:
        InputError: mace without a model.
    """
    name, colon, model = text.partition(':')
    if text == 'student':
        name, model = 'mace', 'student'
    elif name == 'mace' and not model:
        raise InputError(f'--teacher {text}: write mace:FILE or mace:small')
    elif colon and name != 'mace':
        raise InputError(f'--teacher {text}: only mace takes a model')
    if name != 'mace':
        return PotentialOptions(text, device=device, threads=threads)
    named = model in ('small', 'medium', 'large', 'student')
    return PotentialOptions(
        'mace', model if named else None, None if named else model,
        'float64', device, backend or 'poly', threads)


def describe(options: PotentialOptions) -> dict[str, str]:
    """Return what of a potential decides the labels."""
    from mpiapp.potentials import file_sha256
    found = {'calculator': options.calculator, 'backend': options.backend,
             'dtype': options.dtype}
    if options.model_path:
        found['file'] = Path(options.model_path).name
        found['sha256'] = file_sha256(options.model_path)
    return found


def seconds_of(
    items: Sequence[LabelItem], subjects: Sequence[Subject], teacher: str,
    sampler: str, md_steps: int,
) -> Floats:
    """Predict the seconds of each item on one core."""
    atoms = np.array([sum(subjects[i].n_atoms for i in item.parts)
                      for item in items])
    extra = {'md': 2 * md_steps / 3, 'relax': PATH_STEPS / 2}
    steps = np.array([extra.get(item.kind, 0.0) for item in items])
    one = cost_model(teacher, 1).predict(atoms)
    more = cost_model(sampler, 1).predict(atoms)
    return np.asarray(one + steps * more + 0.05, np.float64)


def chosen(
    pool: Campaign, selection: Selection, known: Sequence[Any], n: int,
) -> Ints:
    """Return the rows of a pool that are to be labelled, sorted.

    By distance: each far from all that is `known` and chosen.  By
    committee: the highest spreads of forces, of three times as many those
    that differ most.
    """
    table = pool.table
    rows = np.flatnonzero(table.status.to_numpy() == Status.CONVERGED)
    if selection.by == 'committee':
        score = table.score.to_numpy()[rows]
        best = np.argsort(-score, kind='stable')[:PREFERRED * n]
        rows = rows[np.sort(best)]
    vectors = np.stack([pool.ragged('descriptor', int(r)) for r in rows]) \
        .astype(np.float64) if len(rows) else np.empty((0, 1))
    before = np.array(
        [descriptor(f.numbers, f.positions) for f in known],
        np.float64).reshape(len(known), vectors.shape[1])
    return np.sort(rows[farthest(vectors, before, n)])


def geometries(pool: Campaign, rows: Ints) -> dict[int, Floats]:
    """Return the positions of rows of a pool, by their new number."""
    return {i: pool.ragged('x', int(r)) for i, r in enumerate(rows)}


def valid_names(
    subjects: Sequence[Subject], share: float, seed: int,
) -> tuple[str, ...]:
    """Return the names of the molecules for validation.

    Decided by the same rule as in training; of several molecules one at
    least, as training can't do without.
    """
    drawn_of = {s.name: drawn(s.name, seed) for s in subjects}
    if share > 0 and len(drawn_of) > 1:
        share = max(share, np.nextafter(min(drawn_of.values()), 1.0))
    return tuple(n for n, value in drawn_of.items() if value < share)


def drawn(name: str, seed: int) -> float:
    """Return a number from 0 to 1 that follows from a name and a seed.

    A molecule is for validation where it is below their share: decided for
    each alone, so that more data moves none of them.
    """
    digest = hashlib.sha256(f'{seed}\n{name}'.encode()).digest()
    return int.from_bytes(digest[:8], 'little') / 2.0 ** 64


def closing(table: Any, left_out: Sequence[str], path: Path) -> str:
    """Return what came of a run, by source and by reason."""
    lines = ['source        wanted  labelled  not labelled']
    for kind in dict.fromkeys(table.kind):
        rows = table[table.kind == kind]
        good = rows.status == Status.CONVERGED
        reasons = Counter(rows.reason[~good])
        text = ', '.join(f'{n} {reason or "pending"}'
                         for reason, n in sorted(reasons.items()))
        lines.append(f'{kind:12s} {len(rows):7d} {good.sum():9d}  '
                     f'{text or "-"}')
    good = table[table.status == Status.CONVERGED]
    if len(good):
        split = Counter(good.split)
        lines.append(
            f'atoms {int(good.n_atoms.sum())}; largest force '
            f'{good.fmax.max():.2f} eV/A; nearest atoms '
            f'{good.nearest.min():.2f} A; train {split["train"]}, valid '
            f'{split["valid"]} structures')
        if not split['valid'] and split['train']:
            lines.append('no structure is of a molecule for validation: '
                         'training needs some (--total, --valid-share)')
    if left_out:
        lines.append(f'molecules left out: {"; ".join(left_out[:5])}'
                     f'{"; ..." if len(left_out) > 5 else ""}')
    lines.append(f'result {path}')
    return '\n'.join(lines)


def described(about: Mapping[str, str]) -> dict[str, str]:
    """Return what of a potential decides its results."""
    return {k: v for k, v in about.items() if k != 'guard'}
