"""Sequences whose frame labels are known: excerpts of one person's clips, one emotion after the other.

Hardly any data tell what a face shows on every frame. Clips with one label each, put together, do: the label
changes at known times. What is spliced is the frame network's evidence; the changes are abrupt, as no
change of a real face is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emotemporal.datasets.sequences import ClipSequence
from emotemporal.errors import DataError
from emotemporal.models.classifier import FrameEvidence


@dataclass(frozen=True, eq=False)
class SplicedSequence:
    """One person, several emotions."""

    subject: str
    evidence: FrameEvidence
    pts_seconds: np.ndarray
    """float64 (L,), strictly increasing, from 0."""
    labels: np.ndarray
    """int64 (L,), the label of the clip that each frame comes from."""


def splice_clips(
    clips: Sequence[ClipSequence],
    *,
    num_sequences: int,
    min_seconds: float = 2.0,
    max_seconds: float = 4.0,
    seed: int = 0,
) -> list[SplicedSequence]:
    """Put excerpts of one person's clips together, each emotion once, in random order.

    Args:
        clips: of one person, of at least two emotions.
        num_sequences: how many to make.
        min_seconds: shortest excerpt; a shorter clip is taken whole.
        max_seconds: longest excerpt.
        seed: the same seed makes the same sequences.
    Raises:
        DataError: the clips show several people, or fewer than two emotions.
    """
    usable = [clip for clip in clips if len(clip) > 1]
    subjects = sorted({clip.subject for clip in usable})
    by_label = {
        label: [clip for clip in usable if clip.label == label]
        for label in sorted({clip.label for clip in usable})
    }
    if len(subjects) != 1 or len(by_label) < 2:
        raise DataError(
            f"clips of one person and two emotions at least can be spliced, found people "
            f"{', '.join(subjects) or 'none'} and {len(by_label)} emotions"
        )
    rng = np.random.default_rng(seed)
    sequences = []
    for _ in range(num_sequences):
        parts = []
        for label in rng.permutation(list(by_label)):
            clip = by_label[label][rng.integers(len(by_label[label]))]
            parts.append((clip, _draw_excerpt(clip.pts_seconds, rng.uniform(min_seconds, max_seconds), rng)))
        sequences.append(_join(parts))
    return sequences


def _draw_excerpt(pts_seconds: np.ndarray, seconds: float, rng: np.random.Generator) -> slice:
    """Return consecutive frames over about that time, from anywhere in the clip."""
    latest = max(pts_seconds[0], pts_seconds[-1] - seconds)
    onset = rng.uniform(pts_seconds[0], latest)
    first, last = np.searchsorted(pts_seconds, [onset, onset + seconds])
    return slice(int(first), max(int(last), int(first) + 1))


def _join(parts: Sequence[tuple[ClipSequence, slice]]) -> SplicedSequence:
    times, labels, end = [], [], 0.0
    for clip, rows in parts:
        seconds = clip.pts_seconds[rows]
        times.append(seconds - seconds[0] + end)
        labels.append(np.full(len(seconds), clip.label))
        # The next excerpt follows as its own frames follow one another.
        end = times[-1][-1] + float(np.median(np.diff(clip.pts_seconds)))
    return SplicedSequence(
        subject=parts[0][0].subject,
        evidence=FrameEvidence(
            np.concatenate([clip.views[0].embeddings[rows] for clip, rows in parts]),
            np.concatenate([clip.views[0].log_probs[rows] for clip, rows in parts]),
        ),
        pts_seconds=np.concatenate(times),
        labels=np.concatenate(labels),
    )
