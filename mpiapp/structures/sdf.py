"""MDL mol and SD files, V2000 and V3000: find the records, read one."""
from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from mpiapp.records import Rejection, Structure
from mpiapp.structures.ctab import check_ctab, lost_coordinates, split_record
from mpiapp.structures.sdf_writer import read_note, write_sdf_record
from mpiapp.structures.spans import UNRECOGNISED, Spans
from mpiapp.structures.text import has_text, lines_of, newline_of

__all__ = ['SUFFIXES', 'parse', 'scan', 'write_sdf_record']

SUFFIXES = ('.sdf', '.sd', '.mol')

DELIMITER = b'$$$$'
#: enough of a record to hold its counts line, V2000 or V3000
HEAD_BYTES = 2048

_COUNTS_V2000 = re.compile(rb'(  \d| \d\d|\d{3})(?:  \d| \d\d|\d{3})')
_COUNTS_V3000 = re.compile(rb'M  V30 COUNTS +(\d{1,9})')
_HEADER = re.compile(r'>[^<]*<(.*)>')
#: bond orders times 2; a dative bond has a number of its own
_ORDERS = {'SINGLE': 2, 'DOUBLE': 4, 'TRIPLE': 6, 'AROMATIC': 3, 'DATIVE': 1}
#: a hydrogen bond is no bond
_NO_BOND = 'HYDROGEN'


def scan(chunks: Iterable[bytes]) -> Spans:
    """Find the records of an SD file that comes in chunks.

    A record ends at a line that starts with $$$$; the last one may lack it.
    White space after the last such line is no record.
    """
    scanner = None
    for chunk in chunks:
        scanner = scanner or _Scanner(newline_of(chunk))
        scanner.feed(chunk)
    if scanner is None:
        return Spans()
    scanner.finish()
    return scanner.spans


def parse(data: bytes, row: int = 0, file_number: int = 0,
          record: int = 0) -> Structure:
    """Read one record; raises Rejection (unparsable, no_coordinates)."""
    ctab, items = split_record(lines_of(data))
    check_ctab(ctab)
    molecule = _read(ctab)
    _check_atoms(molecule)
    note = read_note(ctab[2])
    # bonds that were guessed fit no valences
    n_radicals = _check_valences(molecule) if note is None else 0
    bonds, orders = _bonds(molecule)
    positions = _positions(molecule)
    atoms = list(molecule.GetAtoms())
    charges = [atom.GetFormalCharge() for atom in atoms]
    structure = Structure(
        row, file_number, record,
        np.array([atom.GetAtomicNum() for atom in atoms], np.int32),
        positions,
        charge=sum(charges),
        formal_charges=np.array(charges, np.int32),
        unpaired=n_radicals,
        bonds=bonds,
        orders=orders,
        title=ctab[0].strip(),
        tags=_tags(items),
        flat=ctab[1][20:22].upper() == '2D' and not positions[:, 2].any(),
    )
    return _without_guesses(structure, note)


def _without_guesses(structure: Structure,
                     note: tuple[int, int] | None) -> Structure:
    """Undo what `write_sdf_record` guessed for a structure without bonds."""
    if note is None:
        return structure
    none = np.empty(0, np.int64)
    return replace(structure, charge=note[0], unpaired=note[1],
                   formal_charges=none.astype(np.int32),
                   bonds=none.reshape(0, 2), orders=none)


class _Scanner:
    """State between two chunks; holds at most a head and a few bytes."""

    def __init__(self, newline: bytes) -> None:
        self.spans = Spans()
        self._newline = newline
        self._mark = newline + DELIMITER
        # A line end before the file, so that every line follows one.
        self._window, self._base = newline, -1
        self._start, self._head = 0, b''
        self._in_mark = self._filled = False

    def feed(self, chunk: bytes) -> None:
        """Search the next chunk; `_base` is the file offset of `_window`."""
        self._window += chunk
        at = 0
        while True:
            if self._in_mark:
                at = self._window.find(self._newline, at)
                if at < 0:
                    break
                self._begin(self._base + at + 1)
            self._extend_head()
            at = self._window.find(self._mark, at)
            if at < 0:
                break
            at += len(self._mark)
            self._end(self._base + at)
        if not self._in_mark and not self._filled:
            self._filled = has_text(
                self._window, max(self._start - self._base, 0))
        self._keep(0 if self._in_mark else len(DELIMITER))

    def finish(self) -> None:
        """Close the record that the end of the file ended, if any."""
        if not self._in_mark and self._filled:
            self._end(self._base + len(self._window))

    def _begin(self, start: int) -> None:
        self._start = start
        self._head = b''
        self._in_mark = self._filled = False

    def _end(self, end: int) -> None:
        head = self._head[:end - self._start]
        self.spans.add(self._start, end, _claimed_atoms(head, self._newline))
        self._in_mark = True

    def _extend_head(self) -> None:
        missing = HEAD_BYTES - len(self._head)
        if missing > 0:
            at = max(self._start + len(self._head) - self._base, 0)
            self._head += self._window[at:at + missing]

    def _keep(self, n_bytes: int) -> None:
        cut = max(len(self._window) - n_bytes, 0)
        self._window = self._window[cut:]
        self._base += cut


def _claimed_atoms(head: bytes, newline: bytes) -> int:
    """Return what the counts line says; 0 if it says nothing readable."""
    lines = head.split(newline, 4)
    if len(lines) < 4:
        return UNRECOGNISED
    counts = lines[3]
    if b'V3000' in counts:
        found = _COUNTS_V3000.search(head)
    else:
        found = _COUNTS_V2000.match(counts)
    if found:
        return int(found[1])
    return 0 if b'V2000' in counts or b'V3000' in counts else UNRECOGNISED


def _read(ctab: list[str]) -> Any:
    """Return RDKit's molecule, nothing removed, nothing perceived."""
    from rdkit import Chem
    from rdkit.rdBase import BlockLogs

    # Columns of line 2 are bytes to RDKit: text that isn't ASCII shifts them.
    block = '\n'.join(['', f'{"":20}{ctab[1][20:22]}', '', *ctab[3:], ''])
    block = block.encode('ascii', 'replace').decode()
    with BlockLogs():
        molecule = Chem.MolFromMolBlock(block, sanitize=False, removeHs=False)
    if molecule is not None:
        return molecule
    if lost_coordinates(ctab):
        raise Rejection('no_coordinates', 'a coordinate is not a number')
    raise Rejection('unparsable', _complaint(block))


def _complaint(block: str) -> str:
    """Return what RDKit says about a block that it can't read."""
    from rdkit import Chem, rdBase

    log = logging.getLogger('rdkit')
    handler = _LastMessage()
    state = log.handlers, log.propagate
    log.handlers, log.propagate = [handler], False
    rdBase.LogToPythonLogger()
    try:
        Chem.MolFromMolBlock(block, sanitize=False, removeHs=False)
    finally:
        rdBase.LogToCppStreams()
        log.handlers, log.propagate = state
    return handler.text or 'RDKit can not read it'


class _LastMessage(logging.Handler):
    """Keep the last message, without RDKit's time of day."""

    text = ''

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message of `record`."""
        text = ' '.join(record.getMessage().split())
        self.text = re.sub(r'^\[[\d:]+\] ', '', text) or self.text


def _check_atoms(molecule: Any) -> None:
    for atom in molecule.GetAtoms():
        if atom.GetAtomicNum() == 0 or atom.HasQuery():
            raise Rejection(
                'unparsable', f'atom {atom.GetIdx() + 1} is no element but '
                'a query, a list, an R group or a dummy')


def _check_valences(molecule: Any) -> int:
    """Return the number of unpaired electrons; reject impossible valences.

    Formal charges of such a record can't be trusted.  An atom that states
    its valence and lacks one is a radical.
    """
    from rdkit import Chem
    from rdkit.rdBase import BlockLogs

    flags = Chem.SanitizeFlags
    steps = (flags.SANITIZE_CLEANUP | flags.SANITIZE_PROPERTIES
             | flags.SANITIZE_FINDRADICALS)
    copy = Chem.Mol(molecule)
    try:
        with BlockLogs():
            Chem.SanitizeMol(copy, steps)
    except Chem.MolSanitizeException as error:
        raise Rejection('unparsable', _valence_message(molecule, error)) \
            from None
    return sum(atom.GetNumRadicalElectrons() for atom in copy.GetAtoms())


def _valence_message(molecule: Any, error: Any) -> str:
    cause = getattr(error, 'cause', None)
    if cause is None or cause.GetType() != 'AtomValenceException':
        return str(error)
    atom = molecule.GetAtomWithIdx(cause.GetAtomIdx())
    return (f'atom {atom.GetIdx() + 1} ({atom.GetSymbol()}) has more bonds '
            'than its formal charge allows')


def _bonds(molecule: Any) -> tuple[Any, Any]:
    pairs, orders = [], []
    for bond in molecule.GetBonds():
        kind = bond.GetBondType().name
        if kind == _NO_BOND:
            continue
        if kind not in _ORDERS or bond.HasQuery():
            raise Rejection('unparsable', f'bond {bond.GetIdx() + 1} has no '
                            'order but a query or an unknown type')
        pairs.append((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
        orders.append(_ORDERS[kind])
    return (np.array(pairs, np.int64).reshape(-1, 2),
            np.array(orders, np.int64))


def _positions(molecule: Any) -> Any:
    if not molecule.GetNumConformers():
        return np.zeros((molecule.GetNumAtoms(), 3))
    return np.array(molecule.GetConformer().GetPositions()).reshape(-1, 3)


def _tags(lines: list[str]) -> dict[str, str]:
    """Read data items; a value may have several lines, blank ones too."""
    tags: dict[str, str] = {}
    name, value = '', list[str]()
    for i, line in enumerate(lines):
        if line.startswith('$$$$'):
            break
        # A header follows a blank line; elsewhere '>' is part of a value.
        if line.startswith('>') and (not name or not lines[i - 1].strip()):
            _keep_tag(tags, name, value)
            found = _HEADER.match(line)
            name, value = found[1] if found else '', []
        else:
            value.append(line)
    _keep_tag(tags, name, value)
    return tags


def _keep_tag(tags: dict[str, str], name: str, value: list[str]) -> None:
    while value and not value[-1].strip():
        value = value[:-1]
    if name:
        tags[name] = '\n'.join(value)
