"""Measurements whose results stand in docs/benchmarks.md."""
