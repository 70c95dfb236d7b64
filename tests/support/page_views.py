"""A video for the report page, and what is seen of it in a browser."""

import base64
from fractions import Fraction
from pathlib import Path
from time import monotonic

import av
import cv2
import numpy as np
import pytest

from emotemporal.labels import FER7
from emotemporal.report.palette import emotion_colour

HAPPY, SAD = FER7.index("happy"), FER7.index("sad")
NUM_FRAMES = 50
BOX = (200, 60, 280, 150)


def write_video(path: Path, *, start: float = 0.0, rotation: int = 0, codec: str = "libx264") -> Path:
    """Write two seconds whose frame `i` is all of the gray level `5 i`; of 320x180 when upright."""
    width, height = (320, 180) if rotation % 180 == 0 else (180, 320)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for index in range(NUM_FRAMES):
            picture = np.full((height, width, 3), 5 * index, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(1000 * start) + 40 * index, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def wait_until(page, expression: str) -> None:
    """Wait until an expression holds; Playwright's own way is forbidden by the page's policy."""
    end = monotonic() + 10
    while not page.evaluate(expression):
        assert monotonic() < end, f"still not: {expression}"
        page.wait_for_timeout(15)


def wait_for_video(page) -> None:
    wait_until(page, "report.player.hasVideo")


def wait_for_frame(page, index: int) -> None:
    wait_until(page, f"report.player.shown === {index} && report.player.index === {index}")


def gray_level(page) -> float:
    """Return how bright the left lower corner of the picture is, where nothing is drawn."""
    page.wait_for_timeout(60)  # until what was handed over is on the screen
    data = page.locator("#stage").screenshot()
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    return float(picture[-12:-4, 4:20].mean())


def expect_gray(page, level: float) -> None:
    """Wait until the picture is so bright: under load it comes to the screen late."""
    end = monotonic() + 5
    while (found := gray_level(page)) != pytest.approx(level, abs=2):
        assert monotonic() < end, f"{found}, not {level}"


def pixels_of(page, canvas: str) -> np.ndarray:
    """Return what is drawn on a canvas, uint8 (H, W, 4), RGBA."""
    address = page.evaluate(f"document.querySelector('{canvas}').toDataURL()")
    data = np.frombuffer(base64.b64decode(address.partition(",")[2]), np.uint8)
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA)


def overlay_pixels(page) -> np.ndarray:
    return pixels_of(page, "#overlay")


def of_colour(pixels: np.ndarray, name: str) -> np.ndarray:
    return (np.abs(pixels[..., :3].astype(int) - emotion_colour(name)).max(-1) < 12) & (pixels[..., 3] > 200)
