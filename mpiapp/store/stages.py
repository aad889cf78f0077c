"""The group /stages of a campaign file: the stages of a refinement.

Each stage is a campaign of its own, with the same row numbers; its rows are
laid into the file of the main campaign, `/stages/<name>` being laid out as
the file itself is.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpiapp.store.ensembles import GROUP as ENSEMBLES
from mpiapp.store.ensembles import RECORDS
from mpiapp.store.files import explain
from mpiapp.store.hdf5 import open_serial
from mpiapp.store.layout import data_paths, lay_down_in
from mpiapp.store.reader import STAGES, Campaign, load, reading


@dataclass(frozen=True)
class StageFile:
    """A stage's result file, its number and its words on the command line."""

    name: str
    number: int
    text: str
    path: Path


def add_stages(path: Path, stages: Sequence[StageFile]) -> None:
    """Write the stages into a closed campaign file, not sealed yet.

    Raises:
        StoreError: the file can't be written.
        InputError: a stage's file is damaged.
    """
    try:
        with open_serial(path, 'r+') as file:
            for stage in stages:
                group = file.create_group(f'{STAGES}/{stage.name}')
                group.attrs['number'] = stage.number
                group.attrs['text'] = stage.text
                _copy(group, load(stage.path))
    except OSError as error:
        raise explain(error, path, 'write') from error


def _copy(group: Any, stage: Campaign) -> None:
    """Lay a campaign into a group: structure first, then all columns."""
    totals = {c.ragged: int(stage.offsets(c.name)[-1])
              for c in stage.schema.ragged}
    group.attrs['complete'] = stage.complete
    lay_down_in(group, stage.schema, stage.n_records, totals, stage.meta,
                stage.timeline)
    with reading(stage.path) as source:
        for name in data_paths(stage.schema):
            # an empty selection is no write at all
            if source[name].size:
                group[name.lstrip('/')][...] = source[name][...]
        if ENSEMBLES in source:
            source.copy(ENSEMBLES, group)
            _rescale(group)


def _rescale(group: Any) -> None:
    """Name the dimensions of copied tables: references do not travel."""
    for name, table in group[ENSEMBLES].items():
        scale = group['record'] if name == RECORDS else table['line']
        for key, dataset in table.items():
            for lost in ('DIMENSION_LIST', 'REFERENCE_LIST'):
                if lost in dataset.attrs:
                    del dataset.attrs[lost]
        for key, dataset in table.items():
            if key != 'line':
                dataset.dims[0].attach_scale(scale)
