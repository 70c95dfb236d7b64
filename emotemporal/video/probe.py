"""Find out what a video file is, from its packets rather than from what its header claims."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

from emotemporal.errors import VideoError
from emotemporal.structures import VideoInfo
from emotemporal.text import is_address
from emotemporal.video.opening import MAX_PIXELS, open_video, require_file
from emotemporal.video.pictures import is_picture, read_picture

_RATE_TOLERANCE_SECONDS = 0.002
"""Frame distances may differ by this much at a constant rate: containers round times to milliseconds."""

_DECORD_FORMATS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2"})
_DECORD_CODECS = frozenset({"h264"})
_DECORD_PIXEL_FORMATS = frozenset({"yuv420p", "yuvj420p"})
# decord decodes ahead of its reader without any limit. Stopping its process while the buffer is full keeps
# that small on a clip; on a long video it still grew to some 200 MB.
_MAX_DECORD_BYTES = 20_000_000


@dataclass(frozen=True, eq=False)
class Source:
    """A video file as its packets show it, with what the reader needs beyond `VideoInfo`."""

    info: VideoInfo
    stream_index: int
    pts_seconds: np.ndarray
    """float64 (N,), sorted times of the packets that are meant to be shown; unknown ones left out."""
    frame_seconds: float
    """Usual distance of two frames."""
    promised_frames: int
    """What the container claims to show; 0 where it claims nothing."""
    decord_doubt: str | None
    """Why decord is not trusted with this file; None where it is."""


@dataclass(frozen=True)
class _Packets:
    """Times and marks of all packets of one stream."""

    pts_seconds: np.ndarray
    """float64 (N,), in the file's order, of the packets that are shown; NaN where unknown."""
    num_discarded: int
    changes_parameters: bool
    last_duration_seconds: float


def probe_video(path: str | Path) -> VideoInfo:
    """Return what a video or still picture is.

    Reads every packet of the file and decodes one frame: only a decoded frame tells its rotation, and
    its size for certain.

    Raises:
        VideoError: the file is missing, empty, not a video, or has no frame that decodes.
    """
    if is_picture(path):
        return describe_picture(path, read_picture(require_file(path)))
    return inspect_video(path).info


def describe_picture(path: str | Path, picture: np.ndarray) -> VideoInfo:
    """Return the `VideoInfo` of a still picture, uint8 (H, W, 3)."""
    height, width = picture.shape[:2]
    return VideoInfo(
        path=str(path),
        width=width,
        height=height,
        num_frames=1,
        average_fps=0.0,
        start_seconds=0.0,
        duration_seconds=0.0,
        has_audio=False,
        variable_frame_rate=False,
        is_still=True,
    )


def inspect_video(path: str | Path) -> Source:
    """Read a video's packets and its first frame.

    Raises:
        VideoError: as `probe_video`.
    """
    try:
        with open_video(path) as container:
            stream = choose_stream(container, path)
            index, packets = stream.index, _read_packets(container, stream)
        with open_video(path) as container:
            stream = video_stream(container, index)
            first = _decode_first(container, stream, path)
            return _describe(container, stream, packets, first, path)
    except av.FFmpegError as error:
        reason = error.strerror or type(error).__name__
        raise VideoError(
            f"{path}: not a video, or damaged beyond use ({reason}); check that it plays, or convert it"
        ) from error


def turn_to_upright(frame: av.VideoFrame) -> int:
    """Return the clockwise turn in degrees that makes a decoded frame upright: 0, 90, 180 or 270."""
    return round(-frame.rotation / 90) * 90 % 360  # FFmpeg's display matrix counts counter-clockwise


def video_stream(container: av.container.InputContainer, index: int) -> av.VideoStream:
    """Return the video stream at a position among all streams."""
    return next(stream for stream in container.streams.video if stream.index == index)


def choose_stream(container: av.container.InputContainer, path: str | Path) -> av.VideoStream:
    """Return the first video stream that is not a cover picture and can be decoded."""
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    for stream in streams:
        if stream.codec_context is not None:
            return stream
    if streams:
        raise VideoError(f"{path}: its codec is unknown to FFmpeg; convert it to H.264 MP4")
    found = "only sound" if container.streams.audio else "no picture and no sound"
    raise VideoError(f"{path}: no video stream, {found} was found; give a file with a picture")


def _read_packets(container: av.container.InputContainer, stream: av.VideoStream) -> _Packets:
    times: list[float] = []
    num_discarded, changes, last = 0, False, 0.0
    try:
        for packet in container.demux(stream):
            if not packet.size:  # the flush packet at the end
                continue
            changes = changes or (bool(times) and packet.has_sidedata("new_extradata"))
            if packet.is_discard:  # the file's edit list says that it is decoded but not shown
                num_discarded += 1
                continue
            times.append(np.nan if packet.pts is None else float(packet.pts * packet.time_base))
            last = float((packet.duration or 0) * packet.time_base)
    except av.FFmpegError:
        if not times:
            raise
    return _Packets(np.array(times, dtype=np.float64), num_discarded, changes, last)


def _decode_first(
    container: av.container.InputContainer, stream: av.VideoStream, path: str | Path
) -> av.VideoFrame:
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_PIXELS:
        raise VideoError(f"{path}: frames of {width}x{height}, more than {MAX_PIXELS} pixels; scale it down")
    stream.codec_context.thread_count = 1
    for frame in container.decode(stream):
        return frame
    raise VideoError(f"{path}: no frame can be decoded; the file is cut off or damaged, copy it again")


def _describe(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    packets: _Packets,
    first: av.VideoFrame,
    path: str | Path,
) -> Source:
    turn = turn_to_upright(first)
    width, height = (first.width, first.height) if turn % 180 == 0 else (first.height, first.width)
    known = np.sort(packets.pts_seconds[~np.isnan(packets.pts_seconds)])
    complete = len(known) == len(packets.pts_seconds) and bool(np.all(np.diff(known) > 0))
    steps = np.diff(known)
    steps = steps[steps > 0]
    claimed = 1 / float(stream.average_rate) if stream.average_rate else 0.04
    frame_seconds = float(np.median(steps)) if len(steps) else packets.last_duration_seconds or claimed
    num_before = int(np.argmin(np.isnan(packets.pts_seconds))) if len(known) else 0
    # Matroska's times below zero are unknown to FFmpeg: they are counted back from the first that is known.
    start = float(known[0]) - num_before * frame_seconds if len(known) else 0.0
    num_packets = len(packets.pts_seconds)
    span = float(known[-1] - known[0]) if complete and num_packets else (num_packets - 1) * frame_seconds
    duration = max(span, 0.0) + (packets.last_duration_seconds or frame_seconds)
    info = VideoInfo(
        path=str(path),
        width=width,
        height=height,
        num_frames=num_packets if complete else None,
        average_fps=num_packets / duration if duration > 0 else 0.0,
        start_seconds=start,
        duration_seconds=duration,
        has_audio=bool(container.streams.audio),
        variable_frame_rate=len(steps) > 0 and bool(np.ptp(steps) > _RATE_TOLERANCE_SECONDS),
        rotation_degrees=turn,
    )
    return Source(
        info=info,
        stream_index=stream.index,
        pts_seconds=known,
        frame_seconds=frame_seconds,
        promised_frames=max(0, stream.frames - packets.num_discarded),
        decord_doubt=_doubt_decord(container, stream, packets, info),
    )


def _doubt_decord(
    container: av.container.InputContainer, stream: av.VideoStream, packets: _Packets, info: VideoInfo
) -> str | None:
    """Return the first reason not to trust decord with a file.

    Each condition stands for files on which decord was seen to raise, hang, invent frames or give wrong
    times; where none holds its frames were equal to PyAV's, pixel by pixel.
    """
    context = stream.codec_context
    doubts = {
        "an address": is_address(info.path),
        "a name that is not UTF-8": info.path != info.path.encode(errors="ignore").decode(),
        f"container {container.format.name}": container.format.name not in _DECORD_FORMATS,
        f"codec {context.name}": context.name not in _DECORD_CODECS,
        "a picture narrower than 128 px": info.width < 128,  # decord takes the padding for a fourth colour
        f"pixel format {context.pix_fmt}": context.pix_fmt not in _DECORD_PIXEL_FORMATS,
        "missing or repeated frame times": info.num_frames is None,
        "variable frame rate": info.variable_frame_rate,
        "an edit list hides frames": packets.num_discarded > 0,
        f"the first frame is at {info.start_seconds:.3f} s": abs(info.start_seconds) > 0.001,
        "the container's frame count is wrong": stream.frames not in (0, info.num_frames),
        "a turned picture": info.rotation_degrees != 0,
        "the coding parameters change within the file": packets.changes_parameters,
        "more than one video stream": len(container.streams.video) > 1,
        "a long video": container.size > _MAX_DECORD_BYTES,
    }
    return next((reason for reason, holds in doubts.items() if holds), None)
