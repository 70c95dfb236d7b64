"""Frames that are in memory, read as a video is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Protocol

import numpy as np

from emotemporal.errors import UsageError
from emotemporal.structures import FrameBatch, VideoInfo

_BATCH_FRAMES = 24


class FrameSource(Protocol):
    """What frames can be taken from, in batches and once."""

    info: VideoInfo
    decoder: str
    warnings: list[str]

    def __iter__(self) -> Iterator[FrameBatch]: ...


class FrameArrays:
    """A video whose frames are given as arrays.

    Args:
        frames: N pictures uint8 (H, W, 3), RGB, upright, of one size; an iterable is gone through once.
        pts_seconds: (N,), strictly increasing.
        name: stands for the path.

    Attributes:
        info: what is known of it before the frames are gone through.
        decoder: `arrays`.
        warnings: none.

    Raises:
        UsageError: there is no frame, or times or the first frame are not as told above; while iterating,
            that another frame is not, or that there are more or fewer than times.
    """

    def __init__(
        self, frames: Iterable[np.ndarray], pts_seconds: Sequence[float] | np.ndarray, *, name: str
    ) -> None:
        self._seconds = np.asarray(pts_seconds, np.float64)
        _require_times(self._seconds)
        if isinstance(frames, np.ndarray):
            require_pictures(frames, self._seconds)
        rest = iter(frames)
        first = next(rest, None)
        if first is None:
            raise UsageError("there is no frame; give at least one")
        self._shape = np.shape(first)
        self._frames = chain([first], rest)
        self._require(first, 0)
        num = len(self._seconds)
        span = float(self._seconds[-1] - self._seconds[0])
        # The last frame lasts as long as the median one.
        step = float(np.median(np.diff(self._seconds))) if num > 1 else 0.0
        self.info = VideoInfo(
            path=name,
            width=self._shape[1],
            height=self._shape[0],
            num_frames=num,
            average_fps=num / (span + step) if num > 1 else 0.0,
            start_seconds=float(self._seconds[0]),
            duration_seconds=span + step,
            has_audio=False,
            variable_frame_rate=bool(num > 1 and np.ptp(np.diff(self._seconds)) > 0.1 * step),
            is_still=num == 1,
        )
        self.decoder = "arrays"
        self.warnings: list[str] = []

    def __iter__(self) -> Iterator[FrameBatch]:
        done = 0
        waiting: list[np.ndarray] = []
        for frame in self._frames:
            position = done + len(waiting)
            if position == len(self._seconds):
                raise UsageError(f"there are more frames than the {len(self._seconds)} times")
            self._require(frame, position)
            waiting.append(frame)
            if len(waiting) == _BATCH_FRAMES:
                yield self._batch(waiting, done)
                done, waiting = done + len(waiting), []
        if waiting:
            yield self._batch(waiting, done)
        if done + len(waiting) < len(self._seconds):
            raise UsageError(f"there are {done + len(waiting)} frames, but {len(self._seconds)} times")

    def _batch(self, frames: list[np.ndarray], first: int) -> FrameBatch:
        end = first + len(frames)
        return FrameBatch(np.stack(frames), np.arange(first, end), self._seconds[first:end].copy())

    def _require(self, frame: np.ndarray, position: int) -> None:
        shape, dtype = np.shape(frame), getattr(frame, "dtype", None)
        if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape or shape != self._shape:
            wanted = self._shape if position else "(H, W, 3)"
            raise UsageError(f"frame {position} must be uint8 {wanted}, found {dtype} {shape}")


def require_pictures(pictures: np.ndarray, seconds: np.ndarray) -> None:
    """Make sure that an array holds RGB pictures, one for each time.

    Raises:
        UsageError: it does not, or the times do not increase.
    """
    _require_times(seconds)
    shape = pictures.shape
    if pictures.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise UsageError(f"pictures must be uint8 (N, H, W, 3), RGB, found {pictures.dtype} {shape}")
    if len(pictures) != len(seconds):
        raise UsageError(f"there are {len(pictures)} pictures, but {len(seconds)} times")


def _require_times(seconds: np.ndarray) -> None:
    if seconds.ndim != 1 or not len(seconds):
        raise UsageError(f"times must be one list of at least one, found shape {seconds.shape}")
    if not np.isfinite(seconds).all() or (np.diff(seconds) <= 0).any():
        raise UsageError("times must be numbers of seconds, each greater than the one before")
