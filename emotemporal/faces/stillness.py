"""Tell whether anything in a picture has changed but what known faces do in their places."""

from __future__ import annotations

import cv2
import numpy as np

from emotemporal.faces.association import box_sizes

_LONG_SIDE_PX = 640
_CELL_PX = 8
"""Of a picture of that long side: a face of 20 px, the smallest that is searched for, fills one at least."""
_REACH = 1.0
"""Half of the square that is left to a face, in longer sides of its box: hair and collar move with it. Of 145
pairs of pictures half a second apart, of people who sit and speak (20 clips of Java-SED, actors 1 to 5),
three quarters are unchanged beyond it, and an eighth beyond three quarters of it."""
_CHANGE_LEVELS = 6.0
"""Means of a cell that differ by more are a change. The largest difference of such a pair is mostly below 4
grey levels or above 12: of the 145 it lies between for one in fifteen."""
_MOVED = 0.1
"""A face whose landmarks are farther away than this in the mean, in sizes of its box, has moved or turned. Of
the same people 82 % are nearer after half a second; a head that tilts by 16 degrees is there. With 0.15 a
person more got a second id in 48 staged scenes of tilting heads, four instead of three."""


class KnownPicture:
    """A picture whose faces are all known, for others to be compared with.

    Each is reduced to cells of about 8 pixels of a picture 640 pixels wide. A face that comes into the
    picture changes the mean of a cell at least; noise and compression hardly do.

    Args:
        frame: uint8 (H, W, 3), RGB.
        boxes: float32 (M, 4), of its faces, in pixels.
        landmarks: float32 (M, 5, 2), of the same.
    """

    def __init__(self, frame: np.ndarray, boxes: np.ndarray, landmarks: np.ndarray) -> None:
        self._landmarks = landmarks
        self._sizes = box_sizes(boxes)
        self._cells = _cell_levels(frame)
        self._is_face = _near_faces(boxes, frame.shape, self._cells.shape)

    def is_unchanged(self, frame: np.ndarray, boxes: np.ndarray, landmarks: np.ndarray) -> bool:
        """Return whether another picture shows these faces in their places, and around them nothing new.

        Args:
            frame, boxes, landmarks: as of the known picture; the same people in the same order.
        """
        if landmarks.shape != self._landmarks.shape:
            return False
        away = np.linalg.norm(landmarks - self._landmarks, axis=2).mean(axis=1)
        if (away > _MOVED * self._sizes).any():
            return False
        cells = _cell_levels(frame)
        if cells.shape != self._cells.shape:
            return False
        is_face = self._is_face | _near_faces(boxes, frame.shape, cells.shape)
        return not bool((np.abs(cells - self._cells)[~is_face] > _CHANGE_LEVELS).any())


def _cell_levels(frame: np.ndarray) -> np.ndarray:
    """float32 (h, w): the mean grey level of each cell."""
    reduction = max(max(frame.shape[:2]) / _LONG_SIDE_PX, 1.0)
    height, width = (max(round(side / (reduction * _CELL_PX)), 1) for side in frame.shape[:2])
    # Of a larger picture every second or third pixel tells as much, several times as fast.
    step = int(reduction)
    cells = cv2.resize(frame[::step, ::step], (width, height), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(cells, cv2.COLOR_RGB2GRAY).astype(np.float32)


def _near_faces(boxes: np.ndarray, frame_shape: tuple[int, ...], cells_shape: tuple[int, ...]) -> np.ndarray:
    """bool (h, w): cells that a face or its surroundings reach into."""
    near = np.zeros(cells_shape, bool)
    to_cells = np.array(cells_shape[::-1]) / frame_shape[1::-1]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    reach = _REACH * (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True, initial=0)
    low = np.floor((centre - reach) * to_cells).clip(min=0).astype(int)
    high = np.ceil((centre + reach) * to_cells).clip(min=0).astype(int)
    for (left, top), (right, bottom) in zip(low, high, strict=True):
        near[top:bottom, left:right] = True
    return near
