"""A whole video with everyone marked on every frame."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import av

from emotemporal.progress import Progress, silent
from emotemporal.report.canvas import RgbCanvas, YuvCanvas
from emotemporal.report.overlay import OverlayRenderer
from emotemporal.structures import VideoAnalysis
from emotemporal.video.ahead import ReadAhead
from emotemporal.video.planes import Colours, NotPlain, plain_frames
from emotemporal.video.reader import VideoReader
from emotemporal.video.writer import VideoWriter, write_picture

PlainFrames = ReadAhead[tuple[av.VideoFrame, Colours]]
"""The frames of a video as they are stored."""
_FRAMES_AHEAD = 8
"""Decoded while tables are written: 25 MB at 1080p."""
_DRAWN_AHEAD = 4


def decode_again(analysis: VideoAnalysis) -> PlainFrames:
    """Begin to decode a video once more, in a thread of its own, while other results are written.

    Args:
        analysis: of a video, not of a still picture.
    """
    return ReadAhead(plain_frames(analysis.info, analysis.pts_seconds), depth=_FRAMES_AHEAD)


def write_overlay(
    analysis: VideoAnalysis,
    path: str | Path,
    *,
    decoded: PlainFrames | None = None,
    on_progress: Progress = silent,
) -> list[str]:
    """Write the video, or picture, with boxes and labels drawn on every frame.

    Args:
        analysis: of the video, which is read again.
        path: the .mp4 (or picture) to write.
        decoded: what `decode_again` has begun, used up here.
    Returns: warnings, one line each.
    Raises:
        OutputError: it cannot be written.
        VideoError: the video can no longer be read.
    """
    info = analysis.info
    if not info.is_still:
        try:
            return _write_on_planes(analysis, decoded or decode_again(analysis), path, on_progress)
        except NotPlain:
            pass  # nothing of the file is left: it is written again, by way of RGB
    renderer = OverlayRenderer(analysis)
    with VideoReader(info.path) as reader:
        if info.is_still:
            batch = next(iter(reader))
            write_picture(path, renderer.draw(batch.data[0], 0), comment=analysis.provenance_line())
            return []
        done = 0
        with VideoWriter(path, **_frame_of(analysis)) as writer:
            for batch in reader:
                for frame, index, seconds in zip(
                    batch.data, batch.frame_index, batch.pts_seconds, strict=True
                ):
                    renderer.draw_on(partial(RgbCanvas, frame), int(index))  # the batch is ours alone
                    writer.write(frame, float(seconds))
                done += len(batch)
                on_progress("overlay", done, len(analysis.frame_index))
        return list(writer.warnings)


def _frame_of(analysis: VideoAnalysis) -> dict[str, Any]:
    """Return what an overlay has of its video, and the note on what made it."""
    info = analysis.info
    size = {"width": info.width, "height": info.height}
    return {**size, "source": info.path, "comment": analysis.provenance_line()}


def _write_on_planes(
    analysis: VideoAnalysis, decoded: PlainFrames, path: str | Path, on_progress: Progress
) -> list[str]:
    """Do `write_overlay` on the frames as they are stored.

    Raises:
        NotPlain: they cannot be used so; nothing is written.
    """
    total = len(analysis.frame_index)
    # Decoded, drawn on and encoded at once, each in a thread of its own.
    with (
        decoded,
        ReadAhead(_drawn_on(decoded, OverlayRenderer(analysis)), depth=_DRAWN_AHEAD) as frames,
        VideoWriter(path, **_frame_of(analysis)) as writer,
    ):
        for index, ((frame, colours), seconds) in enumerate(zip(frames, analysis.pts_seconds, strict=True)):
            writer.write_planes(frame, colours, float(seconds))
            on_progress("overlay", index + 1, total)
    return list(writer.warnings)


def _drawn_on(frames: PlainFrames, renderer: OverlayRenderer) -> Iterator[tuple[av.VideoFrame, Colours]]:
    for index, (frame, colours) in enumerate(frames):
        renderer.draw_on(partial(YuvCanvas, frame, colours), index)
        yield frame, colours
