"""One face's way through a video while it is being followed."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from emotemporal.faces.association import box_sizes
from emotemporal.structures import Track, TrackStatus

_VELOCITY_SECONDS = 0.2
"""Time that the velocity is measured over: shorter is dominated by the boxes' own jitter."""
_COAST_SECONDS = 0.3
"""A face out of sight is expected to lose its velocity with this time constant."""
_LOOK_PX = 8
_LOOK_RATE = 0.25


_RECENT = 64
"""Sightings that are kept as they came: more than `_VELOCITY_SECONDS` even at 240 frames a second."""
_ROW = np.dtype(
    [("frame_index", "i8"), ("box", "f4", 4), ("score", "f4"), ("landmarks", "f4", (5, 2)), ("status", "u1")]
)


class Sighting(NamedTuple):
    """A face on one frame."""

    frame_index: int
    pts_seconds: float
    box: np.ndarray
    """float32 (4,)."""
    score: float
    landmarks: np.ndarray
    """float32 (5, 2)."""
    status: TrackStatus


class Trail:
    """The sightings of one face in order of time, and what is expected of the next.

    Args:
        shot: number of the shot that the face belongs to.
        sightings: at least one, in order of time.
    """

    def __init__(self, shot: int, sightings: list[Sighting]) -> None:
        self.track_id = 0
        self.shot = shot
        self.sightings = sightings
        """Those not handed out yet and some before them; `rows` has all."""
        self._settled: list[np.ndarray] = []
        self.num_emitted = 0
        self.num_unconfirmed = 0
        """Key frames in a row on which only the refinement, not the full detector, saw the face."""
        self.is_searched = False
        """True once the full detector has looked for the face since it was lost."""
        self._look: np.ndarray | None = None

    @property
    def last(self) -> Sighting:
        return self.sightings[-1]

    @property
    def look(self) -> np.ndarray:
        """What the face usually looks like, as `face_look` tells it."""
        assert self._look is not None  # it is remembered from the first sighting until the face is lost
        return self._look

    @property
    def pending(self) -> list[Sighting]:
        return self.sightings[self.num_emitted :]

    def settle(self, *, keep: bool = True) -> None:
        """Take all sightings as handed out; keep the older ones in a tenth of the memory, or not at all."""
        self.num_emitted = len(self.sightings)
        if self.num_emitted >= 4 * _RECENT:
            if keep:
                self._pack_until(self.num_emitted - _RECENT)
            else:
                del self.sightings[:-_RECENT]
                self.num_emitted = _RECENT

    def close(self) -> None:
        """Keep all sightings in a tenth of the memory: nobody follows this face any more."""
        self._pack_until(len(self.sightings))
        self._look = None

    def _pack_until(self, end: int) -> None:
        self._settled.append(_pack(self.sightings[:end]))
        del self.sightings[:end]
        self.num_emitted = len(self.sightings)

    def rows(self) -> np.ndarray:
        """Return all sightings as a structured array (K,) with the fields of `Sighting` but the time."""
        return np.concatenate([*self._settled, _pack(self.sightings)])

    def predict_box(self, pts_seconds: float) -> np.ndarray:
        """float32 (4,): where the face is expected at a time after its last sighting."""
        last = self.last
        waited = pts_seconds - last.pts_seconds
        way = self._velocity() * _COAST_SECONDS * (1 - np.exp(-waited / _COAST_SECONDS))
        return last.box + np.tile(way, 2).astype(np.float32)

    def _velocity(self) -> np.ndarray:
        """float64 (2,), pixels a second over the last sightings."""
        last = self.last
        for earlier in reversed(self.sightings):
            elapsed = last.pts_seconds - earlier.pts_seconds
            if elapsed >= _VELOCITY_SECONDS:
                moved = (last.box - earlier.box).astype(np.float64)
                return (moved[:2] + moved[2:]) / 2 / elapsed
        return np.zeros(2)

    def remember_look(self, look: np.ndarray) -> None:
        """Blend what the face looks like now into what it usually looks like."""
        self._look = look if self._look is None else self._look + _LOOK_RATE * (look - self._look)

    def to_track(self, pts_seconds: np.ndarray, first_index: int) -> Track:
        """Return the trail without gaps: between two sightings box and landmarks move evenly in time.

        Args:
            pts_seconds: float64 (N,), times of all frames of the video.
            first_index: frame_index of the first of them.
        """
        rows = self.rows()
        seen = rows["frame_index"]
        frame_index = np.arange(seen[0], seen[-1] + 1)
        pts = pts_seconds[frame_index - first_index]
        shape = np.concatenate([rows["box"], rows["landmarks"].reshape(-1, 10)], axis=1)
        place = seen - seen[0]
        filled = np.stack([np.interp(pts, pts[place], column) for column in shape.T], axis=1).astype(
            np.float32
        )
        scores = np.zeros(len(pts), np.float32)
        scores[place] = rows["score"]
        status = np.full(len(pts), TrackStatus.INTERPOLATED, np.uint8)
        status[place] = rows["status"]
        boxes, landmarks = filled[:, :4], filled[:, 4:].reshape(-1, 5, 2)
        return Track(self.track_id, frame_index, pts, boxes, scores, landmarks, status)


def _pack(sightings: list[Sighting]) -> np.ndarray:
    return np.array([(s.frame_index, s.box, s.score, s.landmarks, s.status) for s in sightings], dtype=_ROW)


def face_look(frame: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return what the surroundings of a box look like: float32 (192,), levels of 8 x 8 colours in [0, 1].

    The colours are kept as they are: within a shot the light is constant, and skin, hair and
    clothes tell people apart at any pose.
    """
    height, width = frame.shape[:2]
    centre, size = (box[:2] + box[2:]) / 2, float(box_sizes(box))
    left, top = (int(v) for v in np.clip(centre - 0.7 * size, 0, (width - 2, height - 2)))
    right, bottom = (int(v) for v in np.clip(centre + 0.7 * size, (left + 1, top + 1), (width, height)))
    patch = cv2.resize(frame[top:bottom, left:right], (_LOOK_PX, _LOOK_PX), interpolation=cv2.INTER_AREA)
    return patch.astype(np.float32).ravel() / 255


def look_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean difference of two looks, in [0, 1]."""
    return float(np.abs(a - b).mean())
