"""Render the demo clip: `python examples/make_demo.py [OUTPUT]` writes examples/demo.mp4.

About eleven seconds in five shots with hard cuts: both people on a wall, one alone, a landscape without
anybody, the other alone, both again the other way round; a moving camera and soft sound throughout.
The same packages give the same bytes. Needs scikit-image (of the `test` extra); the clip itself does not.

Portraits, both works of the United States government and in the public domain:

- Eileen Collins, astronaut: NASA, from its Great Images collection (https://flic.kr/p/r9qvLn); as
  `skimage.data.astronaut()`.
- Grace Hopper, Commodore, later Rear Admiral: James S. Davis, United States Navy, 1984; as Matplotlib's
  sample data `grace_hopper.jpg`.

Everything else, picture and sound, is computed here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

WIDTH, HEIGHT, FPS = 854, 480, 25
SAMPLE_RATE = 48_000
# Scenes are painted, and seen through the camera, at twice the size of the clip.
SCENE_WIDTH, SCENE_HEIGHT = 2 * WIDTH, 2 * HEIGHT


@dataclass(frozen=True)
class View:
    """Where the camera looks, in scene pixels."""

    x: float
    y: float
    zoom: float
    """1 shows the whole scene."""
    degrees: float = 0.0
    light: float = 1.0


@dataclass(frozen=True, eq=False)
class Shot:
    """One scene, the camera's way through it, and its chord."""

    scene: np.ndarray
    """float32 (SCENE_HEIGHT, SCENE_WIDTH, 3), RGB in [0, 1]."""
    num_frames: int
    start: View
    end: View
    chord_hz: tuple[float, ...]
    wind: float = 0.0
    """Loudness of a rushing sound beneath the chord."""


def load_portraits() -> tuple[np.ndarray, np.ndarray]:
    """Return Eileen Collins (512, 512, 3) and Grace Hopper (600, 512, 3), float32 RGB in [0, 1]."""
    from matplotlib import cbook
    from PIL import Image
    from skimage.data import astronaut

    with cbook.get_sample_data("grace_hopper.jpg") as file, Image.open(file) as image:
        hopper = np.asarray(image.convert("RGB"))
    return astronaut().astype(np.float32) / 255, hopper.astype(np.float32) / 255


def paint_wall(
    left: np.ndarray, right: np.ndarray, *, colour: tuple[float, float, float], seed: int
) -> np.ndarray:
    """Hang two portraits side by side on a softly lit wall."""
    y, x = np.mgrid[0:SCENE_HEIGHT, 0:SCENE_WIDTH].astype(np.float32)
    light = np.full_like(x, 0.42)
    for centre in (0.29, 0.71):
        dx, dy = (x / SCENE_WIDTH - centre) / 0.26, (y / SCENE_HEIGHT - 0.40) / 0.62
        light += 0.62 * np.exp(-(dx**2) - dy**2)
    # Coarse plaster: fine grain would cost the clip its bits.
    grain = np.random.default_rng(seed).standard_normal((60, 107)).astype(np.float32)
    light += 0.012 * cv2.resize(grain, (SCENE_WIDTH, SCENE_HEIGHT), interpolation=cv2.INTER_CUBIC)
    scene = np.clip(light[..., None] * np.array(colour, np.float32), 0, 1)
    for portrait, centre in ((left, 0.29), (right, 0.71)):
        _hang(scene, portrait, x=round(centre * SCENE_WIDTH), y=round(0.48 * SCENE_HEIGHT))
    return scene


def _hang(scene: np.ndarray, portrait: np.ndarray, *, x: int, y: int) -> None:
    """Paint a picture 510 x 600 with mat, wooden frame and shadow around the point (x, y)."""
    picture = cv2.resize(portrait, (510, 600), interpolation=cv2.INTER_CUBIC)
    mat, wood = 34, 18
    outer_width, outer_height = 510 + 2 * (mat + wood), 600 + 2 * (mat + wood)
    left, top = x - outer_width // 2, y - outer_height // 2
    shadow = np.zeros(scene.shape[:2], np.float32)
    shadow[top + 16 : top + 16 + outer_height, left + 10 : left + 10 + outer_width] = 0.55
    scene *= 1 - cv2.GaussianBlur(shadow, (0, 0), 16)[..., None]
    # Frame, its lit inner edge, mat, the mat's cut, picture: each a rectangle within the last.
    for inset, colour in (
        (0, (0.16, 0.105, 0.07)),
        (wood - 5, (0.34, 0.24, 0.15)),
        (wood, (0.93, 0.915, 0.88)),
        (wood + mat - 3, (0.72, 0.70, 0.66)),
    ):
        rows = slice(top + inset, top + outer_height - inset)
        scene[rows, left + inset : left + outer_width - inset] = colour
    inset = wood + mat
    scene[top + inset : top + inset + 600, left + inset : left + inset + 510] = np.clip(picture, 0, 1)


def paint_close_up(portrait: np.ndarray, *, x: float) -> np.ndarray:
    """Fill the height of the scene with a portrait whose sides melt into its own blurred colours.

    Args:
        portrait: float32 (h, w, 3).
        x: centre of the portrait as a fraction of the scene's width.
    """
    height, width = portrait.shape[:2]
    size = (round(width * SCENE_HEIGHT / height), SCENE_HEIGHT)
    shown = np.clip(cv2.resize(portrait, size, interpolation=cv2.INTER_CUBIC), 0, 1)
    left = round(x * SCENE_WIDTH - size[0] / 2)
    right = SCENE_WIDTH - left - size[0]
    scene = cv2.copyMakeBorder(shown, 0, 0, left, right, cv2.BORDER_REPLICATE)
    scene = cv2.GaussianBlur(cv2.resize(scene, (214, 120), interpolation=cv2.INTER_AREA), (0, 0), 9)
    scene = cv2.resize(scene, (SCENE_WIDTH, SCENE_HEIGHT), interpolation=cv2.INTER_CUBIC)
    ramp = np.clip(np.arange(size[0], dtype=np.float32) / 130, 0, 1)
    opacity = np.minimum(ramp, ramp[::-1])
    opacity = (opacity**2 * (3 - 2 * opacity))[None, :, None]
    under = scene[:, left : left + size[0]]
    under += opacity * (shown - under)
    return np.clip(scene, 0, 1)


def paint_landscape() -> np.ndarray:
    """Hills at dusk, each ridge behind more haze."""
    y, x = np.mgrid[0:SCENE_HEIGHT, 0:SCENE_WIDTH].astype(np.float32)
    x, y = x / SCENE_HEIGHT, y / SCENE_HEIGHT
    low, high = np.array([0.99, 0.74, 0.52], np.float32), np.array([0.22, 0.36, 0.58], np.float32)
    blend = np.clip(y / 0.62, 0, 1)[..., None] ** 1.3
    scene = high + blend * (low - high)
    glow = np.exp(-(((x - 1.12) / 0.30) ** 2) - ((y - 0.47) / 0.22) ** 2)[..., None]
    scene += 0.35 * glow * np.array([1.0, 0.75, 0.45], np.float32)
    sun = np.clip((0.052 - np.hypot(x - 1.12, y - 0.47)) / 0.004, 0, 1)[..., None]
    scene += sun * (np.array([1.0, 0.95, 0.80], np.float32) - scene)
    near = np.array([0.07, 0.13, 0.16], np.float32)
    for depth, base in zip((0.72, 0.50, 0.27, 0.0), (0.55, 0.64, 0.75, 0.88), strict=True):
        wave = 2.1 + 1.3 * (1 - depth)
        ridge = base + 0.045 * np.sin(wave * x + 9 * depth) + 0.022 * np.sin(3.1 * wave * x + 4 * depth)
        ridge += 0.006 * np.sin(11 * wave * x + 2 * depth)
        cover = np.clip((y - ridge) / 0.003, 0, 1)[..., None]
        colour = near + depth * (np.array([0.80, 0.60, 0.55], np.float32) - near)
        scene += cover * (colour + 0.10 * np.clip(y - ridge, 0, 1)[..., None] - scene)
    return np.clip(scene, 0, 1).astype(np.float32)


def make_shots() -> list[Shot]:
    """Return the clip's five shots: both, Collins, nobody, Hopper, both."""
    collins, hopper = load_portraits()
    # Cut so that both faces hang on the wall at nearly the same size.
    collins_cut, hopper_cut = collins[:360, 72:378], hopper[:, 1:511]
    first = paint_wall(collins_cut, hopper_cut, colour=(0.66, 0.71, 0.70), seed=1)
    last = paint_wall(hopper_cut, collins_cut, colour=(0.74, 0.66, 0.57), seed=2)
    middle, half = SCENE_WIDTH / 2, SCENE_HEIGHT / 2
    return [
        Shot(first, 70, View(middle, half, 1.0), View(middle, half - 18, 1.16), (130.81, 196.0, 329.63)),
        Shot(
            paint_close_up(collins[:380], x=0.42),
            55,
            View(middle - 10, 440, 1.08, -1.5, 0.94),
            View(middle - 60, 410, 1.28, 1.0, 1.05),
            (146.83, 220.0, 349.23),
        ),
        Shot(
            paint_landscape(),
            30,
            View(middle - 70, half, 1.12),
            View(middle + 70, half, 1.12),
            (110.0, 164.81),
            wind=1.0,
        ),
        Shot(
            paint_close_up(hopper[:480], x=0.37),
            55,
            View(middle - 40, half - 40, 1.22, 1.2, 1.06),
            View(middle + 30, half - 20, 1.05, -1.0, 0.95),
            (123.47, 196.0, 293.66),
        ),
        Shot(
            last,
            60,
            View(middle - 60, half - 26, 1.13),
            View(middle + 60, half - 8, 1.08),
            (130.81, 196.0, 261.63),
        ),
    ]


def render_frames(shot: Shot) -> Iterator[np.ndarray]:
    """Yield the frames of a shot: uint8 (HEIGHT, WIDTH, 3), RGB."""
    for i in range(shot.num_frames):
        t = i / (shot.num_frames - 1)
        t = 0.3 * t + 0.7 * t * t * (3 - 2 * t)  # starts and ends slowly without standing still
        a, b = shot.start, shot.end
        x, y = a.x + t * (b.x - a.x), a.y + t * (b.y - a.y)
        turn = cv2.getRotationMatrix2D(
            (x, y), a.degrees + t * (b.degrees - a.degrees), a.zoom * (b.zoom / a.zoom) ** t
        )
        turn[:, 2] += (SCENE_WIDTH / 2 - x, SCENE_HEIGHT / 2 - y)
        seen = cv2.warpAffine(
            shot.scene,
            turn,
            (SCENE_WIDTH, SCENE_HEIGHT),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        seen = cv2.resize(seen, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        yield np.clip(255 * seen * (a.light + t * (b.light - a.light)) + 0.5, 0, 255).astype(np.uint8)


def render_sound(shots: list[Shot]) -> np.ndarray:
    """Return float32 (2, N): a soft chord for each shot, each fading into the next."""
    lengths = [shot.num_frames * SAMPLE_RATE // FPS for shot in shots]
    fade = SAMPLE_RATE // 5
    sound = np.zeros((2, sum(lengths)))
    rng = np.random.default_rng(3)
    start = 0
    for shot, length in zip(shots, lengths, strict=True):
        end = min(start + length + fade, sound.shape[1])
        t = np.arange(end - start) / SAMPLE_RATE
        envelope = np.minimum(1, np.arange(end - start) / fade) * np.minimum(
            1, np.arange(end - start, 0, -1) / fade
        )
        for side in (0, 1):
            for k, hertz in enumerate(shot.chord_hz):
                # The two ears get slightly different tones, which makes the chord wide and calm.
                tone = 2 * np.pi * hertz * (1 + (0.0012 if side else -0.0012)) * t
                swell = 1 + 0.25 * np.sin(2 * np.pi * (0.23 + 0.07 * k) * t + k + side)
                sound[side, start:end] += envelope * swell * (np.sin(tone) + 0.2 * np.sin(2 * tone)) * 0.045
            if shot.wind:
                noise = rng.standard_normal(end - start)
                smooth = np.exp(-0.5 * (np.arange(-120, 121) / 40) ** 2)
                rush = np.convolve(noise, smooth / np.sqrt((smooth**2).sum()), mode="same")
                sound[side, start:end] += envelope**2 * shot.wind * 0.02 * rush
        start += length
    return sound.astype(np.float32)


def write_clip(shots: list[Shot], path: Path) -> None:
    """Encode the shots as H.264 and AAC; the file appears complete or not at all."""
    temporary = path.with_name(f".{path.stem}-{os.getpid()}.part")
    try:
        with av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            # With its AVX-512 code, or on several threads, x264 gives other bytes on every run: here it
            # works in plain C, which takes under a minute.
            options = {"crf": "21", "preset": "medium", "x264-params": "asm=0"}
            video = container.add_stream("libx264", rate=FPS, options=options)
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            video.codec_context.time_base = Fraction(1, FPS)
            video.codec_context.thread_count = 1
            audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
            audio.bit_rate = 80_000
            pictures = (picture for shot in shots for picture in render_frames(shot))
            for index, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, FPS)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
            samples = av.AudioFrame.from_ndarray(render_sound(shots), format="fltp", layout="stereo")
            samples.sample_rate, samples.pts, samples.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
            container.mux(audio.encode(samples))
            container.mux(audio.encode(None))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def main(argv: list[str]) -> int:
    if len(argv) > 1 or any(argument.startswith("-") for argument in argv):
        print("usage: make_demo.py [OUTPUT]", file=sys.stderr)
        return 2
    path = Path(argv[0]) if argv else Path(__file__).with_name("demo.mp4")
    write_clip(make_shots(), path)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
