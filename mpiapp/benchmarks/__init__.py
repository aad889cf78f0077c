"""Benchmarks: commands that measure, `python -m mpiapp.benchmarks.NAME`."""
