"""Make the times of decoded frames strictly increasing."""

from __future__ import annotations

import math

RESTART_FRAMES = 8
"""A clock that goes back by more than so many usual frame distances has been restarted: the file is
joined from several. Within one file frames were seen to be shuffled by up to four."""


class FrameClock:
    """Places frames in time, one after another, in display order.

    A known time that fits is kept as it is. A missing one continues at the usual rate; a repeated one is
    put just behind its predecessor, so that the true times after it stay true.

    Args:
        start_seconds: time of the first frame where it has none of its own.
        frame_seconds: usual distance of two frames.
    """

    def __init__(self, *, start_seconds: float, frame_seconds: float) -> None:
        self._last = start_seconds - frame_seconds
        self._started = False
        self._frame_seconds = frame_seconds
        self._smallest_step = min(0.001, frame_seconds / 2)
        self._offset = 0.0
        self.num_missing = 0
        self.num_repeated = 0
        self.num_restarts = 0

    def place(self, seconds: float) -> float:
        """Return the time of the next frame; `seconds` is what the file says, NaN for nothing."""
        placed = seconds + self._offset
        if math.isnan(seconds):
            self.num_missing += 1
            placed = self._last + self._frame_seconds
        elif self._started and placed < self._last - RESTART_FRAMES * self._frame_seconds:
            self.num_restarts += 1
            self._offset += self._last + self._frame_seconds - placed
            placed = self._last + self._frame_seconds
        elif self._started and placed <= self._last:
            self.num_repeated += 1
            placed = self._last + self._smallest_step
        self._last, self._started = placed, True
        return placed

    def describe_repairs(self) -> list[str]:
        """Return one line for each kind of repair that was needed."""
        counts = {
            "{} frames without a time: placed at the usual frame distance": self.num_missing,
            "{} frames repeated or went back behind the time before: placed just after it": self.num_repeated,
            "the file's clock restarted {} times: its times were joined": self.num_restarts,
        }
        return [line.format(count) for line, count in counts.items() if count]
