"""Write annotated frames as an H.264 video with the sound of its source, or as a picture."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from emotemporal.errors import OutputError, UsageError
from emotemporal.files import replacing
from emotemporal.video.opening import absolute, open_video
from emotemporal.video.planes import BT709, Colours
from emotemporal.video.probe import choose_stream, turn_to_upright
from emotemporal.video.sound import SoundTrack

_TICKS_PER_SECOND = 90_000
_TIME_BASE = Fraction(1, _TICKS_PER_SECOND)


class VideoWriter:
    """An H.264 MP4 whose frames keep their exact times, beside the untouched sound of a source.

    The file is written under a temporary name in the same folder and takes its own name when it is
    complete; after an error nothing is left of it.

        with VideoWriter("out.mp4", width=640, height=360, source=Path("in.mp4")) as writer:
            writer.write(frame, pts_seconds)

    Args:
        width: of the upright frames, in pixels; odd sizes are padded by one row or column.
        source: file whose sound and pixel shape are carried over; may be the file that is replaced.
        qp: H.264 quality, 0 (lossless) to 51.
        preset: x264's effort. At 1080p `ultrafast` takes 7 ms of processor time a frame, `superfast` 18 for
            less than half the size and 1 dB more.
        comment: kept in the file's tag of that name.

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
        source: str | Path | None = None,
        qp: int = 26,
        preset: str = "ultrafast",
        comment: str = "",
    ) -> None:
        self.warnings: list[str] = []
        self._path = Path(path)
        self._size = (width, height)
        self._source = None if source is None else absolute(source)
        # A constant quantiser spares x264 the look ahead that a constant rate factor needs, a quarter of its
        # time. The filter of block edges, which `ultrafast` leaves out, takes 5% more and gives 1 dB. By
        # both, qp 26 is on average as like its source (SSIM) as crf 23 without, in files a quarter smaller.
        self._options = {"qp": str(qp), "preset": preset, "x264-params": "deblock=0,0"}
        self._colours: Colours | None = None
        self._comment = comment
        self._converter = VideoReformatter()
        self._opened: av.container.OutputContainer | None = None
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

    @property
    def _container(self) -> av.container.OutputContainer:
        assert self._opened is not None  # it is from `__enter__` on
        return self._opened

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
        # The array is not copied: the conversion is done before anyone can change it.
        picture = av.VideoFrame.from_numpy_buffer(_pad_to_even(frame), format="rgb24")
        converted = self._converter.reformat(picture, format="yuv420p", dst_colorspace=BT709.matrix)
        self.write_planes(converted, BT709, pts_seconds)

    def write_planes(self, frame: av.VideoFrame, colours: Colours, pts_seconds: float) -> None:
        """Append a frame as it is stored, of the video's size made even.

        Args:
            frame: its time and kind are overwritten.
            colours: of all frames.
            pts_seconds: as for `write`.

        Raises:
            OutputError: the disk is full or gone.
            UsageError: the frame goes back in time, or its colours are not those of the first.
        """
        if self._colours is None:
            self._name_colours(colours)
        elif colours != self._colours:
            raise UsageError(f"colours must be {self._colours}, found {colours}")
        pts = round(pts_seconds * _TICKS_PER_SECOND)
        if self._last_pts is not None and pts <= self._last_pts:
            before = self._last_pts / _TICKS_PER_SECOND
            raise UsageError(f"frame times must increase, found {pts_seconds} s after {before} s")
        if self._last_pts is None and pts < 0:
            # MP4 would hide what comes before time zero: picture and sound are shifted together.
            self._container.options["avoid_negative_ts"] = "make_non_negative"
        self._last_pts = pts
        frame.pts, frame.time_base = pts, _TIME_BASE
        frame.pict_type = PictureType.NONE  # x264 would repeat the kind that a decoded frame had
        with _explaining(self._path):
            if self._sound is not None:
                self._sound.write_until(pts_seconds)
            self._container.mux(self._stream.encode(frame))

    def _open(self, partial: Path) -> None:
        self._opened = av.open(str(partial), "w", format="mp4", options={"movflags": "+faststart"})
        if self._comment:
            self._container.metadata["comment"] = self._comment
        stream = self._container.add_stream("libx264", rate=30, options=self._options)
        width, height = self._size
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.time_base = stream.codec_context.time_base = _TIME_BASE
        self._stream = stream
        if self._source is not None:
            source = open_video(self._source)
            self._sound = SoundTrack(source, self._container)
            if shape := _pixel_shape(source, self._source):
                stream.codec_context.sample_aspect_ratio = shape

    def _name_colours(self, colours: Colours) -> None:
        """Put them on the video: its encoder is opened with the first frame."""
        context = self._stream.codec_context
        context.pix_fmt = colours.pixel_format
        # Without the tags players guess the colours from the picture's size, and guess differently. Where
        # a source's own planes are written and have no tags, the guess must be that for the source.
        context.colorspace, context.color_range = colours.matrix, colours.value_range
        context.color_primaries, context.color_trc = colours.primaries, colours.transfer
        self._colours = colours

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
        if self._opened is not None:
            with contextlib.suppress(OSError, av.FFmpegError):  # after an error its end cannot be written
                self._opened.close()


def write_picture(path: str | Path, frame: np.ndarray, *, comment: str = "") -> None:
    """Write an annotated still, in the format that the suffix names (.png, .jpg and others).

    Args:
        frame: uint8 (H, W, 3), RGB.
        comment: kept in a PNG's text of that name; other formats have no place for it.

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
        content = encoded.tobytes()
        partial.write_bytes(_with_comment(content, comment) if path.suffix.lower() == ".png" else content)


def _with_comment(png: bytes, comment: str) -> bytes:
    """Return a PNG with an iTXt chunk after its header, which ends at byte 33 (W3C PNG, third edition)."""
    chunk = b"iTXtComment" + bytes(5) + comment.encode()
    framed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return png[:33] + framed + png[33:] if comment else png


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


def _pixel_shape(source: av.container.InputContainer, path: str) -> Fraction | None:
    """Return width / height of the source's pixels where they are not square, for the upright picture."""
    if not source.streams.video:
        return None
    stream = choose_stream(source, path)
    shape = stream.sample_aspect_ratio
    if not shape or shape == 1:
        return None
    with open_video(path) as again:  # `source` is read for its sound
        first = next(again.decode(choose_stream(again, path)), None)
    turned = first is not None and turn_to_upright(first) % 180 == 90
    return 1 / shape if turned else shape
