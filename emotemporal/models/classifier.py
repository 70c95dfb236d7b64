"""From crops to evidence, from evidence to emotions: the networks as predictions use them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
from scipy.special import log_softmax

from emotemporal.faces.geometry import fill_missing, geometry_stream
from emotemporal.models.specs import BackboneSpec, HeadSpec
from emotemporal.structures import PaddedClips

Backend = Literal["torch", "openvino"]

# A head sees this much of a track at once, in steps of half of it: about the longest training clip,
# and a bound on memory however long the video is.
WINDOW_SECONDS = 8.0
_WINDOWS_AT_ONCE = 16


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

        Long sequences go through overlapping windows whose frames are blended.

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
        head = self.head
        if head is None:
            raise ValueError("this checkpoint has no temporal head")
        windows = _windows(pts_seconds)
        weights = [_window_weights(pts_seconds[window]) for window in windows]
        total = np.zeros(len(pts_seconds))
        for window, weight in zip(windows, weights, strict=True):
            total[window] += weight
        head.spec.require_streams(appearance=evidence is not None, geometry=landmarks68 is not None)
        # Before windows are cut, one of which may have none.
        points = None
        if landmarks68 is not None and head.spec.sees_geometry:
            points = fill_missing(landmarks68, pts_seconds)
        frame_probs = np.zeros((len(pts_seconds), len(self.labels)))
        clip_probs = np.zeros(len(self.labels))
        for start in range(0, len(windows), _WINDOWS_AT_ONCE):
            chunk = slice(start, start + _WINDOWS_AT_ONCE)
            found = self._run_head(head, evidence, pts_seconds, points, windows[chunk])
            for window, weight, (frames, clip) in zip(windows[chunk], weights[chunk], found, strict=True):
                share = weight / total[window]
                frame_probs[window] += share[:, None] * frames
                # Every frame counts once in the clip, in whatever windows it was seen.
                clip_probs += share.sum() * clip
        return frame_probs.astype(np.float32), (clip_probs / clip_probs.sum()).astype(np.float32)

    @staticmethod
    def _run_head(
        head: HeadRunner,
        evidence: FrameEvidence | None,
        pts_seconds: np.ndarray,
        points: np.ndarray | None,
        windows: Sequence[slice],
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        embeddings = log_probs = geometry = None
        if evidence is not None:
            embeddings = [evidence.embeddings[window] for window in windows]
            log_probs = [evidence.log_probs[window] for window in windows]
        if points is not None:
            # Of each window by itself, as of a training clip.
            geometry = [geometry_stream(points[window], pts_seconds[window]) for window in windows]
        seconds = [pts_seconds[window] for window in windows]
        frames, clips = head.run(PaddedClips.pad(embeddings, log_probs, seconds, geometry=geometry))
        lengths = [window.stop - window.start for window in windows]
        return [(frames[row, :length], clips[row]) for row, length in enumerate(lengths)]


def _window_weights(seconds: np.ndarray) -> np.ndarray:
    """(L,): a frame near a window's edge has less context there than in the neighbouring window."""
    return np.minimum(seconds - seconds[0], seconds[-1] - seconds) + 1e-3


def _windows(pts_seconds: np.ndarray) -> list[slice]:
    """Cut a track into windows of `WINDOW_SECONDS` that overlap by half; a short one stays whole."""
    first, last = float(pts_seconds[0]), float(pts_seconds[-1])
    if last - first <= WINDOW_SECONDS:
        return [slice(0, len(pts_seconds))]
    num = int(np.ceil((last - first) / (WINDOW_SECONDS / 2))) - 1
    starts = np.linspace(first, last - WINDOW_SECONDS, num)
    found = [
        slice(
            int(np.searchsorted(pts_seconds, start - 1e-6)),
            int(np.searchsorted(pts_seconds, start + WINDOW_SECONDS + 1e-6)),
        )
        for start in starts
    ]
    return [window for window in found if window.stop > window.start]
