"""What was found in a video."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from emotemporal.labels import UNCERTAIN
from emotemporal.structures.checks import require, require_array
from emotemporal.structures.faces import Track, TrackStatus
from emotemporal.structures.media import VideoInfo
from emotemporal.text import redacted

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False)
class ClipResult:
    """One person's label for the whole clip by one aggregation."""

    emotion: str
    probs: np.ndarray
    """float32 (C,), sums to 1."""
    confidence: float
    """Probability of `emotion`; for a vote, its share of the frames."""
    votes: np.ndarray | None = None
    """int64 (C,), frames won by each emotion, where the aggregation counts them."""
    mean_probability: float | None = None
    """Of a vote: the frames' mean probability of `emotion`, since a share of the frames is none."""

    def __post_init__(self) -> None:
        require_array(self, "probs", np.float32, (None,))
        require(abs(float(self.probs.sum()) - 1.0) < 1e-3, self, "probs must sum to 1")

    @property
    def certainty(self) -> float:
        """The probability of `emotion`, by which it counts as certain or not."""
        return self.confidence if self.mean_probability is None else self.mean_probability

    def label(self, min_confidence: float) -> str:
        """Return the emotion, `uncertain` where its certainty is lower."""
        return UNCERTAIN if self.certainty < min_confidence else self.emotion


@dataclass(frozen=True, eq=False)
class GeometryResult:
    """One person's label for the whole clip by the geometry of 68 landmarks, in labels of its own."""

    emotion: str
    probs: np.ndarray
    """float32 (K,), sums to 1."""
    labels: tuple[str, ...]
    licence: str
    """Of the weights and what they need."""
    baseline: bool
    """True where the features were told against other videos of the person."""

    def __post_init__(self) -> None:
        require_array(self, "probs", np.float32, (len(self.labels),))
        require(abs(float(self.probs.sum()) - 1.0) < 1e-3, self, "probs must sum to 1")

    @property
    def confidence(self) -> float:
        """Probability of `emotion`."""
        return float(self.probs.max())

    def label(self, min_confidence: float) -> str:
        """Return the emotion, `uncertain` where its confidence is lower."""
        return UNCERTAIN if self.confidence < min_confidence else self.emotion

    def to_json(self, min_confidence: float = 0.0) -> dict[str, Any]:
        best = {"best_emotion": self.emotion} if min_confidence > 0 else {}
        return {
            "emotion": self.label(min_confidence),
            **best,
            "probs": {name: float(p) for name, p in zip(self.labels, self.probs, strict=True)},
            "labels": list(self.labels),
            "licence": self.licence,
            "baseline": self.baseline,
        }


@dataclass(frozen=True, eq=False)
class EmotionTimeline:
    """One track's emotions: for every frame, and for the clip by every aggregation."""

    track_id: int
    frame_probs: np.ndarray
    """float32 (L, C), rows sum to 1; one row for each frame of the track."""
    smoothed_probs: np.ndarray
    """float32 (L, C), rows sum to 1."""
    clip: Mapping[str, ClipResult]
    """By name of the aggregation: `head` (where the checkpoint has one), `sum`, `vote`."""
    geometry: GeometryResult | None = None
    """Where it was asked for."""

    def __post_init__(self) -> None:
        require_array(self, "frame_probs", np.float32, (None, None))
        require_array(self, "smoothed_probs", np.float32, self.frame_probs.shape)

    def frame_labels(self, min_confidence: float = 0.0, rows: slice = slice(None)) -> np.ndarray:
        """Return the smoothed label of every frame.

        Args:
            min_confidence: a smoothed probability below it leaves the frame uncertain.
            rows: which of the L frames.
        Returns: int64 (L,), positions of emotions; C where uncertain.
        """
        probs = self.smoothed_probs[rows]
        labels = probs.argmax(1)
        labels[probs.max(1) < min_confidence] = probs.shape[1]
        return labels

    @property
    def aggregations_agree(self) -> bool:
        """Whether all find the same emotion most probable, certain or not."""
        return len({result.emotion for result in self.clip.values()}) <= 1


@dataclass(frozen=True, eq=False)
class VideoAnalysis:
    """Everything that was found in one video."""

    info: VideoInfo
    labels: tuple[str, ...]
    frame_index: np.ndarray
    """int64 (N,), every decoded frame, with or without faces."""
    pts_seconds: np.ndarray
    """float64 (N,)."""
    tracks: tuple[Track, ...]
    timelines: tuple[EmotionTimeline, ...]
    """One for each track, in the same order."""
    checkpoint: Mapping[str, Any]
    """`name`, `sha256` and `licence` of the weights."""
    settings: Mapping[str, Any]
    """What the run was asked for, and the versions it ran with."""
    warnings: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        require_array(self, "frame_index", np.int64, (None,))
        require_array(self, "pts_seconds", np.float64, (len(self.frame_index),))
        require(len(self.tracks) == len(self.timelines), self, "one timeline for each track")
        for track, timeline in zip(self.tracks, self.timelines, strict=True):
            require(track.track_id == timeline.track_id, self, "tracks and timelines out of order")
            require(len(track) == len(timeline.frame_probs), self, "timeline and track differ in length")

    @property
    def min_confidence(self) -> float:
        """Labels of lower confidence are `uncertain`; 0 where none can be."""
        return float(self.settings.get("min_confidence", 0.0))

    @property
    def told_labels(self) -> tuple[str, ...]:
        """What frames and clips are called: `labels`, and `uncertain` last where anything can be."""
        return (*self.labels, UNCERTAIN) if self.min_confidence > 0 else self.labels

    def frame_labels(self, timeline: EmotionTimeline, rows: slice = slice(None)) -> np.ndarray:
        """Return the smoothed label of a person's every frame: int64 (L,), positions in `told_labels`."""
        return timeline.frame_labels(self.min_confidence, rows)

    def to_dataframe(self, frames: slice = slice(None)) -> pd.DataFrame:
        """Return one row for every decoded frame and person, ordered by frame, then by person.

        Columns: frame_index, pts_seconds, track_id (Int64, missing without a face), status, x1, y1, x2, y2,
        score, emotion, smoothed_emotion (one of `told_labels`), confidence (the highest smoothed
        probability), then `p_<emotion>` (frame by frame) and `s_<emotion>` (smoothed). A frame without a
        face has status `no_face`.

        Args:
            frames: which of the decoded frames, in steps of one. A long video's whole table takes many times
                the room of the analysis.
        """
        import pandas as pd

        names = np.array(self.told_labels)
        chosen, chosen_seconds = self.frame_index[frames], self.pts_seconds[frames]
        covered = np.zeros(len(chosen), bool)
        parts = []
        for track, timeline in zip(self.tracks, self.timelines, strict=True):
            ends = (0, 0) if len(chosen) == 0 else (chosen[0], chosen[-1] + 1)
            rows = slice(*np.searchsorted(track.frame_index, ends))
            num_rows = rows.stop - rows.start
            if num_rows == 0:
                continue
            covered[np.searchsorted(chosen, track.frame_index[rows])] = True
            raw, smoothed = timeline.frame_probs[rows], timeline.smoothed_probs[rows]
            columns: dict[str, Any] = {
                "frame_index": track.frame_index[rows],
                "pts_seconds": track.pts_seconds[rows],
                "track_id": np.full(num_rows, track.track_id),
                "status": np.array([status.name.lower() for status in TrackStatus])[track.status[rows]],
                **dict(zip(("x1", "y1", "x2", "y2"), track.boxes[rows].T, strict=True)),
                "score": track.scores[rows],
                "emotion": names[raw.argmax(1)],
                "smoothed_emotion": names[self.frame_labels(timeline, rows)],
                "confidence": smoothed.max(1),
                **{f"p_{name}": raw[:, i] for i, name in enumerate(self.labels)},
                **{f"s_{name}": smoothed[:, i] for i, name in enumerate(self.labels)},
            }
            parts.append(pd.DataFrame(columns))
        columns = {"frame_index": chosen[~covered], "pts_seconds": chosen_seconds[~covered]}
        parts.append(pd.DataFrame(columns).assign(status="no_face"))
        order = ["frame_index", "pts_seconds", "track_id", "status", "x1", "y1", "x2", "y2", "score"]
        order += ["emotion", "smoothed_emotion", "confidence"]
        order += [f"{kind}_{name}" for kind in "ps" for name in self.labels]
        table = pd.concat(parts, ignore_index=True).reindex(columns=order)
        table["track_id"] = table["track_id"].astype("Int64")
        return table.sort_values(["frame_index", "track_id"], ignore_index=True)

    def to_json(self) -> dict[str, Any]:
        """Return the analysis without its per-frame rows as a JSON-ready document."""
        info = self.info
        people = []
        for track, timeline in zip(self.tracks, self.timelines, strict=True):
            clip = {name: self._clip_document(result) for name, result in timeline.clip.items()}
            person = {
                "track_id": int(track.track_id),
                "first_seconds": float(track.pts_seconds[0]),
                "last_seconds": float(track.pts_seconds[-1]),
                "num_frames": len(track),
                "num_frames_seen": int(track.seen.sum()),
                "clip": clip,
                "aggregations_agree": timeline.aggregations_agree,
            }
            if timeline.geometry is not None:
                person["geometry"] = timeline.geometry.to_json(self.min_confidence)
            people.append(person)
        return {
            "schema_version": SCHEMA_VERSION,
            "video": {
                "path": redacted(info.path),
                "width": info.width,
                "height": info.height,
                "num_frames": len(self.frame_index),
                "duration_seconds": info.duration_seconds,
                "average_fps": info.average_fps,
            },
            "labels": list(self.labels),
            "people": people,
            "checkpoint": dict(self.checkpoint),
            "settings": dict(self.settings),
            "warnings": list(self.warnings),
        }

    def provenance_line(self) -> str:
        """Return what made this, for any file's notes, as a line of JSON: checkpoint, settings, versions."""
        made_by = {"checkpoint": dict(self.checkpoint), "settings": dict(self.settings)}
        return json.dumps(made_by, sort_keys=True)

    def _clip_document(self, result: ClipResult) -> dict[str, Any]:
        document: dict[str, Any] = {
            "emotion": result.label(self.min_confidence),
            **({"best_emotion": result.emotion} if self.min_confidence > 0 else {}),
            "confidence": float(result.confidence),
            "probs": {name: float(p) for name, p in zip(self.labels, result.probs, strict=True)},
        }
        if result.votes is not None:
            document["votes"] = {name: int(n) for name, n in zip(self.labels, result.votes, strict=True)}
        if result.mean_probability is not None and self.min_confidence > 0:
            document["mean_probability"] = result.mean_probability
        return document
