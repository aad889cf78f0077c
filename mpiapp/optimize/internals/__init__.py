"""Internal coordinates of molecules and a model of their stiffness.

`topology` chooses the `coordinates`, `primitives` computes them, `model`
estimates a force constant for each, `metric` solves with them and `state`
is what an optimiser remembers.
"""
