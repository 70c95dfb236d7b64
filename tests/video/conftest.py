"""Small videos with known pixels and times: each frame is one level of gray."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

TIME_BASE = Fraction(1, 90_000)


def _gray_of(index: int) -> int:
    return 40 + 37 * index % 160  # neighbours differ by far more than the coding error


def _gray_frame(index: int, width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), _gray_of(index), np.uint8)


@pytest.fixture
def gray_of() -> Callable[[int], int]:
    """Level of a frame by its index."""
    return _gray_of


@pytest.fixture
def gray_frame() -> Callable[[int, int, int], np.ndarray]:
    """Frame by index, width and height."""
    return _gray_frame


def _write_sound(container: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    rate = stream.codec_context.sample_rate
    wave = np.sin(np.arange(int(seconds * rate)) * (2 * np.pi * 440 / rate))
    samples = (wave * 8000).astype(np.int16)[None]
    frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    for part in [*av.AudioResampler(stream.format.name, "mono", rate).resample(frame)]:
        container.mux(stream.encode(part))
    container.mux(stream.encode(None))


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a video and returns its path."""

    def make(
        name: str = "clip.mp4",
        *,
        times: Sequence[float] = tuple(np.arange(12) / 25),
        size: tuple[int, int] = (160, 96),
        codec: str = "libx264",
        pixel_format: str = "yuv420p",
        rotation: int = 0,
        pixel_shape: Fraction | None = None,
        sound: str | None = None,
        sound_seconds: float = 1.0,
        picture: Callable[[int, int, int], np.ndarray] = _gray_frame,
        container_options: dict[str, str] | None = None,
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w", options=container_options or {}) as container:
            options = {"bf": "2", "preset": "veryfast"} if codec == "libx264" else {}
            stream = container.add_stream(codec, rate=25, options=options)
            stream.width, stream.height = size
            stream.pix_fmt = pixel_format
            # AVI counts frames, and MPEG-4 has no fine clock.
            base = Fraction(1, 25) if codec == "mpeg4" else TIME_BASE
            stream.time_base = stream.codec_context.time_base = base
            if pixel_shape:
                stream.codec_context.sample_aspect_ratio = pixel_shape
            if rotation:
                stream.set_display_rotation(rotation)
            voice = container.add_stream(sound, rate=44_100, layout="mono") if sound else None
            for index, seconds in enumerate(times):
                frame = av.VideoFrame.from_ndarray(picture(index, *size), format="rgb24")
                frame = frame.reformat(format=pixel_format)
                frame.pts, frame.time_base = round(seconds / base), base
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
            if voice is not None:
                _write_sound(container, voice, sound_seconds)
        return path

    return make


@pytest.fixture
def sound_only(tmp_path: Path) -> Path:
    path = tmp_path / "voice.mp4"
    with av.open(str(path), "w") as container:
        _write_sound(container, container.add_stream("aac", rate=44_100, layout="mono"), 0.5)
    return path


@pytest.fixture
def clips(data_folder: Path) -> Path:
    """The development clips."""
    return data_folder / "clips"
