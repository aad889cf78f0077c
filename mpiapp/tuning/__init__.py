"""Tuning parameters over samples: the logic of a study, without MPI.

- `space`: what is varied, and parameters as numbers;
- `outcome`: what one sample gives, packed for messages;
- `objective`: scores of a trial, single samples and summaries;
- `pruning`: giving trials up early, in the order of the samples;
- `trial`, `director`: which samples are worked on when, and what of their
  results counts;
- `study`, `sampling`, `storage`: Optuna behind the two calls ask and tell;
- `intervals`: how sure a difference of two settings is.
"""
