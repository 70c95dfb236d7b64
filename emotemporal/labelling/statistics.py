"""Emotion segments of every person, and what they come to: for one, and between two.

`uncertain`, where labels can be, is a label like any other, but for what two people have in common. All is
told in seconds of the video's own clock. A frame lasts until the next one of the video begins, the
last one as long as the file says. An emotion's intensity is its smoothed probability: how sure the labels are
of it, not how strongly a face moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from emotemporal.labelling.segments import to_segments
from emotemporal.labelling.smoothing import frame_seconds
from emotemporal.structures import EmotionTimeline, Track, VideoAnalysis

if TYPE_CHECKING:
    import pandas as pd

MAX_LAG_SECONDS = 2.0
"""How far one person's expressions are looked for before and after another's, where nothing else is said.
Answers in facial expression follow within about a second."""
# Finer steps than a film's frames cost time and tell nothing.
_LEAST_STEP_SECONDS = 0.04
# Correlations that differ by less are equal.
_SAME_CORRELATION = 1e-9


@dataclass(frozen=True)
class Lag:
    """By how much one person's expressions follow another's."""

    seconds: float
    """Positive where the second person follows the first; NaN where no lag stands out."""
    correlation: float
    """At that lag, or the largest where none stands out, in [-1, 1]; NaN where there is none."""


def frame_ends(analysis: VideoAnalysis) -> np.ndarray:
    """Return when each decoded frame gives way to the next, float64 (N,); that of a picture at once."""
    times, info = analysis.pts_seconds, analysis.info
    if info.is_still:
        return times.copy()
    end = info.start_seconds + info.duration_seconds
    # Of a file that breaks off, what it says of its end is not the end of the last frame that decodes.
    if info.num_frames != len(times) or end <= times[-1]:
        end = times[-1] + frame_seconds(times)[-1]
    return np.append(times[1:], end)


def segments_table(analysis: VideoAnalysis) -> pd.DataFrame:
    """Return one row for each stretch of time in which a person's smoothed label stays the same.

    Columns: track_id, emotion (or `uncertain`), onset_seconds, offset_seconds, duration_seconds,
    mean_intensity (over time), peak_intensity, peak_seconds (its time), num_frames, num_frames_seen (those on
    which the face was found and not worked out from its neighbours). Ordered by person, then by time; a
    person's segments leave no gaps.
    """
    import pandas as pd

    rows = []
    for track, timeline, ends in _people(analysis):
        labels, confidence = analysis.frame_labels(timeline), timeline.smoothed_probs.max(1)
        weights = ends - track.pts_seconds
        first = 0
        for segment in to_segments(labels, track.pts_seconds, end_seconds=float(ends[-1])):
            num = int(np.searchsorted(track.pts_seconds[first:], segment.offset_seconds))
            # A picture's one frame has no duration: its end is no later than its time.
            frames = slice(first, first + max(num, 1))
            first = frames.stop
            intensity = confidence[frames].astype(np.float64)
            peak = int(intensity.argmax())
            rows.append(
                {
                    "track_id": track.track_id,
                    "emotion": analysis.told_labels[segment.label],
                    "onset_seconds": segment.onset_seconds,
                    "offset_seconds": segment.offset_seconds,
                    "duration_seconds": segment.duration_seconds,
                    "mean_intensity": _mean(intensity, weights[frames]),
                    "peak_intensity": float(intensity[peak]),
                    "peak_seconds": float(track.pts_seconds[frames][peak]),
                    "num_frames": len(intensity),
                    "num_frames_seen": int(track.seen[frames].sum()),
                }
            )
    types = {"track_id": "int64", "emotion": "str", "num_frames": "int64", "num_frames_seen": "int64"}
    names = ["track_id", "emotion", "onset_seconds", "offset_seconds", "duration_seconds"]
    names += ["mean_intensity", "peak_intensity", "peak_seconds", "num_frames", "num_frames_seen"]
    return pd.DataFrame(rows, columns=names).astype({n: types.get(n, "float64") for n in names})


def shares_table(analysis: VideoAnalysis) -> pd.DataFrame:
    """Return one row for each person and emotion, also those never shown.

    Columns: track_id, emotion, num_segments, seconds, share (of the time from the person's first frame to
    their last; those of a person sum to 1), mean_intensity (NaN where never shown).
    """
    import pandas as pd

    segments = segments_table(analysis)
    rows = []
    for track in analysis.tracks:
        own = segments[segments["track_id"] == track.track_id]
        total = own["duration_seconds"].sum()
        for emotion in analysis.told_labels:
            shown = own[own["emotion"] == emotion]
            seconds = shown["duration_seconds"].to_numpy()
            # The share of a picture is that of its one frame.
            share = seconds.sum() / total if total else len(shown) / len(own)
            mean = _mean(shown["mean_intensity"].to_numpy(), seconds) if len(shown) else float("nan")
            rows.append((track.track_id, emotion, len(shown), float(seconds.sum()), float(share), mean))
    names = ["track_id", "emotion", "num_segments", "seconds", "share", "mean_intensity"]
    return pd.DataFrame(rows, columns=names)


def transitions_table(analysis: VideoAnalysis) -> pd.DataFrame:
    """Return how often each emotion gave way to each other one.

    One row for each person and emotion that was left, as columns track_id and `from`, then one column of
    counts for each emotion that followed.
    """
    import pandas as pd

    tables, names = [], list(analysis.told_labels)
    for track, timeline, _ in _people(analysis):
        labels = analysis.frame_labels(timeline)
        changes = np.flatnonzero(np.diff(labels))
        counts = np.zeros((len(names), len(names)), np.int64)
        np.add.at(counts, (labels[changes], labels[changes + 1]), 1)
        table = pd.DataFrame(counts, columns=names)
        table.insert(0, "from", names)
        table.insert(0, "track_id", track.track_id)
        tables.append(table)
    empty = pd.DataFrame(columns=["track_id", "from", *names])
    return pd.concat(tables, ignore_index=True) if tables else empty


def pairs_table(analysis: VideoAnalysis, *, max_lag_seconds: float = MAX_LAG_SECONDS) -> pd.DataFrame:
    """Return one row for every two people who are in view at the same time.

    Columns: first_track_id, second_track_id, common_seconds (both in view), same_seconds (both show the same
    emotion), same_share (of common_seconds, without those in which either is uncertain), expected_share (what
    same_share would be if neither heeded the other: two people who are mostly neutral agree a lot),
    lag_seconds and lag_correlation of `find_lag`, then `both_<emotion>`, seconds in which both show it.

    Args:
        max_lag_seconds: see `find_lag`.
    """
    import pandas as pd

    num_classes = len(analysis.labels)
    rows = []
    for (a, a_line, a_ends), (b, b_line, _) in combinations(list(_people(analysis)), 2):
        start = max(a.frame_index[0], b.frame_index[0])
        stop = min(a.frame_index[-1], b.frame_index[-1]) + 1
        if start >= stop:
            continue
        of_a, of_b = (slice(start - t.frame_index[0], stop - t.frame_index[0]) for t in (a, b))
        a_probs, b_probs = a_line.smoothed_probs[of_a], b_line.smoothed_probs[of_b]
        a_labels, b_labels = analysis.frame_labels(a_line)[of_a], analysis.frame_labels(b_line)[of_b]
        times = a.pts_seconds[of_a]
        weights = a_ends[of_a] - times
        common = float(weights.sum())
        # Nobody knows whether two who are both uncertain show the same.
        certain = (a_labels < num_classes) & (b_labels < num_classes)
        a_labels, b_labels, weights = a_labels[certain], b_labels[certain], weights[certain]
        total = float(weights.sum())
        same = a_labels == b_labels
        both = np.bincount(a_labels[same], weights=weights[same], minlength=num_classes)
        a_seconds, b_seconds = (
            np.bincount(labels, weights=weights, minlength=num_classes) for labels in (a_labels, b_labels)
        )
        lag = find_lag(a_probs, b_probs, times, max_lag_seconds=max_lag_seconds)
        known = total > 0
        rows.append(
            {
                "first_track_id": a.track_id,
                "second_track_id": b.track_id,
                "common_seconds": common,
                "same_seconds": float(both.sum()),
                "same_share": float(both.sum()) / total if known else _share(same),
                "expected_share": float(a_seconds @ b_seconds) / total**2 if known else float("nan"),
                "lag_seconds": lag.seconds,
                "lag_correlation": lag.correlation,
                **{f"both_{name}": float(s) for name, s in zip(analysis.labels, both, strict=True)},
            }
        )
    names = ["first_track_id", "second_track_id", "common_seconds", "same_seconds", "same_share"]
    names += ["expected_share", "lag_seconds", "lag_correlation", *(f"both_{x}" for x in analysis.labels)]
    return pd.DataFrame(rows, columns=names)


def find_lag(
    first: np.ndarray, second: np.ndarray, pts_seconds: np.ndarray, *, max_lag_seconds: float
) -> Lag:
    """Find the shift in time at which two people's probabilities correlate most.

    At every shift, the correlation is Pearson's over all emotions together, each emotion about its own mean
    over the time that the shifted two share. Over a few seconds almost any two people correlate at some
    shift: a lag is evidence only where it comes back.

    Args:
        first: (L, C), rows sum to 1.
        second: (L, C), of the same frames.
        pts_seconds: (L,), strictly increasing.
        max_lag_seconds: largest shift either way. Less than twice that time in common tells nothing, nor
            does a correlation that is still rising there, or is nowhere above 0.
    """
    steps = np.diff(pts_seconds)
    step = max(float(np.median(steps)), _LEAST_STEP_SECONDS) if len(steps) else _LEAST_STEP_SECONDS
    furthest = int(max_lag_seconds / step + 1e-6)
    span = float(pts_seconds[-1] - pts_seconds[0])
    if furthest < 1 or span < 2 * max_lag_seconds:
        return Lag(float("nan"), float("nan"))
    # Frames need not be evenly spaced, shifts are.
    times = pts_seconds[0] + step * np.arange(int(span / step + 1e-6) + 1)
    a, b = (np.stack([np.interp(times, pts_seconds, x) for x in probs.T], 1) for probs in (first, second))
    lags = np.arange(-furthest, furthest + 1)
    found = np.array([_shifted_correlation(a, b, int(lag)) for lag in lags])
    if np.isnan(found).all():
        return Lag(float("nan"), float("nan"))
    best = np.nanmax(found)
    # Of equally good ones the shortest.
    lag = min(lags[found >= best - _SAME_CORRELATION], key=abs)
    stands_out = best > 0 and abs(lag) < furthest
    return Lag(float(lag * step) if stands_out else float("nan"), float(best))


def _shifted_correlation(a: np.ndarray, b: np.ndarray, lag: int) -> float:
    """Correlate (T, C) with (T, C) from `lag` steps later on; NaN where either does not change."""
    a, b = (a[: len(a) - lag], b[lag:]) if lag >= 0 else (a[-lag:], b[:lag])
    a, b = a - a.mean(0), b - b.mean(0)
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    # Of probabilities that are all the same, rounding leaves a little.
    return float((a * b).sum() / scale) if scale > 1e-9 else float("nan")


def _people(analysis: VideoAnalysis) -> list[tuple[Track, EmotionTimeline, np.ndarray]]:
    """Return everyone with their timeline and the ends (L,) of their frames."""
    ends = frame_ends(analysis)
    return [
        (track, timeline, ends[np.searchsorted(analysis.frame_index, track.frame_index)])
        for track, timeline in zip(analysis.tracks, analysis.timelines, strict=True)
    ]


def _share(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _mean(values: np.ndarray, seconds: np.ndarray) -> float:
    """Average over time; over the frames of a picture, which have no duration."""
    return float(np.average(values, weights=seconds)) if seconds.sum() > 0 else float(values.mean())
