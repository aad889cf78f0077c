"""The steps of `internal` for many molecules at once, as array programs.

One rank holds as many molecules as its device has room for, as padded
arrays; nothing in a step asks the host.  `shapes` says how molecules become
padded arrays, `coordinates` and `step` are the optimiser, `flight` is what is
in the air, `exchange` moves molecules in and out of it, `budget` finds how
many there may be, `program` runs it all.
"""
