"""The yardstick of `reopt`: whole relaxations, the ordinary way and ours.

The same conformers are relaxed by ASE's L-BFGS with MACECalculator in
float64, by the same with the native back end, by TorchSim where it is
installed, and by us; all ways take their turn at each conformer.  What one
evaluation costs is measured on models of the MACE-OFF23 shapes.
"""
from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from mpiapp.benchmarks import evaluation, summary, ways
from mpiapp.benchmarks.optimisers import structures
from mpiapp.benchmarks.shapes import SHAPES, pyrene_dimer, write_model
from mpiapp.benchmarks.ways import End, Settings, Way
from mpiapp.data_files import data_file
from mpiapp.errors import InputError
from mpiapp.optimize import names as optimizers
from mpiapp.optimize.driver import Limits
from mpiapp.potentials.mace import available, files
from mpiapp.records import Structure

ABOUT = 'relax conformers the ordinary way and ours, and compare'
#: bundled conformers of 118 and, of a quick run, of 110 atoms; charged,
#: neutralised for the models
CONFORMERS, QUICK_CONFORMERS = (
    'dimers/moe_et_5.sdf', 'dimers/moe_binaph_H_10.sdf')
#: every so many of the latter
QUICK_EVERY = 4
#: bundled models beside the student
MORE_MODELS = ('mace_spice_2022',)
#: molecules that are relaxed together in all, where no number is asked for
TOGETHER = {'cpu': 10, 'cuda': 2000}
#: rounds of evaluations, and seconds that a quick run may take: it begins
#: no conformer that would not end in time if it took as long as the last
ROUNDS, QUICK_ROUNDS = 9, 3
QUICK_SECONDS = 540.0

log = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument('--quick', action='store_true',
                        help='fewer conformers and rounds, under 10 minutes')
    parser.add_argument('--json', metavar='FILE',
                        help='write the results there')
    parser.add_argument('--sdf', nargs='+', default=[], metavar='FILE',
                        help='conformers instead of the bundled ones')
    parser.add_argument('--every', type=int, metavar='N',
                        help='take every Nth record (default 1, quick 4)')
    parser.add_argument('--model-path', nargs='*', default=[],
                        metavar='FILE', help='further MACE models, beside '
                        'the bundled student and MACE_SPICE 2022')
    parser.add_argument('--optimizer', default='internal',
                        choices=optimizers(), help='ours')
    parser.add_argument('--backend', default='auto', help='ours')
    parser.add_argument('--dtype', default='float64',
                        choices=('float64', 'float32'), help='ours')
    parser.add_argument('--fmax', type=float, default=0.005, help='eV/A')
    parser.add_argument('--max-steps', type=int, default=2000)
    parser.add_argument('--device', default='cpu', choices=('cpu', 'cuda'))
    parser.add_argument('--batch', default='1', metavar='N',
                        help='molecules relaxed together: a number, or auto, '
                        'what the memory holds; unless it is 1 the '
                        'conformers are repeated')
    parser.add_argument('--together', type=int, metavar='N',
                        help='molecules in all that are relaxed together '
                        '(default: twice the batch; of auto 2000 on a GPU, '
                        'else 10)')
    parser.add_argument('--relax-on', default='auto',
                        choices=('auto', 'host', 'device'),
                        help='where our steps are taken; auto: where the '
                        'model is')
    parser.add_argument('--skip-evaluations', action='store_true',
                        help='relaxations only')


@dataclass(frozen=True)
class Case:
    """A conformer under a model, and how each way ended."""

    model: str
    name: str
    structure: Structure
    ends: dict[str, End]


def run(options: argparse.Namespace) -> int:
    """Measure, print and write; 1 if a way failed that should run.

    Raises:
        InputError: wrong options, an unreadable file, no such device.
    """
    began = time.perf_counter()
    warnings.filterwarnings('ignore')
    settings = settings_of(options)
    conformers = list(chosen_conformers(options))
    models = list(chosen_models(options))
    for _, path in models:
        files.check(path)
    cells = [] if options.skip_evaluations else list(
        evaluations(QUICK_ROUNDS if options.quick else ROUNDS,
                    options.quick))
    described: list[dict[str, Any]] = []
    end = began + QUICK_SECONDS if options.quick else float('inf')
    under_way: list[Iterator[Case]] = []
    for model, path in models:
        runners = make_ways(model, path, settings, conformers)
        described += [r.about for r in runners]
        under_way.append(
            relaxed(model, runners, conformers, settings, end))
    # in turns, so that time that is up leaves models out alike
    cases = [case for turn in zip_longest(*under_way) for case in turn
             if case is not None]
    result = summary.of(cases, cells, described, judges(models))
    result['n']['left_out'] = len(models) * len(conformers) - len(cases)
    result['command'] = 'python -m mpiapp.bench ' + ' '.join(options.words)
    for line in summary.lines(result):
        print(line)
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1))
    failed = [d for d in described if d['state'] == 'failed']
    return int(bool(failed) or any(
        c['state'] in ('refused', 'failed') for c in cells))


def settings_of(options: argparse.Namespace) -> Settings:
    """Return the settings of all ways.

    Raises:
        InputError: a number out of range, or a GPU that is not there.
    """
    batch = None if options.batch == 'auto' else number(options.batch)
    for name in ('fmax', 'max_steps', 'every', 'together'):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise InputError(f'--{name.replace("_", "-")} {value}: must be '
                             'greater than 0')
    if options.device == 'cuda':
        import torch
        if not torch.cuda.is_available():
            raise InputError('--device cuda: PyTorch '
                             f'{torch.__version__} sees no CUDA device')
    return Settings(Limits(options.fmax, options.max_steps), options.device,
                    options.backend, options.optimizer, options.dtype,
                    batch, on_device(options), options.together
                    or (2 * batch if batch else TOGETHER[options.device]))


def number(text: str) -> int:
    """Return the number of molecules; InputError for anything else."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise InputError(f'--batch {text}: must be greater than 0, or auto')
    return int(text)


def on_device(options: argparse.Namespace) -> bool:
    """Say whether our steps are taken on the device."""
    if options.relax_on == 'device' and options.optimizer != 'internal':
        raise InputError('--relax-on device has the optimiser internal only')
    if options.relax_on != 'auto':
        return bool(options.relax_on == 'device')
    return bool(options.device == 'cuda'
                and options.optimizer == 'internal')


def chosen_models(
    options: argparse.Namespace,
) -> Iterator[tuple[str, str]]:
    """Yield (name, file) of the models, the bundled ones first."""
    yield files.BUNDLED, str(files.bundled_path())
    for name in MORE_MODELS:
        path = data_file(f'models/{name}.model')
        if path.exists():
            yield name, str(path)
    for named in options.model_path:
        yield Path(named).stem, named


def chosen_conformers(
    options: argparse.Namespace,
) -> Iterator[tuple[str, Structure]]:
    """Yield (name, structure), the charged ones neutralised."""
    quick = options.quick and not options.sdf
    every = options.every or (QUICK_EVERY if quick else 1)
    sdf = options.sdf or [str(data_file(
        QUICK_CONFORMERS if quick else CONFORMERS))]
    yield from structures(
        argparse.Namespace(sdf=sdf, every=every), accepts_charge=False)


def evaluations(rounds: int, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each shape, precision and way; print it.

    A quick run has the fastest of ours alone beside the yardstick.
    """
    ours = [name for name in ('native', 'poly') if name in available()]
    ours = ours[:1] if quick else ours
    with tempfile.TemporaryDirectory() as folder:
        for shape in SHAPES:
            path = Path(folder) / f'{shape}.model'
            write_model(SHAPES[shape], path)
            for dtype in ('float64', 'float32'):
                for row in evaluation.measure(
                        str(path), dtype, pyrene_dimer(), rounds, ours):
                    cell = {'model': shape, 'molecule': 'pyrene dimer',
                            'dtype': dtype, **row}
                    print(evaluation.line(cell), flush=True)
                    yield cell


@dataclass(frozen=True, eq=False)
class Runner:
    """A way, None where it does not run, and what is reported of it."""

    name: str
    way: Way | None
    about: dict[str, Any]

    def relax(self, structures: Sequence[Structure]) -> list[End]:
        """Return the ends; none, and the state `failed`, if it raises."""
        if self.way is None or self.about['state'] != 'ok':
            return []
        try:
            return self.way(structures)
        except Exception as error:  # other people's code, and ours on trial
            log.warning('%s', traceback.format_exc())
            self.about.update(
                state='failed', reason=f'{type(error).__name__}: {error}')
            return []


def make_ways(
    model: str, path: str, settings: Settings,
    conformers: Sequence[tuple[str, Structure]],
) -> list[Runner]:
    """Return the ways, those that run here warm.

    `start_s` are the CPU seconds until the first evaluation is done.
    """
    sample = [structure for _, structure in conformers[:2]]
    runners = []
    for name in (ways.ASE_MACE, ways.ASE_NATIVE, ways.TORCH_SIM, ways.OURS):
        clock = ways.Clock()
        about: dict[str, Any] = {'model': model, 'way': name, 'state': 'ok'}
        way = None
        try:
            way, more = ways.make(name, path, settings, sample)
            about |= {**more, 'start_s': clock.read()[0]}
        except InputError as error:
            about |= {'state': 'failed' if name == ways.OURS else 'skipped',
                      'reason': str(error)}
            print(f'{model} {name}: {about["state"]}: {error}',
                  file=sys.stderr)
        runners.append(Runner(name, way, about))
    return runners


def relaxed(
    model: str, runners: Sequence[Runner],
    conformers: Sequence[tuple[str, Structure]], settings: Settings,
    end: float,
) -> Iterator[Case]:
    """Yield the conformers, each relaxed by all ways in turn.

    None is begun that is not expected to end before the time `end`, but
    the first always is.
    """
    if settings.together:
        yield from together(model, runners, conformers, settings)
        return
    taken = 0.0
    for i, (name, structure) in enumerate(conformers):
        began = time.perf_counter()
        if i and began + taken > end:
            return
        # every way is the first in its turn
        first = i % len(runners)
        found = {r.name: r.relax([structure])
                 for r in [*runners[first:], *runners[:first]]}
        case = Case(model, name, structure, {
            r.name: found[r.name][0] for r in runners if found[r.name]})
        print(summary.case_line(case), flush=True)
        yield case
        taken = time.perf_counter() - began


def together(
    model: str, runners: Sequence[Runner],
    conformers: Sequence[tuple[str, Structure]], settings: Settings,
) -> Iterator[Case]:
    """Yield the conformers after a run of many copies of them.

    Only of the ways that can batch: the others would take them in turn.
    """
    copies = -(-settings.n_together // len(conformers))
    many = [s for _, s in conformers] * copies
    ends = {r.name: r.relax(many) for r in runners
            if r.name in (ways.TORCH_SIM, ways.OURS)}
    for i, (name, structure) in enumerate(conformers):
        case = Case(model, name, structure, {
            way: found[i] for way, found in ends.items() if found})
        print(summary.case_line(case), flush=True)
        yield case


def judges(models: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return a float64 reference of each model, which compares the ends."""
    from mpiapp.potentials import PotentialOptions, build
    return {name: build(PotentialOptions(
        model_path=path, backend='reference', device='cpu'))
        for name, path in models}
