"""Check a job before it runs: MPI, cores, GPUs, disk, method, input, time.

Takes the options of `reopt`; exits with 0 only if that job would run.
"""
from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mpiapp import planning, relaxation
from mpiapp.config import not_negative, option
from mpiapp.errors import InputError
from mpiapp.parallel.agree import agree
from mpiapp.parallel.launch import DONE, USAGE, World
from mpiapp.program import files_read
from mpiapp.program import main as run_program
from mpiapp.program import potential_options, result_path
from mpiapp.relaxation import settle

if TYPE_CHECKING:
    from mpiapp.checks.computing import Input
    from mpiapp.checks.table import Finding
    from mpiapp.potentials import Potential, PotentialOptions

log = logging.getLogger('mpiapp')

ABOUT = ('Check whether a job would run, and how long it would take: write '
         'preflight in place of reopt, with the same mpirun or srun and the '
         'same options. Nothing is left behind.')

#: methods that are quick to try, whether the job needs them or not
QUICK = ('gfn2', 'gfn1', 'mmff94s', 'lj')


@dataclass(frozen=True)
class Options(relaxation.Options):
    """Options of `preflight`: those of `reopt` and two of its own."""

    write_seconds: float = option(
        2.0, 'how long the ranks try to write together', group='run',
        check=not_negative, metavar='SECONDS')
    json: str = option('', 'write the findings and the places of the ranks '
                       'there', group='output', metavar='FILE')

    #: of `--help`
    exit_codes = ('exit codes: 0 the job would run; 2 it would not, or wrong '
                  'usage; 1 stopped by an unforeseen error')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the checks; returns the exit code."""
    return run_program(Options, 'preflight', ABOUT, settled, run, argv)


def settled(options: Options) -> Options:
    """Check what concerns several options, and fill in what follows.

    Raises:
        InputError: options that contradict each other.
    """
    if options.analyse:
        raise InputError('--analyse computes nothing that preflight could '
                         'try: use reopt --analyse FILE --dry-run')
    return settle(options)


def run(world: World, options: Options) -> int:
    """Collective: check everything, print the table."""
    from mpiapp.checks.table import coloured, fit, lines
    from mpiapp.parallel import binding
    colours = coloured()
    with agree(world.comm, 'trying the place of the findings'):
        if options.json and world.comm.rank == 0:
            check_report(Path(options.json), options)
    if world.comm.rank == 0:
        print(binding.table(world.placements), flush=True)
        print(flush=True)
    findings: list[Finding] = []
    for part in (placing, storage, computing):
        found = part(world, options)
        findings += found
        if world.comm.rank == 0:
            print('\n'.join(lines(found, colours)), flush=True)
    good = fit(findings)
    if world.comm.rank == 0:
        if options.json:
            write_json(Path(options.json), world, findings, good)
        print('\nexit code ' + (f'{DONE}: the job would run' if good else
                                f'{USAGE}: the job would not run, see FAIL'),
              flush=True)
    return DONE if good else USAGE


def check_report(path: Path, options: Options) -> None:
    """Raise InputError where the findings could not, or must not, be
    written."""
    from mpiapp.store.output import check_output, check_written
    if path.is_dir():
        raise InputError(f'--json {path}: it is a folder')
    check_written([path], files_read(options), True)
    check_output(path, create=False)


def placing(world: World, options: Options) -> list[Finding]:
    """Collective: check MPI, nodes, cores and GPUs."""
    from mpiapp.checks.placing import check_placing
    return check_placing(world)


def storage(world: World, options: Options) -> list[Finding]:
    """Collective: check the folder of the results."""
    from mpiapp.checks.storage import check_storage
    return check_storage(world.comm, result_path(options),
                         options.write_seconds, options.writer,
                         options.resume or options.overwrite)


def computing(world: World, options: Options) -> list[Finding]:
    """Collective: check the input and the method, predict the time."""
    with TemporaryDirectory(prefix='mpiapp-preflight-') as spool:
        return computed(world, options, Path(spool))


def computed(world: World, options: Options, spool: Path) -> list[Finding]:
    """Collective: as `computing`, with a folder for unpacked files."""
    from mpiapp.checks.computing import try_method
    from mpiapp.checks.table import FAIL, NOTE, Finding, on_root
    found, prepared, findings = check_input(world, options, spool)
    chosen, potential, more = check_methods(world, options, found)
    findings += more
    for name in QUICK:
        if name != options.calculator:
            findings.append(on_root(
                world.comm, name, partial(try_method, name)))
    if any(f.verdict == FAIL for f in findings):
        return [*findings, Finding('time', NOTE, 'not predicted')]
    assert potential is not None
    mine = potential
    return [*findings,
            on_root(world.comm, 'records', lambda: acceptable(
                options, prepared[0], mine)),
            check_time(world, options, found, potential)]


def check_input(
    world: World, options: Options, spool: Path,
) -> tuple[Input | None, list[planning.Prepared], list[Finding]]:
    """Collective: index and read the input on rank 0, prepare the job.

    The other ranks get None and nothing, and see that they can open the
    files.
    """
    from mpiapp.checks.computing import open_input, readable
    from mpiapp.checks.table import FAIL, on_all, on_root
    opened: list[Input] = []
    prepared: list[planning.Prepared] = []
    words = planning.inputs(options)

    def read() -> str:
        opened.append(open_input(
            words, lambda n: planning.window(options, n), spool))
        return readable(opened[0])
    findings = [on_root(world.comm, 'input', read)]
    found = opened[0] if opened else None
    if findings[0].verdict != FAIL:
        findings.append(on_all(world.comm, 'same input', lambda: seen(words)))
        findings.append(on_root(world.comm, 'disk space', lambda: space(
            options, found)))
        findings.append(on_root(
            world.comm, 'start', lambda: startable(options, spool, prepared)))
    return found, prepared, findings


def seen(paths: Sequence[str]) -> str:
    """Check that this rank can open the input files."""
    for path in paths:
        with open(path, 'rb') as file:
            file.read(1)
    return 'all ranks can open it'


def space(options: Options, found: Input | None) -> str:
    """Compare the predicted size of the results with the free space."""
    from mpiapp.engine import size_of_results
    from mpiapp.records import RELAX
    from mpiapp.store.output import check_space
    assert found is not None
    result = result_path(options)
    need = size_of_results(RELAX, found.collection.n_atoms)
    check_space(result, need)
    there = next(p for p in result.absolute().parents if p.exists())
    return (f'{need / 1e6:.1f} MB needed, '
            f'{shutil.disk_usage(there).free / 1e6:.0f} MB free')


def startable(
    options: Options, spool: Path, prepared: list[planning.Prepared],
) -> str:
    """Check what `reopt` checks before it starts, without leaving a trace.

    What that found out is put into `prepared`.
    """
    with warnings_alone():
        prepared.append(planning.prepare(of_a_dry_run(options), spool))
    return 'options, molecule table and stages are sound'


def of_a_dry_run(options: Options) -> relaxation.Options:
    """Return the options of `reopt --dry-run`, without those of our own."""
    from dataclasses import fields, replace
    plain = relaxation.Options(**{
        f.name: getattr(options, f.name)
        for f in fields(relaxation.Options)})
    return replace(plain, dry_run=True)


@contextmanager
def warnings_alone() -> Iterator[None]:
    """Leave out what is told once already, the choice of a back end."""
    log = logging.getLogger('mpiapp')
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(before)


def acceptable(
    options: Options, prepared: planning.Prepared, potential: Potential,
) -> str:
    """Judge the records as the job does before it relaxes them.

    Raises:
        Doubt: more are refused than --max-failed accepts.
    """
    from mpiapp.checks.table import Doubt
    from mpiapp.workers.preview import look
    from mpiapp.workers.relax import RelaxWorker
    found = look(prepared.plan, RelaxWorker(
        planning.relax_settings(options, False),
        planning.records_of(options, prepared), potential))
    n_refused = sum(found.refused.values())
    if not n_refused:
        return f'{found.n_read} read, none is refused'
    text = f'{n_refused} of {found.n_read} read are refused: ' + '; '.join(
        f'{n} x {reason} ({found.messages[reason]})'
        for reason, n in found.refused.most_common())
    if n_refused > options.max_failed:
        raise Doubt(f'{text}; the job would end with exit code 3')
    return text


def check_methods(
    world: World, options: Options, found: Input | None,
) -> tuple[PotentialOptions | None, Potential | None, list[Finding]]:
    """Collective: get the model on rank 0, try it on every rank."""
    from mpiapp.checks import computing as checks
    from mpiapp.checks.table import FAIL, on_all, on_root
    from mpiapp.partition import cost_model
    from mpiapp.potentials import build
    got: list[PotentialOptions] = []
    built: list[Potential] = []

    def obtain() -> str:
        sample, work = [], 0.0
        if found is not None:
            sample = checks.probes(found)[:2]
            work = cost_model(
                options.calculator, options.max_steps, options.optimizer,
            ).atom_steps(found.collection.n_atoms[found.wanted]).sum()
        got.append(checks.obtained(
            potential_options(options), sample, float(work)))
        return model_text(got[0])
    name = options.calculator
    findings = [on_root(world.comm, 'model', obtain)]
    chosen = world.comm.bcast(got[0] if got else None)
    if findings[0].verdict == FAIL:
        return None, None, findings

    def evaluate() -> str:
        built.append(build(chosen))
        return (f'{built[0].name}, {built[0].dtype}: '
                + checks.evaluates(built[0]))
    findings.append(on_all(world.comm, name, evaluate))
    return chosen, built[0] if built else None, findings


def model_text(chosen: PotentialOptions) -> str:
    """Say which file is the model, with its hash."""
    from mpiapp.potentials import file_sha256
    if not chosen.model_path:
        return f'{chosen.calculator} needs no file'
    return (f'{chosen.model_path}, sha256 '
            f'{file_sha256(chosen.model_path)[:12]}, back end '
            f'{chosen.backend}')


def check_time(
    world: World, options: Options, found: Input | None,
    potential: Potential,
) -> Finding:
    """Collective: time three conformers on all ranks at once."""
    from mpiapp.checks import computing as checks
    from mpiapp.checks.table import FAIL, on_all, on_root
    from mpiapp.parallel.stop import parse_duration
    from mpiapp.partition import cost_model
    structures = world.comm.bcast(
        checks.probes(found) if found is not None else None)
    timed: list[list[float]] = []

    def probe() -> str:
        timed.append(checks.seconds_each(potential, structures))
        return 'timed'
    world.comm.barrier()
    probed = on_all(world.comm, 'time', probe)
    if probed.verdict == FAIL:
        return probed
    times = world.comm.allgather(timed[0])
    limit = parse_duration(options.time_limit) if options.time_limit \
        else None

    def predict() -> str:
        assert found is not None
        return checks.predicted(
            cost_model(options.calculator, options.max_steps,
                       options.optimizer), found,
            [len(s.numbers) for s in structures], times, limit)
    return on_root(world.comm, 'time', predict)


def write_json(
    path: Path, world: World, findings: Sequence[Finding], good: bool,
) -> None:
    """Write the findings and the places of the ranks."""
    import mpiapp
    data: dict[str, Any] = {
        'version': mpiapp.__version__, 'fit': good, 'pid': os.getpid(),
        'findings': [asdict(f) for f in findings],
        'ranks': [asdict(p) for p in world.placements]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + '\n')


if __name__ == '__main__':
    sys.exit(main())
