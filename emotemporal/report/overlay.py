"""Draw the result onto the frames of a video.

Everything is sized by the shorter side of the picture, so that the overlay of a 240-line clip and of a
4K one look alike. Text is rendered once for each wording and then only blitted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emotemporal.report.canvas import Canvas, Chip, RgbCanvas
from emotemporal.report.palette import INK, PAPER, RGB, emotion_colour
from emotemporal.structures import EmotionTimeline, Track, TrackStatus, VideoAnalysis

if TYPE_CHECKING:
    from PIL import ImageFont

# Below 10 px DejaVu Sans Bold loses its counters once the video is compressed.
_MIN_FONT_PX = 10
_MUTED: RGB = (92, 98, 108)


@dataclass(frozen=True, eq=False)
class _Marks:
    """What is drawn for one track, worked out once for all its frames."""

    track_id: int
    first_frame: int
    boxes: np.ndarray
    """float32 (L, 4), xyxy in source pixels."""
    dashed: np.ndarray
    """bool (L,), true where the box is interpolated."""
    emotion: np.ndarray
    """uint8 (L,), index of the smoothed emotion."""
    percent: np.ndarray
    """uint8 (L,), its probability in whole percent."""
    face_px: float
    """Median width of the box."""


@dataclass(frozen=True, eq=False)
class FaceMark:
    """One face as it is drawn on one frame."""

    track_id: int
    box: np.ndarray
    """float32 (4,), xyxy in pixels of the frame."""
    emotion: str
    percent: int
    """Its probability in whole percent."""
    face_px: float
    """Usual width of the person's box: form and rank of a chip go by it, so that they do not flicker."""
    dashed: bool = False
    """Whether the box was not seen but worked out."""


class FramePainter:
    """Draws box, person, emotion and confidence of everyone on frames that follow each other.

    Args:
        width: of the frames, in pixels.
        height: of the frames, in pixels.
        text_scale: factor on the size of text and lines.
    """

    def __init__(self, width: int, height: int, *, text_scale: float = 1.0) -> None:
        # Width counts too: on a portrait video, text sized by the height would fill the picture.
        shorter_px = min(height, width)
        self._font_px = max(_MIN_FONT_PX, round((6 + 0.019 * shorter_px) * text_scale))
        self._small_font_px = max(_MIN_FONT_PX, round(0.8 * self._font_px))
        # One pixel would lose its colour to the chroma subsampling of the written video.
        self._line_px = max(2, round((1.2 + 0.0026 * shorter_px) * text_scale))
        # Beside a narrower face the full wording would look like the caption of its neighbour.
        self._compact_below_px = 4 * self._font_px
        self._slot_of_track: dict[int, int] = {}

    def paint(self, frame: np.ndarray, marks: Sequence[FaceMark]) -> np.ndarray:
        """Return the frame with everyone on it marked.

        A chip prefers the place where it stood on the frame painted before, so paint in display order.

        Args:
            frame: uint8 (H, W, 3), RGB; not changed.
            marks: everyone on it.
        Returns: uint8 (H, W, 3); `frame` itself where there is nobody to mark.
        """
        if not marks:
            return frame
        picture = frame.copy()
        self.paint_on(RgbCanvas(picture), marks)
        return picture

    def paint_on(self, canvas: Canvas, marks: Sequence[FaceMark]) -> None:
        """Mark everyone on the frame that the canvas holds, as `paint` does; at least one."""
        boxes = np.array([mark.box for mark in marks])
        # A face cut off by the picture's edge keeps a closed box.
        margin = self._line_px + 1
        boxes = np.clip(boxes, margin, np.array(canvas.shape[::-1] * 2) - margin).round().astype(int)
        for mark, box in zip(marks, boxes, strict=True):
            colour = emotion_colour(mark.emotion)
            _draw_box(canvas, box, colour=colour, line_px=self._line_px, dashed=mark.dashed)
        chips = [self._chip(mark) for mark in marks]
        for chip, (x, y) in zip(chips, self._place(chips, marks, boxes, canvas.shape), strict=True):
            canvas.blit(chip, x, y)

    def _chip(self, mark: FaceMark) -> Chip:
        text, font_px = f"person {mark.track_id} · {mark.emotion}", self._font_px
        if mark.face_px < self._compact_below_px:
            text, font_px = f"{mark.track_id} · {mark.emotion}", self._small_font_px
        return _render_chip(text, mark.percent, emotion_colour(mark.emotion), font_px)

    def _place(
        self, chips: list[Chip], marks: Sequence[FaceMark], boxes: np.ndarray, shape: tuple[int, int]
    ) -> list[tuple[int, int]]:
        """Choose each chip's top left corner: inside the picture, off the faces and off each other."""
        gap = self._line_px + 1
        taken = boxes
        places = [(0, 0)] * len(chips)
        # The largest face chooses first: its chip is the one that is read.
        for i in sorted(range(len(chips)), key=lambda i: -marks[i].face_px):
            height, width = chips[i].keep.shape[:2]
            slots = _slots(boxes[i], width=width, height=height, gap=gap)
            # Not `np.clip`, which takes longer to begin than all the rest.
            slots = np.maximum(np.minimum(slots, [shape[1] - width, shape[0] - height]), 0)
            rects = np.hstack([slots, slots + np.array([width, height])])
            # A later slot costs a little, leaving the slot of the frame before a little more: both far
            # less than covering a fifth of a chip.
            cost = _overlap(rects, taken) / (width * height) + 0.01 * np.arange(len(slots))
            last = self._slot_of_track.get(marks[i].track_id)
            if last is not None:
                cost[last] -= 0.15
            best = int(cost.argmin())
            self._slot_of_track[marks[i].track_id] = best
            taken = np.concatenate([taken, rects[best : best + 1]])
            # A step of two: the written video has one colour for each 2 x 2 pixels.
            places[i] = (int(slots[best, 0]) & ~1, int(slots[best, 1]) & ~1)
        return places


class OverlayRenderer:
    """Draws box, person, smoothed emotion and confidence of everyone on a frame.

    Args:
        analysis: its boxes are in the pixels of the frames that will be drawn on.
        text_scale: factor on the size of text and lines.
    """

    def __init__(self, analysis: VideoAnalysis, *, text_scale: float = 1.0) -> None:
        self._painter = FramePainter(analysis.info.width, analysis.info.height, text_scale=text_scale)
        self._labels = analysis.told_labels
        self._marks = [
            _track_marks(track, timeline, analysis.frame_labels(timeline))
            for track, timeline in zip(analysis.tracks, analysis.timelines, strict=True)
        ]
        self._first = np.array([marks.first_frame for marks in self._marks], dtype=np.int64)
        self._last = self._first + [len(marks.percent) - 1 for marks in self._marks]

    def draw(self, frame: np.ndarray, frame_index: int) -> np.ndarray:
        """Return the frame with everyone on it marked; see `FramePainter.paint`.

        Args:
            frame: uint8 (H, W, 3), RGB; not changed.
            frame_index: its position in the source video.
        """
        return self._painter.paint(frame, self._marks_on(frame_index))

    def draw_on(self, open_canvas: Callable[[], Canvas], frame_index: int) -> None:
        """Mark everyone on the frame of a canvas, which is asked for where there is anybody to mark."""
        if marks := self._marks_on(frame_index):
            self._painter.paint_on(open_canvas(), marks)

    def _marks_on(self, frame_index: int) -> list[FaceMark]:
        present = np.flatnonzero((self._first <= frame_index) & (frame_index <= self._last))
        return [self._mark(self._marks[i], frame_index) for i in present]

    def _mark(self, marks: _Marks, frame_index: int) -> FaceMark:
        row = frame_index - marks.first_frame
        return FaceMark(
            marks.track_id,
            marks.boxes[row],
            emotion=self._labels[marks.emotion[row]],
            percent=int(marks.percent[row]),
            face_px=marks.face_px,
            dashed=bool(marks.dashed[row]),
        )


def _track_marks(track: Track, timeline: EmotionTimeline, labels: np.ndarray) -> _Marks:
    return _Marks(
        track_id=track.track_id,
        first_frame=int(track.frame_index[0]),
        boxes=track.boxes,
        dashed=track.status == TrackStatus.INTERPOLATED,
        emotion=labels.astype(np.uint8),
        percent=np.rint(100 * timeline.smoothed_probs.max(1)).astype(np.uint8),
        face_px=float(np.median(track.boxes[:, 2] - track.boxes[:, 0])),
    )


def _slots(box: np.ndarray, *, width: int, height: int, gap: int) -> np.ndarray:
    """Return the places a chip may take around a box, best first, as (8, 2) top left corners."""
    x1, y1, x2, y2 = box.tolist()
    above, below, middle = y1 - gap - height, y2 + gap, (x1 + x2 - width) // 2
    left, right = x1 - gap, x2 + gap
    return np.array(
        [
            (left, above),
            (right - width, above),
            (middle, above),
            (left, below),
            (right - width, below),
            (middle, below),
            (right, y1),
            (left - width, y1),
        ]
    )


def _overlap(rects: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return (K,), the area of each of (K, 4) rectangles that (M, 4) others cover, counted with repeats."""
    low = np.maximum(rects[:, None, :2], others[None, :, :2])
    high = np.minimum(rects[:, None, 2:], others[None, :, 2:])
    sides = np.maximum(high - low, 0)
    return (sides[..., 0] * sides[..., 1]).sum(1)


def _draw_box(canvas: Canvas, box: np.ndarray, *, colour: RGB, line_px: int, dashed: bool) -> None:
    """Draw a box around a face, the line just outside of it, dark-edged to stand out on any background."""
    edge = max(1, line_px // 3)
    x1, y1, x2, y2 = box.tolist()
    dash = max(4, min(6 * line_px, (x2 - x1) // 5))
    for grow, paint in ((edge, INK), (0, colour)):
        inner, outer = -grow, line_px + grow
        left, top, right, bottom = x1 - outer, y1 - outer, x2 + outer, y2 + outer
        bars = [
            (left, top, right, y1 - inner),
            (left, y2 + inner, right, bottom),
            (left, top, x1 - inner, bottom),
            (x2 + inner, top, right, bottom),
        ]
        if dashed:
            bars = [part for bar in bars for part in _dashes(*bar, dash=dash, grow=grow)]
        canvas.fill(bars, paint)


def _dashes(x1: int, y1: int, x2: int, y2: int, *, dash: int, grow: int) -> list[tuple[int, int, int, int]]:
    """Cut a bar into dashes with gaps as long; those of the dark edge reach `grow` beyond the coloured."""
    if x2 - x1 > y2 - y1:
        return [(x, y1, min(x + dash + grow, x2), y2) for x in range(x1, x2, 2 * dash)]
    return [(x1, y, x2, min(y + dash + grow, y2)) for y in range(y1, y2, 2 * dash)]


@cache
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    """Return the bold DejaVu Sans that Matplotlib ships, so that no system font is needed."""
    import matplotlib
    from PIL import ImageFont

    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf")
    return ImageFont.truetype(str(path), size_px, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=128)  # at most about 50 MB, at 2160 lines
def _render_chip(text: str, percent: int, colour: RGB, font_px: int) -> Chip:
    """Render the text and a confidence bar on a solid dark chip with rounded corners."""
    from PIL import Image, ImageDraw

    font = _font(font_px)
    wording = f"{text} {percent}%"
    pad_x, pad_y = round(0.45 * font_px), round(0.25 * font_px)
    stripe, bar = round(0.4 * font_px), max(2, round(0.18 * font_px))
    ascent, descent = font.getmetrics()
    text_width, left = round(font.getlength(wording)), stripe + pad_x
    width, height = left + text_width + pad_x, ascent + descent + 2 * pad_y + bar
    image = Image.new("RGB", (width, height), INK)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, stripe - 1, height), fill=colour)
    draw.text((left, pad_y), wording, font=font, fill=PAPER)
    top, bottom = height - pad_y - bar, height - pad_y - 1
    draw.rectangle((left, top, left + text_width - 1, bottom), fill=_MUTED)
    if percent:
        draw.rectangle((left, top, left + round(text_width * percent / 100) - 1, bottom), fill=colour)
    pixels, keep = np.array(image), np.zeros((height, width, 3), np.uint8)
    corner = _corner(pad_y)
    for rows, opacities in ((slice(pad_y), corner), (slice(-pad_y, None), corner[::-1])):
        for columns, opacity in ((slice(pad_y), opacities), (slice(-pad_y, None), opacities[:, ::-1])):
            pixels[rows, columns] = pixels[rows, columns] * opacity[..., None] // 255
            keep[rows, columns] = 255 - opacity[..., None]
    return Chip(pixels, keep)


@cache
def _corner(radius_px: int) -> np.ndarray:
    """Return the upper left corner of a rounded shape: uint16 (R, R), 255 where it is fully covered."""
    # Pillow does not smooth the outlines it draws: sample each pixel at 8 x 8 points.
    offset = radius_px - (np.arange(8 * radius_px) + 0.5) / 8
    inside = offset[:, None] ** 2 + offset[None, :] ** 2 <= radius_px**2
    return (255 * inside.reshape(radius_px, 8, radius_px, 8).mean((1, 3))).round().astype(np.uint16)
