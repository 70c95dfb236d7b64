"""Clips as sequences of embeddings and evidence, and batches of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from emotemporal.datasets.crops import CropStore
from emotemporal.datasets.evidence import clip_evidence
from emotemporal.faces.geometry import geometry_stream, mirror_points
from emotemporal.models.classifier import EmotionClassifier, FrameEvidence
from emotemporal.structures import ClipBatch


@dataclass(frozen=True, eq=False)
class ClipSequence:
    """One labelled clip as the frame network sees it."""

    clip_id: str
    label: int
    subject: str
    pts_seconds: np.ndarray
    """float64 (L,); L = 0 where no face was found."""
    views: tuple[FrameEvidence, ...]
    """Of the crops as they are, then of their mirror images; empty where no face was found, or no frame
    network looked."""
    split: str = ""
    source: str = ""
    """The take or film it comes from."""
    landmarks68: np.ndarray | None = None
    """float32 (L, 68, 2) in source pixels, iBUG order; None where the store has none."""
    geometry: tuple[np.ndarray, ...] = ()
    """float32 (L, G), `geometry_stream` of the landmarks, then of their mirror images; empty where it was not
    computed."""

    def __len__(self) -> int:
        return len(self.pts_seconds)


def load_sequences(
    store: CropStore,
    classifier: EmotionClassifier,
    *,
    subjects: Sequence[str] = (),
    splits: Sequence[str] = (),
    emotions: Sequence[str] = (),
    on_line: Callable[[str], None] = lambda line: None,
) -> list[ClipSequence]:
    """Return the clips of a store as the frame network sees them, by running it where that is not kept.

    Args:
        store: cut in the geometry of the classifier.
        classifier: the frame network.
        subjects: only these people; empty means all.
        splits: only clips of these splits; empty means all.
        emotions: only clips that show these or what counts as one of them; empty means all.
        on_line: receives a warning where what is kept is damaged.
    Raises:
        DataError: a label is not among the classifier's, no clip is left, or one is damaged.
    """
    chosen = store.choose_rows(classifier.labels, subjects=subjects, splits=splits, emotions=emotions)
    evidence = clip_evidence(store, classifier, [row.clip_id for row, _ in chosen], on_line=on_line)
    found = []
    for row, emotion in chosen:
        seen = evidence[row.clip_id]
        found.append(
            ClipSequence(
                clip_id=row.clip_id,
                label=classifier.labels.index(emotion),
                subject=row.subject,
                pts_seconds=seen.pts_seconds,
                views=seen.views,
                split=row.split,
                source=row.source,
                landmarks68=_landmarks(store, row.clip_id) if store.landmarks68 else None,
            )
        )
    return found


def add_geometry(clip: ClipSequence) -> ClipSequence:
    """Return a clip with the stream of its landmarks, where it has any."""
    if clip.landmarks68 is None or not len(clip):
        return clip
    views = (clip.landmarks68, mirror_points(clip.landmarks68))
    return replace(clip, geometry=tuple(geometry_stream(view, clip.pts_seconds) for view in views))


def _landmarks(store: CropStore, clip_id: str) -> np.ndarray:
    crops = store.read(clip_id, verify=False).crops
    if crops is None or crops.landmarks68 is None:
        return np.zeros((0, 68, 2), np.float32)
    return crops.landmarks68


def collate(parts: Sequence[tuple[ClipSequence, int, np.ndarray]]) -> ClipBatch:
    """Pad clips to one length; a stream that one of them lacks is left out.

    Args:
        parts: for each clip, the view to take and the positions of the frames, at least one.
    """
    embeddings = evidence = geometry = None
    if all(clip.views for clip, _, _ in parts):
        embeddings = [clip.views[view].embeddings[rows] for clip, view, rows in parts]
        evidence = [clip.views[view].log_probs[rows] for clip, view, rows in parts]
    if all(clip.geometry for clip, _, _ in parts):
        geometry = [clip.geometry[view][rows] for clip, view, rows in parts]
    return ClipBatch.pad(
        embeddings,
        evidence,
        [clip.pts_seconds[rows] for clip, _, rows in parts],
        [clip.label for clip, _, _ in parts],
        geometry,
    )
