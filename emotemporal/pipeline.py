"""From a video file to every person's emotions: the rooms joined together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from emotemporal.checkpoint import Checkpoint, default_checkpoint, load_checkpoint
from emotemporal.errors import CheckpointError, UsageError
from emotemporal.faces.align import align_faces
from emotemporal.faces.detector import FaceDetector, MtcnnDetector
from emotemporal.faces.tracker import FaceTracker
from emotemporal.labelling.aggregation import aggregate_sum, aggregate_vote, result_from_probs
from emotemporal.labelling.smoothing import Smoothing, fill_gaps, smooth_probs
from emotemporal.models.classifier import EmotionClassifier, FrameEvidence
from emotemporal.networks import build_classifier, build_landmark_finder, choose_labels
from emotemporal.report.canvas import RgbCanvas, YuvCanvas
from emotemporal.report.overlay import OverlayRenderer
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
    CropGeometry,
    EmotionTimeline,
    FaceRows,
    Track,
    VideoAnalysis,
)
from emotemporal.versions import versions
from emotemporal.video.planes import NotPlain, plain_frames
from emotemporal.video.reader import VideoReader
from emotemporal.video.writer import VideoWriter, write_picture
from emotemporal.workers import available_cores

FrameLabels = Literal["network", "head"]
_CROPS_AHEAD = 4
"""Batches of crops that may wait for the frame network: less than a megabyte for each face."""
Progress = Callable[[str, int, int | None], None]
"""Called with the stage's name, the frames done, and their number where it is known."""


def _silent(stage: str, done: int, total: int | None) -> None:
    """Report progress to nobody."""


def _unseen(rows: FaceRows) -> None:
    """Show faces to nobody."""


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
        ends = np.searchsorted(rows.row_frame, np.arange(len(rows.frames) + 1))
        for picture, start, end in zip(rows.frames.data, ends, ends[1:], strict=False):
            if start < end:
                crops[start:end] = align_faces(picture, rows.landmarks[start:end], geometry)
        yield rows, crops
        done += len(rows.frames)
        on_progress("faces", done, reader.info.num_frames)


class SeenFaces(NamedTuple):
    """Whose faces are seen on which frames, M rows."""

    frame_index: np.ndarray
    """int64 (M,)."""
    track_id: np.ndarray
    """int64 (M,)."""


class PerPerson:
    """Gathers what is found of faces as frames go by, and gives it back person by person."""

    def __init__(self) -> None:
        self._parts: dict[int, list[tuple[np.ndarray, ...]]] = {}

    def add(self, rows: FaceRows | SeenFaces, *values: np.ndarray) -> None:
        """Take arrays (M, ...), a row of each for every face of consecutive frames."""
        for track_id in np.unique(rows.track_id):
            chosen = rows.track_id == track_id
            part = (rows.frame_index[chosen], *(value[chosen] for value in values))
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
        backend: what runs the networks: PyTorch, or OpenVINO on a CPU; `auto` takes OpenVINO where it is
            installed and the device is a CPU.
        labels: the set that everything is told in: `fer7`, `fer6` (disgust counts as angry), `ferplus` (with
            contempt, by the frame network's second classifier; a temporal head does not work on that) or
            `binary` (happy or sad); None for the checkpoint's own. Probabilities are merged after
            calibration and the head, before aggregation and smoothing.
        one_thread: let each network run in one thread on a CPU. Sums depend on how many share them: with one,
            results do not depend on the number of cores, nor on how many such processes share these.
    Raises:
        UsageError: the checkpoint cannot tell those labels, or its head needs landmarks, and the extra
            `emotemporal[landmarks]` is not installed.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: Device = "cpu",
        detector: FaceDetector | None = None,
        labels: str | None = None,
        backend: BackendChoice = "auto",
        one_thread: bool = False,
    ) -> None:
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
        self.detector = MtcnnDetector(self.device, backend=self.backend) if detector is None else detector
        self._find_landmarks: Callable[[FaceRows], np.ndarray] | None = None
        if self.classifier.head is not None and self.classifier.head.spec.sees_geometry:
            self._find_landmarks = build_landmark_finder(checkpoint)

    @classmethod
    def load(
        cls,
        checkpoint: str | Path | None = None,
        device: str = "auto",
        *,
        labels: str | None = None,
        backend: BackendChoice = "auto",
        one_thread: bool = False,
    ) -> EmotionPipeline:
        """Load a checkpoint file, or the shipped one.

        Args:
            checkpoint: its file; None for the shipped one.
            device: `auto`, `cpu` or `cuda`.
            labels: the set to tell emotions in, one of `labels.LABEL_SETS`; None for the checkpoint's own.
            backend: what runs the networks: `auto`, `torch`, or `openvino` on a CPU where it is installed.
            one_thread: let each network run in one thread on a CPU.
        Raises:
            CheckpointError: it is missing, damaged or none.
            UsageError: device or backend are not there, or the checkpoint cannot tell those labels.
        """
        chosen = choose_device(device)
        path = default_checkpoint() if checkpoint is None else checkpoint
        return cls(
            load_checkpoint(path), device=chosen, labels=labels, backend=backend, one_thread=one_thread
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
        evidence, landmarks = PerPerson(), PerPerson()
        frame_index, pts_seconds = [], []
        with one_torch_thread() if self._one_torch_thread else nullcontext():
            # While faces are followed in this thread, those of the frames before are classified in another.
            with VideoReader(path) as reader, InOrder(self.classifier.classify_crops) as classified:
                for rows, crops in iter_face_crops(reader, tracker, header.geometry, on_progress=on_progress):
                    frame_index.append(rows.frames.frame_index)
                    pts_seconds.append(rows.frames.pts_seconds)
                    if len(crops) == 0:
                        continue
                    on_faces(rows)
                    if self._find_landmarks is not None:
                        landmarks.add(rows, self._find_landmarks(rows))
                    # Without the pictures, which would stay in memory.
                    classified.submit(SeenFaces(rows.frame_index, rows.track_id), crops, rows.landmarks)
                    for seen, found in classified.results(max_left=_CROPS_AHEAD):
                        evidence.add(seen, *found)
                for seen, found in classified.results(max_left=0):
                    evidence.add(seen, *found)
                info, decoder, warnings = reader.info, reader.decoder, list(reader.warnings)
            tracks = tracker.tracks()
            # Each person's evidence is let go once their timeline is made.
            timelines = [
                self._timeline(
                    track,
                    FrameEvidence(*evidence.take(track)),
                    None if self._find_landmarks is None else landmarks.take(track)[0],
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
                "decoder": decoder,
                "device": self.device,
                "backend": self.backend,
                "dwell_seconds": header.dwell_seconds,
                "versions": versions(),
            },
            warnings=tuple(warnings),
        )

    def _timeline(
        self,
        track: Track,
        evidence: FrameEvidence,
        landmarks68: np.ndarray | None,
        smooth: Smoothing,
        frame_labels: FrameLabels,
    ) -> EmotionTimeline:
        seconds = track.pts_seconds[track.seen]
        merge = self.label_map.merge_probs
        probs = merge(np.exp(evidence.log_probs))
        clip: dict[str, ClipResult] = {}
        labelled = probs
        if self.classifier.head is not None:
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
    if not info.is_still:
        try:
            return _write_on_planes(analysis, path, on_progress)
        except NotPlain:
            pass  # nothing of the file is left: it is written again, by way of RGB
    renderer = OverlayRenderer(analysis)
    with VideoReader(info.path) as reader:
        if info.is_still:
            batch = next(iter(reader))
            write_picture(path, renderer.draw(batch.data[0], 0), comment=analysis.provenance_line())
            return []
        done = 0
        with VideoWriter(path, **_frame_of(analysis)) as writer:
            for batch in reader:
                for frame, index, seconds in zip(
                    batch.data, batch.frame_index, batch.pts_seconds, strict=True
                ):
                    renderer.draw_on(partial(RgbCanvas, frame), int(index))  # the batch is ours alone
                    writer.write(frame, float(seconds))
                done += len(batch)
                on_progress("overlay", done, len(analysis.frame_index))
        return list(writer.warnings)


def _frame_of(analysis: VideoAnalysis) -> dict[str, Any]:
    """Return what an overlay has of its video, and the note on what made it."""
    info = analysis.info
    size = {"width": info.width, "height": info.height}
    return {**size, "source": info.path, "comment": analysis.provenance_line()}


def _write_on_planes(analysis: VideoAnalysis, path: str | Path, on_progress: Progress) -> list[str]:
    """Do `write_overlay` on the frames as they are stored.

    Raises:
        NotPlain: they cannot be used so; nothing is written.
    """
    info = analysis.info
    renderer = OverlayRenderer(analysis)
    frames = plain_frames(info, analysis.pts_seconds)
    first, colours = next(frames)
    total = len(analysis.frame_index)
    with VideoWriter(path, **_frame_of(analysis), colours=colours) as writer:
        everything = chain([(first, colours)], frames)
        for index, ((frame, _), seconds) in enumerate(zip(everything, analysis.pts_seconds, strict=True)):
            renderer.draw_on(partial(YuvCanvas, frame, colours), index)
            writer.write_planes(frame, float(seconds))
            on_progress("overlay", index + 1, total)
    return list(writer.warnings)
