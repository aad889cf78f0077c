"""Back ends that are switches of mace-torch: other kernels, GPU only."""
from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from mpiapp.potentials.base import PotentialOptions
from mpiapp.potentials.mace import reference
from mpiapp.potentials.mace.importing import import_mace
from mpiapp.potentials.mace.reference import MaceReference
from mpiapp.records import InputError

log = logging.getLogger(__name__)


def build(
    options: PotentialOptions, name: str, backend: str, distribution: str,
) -> MaceReference:
    """Build the potential that mace-torch's converter to `backend` gives.

    Raises InputError without a GPU and where the converter refuses.
    """
    device = reference.settle_torch(options.threads, options.device)
    if device != 'cuda':
        raise InputError(f'back end {backend} runs on a GPU only: use '
                         'native or poly on the CPU')
    made = reference.assemble(
        options, name, backend,
        lambda module: convert(module, backend, device))
    try:
        return made.noting(**{distribution: version(distribution)})
    except PackageNotFoundError:  # a build from source may have no name
        return made


def convert(module: Any, backend: str, device: str) -> Any:
    """Return the module with the kernels of `backend`; cueq or oeq.

    Raises InputError, saying why, where mace-torch can't do it.
    """
    import_mace()
    with _quiet_torch():
        try:
            converter = import_module(f'mace.cli.convert_e3nn_{backend}')
            return converter.run(module, device=device)
        except Exception as error:  # of packages that check little
            reason = str(error).strip().splitlines()
            raise InputError(
                f'back end {backend}: mace-torch cannot convert the model '
                f'({type(error).__name__}: {reason[0] if reason else ""})',
            ) from error


@contextlib.contextmanager
def _quiet_torch() -> Iterator[None]:
    """Keep stdout clean and leave torch's default precision as it was."""
    import torch
    before, printed = torch.get_default_dtype(), io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        torch.set_default_dtype(before)
        log.debug('mace: %s', printed.getvalue().strip())
