"""What a video does to a face, in steps of known size: to measure what a frame network still tells.

Training draws other, random changes (`training/augmentation.py`); these are fixed, so that two networks
meet the same pictures. After Hendrycks & Dietterich 2019, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", with levels that suit faces of 48 px and are stated in physical units.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from emotemporal.structures import CropGeometry

_LEFT_EYE, _RIGHT_EYE, _, _LEFT_MOUTH, _RIGHT_MOUTH = CropGeometry().template
# A small sensor in indoor light: what white amounts to, and the noise of reading a pixel out.
_WHITE_ELECTRONS = 1000.0
_READ_ELECTRONS = 4.0

_Apply = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Corruption:
    """One way in which pictures of faces get worse."""

    quantity: str
    """What the levels measure, with its unit."""
    levels: tuple[float, ...]
    """Of severities 1, 2, ..., from mild to severe; at severity 0 a picture stays as it is."""
    apply: _Apply
    """Gives changed copies of uint8 (N, S, S) at a level, with a generator for what is random."""


def corrupt_faces(images: np.ndarray, name: str, severity: int, *, seed: int = 0) -> np.ndarray:
    """Return corrupted copies of faces.

    What is random depends on the seed and the pictures' order alone: a face is turned or moved the same way
    at every severity.

    Args:
        images: uint8 (N, S, S), gray.
        name: one of `CORRUPTIONS`.
        severity: 0 for none, to the number of the corruption's levels.
        seed: of directions and noise.
    Returns: uint8 (N, S, S).
    Raises:
        ValueError: an unknown name or severity, or pictures of another form.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"unknown corruption '{name}', expected one of {', '.join(CORRUPTIONS)}")
    corruption = CORRUPTIONS[name]
    if not 0 <= severity <= len(corruption.levels):
        raise ValueError(f"{name}: severity must be 0 to {len(corruption.levels)}, found {severity}")
    if images.dtype != np.uint8 or images.ndim != 3:
        raise ValueError(f"expected uint8 (N, S, S), found {images.dtype} {images.shape}")
    if severity == 0 or not len(images):
        return images.copy()
    return corruption.apply(images, corruption.levels[severity - 1], np.random.default_rng(seed))


def _blur(images: np.ndarray, sigma_px: float, _: np.random.Generator) -> np.ndarray:
    return np.stack(
        [cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE) for image in images]
    )


def _compress(images: np.ndarray, quality: float, _: np.random.Generator) -> np.ndarray:
    settings = [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
    files = (cv2.imencode(".jpg", image, settings)[1] for image in images)
    return np.stack([np.asarray(cv2.imdecode(file, cv2.IMREAD_GRAYSCALE)) for file in files])


def _darken(images: np.ndarray, gain: float, rng: np.random.Generator) -> np.ndarray:
    # Gray values are taken as proportional to light; photons arrive at random, so that what is left of a
    # picture once it is brightened again is its noise.
    electrons: np.ndarray = rng.poisson(images * (gain * _WHITE_ELECTRONS / 255))
    electrons = electrons + rng.normal(0, _READ_ELECTRONS, images.shape)
    return _to_uint8(electrons * (255 / _WHITE_ELECTRONS))


def _add_noise(images: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    return _to_uint8(images + deviation * rng.standard_normal(images.shape))


def _cover_eyes(images: np.ndarray, height: float, _: np.random.Generator) -> np.ndarray:
    return _cover(images, _LEFT_EYE, _RIGHT_EYE, height)


def _cover_mouth(images: np.ndarray, height: float, _: np.random.Generator) -> np.ndarray:
    return _cover(images, _LEFT_MOUTH, _RIGHT_MOUTH, height)


def _cover(
    images: np.ndarray, left: tuple[float, float], right: tuple[float, float], height: float
) -> np.ndarray:
    """Cover a level band about two landmarks, twice as wide as they are apart, with each picture's mean."""
    at = (np.arange(images.shape[-1]) + 0.5) / images.shape[-1]
    rows = np.abs(at - (left[1] + right[1]) / 2) < height / 2
    columns = np.abs(at - (left[0] + right[0]) / 2) < right[0] - left[0]
    mean = _to_uint8(images.mean(axis=(1, 2), keepdims=True))
    return np.where(rows[:, None] & columns, mean, images)


def _shrink(images: np.ndarray, side_px: float, _: np.random.Generator) -> np.ndarray:
    # Back up linearly, as the aligner enlarges small faces.
    small, whole = (int(side_px),) * 2, images.shape[1:]
    return np.stack(
        [cv2.resize(cv2.resize(image, small, interpolation=cv2.INTER_AREA), whole) for image in images]
    )


def _rotate(images: np.ndarray, degrees: float, rng: np.random.Generator) -> np.ndarray:
    centre = (images.shape[-1] - 1) / 2
    signs = rng.choice([-1, 1], len(images))
    return _warp(images, [cv2.getRotationMatrix2D((centre, centre), degrees * sign, 1) for sign in signs])


def _shift(images: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    angles = rng.uniform(0, 2 * np.pi, len(images))
    steps = fraction * images.shape[-1] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return _warp(images, [np.array([[1, 0, x], [0, 1, y]]) for x, y in steps])


def _warp(images: np.ndarray, matrices: list[np.ndarray]) -> np.ndarray:
    # Border pixels are repeated, as the aligner does.
    size = images.shape[1:]
    return np.stack(
        [
            cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for image, matrix in zip(images, matrices, strict=True)
        ]
    )


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


CORRUPTIONS: dict[str, Corruption] = {
    "blur": Corruption("σ, px of 48", (0.5, 1, 1.5, 2, 3), _blur),
    "size": Corruption("face side, px", (40, 32, 24, 16, 12), _shrink),
    "jpeg": Corruption("quality", (50, 30, 20, 10, 5), _compress),
    "darkness": Corruption("light left, with sensor noise", (0.5, 0.25, 0.1, 0.05, 0.025), _darken),
    "noise": Corruption("σ, gray levels", (5, 10, 20, 30, 40), _add_noise),
    "eyes covered": Corruption("band height / face side", (0.08, 0.16, 0.24, 0.32, 0.4), _cover_eyes),
    "mouth covered": Corruption("band height / face side", (0.08, 0.16, 0.24, 0.32, 0.4), _cover_mouth),
    "rotation": Corruption("degrees, either way", (5, 10, 20, 30, 45), _rotate),
    "shift": Corruption("distance / face side", (0.05, 0.1, 0.15, 0.2, 0.3), _shift),
}
