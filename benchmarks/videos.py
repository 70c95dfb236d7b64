"""Videos made from real clips: of any length, and with any number of faces."""

from pathlib import Path

import av
import cv2
import numpy as np

_CANVAS_PX = (1280, 720)
_TILE_PX = (320, 180)
_GREY = 96


def loop_video(source: Path, target: Path, *, seconds: float) -> None:
    """Write a video's picture over and over, packets copied as they are, until it is so long."""
    with av.open(str(source)) as first:
        stream = first.streams.video[0]
        rounds = round(seconds / float(stream.duration * stream.time_base))
    _copy_packets(source, target, rounds=rounds, end_seconds=None)


def cut_video(source: Path, target: Path, *, seconds: float) -> None:
    """Write the first seconds of a video's picture, packets copied as they are."""
    _copy_packets(source, target, rounds=1, end_seconds=seconds)


def _copy_packets(source: Path, target: Path, *, rounds: int, end_seconds: float | None) -> None:
    with av.open(str(source)) as first, av.open(str(target), "w") as out:
        stream = first.streams.video[0]
        copy = out.add_stream_from_template(stream)
        length = stream.duration
        for number in range(rounds):
            with av.open(str(source)) as container:
                for packet in container.demux(container.streams.video[0]):
                    if packet.dts is None:
                        continue
                    if end_seconds is not None and packet.dts * packet.time_base >= end_seconds:
                        break
                    packet.pts += number * length
                    packet.dts += number * length
                    packet.stream = copy
                    out.mux(packet)


def tile_video(source: Path, target: Path, *, num_tiles: int, num_frames: int) -> None:
    """Write a video of 1280x720 on grey in which a clip of 16:9 plays several times side by side.

    Each tile is 320x180 whatever their number, and starts at another place of the clip, which goes on from
    its first frame after its last.
    """
    width, height = _CANVAS_PX
    across = width // _TILE_PX[0]
    if not 1 <= num_tiles <= across * (height // _TILE_PX[1]):
        raise ValueError(f"num_tiles must be between 1 and 16, found {num_tiles}")
    with av.open(str(source)) as container:
        rate = container.streams.video[0].average_rate
        frames = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
        tiles = [cv2.resize(frame, _TILE_PX, interpolation=cv2.INTER_AREA) for frame in frames]
    with av.open(str(target), "w") as out:
        stream = out.add_stream("libx264", rate=rate, options={"crf": "18", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(num_frames):
            canvas = np.full((height, width, 3), _GREY, np.uint8)
            for tile in range(num_tiles):
                x, y = tile % across * _TILE_PX[0], tile // across * _TILE_PX[1]
                shown = tiles[(number + tile * len(tiles) // num_tiles) % len(tiles)]
                canvas[y : y + _TILE_PX[1], x : x + _TILE_PX[0]] = shown
            out.mux(stream.encode(av.VideoFrame.from_ndarray(canvas, format="rgb24")))
        out.mux(stream.encode())
