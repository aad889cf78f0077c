"""What is to be written must be nobody's."""
from __future__ import annotations

from pathlib import Path

import pytest

from mpiapp.errors import InputError
from mpiapp.store.output import check_output, check_written


def test_what_is_read_is_never_replaced(tmp_path: Path) -> None:
    read = tmp_path / 'in.xyz'
    read.write_text('mine')
    (tmp_path / 'link.xyz').symlink_to(read)
    for name in ('in.xyz', 'link.xyz', '../' + tmp_path.name + '/in.xyz'):
        for may_exist in (False, True):
            with pytest.raises(InputError, match='would replace'):
                check_written([tmp_path / name], [read], may_exist)
    # words that are no files are passed over
    check_written([tmp_path / 'out.xyz'], [read, '', 'CCO' * 200], False)


def test_what_is_there_is_replaced_when_asked(tmp_path: Path) -> None:
    there, free = tmp_path / 'a.csv', tmp_path / 'b.csv'
    there.write_text('mine')
    with pytest.raises(InputError, match=r'a\.csv exist\(s\) already'):
        check_written([there, free], [], False)
    check_written([there, free], [], True)
    check_written([free], [], False)
    (tmp_path / 'c.csv').mkdir()
    with pytest.raises(InputError, match='is a folder'):
        check_written([tmp_path / 'c.csv'], [], True)


def test_a_name_that_the_file_system_refuses_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='File name too long'):
        check_output(tmp_path / ('a' * 300) / 'b' / 'x.h5')
