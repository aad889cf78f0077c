"""`distill test`: all proofs of a model in one report, JSON and Markdown."""
from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mpiapp.chemistry.smiles_input import table_of
from mpiapp.distillation import frames as labelled
from mpiapp.distillation import proofs, verdicts
from mpiapp.distillation.evaluating import Atoms, Failed
from mpiapp.distillation.frames import Frame
from mpiapp.distillation.training import differences, symbols
from mpiapp.errors import InputError
from mpiapp.potentials import PotentialOptions, build, resolve
from mpiapp.potentials.base import Potential
from mpiapp.records import Structure
from mpiapp.workers.label_plan import described

#: proofs by name, in their order
PROOFS = ('errors', 'scans', 'stacks', 'relaxations', 'dynamics', 'speeds')
UNITS = {
    'errors': 'forces meV/A, energies meV/atom',
    'scans': 'A, kcal/mol; slip along the long axis',
    'stacks': 'A, kcal/mol', 'relaxations': 'A, kcal/mol',
    'dynamics': 'ps, K, drift of the total energy meV/ps/atom; stretch is '
                'the longest bond over its length at the start',
    'speeds': 'ms an evaluation of energy and forces, medians in turns'}

#: what `bundle` reads of a report
KEYS = {'model': str, 'sha256': str, 'numbers': dict, 'not_proved': dict,
        'teacher': dict, 'data': str, 'trial': dict}


@dataclass(frozen=True)
class Trial:
    """What to prove: the sizes of the proofs and their molecules."""

    proofs: tuple[str, ...]
    dimers: tuple[str, ...]
    smiles: Mapping[str, str]
    n_conformers: int
    fmax: float
    max_steps: int
    picoseconds: float
    rounds: int


def read_smiles(path: str) -> dict[str, str]:
    """Return SMILES by name of a CSV file with name and smiles.

    Raises:
        InputError: unreadable, or a SMILES that is.
    """
    try:
        with open(path, newline='', encoding='utf-8') as file:
            found = {r['name']: r['smiles'] for r in csv.DictReader(file)}
    except (OSError, KeyError, csv.Error, UnicodeDecodeError) as error:
        raise InputError(f'{path}: {type(error).__name__}: {error}') from \
            error
    table_of(list(found.values()))
    return found


def prove(
    model: PotentialOptions, teacher: Potential, frames: Sequence[Frame],
    trial: Trial, tell: Callable[[str], None],
) -> dict[str, Any]:
    """Return the report on one model.

    Raises:
        InputError: the model can't be loaded, or lacks an element of the
            test structures.
    """
    resolved = resolve(model)
    student = build(resolved, guard_structures(frames))
    lacking = labelled.elements_of(frames) - set(student.elements or ())
    if lacking and student.elements is not None:
        raise InputError(f'{student.name} does not know {symbols(lacking)} '
                         'of the test structures')
    path = Path(str(resolved.model_path))
    report: dict[str, Any] = {
        'model': path.name, 'bytes': path.stat().st_size,
        'sha256': hashlib.sha256(path.read_bytes()).hexdigest(),
        'teacher': dict(teacher.describe()),
        'data': labelled.digest(frames), 'trial': asdict(trial),
        'backend': student.describe().get('backend', ''), 'units': UNITS}
    trial = known_alone(trial, student, report)
    monomers: dict[str, Atoms] = {}
    if {'scans', 'stacks'} & set(trial.proofs):
        try:
            monomers = {name: proofs.flat_monomer(teacher, proofs.FLAT[name])
                        for name in trial.dimers}
        except Failed as error:
            report['not_proved']['monomers'] = str(error)
    work: dict[str, Callable[[], list[proofs.Row]]] = {
        'errors': lambda: proofs.errors(student, frames),
        'scans': lambda: proofs.scans(teacher, student, monomers),
        'stacks': lambda: proofs.stacks(teacher, student, monomers),
        'relaxations': lambda: proofs.relaxations(
            teacher, student, trial.smiles, trial.n_conformers, trial.fmax,
            trial.max_steps),
        'dynamics': lambda: proofs.dynamics(
            student, trial.smiles, trial.picoseconds),
        'speeds': lambda: proofs.speeds(
            backends(resolved, frames), _largest(frames), trial.rounds)}
    for name in PROOFS:
        if name in trial.proofs:
            try:
                report[name] = work[name]()
                tell(f'{name:12s} {len(report[name])} rows')
            except Failed as error:
                report['not_proved'][name] = str(error)
                tell(f'{name:12s} not proved: {error}')
    report['not_proved'].update(verdicts.gaps(report))
    numbers = verdicts.key_numbers(report)
    report['numbers'] = numbers
    report['goals'] = verdicts.goals_met(numbers)
    return report


def known_alone(
    trial: Trial, student: Potential, report: dict[str, Any],
) -> Trial:
    """Return a trial without molecules whose elements the model lacks.

    These are named in `not_proved` of the report.
    """
    left_out: dict[str, str] = report.setdefault('not_proved', {})
    known = student.elements

    def fits(name: str, smiles: str) -> bool:
        lacking = elements_of_smiles(smiles) - (known or set())
        if known is not None and lacking:
            left_out[name] = f'the model does not know {symbols(lacking)}'
            return False
        return True
    return replace(
        trial, smiles={n: t for n, t in trial.smiles.items() if fits(n, t)},
        dimers=tuple(n for n in trial.dimers if fits(n, proofs.FLAT[n])))


def elements_of_smiles(smiles: str) -> set[int]:
    """Return the atomic numbers of a molecule, hydrogens included."""
    from rdkit import Chem
    molecule = Chem.MolFromSmiles(smiles)
    return set() if molecule is None else {
        a.GetAtomicNum() for a in Chem.AddHs(molecule).GetAtoms()}


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


def write(stem: Path, reports: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Write STEM.json and STEM.md; the first model is the one tested."""
    from mpiapp.store.files import replacing
    from mpiapp.store.provenance import package_versions
    whole = dict(reports[0], packages=package_versions())
    if len(reports) > 1:
        better, rows = verdicts.comparison(
            reports[0]['numbers'], reports[1]['numbers'])
        whole.update(compared_with=reports[1]['model'], better=better,
                     comparison=rows, other=dict(reports[1]))
    paths = [stem.with_suffix('.json'), stem.with_suffix('.md')]
    with replacing(paths[0]) as part:
        part.write_text(json.dumps(whole, indent=1), 'utf-8')
    with replacing(paths[1]) as part:
        part.write_text(markdown(whole), 'utf-8')
    return paths


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


def bundle(
    model: Path, report: Path, against: Path, output: Path,
    largest: float,
) -> list[str]:
    """Copy a model that its report shows to be better; return what to say.

    Raises:
        InputError: a report is no report of this model, or can't be read,
            or the two are not on the same trial.
        Refused: it is not better, not proved, or too large; with the
            numbers.
    """
    from mpiapp.store.files import replacing
    new, old = _report(report), _report(against)
    check_alike(new, old)
    content = model.read_bytes()
    if hashlib.sha256(content).hexdigest() != new['sha256']:
        raise InputError(f'{report} is not a report on {model}: the '
                         'checksums differ')
    if len(content) > largest * 1e6:
        raise Refused(f'{model} has {len(content) / 1e6:.2f} MB, more than '
                      f'--largest {largest:g}')
    better, rows = verdicts.comparison(new['numbers'], old['numbers'])
    text = verdicts.table(rows)
    if new['not_proved']:
        why = '\n'.join(f'  {n}: {w}' for n, w in new['not_proved'].items())
        raise Refused(f'{model} is not proved:\n{why}\n{text}')
    if not better:
        raise Refused(f'{model} is not better than {old["model"]}:\n{text}')
    with replacing(output) as part:
        part.write_bytes(content)
    return [text, f'bundled {output}, sha256 {new["sha256"]}']


def check_alike(new: Mapping[str, Any], old: Mapping[str, Any]) -> None:
    """Raise InputError where two reports are not on the same trial."""
    def settings(report: Mapping[str, Any]) -> dict[str, Any]:
        trial = {k: v for k, v in report['trial'].items() if k != 'rounds'}
        return {'teacher': described(report['teacher']),
                'data': report['data'], 'trial': trial}
    changed = differences(settings(old), settings(new))
    if changed:
        raise InputError(
            'the two reports are not on the same trial\n' + '\n'.join(
                f'  {line}' for line in changed) + '\nrun `distill test` '
            'alike on both models')


class Refused(Exception):
    """A model is refused for bundling."""


def _report(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text('utf-8'))
        for name, kind in KEYS.items():
            if not isinstance(found[name], kind):
                raise ValueError(f'{name} is no {kind.__name__}')
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f'{path} is no report of `distill test`: '
                         f'{type(error).__name__}: {error}') from error
    return found
