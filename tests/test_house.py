"""The import rules of docs/architecture.md, checked from the source.

`ALLOWED` is the table: a unit of mpiapp (a file or a folder) and the units
that it may import.  Files of mpiapp that are not in it are programs.
"""
from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / 'mpiapp'
FILES = sorted(PACKAGE.rglob('*.py'))

GROUND = {'records', 'units', 'config', 'errors', 'data_files',
          'bonding', 'measures', 'locks', 'json_text'}
STEPS = {'structures', 'partition', 'potentials', 'optimize', 'saddle',
         'chemistry', 'hamiltonians', 'tuning'}
OUTPUT = {'store', 'reporting'}
WORK = {'engine', 'starting', 'workers'}

BELOW = GROUND | STEPS | {'parallel'} | OUTPUT | WORK
ALLOWED: dict[str, set[str]] = {
    'errors': set(),
    'units': set(),
    'data_files': set(),
    'measures': set(),
    'json_text': set(),
    'records': {'errors', 'measures'},
    'config': {'errors', 'records'},
    'bonding': {'records'},
    'locks': {'errors'},
    **{unit: GROUND for unit in STEPS | {'parallel'}},
    **{unit: GROUND | STEPS | {'parallel'} for unit in OUTPUT},
    **{unit: GROUND | STEPS | {'parallel'} | OUTPUT for unit in WORK},
    **{unit: GROUND | STEPS | {'parallel'} | OUTPUT | WORK
       for unit in ('program', 'refinement', 'checks')},
    'engine': GROUND | STEPS | {'parallel', 'starting'} | OUTPUT,
    'benchmarks': (GROUND | STEPS | {'parallel', 'program'} | OUTPUT
                   | WORK),
    'analysis': (GROUND | STEPS | {'parallel', 'program'} | OUTPUT
                 | WORK),
    'distillation': GROUND | STEPS | {'parallel', 'workers'} | OUTPUT,
    'labelling': (GROUND | STEPS | {'parallel', 'program', 'distillation'}
                  | OUTPUT | WORK),
    'evaluation': (GROUND | STEPS | {'parallel', 'program'} | OUTPUT
                   | WORK),
    'frame_actions': (GROUND | STEPS
                      | {'parallel', 'program', 'evaluation'} | OUTPUT
                      | WORK),
    'saddle_data': (GROUND | STEPS | {'parallel', 'program'} | OUTPUT
                    | WORK),
    'relaxation': (GROUND | STEPS
                   | {'parallel', 'program', 'refinement', 'analysis'}
                   | OUTPUT | WORK),
    'planning': (GROUND | STEPS
                 | {'parallel', 'program', 'refinement', 'relaxation'}
                 | OUTPUT | WORK),
    'searching': BELOW | {'program'},
    'tuner': BELOW | {'program', 'searching'},
    **{unit: BELOW | {'program', 'searching', 'tuner'}
       for unit in ('comparing', 'original_scheme', 'probing')},
}
BELOW_PROGRAMS = set(ALLOWED)

# Loaded by the function that needs them: for `--help` in half a second, and
# so that the rank can choose its cores and its GPU first.  h5py is of them
# because the MPI of mpi4py must be in the process before it.
LATE = ('torch', 'mace', 'rdkit', 'pyscf', 'gpu4pyscf', 'mpi4py', 'h5py',
        'matplotlib', 'tblite', 'optuna', 'sella', 'scine_utilities')
NEVER_IN_STEPS = ('mpi4py', 'h5py')
# These parts of ASE talk to COMM_WORLD by themselves.
ASE_WITH_MPI = ('ase.io', 'ase.optimize', 'ase.parallel', 'ase.md',
                'ase.mep', 'ase.vibrations', 'sella')
ASE_MODULE = 'mpiapp.parallel.ase_serial'
WORLD_MODULE = 'mpiapp.parallel.launch'


@dataclass(frozen=True)
class Import:
    """One imported name, dotted; `late` when not imported with the file."""

    name: str
    line: int
    late: bool

    def is_of(self, libraries: tuple[str, ...]) -> bool:
        """Whether the name is one of the libraries or inside one."""
        return any(
            f'{self.name}.'.startswith(f'{library}.')
            for library in libraries
        )


def violations(module: str, source: str) -> list[str]:
    """Return what breaks a rule in the source of a module, in words."""
    tree = ast.parse(source)
    imports = list(all_imports(tree))
    found = [
        *upward(module, imports),
        *foreign(module, imports),
        *collective(module, tree, imports),
        *world(module, tree),
    ]
    return [f'{module}:{text}' for text in found]


def all_imports(node: ast.AST, late: bool = False) -> Iterator[Import]:
    """Yield the imports below a node, also those by import_module."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom | ast.Call):
            for name in imported_names(child):
                yield Import(name, child.lineno, late)
        yield from all_imports(child, late or is_late(child))


def is_late(node: ast.AST) -> bool:
    """Whether what stands in a node does not run at import."""
    if isinstance(node, ast.If):
        return 'TYPE_CHECKING' in ast.unparse(node.test)
    return isinstance(
        node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda,
    )


def imported_names(node: ast.Import | ast.ImportFrom | ast.Call) -> list[str]:
    """Return the dotted names; a relative one begins with a dot."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        start = '.' * node.level + (node.module or '')
        return [f'{start}.{alias.name}' for alias in node.names]
    if 'import_module' not in ast.unparse(node.func) or not node.args:
        return []
    text = node.args[0]
    if isinstance(text, ast.JoinedStr) and text.values:
        text = text.values[0]
    return [str(text.value)] if isinstance(text, ast.Constant) else []


def unit_of(name: str) -> str:
    """Return the unit of a dotted name; '' for mpiapp itself."""
    unit = f'{name}.'.split('.')[1]
    return '' if unit.startswith('__') and unit != '__main__' else unit


def upward(module: str, imports: list[Import]) -> Iterator[str]:
    """Yield imports of ours that the table does not allow."""
    unit = unit_of(module)
    # mpiapp/__init__.py offers the whole to scripts, late.
    if not unit:
        return
    allowed = ALLOWED.get(unit, BELOW_PROGRAMS) | {unit, ''}
    for item in imports:
        if item.name.startswith('.'):
            yield f'{item.line}: relative import of {item.name}'
        elif item.is_of(('mpiapp',)) and unit_of(item.name) not in allowed:
            yield f'{item.line}: {unit} may not import {item.name}'


def foreign(module: str, imports: list[Import]) -> Iterator[str]:
    """Yield imports of other libraries in the wrong place."""
    for item in imports:
        if item.is_of(LATE) and not item.late:
            yield f'{item.line}: {item.name} belongs in a function'
        if item.is_of(NEVER_IN_STEPS) and unit_of(module) in STEPS:
            yield f'{item.line}: {item.name} in a step'
        if item.is_of(ASE_WITH_MPI) and module != ASE_MODULE:
            yield f'{item.line}: {item.name} outside {ASE_MODULE}'


def collective(
    module: str, tree: ast.Module, imports: list[Import],
) -> Iterator[str]:
    """Yield imports of parallel in files of store that are not collective.

    Such a file has a function whose docstring begins with 'Collective:'.
    """
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
    ]
    if unit_of(module) != 'store' or any(
        (ast.get_docstring(node) or '').startswith('Collective:')
        for node in functions
    ):
        return
    for item in imports:
        if item.is_of(('mpiapp.parallel',)):
            yield f'{item.line}: {item.name} in a file not collective'


def world(module: str, tree: ast.Module) -> Iterator[str]:
    """Yield places that name COMM_WORLD, prose apart."""
    if module == WORLD_MODULE:
        return
    for node in ast.walk(tree):
        named = getattr(node, 'attr', getattr(node, 'id', getattr(
            node, 'value', getattr(node, 'name', None))))
        if isinstance(named, str) and named == 'COMM_WORLD':
            line = getattr(node, 'lineno', 0)
            yield f'{line}: COMM_WORLD outside {WORLD_MODULE}'


def module_name(path: Path) -> str:
    """Return the dotted name of a file of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix('').parts
    return '.'.join(part for part in parts if part != '__init__')


@pytest.mark.parametrize('path', FILES, ids=module_name)
def test_file_keeps_the_import_rules(path: Path) -> None:
    """No file imports upward, sideways, too early or past the seams."""
    assert violations(module_name(path), path.read_text('utf-8')) == []


def test_no_module_is_named_like_the_standard_library() -> None:
    """A file run as a script would hide the library's module."""
    names = {path.stem for path in FILES} | {
        path.name for path in PACKAGE.rglob('*') if path.is_dir()
    }
    assert not names & sys.stdlib_module_names


def test_table_of_units_has_no_circle() -> None:
    """What a unit may import may not import it."""
    circles = [
        (unit, other)
        for unit, others in ALLOWED.items() for other in others
        if unit in ALLOWED[other]
    ]
    assert circles == []


BAD = {
    'level 1 imports level 2':
        ('mpiapp.optimize.a', 'from mpiapp.store import journal'),
    'level 1 imports a sibling':
        ('mpiapp.optimize.a', 'import mpiapp.potentials.lj'),
    'level 0 imports level 1':
        ('mpiapp.records', 'from mpiapp import structures'),
    'upward inside a function':
        ('mpiapp.chemistry.a', 'def f():\n    import mpiapp.engine'),
    'upward for types only':
        ('mpiapp.saddle.a', 'if TYPE_CHECKING:\n    import mpiapp.store'),
    'upward by import_module':
        ('mpiapp.workers.a', 'def f():\n    import_module("mpiapp.reopt")'),
    'upward by a formatted import_module':
        ('mpiapp.store.a',
         'def f(x):\n    return import_module(f"mpiapp.workers.{x}")'),
    'level 3 imports a sibling':
        ('mpiapp.engine', 'from mpiapp.workers import relax'),
    'a program imports a program':
        ('mpiapp.hpo', 'from mpiapp.reopt import main'),
    'a relative import':
        ('mpiapp.store.a', 'from ..records import Row'),
    'mpi4py in a step':
        ('mpiapp.structures.a', 'def f():\n    from mpi4py import MPI'),
    'h5py in a step':
        ('mpiapp.partition', 'def f():\n    import h5py'),
    'mpi4py at the top of parallel':
        ('mpiapp.parallel.a', 'from mpi4py import MPI'),
    'h5py at the top of store':
        ('mpiapp.store.a', 'import h5py'),
    'torch at the top, tried':
        ('mpiapp.potentials.a', 'try:\n    import torch.nn\nfinally: 1'),
    'matplotlib in a class body':
        ('mpiapp.reporting.a', 'class A:\n    import matplotlib.pyplot'),
    'ase.io':
        ('mpiapp.structures.a', 'from ase import io'),
    'ase.optimize in a function':
        ('mpiapp.optimize.a', 'def f():\n    from ase.optimize import BFGS'),
    'sella':
        ('mpiapp.workers.a', 'def f():\n    import sella'),
    'the world communicator':
        ('mpiapp.engine', 'def f():\n    return MPI.COMM_WORLD'),
    'the world communicator by getattr':
        ('mpiapp.engine', 'def f():\n    getattr(MPI, "COMM_WORLD")'),
    'the world communicator by import':
        ('mpiapp.engine',
         'def f():\n    from mpi4py.MPI import COMM_WORLD as w'),
    'parallel in a serial file of store':
        ('mpiapp.store.a', 'from mpiapp.parallel.agree import agree'),
}

GOOD = {
    'level 1 imports level 0':
        ('mpiapp.optimize.a', 'from mpiapp.records import Row'),
    'a unit imports itself':
        ('mpiapp.optimize.a', 'from mpiapp.optimize.b import step'),
    'the version':
        ('mpiapp.config', 'from mpiapp import __version__'),
    'a program imports below':
        ('mpiapp.reopt', 'from mpiapp import engine, store, workers'),
    'the package offers a program':
        ('mpiapp', 'def load():\n    from mpiapp import reopt'),
    'torch in a function':
        ('mpiapp.potentials.a', 'def f():\n    import torch'),
    'torch for types':
        ('mpiapp.potentials.a', 'if TYPE_CHECKING:\n    import torch'),
    'harmless ASE':
        ('mpiapp.structures.a', 'from ase import Atoms, data, units'),
    'a name that begins alike':
        ('mpiapp.structures.a', 'import torchless, macerator'),
    'an environment variable':
        ('mpiapp.parallel.a', 'NAME = "OMPI_COMM_WORLD_RANK"'),
    'parallel in a collective file of store':
        ('mpiapp.store.a',
         'from mpiapp.parallel.agree import agree\n'
         'def write(comm):\n    """Collective: write."""'),
}


@pytest.mark.parametrize('module, source', BAD.values(), ids=BAD.keys())
def test_check_finds(module: str, source: str) -> None:
    """Each kind of violation is seen."""
    assert violations(module, source)


@pytest.mark.parametrize('module, source', GOOD.values(), ids=GOOD.keys())
def test_check_allows(module: str, source: str) -> None:
    """What the rules allow is no violation."""
    assert violations(module, source) == []
