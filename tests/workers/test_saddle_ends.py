"""What lies downhill: which of the four words is said of two ends."""
from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mpiapp.records import Floats
from mpiapp.saddle.base import Sample, SearchSettings, Surface, never
from mpiapp.saddle.judge import Look, look
from mpiapp.saddle.toys import LennardJonesCluster
from mpiapp.workers import saddle_ends
from mpiapp.workers.saddle_ends import ends_of

H = 0.94 * np.array([[1, 0, 0], [-.5, .866, 0], [-.5, -.866, 0]])


class Bonded(LennardJonesCluster):
    """A cluster whose bonds have a meaning."""

    bonded = True


def ammonia(height: float, stretch: float = 1.0) -> Floats:
    """Return N above or below the plane of the H, one of which is moved."""
    x = np.vstack([[0.0, 0.0, height], H])
    x[1] *= stretch
    return x


def turned(x: Floats) -> Floats:
    """Return the geometry somewhere else in space."""
    return x @ Rotation.random(random_state=5).as_matrix().T + 3.0


UP, DOWN = ammonia(0.38), ammonia(-0.38)
#: N H2 and H: other bonds than any known geometry
BROKEN = ammonia(0.38, 4.0)
SAMPLE = Sample(0, 0, 'nh3', np.array([7, 1, 1, 1], np.int32), ammonia(0.0),
                UP, ammonia(0.0), DOWN)


def said(monkeypatch: pytest.MonkeyPatch, sample: Sample,
         *ends: Floats | None) -> str:
    """Return the word where the ways down lead to these ends."""
    left = list(ends)

    def downhill(*words: Any) -> SimpleNamespace | None:
        end = left.pop(0)
        return None if end is None else SimpleNamespace(positions=end)
    monkeypatch.setattr(saddle_ends, 'downhill', downhill)
    return ends_of(sample, *saddle(sample), never)


def saddle(sample: Sample) -> tuple[Surface, Look]:
    surface = Bonded(sample.numbers)
    return surface, look(surface, sample.start, SearchSettings())


@pytest.mark.parametrize('ends, word', [
    ((UP, DOWN), 'ok'), ((turned(DOWN), turned(UP)), 'ok'),
    # both fall into one minimum, whose bonds are those of the other
    ((UP, turned(UP)), 'half'), ((DOWN, DOWN), 'half'),
    ((BROKEN, UP), 'half'), ((BROKEN, BROKEN), 'other'),
    # the planar one is as far from both
    ((ammonia(0.0), ammonia(0.0)), 'other'),
    ((None, UP), 'unknown'), ((UP, None), 'unknown')])
def test_ends_with_the_same_bonds_are_told_by_their_geometry(
    ends: tuple[Floats | None, ...], word: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert said(monkeypatch, SAMPLE, *ends) == word


@pytest.mark.parametrize('ends, word', [
    ((UP, BROKEN), 'ok'), ((BROKEN, DOWN), 'ok'), ((UP, DOWN), 'half'),
    ((BROKEN, BROKEN), 'half'),
    ((9.0 * UP, 9.0 * UP), 'other')])
def test_ends_with_other_bonds_are_told_by_these(
    ends: tuple[Floats, ...], word: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    sample = replace(SAMPLE, product=BROKEN)
    assert said(monkeypatch, sample, *ends) == word


@pytest.mark.parametrize('changes', [
    {'product': None}, {'reactant': None}, {'product': turned(UP)}])
def test_without_two_known_ends_nothing_is_said(
    changes: dict[str, Any],
) -> None:
    sample = replace(SAMPLE, **changes)
    surface, here = saddle(sample)
    before = surface.n_calls
    assert ends_of(sample, surface, here, never) == 'unknown'
    assert surface.n_calls == before
