"""Profile a MACE model: where the time goes, and what it could gain.

    python -m mpiapp.profiler --quick --json FILE
    mpirun -n P python -m mpiapp.profiler --trace FILE
    python -m mpiapp.profiler --compare A B
"""
from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mpiapp.config import option, positive, read_options
from mpiapp.errors import InputError
from mpiapp.parallel.launch import DONE, USAGE, Resources, World, launch, leave
from mpiapp.program import files_read

if TYPE_CHECKING:
    from mpiapp.benchmarks.harness.document import Results
    from mpiapp.benchmarks.profiling.measure import Subject
    from mpiapp.benchmarks.profiling.spans import Spans

ABOUT = ('Profile the evaluation of a MACE model by stage, operator and '
         'rank: [mpirun -n P] python -m mpiapp.profiler --quick')


@dataclass(frozen=True)
class Options:
    """Options of `profiler`."""

    exit_codes: ClassVar[str] = (
        'exit codes: 0 done; 1 stopped by an unforeseen error, or a way that '
        'disagrees with the reference is refused; 2 wrong usage or input, '
        'nothing measured')

    model: str = option('student', 'student, tiny, small, medium (shapes '
                        'with random weights), or a file', group='input',
                        metavar='NAME')
    molecule: str = option(
        '', 'name, or FILE or FILE:RECORD (default: organic, 58 atoms; '
        'caffeine with --quick)', group='input', metavar='NAME')
    batch: int = option(1, 'copies of it in one call', group='input',
                        check=positive)
    quick: bool = option(False, 'few calls on a small molecule',
                         group='input')
    ways: tuple[str, ...] = option(
        ('reference', 'poly'), 'ways to compute the model', group='method',
        metavar='NAME')
    dtype: str = option('float64', 'arithmetic', group='method',
                        choices=('float64', 'float32'))
    calls: int = option(10, 'calls that are timed (6 with --quick)',
                        group='run', check=positive)
    memory: float = option(4.0, 'GB that a batch may take: what is the '
                           'largest?', group='run', check=positive)
    compare: tuple[str, ...] = option(
        (), 'show how two profiles differ; nothing is measured',
        group='input', metavar='FILE')
    json: str = option('', 'write the profile there', group='output',
                       metavar='FILE')
    trace: str = option('', 'write spans of all ranks there, for Chrome or '
                        'Perfetto', group='output', metavar='FILE')
    flame: str = option('', 'write folded stacks there, for flamegraph.pl '
                        'or speedscope', group='output', metavar='FILE')
    plots: bool = option(False, 'draw stages and memory beside --json',
                         group='output')
    threads_per_rank: int = option(1, 'threads of one rank',
                                   group='machine', check=positive)
    device: str = option('cpu', 'where to compute', group='machine',
                         choices=('cpu', 'cuda'))
    ranks_per_gpu: int = option(1, 'ranks that share one GPU',
                                group='machine', check=positive)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        options = read_options(Options, 'profiler', ABOUT, words)
        if options.compare:
            return compare(options.compare)
    except InputError as error:
        leave(USAGE, f'error: {error}')
    except SystemExit:
        leave(0)
    return launch(lambda world: run(world, options), Resources(
        options.threads_per_rank, options.device, options.ranks_per_gpu,
        log_level='warning'))


def run(world: World, options: Options) -> int:
    """Collective: profile on every rank; rank 0 tells."""
    from mpiapp.benchmarks.harness.document import Results
    from mpiapp.benchmarks.profiling import spans
    from mpiapp.parallel.agree import agree
    warnings.filterwarnings('ignore')
    comm = world.comm
    subjects: list[Subject] | None = None
    with agree(comm, 'preparing the profile'):
        if comm.rank == 0:
            subjects = prepare(options)
    recorder = spans.Spans()
    spanned = spans.SpannedComm(comm, recorder)
    offset = spans.offset_to_root(comm)
    subjects = spanned.bcast(subjects)
    assert subjects is not None
    mine: list[dict[str, Any]] = []
    results: Results | None = None
    with agree(comm, 'profiling'):
        if comm.rank == 0:
            results = Results('profiler', options.json or None)
        for profile in profiles(options, subjects, recorder):
            mine.append(profile | {'ranks': comm.size})
            if results:
                results.add(mine[-1])
    spanned.Barrier()
    # so that the trace holds work and waiting alike
    with agree(comm, 'evaluating'):
        evaluate_spanned(subjects[-1], recorder)
    spanned.Barrier()
    found = spanned.gather(mine)
    by_rank = spans.gathered(comm, recorder, offset)
    with agree(comm, 'writing the profile'):
        if results:
            tell(options, found, by_rank, results)
    refused = any(p['state'] != 'ok' for p in mine)
    return int(max(comm.allgather(int(refused))))


def prepare(options: Options) -> list[Subject]:
    """Return what is to be profiled.

    Raises:
        InputError: no such model, molecule or way.
    """
    import tempfile

    from mpiapp.benchmarks import shapes
    from mpiapp.benchmarks.harness.document import check_targets
    from mpiapp.benchmarks.harness.molecules import Unphysical, molecule
    from mpiapp.benchmarks.harness.variants import TORCH
    from mpiapp.benchmarks.profiling.measure import Subject
    from mpiapp.potentials.mace import files
    check_targets(options.json, options.trace, options.flame,
                  read=files_read(options))
    for way in options.ways:
        if way not in TORCH:
            raise InputError(f'the stages of {way} cannot be seen; allowed: '
                             f'{", ".join(TORCH)}')
    random = {'tiny': shapes.TINY, **shapes.SHAPES}
    if options.model in random:
        # kept: every rank reads it
        path = Path(tempfile.mkdtemp('.mpiapp')) / f'{options.model}.model'
        shapes.write_model(random[options.model], path)
    else:
        path = files.bundled_path() if options.model == files.BUNDLED \
            else Path(options.model)
        if not path.is_file():
            raise InputError(f'no model and no file {options.model!r}; '
                             f'known: {files.BUNDLED}, {", ".join(random)}')
        files.check(str(path))
    name = options.molecule or ('caffeine' if options.quick else 'organic')
    try:
        subject = molecule(name)
    except Unphysical as error:
        raise InputError(f'unphysical molecule: {error}') from error
    return [Subject(
        str(path), subject, way, options.dtype, options.device,
        options.threads_per_rank, options.batch,
        6 if options.quick else options.calls, 1e9 * options.memory)
        for way in options.ways]


def profiles(
    options: Options, subjects: Sequence[Subject], recorder: Spans,
) -> Iterator[dict[str, Any]]:
    """Yield the profiles of this rank."""
    from mpiapp.benchmarks.harness.molecules import set_sha256
    from mpiapp.benchmarks.profiling import measure, roofline
    from mpiapp.potentials.base import file_sha256
    with recorder.span('ceilings'):
        ceilings = roofline.measure_ceilings(options.device)
    for subject in subjects:
        with recorder.span(f'profile {subject.way}'):
            profile = measure.profile(subject, ceilings)
        yield profile | {
            'model': options.model, 'threads': subject.threads,
            'quantity': 'energy+forces', 'neighbours': 'tree',
            'molecule': options.molecule or 'default',
            'model_sha256': file_sha256(subject.path),
            'inputs_sha256': set_sha256([subject.molecule])}


def evaluate_spanned(subject: Subject, recorder: Spans) -> None:
    """Evaluate some times, each a span of graph and model."""
    import numpy as np

    from mpiapp.benchmarks.harness.clock import copies, moved
    from mpiapp.benchmarks.profiling.measure import build
    with recorder.span('build'):
        way = build(subject)
    batch, rng = copies(subject.molecule, subject.batch), \
        np.random.default_rng(2)
    for _ in range(subject.calls):
        moving = moved(batch, rng)
        with recorder.span('graph'):
            graph = way.graph(moving)
        with recorder.span('model'):
            way.core(way.potential.inputs(graph), True)
            way.synchronise()


def tell(
    options: Options, found: Sequence[Sequence[dict[str, Any]]],
    by_rank: Any, results: Results,
) -> None:
    """Print and write what all ranks found."""
    from mpiapp.benchmarks.profiling import report, spans
    first = results.rows
    for profile in first:
        print('\n'.join(report.lines(profile)) + '\n')
    sound = [p for p in first if p['state'] == 'ok']
    for a, b in zip(sound, sound[1:]):
        print(f'{a["way"]} and {b["way"]}:')
        print('\n'.join(report.difference_lines(a, b)) + '\n')
    kinds = spans.shares(by_rank)
    joint: list[dict[str, Any]] = [
        {'rank': i, 'medians_s': [p['steady']['median'] for p in mine
                                  if p['state'] == 'ok'],
         'spans_s': kinds[i]} for i, mine in enumerate(found)]
    for row in joint:
        medians = ', '.join(f'{1e3 * m:.2f}' for m in row['medians_s'])
        print(f'rank {row["rank"]}: {medians} ms a call; spans: '
              + ', '.join(f'{k} {s:.2f} s'
                          for k, s in row['spans_s'].items()))
    content = results.close(by_rank=joint)
    if options.json:
        print(f'wrote {options.json}')
        if options.plots:
            from mpiapp.benchmarks.plots import draw_all
            for path in draw_all(content,
                                 Path(options.json).with_suffix('')):
                print(f'wrote {path}')
    if options.trace:
        spans.write_trace(Path(options.trace), spans.trace_events(by_rank))
        print(f'wrote {options.trace}')
    if options.flame:
        text = '\n'.join(x for p in sound for x in p['folded'])
        Path(options.flame).write_text(text + '\n')
        print(f'wrote {options.flame}')


def compare(files: Sequence[str]) -> int:
    """Print how the profiles of two files differ; 0.

    Raises:
        InputError: not two profiles with a way in common.
    """
    from mpiapp.benchmarks.harness.document import read_document
    from mpiapp.benchmarks.profiling import report
    if len(files) != 2:
        raise InputError('--compare takes two files')
    old, new = (read_document(f) for f in files)
    for name, d in zip(files, (old, new)):
        if d['command'] != 'profiler':
            raise InputError(f'{name}: not a profile')
    pairs = [(a, b) for a in old['rows'] for b in new['rows']
             if a['way'] == b['way'] and a['state'] == b['state'] == 'ok']
    if not pairs:
        raise InputError('the profiles have no way in common')
    for a, b in pairs:
        print(f'{a["way"]} {a["dtype"]}:')
        print('\n'.join(report.difference_lines(a, b)) + '\n')
    return DONE


if __name__ == '__main__':
    sys.exit(main())
