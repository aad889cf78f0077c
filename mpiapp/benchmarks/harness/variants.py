"""The ways to compute a model that the matrix may name."""
from __future__ import annotations

import contextlib
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from mpiapp.benchmarks.harness.cells import ENERGY, STRESS, Cell
from mpiapp.benchmarks.harness.clock import Way
from mpiapp.errors import InputError
from mpiapp.potentials import PotentialOptions
from mpiapp.potentials.mace import BACKENDS
from mpiapp.potentials.mace import graph as graphs
from mpiapp.potentials.mace import installed, load_backend
from mpiapp.potentials.mace.reference import (
    MaceReference, per_molecule, settle_torch
)
from mpiapp.records import Batch, Evaluation, Floats

#: modes of torch.compile by way
COMPILE = {
    'compile': 'default', 'compile-reduce-overhead': 'reduce-overhead',
    'compile-max-autotune': 'max-autotune',
}
#: all that PyTorch's autocast lowers; mace-torch 0.3.16 raises under it
AUTOCAST = {'autocast-bf16': 'bfloat16', 'autocast-fp16': 'float16'}
#: linear layers alone in half precision, the rest in float32
LINEAR = {'linear-bf16': 'bfloat16', 'linear-fp16': 'float16'}
TF32 = 'tf32'
#: back ends that are PyTorch modules with the reference's inputs
TORCH = ('reference', 'poly', 'cueq', 'oeq')
OTHERS = ('native', 'calculator', 'torchscript', 'hybrid')
NAMES = (*TORCH, *OTHERS, *COMPILE, *AUTOCAST, *LINEAR, TF32)

#: inputs, whether forces are wanted -> atomic energies and forces or None
Core = Callable[[dict[str, Any], bool], tuple[Any, Any]]


def make(cell: Cell, path: str) -> Way:
    """Return the way of a cell on the model of a file.

    Raises:
        InputError: it can't run here; says why.
    """
    if cell.way not in NAMES:
        raise InputError(f'unknown way {cell.way!r}; allowed: '
                         f'{", ".join(NAMES)}')
    if cell.quantity == STRESS:
        raise InputError('molecules have no stress: mpiapp computes none')
    if cell.way == 'calculator':
        return Calculator(cell, path)
    if cell.way == 'native':
        return Native(cell, path)
    return torch_way(cell, path)


@dataclass(frozen=True)
class Built:
    """A potential of ours and the core that computes it."""

    potential: MaceReference
    core: Core


def torch_way(cell: Cell, path: str) -> TorchWay:
    """Return a way that computes the graph by a PyTorch module."""
    from mpiapp.benchmarks.neighbour_lists import edges_by
    find = None if cell.neighbours == 'tree' else edges_by(cell.neighbours)
    built = _built(cell, path)
    return TorchWay(built, find)


def _built(cell: Cell, path: str) -> Built:
    options = PotentialOptions(
        model_path=path, dtype=cell.dtype, device=cell.device,
        threads=cell.threads)
    if cell.way == 'torchscript':
        return _scripted(options)
    if cell.way in COMPILE:
        return _compiled(options, COMPILE[cell.way])
    if cell.way in AUTOCAST:
        return _autocast(options, AUTOCAST[cell.way])
    if cell.way in LINEAR:
        return _linear(options, LINEAR[cell.way])
    if cell.way == TF32:
        return _tf32(options)
    if cell.way == 'hybrid':
        return _hybrid(options)
    if not installed(cell.way):
        needs = BACKENDS[cell.way]
        raise InputError(f'{needs and needs.distribution} is not installed')
    potential: Any = load_backend(cell.way, options)
    return Built(potential, core_of(potential.model.module))


def core_of(module: Any) -> Core:
    """Return the core that calls a MACE module."""
    def core(inputs: dict[str, Any], forces: bool) -> tuple[Any, Any]:
        out = module(inputs, training=False, compute_force=forces)
        return out['node_energy'], out.get('forces')
    return core


def _reference(options: PotentialOptions) -> MaceReference:
    potential: Any = load_backend('reference', options)
    return potential


def _scripted(options: PotentialOptions) -> Built:
    import torch
    from e3nn.util.jit import compile as prepare
    potential = _reference(options)
    with _quiet():
        module = torch.jit.script(prepare(potential.model.module))
    return Built(potential, core_of(module))


def _compiled(options: PotentialOptions, mode: str) -> Built:
    """Compile the energy; forces by its compiled backward pass.

    mace-torch's own way traces the gradient into the graph; here, that gave
    zero forces with torch 2.13 (the gate sees it).
    """
    import torch
    from mace.tools.compile import prepare
    from mace.tools.scripts_utils import extract_model
    if mode == 'reduce-overhead' and options.device != 'cuda':
        raise InputError('reduce-overhead is CUDA graphs: it needs a GPU')
    potential = _reference(options)
    dtype = getattr(torch, options.dtype)
    with _quiet(), _default_dtype(dtype):
        module = prepare(extract_model)(
            model=potential.model.module, map_location=potential.device)
        module = module.to(dtype).eval().requires_grad_(False)

    def energy(inputs: dict[str, Any]) -> Any:
        return module(inputs, training=False, compute_force=False)[
            'node_energy']
    compiled = torch.compile(energy, mode=mode, dynamic=True)
    return Built(potential, differentiated(compiled))


def differentiated(energies_of: Callable[[dict[str, Any]], Any]) -> Core:
    """Return the core whose forces are the gradient of its energies."""
    def core(inputs: dict[str, Any], forces: bool) -> tuple[Any, Any]:
        import torch
        if not forces:
            return energies_of(inputs), None
        x = inputs['positions'].detach().requires_grad_(True)
        energies = energies_of({**inputs, 'positions': x})
        gradient, = torch.autograd.grad(energies.sum(), x)
        return energies, -gradient
    return core


def _autocast(options: PotentialOptions, half: str) -> Built:
    import torch
    if options.dtype != 'float32':
        raise InputError('autocast lowers float32, not float64')

    def built() -> Built:
        potential = _reference(options)
        plain = core_of(potential.model.module)

        def core(inputs: dict[str, Any], forces: bool) -> tuple[Any, Any]:
            with torch.autocast(potential.device, getattr(torch, half)):
                return plain(inputs, forces)
        return Built(potential, core)
    # on another copy, whose first call may be warm
    _check_autocast(built())
    return built()


def _check_autocast(built: Built) -> None:
    """Check that a model can be computed under autocast, on two atoms.

    Raises:
        InputError: mace-torch does not stand it here.
    """
    number = int(built.potential.model.numbers[0])
    pair = Batch.join([(np.array([number, number]), np.eye(3)[:2], 0, 0)])
    try:
        TorchWay(built).evaluate(pair, True)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1][:120]
        raise InputError(f'mace-torch {version("mace-torch")} raises under '
                         f'autocast on {built.potential.device}: {reason}'
                         ) from error


def _linear(options: PotentialOptions, half: str) -> Built:
    import torch

    from mpiapp.benchmarks.harness.halves import lower, parts
    if options.dtype != 'float32':
        raise InputError('half precision lowers float32, not float64')
    potential = _reference(options)
    module = potential.model.module
    lower(module, parts(module), getattr(torch, half))
    return Built(potential, core_of(module))


def _tf32(options: PotentialOptions) -> Built:
    import torch
    if options.device != 'cuda' or options.dtype != 'float32':
        raise InputError('TF32 is float32 on an NVIDIA GPU')
    potential = _reference(options)
    plain = core_of(potential.model.module)

    def core(inputs: dict[str, Any], forces: bool) -> tuple[Any, Any]:
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = True
        try:
            return plain(inputs, forces)
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before
    return Built(potential, core)


def _hybrid(options: PotentialOptions) -> Built:
    from mpiapp.potentials.mace import reference
    from mpiapp.potentials.mace.switched import convert
    if settle_torch(options.threads, options.device) != 'cuda':
        raise InputError('hybrid (cueq and oeq) runs on a GPU only')
    potential = reference.assemble(
        options, 'mace:hybrid', 'hybrid',
        lambda module: convert(module, 'hybrid', 'cuda'))
    return Built(potential, core_of(potential.model.module))


class TorchWay:
    """A model evaluated on one graph a batch; its core is counted."""

    def __init__(
        self, built: Built,
        find: Callable[[Floats, float], Any] | None = None,
    ) -> None:
        self.potential, self._core, self._find = (
            built.potential, built.core, find)
        self._ran = 0

    def evaluations(self) -> int:
        """Return how often the core ran."""
        return self._ran

    def expected(self, batch: Batch) -> int:
        """Return 1: a batch is one graph."""
        return 1

    def synchronise(self) -> None:
        """Wait for the GPU, if there is one."""
        if self.potential.device == 'cuda':
            import torch
            torch.cuda.synchronize()

    def graph(self, batch: Batch) -> graphs.Graph:
        """Return the graph of a batch."""
        return graphs.build(
            batch, list(range(len(batch))), self.potential.species_of(),
            self.potential.model.r_max, self._find)

    def core(self, inputs: dict[str, Any], forces: bool) -> tuple[Any, Any]:
        """Run the model and count it."""
        found = self._core(inputs, forces)
        self._ran += 1
        return found

    def evaluate(self, batch: Batch, forces: bool) -> Evaluation:
        """Return energies and forces (NaN where not asked for)."""
        built = self.graph(batch)
        found = self.core(self.potential.inputs(built), forces)
        return self.fetched(built, found, forces)

    def fetched(
        self, built: graphs.Graph, found: tuple[Any, Any], forces: bool,
    ) -> Evaluation:
        """Return what the core gave, summed in float64."""
        e_atoms = found[0].detach().double().cpu().numpy()
        f_atoms = found[1].detach().double().cpu().numpy() if forces \
            else np.full_like(built.positions, np.nan)
        part = per_molecule(e_atoms, built)
        e0 = self.potential.model.e0[built.species]
        return Evaluation(part + per_molecule(e0, built), f_atoms, part)

    def marks(self, batch: Batch, forces: bool) -> dict[str, float]:
        """Return the seconds of the parts of one call.

        Backward is what forces cost beside the energy, measured as the
        difference of two calls: the model takes its own gradient.
        """
        times = [time.perf_counter()]

        def mark() -> None:
            self.synchronise()
            times.append(time.perf_counter())

        built = self.graph(batch)
        mark()
        inputs = self.potential.inputs(built)
        mark()
        found = self.core(inputs, False)
        mark()
        if forces:
            found = self.core(self.potential.inputs(built), True)
        mark()
        self.fetched(built, found, forces)
        mark()
        graph_s, copy_s, forward, both, back = np.diff(times).tolist()
        parts = {'graph': graph_s, 'to_device': copy_s, 'forward': forward}
        if forces:
            parts['backward'] = max(0.0, both - copy_s - forward)
        return {**parts, 'to_host': back}


class Native:
    """The native back end, counted where its library is called."""

    def __init__(self, cell: Cell, path: str) -> None:
        if cell.quantity == ENERGY:
            raise InputError('native computes energy and forces together')
        if cell.neighbours != 'tree':
            raise InputError('native takes our own list of pairs')
        if not installed('native'):
            raise InputError('symmetrix-xl is not installed')
        potential: Any = load_backend('native', PotentialOptions(
            model_path=path, dtype=cell.dtype, device=cell.device,
            threads=cell.threads))
        self.potential, self._ran = potential, 0
        one = potential._one

        def counted(*args: Any, **kwargs: Any) -> Any:
            found = one(*args, **kwargs)
            self._ran += 1
            return found
        # a frozen dataclass, whose method is the last step that is ours
        object.__setattr__(potential, '_one', counted)

    def evaluations(self) -> int:
        """Return how many molecules the library has computed."""
        return self._ran

    def expected(self, batch: Batch) -> int:
        """Return the molecules: they are computed one by one."""
        return len(batch)

    def synchronise(self) -> None:
        """Return at once: all is done on the CPU."""

    def evaluate(self, batch: Batch, forces: bool) -> Evaluation:
        """Return energies and forces."""
        found: Evaluation = self.potential.evaluate(batch)
        return found


class Calculator:
    """The ordinary way: MACECalculator through ASE, one after the other."""

    def __init__(self, cell: Cell, path: str) -> None:
        import torch
        from mace.calculators import MACECalculator
        settle_torch(cell.threads, cell.device)
        if cell.neighbours != 'tree':
            raise InputError('MACECalculator has its own neighbour list')
        with _quiet(), _default_dtype(torch.get_default_dtype()):
            self._calculator: Any = MACECalculator(
                model_paths=path, device=cell.device,
                default_dtype=cell.dtype)
        self._dtype, self._ran = getattr(torch, cell.dtype), 0
        self._device = cell.device
        model = self._calculator.models[0]
        model.register_forward_hook(self._count)

    def _count(self, *args: Any) -> None:
        self._ran += 1

    def evaluations(self) -> int:
        """Return how often the model inside the calculator ran."""
        return self._ran

    def expected(self, batch: Batch) -> int:
        """Return the molecules: it takes one at a time."""
        return len(batch)

    def synchronise(self) -> None:
        """Wait for the GPU, if there is one."""
        if self._device == 'cuda':
            import torch
            torch.cuda.synchronize()

    def evaluate(self, batch: Batch, forces: bool) -> Evaluation:
        """Return energies and forces by ASE's properties."""
        from ase import Atoms
        energies, parts = [], []
        # ASE returns kept results where nothing has moved
        self._calculator.reset()
        with _default_dtype(self._dtype):
            for i in range(len(batch)):
                part = batch.part(i)
                atoms = Atoms(batch.numbers[part], batch.positions[part])
                atoms.calc = self._calculator
                energies.append(float(atoms.get_potential_energy()))
                parts.append(atoms.get_forces())
        nan = np.full(len(batch), np.nan)
        return Evaluation(np.array(energies), np.concatenate(parts), nan)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what mace-torch and PyTorch tell off the terminal."""
    import io

    # mace-torch speaks through the root logger
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), \
                warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _default_dtype(dtype: Any) -> Iterator[None]:
    """Set torch's default precision for a block; put back what was."""
    import torch
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
