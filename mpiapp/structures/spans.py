"""Where the records of a file are: byte spans, collected while scanning."""
from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mpiapp.records import InputError

#: a record whose first lines make no sense in the format
UNRECOGNISED = -1
#: sizes are stored as uint32
MAX_RECORD_BYTES = 2**32 - 1
#: fewest bytes that describe an atom ('H 0 0 0' and a line end)
MIN_ATOM_BYTES = 8


@dataclass
class Spans:
    """Growing table of records: 16 bytes for each, and no text.

    `starts` [n] and `sizes` [n] are bytes, `n_atoms` [n] is what the header
    of the record claims (UNRECOGNISED where it has none).
    """

    starts: array[int] = field(default_factory=lambda: array('Q'))
    sizes: array[int] = field(default_factory=lambda: array('I'))
    n_atoms: array[int] = field(default_factory=lambda: array('i'))

    def __len__(self) -> int:
        return len(self.starts)

    def add(self, start: int, end: int, n_atoms: int) -> None:
        """Append a record; a claim that can't fit its bytes is 0 atoms."""
        size = end - start
        if size > MAX_RECORD_BYTES:
            raise InputError(f'record {len(self)} (from 0) has {size} bytes; '
                             f'the most is {MAX_RECORD_BYTES}')
        if n_atoms > size // MIN_ATOM_BYTES + 1:
            n_atoms = 0
        self.starts.append(start)
        self.sizes.append(size)
        self.n_atoms.append(n_atoms)

    @property
    def recognised(self) -> bool:
        """Whether any record has a header of the format."""
        return bool((np.frombuffer(self.n_atoms, np.int32)
                     != UNRECOGNISED).any()) if len(self) else False

    def arrays(self) -> tuple[NDArray[np.uint64], NDArray[np.uint32],
                              NDArray[np.int32]]:
        """Return starts [n], sizes [n] and atom counts [n] (0: unknown)."""
        counts = np.array(self.n_atoms, np.int32)
        return (np.array(self.starts, np.uint64),
                np.array(self.sizes, np.uint32),
                np.maximum(counts, 0, out=counts))
