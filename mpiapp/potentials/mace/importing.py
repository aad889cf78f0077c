"""Import mace-torch without its messages."""
from __future__ import annotations

import contextlib
import io
import logging
import warnings

log = logging.getLogger(__name__)


def import_mace() -> None:
    """Import what the pickles of models refer to, quietly.

    mace comes before e3nn, which it prepares for; it prints at import which
    of its optional packages are absent, and stdout is not ours to write on.
    """
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        import mace.modules  # noqa: F401
    log.debug('mace: %s', printed.getvalue().strip())
