"""`distill test`: all proofs of a model in one report, JSON and Markdown."""
from __future__ import annotations

import functools
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mpiapp.chemistry.checks import symbols
from mpiapp.chemistry.fragments import atomic_numbers
from mpiapp.chemistry.molecules import MoleculeTable
from mpiapp.distillation import bundling
from mpiapp.distillation import frames as labelled
from mpiapp.distillation import proofs, verdicts
from mpiapp.distillation.evaluating import Atoms, Failed
from mpiapp.distillation.frames import Frame
from mpiapp.distillation.kept import Kept
from mpiapp.errors import InputError
from mpiapp.locks import take_lock
from mpiapp.potentials import PotentialOptions, build, obtain
from mpiapp.potentials.base import Potential
from mpiapp.records import Structure
from mpiapp.store.files import replacing
from mpiapp.store.output import check_output, check_written
from mpiapp.store.provenance import package_versions
from mpiapp.workers.label_plan import describe

#: proofs by name, in their order
PROOFS = ('errors', 'scans', 'stacks', 'relaxations', 'dynamics', 'speeds')
UNITS = {
    'errors': 'forces meV/A, energies meV/atom',
    'scans': 'A, kcal/mol; slip along the long axis',
    'stacks': 'A, kcal/mol', 'relaxations': 'A, kcal/mol',
    'dynamics': 'ps, K, drift of the total energy meV/ps/atom; stretch is '
                'the longest bond over its length at the start',
    'speeds': 'ms an evaluation of energy and forces, medians in turns'}


@dataclass(frozen=True)
class Trial:
    """What to prove: the sizes of the proofs and their molecules.

    Of a full-size molecule `n_large` conformers are relaxed, of another one
    `n_conformers`.
    """

    proofs: tuple[str, ...]
    dimers: tuple[str, ...]
    smiles: Mapping[str, str]
    n_conformers: int
    n_large: int
    fmax: float
    max_steps: int
    picoseconds: float
    rounds: int

    def conformers_of(self, smiles: str) -> int:
        """Return how many conformers of a molecule are relaxed."""
        return self.n_large if is_large(smiles) else self.n_conformers

    def atom_steps(self) -> float:
        """Predict atoms times evaluations of the dynamics."""
        steps = 1e3 * self.picoseconds / proofs.TIME_STEP
        return steps * sum(len(atomic_numbers(t))
                           for t in self.smiles.values()) \
            if 'dynamics' in self.proofs else 0.0


def is_large(smiles: str) -> bool:
    """Tell whether a molecule is a full-size one."""
    return len(atomic_numbers(smiles)) >= proofs.LARGE


def first_of(
    table: Mapping[str, str], n_small: int, n_large: int,
) -> dict[str, str]:
    """Return the first small and the first full-size molecules."""
    found = {large: {n: t for n, t in table.items() if is_large(t) == large}
             for large in (False, True)}
    return dict([*list(found[False].items())[:n_small],
                 *list(found[True].items())[:n_large]])


def read_molecules(path: str | Path) -> dict[str, str]:
    """Return SMILES by name of a CSV file with name and smiles.

    Raises:
        InputError: unreadable, a SMILES that is, or a name twice.
    """
    return {row.name: row.smiles for row in MoleculeTable.read(path).rows}


@dataclass(frozen=True)
class Opened:
    """A model that is ready to be proved."""

    options: PotentialOptions
    potential: Potential


def opened(
    model: PotentialOptions, frames: Sequence[Frame], trial: Trial,
) -> Opened:
    """Return a model that knows the elements of the test structures.

    Raises:
        InputError: the model can't be loaded, or lacks an element of the
            test structures.
    """
    sample = guard_structures(frames)
    options = obtain(model, sample, trial.atom_steps())
    potential = build(options, sample)
    if potential.elements is not None:
        lacking = labelled.elements_of(frames) - set(potential.elements)
        if lacking:
            raise InputError(f'{model.model_path or model.model} does not '
                             f'know {symbols(lacking)} of the test '
                             'structures')
    return Opened(options, potential)


def check_teacher(
    frames: Sequence[Frame], teacher: PotentialOptions,
) -> None:
    """Check that test structures were labelled by the teacher.

    Raises:
        InputError: they say that another one did.
    """
    name = labelled.name_of(describe(teacher))
    others = [t for t in labelled.teachers_of(frames) if t != name]
    if others:
        raise InputError(f'--data was labelled by {", ".join(others)}, and '
                         f'--teacher is {name}')


def prove(
    model: Opened, teacher: Potential, frames: Sequence[Frame],
    trial: Trial, kept: Kept, tell: Callable[[str], None],
) -> dict[str, Any]:
    """Return the report on one model; `kept` has the proofs that are done."""
    resolved, student = model.options, model.potential
    path = Path(str(resolved.model_path))
    report: dict[str, Any] = {
        'model': path.name, 'bytes': path.stat().st_size,
        'sha256': hashlib.sha256(path.read_bytes()).hexdigest(),
        'teacher': dict(teacher.describe()),
        'data': labelled.digest(frames), 'trial': asdict(trial),
        'backend': student.describe().get('backend', ''), 'units': UNITS}
    trial = known_alone(trial, student, report)
    done = kept.of(report)
    work = works(student, resolved, teacher, frames, trial)
    for name in PROOFS:
        if name not in trial.proofs:
            continue
        if name in done:
            tell(f'{name:12s} done before')
        else:
            try:
                done[name] = work[name]()
            except Failed as error:
                done[name] = str(error)
            kept.keep(report, done)
        if isinstance(done[name], str):
            report['not_proved'][name] = done[name]
            tell(f'{name:12s} not proved: {done[name]}')
        else:
            report[name] = done[name]
            tell(f'{name:12s} {len(done[name])} rows')
    report['not_proved'].update(verdicts.gaps(report))
    numbers = verdicts.key_numbers(report)
    report['numbers'] = numbers
    report['goals'] = verdicts.goals_met(numbers)
    return report


def works(
    student: Potential, options: PotentialOptions, teacher: Potential,
    frames: Sequence[Frame], trial: Trial,
) -> dict[str, Callable[[], list[proofs.Row]]]:
    """Return what makes each proof; all may raise `Failed`."""
    @functools.cache
    def monomers() -> dict[str, Atoms]:
        return {name: proofs.flat_monomer(teacher, proofs.FLAT[name])
                for name in trial.dimers}
    return {
        'errors': lambda: proofs.errors(student, frames),
        'scans': lambda: proofs.scans(teacher, student, monomers()),
        'stacks': lambda: proofs.stacks(teacher, student, monomers()),
        'relaxations': lambda: proofs.relaxations(
            teacher, student, trial.smiles, trial.conformers_of, trial.fmax,
            trial.max_steps),
        'dynamics': lambda: proofs.dynamics(
            student, trial.smiles, trial.picoseconds),
        'speeds': lambda: proofs.speeds(
            backends(options, frames), _largest(frames), trial.rounds)}


def known_alone(
    trial: Trial, student: Potential, report: dict[str, Any],
) -> Trial:
    """Return a trial without molecules whose elements the model lacks.

    These are named in `not_proved` of the report.
    """
    left_out: dict[str, str] = report.setdefault('not_proved', {})
    known = student.elements

    def fits(name: str, smiles: str) -> bool:
        lacking = set(atomic_numbers(smiles)) - (known or set())
        if known is not None and lacking:
            left_out[name] = f'the model does not know {symbols(lacking)}'
            return False
        return True
    return replace(
        trial, smiles={n: t for n, t in trial.smiles.items() if fits(n, t)},
        dimers=tuple(n for n in trial.dimers if fits(n, proofs.FLAT[n])))


def guard_structures(frames: Sequence[Frame]) -> list[Structure]:
    """Return test structures that fast paths are proved on."""
    return [Structure(i, 0, i, f.numbers, f.positions)
            for i, f in enumerate(frames[:2])]


def _largest(frames: Sequence[Frame]) -> Atoms:
    frame = max(frames, key=lambda f: len(f.numbers))
    return Atoms(frame.numbers, frame.positions)


def backends(
    model: PotentialOptions, frames: Sequence[Frame],
) -> list[tuple[str, Callable[[], Potential]]]:
    """Return how to build the model by each back end of this machine."""
    from mpiapp.potentials.mace import available
    sample = guard_structures(frames)
    return [(name, lambda name=name: build(  # type: ignore[misc]
        replace(model, backend=name), sample)) for name in available()]


@dataclass(frozen=True)
class Paths:
    """The files of a report: STEM.json and what lies beside it."""

    stem: Path

    @classmethod
    def of(cls, text: str) -> Paths:
        """Return those of --output, which may end in .json or .md."""
        path = Path(text)
        known = path.suffix in ('.json', '.md')
        return cls(path.with_suffix('') if known else path)

    def ending(self, end: str) -> Path:
        """Return the file of that ending; a dot in the name stays."""
        return self.stem.with_name(self.stem.name + end)

    @property
    def json(self) -> Path:
        """The report for programs."""
        return self.ending('.json')

    @property
    def markdown(self) -> Path:
        """The report for people."""
        return self.ending('.md')

    def check(self, read: Iterable[str]) -> None:
        """Check that a report may be written; one before is replaced.

        Raises:
            InputError: a file there is no report, or it is read, or the
                folder can't be written.
        """
        check_output(self.json, create=False)
        check_written([self.json, self.markdown], read, True)
        if self.json.exists():
            bundling.read_report(self.json)
        if self.markdown.exists() and '\n## Goals\n' not in \
                self.markdown.read_text('utf-8', 'replace'):
            raise InputError(f'{self.markdown} is no report of `distill '
                             'test`: choose another name for the output')


@contextmanager
def kept_at(paths: Paths) -> Iterator[Kept]:
    """Hand out the proofs that are done, until the report is written.

    Raises:
        InputError: another process works on this report.
    """
    paths.json.parent.mkdir(parents=True, exist_ok=True)
    lock = paths.ending('.lock')
    with os.fdopen(take_lock(lock, paths.json)):
        try:
            kept = Kept(paths.ending('.parts.json'))
            yield kept
            kept.drop()
        finally:
            lock.unlink(missing_ok=True)


def write(paths: Paths, reports: Sequence[Mapping[str, Any]]) -> str:
    """Write both reports, return that for people.

    The first model is the one tested.
    """
    whole = dict(reports[0], packages=package_versions())
    if len(reports) > 1:
        better, rows = verdicts.comparison(
            reports[0]['numbers'], reports[1]['numbers'])
        whole.update(compared_with=reports[1]['model'], better=better,
                     comparison=rows, other=dict(reports[1]))
    text = markdown(whole)
    with replacing(paths.json) as part:
        part.write_text(json.dumps(_finite(whole), indent=1,
                                   allow_nan=False), 'utf-8')
    with replacing(paths.markdown) as part:
        part.write_text(text, 'utf-8')
    return text


def _finite(value: Any) -> Any:
    """Return plain data; None, JSON's null, for numbers that are none."""
    if isinstance(value, Mapping):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report for people."""
    lines = [f'# {report["model"]} against {report["teacher"]["name"]}', '',
             f'{report["bytes"]} bytes, sha256 {report["sha256"]}, computed '
             f'by the back end {report["backend"]}.', '', '## Goals', '',
             verdicts.table(report['goals'])]
    if 'comparison' in report:
        word = 'better' if report['better'] else 'not better'
        lines += ['', f'## Against {report["compared_with"]}: {word}', '',
                  verdicts.table(report['comparison'])]
    if report['not_proved']:
        lines += ['', '## Not proved', '', verdicts.table(
            [{'what': n, 'why': w} for n, w in report['not_proved'].items()])]
    for name in PROOFS:
        if name in report:
            lines += ['', f'## {name.capitalize()}', '',
                      f'Units: {UNITS[name]}.', '',
                      verdicts.table(report[name])]
    return '\n'.join(lines) + '\n'
