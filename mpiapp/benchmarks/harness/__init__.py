"""The harness of measurements: cells, their gates, clocks and ratios.

Its rules R1 to R9 are stated in docs/bench.md; each is held by code here.
"""
