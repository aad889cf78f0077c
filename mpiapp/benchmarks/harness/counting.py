"""Operations and FLOPs of PyTorch code: what CI judges by, not seconds."""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any


@dataclass
class Counts:
    """What a call did: operators by name, bytes they touched, FLOPs.

    `bytes` are those of all tensors that went into and came out of
    operators, views left out: traffic if no cache helped.  `flops` are
    those of matrix products, as PyTorch counts them.
    """

    operators: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    flops: int = 0

    @property
    def operations(self) -> int:
        """Number of operators that were dispatched."""
        return sum(self.operators.values())


#: operators that move no data
VIEWS = frozenset({
    'view', 'expand', 'slice', 'select', 'permute', 'transpose', 't',
    'detach', 'unsqueeze', 'squeeze', 'alias', 'as_strided', 'split',
    'unbind', '_unsafe_view', 'split_with_sizes', 'lift_fresh'})


def count(act: Callable[[], Any]) -> Counts:
    """Return what a call does, backward passes inside it included."""
    from torch.utils.flop_counter import FlopCounterMode
    mode = _mode_class()()
    with FlopCounterMode(display=False) as flops, mode:
        act()
    mode.counts.flops = int(flops.get_total_flops())
    counts: Counts = mode.counts
    return counts


def tensor_bytes(items: Any) -> int:
    """Return the bytes of all tensors in nested lists and dictionaries."""
    import torch
    from torch.utils._pytree import tree_leaves
    return sum(t.numel() * t.element_size() for t in tree_leaves(items)
               if isinstance(t, torch.Tensor))


@lru_cache(maxsize=1)
def _mode_class() -> Any:
    """Return the mode's class, which can't exist before torch does."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Mode(TorchDispatchMode):
        """Sees every operator that reaches the device."""

        def __init__(self) -> None:
            super().__init__()
            self.counts = Counts()

        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (),
            kwargs: Any = None,
        ) -> Any:
            found = function(*args, **(kwargs or {}))
            name = function.overloadpacket.__name__
            self.counts.operators[name] += 1
            if name not in VIEWS:
                self.counts.bytes += tensor_bytes((args, kwargs, found))
            return found

    return Mode
