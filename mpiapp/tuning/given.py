"""Settings that are given: trials without a sampler or a storage."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mpiapp.tuning.outcome import Outcome
from mpiapp.tuning.trial import Trial, Verdict


@dataclass
class Given:
    """An `Advisor` with one trial for each of the given settings."""

    settings: Sequence[Mapping[str, Any]]
    n_samples: int
    ends: dict[int, tuple[Verdict, list[Outcome]]] = field(
        default_factory=dict)

    def ask(self, ordinal: int) -> Trial:
        """Return the trial of that place."""
        return Trial(ordinal, 0, self.settings[ordinal], 'given',
                     self.n_samples)

    def report(self, trial: Trial, rung: int, value: float) -> None:
        """Nothing is kept."""

    def save(self, trial: Trial, at_once: bool = False) -> None:
        """Nothing is kept."""

    def tell(self, trial: Trial, verdict: Verdict) -> None:
        """Keep the results of the samples."""
        self.ends[trial.ordinal] = (verdict, trial.first(verdict.n_judged))
