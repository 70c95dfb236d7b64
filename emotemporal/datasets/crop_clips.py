"""Labelled clips as pixels, and the choice of their frames by time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emotemporal.datasets.crops import CropStore
from emotemporal.errors import DataError
from emotemporal.labels import counts_as
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
    """Read a store's clips into memory.

    Args:
        store: finished.
        emotions: what the labels must be or count as.
        subjects: only these people; empty means all.
    Raises:
        DataError: a label is none of the emotions, or no clip is left.
    """
    found = []
    for row in store.read_index():
        if subjects and row.subject not in subjects:
            continue
        emotion = counts_as(row.label, emotions)
        if emotion is None:
            raise DataError(
                f"{store.folder}: clip {row.clip_id} shows '{row.label}', expected {', '.join(emotions)}"
            )
        crops = store.read(row.clip_id).crops
        found.append(CropClip(row.clip_id, emotion, row.subject, row.split, row.source, crops))
    if not found:
        raise DataError(f"{store.folder}: no clips" + (f" of {', '.join(subjects)}" if subjects else ""))
    return found


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
