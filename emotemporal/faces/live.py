"""Follow faces in front of a camera: what is told of a frame comes from it and those before it alone.

As in a file, the full detector runs on key frames and its last stage alone between them. Here nothing waits:
a face that is new on a key frame begins there, and is told of once it has been seen a few times.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from emotemporal.faces.detector import FaceDetector
from emotemporal.faces.following import STILL_SECONDS, FaceFollower
from emotemporal.faces.shots import ShotCutDetector
from emotemporal.faces.trail import Trail
from emotemporal.structures import Detections


class FacesNow(NamedTuple):
    """The faces of one frame with their ids, by id."""

    track_id: np.ndarray
    """int64 (M,)."""
    found: Detections


class _Picture(NamedTuple):
    image: np.ndarray
    frame_index: int
    pts_seconds: float


class LiveTracker(FaceFollower):
    """Turn frames into faces with steady ids, one frame at a time; frames may be missing between two.

    Memory does not grow with time.

    Args:
        detector: finds and refines faces.
        key_seconds: time between two runs of the full detector; the first frame of a shot is always a key
            frame.
        search_seconds: least time between two such runs when a face was lost.
        still_seconds, max_gap_seconds, min_score, min_refined_score, max_unconfirmed, shots: as of
            `FaceFollower`.
        min_sightings: frames on which a face must have been seen before it is told of.
    """

    def __init__(
        self,
        detector: FaceDetector,
        *,
        key_seconds: float = 0.48,
        still_seconds: float = STILL_SECONDS,
        search_seconds: float = 0.16,
        max_gap_seconds: float = 0.5,
        min_score: float = 0.9,
        min_refined_score: float = 0.6,
        max_unconfirmed: int = 2,
        min_sightings: int = 3,
        shots: ShotCutDetector | None = None,
    ) -> None:
        if key_seconds < 0 or search_seconds < 0:
            raise ValueError(
                f"key_seconds and search_seconds must not be negative, found {key_seconds}, {search_seconds}"
            )
        super().__init__(
            detector,
            still_seconds=still_seconds,
            max_gap_seconds=max_gap_seconds,
            min_score=min_score,
            min_refined_score=min_refined_score,
            max_unconfirmed=max_unconfirmed,
            shots=shots,
        )
        self._key_seconds = key_seconds
        self._search_seconds = search_seconds
        self._min_sightings = min_sightings
        self._num_frames = 0
        self._num_people = 0
        self._last_seconds = -np.inf
        self._last_key_seconds = -np.inf

    def update(self, image: np.ndarray, pts_seconds: float) -> FacesNow:
        """Take the next frame.

        Args:
            image: uint8 (H, W, 3), RGB.
            pts_seconds: its time, greater than that of the frame before.
        """
        if not pts_seconds > self._last_seconds:
            raise ValueError(f"times must increase, found {pts_seconds} after {self._last_seconds}")
        frame = _Picture(image, self._num_frames, pts_seconds)
        self._num_frames += 1
        self._last_seconds = pts_seconds
        if self._shots.is_cut(image):
            self._leave_shot()
            self._last_key_seconds = -np.inf
        self._follow(frame)
        if self._is_key(frame):
            self._last_key_seconds = pts_seconds
            if self._is_news(frame):
                self._detect(frame)
            self._let_go(self._gone(frame))
        return self._tell(frame)

    def _detect(self, frame: _Picture) -> None:
        """Run the full detector; follow the faces that are new."""
        found = self._detector.detect_faces(frame.image)
        self._join(frame, self._begin(frame, found[self._confirm(frame, found)], shot=0))
        self._remember(frame, found)

    def _is_key(self, frame: _Picture) -> bool:
        # Times of cameras jitter: a key frame comes rather a little early than a whole frame late.
        since = frame.pts_seconds - self._last_key_seconds + 1e-3
        if since >= self._key_seconds:
            return True
        lost = any(t.last.frame_index < frame.frame_index and not t.is_searched for t in self._active)
        return lost and since >= self._search_seconds

    def _tell(self, frame: _Picture) -> FacesNow:
        told: list[Trail] = []
        for trail in self._active:
            if trail.last.frame_index == frame.frame_index:
                # A face that left is lost anew, however often it was searched for before.
                trail.is_searched = False
                if trail.track_id or len(trail.sightings) >= self._min_sightings:
                    told.append(trail)
            trail.settle(keep=False)
        # Ids go by the order of being told of; what was only a mistake uses none up.
        for trail in told:
            if not trail.track_id:
                self._num_people += 1
                trail.track_id = self._num_people
        told.sort(key=lambda trail: trail.track_id)
        return FacesNow(
            np.array([trail.track_id for trail in told], np.int64),
            Detections(
                np.array([trail.last.box for trail in told], np.float32).reshape(-1, 4),
                np.array([trail.last.score for trail in told], np.float32),
                np.array([trail.last.landmarks for trail in told], np.float32).reshape(-1, 5, 2),
            ),
        )
