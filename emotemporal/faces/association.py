"""Decide which box of now is which box of before."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment


def box_overlaps(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compare every box of `a`, (M, 4), with every box of `b`, (N, 4).

    Returns: (M, N) each: the shared part of the union of both, and the shared part of the smaller one.
    """
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=2)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).clip(min=0).prod(axis=1) for x in (a, b))
    union = area_a[:, None] + area_b[None] - shared
    smaller = np.minimum(area_a[:, None], area_b[None])
    return shared / np.maximum(union, 1e-9), shared / np.maximum(smaller, 1e-9)


def box_sizes(boxes: np.ndarray) -> np.ndarray:
    """Geometric mean of width and height of (..., 4) boxes, at least a tenth of a pixel."""
    return np.sqrt((boxes[..., 2:] - boxes[..., :2]).clip(min=0).prod(axis=-1)).clip(min=0.1)


def box_distances(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compare every box of `a`, (M, 4), with every box of `b`, (N, 4), which need not overlap.

    Returns: (M, N) each: distance of the centres in units of the mean size, and the ratio of the larger
        to the smaller size, from 1.
    """
    centre_a, centre_b = ((x[:, :2] + x[:, 2:]) / 2 for x in (a, b))
    size_a, size_b = box_sizes(a)[:, None], box_sizes(b)[None]
    away = np.linalg.norm(centre_a[:, None] - centre_b[None], axis=2) / ((size_a + size_b) / 2)
    return away, np.maximum(size_a, size_b) / np.minimum(size_a, size_b)


def match_boxes(
    before: np.ndarray,
    now: np.ndarray,
    *,
    reach: np.ndarray | float,
    max_size_ratio: float,
    dissimilarity: np.ndarray | float = 0.0,
) -> list[tuple[int, int]]:
    """Pair boxes one to one at the least total cost.

    The cost of a pair grows with what its boxes do not share, with the distance of their centres (so that
    fast faces, whose boxes do not overlap, still find their own) and with unlike appearance.

    Args:
        before: float32 (M, 4).
        now: float32 (N, 4).
        reach: farthest centres of a pair, in units of the boxes' size; broadcast to (M, N).
        max_size_ratio: largest ratio of the sizes of a pair.
        dissimilarity: of the appearance, from 0 (alike) to about 1; broadcast to (M, N).
    Returns: pairs of a row of `before` and a row of `now`.
    """
    if not len(before) or not len(now):
        return []
    overlap, _ = box_overlaps(before, now)
    away, ratio = box_distances(before, now)
    cost = (1 - overlap) + away / 2 + dissimilarity
    allowed = (away <= reach) & (ratio <= max_size_ratio)
    rows, cols = linear_sum_assignment(np.where(allowed, cost, 1e3))
    return [(int(i), int(j)) for i, j in zip(rows, cols, strict=True) if allowed[i, j]]
