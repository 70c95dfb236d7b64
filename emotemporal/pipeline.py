"""From a video file to every person's emotions: the rooms joined together."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from emotemporal import __version__
from emotemporal.checkpoint import (
    Checkpoint,
    build_classifier,
    choose_labels,
    default_checkpoint,
    load_checkpoint,
)
from emotemporal.errors import CheckpointError, UsageError
from emotemporal.faces.align import align_faces
from emotemporal.faces.detector import FaceDetector, MtcnnDetector
from emotemporal.faces.tracker import FaceTracker
from emotemporal.labelling.aggregation import aggregate_sum, aggregate_vote, result_from_probs
from emotemporal.labelling.smoothing import Smoothing, smooth_probs
from emotemporal.models.classifier import Backend, EmotionClassifier, FrameEvidence
from emotemporal.report.overlay import OverlayRenderer
from emotemporal.structures import (
    ClipResult,
    CropGeometry,
    EmotionTimeline,
    FaceRows,
    Track,
    VideoAnalysis,
)
from emotemporal.video.reader import VideoReader
from emotemporal.video.writer import VideoWriter, write_picture

if TYPE_CHECKING:
    from emotemporal.faces.landmarks import PointPredictor

FrameLabels = Literal["network", "head"]
Progress = Callable[[str, int, int | None], None]
"""Called with the stage's name, the frames done, and their number where it is known."""


def _silent(stage: str, done: int, total: int | None) -> None:
    """Report progress to nobody."""


def _unseen(rows: FaceRows) -> None:
    """Show faces to nobody."""


def choose_device(name: str) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`.

    Raises:
        UsageError: CUDA was asked for and is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: no CUDA device is present; use --device cpu or auto")
    return torch.device(name)


def iter_face_crops(
    reader: VideoReader, tracker: FaceTracker, geometry: CropGeometry, *, on_progress: Progress = _silent
) -> Iterator[tuple[FaceRows, np.ndarray]]:
    """Follow the faces of a video and cut them out.

    Prediction and training both begin here, so that a network sees in use what it saw in training.

    Yields: faces of consecutive frames, with and without any face, and their crops
        uint8 (M, S, S, 3) RGB.
    """
    done = 0
    for rows in track_faces(reader, tracker):
        crops = np.empty((len(rows), geometry.side_px, geometry.side_px, 3), dtype=np.uint8)
        for frame in np.unique(rows.row_frame):
            chosen = rows.row_frame == frame
            crops[chosen] = align_faces(rows.frames.data[frame], rows.landmarks[chosen], geometry)
        yield rows, crops
        done += len(rows.frames)
        on_progress("faces", done, reader.info.num_frames)


class PerPerson:
    """Gathers what is found of faces as frames go by, and gives it back person by person."""

    def __init__(self) -> None:
        self._parts: dict[int, list[tuple[np.ndarray, ...]]] = {}

    def add(self, rows: FaceRows, *values: np.ndarray) -> None:
        """Take arrays (M, ...), a row of each for every face of consecutive frames."""
        indices = rows.frames.frame_index[rows.row_frame]
        for track_id in np.unique(rows.track_id):
            chosen = rows.track_id == track_id
            part = (indices[chosen], *(value[chosen] for value in values))
            self._parts.setdefault(int(track_id), []).append(part)

    def take(self, track: Track) -> list[np.ndarray]:
        """Return a person's arrays (K, ...), a row for each frame on which they were seen; forget them."""
        parts = self._parts.pop(track.track_id)
        indices, *values = (np.concatenate(column) for column in zip(*parts, strict=True))
        # What the tracker emitted and later took back (an overlapping double, say) is not in the track.
        seen = np.isin(indices, track.frame_index[track.seen])
        return [value[seen] for value in values]


def track_faces(reader: VideoReader, tracker: FaceTracker) -> Iterator[FaceRows]:
    """Yield the faces of a video's consecutive frames, with and without any face."""
    for batch in reader:
        yield from tracker.update(batch)
    yield from tracker.finish()


class EmotionPipeline:
    """Detector, tracker and networks, ready for any number of videos.

    Args:
        checkpoint: the weights.
        device: where the networks run.
        detector: finds faces; MTCNN where none is given.
        predictor: finds the 68 landmarks of a head that sees geometry; dlib's where none is given.
        labels: the set that everything is told in: `fer7`, `fer6` (disgust counts as angry), `ferplus` (with
            contempt, by the frame network's second classifier; a temporal head does not work on that) or
            `binary` (happy or sad); None for the checkpoint's own. Probabilities are merged after
            calibration and the head, before aggregation and smoothing.
    Raises:
        UsageError: the checkpoint cannot tell those labels, or its head needs landmarks that dlib, which is
            not installed, would find.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: torch.device | str = "cpu",
        detector: FaceDetector | None = None,
        predictor: PointPredictor | None = None,
        labels: str | None = None,
        backend: Backend = "torch",
    ) -> None:
        source, self._label_map = choose_labels(checkpoint, labels)
        self.checkpoint = checkpoint
        self.label_set = labels or source
        self.device = torch.device(device)
        self.classifier: EmotionClassifier = build_classifier(
            checkpoint, classifier=source, device=self.device, backend=backend
        )
        self.backend = backend
        if self.classifier.num_landmarks not in (0, 5):
            # The detector gives five.
            raise CheckpointError(
                f"{checkpoint.path}: needs {self.classifier.num_landmarks} landmarks of each face, "
                "a video gives five; use a checkpoint trained with backbone.landmarks 0 or 5"
            )
        self.detector = MtcnnDetector(device=str(self.device)) if detector is None else detector
        head = self.classifier.head
        self._find_landmarks: Callable[[FaceRows], np.ndarray] | None = None
        if head is not None and head.spec.sees_geometry:
            self._find_landmarks = _landmark_finder(checkpoint, predictor)

    @classmethod
    def load(
        cls,
        checkpoint: str | Path | None = None,
        device: str = "auto",
        *,
        labels: str | None = None,
        backend: Backend = "torch",
    ) -> EmotionPipeline:
        """Load a checkpoint file, or the shipped one.

        Args:
            checkpoint: its file; None for the shipped one.
            device: `auto`, `cpu` or `cuda`.
            labels: the set to tell emotions in, one of `labels.LABEL_SETS`; None for the checkpoint's own.
            backend: what runs the frame network: `torch`, or `openvino` on a CPU where it is installed.
        Raises:
            CheckpointError: it is missing, damaged or none.
            UsageError: device or backend are not there, or the checkpoint cannot tell those labels.
        """
        chosen = choose_device(device)
        path = default_checkpoint() if checkpoint is None else checkpoint
        return cls(load_checkpoint(path), device=chosen, labels=labels, backend=backend)

    @property
    def labels(self) -> tuple[str, ...]:
        """The emotions of every result, in the order of its probabilities."""
        return self._label_map.target

    def analyze(
        self,
        path: str | Path,
        *,
        smooth: Smoothing = "hmm",
        frame_labels: FrameLabels = "network",
        on_progress: Progress = _silent,
        on_faces: Callable[[FaceRows], None] = _unseen,
    ) -> VideoAnalysis:
        """Label every person in a video, for every frame and for the clip.

        Memory does not grow with the length of the video but for what is returned, about a kilobyte for
        each face and frame.

        Args:
            path: a video or a still picture.
            smooth: how frame labels are smoothed.
            frame_labels: what is smoothed: what the frame network says of each frame, or what the temporal
                head made of it. On people it has not seen the head helps clips, not frames.
            on_progress: called as the video is gone through.
            on_faces: called with the faces of consecutive frames while their pictures are in memory.
        Raises:
            UsageError: the head's labels were asked for, and there is none.
            VideoError: the file cannot be read.
        """
        if frame_labels == "head" and self.classifier.head is None:
            raise UsageError(f"frame labels of the head: {self.checkpoint.path} has none, use network")
        header = self.checkpoint.header
        tracker = FaceTracker(self.detector)
        evidence = PerPerson()
        frame_index, pts_seconds = [], []
        with VideoReader(path) as reader:
            for rows, crops in iter_face_crops(reader, tracker, header.geometry, on_progress=on_progress):
                frame_index.append(rows.frames.frame_index)
                pts_seconds.append(rows.frames.pts_seconds)
                if len(crops) == 0:
                    continue
                on_faces(rows)
                found = [*self.classifier.classify_crops(crops, rows.landmarks)]
                if self._find_landmarks is not None:
                    found.append(self._find_landmarks(rows))
                evidence.add(rows, *found)
            info, decoder, warnings = reader.info, reader.decoder, list(reader.warnings)
        tracks = tracker.tracks()
        # Each person's evidence is let go once their timeline is made.
        timelines = [
            self._timeline(track, *evidence.take(track), smooth=smooth, frame_labels=frame_labels)
            for track in tracks
        ]
        if not tracks:
            warnings.append("no face was found in any frame")
        if header.head is not None and self.classifier.head is None:
            warnings.append(
                f"the temporal head works on {header.main_classifier}, not on {self.label_set}: "
                "clip labels are by sum and vote"
            )
        return VideoAnalysis(
            info=info,
            labels=self.labels,
            frame_index=np.concatenate(frame_index),
            pts_seconds=np.concatenate(pts_seconds),
            tracks=tuple(tracks),
            timelines=tuple(timelines),
            checkpoint=self.checkpoint.identity(),
            settings={
                "label_set": self.label_set,
                "smooth": smooth,
                "frame_labels": frame_labels,
                "decoder": decoder,
                "device": self.device.type,
                "backend": self.backend,
                "dwell_seconds": header.dwell_seconds,
                "versions": versions(),
            },
            warnings=tuple(warnings),
        )

    def _timeline(
        self,
        track: Track,
        embeddings: np.ndarray,
        log_probs: np.ndarray,
        landmarks68: np.ndarray | None = None,
        *,
        smooth: Smoothing,
        frame_labels: FrameLabels,
    ) -> EmotionTimeline:
        seconds = track.pts_seconds[track.seen]
        merge = self._label_map.merge_probs
        probs = merge(np.exp(log_probs))
        clip: dict[str, ClipResult] = {}
        labelled = probs
        if self.classifier.head is not None:
            evidence = FrameEvidence(embeddings, log_probs)
            temporal, clip_probs = self.classifier.classify_sequence(evidence, seconds, landmarks68)
            clip["head"] = result_from_probs(merge(clip_probs), self.labels)
            if frame_labels == "head":
                labelled = merge(temporal)
        clip["sum"] = aggregate_sum(probs, self.labels)
        clip["vote"] = aggregate_vote(probs, self.labels)
        dwell = self.checkpoint.header.dwell_seconds
        filled = fill_gaps(labelled, seconds, track.pts_seconds)
        return EmotionTimeline(
            track_id=track.track_id,
            frame_probs=fill_gaps(probs, seconds, track.pts_seconds),
            smoothed_probs=smooth_probs(filled, track.pts_seconds, method=smooth, dwell_seconds=dwell),
            clip=clip,
        )


def _landmark_finder(
    checkpoint: Checkpoint, predictor: PointPredictor | None
) -> Callable[[FaceRows], np.ndarray]:
    """Return what finds the landmarks that a head needs, dlib's predictor where none is given."""
    from emotemporal.faces.landmarks import LandmarkPredictor, predict_rows

    try:
        return partial(predict_rows, LandmarkPredictor() if predictor is None else predictor)
    except UsageError as error:
        raise UsageError(f"{checkpoint.path}: its head sees geometry; {error}") from error


def fill_gaps(probs: np.ndarray, seconds: np.ndarray, wanted_seconds: np.ndarray) -> np.ndarray:
    """Interpolate probabilities in time to frames on which the face was not seen.

    Args:
        probs: (K, C), of the frames that were seen.
        seconds: (K,), their times, strictly increasing.
        wanted_seconds: (L,).
    Returns: float32 (L, C), rows sum to 1.
    """
    columns = [np.interp(wanted_seconds, seconds, column) for column in probs.T]
    filled = np.stack(columns, axis=1)
    return (filled / filled.sum(1, keepdims=True)).astype(np.float32)


def write_overlay(analysis: VideoAnalysis, path: str | Path, *, on_progress: Progress = _silent) -> list[str]:
    """Write the video, or picture, with boxes and labels drawn on every frame.

    Args:
        analysis: of the video, which is read again.
        path: the .mp4 (or picture) to write.
    Returns: warnings, one line each.
    Raises:
        OutputError: it cannot be written.
        VideoError: the video can no longer be read.
    """
    info = analysis.info
    renderer = OverlayRenderer(analysis)
    with VideoReader(info.path) as reader:
        if info.is_still:
            batch = next(iter(reader))
            write_picture(path, renderer.draw(batch.data[0], 0))
            return []
        done = 0
        with VideoWriter(path, width=info.width, height=info.height, source=Path(info.path)) as writer:
            for batch in reader:
                for frame, index, seconds in zip(
                    batch.data, batch.frame_index, batch.pts_seconds, strict=True
                ):
                    writer.write(renderer.draw(frame, int(index)), float(seconds))
                done += len(batch)
                on_progress("overlay", done, len(analysis.frame_index))
        return list(writer.warnings)


def versions() -> dict[str, Any]:
    """Return what an output records of the software it came from."""
    packages = ("torch", "decord2", "av", "facenet-pytorch", "numpy", "opencv-python-headless")
    return {
        "emotemporal": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }
