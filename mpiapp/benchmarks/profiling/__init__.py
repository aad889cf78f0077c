"""Where the time of an evaluation goes: the parts of `profiler`."""
