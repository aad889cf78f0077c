"""A report as one HTML file that needs nothing else, not even a network.

All styles, scripts and data stand in the page; its content security policy
forbids to load anything.  3Dmol.js is put in where there are structures.
"""
from __future__ import annotations

import html
import json
import math
from dataclasses import fields, is_dataclass, replace
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

import mpiapp
from mpiapp.reporting.blocks import Histogram, Report, Viewer
from mpiapp.reporting.packed import CHUNK, Packed

#: in the order in which they need each other
SCRIPTS = ('charts.js', 'tables.js', 'viewer.js', 'page.js')
LIBRARY, LICENCE = '3Dmol-min.js', '3Dmol-LICENSE.txt'
#: what the head of every page has
GENERATOR = b'<meta name="generator" content="mpiapp '
#: significant digits of numbers in the page
DIGITS = 7


def asset(name: str) -> str:
    """Return the text of a file of the package's assets."""
    return files('mpiapp.reporting').joinpath('assets', name).read_text(
        'utf-8')


def page_of(report: Report, structures: Packed | None = None) -> str:
    """Return the page as text.

    `structures` are needed where a section has a `Viewer`.
    """
    data: dict[str, Any] = {'sections': plain(report.sections)}
    parts = []
    shows = any(isinstance(b, Viewer) for s in report.sections
                for b in s.blocks)
    if shows and structures is not None:
        data['structures'] = {
            'graphs': structures.graphs, 'records': structures.records,
            'chunk': CHUNK}
        parts = [script_of('text/plain', f'structures-{i}', chunk)
                 for i, chunk in enumerate(structures.chunks)]
        parts += [script_of('text/plain', 'library-licence', asset(LICENCE)),
                  script_of('text/plain', 'library', asset(LIBRARY))]
    return Template(asset('page.html')).substitute(
        title=html.escape(report.title),
        subtitle=html.escape(report.subtitle),
        generator=f'mpiapp {mpiapp.__version__}',
        style=asset('page.css'), data=in_script(text_of(data)),
        structures='\n'.join(parts),
        script='\n'.join(asset(name) for name in SCRIPTS))


def script_of(kind: str, name: str, text: str) -> str:
    """Return an element that holds text for later."""
    return f'<script type="{kind}" id="{name}">{text}</script>'


def text_of(data: Any) -> str:
    """Return JSON without blanks."""
    return json.dumps(data, ensure_ascii=False, separators=(',', ':'),
                      allow_nan=False)


def in_script(text: str) -> str:
    """Make JSON safe inside a script element."""
    return text.replace('<', '\\u003c').replace('\u2028', '\\u2028') \
        .replace('\u2029', '\\u2029')


def plain(value: Any) -> Any:
    """Return blocks as JSON data: `kind` is the class, NaN is null.

    Histograms are counted here and keep the digits of their edges: bins
    may be narrower than what is left of a rounded value.
    """
    if isinstance(value, Histogram):
        counted = [replace(s, values=c) for s, c in zip(
            value.series, value.counts, strict=True)]
        return {'kind': 'Histogram', **{
            f.name: plain(getattr(value, f.name)) for f in fields(value)
            if f.name not in ('series', 'edges')},
            'series': plain(counted),
            'edges': np.asarray(value.edges, np.float64).tolist()}
    if is_dataclass(value) and not isinstance(value, type):
        return {'kind': type(value).__name__, **{
            f.name: plain(getattr(value, f.name)) for f in fields(value)}}
    if hasattr(value, 'tolist'):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < 1e15 \
            else float(f'{value:.{DIGITS}g}')
    return value


def is_page(path: Path) -> bool:
    """Tell whether a file is a page of ours."""
    with open(path, 'rb') as file:
        return GENERATOR in file.read(2000)


def write_page(path: Path, report: Report, structures: Packed | None) -> None:
    """Write the page; it appears when it is whole.

    Raises:
        OSError: it can't be written.
    """
    part = path.with_name(f'.{path.name}.part')
    try:
        # names of files need not be Unicode
        part.write_text(page_of(report, structures), encoding='utf-8',
                        errors='replace', newline='\n')
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
