"""From a video file to every person's emotions: the rooms joined together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import numpy as np

from emotemporal.checkpoint import Checkpoint, default_checkpoint, load_checkpoint
from emotemporal.errors import CheckpointError, UsageError
from emotemporal.faces.align import resize_crops
from emotemporal.faces.choice import DetectorChoice
from emotemporal.faces.detector import FaceDetector, detector_identity
from emotemporal.faces.gathering import PerPerson as PerPerson
from emotemporal.faces.gathering import iter_face_crops as iter_face_crops
from emotemporal.faces.gathering import track_faces as track_faces
from emotemporal.faces.tracker import FaceTracker
from emotemporal.labelling.aggregation import aggregate_sum, aggregate_vote, result_from_probs
from emotemporal.labelling.smoothing import (
    EVIDENCE_SECONDS,
    HEAD_EVIDENCE_SECONDS,
    Smoothing,
    fill_gaps,
    smooth_probs,
)
from emotemporal.models.classifier import EmotionClassifier
from emotemporal.models.person import PeopleEvidence, PersonEvidence, PersonProbs, SeenFaces
from emotemporal.networks import build_classifier, build_landmark_finder, choose_labels
from emotemporal.progress import Progress, silent
from emotemporal.report.overlay_video import write_overlay as write_overlay
from emotemporal.runtime import (
    BackendChoice,
    Device,
    InOrder,
    choose_backend,
    choose_device,
    one_torch_thread,
)
from emotemporal.structures import (
    ClipResult,
    EmotionTimeline,
    FaceRows,
    VideoAnalysis,
)
from emotemporal.versions import versions
from emotemporal.video.arrays import FrameArrays, FrameSource, require_pictures
from emotemporal.video.reader import VideoReader
from emotemporal.workers import available_cores

FrameLabels = Literal["network", "head"]
_CROPS_AHEAD = 4
"""Batches of crops that may wait for the frame network: less than a megabyte for each face."""


def _unseen(rows: FaceRows) -> None:
    """Show faces to nobody."""


class EmotionPipeline:
    """Detector, tracker and networks, ready for any number of videos.

        pipeline = EmotionPipeline.load()
        analysis = pipeline.analyze("video.mp4")
        tables = {path.name: pipeline.analyze(path).to_dataframe() for path in folder.glob("*.mp4")}
        everything = pd.concat(tables, names=["video", "row"]).reset_index("video")

    Args:
        checkpoint: the weights.
        device: where the networks run.
        detector: finds faces: `mtcnn`, `yunet:FILE` or `ssd:FILE` for a network that OpenCV runs, or one of
            your own, see `faces.detector`.
        backend: what runs the networks: PyTorch, or OpenVINO on a CPU; `auto` takes OpenVINO where it is
            installed and the device is a CPU.
        labels: the set that everything is told in: `fer7`, `fer6` (disgust counts as angry), `ferplus` (with
            contempt, by the frame network's second classifier; a temporal head does not work on that) or
            `binary` (happy or sad); None for the checkpoint's own. Probabilities are merged after
            calibration and the head, before aggregation and smoothing.
        one_thread: let each network run in one thread on a CPU. Sums depend on how many share them: with one,
            results do not depend on the number of cores, nor on how many such processes share these.
    Raises:
        UsageError: there is no such detector, the checkpoint cannot tell those labels, or its head needs
            landmarks, and the extra `emotemporal[landmarks]` is not installed.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: Device = "cpu",
        detector: FaceDetector | str = "mtcnn",
        labels: str | None = None,
        backend: BackendChoice = "auto",
        one_thread: bool = False,
    ) -> None:
        if isinstance(detector, str):
            # What is named wrongly is told of before networks are loaded.
            choice = DetectorChoice.parse(detector)
        source, self.label_map = choose_labels(checkpoint, labels)
        self.checkpoint = checkpoint
        self.label_set = labels or source
        self.device = device
        # A network that sees landmarks runs under PyTorch alone.
        wanted = "torch" if backend == "auto" and checkpoint.header.backbone.landmarks else backend
        self.backend = choose_backend(wanted, self.device)
        self.classifier: EmotionClassifier = build_classifier(
            checkpoint,
            classifier=source,
            device=self.device,
            backend=self.backend,
            # One core follows the faces meanwhile.
            num_threads=1 if one_thread else max(1, available_cores() - 1),
        )
        # OpenVINO's networks bring their own threads.
        self._one_torch_thread = one_thread or self.backend == "openvino"
        if self.classifier.num_landmarks not in (0, 5):
            # The detector gives five.
            raise CheckpointError(
                f"{checkpoint.path}: needs {self.classifier.num_landmarks} landmarks of each face, "
                "a video gives five; use a checkpoint trained with backbone.landmarks 0 or 5"
            )
        self.detector: FaceDetector = (
            choice.make(self.device, self.backend) if isinstance(detector, str) else detector
        )
        self._find_landmarks: Callable[[FaceRows], np.ndarray] | None = None
        if self.classifier.head is not None and self.classifier.head.spec.sees_geometry:
            self._find_landmarks = build_landmark_finder(checkpoint)

    @classmethod
    def load(
        cls,
        checkpoint: str | Path | None = None,
        device: str = "auto",
        *,
        detector: FaceDetector | str = "mtcnn",
        labels: str | None = None,
        backend: BackendChoice = "auto",
        one_thread: bool = False,
    ) -> EmotionPipeline:
        """Load a checkpoint file, or the shipped one.

        Args:
            checkpoint: its file; None for the shipped one.
            device: `auto`, `cpu` or `cuda`.
            detector: as of `EmotionPipeline`.
            labels: the set to tell emotions in, one of `labels.LABEL_SETS`; None for the checkpoint's own.
            backend: what runs the networks: `auto`, `torch`, or `openvino` on a CPU where it is installed.
            one_thread: let each network run in one thread on a CPU.
        Raises:
            CheckpointError: it is missing, damaged or none.
            UsageError: device, backend or detector are not there, or the checkpoint cannot tell those labels.
        """
        chosen = choose_device(device)
        path = default_checkpoint() if checkpoint is None else checkpoint
        return cls(
            load_checkpoint(path),
            device=chosen,
            detector=detector,
            labels=labels,
            backend=backend,
            one_thread=one_thread,
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The emotions of every result, in the order of its probabilities."""
        return self.label_map.target

    def analyze(
        self,
        path: str | Path,
        *,
        smooth: Smoothing = "hmm",
        frame_labels: FrameLabels = "network",
        min_confidence: float = 0.0,
        on_progress: Progress = silent,
        on_faces: Callable[[FaceRows], None] = _unseen,
    ) -> VideoAnalysis:
        """Label every person in a video, for every frame and for the clip.

            analysis = pipeline.analyze("video.mp4", min_confidence=0.4)
            for track, timeline in zip(analysis.tracks, analysis.timelines):
                print(track.track_id, timeline.clip["sum"].label(analysis.min_confidence))

        Memory does not grow with the length of the video but for what is returned, about a kilobyte for
        each face and frame.

        Args:
            path: a video or a still picture.
            smooth: how frame labels are smoothed.
            frame_labels: what is smoothed: what the frame network says of each frame, or what the temporal
                head made of it. On people it has not seen the head helps clips, not frames.
            min_confidence: labels of clips and smoothed labels of frames whose probability is lower are
                `uncertain`; all probabilities stay as they are.
            on_progress: called as the video is gone through.
            on_faces: called with the faces of consecutive frames while their pictures are in memory.
        Raises:
            UsageError: the head's labels were asked for, and there is none; or the confidence is none.
            VideoError: the file cannot be read.
        """
        self._require_options(frame_labels, min_confidence)
        with VideoReader(path) as reader:
            return self._analyze(reader, smooth, frame_labels, min_confidence, on_progress, on_faces)

    def analyze_frames(
        self,
        frames: Iterable[np.ndarray],
        pts_seconds: Sequence[float] | np.ndarray,
        *,
        name: str = "frames",
        smooth: Smoothing = "hmm",
        frame_labels: FrameLabels = "network",
        min_confidence: float = 0.0,
        on_progress: Progress = silent,
    ) -> VideoAnalysis:
        """Label every person in frames that are in memory, or that something else reads.

            times = np.arange(len(frames)) / 25
            analysis = pipeline.analyze_frames(frames, times)  # frames: uint8 (N, H, W, 3), RGB
            print(analysis.to_json()["people"][0]["clip"]["head"]["emotion"])

        What must read the video again (overlay, timeline picture) cannot be made of the result.

        Args:
            frames: N pictures uint8 (H, W, 3), RGB, upright, of one size: an array, or an iterable that is
                gone through once.
            pts_seconds: (N,), their times, strictly increasing.
            name: stands for the path in the result.
            smooth, frame_labels, min_confidence, on_progress: as for `analyze`.
        Raises:
            UsageError: frames or times are not as told above, or an option as for `analyze`.
        """
        self._require_options(frame_labels, min_confidence)
        source = FrameArrays(frames, pts_seconds, name=name)
        return self._analyze(source, smooth, frame_labels, min_confidence, on_progress, _unseen)

    def analyze_crops(
        self,
        crops: np.ndarray,
        pts_seconds: Sequence[float] | np.ndarray,
        *,
        smooth: Smoothing = "hmm",
        frame_labels: FrameLabels = "network",
    ) -> EmotionTimeline:
        """Label one person's face crops, found and cut out by other means.

            timeline = pipeline.analyze_crops(crops, np.arange(len(crops)) / 25)
            print(timeline.clip["head"].emotion, timeline.clip["head"].confidence)

        The networks were trained on upright faces with the eyes at 0.39 of the crop's side from above, 0.37
        of it apart (`faces.align.align_faces`); the less crops are like that, the less labels are worth.

        Args:
            crops: uint8 (L, S, S, 3), RGB, L at least 1; brought to the side that the networks see.
            pts_seconds: (L,), their times, strictly increasing.
            smooth, frame_labels: as for `analyze`.
        Raises:
            UsageError: crops or times are not as told above, or the networks need landmarks besides.
        """
        self._require_options(frame_labels, 0.0)
        seconds = np.asarray(pts_seconds, np.float64)
        require_pictures(crops, seconds)
        head = self.classifier.head
        if self.classifier.num_landmarks or (head is not None and head.spec.sees_geometry):
            raise UsageError(f"{self.checkpoint.path}: needs landmarks, which crops lack; use analyze_frames")
        # PyTorch warns of arrays that cannot be written to, such as views of a file.
        fitted = np.require(resize_crops(crops, self.checkpoint.header.geometry.side_px), requirements="W")
        with one_torch_thread() if self._one_torch_thread else nullcontext():
            person = PersonEvidence(self.classifier)
            person.add(self.classifier.classify_crops(fitted), seconds)
            return self._timeline(1, seconds, person.finish(), smooth, frame_labels)

    def _require_options(self, frame_labels: FrameLabels, min_confidence: float) -> None:
        if not 0 <= min_confidence <= 1:
            raise UsageError(f"min_confidence must be from 0 to 1, found {min_confidence}")
        if frame_labels == "head" and self.classifier.head is None:
            raise UsageError(f"frame labels of the head: {self.checkpoint.path} has none, use network")

    def _analyze(
        self,
        reader: FrameSource,
        smooth: Smoothing,
        frame_labels: FrameLabels,
        min_confidence: float,
        on_progress: Progress,
        on_faces: Callable[[FaceRows], None],
    ) -> VideoAnalysis:
        header = self.checkpoint.header
        tracker = FaceTracker(self.detector)
        people = PeopleEvidence(self.classifier)
        frame_index, pts_seconds = [], []
        with one_torch_thread() if self._one_torch_thread else nullcontext():
            # While faces are followed in this thread, those of the frames before are classified in another.
            with InOrder(self.classifier.classify_crops) as classified:
                for rows, crops in iter_face_crops(reader, tracker, header.geometry, on_progress=on_progress):
                    frame_index.append(rows.frames.frame_index)
                    pts_seconds.append(rows.frames.pts_seconds)
                    if len(crops) == 0:
                        continue
                    on_faces(rows)
                    points = None if self._find_landmarks is None else self._find_landmarks(rows)
                    seen = SeenFaces(rows.track_id, rows.frame_index, rows.pts_seconds, points)
                    classified.submit(seen, crops, rows.landmarks)
                    for faces, found in classified.results(max_left=_CROPS_AHEAD):
                        people.add(faces, found)
                for faces, found in classified.results(max_left=0):
                    people.add(faces, found)
                info, decoder, warnings = reader.info, reader.decoder, list(reader.warnings)
            tracks = tracker.tracks()
            # Each person's evidence is let go once their timeline is made.
            timelines = [
                self._timeline(
                    track.track_id,
                    track.pts_seconds,
                    people.take(track.track_id),
                    smooth,
                    frame_labels,
                )
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
                "min_confidence": min_confidence,
                "decoder": decoder,
                "detector": detector_identity(self.detector),
                "device": self.device,
                "backend": self.backend,
                "precision": self.classifier.frame.precision,
                "dwell_seconds": header.dwell_seconds,
                "versions": versions(),
            },
            warnings=tuple(warnings),
        )

    def _timeline(
        self,
        track_id: int,
        pts_seconds: np.ndarray,
        found: PersonProbs,
        smooth: Smoothing,
        frame_labels: FrameLabels,
    ) -> EmotionTimeline:
        """Return what a person shows on all frames of their track, (L,), seen on it or not."""
        merge = self.label_map.merge_probs
        probs = merge(found.of_frames)
        clip: dict[str, ClipResult] = {}
        labelled, evidence_seconds = probs, EVIDENCE_SECONDS
        if found.temporal is not None and found.clip is not None:
            clip["head"] = result_from_probs(merge(found.clip), self.labels)
            if frame_labels == "head":
                labelled, evidence_seconds = merge(found.temporal), HEAD_EVIDENCE_SECONDS
        clip["sum"] = aggregate_sum(probs, self.labels)
        clip["vote"] = aggregate_vote(probs, self.labels)
        dwell = self.checkpoint.header.dwell_seconds
        filled = fill_gaps(labelled, found.pts_seconds, pts_seconds)
        return EmotionTimeline(
            track_id=track_id,
            frame_probs=fill_gaps(probs, found.pts_seconds, pts_seconds),
            smoothed_probs=smooth_probs(
                filled,
                pts_seconds,
                method=smooth,
                dwell_seconds=dwell,
                evidence_seconds=evidence_seconds,
            ),
            clip=clip,
        )
