"""What an overlay is drawn on: an RGB picture, or the planes of a frame as a video stores it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import av
import cv2
import numpy as np

from emotemporal.report.palette import RGB
from emotemporal.video.planes import Colours, planes_to_draw_on

Bar = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels, the ends not included; may reach beyond the picture."""


@dataclass(frozen=True, eq=False)
class Chip:
    """A rendered label, ready to blit: `pixels + frame * keep / 255`."""

    pixels: np.ndarray
    """uint8 (h, w, 3), premultiplied by its own opacity."""
    keep: np.ndarray
    """uint8 (h, w, 3), how much of the frame shows through; 0 but for the rounded corners."""


class Canvas(Protocol):
    """A frame that can be painted on."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        ...

    def fill(self, bars: Sequence[Bar], colour: RGB) -> None:
        """Paint rectangles."""
        ...

    def blit(self, chip: Chip, x: int, y: int) -> None:
        """Lay a chip over the frame, its left upper corner on even coordinates.

        What hangs over the frame's right or lower end is cut off.
        """
        ...


class RgbCanvas:
    """An RGB picture, uint8 (H, W, 3), which is painted on itself."""

    def __init__(self, picture: np.ndarray) -> None:
        self._picture = picture

    @property
    def shape(self) -> tuple[int, int]:
        return self._picture.shape[:2]

    def fill(self, bars: Sequence[Bar], colour: RGB) -> None:
        _fill(self._picture, bars, colour)

    def blit(self, chip: Chip, x: int, y: int) -> None:
        _lay_over(self._picture, chip.pixels, chip.keep, x, y)


class YuvCanvas:
    """The planes of a 4:2:0 frame, which are painted on themselves.

    Painting mixes colours by weights that sum to 1, so it gives the same in YUV as in RGB.

    Args:
        frame: of even size.
        colours: what the numbers in its planes mean.
    """

    def __init__(self, frame: av.VideoFrame, colours: Colours) -> None:
        self._planes = planes_to_draw_on(frame)
        self._colours = colours

    @property
    def shape(self) -> tuple[int, int]:
        return self._planes[0].shape

    def fill(self, bars: Sequence[Bar], colour: RGB) -> None:
        # Half covered places get the full colour: a line of two pixels would lose half of it otherwise.
        halves = [(x1 // 2, y1 // 2, (x2 + 1) // 2, (y2 + 1) // 2) for x1, y1, x2, y2 in bars]
        values = _yuv_of(colour, self._colours)
        for plane, parts, value in zip(self._planes, (bars, halves, halves), values, strict=True):
            _fill(plane, parts, value)

    def blit(self, chip: Chip, x: int, y: int) -> None:
        layers = _layers_of(chip, self._colours)
        corners = ((x, y), (x // 2, y // 2), (x // 2, y // 2))
        for plane, (pixels, keep), corner in zip(self._planes, layers, corners, strict=True):
            _lay_over(plane, pixels, keep, *corner)


def _fill(picture: np.ndarray, bars: Sequence[Bar], colour: RGB | int) -> None:
    for x1, y1, x2, y2 in bars:
        # OpenCV includes the second corner and clips to the picture.
        cv2.rectangle(picture, (x1, y1), (x2 - 1, y2 - 1), colour, cv2.FILLED)


def _lay_over(picture: np.ndarray, pixels: np.ndarray, keep: np.ndarray, x: int, y: int) -> None:
    target = picture[y : y + keep.shape[0], x : x + keep.shape[1]]
    height, width = target.shape[:2]
    under = cv2.multiply(target, keep[:height, :width], scale=1 / 255)
    cv2.add(under, pixels[:height, :width], dst=target)


@lru_cache
def _yuv_of(colour: RGB, colours: Colours) -> list[int]:
    return (colours.matrix_from_rgb() @ [*colour, 1]).round().astype(int).tolist()


@lru_cache(maxsize=128)  # as many as there are rendered chips
def _layers_of(chip: Chip, colours: Colours) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return pixels and keep of a chip for Y, U and V, uint8; those of U and V have half its sides."""
    height, width = chip.keep.shape[:2]
    # An odd side is made even by what is transparent.
    rows, columns = height % 2, width % 2
    keep = cv2.copyMakeBorder(chip.keep[:, :, 0], 0, rows, 0, columns, cv2.BORDER_CONSTANT, value=255)
    rgb = cv2.copyMakeBorder(chip.pixels, 0, rows, 0, columns, cv2.BORDER_CONSTANT, value=0)
    matrix = colours.matrix_from_rgb()
    yuv = cv2.transform(rgb, matrix)
    half = cv2.resize(yuv, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    half_keep = cv2.resize(keep, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    layers = [(yuv, keep), (half, half_keep), (half, half_keep)]
    # The offsets of Y, U and V are premultiplied as the colours are: what shows through brings its own.
    return [
        (cv2.subtract(cv2.extractChannel(layer, i), cv2.convertScaleAbs(kept, alpha=offset / 255)), kept)
        for i, ((layer, kept), offset) in enumerate(zip(layers, matrix[:, 3], strict=True))
    ]
