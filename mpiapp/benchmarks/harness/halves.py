"""Parts of a MACE model in another precision than the rest.

Without an edited copy of MACE: a part's weights are cast, and its module is
wrapped so that what goes in is cast and what comes out is cast back.
"""
from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

#: classes of linear layers: of features, and of the radial network
LINEAR_CLASSES = ('Linear', 'FullyConnectedNet')


def parts(module: Any, classes: Iterable[str] = LINEAR_CLASSES) -> list[str]:
    """Return the names of the modules of these classes, outermost ones."""
    wanted, found = set(classes), list[str]()
    for name, part in module.named_modules():
        inside = any(name.startswith(f'{f}.') for f in found)
        if type(part).__name__ in wanted and not inside:
            found.append(name)
    return found


def lower(module: Any, names: Iterable[str], dtype: Any) -> None:
    """Compute the named parts in a dtype, in place."""
    for name in names:
        parent_name, _, last = name.rpartition('.')
        parent = module.get_submodule(parent_name)
        inner = module.get_submodule(name).to(dtype)
        setattr(parent, last, _class()(inner, dtype))


def _is_real(value: Any) -> bool:
    import torch
    return torch.is_tensor(value) and value.is_floating_point()


def _cast(value: Any, dtype: Any) -> Any:
    """Return a tensor of real numbers in a dtype, all else as it is."""
    return value.to(dtype) if _is_real(value) else value


@lru_cache(maxsize=1)
def _class() -> Any:
    """Return the wrapper's class, which can't exist before torch does."""
    import torch

    class Lowered(torch.nn.Module):
        """A module in a precision of its own."""

        def __init__(self, inner: Any, dtype: Any) -> None:
            super().__init__()
            self.inner, self.dtype = inner, dtype

        def forward(self, *inputs: Any, **named: Any) -> Any:
            like = next(x.dtype for x in (*inputs, *named.values())
                        if _is_real(x))
            found = self.inner(
                *(_cast(x, self.dtype) for x in inputs),
                **{k: _cast(x, self.dtype) for k, x in named.items()})
            if torch.is_tensor(found):
                return _cast(found, like)
            return type(found)(_cast(f, like) for f in found)

        def __getattr__(self, name: str) -> Any:
            # such as irreps_in, which MACE asks its parts for
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(super().__getattr__('inner'), name)

    return Lowered
