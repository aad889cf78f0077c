"""Proofs that are done, kept until the report is written."""
from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mpiapp.workers.label_plan import described

log = logging.getLogger('mpiapp')

#: proofs by name: rows, or why it could not be proved
Done = dict[str, Any]


class Kept:
    """The file of the proofs that are done, by model and trial.

    A file that can't be read counts as empty, with a warning.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._all: dict[str, Done] = {}
        if path.exists():
            try:
                self._all = dict(json.loads(path.read_text('utf-8')))
            except (ValueError, TypeError) as error:
                log.warning('%s is damaged (%s): all is proved anew', path,
                            error)

    def of(self, report: Mapping[str, Any]) -> Done:
        """Return what is done of a report that has no proofs yet."""
        return dict(self._all.get(_key(report), {}))

    def keep(self, report: Mapping[str, Any], done: Done) -> None:
        """Write what is done."""
        from mpiapp.store.files import replacing
        self._all[_key(report)] = done
        with replacing(self.path) as part:
            part.write_text(json.dumps(self._all), 'utf-8')

    def drop(self) -> None:
        """Remove the file: the report holds everything."""
        self.path.unlink(missing_ok=True)


def _key(report: Mapping[str, Any]) -> str:
    trial = {k: v for k, v in report['trial'].items() if k != 'proofs'}
    text = json.dumps([
        report['sha256'], report['backend'], described(report['teacher']),
        report['data'], trial], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
