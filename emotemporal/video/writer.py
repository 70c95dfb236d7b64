"""Write annotated frames as an H.264 video with the sound of its source, or as a picture."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from emotemporal.errors import OutputError, UsageError
from emotemporal.files import replacing
from emotemporal.video.probe import choose_stream, turn_to_upright
from emotemporal.video.sound import SoundTrack

_TIME_BASE = Fraction(1, 90_000)
_BT709 = 1


class VideoWriter:
    """An H.264 MP4 whose frames keep their exact times, beside the untouched sound of a source.

    The file is written under a temporary name in the same folder and takes its own name when it is
    complete; after an error nothing is left of it.

        with VideoWriter("out.mp4", width=640, height=360, source=Path("in.mp4")) as writer:
            writer.write(frame, pts_seconds)

    Args:
        width: of the upright frames, in pixels; odd sizes are padded by one row or column.
        source: file whose sound and pixel shape are carried over; may be the file that is replaced.
        crf: H.264 quality, 0 (lossless) to 51.
        preset: x264's effort. At 1080p `ultrafast` takes 14 ms of processor time a frame, `superfast` 32 for
            half the size, `veryfast` 44 for less than a third; differences in quality stay below 2 dB.

    Attributes:
        warnings: one line for each thing the user should know; complete when the writer is closed.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        width: int,
        height: int,
        source: Path | None = None,
        crf: int = 23,
        preset: str = "ultrafast",
    ) -> None:
        self.warnings: list[str] = []
        self._path = Path(path)
        self._size = (width, height)
        self._source = None if source is None else Path(os.path.abspath(source))
        self._options = {"crf": str(crf), "preset": preset}
        self._converter = VideoReformatter()
        self._container: av.container.OutputContainer | None = None
        self._sound: SoundTrack | None = None
        self._last_pts: int | None = None

    def __enter__(self) -> VideoWriter:
        with contextlib.ExitStack() as resources:
            resources.enter_context(_explaining(self._path))
            partial = resources.enter_context(replacing(self._path))
            resources.callback(self._close)
            self._open(partial)
            self._resources = resources.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._resources.__exit__(kind, error, traceback)
            return
        with self._resources:
            self._finish()

    def write(self, frame: np.ndarray, pts_seconds: float) -> None:
        """Append a frame.

        Args:
            frame: uint8 (H, W, 3), RGB, upright.
            pts_seconds: its time on the source's clock, greater than that of the frame before.

        Raises:
            OutputError: the disk is full or gone.
            UsageError: the frame has another size or goes back in time.
        """
        width, height = self._size
        if frame.shape != (height, width, 3) or frame.dtype != np.uint8:
            raise UsageError(f"frame must be uint8 {(height, width, 3)}, found {frame.dtype} {frame.shape}")
        pts = round(pts_seconds / _TIME_BASE)
        if self._last_pts is not None and pts <= self._last_pts:
            before = float(self._last_pts * _TIME_BASE)
            raise UsageError(f"frame times must increase, found {pts_seconds} s after {before} s")
        self._last_pts = pts
        picture = av.VideoFrame.from_ndarray(_pad_to_even(frame), format="rgb24")
        converted = self._converter.reformat(picture, format="yuv420p", dst_colorspace=_BT709)
        converted.pts, converted.time_base = pts, _TIME_BASE
        with _explaining(self._path):
            if self._sound is not None:
                self._sound.write_until(pts_seconds)
            self._container.mux(self._stream.encode(converted))

    def _open(self, partial: Path) -> None:
        self._container = av.open(str(partial), "w", format="mp4", options={"movflags": "+faststart"})
        stream = self._container.add_stream("libx264", rate=30, options=self._options)
        width, height = self._size
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = _TIME_BASE
        # Without the tags players guess the colours from the picture's size, and guess differently.
        stream.codec_context.colorspace = _BT709
        stream.codec_context.color_primaries = _BT709
        stream.codec_context.color_trc = _BT709
        self._stream = stream
        if self._source is not None:
            with av.open(str(self._source)) as source:
                shape = _pixel_shape(source, self._source)
            if shape:
                stream.codec_context.sample_aspect_ratio = shape
            self._sound = SoundTrack(self._source, self._container)

    def _finish(self) -> None:
        if self._last_pts is None:
            raise OutputError(f"{self._path}: no frame was written; nothing was saved")
        self._container.mux(self._stream.encode(None))
        if self._sound is not None:
            self._sound.finish()
            self.warnings += self._sound.warnings
        self._container.close()

    def _close(self) -> None:
        if self._sound is not None:
            self._sound.close()
        if self._container is not None:
            with contextlib.suppress(OSError, av.FFmpegError):  # after an error its end cannot be written
                self._container.close()


def write_picture(path: str | Path, frame: np.ndarray) -> None:
    """Write an annotated still, in the format that the suffix names (.png, .jpg and others).

    Args:
        frame: uint8 (H, W, 3), RGB.

    Raises:
        OutputError: the suffix is unknown or the file cannot be written.
    """
    import cv2  # here, so that writing videos does not load it

    path = Path(path)
    try:
        done, encoded = cv2.imencode(path.suffix, cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    except cv2.error:
        done = False
    if not done:
        raise OutputError(f"{path}: no picture format is called {path.suffix!r}; use .png or .jpg")
    with replacing(path) as partial:
        partial.write_bytes(encoded.tobytes())


@contextlib.contextmanager
def _explaining(path: Path) -> Iterator[None]:
    """Turn errors of FFmpeg and the system into the one-line error of this package."""
    try:
        yield
    except (OSError, av.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"cannot write {path}: {reason}; check the folder and its free space") from error


def _pad_to_even(frame: np.ndarray) -> np.ndarray:
    """Repeat the last row and column where the size is odd: H.264 halves both for its colours."""
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(frame)


def _pixel_shape(source: av.container.InputContainer, path: Path) -> Fraction | None:
    """Return width / height of the source's pixels where they are not square, for the upright picture."""
    if not source.streams.video:
        return None
    stream = choose_stream(source, path)
    shape = stream.sample_aspect_ratio
    if not shape or shape == 1:
        return None
    first = next(source.decode(stream), None)
    turned = first is not None and turn_to_upright(first) % 180 == 90
    return 1 / shape if turned else shape
