"""The reference back end: mace-torch's own modules, one graph a batch."""
from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.potentials.base import (
    Potential, PotentialOptions, file_sha256, settle, unusable
)
from mpiapp.potentials.mace import graph as graphs
from mpiapp.potentials.mace.loading import Loaded, load
from mpiapp.potentials.mace.surface import MaceSurface
from mpiapp.records import Batch, Evaluation, Floats, InputError, Ints

#: neighbours of an atom per A^3 of its cut-off sphere, in molecules
NEIGHBOUR_DENSITY = 0.05
#: Peak memory over one copy of what `bytes_per_atom` counts: 1.3 to 2.0,
#: measured on four models of 16x0e to 128x0e+128x1o in both precisions
COPIES = 2.0

log = logging.getLogger(__name__)


def build(options: PotentialOptions, name: str) -> MaceReference:
    """Build the potential from resolved options; see `mace.build`."""
    return assemble(options, name, 'reference')


def assemble(
    options: PotentialOptions, name: str, backend: str,
    change: Callable[[Any], Any] | None = None,
) -> MaceReference:
    """Build a potential whose module `change` has altered or replaced."""
    path = str(options.model_path)
    device = settle_torch(options.threads, options.device)
    model = load(path, options.dtype, device, change)
    notes = {
        'file': Path(path).name,
        'sha256': file_sha256(path),
        'architecture': type(model.module).__name__,
        'head': model.head_name,
        'r_max': repr(model.r_max),
        **{p: version(p) for p in ('torch', 'mace-torch', 'e3nn')},
    }
    return MaceReference(
        name, model, options.dtype, device, None, notes, backend)


def settle_torch(threads: int, device: str) -> str:
    """Set up PyTorch for reproducible results; return the device to use.

    `device` is auto, cpu or cuda.  Raises InputError if cuda is asked for
    and PyTorch sees none.
    """
    import torch
    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:
        try:
            torch.set_num_interop_threads(1)
        except RuntimeError as error:  # too late in this process: harmless
            log.debug('%s', error)
    # e3nn's code is TorchScript, which by default watches its first calls
    # and then compiles another version: the same geometry got other last
    # digits at the second call.  Depth 0 is one version from the start.
    with warnings.catch_warnings():
        # deprecated together with TorchScript, which e3nn still is made of
        warnings.simplefilter('ignore', DeprecationWarning)
        torch.jit.set_fusion_strategy([('STATIC', 0), ('DYNAMIC', 0)])
    cuda = torch.cuda.is_available()
    if device == 'cuda' and not cuda:
        raise InputError('device cuda was asked for, but PyTorch '
                         f'{torch.__version__} sees no CUDA device')
    return 'cuda' if cuda and device != 'cpu' else 'cpu'


@dataclass(frozen=True, eq=False)
class MaceReference:
    """A MACE model evaluated by mace-torch in float64 or float32."""

    name: str
    model: Loaded
    dtype: str
    device: str
    finisher: Potential | None
    notes: Mapping[str, str] = field(default_factory=dict)
    backend: str = 'reference'
    accepts_charge: bool = False
    topology_guards: bool = True
    hessian_kind: str = 'autograd'

    @property
    def elements(self) -> frozenset[int]:
        """Atomic numbers that the model was trained on."""
        return frozenset(self.model.numbers.tolist())

    @property
    def bytes_per_atom(self) -> float:
        """Estimate of the memory of one more atom, from the model's shape."""
        return bytes_per_atom(self.model, np.dtype(self.dtype).itemsize)

    def describe(self) -> dict[str, str]:
        """Return what is stored in the result file."""
        return {'name': self.name, 'backend': self.backend,
                'dtype': self.dtype, 'device': self.device, **self.notes}

    def noting(self, **notes: str) -> MaceReference:
        """Return the same potential with more lines in `describe`."""
        return replace(self, notes={**self.notes, **notes})

    def finishing(self, finisher: Potential | None) -> MaceReference:
        """Return the same potential with that finisher."""
        return replace(self, finisher=finisher)

    def surface(self) -> MaceSurface:
        """Return the same model for programs that stay on the device."""
        return MaceSurface(self)

    def evaluate(self, batch: Batch) -> Evaluation:
        """Return energies and forces of all molecules from one graph.

        Where memory does not suffice, every molecule fails with the reason
        out_of_memory: smaller batches are the caller's choice.
        """
        energies = np.zeros(len(batch))
        interaction = np.zeros(len(batch))
        forces = np.zeros_like(batch.positions)
        failures = unusable(batch, self.elements, self.name)
        good = [i for i in range(len(batch)) if i not in failures]
        try:
            if good:
                graph = graphs.build(
                    batch, good, self.species_of(), self.model.r_max)
                e_atoms, f_atoms = self._run(graph)
                interaction[good] = per_molecule(e_atoms, graph)
                energies[good] = interaction[good] + per_molecule(
                    self.model.e0[graph.species], graph)
                for i, j in enumerate(good):
                    forces[batch.part(j)] = f_atoms[graph.part(i)]
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            failures |= dict.fromkeys(good, ('out_of_memory', str(error)))
        return settle(batch, energies, forces, interaction, failures)

    def hessian(self, numbers: NDArray[np.int32], positions: Floats,
                charge: int, unpaired: int) -> Floats:
        """Return the Hessian [3n, 3n], eV/A^2; charges have no effect."""
        from mpiapp.potentials.mace.hessian import hessian
        return hessian(self, numbers, positions)

    def species_of(self) -> Ints:
        """Return the index of an element by atomic number [119]."""
        table = np.full(119, -1, np.int64)
        table[self.model.numbers] = np.arange(len(self.model.numbers))
        return table

    def _run(self, graph: graphs.Graph) -> tuple[Floats, Floats]:
        """Return the model's atomic energies [n_atoms] and the forces."""
        out = self.model.module(
            self.inputs(graph), training=False, compute_force=True)
        return (out['node_energy'].detach().double().cpu().numpy(),
                out['forces'].detach().double().cpu().numpy())

    def inputs(self, graph: graphs.Graph) -> dict[str, Any]:
        """Return the dictionary that the model takes, on its device."""
        return model_inputs(graph, self.dtype, self.device,
                            len(self.model.e0), self.model.head)


def model_inputs(
    graph: graphs.Graph, precision: str, device: str, n_elements: int,
    head: int,
) -> dict[str, Any]:
    """Return the dictionary that a model of mace-torch takes."""
    import torch
    dtype = getattr(torch, precision)
    n, n_edges = len(graph.offsets) - 1, graph.edges.shape[1]

    def real(values: Any) -> torch.Tensor:
        return torch.tensor(values, dtype=dtype, device=device)

    def whole(values: Any) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    return {
        'positions': real(graph.positions),
        'node_attrs': real(np.eye(n_elements)[graph.species]),
        'edge_index': whole(graph.edges),
        'shifts': real(graphs.rounding(graph, precision)),
        'unit_shifts': real(np.zeros((n_edges, 3))),
        'cell': real(np.zeros((3 * n, 3))),
        'batch': whole(graph.molecule),
        'ptr': whole(graph.offsets),
        'head': whole(np.full(n, head)),
    }


def bytes_per_atom(model: Loaded, itemsize: int) -> float:
    """Estimate the memory of one atom in a batch, forward and backward.

    What counts are the messages on the edges and the next-to-last step of
    the symmetric contraction, which has the square of the number of
    spherical harmonics for each output.
    """
    edges = 4 / 3 * np.pi * model.r_max ** 3 * NEIGHBOUR_DENSITY
    n_harmonics = model.module.spherical_harmonics.irreps_out.dim
    numbers = sum(
        edges * layer.conv_tp.irreps_out.dim
        + product.linear.irreps_out.dim * n_harmonics ** 2
        for layer, product in zip(model.module.interactions,
                                  model.module.products))
    return float(COPIES * numbers * itemsize)


def per_molecule(values: Floats, graph: graphs.Graph) -> Floats:
    """Sum values [n_atoms] over the atoms of each molecule, in their order."""
    sums = np.bincount(graph.molecule, values, len(graph.offsets) - 1)
    return sums.astype(np.float64)


def _out_of_memory(error: Exception) -> bool:
    """Tell whether an error of numpy or PyTorch means too little memory."""
    text = str(error).lower()
    return (isinstance(error, MemoryError) or 'out of memory' in text
            or "can't allocate memory" in text)
