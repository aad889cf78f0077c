"""Step 3, saddle points: samples, searches, what is tuned about them.

What `tssearch` and `hpo` share, all of it stable:

- `saddle.base`: `Sample`, `SearchSettings`, `SearchResult`, `Surface`;
- `saddle.parameters`: `PARAMETERS[method]` (range, scale, kind, baseline),
  `baseline`, `check(settings)`, `check_bounds`, `read_params(file)`;
- `workers.saddle_samples`: `load_samples(paths, SampleChoice(...))` gives a
  `Loaded` with `.samples` (one for each reaction and draw, in order) and
  `.inputs` (path, sha256, n_records for the settings of a campaign);
- `workers.saddle_search`: `SurfaceChoice` (what computes, picklable) and
  `search(sample, surface, settings, stopping) -> SearchResult`;
- `workers.saddle_process`: `Searcher(choice)`, one a rank, whose
  `search(sample, settings, stopping)` does the same in a helper process
  that is killed at `settings.timeout`; it raises `Stopped` and nothing else.
"""
