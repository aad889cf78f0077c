"""How values of the result are written in tables for people."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def number(form: str) -> Callable[[Any], str]:
    """Return a formatter; what is not finite becomes an empty field."""
    def formatted(value: Any) -> str:
        return format(value, form) if np.isfinite(value) else ''
    return formatted


def flag(value: Any) -> str:
    """Return True or False."""
    return str(bool(value))
