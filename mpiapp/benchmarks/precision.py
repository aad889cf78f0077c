"""What lower precision costs in accuracy, and what it gains.

The whole model and one stage at a time in each precision against float64:
errors of energy and forces (scaled by the RMS force), time in turns, memory.
Then sums of energies in float32, compensated, and in float64; with --train a
small training in float64 and float32 from several random starts.
"""
from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mpiapp.benchmarks.harness import clock, document, gate
from mpiapp.benchmarks.harness.spread import paired_ratio, summary
from mpiapp.errors import InputError
from mpiapp.records import Batch, Evaluation, Floats

#: precisions of the whole model, or of one stage inside a float32 model
WHOLE = ('float64', 'float32', 'tf32', 'bfloat16', 'float16')
LOWERED = ('bfloat16', 'float16')
#: a stage of mace-torch that campaigns leave out: E0 is added in float64
ISOLATED = 'atomic_energies_fn'
#: random starts: a ratio needs 5 (R9); frames of a quick training
STARTS, QUICK_STARTS, QUICK_FRAMES = 6, 5, 12
MOLECULES, QUICK_MOLECULES = ('caffeine', 'organic', 'steroid'), ('ethanol',)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument('--quick', action='store_true',
                        help='one small molecule, few rounds, few frames')
    parser.add_argument('--model-path', metavar='FILE',
                        help='MACE model; default: the bundled student')
    parser.add_argument('--molecules', nargs='+', default=[], metavar='NAME',
                        help='names, or FILE or FILE:RECORD')
    parser.add_argument('--rounds', type=int, metavar='N',
                        help='default 15, quick 5')
    parser.add_argument('--device', default='cpu', choices=('cpu', 'cuda'))
    parser.add_argument('--train', action='store_true',
                        help='also train, float64 against float32')
    parser.add_argument('--starts', type=int, metavar='N',
                        help='random starts of the training (default '
                        f'{STARTS}, quick {QUICK_STARTS})')
    parser.add_argument('--epochs', type=int, metavar='N',
                        help='default 30, quick 3')
    parser.add_argument('--train-file', metavar='FILE',
                        help='extxyz with REF_energy [eV] and REF_forces '
                        '[eV/A]; default: the bundled sample')
    parser.add_argument('--json', metavar='FILE',
                        help='write the results there')
    parser.add_argument('--plots', action='store_true',
                        help='draw the pictures beside --json')


def run(options: argparse.Namespace) -> int:
    """Measure, print and write; 1 if a precision failed that should run.

    Raises:
        InputError: wrong options, model or molecule.
    """
    from mpiapp.benchmarks.harness.molecules import (
        Unphysical, molecule, set_sha256
    )
    from mpiapp.potentials.base import file_sha256
    from mpiapp.potentials.mace import files
    warnings.filterwarnings('ignore')
    rounds = options.rounds or (5 if options.quick else 15)
    if rounds < 5:
        raise InputError('--rounds must be at least 5: fewer give no '
                         'interval')
    if options.plots and not options.json:
        raise InputError('--plots needs --json, beside which they go')
    path = options.model_path or str(files.bundled_path())
    files.check(path)
    names = dict.fromkeys(options.molecules or (
        QUICK_MOLECULES if options.quick else MOLECULES))
    model = file_sha256(path)
    results = document.Results('precision', options.json)
    for name in names:
        try:
            structure = molecule(name)
        except Unphysical as error:
            raise InputError(f'unphysical molecule {name}: {error}') \
                from error
        batch = clock.copies(structure, 1)
        subject = {'molecule': name, 'n_atoms': len(batch.numbers),
                   'device': options.device, 'model_sha256': model,
                   'inputs_sha256': set_sha256([structure])}
        for row in measured(path, batch, options.device, rounds):
            results.add({**subject, **row})
            print(line(results.rows[-1]), flush=True)
    sums = sums_of(path, batch)
    results.add(sums=sums)
    for text in sum_lines(sums):
        print(text)
    training = trained(options) if options.train else []
    content = results.close(training=training)
    if options.plots:
        from pathlib import Path

        from mpiapp.benchmarks.plots import draw_all
        for drawn in draw_all(content, Path(options.json).with_suffix('')):
            print(f'wrote {drawn}')
    return int(any(r['state'] == 'failed' for r in results.rows))


def measured(
    path: str, batch: Batch, device: str, rounds: int,
) -> list[dict[str, Any]]:
    """Return a row for each precision of the model, and of each stage.

    A row tells errors always: to see them is what this command is for.
    """
    import traceback
    oracle = gate.Oracle(lowered(path, 'float64', device).potential)
    expected = oracle.evaluate(batch)
    ways: dict[str, Any] = {}
    rows: dict[str, dict[str, Any]] = {}
    for name, stage in variants_of(path, device):
        label = f'{name} {stage}'.strip()
        row: dict[str, Any] = {'precision': name, 'stage': stage or 'all',
                               'state': 'ok', 'reason': ''}
        rows[label] = row
        try:
            way = lowered(path, name, device, stage)
            found = way.evaluate(batch, True)
            row |= told(found, expected, batch)
            row['peak_bytes'] = peak_of(way, batch)
            ways[label] = way
        except InputError as error:
            row |= {'state': 'skipped', 'reason': str(error)}
        except Exception as error:  # of a precision that can't be computed
            row |= {'state': 'failed', 'traceback': traceback.format_exc(),
                    'reason': f'{type(error).__name__}: {error}'[:200]}
    times, _ = clock.in_turns(ways, batch, True, rounds, 6, seed=3)
    base = times['float32'].samples if 'float32' in times else []
    for label, found_times in times.items():
        row = rows[label]
        if found_times.error:
            row |= {'state': 'failed', 'traceback': found_times.error,
                    'reason': found_times.error.splitlines()[-1]}
            continue
        row |= {'samples': found_times.samples,
                'steady': summary(found_times.samples),
                'against_float32': str(paired_ratio(
                    np.array(base), np.array(found_times.samples)))
                if base and label != 'float32' else ''}
    return list(rows.values())


def variants_of(path: str, device: str) -> list[tuple[str, str]]:
    """Return (precision, stage); no stage means the whole model.

    float32 of every stage inside a float64 model, half precision of the
    linear ones inside a float32 model: the rest has no code for it.
    """
    from mpiapp.benchmarks.harness.halves import parts
    from mpiapp.benchmarks.profiling.stages import stages_of
    module = lowered(path, 'float32', device).potential.model.module
    return [*((name, '') for name in WHOLE),
            *(('float32', stage) for stage in stages_of(module)
              if stage != ISOLATED),
            *((name, stage) for stage in parts(module)
              for name in LOWERED)]


def lowered(
    path: str, precision: str, device: str, stage: str = '',
) -> Any:
    """Return a way: the model in a precision, or one stage of it.

    One stage in float32 is inside a float64 model, in half precision inside
    a float32 model.  bfloat16 and float16 of the whole model are its linear
    layers: e3nn and mace-torch have no code for the rest.

    Raises:
        InputError: it can't run here.
    """
    import torch

    from mpiapp.benchmarks.harness.cells import FORCES, Cell
    from mpiapp.benchmarks.harness.halves import lower
    from mpiapp.benchmarks.harness.variants import make
    around = precision
    if stage:
        around = 'float64' if precision == 'float32' else 'float32'
    way = {'float64': 'reference', 'float32': 'reference', 'tf32': 'tf32',
           'bfloat16': 'linear-bf16', 'float16': 'linear-fp16'}[around]
    dtype = 'float64' if around == 'float64' else 'float32'
    made: Any = make(Cell(path, '', device, FORCES, 1, 1, dtype, way,
                          'tree'), path)
    if stage:
        lower(made.potential.model.module, [stage],
              getattr(torch, precision))
    return made


def told(
    found: Evaluation, expected: Evaluation, batch: Batch,
) -> dict[str, Any]:
    """Return errors, those of forces by element too, and their spread."""
    from scipy.stats import wasserstein_distance
    apart = found.forces - expected.forces
    by_element = {}
    for z in np.unique(batch.numbers):
        errors = np.abs(apart[batch.numbers == z]).ravel()
        by_element[str(int(z))] = [float(q) for q in np.percentile(
            errors, [0, 25, 50, 75, 100])]
    return {**gate.errors(found, expected, batch.offsets, True),
            'by_element': by_element,
            'wasserstein': float(wasserstein_distance(
                found.forces.ravel(), expected.forces.ravel()))}


def peak_of(way: Any, batch: Batch) -> float:
    """Return the bytes that a call holds at most."""
    from mpiapp.benchmarks.profiling.memory import allocations
    return allocations(lambda: way.evaluate(batch, True),
                       way.potential.device).peak


def compensated(values: Sequence[Any] | Floats, dtype: Any) -> float:
    """Return a sum by Kahan and Neumaier in the arithmetic of `dtype`.

    A. Neumaier, Z. angew. Math. Mech. 54, 39 (1974).
    """
    total, lost = dtype(0), dtype(0)
    for x in np.asarray(values).astype(dtype):
        new = dtype(total + x)
        lost = dtype(lost + ((total - new) + x if abs(total) >= abs(x)
                             else (x - new) + total))
        total = new
    return float(dtype(total + lost))


def plain_sum(values: Sequence[Any] | Floats, dtype: Any) -> float:
    """Return a sum in the order of the values in `dtype`."""
    total = dtype(0)
    for x in np.asarray(values).astype(dtype):
        total = dtype(total + x)
    return float(total)


def sums_of(path: str, batch: Batch) -> dict[str, float]:
    """Return what ways to sum a molecule's energy are off by [eV].

    The atomic energies of a float32 evaluation are summed with and without
    the isolated-atom part.  The exact sum is that of the float64 model.
    """
    exact, single = (lowered(path, name, 'cpu') for name in (
        'float64', 'float32'))

    def parts(way: Any) -> tuple[Floats, Floats]:
        built = way.graph(batch)
        found, _ = way.core(way.potential.inputs(built), False)
        e0 = way.potential.model.e0[built.species]
        return found.detach().double().numpy(), e0

    e_true, e0 = parts(exact)
    truth = float(e_true.sum() + e0.sum())
    e32, _ = parts(single)
    both = (e32.astype(np.float32) + e0.astype(np.float32))
    return sum_errors(both, e32, e0, truth)


def sum_errors(
    both: Any, interaction: Any, e0: Floats, truth: float,
) -> dict[str, float]:
    """Return the total, and the errors of five ways to come to it [eV]."""
    total = abs(truth)
    return {
        'total_eV': truth,
        'spacing_float32_eV': float(np.spacing(np.float32(total))),
        'float32, E0 added per atom':
            plain_sum(both, np.float32) - truth,
        'compensated float32, E0 added per atom':
            compensated(both, np.float32) - truth,
        'float64 sum, E0 added per atom in float32':
            float(both.astype(np.float64).sum()) - truth,
        'compensated float32 of the interaction, float64 E0':
            compensated(interaction, np.float32) + float(e0.sum()) - truth,
        'float64 sum of the interaction, float64 E0 (ours)':
            float(interaction.astype(np.float64).sum() + e0.sum()) - truth,
    }


def sum_lines(sums: Mapping[str, float]) -> Iterator[str]:
    """Yield the errors of sums in words."""
    yield (f'total energy {sums["total_eV"]:.3f} eV; float32 numbers of '
           f'that size are {sums["spacing_float32_eV"]:.1e} eV apart')
    for name, error in sums.items():
        if name not in ('total_eV', 'spacing_float32_eV'):
            yield f'  {name}: off by {error:+.2e} eV'


def trained(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Train in both precisions from several starts; print and return."""
    from mpiapp.benchmarks import training
    starts = options.starts or (QUICK_STARTS if options.quick else STARTS)
    epochs = options.epochs or (3 if options.quick else 30)
    if starts < 2 or epochs < 1:
        raise InputError('--starts must be at least 2: one run says nothing '
                         'about its noise (R9); --epochs at least 1')
    frames = training.read(options.train_file)
    if options.quick:
        frames = frames.pick(range(min(QUICK_FRAMES, len(frames.energies))))
    rows = training.compare(frames, starts, epochs)
    for text in training.lines(rows):
        print(text)
    return rows


def line(row: Mapping[str, Any]) -> str:
    """Return a row in words."""
    head = (f'{row["molecule"]} {row["n_atoms"]} atoms {row["stage"]:32s} '
            f'{row["precision"]:8s} {row["state"]}')
    if 'd_force_max' not in row:
        return f'{head}: {row["reason"]}'
    text = (f'{head}: dE {row["d_energy_per_atom"]:.1e} eV/atom, dF max '
            f'{row["d_force_max"]:.1e} eV/A, RMS {row["d_force_scaled"]:.1e} '
            f'of the RMS force, peak {row["peak_bytes"] / 1e6:.1f} MB')
    if 'steady' not in row:
        return f'{text}; {row["reason"]}'
    against = row['against_float32']
    return (f'{text}, {1e3 * row["steady"]["median"]:.2f} ms'
            + (f', float32 over this: {against}' if against else ''))
