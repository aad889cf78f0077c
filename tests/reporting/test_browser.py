"""The page in a real browser: no error, no network, filters, 3D, speed."""
from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpiapp.reporting.blocks import Report
from mpiapp.reporting.packed import packed
from mpiapp.reporting.page import write_page
from mpiapp.reporting.registry import report_of
from mpiapp.store.reader import Campaign, load
from tests.browser import Browser, needs_browser
from tests.jobs import run
from tests.reporting.pages import campaign
from tests.reporting.test_sections import block

pytestmark = needs_browser

READY = 'document.documentElement?.dataset?.ready === "yes"'
#: of a page of 3,347 conformers with 200 atoms each
MOST_BYTES = 15e6
USABLE_SECONDS = 2.0


def write(path: Path, results: Campaign) -> Path:
    write_page(path, report_of(results), packed(results, 5000))
    return path


@pytest.fixture(scope='module')
def page(small: Campaign, tmp_path_factory: pytest.TempPathFactory,
         ) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp('browser')
    path = write(folder / 'small.html', small)
    with Browser(folder / 'home') as browser:
        browser.open(path, READY)
        browser.run('report.drawAll()')
        yield browser
        assert browser.errors == []
        assert [r for r in browser.requests if not r.startswith(
            ('file:', 'data:', 'blob:'))] == []


def texts(page: Browser, table: str, place: int) -> list[str]:
    """Return the shown cells of a column of a table."""
    words: list[str] = page.run(
        f'[...document.querySelectorAll("#{table} tbody tr")].map('
        f'r => r.children[{place}].textContent)')
    return words


def fill(page: Browser, table: str, name: str, text: str) -> None:
    """Type into the filter of a column."""
    page.run(f'(() => {{ const t = report.tables[{json.dumps(table)}];'
             f'const i = t.table.fields.findIndex('
             f'f => f.name === {json.dumps(name)});'
             'const input = t.inputs.children[i].firstChild;'
             f'input.value = {json.dumps(text)};'
             'input.dispatchEvent(new Event("input")); })()')


def n_lines(page: Browser, table: str) -> int:
    return int(page.run(f'report.tables.{table}.order.length'))


def test_every_figure_is_drawn(page: Browser) -> None:
    n = page.run('report.figures.length')
    assert n > 15
    assert page.run('report.figures.every(f => f.node.querySelectorAll('
                    '"rect, circle, polyline").length > 0)')
    assert page.run('document.querySelectorAll(".card svg").length') == n


def test_numbers_and_words_are_filtered(
    page: Browser, small: Campaign,
) -> None:
    fill(page, 'records', 'molecule', 'pyr_')
    fill(page, 'records', 'vertical', '<3.6')
    table = small.table
    mine = table['name'].str.lower().str.contains('pyr_') & (
        table['vertical'] < 3.6)
    assert n_lines(page, 'records') == mine.sum() > 0
    fill(page, 'records', 'vertical', '3.5..3.6')
    between = table['name'].str.lower().str.contains('pyr_') \
        & table['vertical'].between(3.5, 3.6)
    assert n_lines(page, 'records') == between.sum() > 0
    fill(page, 'records', 'vertical', 'nonsense')
    assert page.run('document.querySelectorAll("#records .bad").length') == 1
    for name in ('molecule', 'vertical'):
        fill(page, 'records', name, '')
    assert n_lines(page, 'records') == 130


def test_a_table_is_sorted_by_its_heading(
    page: Browser, small: Campaign,
) -> None:
    place = page.run('report.tables.records.table.fields.findIndex('
                     'f => f.name === "vertical")')
    button = f'report.tables.records.heads.children[{place}].firstChild'
    page.run(f'{button}.click()')
    shown = [float(v) for v in texts(page, 'records', place)]
    assert shown == sorted(shown)
    lowest = np.sort(small.table['vertical'].dropna())[:len(shown)]
    assert np.allclose(shown, lowest, atol=5e-4)
    page.run(f'{button}.click()')
    shown = [float(v) for v in texts(page, 'records', place)]
    assert shown == sorted(shown, reverse=True)


def test_a_heat_map_tells_its_unit(page: Browser) -> None:
    keys = page.run('document.querySelector("#classes_excimer .keys")'
                    '.textContent')
    assert keys == '0 to 100 %'


def test_the_last_number_of_an_axis_is_whole(page: Browser) -> None:
    # how far the text at the end goes beyond the right edge
    over = page.run(
        '(() => { const node = CHARTS.Histogram.draw({ x_label: "x", '
        'series: [{ label: "a", colour: "red", values: [1, 1] }], '
        'edges: [0, 0.0025, 0.005] }); document.body.append(node); '
        'const ends = [...node.querySelectorAll("text")].filter('
        't => t.textContent === "0.005").map(t => t.getBBox()).map('
        'b => b.x + b.width - node.viewBox.baseVal.width); '
        'node.remove(); return ends; })()')
    assert len(over) == 1 and over[0] <= 0


def test_histograms_are_those_of_the_report(
    page: Browser, small_report: Report,
) -> None:
    shown = page.run('csvText(CHARTS.Histogram.csv(report.data.sections'
                     '.flatMap(s => s.blocks).find(b => b.name === "steps")))')
    figure: Any = block(small_report, 'steps')
    lines = [x.split(',') for x in shown.splitlines()]
    assert lines[0] == ['from', 'to', *(s.label for s in figure.series)]
    assert np.array_equal(np.array(lines[1:], float)[:, 2:],
                          np.transpose(figure.counts))


def test_text_of_messages_is_shown_as_text(page: Browser) -> None:
    assert any('</script><img src=x>' in t for t in texts(
        page, 'failed_records', 4))
    assert page.run('document.querySelectorAll("main img").length') == 0


def test_a_menu_shows_one_molecule(page: Browser) -> None:
    page.run('(() => { const m = document.querySelector('
             '"#energy_vertical select"); m.value = "Pyr_Et";'
             'm.onchange(); })()')
    assert page.run('document.querySelectorAll('
                    '"#energy_vertical circle").length') == 2


def test_csv_and_pictures_are_made_in_the_page(page: Browser) -> None:
    text = page.run('csvText(report.tables.failures_by_reason.csv())')
    assert text.splitlines()[0] == 'status,reason,records,example'
    picture = page.run('svgText(report.figures[0].node)')
    assert picture.startswith('<svg') and 'data-tip' not in picture
    address = page.run('pngOf(report.figures[0].node)')
    assert base64.b64decode(address.partition(',')[2])[:4] == b'\x89PNG'


def coloured(png: bytes) -> float:
    """Return the share of pixels that are neither white nor grey."""
    from PIL import Image
    pixels = np.asarray(Image.open(BytesIO(png)).convert('RGB'), float)
    return float((np.ptp(pixels, axis=2) > 30).mean())


def canvas(browser: Browser) -> bytes:
    """Return what the 3D view shows as PNG."""
    address = browser.run('report.view.view.pngURI()')
    return base64.b64decode(address.partition(',')[2])


def opened(browser: Browser, row: int) -> None:
    browser.run(f'report.open({row})')
    browser.wait('document.querySelector(".canvas").dataset.drawn === '
                 f'"{row}"')


def test_a_conformer_is_drawn_with_its_planes(
    tmp_path: Path, data_dir: Path,
) -> None:
    ended = run('reopt', '--calculator', 'lj', '--sdf',
                data_dir / 'dimers/moe_et_5.sdf', '--end-index', 1,
                '--max-steps', 3, '--output-dir', tmp_path,
                '--output-prefix', 'x')
    results = load(tmp_path / 'x.h5')
    assert results.n_records == 5, ended.output
    path = write(tmp_path / 'x.html', results)
    with Browser(tmp_path / 'home') as browser:
        browser.open(path, READY)
        opened(browser, 0)
        assert browser.run('report.view.one.rings.length') == 2
        with_planes = coloured(canvas(browser))
        browser.run('[...document.querySelectorAll(".switches button")]'
                    '.find(b => b.textContent === "planes").click()')
        without = coloured(canvas(browser))
        assert 0.001 < without < 0.8 * with_planes
        shown: Any = browser.run('Array.from(report.view.one.final)')
        final = results.positions(0)
        assert np.abs(np.reshape(shown, (-1, 3)) - final
                      + final.mean(axis=0)).max() < 6e-4
        assert browser.errors == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_page_of_the_library_is_small_and_quick(tmp_path: Path) -> None:
    results = load(campaign(tmp_path / 'big.h5', 3347, 200, 8))
    path = write(tmp_path / 'big.html', results)
    assert path.stat().st_size < MOST_BYTES
    with Browser(tmp_path / 'home') as browser:
        # the first page pays for starting the browser's processes
        seconds = sorted(browser.open(path, READY) for _ in range(3))
        fill(browser, 'records', 'molecule', 'CF3')
        assert 100 < n_lines(browser, 'records') < 300
        opened(browser, 3345)
        assert browser.errors == []
    print(f'{path.stat().st_size / 1e6:.1f} MB, usable after '
          f'{seconds[0]:.2f} s')
    assert seconds[0] < USABLE_SECONDS
