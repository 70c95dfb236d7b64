"""The decoders, as they run in the child process: a job in, upright RGB frames out."""

from __future__ import annotations

import heapq
import os
import re
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import ModuleType
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from emotemporal.video.opening import open_video
from emotemporal.video.probe import turn_to_upright, video_stream
from emotemporal.video.timing import RESTART_FRAMES

DECODERS = {
    "decord": "emotemporal.video.decoders:decode_with_decord",
    "pyav": "emotemporal.video.decoders:decode_with_pyav",
}
"""Where the function of each decoder is found, `module:function`; the child process imports it by name."""

MAX_THREADS = 4
"""Each thread holds frames of its own, and the faces are slower than any decoder."""
_LOOK_AHEAD_FRAMES = 16
"""Times are sorted within this many frames, the deepest reordering H.264 and HEVC know."""
_LOOK_AHEAD_BYTES = 64 << 20


@dataclass(frozen=True)
class DecodeJob:
    """What a decoder is asked for."""

    path: str
    stream_index: int
    width: int
    """Of the upright picture that is delivered, whatever the size of single frames."""
    height: int
    num_frames: int | None
    frame_seconds: float
    """Usual distance of two frames."""
    skip: int = 0
    """Frames that were delivered before: decoded again, but not converted."""


class DecodedFrame(NamedTuple):
    """One frame in display order."""

    pixels: np.ndarray | None
    """uint8 (H, W, 3), RGB, upright; valid until the next frame. None for a skipped frame."""
    seconds: float
    """Its time; NaN where unknown."""
    note: str | None = None
    """`rescaled` or `reordered` where something had to be done to it."""


class DamagedFile(Exception):
    """Decoding ended before the file did; what was delivered until then stands."""


class DecoderFault(Exception):
    """The decoder contradicts the file."""


def decode_with_pyav(job: DecodeJob) -> Iterator[DecodedFrame]:
    """Decode with PyAV.

    Some files give frames in display order with their times shuffled. Times are therefore sorted over a
    few frames of look-ahead, which is a no-op for all others.

    Raises:
        DamagedFile: after the last frame that decodes, where that is not the end.
    """
    threads = min(MAX_THREADS, os.cpu_count() or 1)
    given = 0
    if threads > 1:
        try:
            for frame in _decode_sorted(job, threads):
                given += 1
                yield frame
            return
        except DamagedFile:
            pass
    # Where one of several threads meets an error, frames before it that others have in hand are lost.
    yield from _decode_sorted(replace(job, skip=max(job.skip, given)), 1)


def _decode_sorted(job: DecodeJob, threads: int) -> Iterator[DecodedFrame]:
    """Do `decode_with_pyav`; several threads keep the frames they wait with to themselves after an error."""
    converter = VideoReformatter()
    waiting: deque[av.VideoFrame] = deque()
    times: list[float] = []
    damage = None
    position = 0
    newest = -np.inf

    def release() -> DecodedFrame:
        nonlocal position
        frame = waiting.popleft()
        own = _seconds_of(frame)
        seconds = own if np.isnan(own) else heapq.heappop(times)
        position += 1
        if position <= job.skip:
            return DecodedFrame(None, seconds)
        pixels, rescaled = _to_upright_rgb(frame, converter, job)
        note = "rescaled" if rescaled else "reordered" if seconds < own or seconds > own else None
        return DecodedFrame(pixels, seconds, note)

    with open_video(job.path) as container:
        stream = video_stream(container, job.stream_index)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        frames = container.decode(stream)
        while True:
            try:
                frame = next(frames, None)
            except av.FFmpegError as error:
                damage = error
                break
            if frame is None:
                break
            if not np.isnan(own := _seconds_of(frame)):
                if own < newest - RESTART_FRAMES * job.frame_seconds:
                    while waiting:  # nothing is sorted across a restart of the clock
                        yield release()
                newest = own
                heapq.heappush(times, own)
            waiting.append(frame)
            depth = min(_LOOK_AHEAD_FRAMES, _LOOK_AHEAD_BYTES // (frame.width * frame.height * 3 // 2))
            while len(waiting) > depth:
                yield release()
        while waiting and (threads == 1 or damage is None):
            yield release()
        if threads > 1 and stream.codec_context.name == "libdav1d" and position < (job.num_frames or 0):
            raise DamagedFile("dav1d's threads lose the last frames before an error, and the error")
    if damage is not None:
        raise DamagedFile(damage.strerror or type(damage).__name__)


def decode_with_decord(job: DecodeJob) -> Iterator[DecodedFrame]:
    """Decode with decord, from the first frame on: nothing is ever skipped for it.

    Raises:
        DecoderFault: decord fails, or expects other frames than the file has.
    """
    # decord2 maps every CUDA library that is installed as a wheel, 400 MB; this process needs none.
    sys.modules.setdefault("nvidia", None)  # type: ignore[arg-type] # None: not to be found
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    try:
        yield from _decode_in_order(decord, job)
    except decord.DECORDError as error:
        places = r"\[[\d:]+\] \S+:\d+: "  # of decord's sources, and the time of day, before each message
        raise DecoderFault(re.sub(places, "", str(error)).splitlines()[0]) from error


def _decode_in_order(decord: ModuleType, job: DecodeJob) -> Iterator[DecodedFrame]:
    video = decord.VideoReader(job.path, num_threads=min(MAX_THREADS, os.cpu_count() or 1))
    if job.num_frames is not None and len(video) != job.num_frames:
        raise DecoderFault(f"it expects {len(video)} frames, the file has {job.num_frames}")
    seconds = video.get_frame_timestamp(list(range(len(video))))[:, 0].astype(np.float64)
    for position in range(len(video)):
        # One by one: `get_batch` seeks, and raises on files that decode well in order.
        pixels = video.next().asnumpy()
        if pixels.shape != (job.height, job.width, 3):
            raise DecoderFault(f"its picture is {pixels.shape}, expected {(job.height, job.width, 3)}")
        yield DecodedFrame(pixels, float(seconds[position]))


def _seconds_of(frame: av.VideoFrame) -> float:
    return np.nan if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)


def _to_upright_rgb(
    frame: av.VideoFrame, converter: VideoReformatter, job: DecodeJob
) -> tuple[np.ndarray, bool]:
    """Return the upright picture, uint8 (H, W, 3), and whether it had to be rescaled."""
    turn = turn_to_upright(frame)
    width, height = (job.width, job.height) if turn % 180 == 0 else (job.height, job.width)
    rescaled = (frame.width, frame.height) != (width, height)
    converted = converter.reformat(frame, width=width, height=height, format="rgb24")
    plane = converted.planes[0]  # its rows are padded to a multiple of some bytes
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(height, plane.line_size)
    picture = rows[:, : 3 * width].reshape(height, width, 3)
    return np.rot90(picture, -turn // 90), rescaled
