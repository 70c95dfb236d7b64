"""What the networks say of each person, gathered while the frames of a video go by."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from emotemporal.models.classifier import EmotionClassifier, FrameEvidence

_PARTS = 64
_GONE_SECONDS = 5.0
_GONE_FRAMES = 100
"""Whoever was not seen for so long, and on so many frames, comes back as another person, if at all: a track
ends at the first key frame, one in twelve, that comes more than half a second after a face was lost."""


class PersonProbs(NamedTuple):
    """Probabilities of one person's K frames on which they were seen."""

    pts_seconds: np.ndarray
    """float64 (K,)."""
    of_frames: np.ndarray
    """float32 (K, C), by the frame network."""
    temporal: np.ndarray | None
    """float32 (K, C), by the temporal head, where there is one."""
    clip: np.ndarray | None
    """float32 (C,), by the temporal head."""


class SeenFaces(NamedTuple):
    """M faces that the frame network looks at, without their pictures, which would stay in memory."""

    track_id: np.ndarray
    """int64 (M,)."""
    frame_index: np.ndarray
    """int64 (M,), of each face's frame, non-decreasing."""
    pts_seconds: np.ndarray
    """float64 (M,), its time."""
    landmarks68: np.ndarray | None
    """float32 (M, 68, 2), for a head that sees them."""


class PeopleEvidence:
    """Everyone's frames, told apart; of those who are gone only probabilities are kept.

    Args:
        classifier: as of `PersonEvidence`.
    """

    def __init__(self, classifier: EmotionClassifier) -> None:
        self._classifier = classifier
        self._people: dict[int, PersonEvidence] = {}
        self._last: dict[int, tuple[int, float]] = {}
        """Frame and time at which those were seen who are not gone."""
        self._gone: dict[int, PersonProbs] = {}

    def add(self, seen: SeenFaces, found: FrameEvidence) -> None:
        """Take what was found of the faces, at least one, on some frames, later than all before.

        Raises:
            ValueError: someone comes back after more than five seconds and a hundred frames.
            DataError: as of `PersonEvidence.finish`.
        """
        for track_id in np.unique(seen.track_id).tolist():
            if track_id in self._gone:
                raise ValueError(f"track {track_id} was away for more than {_GONE_SECONDS:g} s")
            own = seen.track_id == track_id
            if track_id not in self._people:
                self._people[track_id] = PersonEvidence(self._classifier)
            self._people[track_id].add(
                FrameEvidence(found.embeddings[own], found.log_probs[own]),
                seen.pts_seconds[own],
                None if seen.landmarks68 is None else seen.landmarks68[own],
            )
            self._last[track_id] = int(seen.frame_index[own][-1]), float(seen.pts_seconds[own][-1])
        now_frame, now_seconds = int(seen.frame_index[0]), float(seen.pts_seconds[0])
        for track_id, (frame, seconds) in list(self._last.items()):
            if now_frame - frame > _GONE_FRAMES and now_seconds - seconds > _GONE_SECONDS:
                del self._last[track_id]
                self._gone[track_id] = self._people.pop(track_id).finish()

    def take(self, track_id: int) -> PersonProbs:
        """Return what is known of one person, and forget them; see `PersonEvidence.finish`."""
        if track_id in self._gone:
            return self._gone.pop(track_id)
        return self._people.pop(track_id).finish()


class PersonEvidence:
    """One person's frames on their way through the networks; of each, some 100 bytes are kept.

    Args:
        classifier: whose temporal head, where it has one, follows the person.
    """

    def __init__(self, classifier: EmotionClassifier) -> None:
        self._head = None if classifier.head is None else classifier.windowed_head()
        self._seconds, self._log_probs = _Joined(), _Joined()

    def add(
        self, evidence: FrameEvidence, pts_seconds: np.ndarray, landmarks68: np.ndarray | None = None
    ) -> None:
        """Take the next frames, as `WindowedHead.add` does."""
        if self._head is not None:
            self._head.add(evidence, pts_seconds, landmarks68)
        self._seconds.append(pts_seconds)
        self._log_probs.append(evidence.log_probs)

    def finish(self) -> PersonProbs:
        """Return what is known of the person once all frames, at least one, were added.

        Raises:
            DataError: the head sees geometry, and no frame has landmarks.
        """
        temporal, clip = (None, None) if self._head is None else self._head.finish()
        return PersonProbs(self._seconds.whole(), np.exp(self._log_probs.whole()), temporal, clip)


class _Joined:
    """An array that comes in small parts, each of which would cost as much again by itself."""

    def __init__(self) -> None:
        self._joined: list[np.ndarray] = []
        self._parts: list[np.ndarray] = []

    def append(self, part: np.ndarray) -> None:
        self._parts.append(part)
        if len(self._parts) == _PARTS:
            self._joined.append(np.concatenate(self._parts))
            self._parts = []

    def whole(self) -> np.ndarray:
        return np.concatenate([*self._joined, *self._parts])
