"""Faces: on one frame, through time, and cut out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from emotemporal.structures.checks import require, require_array, require_increasing
from emotemporal.structures.media import FrameBatch

_MAX_SIDE_PX = 1024
"""Of a crop. More than any face network sees; the crops of a batch are in memory together."""


class TrackStatus(IntEnum):
    """How a box of a track came about."""

    DETECTED = 0
    """The full detector found it on this frame."""
    TRACKED = 1
    """The box of a neighbouring frame was refined on this frame."""
    INTERPOLATED = 2
    """Nothing was found on this frame; the box lies between its neighbours in time."""


@dataclass(frozen=True, eq=False)
class Detections:
    """The faces of one frame. No face is M = 0."""

    boxes: np.ndarray
    """float32 (M, 4), xyxy in source pixels; may reach beyond the picture."""
    scores: np.ndarray
    """float32 (M,), detector confidence in [0, 1]."""
    landmarks: np.ndarray
    """float32 (M, 5, 2): image-left eye, image-right eye, nose, image-left and -right mouth corner."""

    def __post_init__(self) -> None:
        require_array(self, "boxes", np.float32, (None, 4))
        num_faces = len(self.boxes)
        require_array(self, "scores", np.float32, (num_faces,))
        require_array(self, "landmarks", np.float32, (num_faces, 5, 2))

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: np.ndarray | slice) -> Detections:
        return Detections(self.boxes[rows], self.scores[rows], self.landmarks[rows])

    @classmethod
    def empty(cls) -> Detections:
        return cls(np.zeros((0, 4), np.float32), np.zeros((0,), np.float32), np.zeros((0, 5, 2), np.float32))


@dataclass(frozen=True, eq=False)
class FaceRows:
    """The faces seen on a batch of frames, one row for each face and frame.

    This is what the tracker hands on while the frames are still in memory. Interpolated boxes are
    not among the rows: they are known only later and carry no evidence of their own.
    """

    frames: FrameBatch
    row_frame: np.ndarray
    """int64 (M,), position of each row's frame within `frames`, non-decreasing."""
    track_id: np.ndarray
    """int64 (M,)."""
    boxes: np.ndarray
    """float32 (M, 4), xyxy in source pixels."""
    landmarks: np.ndarray
    """float32 (M, 5, 2)."""

    def __post_init__(self) -> None:
        require_array(self, "row_frame", np.int64, (None,))
        num_rows = len(self.row_frame)
        require_array(self, "track_id", np.int64, (num_rows,))
        require_array(self, "boxes", np.float32, (num_rows, 4))
        require_array(self, "landmarks", np.float32, (num_rows, 5, 2))

    def __len__(self) -> int:
        return len(self.row_frame)

    @property
    def frame_index(self) -> np.ndarray:
        """int64 (M,), each row's frame in the video."""
        return self.frames.frame_index[self.row_frame]

    @property
    def pts_seconds(self) -> np.ndarray:
        """float64 (M,), the time of each row's frame."""
        return self.frames.pts_seconds[self.row_frame]


@dataclass(frozen=True, eq=False)
class Track:
    """One person's face through time, without gaps between its first and last frame."""

    track_id: int
    frame_index: np.ndarray
    """int64 (L,), consecutive."""
    pts_seconds: np.ndarray
    """float64 (L,), strictly increasing."""
    boxes: np.ndarray
    """float32 (L, 4), xyxy in source pixels."""
    scores: np.ndarray
    """float32 (L,); 0 where interpolated."""
    landmarks: np.ndarray
    """float32 (L, 5, 2)."""
    status: np.ndarray
    """uint8 (L,), values of `TrackStatus`."""

    def __post_init__(self) -> None:
        require_array(self, "frame_index", np.int64, (None,))
        length = len(self.frame_index)
        require(length > 0, self, "a track needs at least one frame")
        require_array(self, "pts_seconds", np.float64, (length,))
        require_array(self, "boxes", np.float32, (length, 4))
        require_array(self, "scores", np.float32, (length,))
        require_array(self, "landmarks", np.float32, (length, 5, 2))
        require_array(self, "status", np.uint8, (length,))
        require(bool(np.all(np.diff(self.frame_index) == 1)), self, "frame_index must be consecutive")
        require_increasing(self, "pts_seconds")

    def __len__(self) -> int:
        return len(self.frame_index)

    @property
    def seen(self) -> np.ndarray:
        """bool (L,): true where the face was found on the frame itself."""
        return self.status != TrackStatus.INTERPOLATED


@dataclass(frozen=True)
class CropGeometry:
    """Where a face's landmarks come to lie in its crop: what frame network and aligner agree on."""

    side_px: int = 48
    template: tuple[tuple[float, float], ...] = (
        (0.318, 0.390),
        (0.695, 0.385),
        (0.501, 0.605),
        (0.347, 0.781),
        (0.664, 0.783),
    )
    """Five landmarks as fractions of the side; the default is their median over FER2013's training
    faces, so that video crops look to the network as its training images did."""

    def __post_init__(self) -> None:
        is_side = 8 <= self.side_px <= _MAX_SIDE_PX
        require(is_side, self, f"side_px must be at least 8 and at most {_MAX_SIDE_PX}, found {self.side_px}")
        points = np.asarray(self.template)
        require(points.shape == (5, 2), self, f"template must have shape (5, 2), found {points.shape}")
        require(bool(np.isfinite(points).all()), self, "template must be finite")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CropGeometry:
        """Rebuild from what `dataclasses.asdict` gave, also after a way through JSON."""
        return cls(values["side_px"], tuple(tuple(point) for point in values["template"]))

    @property
    def template_px(self) -> np.ndarray:
        """float32 (5, 2), the template in crop pixels."""
        return np.asarray(self.template, dtype=np.float32) * self.side_px


@dataclass(frozen=True, eq=False)
class CropSequence:
    """Aligned crops of one track, only of the frames on which the face was seen."""

    track_id: int
    frame_index: np.ndarray
    """int64 (L,), strictly increasing."""
    pts_seconds: np.ndarray
    """float64 (L,), strictly increasing."""
    crops: np.ndarray
    """uint8 (L, S, S, 3), RGB."""
    landmarks68: np.ndarray | None = None
    """float32 (L, 68, 2) in source pixels, iBUG order, where they were extracted."""

    def __post_init__(self) -> None:
        require_array(self, "crops", np.uint8, (None, None, None, 3))
        length = len(self.crops)
        require_array(self, "frame_index", np.int64, (length,))
        require_array(self, "pts_seconds", np.float64, (length,))
        require_increasing(self, "pts_seconds")
        if self.landmarks68 is not None:
            require_array(self, "landmarks68", np.float32, (length, 68, 2))

    def __len__(self) -> int:
        return len(self.crops)
