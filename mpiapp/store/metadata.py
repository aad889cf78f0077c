"""Plain Python data as HDF5 attributes and small tables.

Scalars, texts and lists of them become attributes; what is too long for one
becomes a dataset.  A list of mappings becomes a group with one dataset a
key; a mapping becomes a group.  Written by one process.
"""
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.store.hdf5 import text_dtype

#: an HDF5 object header takes 64 kB; longer texts become datasets
MAX_ATTRIBUTE = 8000


def write_metadata(group: Any, items: Mapping[str, Any]) -> None:
    """Write a mapping as JSON text and piece by piece."""
    write_dataset(group, 'json', to_json(items))
    write_mapping(group, {k: v for k, v in items.items() if k != 'json'})


def write_mapping(group: Any, items: Mapping[str, Any]) -> None:
    """Write the items of a mapping into an HDF5 group."""
    for name, value in items.items():
        if isinstance(value, Mapping):
            write_mapping(group.create_group(name), value)
        elif _is_table(value):
            _write_table(group.create_group(name), value)
        else:
            _write_value(group, name, value)


def _is_table(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 0 \
        and all(isinstance(v, Mapping) for v in value)


def _write_value(group: Any, name: str, value: Any) -> None:
    if value is None:
        value = 'none'
    if isinstance(value, (list, tuple)):
        numbers = value and all(isinstance(v, (int, float)) for v in value)
        value = np.asarray(value) if numbers else to_json(value)
    elif not isinstance(value, (str, int, float, np.generic, np.ndarray)):
        value = str(value)
    size = len(value.encode('utf-8', 'replace')) if isinstance(value, str) \
        else np.asarray(value).nbytes
    if size <= MAX_ATTRIBUTE:
        group.attrs[name] = value
    else:
        write_dataset(group, name, value)


def write_dataset(group: Any, name: str, value: Any) -> Any:
    """Write an array or a text of any length; return the dataset."""
    if isinstance(value, str):
        data = value.encode('utf-8', 'replace')
        return group.create_dataset(name, data=texts([data]).reshape(()))
    return group.create_dataset(name, data=value)


def texts(items: Sequence[bytes]) -> NDArray[Any]:
    """Return UTF-8 texts as an array that HDF5 takes as such.

    HDF5 does not convert from plain bytes; the dtype must say UTF-8.
    """
    width = max(1, *map(len, items))
    return np.array(items, f'S{width}').view(text_dtype(width))


def _write_table(group: Any, table: Sequence[Mapping[str, Any]]) -> None:
    for key in table[0]:
        values = [row.get(key) for row in table]
        if all(isinstance(v, (bool, int, float)) for v in values):
            write_dataset(group, key, np.asarray(values))
            continue
        group.create_dataset(key, data=texts(
            [str(v).encode('utf-8', 'replace') for v in values]))


def plain(value: Any) -> Any:
    """Return an HDF5 or numpy value as Python's own type."""
    if isinstance(value, np.ndarray):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return value.decode('utf-8', 'replace') if isinstance(value, bytes) \
        else value


def _json_default(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value)
    return str(value)


def to_json(items: Any) -> str:
    """Return JSON text; what JSON does not know becomes text."""
    return json.dumps(items, sort_keys=True, default=_json_default)
