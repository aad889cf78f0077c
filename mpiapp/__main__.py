"""List the programs: `python -m mpiapp`."""
from __future__ import annotations

import ast
import sys
from pathlib import Path

import mpiapp

#: files of the package that are parts of the house, not programs
PARTS = {'__init__', '__main__', 'config', 'engine', 'errors', 'partition',
         'records', 'units'}


def programs() -> dict[str, str]:
    """Return name and first line of each program, without importing it."""
    found = {}
    for path in sorted(Path(__file__).parent.glob('*.py')):
        if path.stem not in PARTS:
            text = ast.get_docstring(ast.parse(path.read_text())) or ''
            found[path.stem] = text.partition('\n')[0]
    return found


def main() -> int:
    """Print the programs and how they are started."""
    print(f'mpiapp {mpiapp.__version__}: work on ensembles of molecules\n')
    for name, about in programs().items():
        print(f'  {name:12s} {about}')
    print('\nmpirun -n 8 python -m mpiapp.NAME --help')
    return 0


if __name__ == '__main__':
    sys.exit(main())
