"""Spliced sequences: every emotion once, at known times, the same for the same seed."""

import numpy as np
import pytest

from emotemporal.datasets.sequences import ClipSequence
from emotemporal.datasets.splices import splice_clips
from emotemporal.errors import DataError
from emotemporal.models.classifier import FrameEvidence

FPS = 25


def clip(clip_id: str, label: int, seconds: float, subject: str = "ann") -> ClipSequence:
    """A clip whose embeddings name it and count its frames."""
    num = round(seconds * FPS)
    embeddings = np.stack([np.full(num, hash(clip_id) % 1000), np.arange(num)], axis=1).astype(np.float16)
    evidence = FrameEvidence(embeddings, np.full((num, 7), np.log(1 / 7), dtype=np.float32))
    return ClipSequence(clip_id, label, subject, 3.0 + np.arange(num) / FPS, (evidence,))


CLIPS = [clip("a", 0, 6.0), clip("b", 0, 1.0), clip("c", 3, 5.0), clip("d", 6, 8.0)]


def test_every_emotion_comes_once_for_its_time():
    for sequence in splice_clips(CLIPS, num_sequences=20, seed=1):
        assert sequence.subject == "ann"
        edges = np.flatnonzero(np.diff(sequence.labels)) + 1
        assert sorted(sequence.labels[[0, *edges]]) == [0, 3, 6]
        np.testing.assert_allclose(np.diff(sequence.pts_seconds), 1 / FPS)
        for frames in np.split(np.arange(len(sequence.labels)), edges):
            name, count = sequence.evidence.embeddings[frames].T
            assert len(set(name)) == 1
            np.testing.assert_array_equal(np.diff(count), 1)
            seconds = len(frames) / FPS
            assert 2 - 2 / FPS <= seconds <= 4 + 2 / FPS or seconds == 1.0


def test_the_seed_decides():
    first, again, other = (splice_clips(CLIPS, num_sequences=3, seed=seed) for seed in (5, 5, 6))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.labels, b.labels)
        np.testing.assert_array_equal(a.evidence.embeddings, b.evidence.embeddings)
    assert [len(a.labels) for a in first] != [len(b.labels) for b in other]


@pytest.mark.parametrize("clips", [[], CLIPS[:2], [*CLIPS, clip("e", 3, 3.0, subject="bob")]])
def test_what_cannot_be_spliced(clips):
    with pytest.raises(DataError, match="one person and two emotions"):
        splice_clips(clips, num_sequences=1)
