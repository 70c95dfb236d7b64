"""From crops to evidence, from evidence to emotions: the networks as predictions use them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
from scipy.special import log_softmax

from emotemporal.models.specs import BackboneSpec, HeadSpec
from emotemporal.models.windows import WindowedHead
from emotemporal.structures import PaddedClips

Backend = Literal["torch", "openvino"]
Precision = Literal["float32", "bf16", "int8"]


class FrameEvidence(NamedTuple):
    """What the frame network says of N crops."""

    embeddings: np.ndarray
    """float16 (N, D)."""
    log_probs: np.ndarray
    """float32 (N, C), calibrated, normalised."""


class FrameRunner(Protocol):
    """A frame network, and what runs it."""

    @property
    def spec(self) -> BackboneSpec: ...

    @property
    def precision(self) -> Precision:
        """What its convolutions are computed in."""
        ...

    def run(self, crops: np.ndarray, landmarks: np.ndarray | None = None) -> Mapping[str, np.ndarray]:
        """Run over crops of any number.

        Args:
            crops: uint8 (N, S, S, 3) RGB or (N, S, S) gray, N at least 1.
            landmarks: (N, P, 2) in any pixels, for a network that sees them, else ignored; not finite where
                missing.
        Returns: `embedding` float32 (N, D), and for each label set its logits float32 (N, C).
        Raises:
            UsageError: the network needs landmarks that are not there.
        """
        ...


class HeadRunner(Protocol):
    """A temporal head with its calibration, and what runs it."""

    @property
    def spec(self) -> HeadSpec: ...

    def run(self, clips: PaddedClips) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities of the frames float32 (B, T, C), any in padding, and of the clips (B, C)."""
        ...


class EmotionClassifier:
    """A frame network with its calibration and, in a clip checkpoint, a temporal head.

    Args:
        frame: the frame network.
        labels: the C emotions.
        temperature: divides the frame logits.
        label_set: which of the frame network's classifiers is asked; None for the first.
        head: temporal head, or None.
        checkpoint_sha256: of the file that the networks come from, by which what they say can be kept.
    """

    def __init__(
        self,
        frame: FrameRunner,
        *,
        labels: Sequence[str],
        temperature: float,
        label_set: str | None = None,
        head: HeadRunner | None = None,
        checkpoint_sha256: str | None = None,
    ) -> None:
        self.frame = frame
        self.head = head
        self.labels = tuple(labels)
        self.temperature = temperature
        self.checkpoint_sha256 = checkpoint_sha256
        self.label_set = label_set or next(iter(frame.spec.label_sets))

    def with_head(self, head: HeadRunner) -> EmotionClassifier:
        """Return the same frame network with another temporal head."""
        return EmotionClassifier(
            self.frame, labels=self.labels, temperature=self.temperature, label_set=self.label_set, head=head
        )

    @property
    def num_landmarks(self) -> int:
        """How many landmarks of each face the frame network must be told: 0, 5 or 68."""
        return self.frame.spec.landmarks

    def classify_crops(self, crops: np.ndarray, landmarks: np.ndarray | None = None) -> FrameEvidence:
        """Run the frame network.

        Args:
            crops: uint8 (N, S, S, 3) RGB or (N, S, S) gray, N at least 1.
            landmarks: (N, P, 2) in any pixels, needed where `num_landmarks` is not 0, else ignored.
        Raises:
            UsageError: the network needs landmarks that are not there.
        """
        found = self.frame.run(crops, landmarks)
        logits = found[self.label_set] / self.temperature
        return FrameEvidence(
            found["embedding"].astype(np.float16), log_softmax(logits, axis=1).astype(np.float32)
        )

    def classify_sequence(
        self,
        evidence: FrameEvidence | None,
        pts_seconds: np.ndarray,
        landmarks68: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run the temporal head over one person's frames.

        Long sequences go through overlapping windows whose frames are blended, see `models.windows`.

        Args:
            evidence: of L frames, in order; None for a head of geometry alone.
            pts_seconds: (L,), strictly increasing.
            landmarks68: (L, 68, 2) in pixels of the video, for a head that sees geometry, else ignored; not
                finite where missing.
        Returns: probabilities of the frames float32 (L, C) and of the clip float32 (C,).
        Raises:
            ValueError: there is no head.
            UsageError: a stream that the head was trained on is missing.
            DataError: the head sees geometry, and no frame has landmarks.
        """
        windows = self.windowed_head()
        windows.add(evidence, pts_seconds, landmarks68)
        return windows.finish()

    def windowed_head(self) -> WindowedHead:
        """Return the temporal head for one person whose frames come in one after the other.

        Raises:
            ValueError: there is no head.
        """
        if self.head is None:
            raise ValueError("this checkpoint has no temporal head")
        return WindowedHead(self.head, len(self.labels))
