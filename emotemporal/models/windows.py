"""A temporal head over sequences of any length: windows that overlap, run as soon as they are complete.

What a head sees of a frame is large, what it says is small: however long a video is, only the frames of the
windows that are still to be run are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from emotemporal.faces.geometry import fill_missing, geometry_stream
from emotemporal.structures import PaddedClips

if TYPE_CHECKING:
    from emotemporal.models.classifier import FrameEvidence, HeadRunner

# About the longest training clip.
WINDOW_SECONDS = 8.0
_STEP_SECONDS = WINDOW_SECONDS / 2
_WINDOWS_AT_ONCE = 16
_EPSILON_SECONDS = 1e-6


class WindowedHead:
    """One person's way through a temporal head.

    Windows begin every four seconds; the last one ends with the last frame. Their frames are blended, each
    weighing less towards the ends of its window, where it has less context there than in the next.

    A head that sees geometry waits for all frames: landmarks that are missing are filled in from both sides.

    Args:
        head: runs over padded windows.
        num_classes: C.
    Raises:
        UsageError: when frames are added, a stream that the head was trained on is missing.
    """

    def __init__(self, head: HeadRunner, num_classes: int) -> None:
        self._head = head
        self._num_classes = num_classes
        self._seconds = np.empty(0)
        self._kept: dict[str, np.ndarray] = {}
        """What the head sees of each frame from `_first_kept` on."""
        self._first_kept = 0
        self._coming: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
        self._first_seconds = self._last_seconds = 0.0
        self._num_run = 0
        self._windows: list[slice] = []
        self._of_frames: list[np.ndarray] = []
        self._of_clips: list[np.ndarray] = []

    def add(
        self,
        evidence: FrameEvidence | None,
        pts_seconds: np.ndarray,
        landmarks68: np.ndarray | None = None,
    ) -> None:
        """Take the next frames.

        Args:
            evidence: of K frames, K at least 1; None for a head of geometry alone.
            pts_seconds: float64 (K,), strictly increasing and later than all before.
            landmarks68: (K, 68, 2) in pixels of the video, for a head that sees geometry, else ignored; not
                finite where missing.
        """
        self._head.spec.require_streams(appearance=evidence is not None, geometry=landmarks68 is not None)
        values = {}
        if evidence is not None:
            values = {"embeddings": evidence.embeddings, "log_probs": evidence.log_probs}
        if landmarks68 is not None and self._head.spec.sees_geometry:
            values["points"] = landmarks68
        if not self._coming and not len(self._seconds):
            self._first_seconds = float(pts_seconds[0])
        self._coming.append((pts_seconds, values))
        self._last_seconds = float(pts_seconds[-1])
        if not self._head.spec.sees_geometry and self._num_complete() - self._num_run >= _WINDOWS_AT_ONCE:
            self._gather()
            self._run(self._num_complete())

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities of all L frames, float32 (L, C), and of the clip, float32 (C,).

        Raises:
            DataError: the head sees geometry, and no frame has landmarks.
        """
        self._gather()
        if "points" in self._kept:
            # Before windows are cut, one of which may have none.
            self._kept["points"] = fill_missing(self._kept["points"], self._seconds)
        self._run(self._num_complete())
        start = max(self._first_seconds, self._last_seconds - WINDOW_SECONDS)
        self._run_windows([self._window(start)])
        return self._blend()

    def _num_complete(self) -> int:
        """Return how many windows have been seen to their end and are not the last."""
        beyond = self._last_seconds - self._first_seconds - WINDOW_SECONDS - _EPSILON_SECONDS
        return max(0, int(np.ceil(beyond / _STEP_SECONDS)))

    def _gather(self) -> None:
        """Append what has come to what is kept."""
        if not self._coming:
            return
        seconds, values = zip(*self._coming, strict=True)
        self._coming = []
        self._seconds = np.concatenate([self._seconds, *seconds])
        kept = [self._kept] if self._kept else []
        self._kept = {name: np.concatenate([part[name] for part in (*kept, *values)]) for name in values[0]}

    def _run(self, num_complete: int) -> None:
        """Run the complete windows, and let go of frames that no later one sees."""
        starts = [self._first_seconds + k * _STEP_SECONDS for k in range(self._num_run, num_complete)]
        # No frame may lie in a window: a track has gaps.
        windows = [window for window in map(self._window, starts) if window.stop > window.start]
        for first in range(0, len(windows), _WINDOWS_AT_ONCE):
            self._run_windows(windows[first : first + _WINDOWS_AT_ONCE])
        self._num_run = num_complete
        # The last window reaches back as far as the next one, whose end has not been seen.
        next_start = self._first_seconds + num_complete * _STEP_SECONDS
        first_needed = self._window(min(next_start, self._last_seconds - WINDOW_SECONDS)).start
        if first_needed > self._first_kept:
            drop = first_needed - self._first_kept
            self._kept = {name: value[drop:].copy() for name, value in self._kept.items()}
            self._first_kept = first_needed

    def _window(self, start_seconds: float) -> slice:
        """Return the frames of the window that begins at a time."""
        ends = (start_seconds - _EPSILON_SECONDS, start_seconds + WINDOW_SECONDS + _EPSILON_SECONDS)
        return slice(*(int(place) for place in np.searchsorted(self._seconds, ends)))

    def _run_windows(self, windows: list[slice]) -> None:
        if not windows:
            return
        parts = {
            name: [value[w.start - self._first_kept : w.stop - self._first_kept] for w in windows]
            for name, value in self._kept.items()
        }
        seconds = [self._seconds[window] for window in windows]
        geometry = None
        if "points" in parts:
            # Of each window by itself, as of a training clip.
            geometry = [geometry_stream(*both) for both in zip(parts["points"], seconds, strict=True)]
        padded = PaddedClips.pad(parts.get("embeddings"), parts.get("log_probs"), seconds, geometry=geometry)
        of_frames, of_clips = self._head.run(padded)
        for row, window in enumerate(windows):
            self._windows.append(window)
            self._of_frames.append(of_frames[row, : window.stop - window.start].astype(np.float32))
            self._of_clips.append(of_clips[row])

    def _blend(self) -> tuple[np.ndarray, np.ndarray]:
        weights = [_window_weights(self._seconds[window]) for window in self._windows]
        total = np.zeros(len(self._seconds))
        for window, weight in zip(self._windows, weights, strict=True):
            total[window] += weight
        frame_probs = np.zeros((len(self._seconds), self._num_classes))
        clip_probs = np.zeros(self._num_classes)
        found = zip(self._windows, weights, self._of_frames, self._of_clips, strict=True)
        for window, weight, of_frames, of_clip in found:
            share = weight / total[window]
            frame_probs[window] += share[:, None] * of_frames
            # Every frame counts once in the clip, in whatever windows it was seen.
            clip_probs += share.sum() * of_clip
        return frame_probs.astype(np.float32), (clip_probs / clip_probs.sum()).astype(np.float32)


def _window_weights(seconds: np.ndarray) -> np.ndarray:
    return np.minimum(seconds - seconds[0], seconds[-1] - seconds) + 1e-3
