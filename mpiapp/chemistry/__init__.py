"""Step 5: what is known of a molecule besides its energy.

Checks before the work, the charge policy, topology and stereochemistry,
the molecule table, geometry.
"""
