"""From a camera to every person's emotions while they are filmed, one frame after another."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emotemporal.checkpoint import default_causal_head, default_checkpoint, load_checkpoint, with_head
from emotemporal.errors import UsageError
from emotemporal.faces.align import align_faces
from emotemporal.faces.detector import FaceDetector
from emotemporal.faces.live import LiveTracker
from emotemporal.labelling.smoothing import CausalSmoother, Smoothing
from emotemporal.models.streaming import PersonStream
from emotemporal.pipeline import EmotionPipeline, FrameLabels
from emotemporal.report.overlay import FaceMark, FramePainter
from emotemporal.runtime import BackendChoice, choose_device
from emotemporal.video.live import LiveFrame, LiveReader
from emotemporal.weights import load_torch_head

_FORGET_SECONDS = 2.0
"""A person out of sight for so long has been let go by the tracker, and would come back as another."""
_WARM_UP_FACES = 4
_DELAY_STEP_SECONDS = 1e-4
"""Delays are counted in steps of this, so that memory does not grow with time."""


@dataclass(frozen=True, eq=False)
class LivePerson:
    """One person on one frame, as told by this frame and those before it."""

    track_id: int
    box: np.ndarray
    """float32 (4,), xyxy in pixels."""
    probs: np.ndarray
    """float32 (C,), smoothed, sums to 1."""
    so_far: np.ndarray | None
    """float32 (C,): what the head makes of the last seconds as a clip; None without a one-way head."""
    face_px: float
    """Usual width of the box."""


class _PersonState:
    """What is remembered of one person."""

    def __init__(self, stream: PersonStream | None, smoother: CausalSmoother, face_px: float) -> None:
        self.stream = stream
        self.smoother = smoother
        self.face_px = face_px
        self.last_seconds = 0.0


class LiveLabeller:
    """Detector, tracker and networks, and what they remember of everyone in sight.

    The cost of a frame does not depend on how long its people have been there.

    Args:
        pipeline: the networks; a head goes frame by frame if it is a one-way one (`gru`), others are unused.
        smooth: how labels are smoothed, from the past alone.
        frame_labels: what is smoothed: what the frame network says, or what the head made of it.
    Raises:
        UsageError: the head's labels were asked for, and there is no one-way head.
    """

    def __init__(
        self, pipeline: EmotionPipeline, *, smooth: Smoothing = "hmm", frame_labels: FrameLabels = "network"
    ) -> None:
        head = pipeline.classifier.head
        # Frame by frame PyTorch runs it, whatever runs the other networks.
        self._head = None
        if head is not None and head.spec.kind == "gru":
            self._head = load_torch_head(pipeline.checkpoint, pipeline.device)
        self.has_causal_head = self._head is not None
        if frame_labels == "head" and not self.has_causal_head:
            raise UsageError(
                f"frame labels of the head: {pipeline.checkpoint.path} has no one-way head (gru); "
                "give --head FILE, or use network"
            )
        self.labels = pipeline.labels
        self._pipeline = pipeline
        self._smooth: Smoothing = smooth
        self._frame_labels = frame_labels
        self._tracker = LiveTracker(pipeline.detector)
        self._people: dict[int, _PersonState] = {}

    @classmethod
    def load(
        cls,
        checkpoint: str | Path | None = None,
        head: str | Path | None = None,
        *,
        device: str = "auto",
        detector: FaceDetector | str = "mtcnn",
        labels: str | None = None,
        backend: BackendChoice = "auto",
        smooth: Smoothing = "hmm",
        frame_labels: FrameLabels = "network",
    ) -> LiveLabeller:
        """Load the shipped networks, or others.

        Args:
            checkpoint: frame or clip checkpoint; None for the shipped one with the shipped one-way head.
            head: head checkpoint that replaces the head of `checkpoint`.
            device, detector, labels, backend: as of `EmotionPipeline.load`.
            smooth, frame_labels: as of `LiveLabeller`.
        Raises:
            CheckpointError: a file is missing, damaged or none, or the head belongs to another network.
            UsageError: as of `EmotionPipeline.load` and `LiveLabeller`.
        """
        chosen = choose_device(device)
        if checkpoint is None and head is None:
            head = default_causal_head()
        loaded = load_checkpoint(default_checkpoint() if checkpoint is None else checkpoint)
        if head is not None:
            loaded = with_head(loaded, head)
        pipeline = EmotionPipeline(loaded, device=chosen, detector=detector, labels=labels, backend=backend)
        return cls(pipeline, smooth=smooth, frame_labels=frame_labels)

    def warm_up(self, width: int = 640, height: int = 480) -> None:
        """Run everything on nothing: first runs, for each number of faces, take many times as long."""
        pipeline = self._pipeline
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        box = np.array([[0.4 * width, 0.3 * height, 0.6 * width, 0.7 * height]], np.float32)
        for num_faces in range(1, _WARM_UP_FACES + 1):
            pipeline.detector.detect_faces(image)
            found = pipeline.detector.refine_faces(image, box.repeat(num_faces, axis=0))
            crops = align_faces(image, found.landmarks, pipeline.checkpoint.header.geometry)
            evidence = pipeline.classifier.classify_crops(crops, found.landmarks)
            if self._head is not None:
                PersonStream(self._head).step(evidence.embeddings[0], evidence.log_probs[0], 0.0)
        mark = FaceMark(1, box[0], emotion=self.labels[0], percent=50, face_px=0.2 * width)
        FramePainter(width, height).paint(image, [mark])

    def label(self, image: np.ndarray, pts_seconds: float) -> list[LivePerson]:
        """Take the next frame; return everyone who is seen on it, by id.

        Args:
            image: uint8 (H, W, 3), RGB.
            pts_seconds: its time, greater than that of the frame before.
        """
        pipeline = self._pipeline
        faces = self._tracker.update(image, pts_seconds)
        self._people = {
            track_id: state
            for track_id, state in self._people.items()
            if pts_seconds - state.last_seconds <= _FORGET_SECONDS
        }
        if not len(faces.found):
            return []
        crops = align_faces(image, faces.found.landmarks, pipeline.checkpoint.header.geometry)
        evidence = pipeline.classifier.classify_crops(crops, faces.found.landmarks)
        return [
            self._person(int(track_id), box, embedding, log_probs, pts_seconds)
            for track_id, box, embedding, log_probs in zip(
                faces.track_id, faces.found.boxes, evidence.embeddings, evidence.log_probs, strict=True
            )
        ]

    def _person(
        self,
        track_id: int,
        box: np.ndarray,
        embedding: np.ndarray,
        log_probs: np.ndarray,
        pts_seconds: float,
    ) -> LivePerson:
        width = float(box[2] - box[0])
        state = self._people.get(track_id)
        if state is None:
            dwell = self._pipeline.checkpoint.header.dwell_seconds
            state = self._people[track_id] = _PersonState(
                None if self._head is None else PersonStream(self._head),
                CausalSmoother(method=self._smooth, dwell_seconds=dwell),
                width,
            )
        state.last_seconds = pts_seconds
        state.face_px += 0.05 * (width - state.face_px)
        merge = self._pipeline.label_map.merge_probs
        probs, so_far = np.exp(log_probs), None
        if state.stream is not None:
            of_head, so_far = state.stream.step(embedding, log_probs, pts_seconds)
            so_far = merge(so_far)
            if self._frame_labels == "head":
                probs = of_head
        smoothed = state.smoother.step(merge(probs), pts_seconds)
        return LivePerson(track_id, box, smoothed, so_far, state.face_px)


@dataclass(frozen=True)
class LiveSummary:
    """What became of the frames of a source."""

    num_grabbed: int
    num_shown: int
    num_replaced: int
    """Dropped unseen, because a newer one was there when their turn came."""
    num_late: int
    """Dropped when they were ready, because that was later than allowed."""
    num_people: int
    seconds: float
    delay_p50_ms: float
    """From the camera to being shown, over all frames that were ready, late ones included; NaN for none."""
    delay_p95_ms: float
    delay_max_ms: float

    def __str__(self) -> str:
        rate = self.num_shown / self.seconds if self.seconds > 0 else 0.0
        return (
            f"{self.num_shown} of {self.num_grabbed} frames shown in {self.seconds:.1f} s "
            f"({rate:.1f} a second), dropped {self.num_replaced} for newer ones and {self.num_late} as late; "
            f"delay {self.delay_p50_ms:.0f} ms (median), {self.delay_p95_ms:.0f} ms (95 %), "
            f"{self.delay_max_ms:.0f} ms (longest); {self.num_people} people"
        )


class LiveSession:
    """Labels the frames of a source as they come, and keeps to a longest delay.

        for frame, people in session:
            picture = ...  # whatever must be ready before it is shown
            if session.stamp(frame) is not None:
                show(picture)

    Args:
        reader: the source, entered.
        labeller: for this source alone.
        max_delay_seconds: a frame ready later after it was grabbed is not to be shown; infinite shows all.
    """

    def __init__(self, reader: LiveReader, labeller: LiveLabeller, *, max_delay_seconds: float = 0.1) -> None:
        if not max_delay_seconds > 0:
            raise UsageError(f"the longest delay must be positive, found {max_delay_seconds} s")
        self._reader = reader
        self._labeller = labeller
        self._max_delay_seconds = max_delay_seconds
        self._started = time.monotonic()
        self._num_shown = 0
        self._num_late = 0
        self._last_id = 0
        self._delays: Counter[int] = Counter()

    def __iter__(self) -> Iterator[tuple[LiveFrame, list[LivePerson]]]:
        for frame in self._reader:
            people = self._labeller.label(frame.image, frame.pts_seconds)
            self._last_id = max([self._last_id, *(person.track_id for person in people)])
            yield frame, people

    def stamp(self, frame: LiveFrame) -> float | None:
        """Return the delay in seconds with which a frame is shown now; None where it comes too late."""
        delay = time.monotonic() - frame.grabbed_seconds
        self._delays[round(delay / _DELAY_STEP_SECONDS)] += 1
        if delay > self._max_delay_seconds:
            self._num_late += 1
            return None
        self._num_shown += 1
        return delay

    def summary(self) -> LiveSummary:
        """Return what became of the frames until now."""
        return LiveSummary(
            num_grabbed=self._reader.num_grabbed,
            num_shown=self._num_shown,
            num_replaced=self._reader.num_dropped,
            num_late=self._num_late,
            num_people=self._last_id,
            seconds=time.monotonic() - self._started,
            delay_p50_ms=self._delay_ms(0.5),
            delay_p95_ms=self._delay_ms(0.95),
            delay_max_ms=self._delay_ms(1.0),
        )

    def _delay_ms(self, share: float) -> float:
        """Return the delay that this share of the frames does not exceed."""
        left = share * self._delays.total()
        for step in sorted(self._delays):
            left -= self._delays[step]
            if left <= 1e-9:
                return 1e3 * step * _DELAY_STEP_SECONDS
        return float("nan")


def face_marks(people: list[LivePerson], labels: tuple[str, ...]) -> list[FaceMark]:
    """Return what a painter draws of a frame's people."""
    return [
        FaceMark(
            person.track_id,
            person.box,
            emotion=labels[int(person.probs.argmax())],
            percent=round(100 * float(person.probs.max())),
            face_px=person.face_px,
        )
        for person in people
    ]


def frame_document(
    frame: LiveFrame, people: list[LivePerson], labels: tuple[str, ...], *, delay_seconds: float
) -> dict[str, Any]:
    """Return a frame as a JSON-ready document."""

    def told(probs: np.ndarray) -> dict[str, Any]:
        return {
            "emotion": labels[int(probs.argmax())],
            "confidence": round(float(probs.max()), 4),
            "probs": {name: round(float(p), 4) for name, p in zip(labels, probs, strict=True)},
        }

    return {
        "frame_index": frame.frame_index,
        "pts_seconds": round(frame.pts_seconds, 6),
        "delay_ms": round(1e3 * delay_seconds, 1),
        "people": [
            {
                "track_id": person.track_id,
                "box": [round(float(v), 1) for v in person.box],
                **told(person.probs),
                **({} if person.so_far is None else {"so_far": told(person.so_far)}),
            }
            for person in people
        ],
    }
