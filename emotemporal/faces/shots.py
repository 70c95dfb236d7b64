"""Tell where one shot of a film ends and the next begins."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np

_THUMB_PX = 32
_SAMPLE_PX = 64
_FLAT_LEVELS = 3.0
"""Thumbnails whose grey levels spread less are blank: a fade, a flash, a dropped picture."""


class ShotCutDetector:
    """Compare each frame's thumbnail with the one before.

    A cut changes where light and dark lie, which colours there are, and both suddenly. Each alone also
    happens within a shot: a flash keeps the structure, a pan the colours, an action is no more
    sudden than what went before. In 34 real clips the correlation is at most 0.26 at the five direct
    cuts and at least 0.61 elsewhere, blank frames aside.

    Args:
        max_correlation: thumbnails of one shot correlate more than this, in [-1, 1].
        min_colour_change: least part of the pixels that change their colour at a cut, in [0, 1].
        min_suddenness: least ratio of the change to the median change of the frames before.
        history: number of frames that the median is taken over.
    """

    def __init__(
        self,
        *,
        max_correlation: float = 0.4,
        min_colour_change: float = 0.1,
        min_suddenness: float = 3.0,
        history: int = 12,
    ) -> None:
        self.max_correlation = max_correlation
        self.min_colour_change = min_colour_change
        self.min_suddenness = min_suddenness
        self._changes: deque[float] = deque(maxlen=history)
        self._last: _Thumbnail | None = None

    def is_cut(self, frame: np.ndarray) -> bool:
        """Take the next frame, uint8 (H, W, 3); true if it is the first of a new shot.

        Blank frames are passed over: what follows is compared with what was before them.
        """
        thumb = _Thumbnail(frame)
        if thumb.grey.std() < _FLAT_LEVELS:
            return False
        last, self._last = self._last, thumb
        if last is None:
            return False
        change = float(np.abs(thumb.grey - last.grey).mean())
        usual = float(np.median(self._changes)) if self._changes else 0.0
        cut = (
            change > self.min_suddenness * usual
            and _correlation(thumb.grey, last.grey) < self.max_correlation
            and thumb.colour_change(last) > self.min_colour_change
            and not _is_shifted(thumb.grey, last.grey)
        )
        if cut:
            self._changes.clear()
        else:
            self._changes.append(change)
        return cut


class _Thumbnail:
    def __init__(self, frame: np.ndarray) -> None:
        # Skipping pixels first makes the cost independent of the resolution; at least two samples
        # remain for each pixel of the sample in either direction.
        height, width = (-(-size // max(size // (2 * _SAMPLE_PX), 1)) for size in frame.shape[:2])
        coarse = cv2.resize(frame, (width, height), interpolation=cv2.INTER_NEAREST)
        self._sample = cv2.resize(coarse, (_SAMPLE_PX, _SAMPLE_PX), interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(self._sample, cv2.COLOR_RGB2GRAY)
        self.grey = cv2.resize(grey, (_THUMB_PX, _THUMB_PX), interpolation=cv2.INTER_AREA).astype(np.float32)

    def colour_change(self, other: _Thumbnail) -> float:
        """Part of the pixels, in [0, 1], that would have to change their colour, of 512."""
        mine, theirs = (
            cv2.calcHist([thumb._sample], [0, 1, 2], None, [8] * 3, [0, 256] * 3) for thumb in (self, other)
        )
        return float(np.abs(mine - theirs).sum()) / (2 * _SAMPLE_PX**2)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def _is_shifted(a: np.ndarray, b: np.ndarray) -> bool:
    """True if the middle of either picture is found elsewhere in the other: a fast pan."""
    quarter = _THUMB_PX // 4
    middle = slice(quarter, -quarter)
    matches = (
        cv2.matchTemplate(x, np.ascontiguousarray(y[middle, middle]), cv2.TM_CCOEFF_NORMED)
        for x, y in ((a, b), (b, a))
    )
    return max(float(match.max()) for match in matches) > 0.8
