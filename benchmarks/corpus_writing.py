"""Write small videos with every peculiarity that files have: what `corpus.py` lists is made of these."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.stream import Disposition

FINE = Fraction(1, 90_000)
"""Clock of containers that have one of their own choice."""
RATE = 25
TIMES = tuple(index / RATE for index in range(12))
_AUDIO_RATE = 48_000
_QUIET = {
    "libx265": {"x265-params": "log-level=none"},
    "libx264": {"preset": "veryfast", "bf": "2"},
    "libsvtav1": {"preset": "12"},
}
"""Options of encoders that talk or are slow by themselves."""


def picture(index: int, width: int, height: int) -> np.ndarray:
    """Return a frame, uint8 (H, W, 3): a slope whose brightness tells the index, and a bar that moves."""
    slope = np.linspace(0, 60, width)[None] + np.linspace(0, 60, height)[:, None]
    frame = np.repeat((slope + 30 + 37 * index % 90)[..., None], 3, axis=2)
    left = 5 * index % width
    frame[:, left : left + max(1, width // 8), 0] = 230
    return frame.astype(np.uint8)


def write_video(
    path: Path,
    *,
    codec: str = "libx264",
    times: Sequence[float] = TIMES,
    size: tuple[int, int] = (160, 96),
    pixel_format: str = "yuv420p",
    clock: Fraction = FINE,
    options: Mapping[str, str] | None = None,
    container: str | None = None,
    container_options: Mapping[str, str] | None = None,
    rotation: int = 0,
    pixel_shape: Fraction | None = None,
    full_range: bool = False,
    interlaced: bool = False,
    sound: str | None = None,
    sound_seconds: float = 0.5,
    sound_start: float = 0.0,
    num_streams: int = 1,
    subtitles: str | None = None,
    cover_first: bool | None = None,
) -> None:
    """Write a video.

    Args:
        times: of the frames in seconds; the container rounds them to its clock, or moves them all.
        clock: the encoder's unit of time.
        sound: codec of a sound track, and how long it is and when it begins.
        num_streams: video streams, all alike.
        subtitles: codec of a subtitle stream.
        cover_first: an attached picture before (True) or after (False) the video stream.
    """
    with av.open(str(path), "w", format=container, options=dict(container_options or {})) as output:
        if cover_first:
            cover = _add_cover(output)
        videos = []
        for _ in range(num_streams):
            video = output.add_stream(codec, rate=RATE, options={**_QUIET.get(codec, {}), **(options or {})})
            video.width, video.height, video.pix_fmt = *size, pixel_format
            video.time_base = video.codec_context.time_base = clock
            if pixel_shape:
                video.codec_context.sample_aspect_ratio = pixel_shape
            if full_range:
                video.codec_context.color_range = 2
            if rotation:
                video.set_display_rotation(rotation)
            videos.append(video)
        if cover_first is False:
            cover = _add_cover(output)
        voice = _add_voice(output, sound) if sound else None
        words = output.add_mux_stream(subtitles) if subtitles else None
        if cover_first is not None:
            output.mux(_cover_packet(cover))
        for index, seconds in enumerate(times):
            for video in videos:
                frame = av.VideoFrame.from_ndarray(picture(index, *size), format="rgb24")
                frame = frame.reformat(
                    format=pixel_format, dst_color_range=2 if full_range or "yuvj" in pixel_format else 0
                )
                frame.pts, frame.time_base = round(seconds / clock), clock
                output.mux(video.encode(frame))
        for video in videos:
            output.mux(video.encode(None))
        if voice is not None:
            _write_sound(output, voice, seconds=sound_seconds, start=sound_start)
        if words is not None:
            _write_words(output, words, subtitles)


def write_joined(path: Path, **settings: object) -> None:
    """Write two transport streams, of two sizes, one after the other, into one file."""
    with ExitStack() as parts:
        content = b""
        for size in ((160, 96), (96, 64)):
            part = path.with_name(f"part{size[0]}.ts")
            parts.callback(part.unlink)
            write_video(part, size=size, **settings)
            content += part.read_bytes()
        path.write_bytes(content)


def write_hidden_start(path: Path, *, skipped_seconds: float = 0.16) -> None:
    """Write an MP4 whose edit list hides frames: its packets begin before time zero."""
    shifted = [seconds - skipped_seconds for seconds in TIMES]
    write_video(path, times=shifted, container_options={"avoid_negative_ts": "disabled"})


def write_sound_only(path: Path, *, cover: bool = False) -> None:
    """Write sound without a video, on request with a cover picture."""
    with av.open(str(path), "w") as output:
        voice = output.add_stream("aac", rate=_AUDIO_RATE, layout="mono")
        if cover:
            image = _add_cover(output)
            output.mux(_cover_packet(image))
        _write_sound(output, voice, seconds=0.5, start=0.0)


def write_sequence(pattern: Path, *, first: int = 0, num_frames: int = 12) -> None:
    """Write numbered pictures by a pattern as `frames/%05d.png`."""
    pattern.parent.mkdir(parents=True, exist_ok=True)
    for index in range(num_frames):
        cv2.imwrite(str(pattern.with_name(pattern.name % (first + index))), picture(index, 80, 48))


def write_gap(pattern: Path) -> None:
    """Write numbered pictures of which one is missing."""
    write_sequence(pattern)
    pattern.with_name(pattern.name % 3).unlink()


def write_still(path: Path) -> None:
    """Write one picture in the format its suffix names."""
    cv2.imwrite(str(path), picture(0, 80, 48))


def write_animation(path: Path) -> None:
    """Write an animated WebP."""
    animation = cv2.Animation()
    animation.frames = [picture(index, 80, 48) for index in range(6)]
    animation.durations = [40] * 6
    path.write_bytes(cv2.imencodeanimation(".webp", animation)[1].tobytes())


def write_text(path: Path) -> None:
    """Write words where a video is expected."""
    path.write_text("this is no video\n" * 40)


def _add_voice(output: av.container.OutputContainer, codec: str) -> av.AudioStream:
    # FFmpeg's own Vorbis is an experiment to it, and knows two channels only.
    options, layout = ({"strict": "experimental"}, "stereo") if codec == "vorbis" else ({}, "mono")
    voice = output.add_stream(codec, rate=_AUDIO_RATE, layout=layout, options=options)
    voice.codec_context.bit_rate = 128_000
    return voice


def _write_sound(
    output: av.container.OutputContainer, stream: av.AudioStream, *, seconds: float, start: float
) -> None:
    context = stream.codec_context
    wave = np.sin(np.arange(int(seconds * _AUDIO_RATE)) * (2 * np.pi * 440 / _AUDIO_RATE))
    frame = av.AudioFrame.from_ndarray((wave * 8000).astype(np.int16)[None], format="s16", layout="mono")
    frame.sample_rate, frame.time_base = _AUDIO_RATE, Fraction(1, _AUDIO_RATE)
    frame.pts = round(start * _AUDIO_RATE)
    size = 1024 if context.frame_size is None else context.frame_size or 1024
    converter = av.AudioResampler(context.format.name, context.layout, context.sample_rate, frame_size=size)
    for part in [*converter.resample(frame), *converter.resample(None)]:
        output.mux(stream.encode(part))
    output.mux(stream.encode(None))


def _write_words(output: av.container.OutputContainer, stream: av.stream.Stream, codec: str) -> None:
    text = b"\x00\x05words" if codec == "mov_text" else b"words"
    packet = av.Packet(text)
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = 100
    packet.duration = 200
    output.mux(packet)


def _add_cover(output: av.container.OutputContainer) -> av.VideoStream:
    stream = output.add_stream("mjpeg", rate=1)
    stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
    stream.disposition = Disposition.attached_pic
    return stream


def _cover_packet(stream: av.VideoStream) -> list[av.Packet]:
    frame = av.VideoFrame.from_ndarray(picture(0, 64, 64), format="rgb24").reformat(format="yuvj420p")
    frame.pts, frame.time_base = 0, Fraction(1, 1)
    return [*stream.encode(frame), *stream.encode(None)]
