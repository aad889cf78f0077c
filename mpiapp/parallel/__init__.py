"""Everything that knows MPI: launch, placement, queue, agreement, stop."""
