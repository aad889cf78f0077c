"""Drive the trainer of mace-torch: start, stop, go on, choose the best.

`mace.cli.run_train` does the training.  Four of its functions are wrapped
while it runs: the one that builds the model (weights of an earlier model may
come in), the one that makes a step (it may be time to stop, and several
threads may make it), that of an epoch (the one before is told) and the one
that trains (a last checkpoint is written, its closing tables are left out).
Checkpoints are written by `checkpoints`, which keeps the best of them.
"""
from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mpiapp.distillation.checkpoints import (
    START, Job, curve, latest, load, mend, propose, prune, read_best,
    read_last, save
)
from mpiapp.distillation.parallel_step import threaded
from mpiapp.distillation.starting import same_scale, start_from
from mpiapp.errors import InputError
from mpiapp.potentials.mace.importing import import_mace
from mpiapp.potentials.mace.training import faster_training

log = logging.getLogger('mpiapp')

#: models whose steps can be made in parts
SPLIT = ('MACE', 'ScaleShiftMACE')


@dataclass
class Progress:
    """What happened in one run of the trainer."""

    model: Any = None
    steps: int = 0
    atom_steps: int = 0
    cpu_seconds: float = 0.0
    epoch: int = 0
    stopped: bool = False
    misfit: float = 0.0
    began: float = field(default_factory=time.process_time)


class _Stop(Exception):
    """It is time to stop."""


class _Complete(Exception):
    """The training has made all its epochs."""


def train(job: Job, stopping: Callable[[], bool]) -> Progress:
    """Train to the last epoch or until `stopping`; then see `best_model`.

    Goes on from the latest checkpoint in the folder, if there is one.

    Raises:
        InputError: the trainer does not know an option, or `job.start` does
            not fit.
    """
    import_mace()
    import torch
    arguments = parsed(job)
    mend(job)
    progress = Progress()
    before = torch.get_default_dtype()
    job.folder.mkdir(parents=True, exist_ok=True)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    with open(job.folder / 'mace.log', 'a', encoding='utf-8') as out:
        try:
            with contextlib.redirect_stdout(out), _seams(
                    job, progress, stopping), _fast(job):
                sys.modules['mace.cli.run_train'].run(arguments)
        except _Complete:
            pass
        except _Stop:
            progress.stopped = True
        finally:
            torch.set_default_dtype(before)
            for handler in [h for h in root.handlers if h not in handlers]:
                root.removeHandler(handler)
            root.setLevel(level)
    progress.cpu_seconds = time.process_time() - progress.began
    return progress


def parsed(job: Job) -> Any:
    """Return the trainer's arguments.

    Raises:
        InputError: the trainer does not know one, or its value.
    """
    import_mace()
    import mace.cli.run_train  # noqa: F401
    from mace.tools import build_default_arg_parser
    folder = job.folder
    words = {
        'name': job.name, 'seed': job.seed, 'device': job.device,
        'train_file': folder / 'train.xyz', 'valid_file':
        folder / 'valid.xyz', 'work_dir': folder, 'log_dir': folder / 'logs',
        'model_dir': folder, 'checkpoints_dir': job.checkpoints,
        'results_dir': folder / 'results', 'energy_key': 'REF_energy',
        'forces_key': 'REF_forces', 'max_num_epochs': job.max_epochs,
        'patience': 10 ** 6, 'eval_interval': 1, **job.options}
    line = ['--restart_latest', '--save_all_checkpoints']
    for key, value in words.items():
        if value is True:
            line.append(f'--{key}')
        elif value is not False:
            line.append(f'--{key}={value}')
    parser = build_default_arg_parser()
    try:
        with contextlib.redirect_stderr(_Text()) as text:
            return parser.parse_args(line)
    except SystemExit as error:
        raise InputError('the recipe: mace_run_train says '
                         f'{text.last()}') from error


class _Text:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.text = ''

    def write(self, text: str) -> int:
        """Take a text."""
        self.text += text
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def last(self) -> str:
        """Return the last line."""
        return ([*self.text.strip().splitlines()] or [''])[-1]


def _fast(job: Job) -> contextlib.AbstractContextManager[None]:
    return faster_training() if job.fast else contextlib.nullcontext()


def _steps(job: Job, plain: Any) -> contextlib.AbstractContextManager[Any]:
    """Give the function that makes a step: a plain one or several threads."""
    return threaded(job.threads) if job.fast and job.threads > 1 \
        else contextlib.nullcontext(plain)


@contextlib.contextmanager
def _seams(
    job: Job, progress: Progress, stopping: Callable[[], bool],
) -> Iterator[None]:
    """Wrap functions of mace-torch; see the head of this file."""
    run_train: Any = sys.modules['mace.cli.run_train']
    loop: Any = sys.modules['mace.tools.train']
    tools: Any = sys.modules['mace.tools']
    places = ((run_train, 'configure_model'), (loop, 'take_step'),
              (loop, 'train_one_epoch'), (tools, 'train'))
    before = [getattr(place, name) for place, name in places]
    with _steps(job, loop.take_step) as several:
        wrapped = _Wrapped(job, progress, stopping, several, *before)
        for place, name in places:
            setattr(place, name, getattr(wrapped, name))
        try:
            yield
        finally:
            for (place, name), function in zip(places, before):
                setattr(place, name, function)


@dataclass(frozen=True)
class _Wrapped:
    """Functions of mace-torch by their names, with ours around them.

    `several` makes a step where it can be made in parts; the others are the
    functions as they were.
    """

    job: Job
    progress: Progress
    stopping: Callable[[], bool]
    several: Any
    build: Any
    step: Any
    one_epoch: Any
    whole: Any

    def configure_model(self, *args: Any, **more: Any) -> Any:
        """Build the model; give it the weights of an earlier one."""
        model, outputs = self.build(*args, **more)
        self.progress.model = model
        if self.job.start is not None:
            import torch
            old = torch.load(self.job.start, map_location='cpu',
                             weights_only=False)
            same_scale(model, old)
            if latest(self.job) is None:
                self.progress.misfit = start_from(model, old)
                log.info('weights of %s, radial functions to %.1e',
                         self.job.start, self.progress.misfit)
        return model, outputs

    def take_step(self, **more: Any) -> Any:
        """Make a step, unless it is time to stop."""
        if self.stopping():
            raise _Stop
        self.progress.steps += 1
        self.progress.atom_steps += len(more['batch'].positions)
        wanted = more['output_args']
        plain = wanted['virials'] or wanted['stress'] or type(
            more['model']).__name__ not in SPLIT
        return (self.step if plain else self.several)(**more)

    def train_one_epoch(self, **more: Any) -> Any:
        """Tell the epoch before; make one."""
        if self.job.start is not None and latest(self.job) is None:
            # mace-torch has just validated it: training must be better
            points = curve(self.job)
            propose(self.job, more['model'].state_dict(),
                    points[0] if points else None)
            tell_last(self.job)
        if more['epoch'] > self.progress.epoch:
            tell_last(self.job)
        self.progress.epoch = more['epoch']
        prune(self.job)
        return self.one_epoch(**more)

    def train(self, **more: Any) -> None:
        """Train from the latest checkpoint on; write one at a stop.

        Raises:
            _Complete: always, so that the closing tables are left out.
        """
        job, found = self.job, latest(self.job)
        if found is not None and more['start_epoch'] != found:
            raise InputError(f'{job.checkpoints}: the checkpoint of epoch '
                             f'{found} does not fit the recipe')
        if found is not None and (point := load(job, found)['point']):
            # what was validated is done: mace-torch would repeat it
            more['lr_scheduler'].step(metrics=point['loss'])
            more['start_epoch'] = found + 1
        self.progress.epoch = more['start_epoch']
        keeper = more['checkpoint_handler']
        keeper.io.save = (
            lambda state, epochs, keep_last: save(job, state, epochs, True))
        try:
            self.whole(**more)
        except _Stop:
            tools: Any = sys.modules['mace.tools']
            state = tools.CheckpointState(
                more['model'], more['optimizer'], more['lr_scheduler'])
            save(job, keeper.builder.create_checkpoint(state),
                 self.progress.epoch, False)
            raise
        tell_last(job)
        raise _Complete


def tell_last(job: Job) -> None:
    """Log the last point of the learning curve."""
    points = curve(job)
    if points:
        p = points[-1]
        name = 'the start ' if p['epoch'] == START else \
            f'epoch {p["epoch"]:4.0f}'
        log.info('%s: loss %.5f, validation MAE of forces %.1f meV/A,'
                 ' of energies %.2f meV/atom', name, p['loss'],
                 p['mae_f'], p['mae_e_per_atom'])


def chosen_model(
    job: Job, progress: Progress, choose: str,
) -> tuple[Any, dict[str, float]]:
    """Return the model on the CPU and its point of the curve.

    `choose` is `best`, that of the least validation loss, which may be the
    start, or `last`, that of the last epoch.  The model is None where nothing
    has been validated.
    """
    best = read_best(job) if choose == 'best' else read_last(job)
    if best is None or progress.model is None:
        return None, {}
    model = progress.model.to('cpu')
    model.load_state_dict(best['model'])
    return model, best['point']
