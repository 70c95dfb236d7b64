"""Clips as fixed numbers of statistics.

What classifies them is trained by `training.classical`.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np

from emotemporal.faces.geometry import (
    GEOMETRY_DIM,
    NUM_POINTS,
    feature_motion,
    geometry_features,
    mirror_points,
)

AVERAGED: Mapping[str, tuple[str, Literal["logistic", "discriminant"]]] = MappingProxyType(
    {
        "logistic": ("all", "logistic"),
        "discriminant": ("all", "discriminant"),
        "discriminant, measures": ("measures", "discriminant"),
        "discriminant, relative": ("relative", "discriminant"),
    }
)
"""Model -> which of `feature_blocks` it sees, and the kind of classifier: the best of a dozen averages
tried within RAVDESS's actors 5 to 24."""
NUM_SLICES = 5
_QUANTILES = (0.1, 0.5, 0.9)


def pool_statistics(rows: np.ndarray, quantiles: Sequence[float]) -> np.ndarray:
    """Sum a sequence of any length up in a vector that knows no order.

    Args:
        rows: (L, D), L at least 1.
        quantiles: Q shares from 0, the minimum, to 1, the maximum.
    Returns: float64 ((2 + Q) D,): mean, standard deviation and quantiles of each column.
    """
    rows = np.asarray(rows, dtype=np.float64)
    return np.concatenate([rows.mean(axis=0), rows.std(axis=0), *np.quantile(rows, quantiles, axis=0)])


def pool_sequence(features: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Describe a clip by the statistics of its frames.

    Args:
        features: (L, G), finite, L at least 1.
        seconds: (L,), strictly increasing.
    Returns: float64 (12 G,): mean, standard deviation, three quantiles, mean and largest speed, and the
        means of five equal parts of the clip's time.
    """
    motion = feature_motion(features, seconds)
    # A part without a frame, as in a clip of few frames, takes the frame nearest to its middle.
    part = np.minimum((seconds - seconds[0]) / max(np.ptp(seconds), 1e-9) * NUM_SLICES, NUM_SLICES - 1)
    means = []
    for i in range(NUM_SLICES):
        rows = part.astype(int) == i
        if not rows.any():
            rows = np.abs(part - i - 0.5).argmin(keepdims=True)
        means.append(features[rows].mean(axis=0))
    return np.concatenate(
        [
            pool_statistics(features, _QUANTILES),
            motion.mean(axis=0),
            motion.max(axis=0),
            *means,
        ]
    )


def relative_to_clip(pooled: np.ndarray) -> np.ndarray:
    """Return what of pooled features tells nothing of the face at rest.

    Args:
        pooled: (..., 12 G), from `pool_sequence`.
    Returns: (..., 10 G): outer quantiles and means of parts less the median; spread and speeds as they are.
    """
    rows = np.reshape(pooled, (*pooled.shape[:-1], 12, -1))
    median = rows[..., 3:4, :]
    spread, speeds = rows[..., 1:2, :], rows[..., 5:7, :]
    levels = rows[..., [2, 4, *range(7, 12)], :] - median
    relative = np.concatenate([spread, speeds, levels], axis=-2)
    return relative.reshape(*pooled.shape[:-1], -1)


def pool_landmarks(points: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Describe a clip of one person's face, and its mirror image.

    Args:
        points: (L, 68, 2) in pixels; not finite where missing.
        seconds: (L,), strictly increasing.
    Returns: float64 (2, D), for `feature_blocks`.
    Raises:
        DataError: no frame has landmarks.
    """
    views = (points, mirror_points(points))
    return np.stack([pool_sequence(geometry_features(view, seconds), seconds) for view in views])


def feature_blocks(pooled: np.ndarray) -> dict[str, np.ndarray]:
    """Return the selections of pooled landmarks that models see.

    Args:
        pooled: (..., D), from `pool_landmarks`.
    Returns: `all`; `measures`, without the points themselves but with head pose; `relative`, of
        `relative_to_clip`.
    """
    rows = pooled.reshape(*pooled.shape[:-1], -1, GEOMETRY_DIM)[..., 2 * NUM_POINTS :]
    measures = rows.reshape(*pooled.shape[:-1], -1)
    return {"all": pooled, "measures": measures, "relative": relative_to_clip(pooled)}
