"""Where the files of the project's data folder are."""
from __future__ import annotations

import sys
from pathlib import Path

SHARE = Path('share', 'mpiapp', 'data')


def folders(package: Path) -> tuple[Path, ...]:
    """Return where the data folder may be, for a package in a folder.

    That of a checkout; then that of an installed wheel: a wheel puts data
    below the folder that the folder of packages lies in, be it a virtual
    environment, `~/.local`, `/usr/local` or one of `pip install --target`.
    """
    above = list(package.parents)
    return (above[0] / 'data', *(folder / SHARE for folder in above[:4]),
            Path(sys.prefix) / SHARE)


def data_file(name: str) -> Path:
    """Return the path of a file of the data folder, there or not."""
    paths = [folder / name
             for folder in folders(Path(__file__).resolve().parent)]
    return next((p for p in paths if p.exists()), paths[0])
