"""Findings of ranks and the table of them."""
from __future__ import annotations

import pytest

from mpiapp.checks.table import (
    FAIL, OK, WARN, Doubt, Finding, Unfit, coloured, fit, joined, lines,
    locally
)
from mpiapp.errors import InputError


def raising(error: Exception) -> Finding:
    def check() -> str:
        raise error
    return locally('x', check)


@pytest.mark.parametrize('error, verdict', [
    (Unfit('bad'), FAIL), (InputError('bad'), FAIL), (OSError('bad'), FAIL),
    (Doubt('bad'), WARN)])
def test_what_a_check_raises_is_its_verdict(
    error: Exception, verdict: str,
) -> None:
    assert raising(error) == Finding('x', verdict, 'bad')


def test_a_defect_of_a_check_is_a_failure_with_its_place() -> None:
    found = raising(ZeroDivisionError('oh'))
    assert found.verdict == FAIL
    assert found.text.startswith('ZeroDivisionError: oh (check, line ')


def test_the_worst_rank_speaks_for_all() -> None:
    good, doubt, bad = (Finding('x', v, v) for v in (OK, WARN, FAIL))
    assert joined('x', [good, good]) == good
    assert joined('x', [good, doubt]).text == 'rank 1: warn'
    assert joined('x', [bad, doubt, bad]).text == 'rank 0, 2: FAIL'
    many = joined('x', [bad] * 9)
    assert many.text == 'rank 0, 1, 2, 3 and 5 more: FAIL'
    assert fit([good, doubt]) and not fit([good, bad])


def test_colours_are_for_terminals_and_for_those_who_ask() -> None:
    assert coloured({'FORCE_COLOR': '1'})
    assert not coloured({'FORCE_COLOR': '1', 'NO_COLOR': ''})
    found = [Finding('disk', FAIL, 'full\nreally')]
    assert lines(found, False) == [
        'FAIL  disk           full', ' ' * 21 + 'really']
    assert lines(found, True)[0].startswith('\033[31;1mFAIL')
