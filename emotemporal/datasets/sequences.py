"""Clips as sequences of embeddings and evidence, and batches of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from emotemporal.datasets.crops import CropStore
from emotemporal.datasets.evidence import clip_evidence
from emotemporal.errors import DataError
from emotemporal.labels import counts_as
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
    """Of the crops as they are, then of their mirror images; empty where no face was found."""
    split: str = ""
    source: str = ""
    """The take or film it comes from."""

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
        DataError: a label is not among the classifier's, or no clip is left.
    """
    chosen = []
    for row in store.read_index():
        if (subjects and row.subject not in subjects) or (splits and row.split not in splits):
            continue
        if emotions and counts_as(row.label, emotions) is None:
            continue
        emotion = counts_as(row.label, classifier.labels)
        if emotion is None:
            raise DataError(
                f"{store.folder}: clip {row.clip_id} shows '{row.label}', "
                f"the frame network knows {', '.join(classifier.labels)}"
                + ("; extract_faces --calm neutral relabels them" if row.label == "calm" else "")
            )
        chosen.append((row, classifier.labels.index(emotion)))
    if not chosen:
        wanted = ", ".join([*subjects, *splits, *emotions])
        raise DataError(f"{store.folder}: no clips" + (f" of {wanted}" if wanted else ""))
    evidence = clip_evidence(store, classifier, [row.clip_id for row, _ in chosen], on_line=on_line)
    found = []
    for row, label in chosen:
        seen = evidence[row.clip_id]
        found.append(
            ClipSequence(row.clip_id, label, row.subject, seen.pts_seconds, seen.views, row.split, row.source)
        )
    return found


def collate(parts: Sequence[tuple[ClipSequence, int, np.ndarray]]) -> ClipBatch:
    """Pad clips to one length.

    Args:
        parts: for each clip, the view to take and the positions of the frames, at least one.
    """
    return ClipBatch.pad(
        [clip.views[view].embeddings[rows] for clip, view, rows in parts],
        [clip.views[view].log_probs[rows] for clip, view, rows in parts],
        [clip.pts_seconds[rows] for clip, _, rows in parts],
        [clip.label for clip, _, _ in parts],
    )
