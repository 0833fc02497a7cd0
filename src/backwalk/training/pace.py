"""The progress of a run, by its steps or its time, and when it is over or due for a validation."""

from __future__ import annotations

import math

N_LOOKS = 20  # trained candidate weights in a run, each validated
_LARGEST_SHARE_OF_LOOKS = 0.05  # of the training time, with `max_time`


class Pace:
    """The limits of a run: `max_steps`, and with `max_time` the seconds that are left for training, half at least."""

    def __init__(self, max_steps: int, max_time: float | None, time_outside_training: float = 0.0) -> None:
        self._max_steps, self._max_time = max_steps, max_time
        self._own_time = math.inf if max_time is None else max(max_time - time_outside_training, 0.5 * max_time)
        self._seconds_of_looks = self._shortest_look = 0.0
        self.ended_after = 0.0  # the greatest `max_time` that has ended the run

    @property
    def _time_for_steps(self) -> float:
        """The seconds for all steps and validations except the last validation; infinite without `max_time`."""
        return self._own_time - self._shortest_look

    def progress(self, step: int, seconds: float) -> float:
        """Return the share of the steps or of the time that is done, whichever is larger."""
        by_steps = step / self._max_steps
        return max(by_steps, seconds / self._time_for_steps) if self._time_for_steps > 0.0 else 1.0

    def is_over(self, step: int, seconds: float) -> bool:
        """Whether all steps are taken, or only the time for the last validation is left."""
        # A run that `max_time` has ended stays ended when it is resumed, even where setting up was faster this time.
        ended = self._max_time is not None and self._max_time <= self.ended_after
        return step >= self._max_steps or ended or seconds >= self._time_for_steps

    def look_is_due(self, step: int, seconds: float, progress_before: float) -> bool:
        """Whether a validation is due after a step: `N_LOOKS` per run, but a small share of a limited time."""
        too_long = self._max_time is not None and self._seconds_of_looks > _LARGEST_SHARE_OF_LOOKS * seconds
        return not too_long and int(self.progress(step, seconds) * N_LOOKS) > int(progress_before * N_LOOKS)

    def stepped(self, seconds: float) -> None:
        """Note the seconds after a step."""
        if seconds >= self._time_for_steps:
            self.ended_after = max(self.ended_after, self._max_time or 0.0)

    def looked(self, took: float) -> None:
        """Note the seconds of a validation."""
        self._shortest_look = min(took, self._shortest_look or took)
        self._seconds_of_looks += took
