"""`distill label`: options, and all between them and the engine."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mpiapp.config import Shared, not_negative, option, positive
from mpiapp.data_files import data_file
from mpiapp.errors import InputError
from mpiapp.parallel.launch import DONE, World
from mpiapp.program import (
    beside, check_files, check_molecules, check_shared, output_folder,
    result_options, result_path, run_options
)

if TYPE_CHECKING:
    from mpiapp.engine import Outcome, Plan
    from mpiapp.potentials import PotentialOptions
    from mpiapp.records import Floats
    from mpiapp.workers.label import LabelSettings
    from mpiapp.workers.label_items import LabelItem, Subjects

ABOUT = ('Make and label training structures over MPI ranks: mpirun -n P '
         'python -m mpiapp.distill label --teacher gfn2 --smiles-csv FILE '
         '--total N --output FILE.h5')
SOURCES = ('conformer', 'fragment', 'md', 'relax', 'rattle', 'stack', 'slip',
           't_shape', 'contact')
#: version of the meaning of the results; a change ends resumability
RESULTS_VERSION = 3
#: options that name files or potentials: their contents count on resume
NAMES = frozenset({'teacher', 'sampler', 'smiles_csv', 'smi', 'smiles',
                   'held_back', 'models', 'against'})
#: --max-failed that stands for a tenth of --total
A_TENTH = -1


def share(value: float) -> str:
    """Check a number from 0 to below 1."""
    return '' if 0 <= value < 1 else 'must be from 0 to below 1'


def tenth_or_more(value: float) -> str:
    """Check a number of failures."""
    return '' if value >= A_TENTH else 'must not be negative'


@dataclass(frozen=True)
class Options(Shared):
    """Options of `distill label`."""

    exit_codes: ClassVar[str] = (
        'exit codes: 0 done; 1 stopped by an unforeseen error; 2 wrong usage '
        'or input, nothing computed; 3 finished, but more structures than '
        '--max-failed have no label; 4 stopped early, go on with --resume')

    teacher: str = option(
        'gfn2', 'what labels: gfn2, gfn1, mace:FILE, mace:small, or '
        'functional/basis as pbe/def2-svp', group='method', metavar='NAME')
    sampler: str = option(
        'gfn2', 'what moves atoms in dynamics and relaxations: student, '
        'gfn2, or any teacher', group='method', metavar='NAME')
    smiles_csv: str = option(
        '', 'molecule table (name, smiles; r_group, screen_group)',
        group='input', metavar='FILE')
    smi: str = option('', 'file with a line `SMILES name` for each molecule',
                      group='input', metavar='FILE')
    smiles: tuple[str, ...] = option(
        (), 'SMILES of the molecules themselves', group='input',
        metavar='SMILES')
    held_back: str = option(
        'default', 'CSV file (name, smiles) of molecules never to be '
        'labelled; none: nothing is held back; default: those that test the '
        'bundled student', group='input', metavar='FILE')
    total: int = option(1000, 'structures to label', group='sampling',
                        check=positive)
    sources: tuple[str, ...] = option(
        SOURCES, 'where structures come from', group='sampling',
        choices=SOURCES)
    max_atoms: int = option(260, 'largest molecule', group='sampling',
                            check=positive)
    max_dimer_atoms: int = option(120, 'largest dimer', group='sampling',
                                  check=positive)
    md_steps: int = option(
        60, 'steps of 0.5 fs of a molecular dynamics at most',
        group='sampling', check=positive)
    min_distance: float = option(
        0.7, 'structures with two atoms closer than this are refused [A]',
        group='sampling', check=positive)
    force_ceiling: float = option(
        15.0, 'structures with a larger force by the teacher are refused '
        '[eV/A]', group='sampling', check=positive)
    valid_share: float = option(
        0.05, 'share of the molecules for validation', group='sampling',
        check=share)
    seed: int = option(0, 'another number makes other structures',
                       group='sampling', check=not_negative)
    select: str = option(
        'none', 'label the structures of a larger pool that a committee of '
        'students disagrees on, or that are farthest from what is known',
        group='selection', choices=('none', 'committee', 'distance'))
    pool: int | None = option(
        None, 'structures of the pool (default: 4 times --total)',
        group='selection', check=positive)
    models: tuple[str, ...] = option(
        (), 'students of the committee, two at least', group='selection',
        metavar='FILE')
    against: tuple[str, ...] = option(
        (), 'structures that are known already, labelled or not',
        group='selection', metavar='FILE')
    output: str = option(
        '', 'HDF5 file; FILE.xyz lies beside it (default: runs/labels.h5)',
        group='output', metavar='FILE.h5', short='-o')
    output_prefix: str = option(
        'labels', 'prefix of all result files, instead of --output',
        group='output')
    max_failed: int = option(
        A_TENTH, 'structures without a label that are accepted before the '
        'exit code is 3 (-1: a tenth of --total)', group='run',
        check=tenth_or_more)


def settle(options: Options) -> Options:
    """Check what concerns several options, and fill in what follows.

    Raises:
        InputError: options that contradict each other.
    """
    check_molecules(options)
    if options.output:
        path = Path(options.output)
        if path.suffix != '.h5' or path.name == '.h5':
            raise InputError(f'--output {path}: the name must end in .h5')
        options = beside(options, path)
    if options.select == 'committee' and len(options.models) < 2:
        raise InputError('--select committee needs two --models at least')
    if options.models and options.select != 'committee':
        raise InputError('--models belongs to --select committee')
    if options.pool and options.select == 'none':
        raise InputError('--pool belongs to --select')
    if options.pool and options.pool < options.total:
        raise InputError(f'--pool {options.pool}: less than --total '
                         f'{options.total}')
    if options.max_failed == A_TENTH:
        options = replace(options, max_failed=options.total // 10)
    check_shared(options)
    return replace(options, output_dir=output_folder(options))


@dataclass(frozen=True)
class Prepared:
    """What rank 0 found out and every rank needs."""

    plan: Plan
    settings: LabelSettings
    subjects: Subjects
    items: Sequence[LabelItem]
    potentials: Mapping[str, PotentialOptions]


def run(world: World, options: Options) -> int:
    """Collective: do what the options say; returns the exit code."""
    from mpiapp import engine
    from mpiapp.parallel import binding
    from mpiapp.parallel.agree import agree
    comm = world.comm
    prepared: Prepared | None = None
    with agree(comm, 'preparing the run'):
        if comm.rank == 0:
            prepared = prepare(options)
            engine.log.info('%s', binding.table(world.placements))
            for line in announced(options, prepared):
                engine.log.info('%s', line)
    prepared = comm.bcast(prepared)
    assert prepared is not None
    if options.dry_run:
        return DONE
    ready: dict[int, Floats] = {}
    if options.select != 'none':
        found = select(world, options, prepared)
        if isinstance(found, int):
            return found
        prepared, ready = found
    outcome = engine.run(world, with_blanks(prepared), worker_of(
        options, prepared, ready=ready))
    with agree(comm, 'writing the structures'):
        if comm.rank == 0:
            finish(options, prepared, outcome)
    return outcome.exit_code(options.max_failed, options.strict)


def prepare(options: Options) -> Prepared:
    """Check options, input, teacher and output on one rank.

    Raises:
        InputError: whatever the user must mend.
    """
    from mpiapp.chemistry.embedding import Recipe
    from mpiapp.distillation import frames
    from mpiapp.engine import check_start
    from mpiapp.store.output import check_output
    from mpiapp.workers.conformer_input import look, read_molecules
    from mpiapp.workers.label import LabelSettings
    from mpiapp.workers.label_items import (
        items_of, read_held_back, subjects_of
    )
    from mpiapp.workers.label_plan import valid_names
    check_output(result_path(options), create=not options.dry_run)
    check_files(options, [result_path(options),
                          result_path(options).with_suffix('.xyz'),
                          pool_path(options)])
    for path in options.against:
        frames.read(path, labels=False)
    table, source = read_molecules(
        options.smiles_csv, options.smi, options.smiles)
    look(table, Recipe())
    held = held_back_file(options)
    potentials, known = chosen_potentials(options)
    subjects = subjects_of(table.rows, read_held_back(held) if held else {},
                           options.max_atoms, known)
    settings = LabelSettings(
        options.min_distance, options.force_ceiling, options.md_steps,
        options.seed, valid_names(subjects.all, options.valid_share,
                                  options.seed),
        options.select != 'none', options.record_timeout)
    n = options.total if options.select == 'none' else \
        options.pool or 4 * options.total
    items = items_of(subjects.all, n, options.sources,
                     options.max_dimer_atoms)
    prepared = Prepared(
        make_plan(options, subjects, items, source, potentials,
                  result_path(options)),
        settings, subjects, items, potentials)
    if options.dry_run:
        check_start(prepared.plan if options.select == 'none'
                    else pool_plan(options, prepared))
    return prepared


def held_back_file(options: Options) -> Path | None:
    """Return the file of the molecules that are held back, if any are."""
    if options.held_back == 'none':
        return None
    return data_file('distill/held_back.csv') \
        if options.held_back == 'default' else Path(options.held_back)


def pool_plan(options: Options, prepared: Prepared) -> Plan:
    """Return what the engine is to do to make the pool of --select."""
    return replace(prepared.plan, result=pool_path(options), settings={
        **prepared.plan.settings, 'labels': False})


def with_blanks(prepared: Prepared) -> Plan:
    """Return the plan, which then names the rows without a result."""
    from mpiapp.workers.label import known_values

    def blank(row: int) -> dict[str, Any]:
        return known_values(prepared.items[row], prepared.subjects.all,
                            prepared.settings.valid)
    return replace(prepared.plan, blank=blank)


def pool_path(options: Options) -> Path:
    """Return the file of the pool that --select chooses from."""
    path = result_path(options)
    return path.with_name(f'{path.stem}_pool.h5')


def chosen_potentials(
    options: Options,
) -> tuple[dict[str, PotentialOptions], frozenset[int] | None]:
    """Return teacher, sampler and committee with their files.

    And the atomic numbers that all of them know; None where none is limited.

    Raises:
        InputError: one can't run here.
    """
    from mpiapp import potentials
    from mpiapp.workers.label_plan import teacher_options
    names = {'teacher': options.teacher, 'sampler': options.sampler,
             **{f'committee {i}': f'mace:{m}'
                for i, m in enumerate(options.models)}}
    found, known = {}, None
    for role, text in names.items():
        found[role] = potentials.obtain(teacher_options(
            text, options.threads_per_rank, options.device))
        # built once here, so that what is wrong is said before the work
        elements = potentials.build(found[role]).elements
        if elements is not None:
            known = elements if known is None else known & elements
    return found, known


def make_plan(
    options: Options, subjects: Subjects, items: Sequence[LabelItem],
    source: Mapping[str, Any], potentials: Mapping[str, PotentialOptions],
    path: Path,
) -> Plan:
    """Return what the engine is to do."""
    import numpy as np

    from mpiapp.engine import Plan
    from mpiapp.partition import CostModel
    from mpiapp.store.provenance import package_versions
    from mpiapp.workers.label import LABELS
    from mpiapp.workers.label_items import SHARES
    from mpiapp.workers.label_plan import describe, seconds_of
    roles = {role: describe(p) for role, p in potentials.items()}
    asked = {name: value for name, value in result_options(options).items()
             if name != 'output'}
    settings = {
        'results_version': RESULTS_VERSION,
        'options': {k: v for k, v in asked.items() if k not in NAMES},
        'potentials': roles, 'labels': True, **contents(options),
        'subjects': digest_of((s.name, s.row.smiles) for s in subjects.all),
        'items': digest_of((i.kind, i.parts, i.number) for i in items),
        'shares': {s: SHARES[s] for s in options.sources}}
    meta = {
        'program': 'distill label', 'options': asked, 'settings': settings,
        'inputs': [dict(source)], 'packages': package_versions(),
        'teacher': roles['teacher'], 'left_out': list(subjects.left_out),
        'units': {'energy': 'eV', 'forces': 'eV/angstrom',
                  'x': 'angstrom'}}
    atoms = np.array([sum(subjects.all[i].n_atoms for i in item.parts)
                      for item in items], np.int32)
    return Plan(
        LABELS, path, atoms, CostModel(), np.ones(len(items), bool),
        settings, [dict(source)], meta, run_options(options),
        resume=options.resume, overwrite=options.overwrite,
        retry_failed=options.retry_failed, save_every=options.save_every,
        record_timeout=options.record_timeout,
        writer=options.writer, seconds=seconds_of(
            items, subjects.all, calculator_of(options.teacher),
            calculator_of(options.sampler), options.md_steps))


def calculator_of(text: str) -> str:
    """Return the name of a potential as the cost models have it."""
    return 'mace' if text == 'student' else text.partition(':')[0]


def contents(options: Options) -> dict[str, Any]:
    """Return the checksums of files that decide what is labelled."""
    from mpiapp.potentials import file_sha256
    held = held_back_file(options)
    return {'held_back': file_sha256(str(held)) if held else 'none',
            'against': [file_sha256(path) for path in options.against]}


def digest_of(facts: Iterable[tuple[Any, ...]]) -> str:
    """Return a digest of facts in their order."""
    import hashlib
    text = '\n'.join(map(repr, facts))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def worker_of(
    options: Options, prepared: Prepared, teaches: bool = True,
    ready: dict[int, Floats] | None = None,
) -> Any:
    """Return the worker of this rank."""
    from mpiapp import potentials
    from mpiapp.workers.label import LabelWorker
    built = {role: potentials.build(p)
             for role, p in prepared.potentials.items()
             if teaches or role != 'teacher'}
    committee = [] if teaches else [
        p for role, p in built.items() if role.startswith('committee')]
    return LabelWorker(
        prepared.settings, prepared.subjects.all, prepared.items,
        built.get('teacher'), built['sampler'], committee, ready)


def select(
    world: World, options: Options, prepared: Prepared,
) -> tuple[Prepared, dict[int, Floats]] | int:
    """Collective: make a pool, choose from it; an exit code if stopped."""
    from mpiapp import engine
    from mpiapp.distillation import frames
    from mpiapp.parallel.agree import agree
    from mpiapp.store.reader import load
    from mpiapp.workers import label_plan
    comm = world.comm
    plan = pool_plan(options, prepared)
    path = plan.result
    outcome = engine.run(world, replace(
        plan, blank=with_blanks(prepared).blank),
        worker_of(options, prepared, False))
    if outcome.unfinished:
        return outcome.exit_code(options.max_failed, options.strict)
    found = None
    with agree(comm, 'choosing from the pool'):
        if comm.rank == 0:
            known = [f for p in options.against
                     for f in frames.read(p, labels=False)]
            pool = load(path)
            rows = label_plan.chosen(pool, label_plan.Selection(
                options.select, options.models, options.against), known,
                options.total)
            if not len(rows):
                raise InputError(f'{path}: no structure of the pool is sound')
            engine.log.info('chosen       %d of %d structures of the pool',
                            len(rows), len(prepared.items))
            found = rows, label_plan.geometries(pool, rows)
    rows, ready = comm.bcast(found)
    items = [prepared.items[int(row)] for row in rows]
    new = make_plan(options, prepared.subjects, items,
                    prepared.plan.inputs[0], prepared.potentials,
                    result_path(options))
    return replace(prepared, plan=new, items=items), ready


def announced(options: Options, prepared: Prepared) -> list[str]:
    """Return what is about to run, one fact a line."""
    from collections import Counter

    import mpiapp
    kinds = Counter(item.kind for item in prepared.items)
    all_ = prepared.subjects.all
    pieces = sum(s.is_fragment for s in all_)
    seconds = float(prepared.plan.costs.sum())
    return [
        f'mpiapp {mpiapp.__version__} distill label: {len(all_) - pieces} '
        f'molecules, {pieces} pieces of them, '
        f'{len(prepared.subjects.left_out)} left out',
        f'structures   {len(prepared.items)}: '
        + ', '.join(f'{n} {kind}' for kind, n in kinds.items()),
        f'validation   {len(prepared.settings.valid)} of {len(all_)} '
        'molecules and pieces',
        f'teacher      {options.teacher}; sampler {options.sampler}',
        f'predicted    {seconds:.0f} s of one core',
        f'result       {prepared.plan.result}']


def finish(options: Options, prepared: Prepared, outcome: Outcome) -> None:
    """Write the extxyz file, print what came of it."""
    from mpiapp.distillation import frames
    from mpiapp.records import Status
    from mpiapp.store.reader import load
    from mpiapp.workers.label_plan import closing
    path = prepared.plan.result
    campaign = load(path)
    if (campaign.table.status == Status.CONVERGED).any():
        frames.write_xyz(path.with_suffix('.xyz'), frames.read_h5(path))
    else:
        # of an earlier run, which this one replaces
        path.with_suffix('.xyz').unlink(missing_ok=True)
    print(closing(campaign.table, prepared.subjects.left_out, path))
    print(outcome.verdict(options.max_failed, options.strict), flush=True)
