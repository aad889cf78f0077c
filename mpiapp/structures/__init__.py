"""Step 1: structure files to records, indexed cheaply, loaded exactly.

A format is one file of this folder with `SUFFIXES`, `scan` and `parse`.
Nothing here knows MPI.
"""
from mpiapp.structures.collection import Collection
from mpiapp.structures.index import FileIndex, index_file, load, raw_record
from mpiapp.structures.sdf import write_sdf_record

__all__ = [
    'Collection',
    'FileIndex',
    'index_file',
    'load',
    'raw_record',
    'write_sdf_record',
]
