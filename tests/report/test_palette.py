"""Palette: apart for every kind of colour vision, and visible on the backing of labels."""

from itertools import combinations

import numpy as np
import pytest

from emotemporal.labels import FER7, FERPLUS8
from emotemporal.report.palette import (
    EMOTION_COLOURS,
    INK,
    OTHER_COLOUR,
    PAPER,
    UNCERTAIN_COLOUR,
    emotion_colour,
    emotion_hex,
)

# Machado, Oliveira & Fernandes 2009, severity 1.0, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protan": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deutan": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritan": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}


def to_linear(colour: tuple[int, int, int]) -> np.ndarray:
    value = np.array(colour) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def contrast(a: tuple[int, int, int], b: tuple[int, int, int]) -> float:
    """Return the WCAG contrast ratio of two colours."""
    high, low = sorted((float(to_linear(c) @ (0.2126, 0.7152, 0.0722)) for c in (a, b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_every_emotion_has_its_colour_and_others_the_fallback() -> None:
    assert set(FER7) | set(FERPLUS8) == set(EMOTION_COLOURS)
    assert emotion_colour("boredom") == OTHER_COLOUR
    assert emotion_hex("sad") == "#0072b2"
    assert emotion_colour("uncertain") == UNCERTAIN_COLOUR


@pytest.mark.parametrize("vision", VISION)
def test_colours_stay_apart(vision: str) -> None:
    color = pytest.importorskip("skimage.color")
    colours = [*EMOTION_COLOURS.values(), OTHER_COLOUR, UNCERTAIN_COLOUR]
    linear = np.clip([VISION[vision] @ to_linear(c) for c in colours], 0, 1)
    shown = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    lab = color.rgb2lab(shown[None])[0]
    assert min(float(color.deltaE_ciede2000(a, b)) for a, b in combinations(lab, 2)) > 10.5


def test_colours_and_text_show_on_the_backing() -> None:
    assert min(contrast(c, INK) for c in (*EMOTION_COLOURS.values(), UNCERTAIN_COLOUR)) > 3.4
    assert contrast(PAPER, INK) > 15
