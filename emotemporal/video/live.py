"""Read a camera, or a file or stream played as one: the newest picture, and when it came."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Protocol

import av
import numpy as np

from emotemporal.errors import VideoError
from emotemporal.text import is_address
from emotemporal.video.opening import open_file, open_stream
from emotemporal.video.probe import choose_stream, turn_to_upright
from emotemporal.video.timing import FrameClock

_USUAL_FRAME_SECONDS = 1 / 30
_MAX_LAG_SECONDS = 0.5
"""A file that cannot be decoded at its own pace is played slower once it lags behind by this."""


class LiveFrame(NamedTuple):
    """A picture of a camera."""

    image: np.ndarray
    """uint8 (H, W, 3), RGB, upright; H and W are those of the first picture."""
    frame_index: int
    """Number of the picture since the source was opened, from 0, those that were dropped included."""
    pts_seconds: float
    """Time on the source's clock, strictly increasing; of a camera since its first picture."""
    grabbed_seconds: float
    """When the source gave it, on the clock of `time.monotonic`."""


class PictureSource(Protocol):
    """What gives pictures one after another."""

    is_paced: bool
    """True if it gives them as fast as they are asked for, though they belong to certain times."""
    frame_seconds: float
    """Usual distance of two pictures."""

    def pictures(self) -> Iterator[tuple[np.ndarray, float]]:
        """Yield pictures uint8 (H, W, 3), RGB, and their times, NaN where unknown.

        Raises:
            VideoError: no more of them come, though there should be.
        """
        ...

    def close(self) -> None: ...


class LiveReader:
    """The pictures of a source as they come, to be iterated once.

    A thread takes every picture and keeps the newest: whoever is slower than the source gets those in between
    dropped, never late.

        with LiveReader("0") as reader:
            for frame in reader:
                ...

    Args:
        source: number of a camera, file, or address of a stream (with `://`); files, and streams of known
            length, are played at their own pace.
        drop: false gives every picture, of files without waiting for its time.
        timeout_seconds: longest wait for a picture.

    Attributes:
        num_grabbed: pictures that the source gave.
        num_dropped: of these, how many a newer one replaced.

    Raises:
        VideoError: the source cannot be opened; while iterating also: it gives no more pictures.
    """

    def __init__(self, source: str, *, drop: bool = True, timeout_seconds: float = 10.0) -> None:
        self.name = f"camera {source}" if source.isdecimal() else source
        self.num_grabbed = 0
        self.num_dropped = 0
        self._drop = drop
        self._timeout_seconds = timeout_seconds
        self._source = open_source(source, timeout_seconds=timeout_seconds)
        self._newest: LiveFrame | None = None
        self._error: Exception | None = None
        self._has_ended = False
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> LiveReader:
        if self._drop:
            self._thread = threading.Thread(target=self._grab, name="grabber", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            # A camera that hangs in its driver is left to the end of the process.
            self._thread.join(timeout=1.0)
            if self._thread.is_alive():
                return
        self._source.close()

    def __iter__(self) -> Iterator[LiveFrame]:
        if self._thread is None:
            yield from self._frames(paced=False)
            return
        while (frame := self._take()) is not None:
            yield frame

    def _take(self) -> LiveFrame | None:
        """Wait for a picture newer than the last; None at the end."""
        with self._changed:
            came = self._changed.wait_for(
                lambda: self._newest is not None or self._has_ended, self._timeout_seconds
            )
            if not came:
                raise VideoError(
                    f"{self.name}: no picture for {self._timeout_seconds:g} s; check that it runs"
                )
            frame, self._newest = self._newest, None
            if frame is None and self._error is not None:
                raise self._error
            return frame

    def _grab(self) -> None:
        try:
            for frame in self._frames(paced=self._source.is_paced):
                with self._changed:
                    self.num_dropped += self._newest is not None
                    self._newest = frame
                    self._changed.notify()
        except Exception as error:  # raised where the pictures are asked for
            self._error = error
        with self._changed:
            self._has_ended = True
            self._changed.notify()

    def _frames(self, *, paced: bool) -> Iterator[LiveFrame]:
        clock = FrameClock(start_seconds=0.0, frame_seconds=self._source.frame_seconds)
        offset: float | None = None
        """Of this machine's clock against the source's, where it is paced."""
        for image, seconds in self._source.pictures():
            placed = clock.place(seconds)
            grabbed = time.monotonic()
            if paced:
                offset = grabbed - placed if offset is None else offset
                wait = offset + placed - grabbed
                if wait < -_MAX_LAG_SECONDS:
                    offset -= wait
                elif wait > 0:
                    self._stop.wait(wait)
                # A camera's picture is there at its time, however long it takes until somebody looks.
                grabbed = offset + placed
            if self._stop.is_set():
                return
            self.num_grabbed += 1
            yield LiveFrame(image, self.num_grabbed - 1, placed, grabbed)


def open_source(source: str, *, timeout_seconds: float) -> PictureSource:
    """Open a camera by its number, else a file or stream.

    Raises:
        VideoError: it cannot be opened.
    """
    return CameraSource(int(source)) if source.isdecimal() else StreamSource(source, timeout_seconds)


class CameraSource:
    """A camera, by OpenCV, which knows those of every system."""

    is_paced = False

    def __init__(self, number: int) -> None:
        import cv2  # here, so that streams do not load it

        self._number = number
        self._cv2 = cv2
        level = cv2.utils.logging.getLogLevel()
        # What OpenCV's backends say of a missing camera takes six lines.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            self._capture = cv2.VideoCapture(number)
        finally:
            cv2.utils.logging.setLogLevel(level)
        if not self._capture.isOpened():
            raise VideoError(
                f"camera {number}: cannot be opened; check that it is connected, allowed and not in use"
            )
        # Queued pictures would only be older.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.frame_seconds = 1 / rate if rate > 0 else _USUAL_FRAME_SECONDS

    def pictures(self) -> Iterator[tuple[np.ndarray, float]]:
        started = None
        while True:
            there, bgr = self._capture.read()
            now = time.monotonic()
            if not there:
                raise VideoError(f"camera {self._number}: gives no more pictures; check that it is connected")
            started = now if started is None else started
            yield self._cv2.cvtColor(bgr, self._cv2.COLOR_BGR2RGB), now - started

    def close(self) -> None:
        self._capture.release()


class StreamSource:
    """A file or a stream from the net, by FFmpeg."""

    def __init__(self, address: str, timeout_seconds: float) -> None:
        self._address = address
        is_stream = is_address(address)
        try:
            self._container = (
                open_stream(address, timeout_seconds=timeout_seconds) if is_stream else open_file(address)
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(
                f"{address}: cannot be opened ({_reason(error)}); give a camera's number, a video or a stream"
            ) from error
        try:
            self._stream = choose_stream(self._container, address)
        except VideoError:
            self._container.close()
            raise
        # Several threads would hold back a frame each.
        self._stream.codec_context.thread_count = 1
        # What has no length comes when it comes.
        self.is_paced = self._container.duration is not None
        rate = self._stream.average_rate
        self.frame_seconds = 1 / float(rate) if rate else _USUAL_FRAME_SECONDS

    def pictures(self) -> Iterator[tuple[np.ndarray, float]]:
        size: tuple[int, int] | None = None
        for frame in self._decode():
            turn = turn_to_upright(frame)
            if size is None:
                size = (frame.width, frame.height) if turn % 180 == 0 else (frame.height, frame.width)
            width, height = size if turn % 180 == 0 else size[::-1]
            picture = frame.to_ndarray(format="rgb24", width=width, height=height)
            seconds = np.nan
            if frame.pts is not None and frame.time_base is not None:
                seconds = float(frame.pts * frame.time_base)
            yield np.ascontiguousarray(np.rot90(picture, -turn // 90)), seconds
        if size is None:
            raise VideoError(f"{self._address}: no frame can be decoded; check that it plays")

    def _decode(self) -> Iterator[av.VideoFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                raise VideoError(
                    f"{self._address}: gives no more pictures ({_reason(error)}); check that it is there"
                ) from error
            if packet is None:
                return
            try:
                yield from packet.decode()
            except av.FFmpegError:
                continue  # a damaged packet: the next key frame is whole again

    def close(self) -> None:
        self._container.close()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
