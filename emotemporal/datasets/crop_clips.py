"""Labelled clips as pixels, and the choice of their frames by time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emotemporal.datasets.crops import CropStore
from emotemporal.structures import CropSequence


@dataclass(frozen=True, eq=False)
class CropClip:
    """One labelled clip as its crops."""

    clip_id: str
    emotion: str
    subject: str
    split: str
    source: str
    """The take or film it comes from."""
    crops: CropSequence | None
    """None where no face was found."""


def load_crop_clips(
    store: CropStore, emotions: Sequence[str], *, subjects: Sequence[str] = ()
) -> list[CropClip]:
    """Return a store's clips; their crops are views of its files, each compared once with its checksum.

    Args:
        store: finished.
        emotions: what the labels must be or count as.
        subjects: only these people; empty means all.
    Raises:
        DataError: a label is none of the emotions, no clip is left, or one is damaged.
    """
    return [
        CropClip(
            clip_id=row.clip_id,
            emotion=emotion,
            subject=row.subject,
            split=row.split,
            source=row.source,
            crops=store.read(row.clip_id).crops,
        )
        for row, emotion in store.choose_rows(emotions, subjects=subjects)
    ]


def spread_frames(pts_seconds: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Choose frames evenly over real time: the clip in equal parts, in each the frame nearest to a moment.

    A clip of fewer frames than parts shows some of them more than once.

    Args:
        pts_seconds: (L,), L at least 1, strictly increasing.
        phase: (T,), the moment within each of T parts, in [0, 1].
    Returns: int64 (T,), positions of frames, non-decreasing.
    """
    span = pts_seconds[-1] - pts_seconds[0]
    moments = pts_seconds[0] + span * (np.arange(len(phase)) + phase) / len(phase)
    after = np.searchsorted(pts_seconds, moments).clip(0, len(pts_seconds) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(moments - pts_seconds[before] < pts_seconds[after] - moments, before, after)
