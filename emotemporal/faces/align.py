"""Cut faces out upright and at one size, so that a network sees eyes and mouth always at the same place.

Landmarks and template are continuous coordinates: a pixel with index i covers [i, i + 1).
"""

from __future__ import annotations

import cv2
import numpy as np

from emotemporal.structures import CropGeometry

_MAX_STEP_PX = 2.0
"""Source pixels between two samples of the intermediate picture. Against 24-fold sampling, steps of 2 err
by 0.2 to 0.7 grey levels on average, steps of 1 by 0.1 to 0.2 at three times the cost."""
_MAX_OVERSAMPLING = 5
"""Bound on the intermediate picture, in multiples of the crop's side: a quarter of a millisecond. Reached at
faces of 400 px for crops of 48."""
_MIN_SPREAD_PX = 0.5
"""Landmarks closer together than this (root mean square about their centre) carry no orientation."""


def similarity_transform(points: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Return the rotation, scale and shift that bring `points` closest to `template`.

    This is the least-squares solution of Umeyama (1991), without reflection. In the plane it has a
    closed form: with points as complex numbers about their centres, z and w, scale and rotation
    are the one number sum(conj(z) w) / sum(|z|^2).

    Args:
        points: (..., K, 2), finite and not all equal.
        template: (K, 2), or the shape of `points`.
    Returns: float64 (..., 2, 3), to be applied to column vectors (x, y, 1).
    """
    points = np.asarray(points, np.float64)
    template = np.asarray(template, np.float64)
    point_centre, template_centre = points.mean(axis=-2), template.mean(axis=-2)
    z, w = points - point_centre[..., None, :], template - template_centre[..., None, :]
    spread = (z**2).sum(axis=(-2, -1))
    cosine = (z * w).sum(axis=(-2, -1)) / spread
    sine = (z[..., 0] * w[..., 1] - z[..., 1] * w[..., 0]).sum(axis=-1) / spread
    transform = np.empty((*spread.shape, 2, 3))
    transform[..., 0, 0] = transform[..., 1, 1] = cosine
    transform[..., 0, 1], transform[..., 1, 0] = -sine, sine
    turned = (transform[..., :2] @ point_centre[..., None])[..., 0]
    transform[..., 2] = template_centre - turned
    return transform


def align_faces(frame: np.ndarray, landmarks: np.ndarray, geometry: CropGeometry) -> np.ndarray:
    """Cut out the face of each set of five landmarks.

    Beyond the picture its border pixels are repeated: the training faces have no black wedges, and
    a dark corner would move the crop's mean and contrast.

    Args:
        frame: uint8 (H, W, 3), RGB, at full resolution.
        landmarks: (M, 5, 2) in pixels of `frame`. Where they are not finite or fall together, the crop
            is the unscaled surroundings of their place, or of the picture's centre.
        geometry: where the landmarks come to lie.
    Returns: uint8 (M, S, S, 3).
    """
    side = geometry.side_px
    crops = np.empty((len(landmarks), side, side, 3), np.uint8)
    for crop, transform in zip(crops, _transforms(frame, landmarks, geometry), strict=True):
        shrink = 1 / max(float(np.hypot(transform[0, 0], transform[1, 0])), 1e-6)
        # Sampled finely, then averaged down: warping straight to the crop would skip source pixels
        # wherever the face is larger than the crop.
        factor = int(np.clip(np.ceil(shrink / _MAX_STEP_PX), 1, _MAX_OVERSAMPLING))
        fine = transform * factor
        # OpenCV counts from pixel centres: x = index + 1/2 on both sides.
        fine[:, 2] += fine[:, :2].sum(axis=1) / 2 - 0.5
        size = (side * factor, side * factor)
        warped = cv2.warpAffine(frame, fine, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        cv2.resize(warped, (side, side), dst=crop, interpolation=cv2.INTER_AREA)
    return crops


def resize_crops(crops: np.ndarray, side_px: int) -> np.ndarray:
    """Bring face crops that were cut by other means to one side.

    Args:
        crops: uint8 (M, H, W, 3).
        side_px: S.
    Returns: uint8 (M, S, S, 3).
    """
    if crops.shape[1:3] == (side_px, side_px):
        return crops
    way = cv2.INTER_AREA if min(crops.shape[1:3]) > side_px else cv2.INTER_CUBIC
    return np.stack([cv2.resize(crop, (side_px, side_px), interpolation=way) for crop in crops])


def _transforms(frame: np.ndarray, landmarks: np.ndarray, geometry: CropGeometry) -> np.ndarray:
    """float64 (M, 2, 3), always finite."""
    points = np.array(landmarks, np.float64).reshape(-1, 5, 2)
    reach = 4 * max(frame.shape[:2])
    lost = ~(np.abs(points) <= reach).all(axis=(1, 2))
    points[lost] = (frame.shape[1] / 2, frame.shape[0] / 2)
    centre = points.mean(axis=1, keepdims=True)
    flat = ((points - centre) ** 2).sum(axis=2).mean(axis=1) < _MIN_SPREAD_PX**2
    template = geometry.template_px.astype(np.float64)
    points[flat] = centre[flat] + template - template.mean(axis=0)
    return similarity_transform(points, template)
