"""Where the files of the project's data folder are."""
from __future__ import annotations

import sys
from pathlib import Path

#: the data folder of a checkout, and that of an installed wheel
FOLDERS = (
    Path(__file__).resolve().parent.parent / 'data',
    Path(sys.prefix) / 'share' / 'mpiapp' / 'data',
)


def data_file(name: str) -> Path:
    """Return the path of a file of the data folder, there or not."""
    paths = [folder / name for folder in FOLDERS]
    return next((p for p in paths if p.exists()), paths[0])
