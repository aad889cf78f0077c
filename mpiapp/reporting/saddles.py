"""What a campaign of `tssearch` came to, in a few lines."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mpiapp.reporting.terminal import status_lines

Row = Mapping[str, Any]


def summary(rows: Sequence[Row]) -> list[str]:
    """Return the counts, the rates and what a success took."""
    lines = status_lines(np.array([r['status'] for r in rows]),
                         [str(r['reason']) for r in rows])
    tried = [r for r in rows if r['reason']]
    found = [r for r in rows if r['reason'] == 'ts']
    one = [r for r in rows if r['n_neg'] == 1]
    if tried:
        lines.append(
            f'found         {len(found)} of {len(tried)} '
            f'({100 * len(found) / len(tried):.1f} %) transition states; '
            f'one negative mode alone: {len(one)} '
            f'({100 * len(one) / len(tried):.1f} %)')
    if found:
        distinct = {(r['sample'], r['group']) for r in found}
        lines += [
            f'distinct      {len(distinct)} of '
            f'{len({r["sample"] for r in found})} reactions',
            'a success     ' + ', '.join(
                f'{np.mean([r[name] for r in found]):.1f} {words}'
                for name, words in (
                    ('steps', 'steps'), ('n_calls', 'gradients'),
                    ('n_hess', 'Hessians'),
                    ('n_displaced', 'gradients inside them')))]
    asked = [r['ends'] for r in found if r['ends']]
    if asked:
        lines.append('ends          ' + ', '.join(
            f'{asked.count(word)} {word}'
            for word in ('ok', 'half', 'other', 'unknown')))
    return lines
