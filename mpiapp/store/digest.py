"""One number for the content of a campaign file."""
from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.store.metadata import plain
from mpiapp.store.reader import reading
from mpiapp.store.seal import check_seal

#: attributes that hold references: the labels say the same
REFERENCES = frozenset({'DIMENSION_LIST', 'REFERENCE_LIST'})
#: bytes that are read at a time
PIECE = 32 * 2**20


def content_digest(path: Path | str) -> str:
    """Return the sha256 of all names, types, shapes, attributes and data.

    Left out is what may differ between runs of one campaign: the values of
    volatile columns and `timeline`, here and in stages.

    Raises:
        InputError: missing, damaged, no HDF5.
    """
    text = ''.join(f'{name} {part}\n'
                   for name, part in content_digests(path).items())
    return hashlib.sha256(text.encode()).hexdigest()


def content_digests(path: Path | str) -> dict[str, str]:
    """Return the sha256 of each group (its attributes) and dataset.

    Raises:
        InputError: missing, damaged, no HDF5.
    """
    found: dict[str, str] = {}
    check_seal(Path(path))
    with reading(Path(path)) as file:
        _add_group(found, file)
    return found


def differences(one: Path | str, other: Path | str) -> list[str]:
    """Return the names of what differs between two campaign files.

    Empty where the digests of the content are equal.

    Raises:
        InputError: missing, damaged, no HDF5.
    """
    a, b = content_digests(one), content_digests(other)
    return sorted(name for name in a.keys() | b.keys()
                  if a.get(name) != b.get(name))


def _add_group(found: dict[str, str], group: Any) -> None:
    digest = hashlib.sha256()
    _add_attributes(digest, group)
    found[group.name] = digest.hexdigest()
    for name in sorted(group):
        item = group[name]
        if item.name.endswith('/timeline'):
            continue
        if hasattr(item, 'keys'):
            _add_group(found, item)
        else:
            digest = hashlib.sha256()
            _add_dataset(digest, item)
            found[item.name] = digest.hexdigest()


def _add_dataset(digest: Any, dataset: Any) -> None:
    labels = [(d.label, [s.name for s in d.values()]) for d in dataset.dims]
    text = f'{dataset.dtype.str} {dataset.shape} {labels}\n'
    digest.update(text.encode())
    _add_attributes(digest, dataset)
    if dataset.attrs.get('volatile', False):
        return
    if not dataset.shape:
        digest.update(np.asarray(dataset[()]).tobytes())
        return
    width = max(1, dataset.dtype.itemsize * int(np.prod(dataset.shape[1:])))
    step = max(1, PIECE // width)
    for start in range(0, dataset.shape[0], step):
        digest.update(dataset[start:start + step].tobytes())


def _add_attributes(digest: Any, item: Any) -> None:
    for name in sorted(set(item.attrs) - REFERENCES):
        value = plain(item.attrs[name])
        digest.update(f'{item.name}@{name}={value!r}\n'.encode())
