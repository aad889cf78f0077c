"""List the programs: `python -m mpiapp`."""
from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path

import mpiapp

#: what a file has that can be started; others are parts of the house
START = "if __name__ == '__main__':"


def programs() -> dict[str, str]:
    """Return name and first line of each program, without importing it."""
    found = {}
    for path in sorted(Path(__file__).parent.glob('*.py')):
        source = path.read_text('utf-8')
        if START in source and path.stem != '__main__':
            text = ast.get_docstring(ast.parse(source)) or ''
            found[path.stem] = text.partition('\n')[0]
    return found


def main() -> int:
    """Run the program that is named, or print all and how to start them."""
    if len(sys.argv) > 1 and sys.argv[1] in programs():
        name = sys.argv.pop(1)
        runpy.run_module(f'mpiapp.{name}', run_name='__main__',
                         alter_sys=True)
        return 0
    print(f'mpiapp {mpiapp.__version__}: work on ensembles of molecules\n')
    for name, about in programs().items():
        print(f'  {name:12s} {about}')
    print('\nmpirun -n 8 python -m mpiapp.NAME --help')
    unknown = [w for w in sys.argv[1:2] if w not in ('-h', '--help')]
    if unknown:
        print(f'\nerror: no program {unknown[0]}', file=sys.stderr)
    return 2 if unknown else 0


if __name__ == '__main__':
    sys.exit(main())
