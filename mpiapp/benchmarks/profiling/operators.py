"""Operators by stage: counts, FLOPs, bytes, host synchronisations."""
from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from mpiapp.benchmarks.harness.counting import VIEWS, tensor_bytes
from mpiapp.benchmarks.profiling.stages import Watch

#: operators whose answer the host waits for, and their usual names
SYNCHRONISING = {
    '_local_scalar_dense': '.item(), .tolist() or int() of a tensor',
    'nonzero': 'nonzero, or a mask as an index',
    'is_nonzero': 'if of a tensor', 'equal': 'equal',
    '_unique2': 'unique', 'unique_dim': 'unique',
    'masked_select': 'masked_select', 'bincount': 'bincount',
}
TRANSFERS = ('_to_copy', 'copy_')
#: elementwise operators that do no arithmetic
MOVING = frozenset({
    'cat', 'clone', 'copy_', '_to_copy', 'index_select', 'index', 'zeros',
    'zeros_like', 'empty', 'empty_like', 'ones', 'ones_like', 'new_zeros',
    'new_empty', 'new_ones', 'fill_', 'zero_', 'stack', 'scalar_tensor',
    'arange', 'full', 'index_put_', 'scatter', 'gather', 'constant_pad_nd'})

Key = tuple[str, str]


@dataclass
class Table:
    """Totals by (stage, direction), and by that and operator."""

    operations: dict[Key, int] = field(
        default_factory=lambda: defaultdict(int))
    bytes: dict[Key, int] = field(default_factory=lambda: defaultdict(int))
    product_flops: dict[Key, int] = field(
        default_factory=lambda: defaultdict(int))
    element_flops: dict[Key, int] = field(
        default_factory=lambda: defaultdict(int))
    calls: dict[tuple[str, str, str], int] = field(
        default_factory=lambda: defaultdict(int))
    seconds: dict[tuple[str, str, str], float] = field(
        default_factory=lambda: defaultdict(float))
    synchronisations: dict[tuple[str, str], int] = field(
        default_factory=lambda: defaultdict(int))
    transfers: int = 0


def recorder(watch: Watch) -> Any:
    """Return a mode that fills its `table` while it is entered."""
    return _mode_class()(watch)


@lru_cache(maxsize=1)
def _mode_class() -> Any:
    """Return the mode's class, which can't exist before torch does."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    class Recorder(TorchDispatchMode):
        """Sees every operator, in both directions."""

        def __init__(self, watch: Watch) -> None:
            super().__init__()
            self.watch, self.table = watch, Table()

        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (),
            kwargs: Any = None,
        ) -> Any:
            kwargs = kwargs or {}
            began = time.perf_counter()
            found = function(*args, **kwargs)
            seconds = time.perf_counter() - began
            packet = function.overloadpacket
            name, t = packet.__name__, self.table
            key = self.watch.stage, self.watch.direction
            t.operations[key] += 1
            t.calls[*key, name] += 1
            t.seconds[*key, name] += seconds
            if name in SYNCHRONISING:
                t.synchronisations[key[0], name] += 1
            if name in TRANSFERS and _crosses(args, found):
                t.transfers += 1
            if name in VIEWS:
                return found
            t.bytes[key] += tensor_bytes((args, kwargs, found))
            if packet in flop_registry:
                t.product_flops[key] += int(flop_registry[packet](
                    *args, **kwargs, out_val=found))
            elif name not in MOVING:
                t.element_flops[key] += _elements(args, found)
            return found

    return Recorder


def _elements(args: Any, found: Any) -> int:
    """Return one operation for each element, read or written.

    A product, a sum or an exponential alike; sums read more than they
    write.
    """
    import torch
    from torch.utils._pytree import tree_leaves
    sizes = [x.numel() for x in tree_leaves((args, found))
             if isinstance(x, torch.Tensor)]
    return max(sizes, default=0)


def _crosses(args: Any, found: Any) -> bool:
    """Tell whether a copy goes from one device to another."""
    import torch
    first = next((a for a in args[::-1] if isinstance(a, torch.Tensor)), None)
    return first is not None and isinstance(found, torch.Tensor) \
        and first.device.type != found.device.type
