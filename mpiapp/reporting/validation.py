"""What is told of a comparison on held-out samples."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

from mpiapp.tuning.intervals import FEWEST, Interval
from mpiapp.tuning.outcome import Outcome


def comparison_lines(
    told: Mapping[str, Interval], outcomes: Sequence[Sequence[Outcome]],
    compared: str, n_reactions: int, n_samples: int,
) -> list[str]:
    """Return the table of a comparison and its verdict."""
    how = '95 % bootstrap intervals over reactions'
    if n_reactions < FEWEST:
        how = f'too few reactions for an interval, {FEWEST} at least'
    lines = ['', f'held-out      {n_samples} samples of {n_reactions} '
             f'reaction(s); {how}',
             f'compared      {compared}',
             f'{"":22s}{"baseline":>24s}{"compared":>24s}{"difference":>26s}']
    for name, text, form in (
            ('success', 'found', '.3f'), ('index_one', 'one neg. mode', '.3f'),
            ('calls', 'calls, failures: cap', '.0f')):
        cells = [_cell(told[f'{name}_{kind}'], form) for kind in
                 ('baseline', 'compared', 'difference')]
        lines.append(f'{text:22s}{cells[0]:>24s}{cells[1]:>24s}'
                     f'{cells[2]:>26s}')
    wins = [sum(a.success and not b.success for a, b in zip(x, y))
            for x, y in ((outcomes[1], outcomes[0]),
                         (outcomes[0], outcomes[1]))]
    lines.append(f'found by one  {wins[0]} by the compared alone, {wins[1]} '
                 'by the baseline alone')
    return [*lines, f'verdict       {verdict(told)}']


def _cell(value: Interval, form: str) -> str:
    if not value.known:
        return f'{value.mean:{form}}'
    return f'{value.mean:{form}} [{value.low:{form}}, {value.high:{form}}]'


def verdict(told: Mapping[str, Interval]) -> str:
    """Say what the intervals show, and what they do not."""
    rate = told['success_difference']
    calls = told['calls_difference']
    if not rate.known:
        return 'none: too few reactions for an interval'
    if rate.sign:
        word = 'more' if rate.sign > 0 else 'fewer'
        return f'the compared settings find {word} saddle points'
    if calls.sign:
        word = 'fewer' if calls.sign < 0 else 'more'
        return ('no difference in what is found is shown; the compared '
                f'settings need {word} calls')
    return 'no difference is shown: both intervals hold zero'
