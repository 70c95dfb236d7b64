"""Clip labels from the 68 landmarks of every person in a video, beside those of the networks.

The landmarks need the extra `emotemporal[landmarks]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from emotemporal.checkpoint import Checkpoint, GeometryHeader, load_geometry_checkpoint
from emotemporal.errors import CheckpointError, UsageError, VideoError
from emotemporal.extraction import most_prominent
from emotemporal.faces.detector import FaceDetector
from emotemporal.faces.landmarks import LandmarkPredictor, PointPredictor, predict_rows
from emotemporal.faces.tracker import FaceTracker
from emotemporal.models.pooled import pool_landmarks
from emotemporal.models.pooled_geometry import GeometryModel
from emotemporal.pipeline import EmotionPipeline, PerPerson, track_faces
from emotemporal.structures import FaceRows, GeometryResult, Track, VideoAnalysis
from emotemporal.video.reader import VideoReader

CLIP_SECONDS = 4.0
"""Of RAVDESS's clips, about: a longer video gives a baseline of several pieces."""
MIN_BASELINE_CLIPS = 3
"""Of varied expression, on held-out actors 5 to 24 of RAVDESS: none 71 % right, 1 61 %, 2 70 %, 3 75 %,
4 78 %, 8 83 %, all others 86 %; neutral ones alone 64 to 67 %, however many."""


class LandmarkCollector:
    """Finds the landmarks of every face as a video goes by; keeps half a kilobyte for each.

    Args:
        predictor: finds them.
    """

    def __init__(self, predictor: PointPredictor) -> None:
        self._predictor = predictor
        self._gathered = PerPerson()

    def add(self, rows: FaceRows) -> None:
        """Look at the faces of consecutive frames."""
        self._gathered.add(rows, predict_rows(self._predictor, rows))

    def take(self, track: Track) -> tuple[np.ndarray, np.ndarray]:
        """Return a person's landmarks, float32 (L, 68, 2), and times, float64 (L,), once."""
        (points,) = self._gathered.take(track)
        return points, track.pts_seconds[track.seen]


class GeometryReader:
    """Labels people's clips by how their landmarks lie and move.

    Args:
        checkpoint: the weights.
        predictor: finds the landmarks; dlib's where none is given.
    Raises:
        CheckpointError: tensors are missing or do not fit each other.
        UsageError: dlib or its model file is not installed.
    """

    def __init__(
        self, checkpoint: Checkpoint[GeometryHeader], *, predictor: PointPredictor | None = None
    ) -> None:
        self.checkpoint = checkpoint
        header = checkpoint.header
        arrays = {name: array.astype(np.float64) for name, array in checkpoint.arrays.items()}
        try:
            self.model = GeometryModel.from_arrays(arrays, header.temperatures)
        except (KeyError, ValueError) as error:
            raise CheckpointError(
                f"{checkpoint.path}: the tensors do not fit the header ({error})"
            ) from error
        self.predictor = LandmarkPredictor() if predictor is None else predictor

    @classmethod
    def load(cls, path: str | Path) -> GeometryReader:
        """Load a geometry checkpoint file.

        Raises:
            CheckpointError: it is missing, damaged or of another kind.
            UsageError: dlib or its model file is not installed.
        """
        return cls(load_geometry_checkpoint(path))

    def read_baseline(self, paths: Sequence[str | Path], detector: FaceDetector) -> np.ndarray:
        """Describe other videos of a person, against which a clip of theirs can be told.

        Args:
            paths: videos in which they are the most prominent person; those longer than `CLIP_SECONDS` give
                several clips.
            detector: finds faces.
        Returns: float64 (2, K, D), of K clips.
        Raises:
            UsageError: a video cannot be read or shows nobody, or there are too few clips.
        """
        clips = []
        for path in paths:
            collector, tracker = LandmarkCollector(self.predictor), FaceTracker(detector)
            try:
                with VideoReader(path) as reader:
                    for rows in track_faces(reader, tracker):
                        collector.add(rows)
            except VideoError as error:
                raise UsageError(f"baseline: {error}") from error
            tracks = tracker.tracks()
            if not tracks:
                raise UsageError(f"baseline: {path} shows no face; give videos of the person")
            points, seconds = collector.take(most_prominent(tracks))
            clips += [pool_landmarks(points[rows], seconds[rows]) for rows in _cut(seconds)]
        if len(clips) < MIN_BASELINE_CLIPS:
            raise UsageError(
                f"baseline: {len(clips)} clip of about {CLIP_SECONDS:.0f} seconds, expected at least "
                f"{MIN_BASELINE_CLIPS} of varied expression; with fewer, labels are worse than without"
            )
        return np.stack(clips, axis=1)

    def label_clip(
        self, points: np.ndarray, seconds: np.ndarray, *, baseline: np.ndarray | None = None
    ) -> GeometryResult:
        """Label one person's clip.

        Args:
            points: (L, 68, 2) in pixels; not finite where missing.
            seconds: (L,), strictly increasing.
            baseline: of the same person, from `read_baseline`.
        """
        pooled = pool_landmarks(points, seconds)[:, None]
        probs = self.model.predict_probs(pooled, baseline)[0].astype(np.float32)
        header = self.checkpoint.header
        return GeometryResult(
            emotion=header.labels[int(probs.argmax())],
            probs=probs,
            labels=header.labels,
            licence=header.licence,
            baseline=baseline is not None,
        )

    def analyze(
        self,
        pipeline: EmotionPipeline,
        path: str | Path,
        *,
        baseline: np.ndarray | None = None,
        **options: Any,
    ) -> VideoAnalysis:
        """Analyse a video as the pipeline does, and label every person's clip by landmarks besides.

        Args:
            pipeline: everything else.
            path: a video or a still picture.
            baseline: of its most prominent person, from `read_baseline`; the others are told without.
            options: as `EmotionPipeline.analyze` takes them, but for `on_faces`.
        Raises:
            VideoError: the file cannot be read.
        """
        collector = LandmarkCollector(self.predictor)
        analysis = pipeline.analyze(path, on_faces=collector.add, **options)
        first = most_prominent(analysis.tracks) if analysis.tracks else None
        timelines = [
            replace(
                timeline,
                geometry=self.label_clip(
                    *collector.take(track), baseline=baseline if track is first else None
                ),
            )
            for track, timeline in zip(analysis.tracks, analysis.timelines, strict=True)
        ]
        return replace(
            analysis,
            timelines=tuple(timelines),
            settings={**analysis.settings, "geometry": self.checkpoint.identity()},
        )


def _cut(seconds: np.ndarray) -> list[np.ndarray]:
    """Return the frames of each of several equal parts of a clip, bool (L,), about `CLIP_SECONDS` long."""
    length = float(np.ptp(seconds))
    num = max(1, round(length / CLIP_SECONDS))
    part = np.minimum((seconds - seconds[0]) / max(length, 1e-9) * num, num - 1).astype(int)
    # A part in which the face was not seen is none.
    return [part == i for i in np.unique(part)]
