"""The shell commands of README and docs, and which test executes them.

A command is a line of a block that is indented by four spaces or fenced
without a language and begins with one of STARTS.  `<!-- not run: why -->`
before a block says that no test executes it, `<!-- page not run: why -->`
that none executes those of the page.
"""
from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STARTS = ('mpirun', 'python', 'make', 'srun', 'sbatch', 'grep', 'mkdir',
          'head', '. .venv', 'export', 'OMP_NUM_THREADS', 'TORCH_INDEX',
          'HDF5_DIR', 'OMPI_MCA')
_MARK = re.compile(r'<!-- not run: (.+?) -->')
_PAGE_MARK = re.compile(r'<!-- page not run: (.+?) -->')


@dataclass(frozen=True)
class Command:
    """A command of a page; `why` says why no test executes it."""

    page: str
    line: int
    text: str
    why: str = ''

    @property
    def words(self) -> list[str]:
        """The words, without mpirun and a comment at the end."""
        return shlex.split(self.text, comments=True)

    @property
    def program(self) -> str:
        """The program of ours that it starts; '' if none."""
        found = re.search(r'python -m mpiapp\.([\w.]+)', self.text)
        return found[1] if found else ''


def commands(page: Path) -> Iterator[Command]:
    """Yield the commands of a page, continued lines joined."""
    text = page.read_text('utf-8')
    found = _PAGE_MARK.search(text)
    whole = found[1] if found else ''
    why, fence, before = '', None, ''
    start = 0
    for number, line in enumerate(text.splitlines(), 1):
        if found := _MARK.search(line):
            why = found[1]
        if line.startswith('```'):
            fence = None if fence is not None else line[3:].strip()
            continue
        in_block = fence in ('', 'bash', 'sh') if fence is not None \
            else line.startswith('    ')
        if before or in_block and line.strip().startswith(STARTS):
            start = start if before else number
            before += line.strip().removesuffix('\\')
            if not line.rstrip().endswith('\\'):
                yield Command(str(page.relative_to(ROOT)), start, before,
                              why or whole)
                before = ''
        elif line.strip() and not in_block and not _MARK.search(line):
            why = ''


def pages() -> list[Path]:
    """Return the README and all pages of docs."""
    return [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
