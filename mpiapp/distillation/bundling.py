"""`distill bundle`: a model takes the place of another, if it is better."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mpiapp.distillation import verdicts
from mpiapp.errors import InputError
from mpiapp.store.files import replacing
from mpiapp.store.folder import differences
from mpiapp.store.output import check_output, check_written
from mpiapp.workers.label_plan import described

#: what `bundle` reads of a report
KEYS = {'model': str, 'sha256': str, 'numbers': dict, 'not_proved': dict,
        'teacher': dict, 'data': str, 'trial': dict}


def bundle(
    model: Path, report: Path, against: Path, output: Path,
    largest: float,
) -> list[str]:
    """Copy a model that its report shows to be better; return what to say.

    Raises:
        InputError: a report is no report of this model, or can't be read,
            or the two are not on the same trial.
        Refused: it is not better, not proved, or too large; with the
            numbers.
    """
    check_output(output, create=False)
    # to take the place of a model is what it is for, unlike that of a report
    check_written([output], [report, against], True)
    new, old = read_report(report), read_report(against)
    check_alike(new, old)
    content = model.read_bytes()
    if hashlib.sha256(content).hexdigest() != new['sha256']:
        raise InputError(f'{report} is not a report on {model}: the '
                         'checksums differ')
    if len(content) > largest * 1e6:
        raise Refused(f'{model} has {len(content) / 1e6:.2f} MB, more than '
                      f'--largest {largest:g}')
    better, rows = verdicts.comparison(new['numbers'], old['numbers'])
    text = verdicts.table(rows)
    if new['not_proved']:
        why = '\n'.join(f'  {n}: {w}' for n, w in new['not_proved'].items())
        raise Refused(f'{model} is not proved:\n{why}\n{text}')
    if not better:
        raise Refused(f'{model} is not better than {old["model"]}:\n{text}')
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as part:
        part.write_bytes(content)
    return [text, f'bundled {output}, sha256 {new["sha256"]}']


def check_alike(new: Mapping[str, Any], old: Mapping[str, Any]) -> None:
    """Raise InputError where two reports are not on the same trial."""
    def settings(report: Mapping[str, Any]) -> dict[str, Any]:
        trial = {k: v for k, v in report['trial'].items() if k != 'rounds'}
        return {'teacher': described(report['teacher']),
                'data': report['data'], 'trial': trial}
    changed = differences(settings(old), settings(new))
    if changed:
        raise InputError(
            'the two reports are not on the same trial\n' + '\n'.join(
                f'  {line}' for line in changed) + '\nrun `distill test` '
            'alike on both models')


class Refused(Exception):
    """A model is refused for bundling."""


def read_report(path: Path) -> dict[str, Any]:
    """Return a report of `distill test`.

    Raises:
        InputError: it can't be read, or is none.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text('utf-8'))
        for name, kind in KEYS.items():
            if not isinstance(found[name], kind):
                raise ValueError(f'{name} is no {kind.__name__}')
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f'{path} is no report of `distill test`: '
                         f'{type(error).__name__}: {error}') from error
    return found
