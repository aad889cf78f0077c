"""The site is built offline, complete, and every link leads somewhere."""
from __future__ import annotations

import argparse
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from jobs import docs_site, options_reference
from mpiapp.__main__ import programs
from tests.jobs import environment

ROOT = Path(__file__).resolve().parent.parent
#: what loads when a page is opened
LOADED = {'script': 'src', 'img': 'src', 'link': 'href', 'iframe': 'src'}


class Page(HTMLParser):
    """The links, loaded files and anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(
        self, tag: str, attrs: list[tuple[str, str | None]],
    ) -> None:
        values = dict(attrs)
        self.anchors |= {v for k in ('id', 'name') if (v := values.get(k))}
        if tag == 'a' and (address := values.get('href')):
            self.links.append(address)
        if tag in LOADED and (address := values.get(LOADED[tag])) \
                and values.get('rel') not in ('canonical', 'alternate'):
            self.loaded.append(address)


@pytest.fixture(scope='module')
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('site') / 'site'
    done = subprocess.run(
        [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--quiet',
         '--site-dir', folder], cwd=ROOT, text=True, timeout=110,
        capture_output=True, env=environment(
            PYTHONPATH=str(ROOT), NO_MKDOCS_2_WARNING='1'))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope='module')
def found(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text('utf-8'))
            for path in site.rglob('*.html')}


def test_links_and_anchors_lead_somewhere(
    site: Path, found: dict[Path, Page],
) -> None:
    broken = []
    for path, page in found.items():
        if path.name == '404.html':
            continue
        for address in page.links + page.loaded:
            parts = urlsplit(address)
            if parts.scheme or not (parts.path or parts.fragment):
                continue
            target = (path.parent / unquote(parts.path)).resolve() \
                if parts.path else path
            if target.is_dir():
                target /= 'index.html'
            anchors = found[target].anchors if target in found else None
            if not target.exists() or parts.fragment and anchors is not None \
                    and unquote(parts.fragment) not in anchors:
                broken.append(f'{path.name}: {address}')
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(
    site: Path, found: dict[Path, Page],
) -> None:
    foreign = [f'{path.name}: {address}' for path, page in found.items()
               for address in page.loaded
               if urlsplit(address).scheme in ('http', 'https')
               or address.startswith('//')]
    assert foreign == []
    for path in site.rglob('*.css'):
        assert not re.search(r'@import|url\(\s*["\']?(?:https?:)?//',
                             path.read_text('utf-8')), path


def test_every_page_is_in_the_navigation(site: Path) -> None:
    text = (site / 'index.html').read_text('utf-8')
    lacking = [p.stem for p in (ROOT / 'docs').glob('*.md')
               if f'href="{p.stem}.html"' not in text]
    assert lacking == []


def test_pages_that_are_not_there_do_not_matter() -> None:
    few = docs_site.navigation({'reopt.md'})
    names = [n for part in few for names in part.values() for n in names]
    assert names == ['index.md', 'reopt.md', 'options.md', 'CHANGELOG.md']
    more = docs_site.navigation({'hpo.md', 'benchmarks_hpo.md', 'odd.md'})
    assert {'Measured': ['benchmarks_hpo.md']} in more
    assert more[-1] == {'More': ['odd.md']}
    programs_ = next(p['Programs'] for p in more if 'Programs' in p)
    assert programs_ == ['hpo.md']


@pytest.mark.parametrize('name', programs())
def test_the_reference_has_every_option(name: str) -> None:
    text = options_reference.reference()
    assert f'\n## {name}\n' in text
    found = list(options_reference.parsers(name))
    assert found
    for parser in found:
        section = options_reference.section(parser)
        assert section in text
        for action in parser._actions:
            if action.help != argparse.SUPPRESS:
                assert all(f'`{flag}`' in section
                           for flag in action.option_strings)
