"""What MkDocs does beside copying docs/: hooks named in mkdocs.yml.

The first page is the README; pages and files outside docs/ that pages link
to come along; the reference of options is made from the parsers of all
programs; the navigation lists what is there.
"""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

from jobs.options_reference import reference

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / 'docs'
#: a link to a file, without anchor: text, path
LINK = re.compile(r'(!?\[[^\]]*\]\()([^)#\s:]+)(?=[)#])')

SHIM = re.compile(r'<script[^>]*unpkg[.]com[^>]*></script>')

#: the navigation: heading, pages; those that are not there are left out
NAVIGATION: tuple[tuple[str, tuple[str, ...]], ...] = (
    ('Start', ('index.md', 'install.md', 'tutorial.md', 'notebook.md')),
    ('Programs', (
        'reopt.md', 'device.md', 'refine.md', 'ensembles.md',
        'descriptors.md', 'conformers.md', 'validate.md', 'hameval.md',
        'tssearch.md', 'hpo.md', 'distill.md', 'bench.md', 'profiler.md',
        'report.md')),
    ('Running', ('clusters.md', 'reliability.md')),
    ('Reference', ('options.md', 'file_format.md', 'architecture.md',
                   'add_a_potential.md', 'add_a_hessian.md')),
    ('Measured', ('benchmarks.md', 'comparison.md')),
    ('Project', ('CHANGELOG.md', 'CITATION.cff', 'LICENSE')),
)
#: pages below a heading by the beginning of their names
BY_NAME = {'benchmarks_': 'Measured'}


def on_config(config: Any) -> Any:
    """Make the navigation of the pages that are there."""
    config.nav = navigation({p.name for p in DOCS.glob('*.md')})
    return config


def navigation(there: set[str]) -> list[dict[str, list[str]]]:
    """Return the headings with their pages; unknown pages come last."""
    made = {'index.md', 'options.md', 'CHANGELOG.md'}
    listed = {name for _, names in NAVIGATION for name in names}
    more: dict[str, list[str]] = {}
    for name in sorted(there - listed):
        heading = next((h for start, h in BY_NAME.items()
                        if name.startswith(start)), 'More')
        more.setdefault(heading, []).append(name)
    found = []
    for heading, names in NAVIGATION:
        pages = [n for n in names if n in there | made]
        pages += more.pop(heading, [])
        if pages:
            found.append({heading: pages})
    return found + [{h: names} for h, names in more.items()]


def on_files(files: Any, config: Any) -> Any:
    """Add the README, the options and all that is linked outside docs/."""
    texts = {'index.md': from_readme((ROOT / 'README.md').read_text('utf-8')),
             'options.md': reference()}
    for name, text in texts.items():
        files.append(File.generated(config, name, content=text))
    for path in sorted(outside()):
        name = str(path.relative_to(ROOT))
        # `docs` in a link of data/ leads back to the pages
        content = path.read_bytes()
        if path.suffix == '.md':
            content = content.decode().replace('](../docs/', '](../') \
                .encode()
        files.append(File.generated(config, name, content=content))
    return files


def outside() -> set[Path]:
    """Return the files outside docs/ that pages link to, page by page."""
    found: set[Path] = set()
    todo = [ROOT / 'README.md', *DOCS.glob('*.md')]
    while todo:
        page = todo.pop()
        for link in LINK.finditer(page.read_text('utf-8')):
            path = (page.parent / link[2]).resolve()
            if path.is_file() and path.is_relative_to(ROOT) \
                    and not path.is_relative_to(DOCS) \
                    and path not in found and path != ROOT / 'README.md':
                found.add(path)
                todo += [path] if path.suffix == '.md' else []
    return found


def from_readme(text: str) -> str:
    """Turn links of the README into those of the first page."""
    return text.replace('](docs/', '](').replace('="docs/', '="')


def on_post_page(output: str, **more: Any) -> str:
    """Leave out the only script that the theme loads from elsewhere.

    Searching then needs a server: python -m http.server -d site.
    """
    return SHIM.sub('', output)


#: the page for a wrong address is a template of the theme
on_post_template = on_post_page


def on_page_markdown(markdown: str, **more: Any) -> str:
    """Turn links from docs/ to files beside it into links in the site."""
    source = more['page'].file.src_uri
    if '/' in source:
        return markdown
    return markdown.replace('](../README.md', '](index.md') \
        .replace('](../', '](')
