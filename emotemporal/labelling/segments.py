"""Frame labels as segments in time, and how they compare with the truth.

A segment runs from the time of its first frame to that of the next segment's first; the last one ends when
its last frame does. All times are in seconds, so frame rates do not matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emotemporal.labelling.smoothing import frame_seconds

# Two sums of times that differ by less are equal.
_SAME_SECONDS = 1e-6


@dataclass(frozen=True)
class Segment:
    """A stretch of time with one label."""

    label: int
    onset_seconds: float
    offset_seconds: float

    @property
    def duration_seconds(self) -> float:
        return self.offset_seconds - self.onset_seconds


@dataclass(frozen=True, eq=False)
class ChangeDelays:
    """How labels answered the changes of the truth."""

    num_changes: int
    """Changes of the truth."""
    delays_seconds: np.ndarray
    """float64 (K,), of the K changes that were detected; negative where the labels changed first."""
    correct: np.ndarray
    """bool (K,), whether the labels before and after were mostly the true ones."""

    @property
    def detected_share(self) -> float:
        """Share of the changes that were detected; NaN where there are none."""
        return len(self.delays_seconds) / self.num_changes if self.num_changes else float("nan")

    @property
    def median_seconds(self) -> float:
        """Median size of the delays, early counted like late; NaN where nothing was detected."""
        return float(np.median(np.abs(self.delays_seconds))) if len(self.delays_seconds) else float("nan")


def to_segments(
    labels: np.ndarray, pts_seconds: np.ndarray, *, end_seconds: float | None = None
) -> list[Segment]:
    """Join neighbouring frames of one label.

    Args:
        labels: int (L,), L at least 1.
        pts_seconds: (L,), strictly increasing.
        end_seconds: when the last frame ends; None for what its neighbour suggests.
    Returns: segments in order, without gaps.
    """
    if len(labels) != len(pts_seconds) or len(labels) == 0:
        raise ValueError(
            f"expected as many labels as times and at least one, found {len(labels)}, {len(pts_seconds)}"
        )
    first = np.concatenate([[0], np.flatnonzero(np.diff(labels)) + 1])
    end = pts_seconds[-1] + frame_seconds(pts_seconds)[-1] if end_seconds is None else end_seconds
    times = [*pts_seconds[first], end]
    return [
        Segment(int(labels[row]), float(onset), float(offset))
        for row, onset, offset in zip(first, times[:-1], times[1:], strict=True)
    ]


def flips_per_second(labels: np.ndarray, pts_seconds: np.ndarray) -> float:
    """Return how often the label changes, per second between the first and the last frame; 0 for one frame.

    Args:
        labels: int (L,).
        pts_seconds: (L,), strictly increasing.
    """
    if len(labels) < 2:
        return 0.0
    return float(np.count_nonzero(np.diff(labels)) / (pts_seconds[-1] - pts_seconds[0]))


def segment_iou(a: Segment, b: Segment) -> float:
    """Return the time that two segments share over the time that either takes, in [0, 1]."""
    shared = min(a.offset_seconds, b.offset_seconds) - max(a.onset_seconds, b.onset_seconds)
    if shared <= 0:
        return 0.0
    return shared / (a.duration_seconds + b.duration_seconds - shared)


def match_segments(truth: Sequence[Segment], pred: Sequence[Segment], *, min_iou: float = 0.5) -> int:
    """Count predicted segments that find a true one of their label; each true one is found once at most.

    As in action segmentation (Lea et al. 2017, "Temporal Convolutional Networks for Action Segmentation and
    Detection"), but every pair goes to the largest overlap first, so that the order does not matter.

    Args:
        truth: the true segments.
        pred: the predicted ones.
        min_iou: smallest intersection over union of a hit.
    """
    pairs = [(segment_iou(t, p), i, j) for i, t in enumerate(truth) for j, p in enumerate(pred)]
    pairs = [pair for pair in pairs if pair[0] >= min_iou and truth[pair[1]].label == pred[pair[2]].label]
    found: set[int] = set()
    used: set[int] = set()
    for _, i, j in sorted(pairs, reverse=True):
        if i not in found and j not in used:
            found.add(i)
            used.add(j)
    return len(found)


def segment_f1(truth: Sequence[Segment], pred: Sequence[Segment], *, min_iou: float = 0.5) -> float:
    """Return 2 hits / (true + predicted segments), in [0, 1]; see `match_segments`."""
    return 2 * match_segments(truth, pred, min_iou=min_iou) / (len(truth) + len(pred))


def change_delays(truth: np.ndarray, labels: np.ndarray, pts_seconds: np.ndarray) -> ChangeDelays:
    """Measure whether and when labels answer each change of the truth.

    The time until a label is right would measure errors, not delay, where labels are often wrong; the nearest
    change of the labels would flatter labels that flicker. So each change is looked at over the true segments
    on both sides of it:

    - it is detected if the label that takes most of the time before it is another than the one that takes
      most of the time after it, right or wrong (`correct` tells);
    - its delay is that of the one switch from the first of these labels to the second that disagrees for the
      shortest time with the labels; of equally good ones the latest.

    Labels that have nothing to do with the truth are detected now and then too, with delays of some tenths of
    a segment: figures need such labels beside them for comparison.

    Args:
        truth: int (L,).
        labels: int (L,).
        pts_seconds: (L,), strictly increasing.
    """
    weights = frame_seconds(pts_seconds)
    edges = [0, *(np.flatnonzero(np.diff(truth)) + 1), len(truth)]
    delays, correct = [], []
    for first, change, end in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
        before = _longest(labels[first:change], weights[first:change])
        after = _longest(labels[change:end], weights[change:end])
        if before == after:
            continue
        window, weight = labels[first:end], weights[first:end]
        # Time in disagreement with a switch just before each frame.
        wrong_before = np.concatenate([[0.0], np.cumsum((window != before) * weight)[:-1]])
        wrong_after = np.cumsum(((window != after) * weight)[::-1])[::-1]
        wrong = wrong_before + wrong_after
        switch = first + int(np.flatnonzero(wrong <= wrong.min() + _SAME_SECONDS)[-1])
        delays.append(pts_seconds[switch] - pts_seconds[change])
        correct.append(before == truth[change - 1] and after == truth[change])
    return ChangeDelays(len(edges) - 2, np.array(delays, dtype=np.float64), np.array(correct, dtype=bool))


def _longest(labels: np.ndarray, weights: np.ndarray) -> int:
    """Return the label that takes most of the time, the lowest of equal ones."""
    return int(np.bincount(labels, weights=weights).argmax())
