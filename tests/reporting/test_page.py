"""The page holds what it needs, safely, and the structures exactly."""
from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path

import numpy as np

from mpiapp.reporting.blocks import BLUE, Lines, Report, Section, Series
from mpiapp.reporting.exporting import export
from mpiapp.reporting.packed import CHUNK, UNIT, laid_over, packed
from mpiapp.reporting.page import page_of
from mpiapp.store.reader import Campaign


def decoded(chunk: str) -> np.ndarray:
    """Return the whole numbers of a chunk, as the page's script does."""
    data = np.frombuffer(gzip.decompress(base64.b64decode(chunk)), np.uint8)
    low, high = data.reshape(2, -1)
    return np.stack([low, high], axis=1).copy().view('<i2').ravel()


def unpacked(page: object, place: int) -> tuple[np.ndarray, np.ndarray]:
    """Return start and final of a record, centred at the final one."""
    records, graphs = page.records, page.graphs  # type: ignore[attr-defined]
    values = decoded(page.chunks[place // CHUNK])  # type: ignore
    sizes = [len(graphs[r[1]]['numbers']) for r in records]
    at = 6 * sum(sizes[place // CHUNK * CHUNK:place])
    n = sizes[place]
    both = values[at:at + 6 * n].reshape(2, n, 3).astype(np.int16)
    final = np.cumsum(both[0], axis=0, dtype=np.int16)
    return (final + both[1]) * records[place][2], final * records[place][2]


def test_packed_structures_are_those_of_the_file(small: Campaign) -> None:
    page = packed(small, 1000)
    assert len(page.records) == 128  # of 130 two have none
    for place in (0, 63, 64, 127):
        row = page.records[place][0]
        final = small.positions(row)
        start = laid_over(small.ragged('x_start', row), final)
        found_start, found = unpacked(page, place)
        centre = final.mean(axis=0)
        assert np.abs(found - (final - centre)).max() < 0.51 * UNIT
        assert np.abs(found_start - (start - centre)).max() < 0.51 * UNIT
    bonds = np.array(page.graphs[0]['bonds']).reshape(-1, 3)
    assert bonds[0].tolist() == [0, 1, 2]


def test_laid_over_is_the_best_rotation(rng: np.random.Generator) -> None:
    target = rng.normal(size=(9, 3))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    assert np.allclose(laid_over(target @ turn + 7.0, target), target)
    mirrored = laid_over(target * [1, 1, -1], target)
    assert np.abs(mirrored - target).max() > 0.1


def test_structures_are_as_many_as_asked_for(small: Campaign) -> None:
    assert len(packed(small, 10).records) == 10
    assert packed(small, 0).chunks == []


def test_the_page_holds_everything(
    small: Campaign, small_report: Report,
) -> None:
    text = page_of(small_report, packed(small, 1000))
    # no element that loads anything, but for the data of the icon
    assert not re.findall(r'<(?:script|img|link|iframe)[^>]+'
                          r'(?:src|href)="(?!data:)', text)
    assert "default-src 'none'" in text
    # data, two chunks of structures, 3Dmol.js and its licence, ours
    assert text.count('</script>') == 6
    assert 'University of Pittsburgh' in text


def test_text_of_the_file_is_never_markup(
    small: Campaign, small_report: Report,
) -> None:
    text = page_of(small_report)
    assert '<img src=x>' not in text and '<b>&amp;' not in text
    data = re.search(r'id="data">(.*?)</script>', text, re.S)
    assert data
    words = json.dumps(json.loads(data[1]))
    assert '</script><img src=x>' in words


def test_the_same_file_gives_the_same_page(
    small: Campaign, small_report: Report,
) -> None:
    assert page_of(small_report, packed(small, 99)) \
        == page_of(small_report, packed(small, 99))


def test_every_figure_and_table_is_exported(
    small_report: Report, tmp_path: Path,
) -> None:
    wanted = ('boltzmann', 'ranks', 'geometry_vertical', 'class_changes',
              'energy_vertical', 'excimer_share', 'rank_seconds')
    curve = Lines('curve', 'Curve', 'x', 'y', [1.0, 2.0], [
        Series('a', [1.0, 10.0], BLUE)], log=True)
    parts = [Section('one', 'One', (*(
        b for s in small_report.sections for b in s.blocks
        if getattr(b, 'name', '') in wanted), curve))]
    paths = export(tmp_path / 'out', Report('t', '', parts))
    names = {p.name for p in paths}
    assert names == {f'{name}.{suffix}' for name in (*wanted, 'curve')
                     for suffix in ('csv', 'png', 'svg')} - {
                         'boltzmann.png', 'boltzmann.svg'}
    for path in paths:
        start = path.read_bytes()[:300]
        if path.suffix == '.png':
            assert start.startswith(b'\x89PNG')
        if path.suffix == '.svg':
            assert b'<svg' in path.read_bytes()[:2000]
    lines = (tmp_path / 'out/geometry_vertical.csv').read_text().split('\n')
    assert lines[0] == 'from,to,before,after'
    assert sum(int(x.split(',')[3]) for x in lines[1:-1]) == 127
