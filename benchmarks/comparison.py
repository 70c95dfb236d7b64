"""Faces and labels of a video that were found in two ways, compared frame by frame."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from counts import Counts
from scipy.optimize import linear_sum_assignment

from emotemporal.faces.association import box_overlaps
from emotemporal.structures import Detections, TrackStatus, VideoAnalysis

MIN_SCORE = 0.9
MIN_WIDTH_PX = 40
_SAME_FACE = 0.5
_CHAIN_FRAMES = 5
"""MTCNN may miss a face on fewer frames than this and it is still the same person's."""


class Rows(NamedTuple):
    """Faces of a video, K rows in the order of the frames."""

    frame_index: np.ndarray
    track_id: np.ndarray
    boxes: np.ndarray
    landmarks: np.ndarray
    seen: np.ndarray
    emotion: np.ndarray
    """Of each frame alone."""
    smoothed: np.ndarray

    @classmethod
    def of(cls, analysis: VideoAnalysis) -> "Rows":
        columns = [
            (
                track.frame_index,
                np.full(len(track), track.track_id),
                track.boxes,
                track.landmarks,
                track.status != TrackStatus.INTERPOLATED,
                timeline.frame_probs.argmax(1),
                timeline.smoothed_probs.argmax(1),
            )
            for track, timeline in zip(analysis.tracks, analysis.timelines, strict=True)
        ]
        if not columns:
            raise ValueError(f"{analysis.info.path}: no faces to compare")
        joined = [np.concatenate(column) for column in zip(*columns, strict=True)]
        order = np.argsort(joined[0], kind="stable")
        return cls(*(column[order] for column in joined))

    def on(self, frame: int) -> "Rows":
        low, high = np.searchsorted(self.frame_index, (frame, frame + 1))
        return Rows(*(column[low:high] for column in self))


class Missed(NamedTuple):
    """A face of MTCNN's that the pipeline has no row for."""

    frame: int
    box: np.ndarray
    score: float
    chain: "Chain"
    best_overlap: float
    """With any of the pipeline's rows, whether or not another face has it."""


@dataclass(eq=False)
class Chain:
    """One person as MTCNN shows them from frame to frame, each box overlapping the last."""

    box: np.ndarray
    frame: int
    length: int = 0
    track_id: int | None = None
    """Of the pipeline, when it last had a row there."""


@dataclass(eq=False)
class Comparison(Counts):
    """Of one clip, or of several: each face counts once."""

    num_frames: int = 0
    num_faces: int = 0
    num_rows: int = 0
    num_unmatched_rows: int = 0
    num_interpolated: int = 0
    """Of the faces found, those on whose frame the pipeline only interpolates."""
    overlaps: list[float] = field(default_factory=list)
    eye_errors: list[float] = field(default_factory=list)
    missed: list[Missed] = field(default_factory=list)
    switches: list[tuple[int, int, int]] = field(default_factory=list)
    """Frame, id before, id after."""
    smoothed: list[tuple[int, int, int]] = field(default_factory=list)
    """Person, smoothed label, the reference's smoothed label: one for each row that both have."""
    equal_raw: list[bool] = field(default_factory=list)

    def measures(self) -> dict[str, Any]:
        errors = np.array(self.eye_errors)
        return {
            "frames": self.num_frames,
            "faces": self.num_faces,
            "recall": len(self.overlaps) / max(self.num_faces, 1),
            "found_by_interpolation": self.num_interpolated / max(len(self.overlaps), 1),
            "rows_unmatched": self.num_unmatched_rows / max(self.num_rows, 1),
            "median_iou": float(np.median(self.overlaps)),
            "eye_error_median": float(np.median(errors)),
            "eye_error_p95": float(np.quantile(errors, 0.95)),
            "eye_error_within_3_percent": float((errors <= 0.03).mean()),
            "smoothed_equal": float(np.mean([mine == theirs for _, mine, theirs in self.smoothed])),
            "raw_equal": float(np.mean(self.equal_raw)),
            "rows_compared": len(self.smoothed),
            "identity_switches": len(self.switches),
        }


def match_faces(a: np.ndarray, b: np.ndarray) -> list[tuple[int, int, float]]:
    """Pair boxes (M, 4) and (N, 4) one to one that hold the same face, with what they share."""
    overlap, _ = box_overlaps(a, b)
    rows, cols = linear_sum_assignment(overlap, maximize=True)
    pairs = ((int(i), int(j), float(overlap[i, j])) for i, j in zip(rows, cols, strict=True))
    return [pair for pair in pairs if pair[2] >= _SAME_FACE]


def compare_faces(rows: Rows, faces: Mapping[int, Detections]) -> Comparison:
    """Compare the pipeline's rows with MTCNN's faces, frame by frame."""
    found = Comparison(num_frames=len(faces))
    chains: list[Chain] = []
    for frame, everything in faces.items():
        ours = rows.on(frame)
        sure = everything[everything.scores >= MIN_SCORE]
        chains = [chain for chain in chains if frame - chain.frame <= _CHAIN_FRAMES]
        followed = _follow(chains, sure.boxes, frame)
        pairs = {j: (i, overlap) for i, j, overlap in match_faces(ours.boxes, sure.boxes)}
        for j in range(len(sure)):
            width = float(sure.boxes[j, 2] - sure.boxes[j, 0])
            if width <= MIN_WIDTH_PX:
                continue
            found.num_faces += 1
            if j not in pairs:
                overlap, _ = box_overlaps(ours.boxes, sure.boxes[j : j + 1])
                best = float(overlap.max(initial=0))
                score = float(sure.scores[j])
                found.missed.append(Missed(frame, sure.boxes[j], score, followed[j], best))
                continue
            i, overlap = pairs[j]
            found.overlaps.append(overlap)
            found.num_interpolated += not ours.seen[i]
            away = np.linalg.norm(ours.landmarks[i, :2] - sure.landmarks[j, :2], axis=1)
            found.eye_errors.append(float(away.mean()) / width)
            now = int(ours.track_id[i])
            if followed[j].track_id not in (None, now):
                found.switches.append((frame, followed[j].track_id, now))
            followed[j].track_id = now
        # A weak detection may still tell that there is a face.
        found.num_rows += len(ours.boxes)
        found.num_unmatched_rows += len(ours.boxes) - len(match_faces(ours.boxes, everything.boxes))
    return found


def _follow(chains: list[Chain], boxes: np.ndarray, frame: int) -> list[Chain]:
    """Return the chain of each box; new ones join `chains`."""
    last = np.array([chain.box for chain in chains], np.float32).reshape(-1, 4)
    known = {j: chains[i] for i, j, _ in match_faces(last, boxes)}
    followed = []
    for j, box in enumerate(boxes):
        chain = known.get(j)
        if chain is None:
            chain = Chain(box, frame)
            chains.append(chain)
        chain.box, chain.frame, chain.length = box, frame, chain.length + 1
        followed.append(chain)
    return followed


def compare_labels(found: Comparison, rows: Rows, reference: Rows) -> None:
    """Add whether the labels of the same faces are equal."""
    for frame in np.unique(rows.frame_index):
        ours, theirs = rows.on(frame), reference.on(frame)
        for i, j, _ in match_faces(ours.boxes, theirs.boxes):
            if theirs.boxes[j, 2] - theirs.boxes[j, 0] <= MIN_WIDTH_PX:
                continue
            found.smoothed.append((int(ours.track_id[i]), int(ours.smoothed[i]), int(theirs.smoothed[j])))
            found.equal_raw.append(bool(ours.emotion[i] == theirs.emotion[j]))
