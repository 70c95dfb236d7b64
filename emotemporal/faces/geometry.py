"""The 68 points of a face (iBUG's order) as numbers that tell expression and not place, size or tilt.

Sources: Sagonas et al. 2016, "300 Faces In-The-Wild Challenge" (the order of the points); Umeyama 1991
(the alignment, `faces.align.similarity_transform`).
"""

import numpy as np

from emotemporal.errors import DataError
from emotemporal.faces.align import similarity_transform

NUM_POINTS = 68
JAW, INNER = slice(0, 17), slice(17, 68)
"""The jaw moves with speech, and its points slide along the outline as the head turns: faces are aligned by
the 51 others, which in cross-validation was at least as good as all 68, the eyes alone or the nose bridge."""
# fmt: off
MIRROR = np.array([
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
])
"""Where each point stands in the mirrored face."""
TEMPLATE = np.array([
    (-0.82, 0.03), (-0.81, 0.24), (-0.77, 0.45), (-0.73, 0.66), (-0.67, 0.86), (-0.56, 1.03), (-0.40, 1.18),
    (-0.21, 1.29), (0.00, 1.32), (0.21, 1.29), (0.40, 1.18), (0.56, 1.03), (0.67, 0.86), (0.73, 0.66),
    (0.77, 0.45), (0.81, 0.24), (0.82, 0.03), (-0.68, -0.15), (-0.59, -0.25), (-0.44, -0.29), (-0.29, -0.28),
    (-0.15, -0.22), (0.15, -0.22), (0.29, -0.28), (0.44, -0.29), (0.59, -0.25), (0.68, -0.15), (0.00, -0.05),
    (0.00, 0.08), (0.00, 0.21), (0.00, 0.34), (-0.14, 0.48), (-0.08, 0.50), (0.00, 0.52), (0.08, 0.50),
    (0.14, 0.48), (-0.50, 0.00), (-0.41, -0.06), (-0.30, -0.06), (-0.21, 0.00), (-0.31, 0.03), (-0.42, 0.03),
    (0.21, 0.00), (0.30, -0.06), (0.41, -0.06), (0.50, 0.00), (0.42, 0.03), (0.31, 0.03), (-0.29, 0.79),
    (-0.18, 0.71), (-0.08, 0.67), (0.00, 0.69), (0.08, 0.67), (0.18, 0.71), (0.29, 0.79), (0.18, 0.85),
    (0.08, 0.88), (0.00, 0.89), (-0.08, 0.88), (-0.18, 0.85), (-0.24, 0.79), (-0.08, 0.76), (0.00, 0.76),
    (0.08, 0.76), (0.24, 0.79), (0.08, 0.77), (0.00, 0.78), (-0.08, 0.77),
])
"""Frontal face at rest, exactly symmetric; origin between the eyes, the unit is the distance between their
outer corners. Rounded mean of the first frames of the neutral clips of RAVDESS's actors 5 to 24."""
HEAD_NAMES = ("roll", "nearness", "move_x", "move_y", "yaw", "pitch")
_DISTANCES = {
    "brow_gap": (21, 22), "mouth_width": (48, 54), "lips_width": (60, 64), "lips_gap": (62, 66),
    "mouth_height": (51, 57), "upper_lip": (51, 62), "lower_lip": (57, 66), "nose_to_mouth": (33, 51),
    "mouth_to_chin": (8, 57), "nostrils": (31, 35), "nose_length": (27, 33), "face_height": (8, 27),
    "cheek_left": (48, 36), "cheek_right": (54, 45), "fold_left": (31, 48), "fold_right": (35, 54),
    "nose_raise_left": (31, 39), "nose_raise_right": (35, 42),
    "lip_raise_left": (31, 50), "lip_raise_right": (35, 52),
}
# Upward from the second point to the first.
_HEIGHTS = {
    "brow_outer_left": (17, 36), "brow_mid_left": (19, 37), "brow_inner_left": (21, 39),
    "brow_inner_right": (22, 42), "brow_mid_right": (24, 44), "brow_outer_right": (26, 45),
    "corner_left_above_upper_lip": (48, 51), "corner_right_above_upper_lip": (54, 51),
    "corner_left_above_lower_lip": (48, 57), "corner_right_above_lower_lip": (54, 57),
}
# fmt: on
MEASURE_NAMES = (
    *("eye_left", "eye_right", "brow_slope_left", "brow_slope_right", "corner_left", "corner_right"),
    *("eyes_apart", *_DISTANCES, *_HEIGHTS),
)
"""Sides are those of the picture."""
GEOMETRY_DIM = 2 * NUM_POINTS + len(HEAD_NAMES) + len(MEASURE_NAMES)
STREAM_DIM = 2 * (len(HEAD_NAMES) + len(MEASURE_NAMES))
# Landmarks tremble from frame to frame, dlib's by whole pixels.
_SMOOTH_SECONDS = 0.25


def mirror_points(points: np.ndarray) -> np.ndarray:
    """Return faces as in a mirror, about x = 0: (..., 68, 2) -> (..., 68, 2)."""
    return points[..., MIRROR, :] * (-1, 1)


def fill_missing(points: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Interpolate frames in which no landmarks were found, over real time.

    Args:
        points: (L, 68, 2); a frame with any value that is not finite is missing.
        seconds: (L,), strictly increasing.
    Returns: float64 (L, 68, 2); before the first and after the last seen frame that frame's landmarks.
    Raises:
        DataError: no frame has landmarks.
    """
    points = np.asarray(points, np.float64)
    seen = np.isfinite(points).all(axis=(1, 2))
    if seen.all() and len(points):
        return points
    if not seen.any():
        raise DataError(f"none of {len(points)} frames has landmarks; geometry needs at least one")
    flat = points[seen].reshape(seen.sum(), -1)
    filled = np.stack([np.interp(seconds, seconds[seen], column) for column in flat.T], axis=1)
    return filled.reshape(points.shape)


def normalise_shapes(points: np.ndarray) -> np.ndarray:
    """Remove position, scale and roll.

    Args:
        points: (L, 68, 2), finite, in any unit; y points down.
    Returns: float64 (L, 68, 2), on `TEMPLATE` as closely as moving, scaling and turning bring the points
        inside the face.
    """
    transform = similarity_transform(points[:, INNER], TEMPLATE[INNER])
    return points @ transform[..., :2].swapaxes(-1, -2) + transform[:, None, :, 2]


def head_pose(points: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Return what normalisation removed, and how the head is turned.

    Place and size mean nothing by themselves, so they are told against the clip's median; roll is absolute.

    Args:
        points: (L, 68, 2), finite, in pixels.
        shapes: (L, 68, 2), the same normalised.
    Returns: float64 (L, 6): roll in radians, clockwise in the picture; logarithm of the face's size over
        the clip's median; x and y of its centre less the clip's median, in units of the distance between
        the outer eye corners; tip of the nose off the middle of the jaw's ends (yaw) and length of the
        nose (pitch) in the same unit.
    """
    transform = similarity_transform(points[:, INNER], TEMPLATE[INNER])
    roll = np.arctan2(-transform[:, 1, 0], transform[:, 0, 0])
    size = -np.log(np.hypot(transform[:, 0, 0], transform[:, 1, 0]))
    usual = np.median(size)
    centre = points[:, INNER].mean(axis=1)
    move = (centre - np.median(centre, axis=0)) / np.exp(usual)
    yaw = shapes[:, 30, 0] - (shapes[:, 0, 0] + shapes[:, 16, 0]) / 2
    pitch = shapes[:, 33, 1] - shapes[:, 27, 1]
    return np.column_stack([roll, size - usual, move, yaw, pitch])


def expression_measures(shapes: np.ndarray) -> np.ndarray:
    """Return distances, heights and slopes close to what FACS calls action units.

    Args:
        shapes: (L, 68, 2), normalised.
    Returns: float64 (L, 37), in `MEASURE_NAMES`' order; lengths in units of the distance between the outer
        eye corners, the opening of an eye as a share of its width, slopes in radians.
    """

    def apart(i: int, j: int) -> np.ndarray:
        return np.linalg.norm(shapes[:, i] - shapes[:, j], axis=1)

    def slope(i: int, j: int) -> np.ndarray:
        step = shapes[:, j] - shapes[:, i]
        return np.arctan2(step[:, 1], step[:, 0])

    height = shapes[..., 1]
    mouth = height[:, [51, 57, 62, 66]].mean(axis=1)
    eyes = shapes[:, 36:42].mean(axis=1) - shapes[:, 42:48].mean(axis=1)
    return np.stack(
        [
            (apart(37, 41) + apart(38, 40)) / (2 * apart(36, 39)),
            (apart(43, 47) + apart(44, 46)) / (2 * apart(42, 45)),
            slope(17, 21),
            slope(22, 26),
            mouth - height[:, 48],
            mouth - height[:, 54],
            np.linalg.norm(eyes, axis=1),
            *(apart(*pair) for pair in _DISTANCES.values()),
            *(height[:, low] - height[:, high] for high, low in _HEIGHTS.values()),
        ],
        axis=1,
    )


def geometry_features(points: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Describe each frame of one person's clip.

    Args:
        points: (L, 68, 2) in pixels; not finite where missing.
        seconds: (L,), strictly increasing.
    Returns: float64 (L, `GEOMETRY_DIM`): the normalised points (x and y of each), `head_pose`,
        `expression_measures`. Moving, scaling or turning the whole clip changes nothing but the roll.
    Raises:
        DataError: no frame has landmarks.
    """
    points = fill_missing(points, seconds)
    shapes = normalise_shapes(points)
    return np.concatenate(
        [shapes.reshape(len(shapes), -1), head_pose(points, shapes), expression_measures(shapes)], axis=1
    )


def feature_motion(features: np.ndarray, seconds: np.ndarray, *, lag_seconds: float = 0.13) -> np.ndarray:
    """Return how fast each feature changes, whatever the frame rate.

    Args:
        features: (L, G).
        seconds: (L,), strictly increasing.
        lag_seconds: what a frame is compared with lies so far back, interpolated between frames; where the
            clip has only just begun it is the first frame.
    Returns: float64 (L, G), change in a second, not negative.
    """
    earlier = np.clip(seconds - lag_seconds, seconds[0], None)
    after = np.clip(np.searchsorted(seconds, earlier, side="right"), 1, max(len(seconds) - 1, 1))
    if len(seconds) < 2:
        return np.zeros_like(features, dtype=np.float64)
    gap = seconds[after] - seconds[after - 1]
    share = ((earlier - seconds[after - 1]) / gap)[:, None]
    before = (1 - share) * features[after - 1] + share * features[after]
    return np.abs(features - before) / lag_seconds


def geometry_stream(points: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Describe each frame of one person's clip as temporal heads see it, from any frame rate alike.

    The normalised points themselves are left out: they add weights to a network, not accuracy. Place and
    size are told against the clip's median, so that even a one-way head sees them not by the past alone.

    Args:
        points: (L, 68, 2) in pixels; not finite where missing.
        seconds: (L,), strictly increasing.
    Returns: float32 (L, `STREAM_DIM`): `head_pose` and `expression_measures`, then how fast each changes, all
        averaged over the quarter of a second that ends with the frame.
    Raises:
        DataError: no frame has landmarks.
    """
    features = geometry_features(points, seconds)[:, 2 * NUM_POINTS :]
    values = np.concatenate([features, feature_motion(features, seconds)], axis=1)
    total = np.concatenate([np.zeros((1, STREAM_DIM)), values.cumsum(axis=0)])
    first = np.searchsorted(seconds, seconds - _SMOOTH_SECONDS, side="right")
    end = np.arange(1, len(seconds) + 1)
    return ((total[end] - total[first]) / (end - first)[:, None]).astype(np.float32)
