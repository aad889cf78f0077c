"""The sections of a report, found by file name in `sections/`.

A file there has `ORDER` (place on the page), `TITLE`, `PROGRAMS` (those
whose campaigns it shows, empty: all) and `blocks(subject)`, which returns
nothing where it has nothing to show.
"""
from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType

from mpiapp.reporting import sections
from mpiapp.reporting.blocks import Report, Section
from mpiapp.reporting.subject import Results, Subject


def section_modules() -> list[ModuleType]:
    """Return the modules of all sections, in the order of the page."""
    names = [m.name for m in pkgutil.iter_modules(sections.__path__)]
    found = [import_module(f'mpiapp.reporting.sections.{n}') for n in names]
    return sorted(found, key=lambda m: (m.ORDER, m.__name__))


def report_of(results: Results) -> Report:
    """Return the report of a campaign of any kind."""
    subject = Subject(results)
    parts = []
    for module in section_modules():
        if module.PROGRAMS and subject.program not in module.PROGRAMS:
            continue
        blocks = module.blocks(subject)
        if blocks:
            parts.append(Section(module.__name__.rpartition('.')[2],
                                 module.TITLE, tuple(blocks)))
    return Report(results.path.stem, subtitle(subject), parts)


def subtitle(subject: Subject) -> str:
    """Say in a line what was done, with what, to how much."""
    meta = subject.results.meta
    potential = meta.get('potential') or {}
    words = [subject.program or 'campaign',
             f'{subject.results.n_records} records']
    if isinstance(potential, dict) and potential.get('name'):
        words.insert(1, str(potential['name']))
    if not subject.results.complete:
        words.append('not complete')
    return ' · '.join(words)
