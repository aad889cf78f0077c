"""Stages of a MACE model, forward and backward, without an edited copy.

Forward hooks tell when a stage runs.  Its share of the backward pass are the
autograd nodes that its forward made: when a stage ends, the graph behind its
output is walked, and nodes not seen before are its own.
"""
from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

#: modules whose children are the stages, not they themselves
OPENED = ('interactions', 'products', 'readouts')
FORWARD, BACKWARD, OTHER = 'forward', 'backward', 'other'


def stages_of(module: Any) -> dict[str, Any]:
    """Return the modules that are stages, by name, none inside another."""
    found: dict[str, Any] = {}
    for name, child in module.named_children():
        if name not in OPENED:
            found[name] = child
            continue
        for i, block in child.named_children():
            inner = dict(block.named_children())
            if name == 'readouts' or not inner:
                found[f'{name}.{i}'] = block
            else:
                found |= {f'{name}.{i}.{k}': v for k, v in inner.items()}
    return found


@dataclass
class Clocks:
    """Seconds and calls by (stage, direction), shapes by stage."""

    seconds: dict[tuple[str, str], float] = field(
        default_factory=lambda: defaultdict(float))
    calls: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    nodes: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    shapes: dict[str, str] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)


@dataclass
class Watch:
    """What is running now: told to whom it concerns, as counters."""

    stage: str = OTHER
    direction: str = FORWARD


class StageTimer:
    """Times the stages of a module while `active`."""

    def __init__(
        self, module: Any, synchronise: Callable[[], None] = lambda: None,
    ) -> None:
        self.stages = stages_of(module)
        self.clocks, self.watch = Clocks(), Watch()
        self._synchronise = synchronise
        self._starts: dict[str, float] = {}
        self._owners: dict[Any, str] = {}
        self._handles: list[Any] = []
        self._range: Any = None

    @contextmanager
    def active(self) -> Iterator[StageTimer]:
        """Hook all stages for a block."""
        for name, module in self.stages.items():
            self._handles += [
                module.register_forward_pre_hook(self._before(name)),
                module.register_forward_hook(self._after(name))]
        try:
            yield self
        finally:
            for handle in self._handles:
                handle.remove()
            self._handles.clear()
            self._owners.clear()

    def begin(self) -> None:
        """Forget the graph of the call before."""
        self._owners.clear()

    def _now(self) -> float:
        self._synchronise()
        return time.perf_counter()

    def _before(self, name: str) -> Callable[..., None]:
        def hook(module: Any, inputs: Any) -> None:
            import torch
            self._own(_tensors(inputs), OTHER)
            # the range is seen by torch.profiler, and as NVTX by nsys
            self._range = torch.autograd.profiler.record_function(
                f'stage {name}')
            self._range.__enter__()
            self.watch.stage = name
            self._starts[name] = self._now()
        return hook

    def _after(self, name: str) -> Callable[..., None]:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            seconds = self._now() - self._starts[name]
            self.clocks.seconds[name, FORWARD] += seconds
            self.clocks.calls[name] += 1
            self.watch.stage = OTHER
            if self._range is not None:
                self._range.__exit__(None, None, None)
                self._range = None
            tensors = _tensors(output)
            if tensors:
                self.clocks.shapes[name] = ' '.join(
                    str(tuple(t.shape)) for t in tensors[:2])
                self.clocks.dtypes[name] = str(
                    tensors[0].dtype).removeprefix('torch.')
            self._own(tensors, name)
        return hook

    def _own(self, tensors: list[Any], stage: str) -> None:
        """Give the nodes behind tensors that nobody owns to a stage."""
        todo = [t.grad_fn for t in tensors if t.grad_fn is not None]
        while todo:
            node = todo.pop()
            if node is None or node in self._owners:
                continue
            self._owners[node] = stage
            self.clocks.nodes[stage] += 1
            node.register_prehook(self._node_before(stage))
            node.register_hook(self._node_after(stage))
            todo += [n for n, _ in node.next_functions]

    def _node_before(self, stage: str) -> Callable[..., None]:
        def hook(*grads: Any) -> None:
            self.watch.stage, self.watch.direction = stage, BACKWARD
            self._starts['node'] = self._now()
        return hook

    def _node_after(self, stage: str) -> Callable[..., None]:
        def hook(*grads: Any) -> None:
            seconds = self._now() - self._starts['node']
            self.clocks.seconds[stage, BACKWARD] += seconds
            self.watch.stage, self.watch.direction = OTHER, FORWARD
        return hook


def _tensors(items: Any) -> list[Any]:
    """Return the tensors of nested tuples, lists and dictionaries."""
    import torch
    from torch.utils._pytree import tree_leaves
    return [t for t in tree_leaves(items) if isinstance(t, torch.Tensor)]
