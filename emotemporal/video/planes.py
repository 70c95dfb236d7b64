"""The frames of plain videos as they are stored, in YUV planes, for those who only draw on them.

Conversion to RGB and back would cost as much again as decoding and encoding, and a little of the picture.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import av
import numpy as np

from emotemporal.structures import VideoInfo
from emotemporal.video.decoders import MAX_THREADS
from emotemporal.video.opening import open_video
from emotemporal.video.probe import choose_stream

_LUMA_WEIGHTS = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593)} | dict.fromkeys((2, 5, 6), (0.299, 0.114))
"""Weights of red and blue by the number of the matrix in ITU-T H.273. Where it is not named (2), FFmpeg, and
so the reader, takes that of BT.601."""
_FULL_RANGE = 2
_TIME_TOLERANCE_SECONDS = 1e-6


class NotPlain(Exception):
    """The video's frames must be converted or repaired before they can be shown."""


class Colours(NamedTuple):
    """What the numbers in 8-bit 4:2:0 planes mean; matrix, primaries and transfer as ITU-T H.273 counts."""

    pixel_format: str
    """`yuv420p` or `yuvj420p`, FFmpeg's older name for the full range."""
    matrix: int
    primaries: int
    transfer: int
    value_range: int = 0
    """0 not named, which is taken for limited, 1 limited, 2 full."""

    @classmethod
    def of(cls, frame: av.VideoFrame, context: av.VideoCodecContext) -> Colours:
        """Return those of a frame and the decoder it came from.

        Raises:
            NotPlain: it is stored otherwise.
        """
        matrix, name = int(frame.colorspace), frame.format.name
        if name not in ("yuv420p", "yuvj420p") or matrix not in _LUMA_WEIGHTS:
            raise NotPlain(f"{name}, colour matrix {matrix}")
        value_range = _FULL_RANGE if name == "yuvj420p" else int(frame.color_range)
        return cls(name, matrix, context.color_primaries, context.color_trc, value_range)

    def matrix_from_rgb(self) -> np.ndarray:
        """Return (3, 4): Y, U and V of R, G, B (each from 0 to 255) and 1."""
        red, blue = _LUMA_WEIGHTS[self.matrix]
        luma = np.array([red, 1 - red - blue, blue])
        rows = np.array([luma, ([0, 0, 1] - luma) / (2 - 2 * blue), ([1, 0, 0] - luma) / (2 - 2 * red)])
        if self.value_range == _FULL_RANGE:
            return np.column_stack([rows, [0, 128, 128]])
        scale = np.array([[219], [224], [224]]) / 255
        return np.column_stack([rows * scale, [16, 128, 128]])


BT709 = Colours("yuv420p", matrix=1, primaries=1, transfer=1)


def plain_frames(info: VideoInfo, pts_seconds: np.ndarray) -> Iterator[tuple[av.VideoFrame, Colours]]:
    """Decode a video that was read to its end before, and held what it promised.

    In this process, since a decoder has come through all of the file before.

    Args:
        info: of the video.
        pts_seconds: float64 (N,), the times of its frames as the reader gave them.
    Yields: N upright frames, each at its time, all of the size that `info` tells and of the same colours.
    Raises:
        NotPlain: the file is not like that, found at any frame; `VideoReader` knows how to deal with it.
    """
    if info.num_frames != len(pts_seconds) or info.width % 2 or info.height % 2:
        raise NotPlain("frames are missing, or the picture's size is odd")
    found, expected = 0, None
    try:
        with open_video(info.path) as container:
            stream = choose_stream(container, info.path)
            stream.thread_type = "AUTO"
            # Whoever draws on the frames encodes them meanwhile: more threads only wait for one another.
            stream.codec_context.thread_count = max(1, min(MAX_THREADS, (os.cpu_count() or 1) // 2))
            for frame in container.decode(stream):
                colours = Colours.of(frame, stream.codec_context)
                expected = expected or (info.width, info.height, 0, colours)
                if (frame.width, frame.height, frame.rotation, colours) != expected:
                    raise NotPlain(f"frame {found} is turned or of another kind")
                if found == len(pts_seconds) or frame.pts is None or frame.time_base is None:
                    raise NotPlain(f"frame {found} is one too many or has no time")
                seconds = float(frame.pts * frame.time_base)
                if abs(seconds - pts_seconds[found]) > _TIME_TOLERANCE_SECONDS:
                    raise NotPlain(f"frame {found} is at {seconds} s, was at {pts_seconds[found]} s")
                found += 1
                yield frame, colours
    except av.FFmpegError as error:
        raise NotPlain(str(error)) from error
    if found != len(pts_seconds):
        raise NotPlain(f"{found} frames decode")


def planes_to_draw_on(frame: av.VideoFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Y, U and V of a 4:2:0 frame, uint8 (H, W) and twice (H / 2, W / 2), sharing its memory."""
    frame.make_writable()  # others are decoded from a frame that is used for reference
    y, u, v = (
        np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        for plane in frame.planes
    )
    return y, u, v
