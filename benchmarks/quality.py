"""What following faces costs in quality: the pipeline against facenet-pytorch's MTCNN on every frame.

python benchmarks/quality.py ../shared/data/clips [--show-missed] [--clips CLIP ...]

MTCNN runs at full scale with its own settings. Its detections that score at least 0.9 count as the faces
that are there; everything is told of those wider than 40 px. Labels are compared with those of the same
pipeline on MTCNN's boxes and landmarks of every frame. What can be reached is bounded by how well MTCNN
agrees with itself: the rows `itself` are the pipeline on its faces of every frame moved by one pixel.
MTCNN's faces are kept in runs/mtcnn_faces, so that another look takes only the pipeline's time.
"""

import argparse
import sys
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from facenet_pytorch import MTCNN
from PIL import Image
from results import ROOT, write_result
from rich.console import Console
from rich.table import Table
from scipy.optimize import linear_sum_assignment

from emotemporal.checkpoint import file_sha256
from emotemporal.faces.association import box_overlaps
from emotemporal.faces.tracker import FaceTracker
from emotemporal.files import replacing
from emotemporal.pipeline import EmotionPipeline
from emotemporal.structures import Detections, TrackStatus, VideoAnalysis
from emotemporal.video.reader import VideoReader

# True of the clips on which two people stay apart: no identity may change there.
_CLIPS = {
    "WolfgangLanger_Pexels.mp4": False,
    "single_face.mp4": False,
    "stage_two_faces.mp4": True,
    "shot_cuts.avi": True,
    "dinner_many_faces.mp4": False,
    "many_faces_1080p.mp4": False,
}
_KEPT = ROOT / "runs" / "mtcnn_faces"
_MIN_SCORE = 0.9
_MIN_WIDTH_PX = 40
_SAME_FACE = 0.5
_CHAIN_FRAMES = 5
"""MTCNN may miss a face on fewer frames than this and it is still the same person's."""


class FullMtcnn:
    """facenet-pytorch's MTCNN at full scale on every frame, as a detector of the pipeline.

    Args:
        clip: whose faces are kept, and looked up by their frame's checksum.
        moved_px: MTCNN is shown the picture moved left and up by so much.
    """

    def __init__(self, clip: Path, *, moved_px: int = 0) -> None:
        self._network = MTCNN(keep_all=True, post_process=False)
        self._moved_px = moved_px
        name = f"{clip.stem}-{file_sha256(clip)[:12]}-{version('facenet-pytorch')}-{moved_px}.npz"
        self._path = _KEPT / name
        self._faces: dict[int, Detections] = {}
        if self._path.is_file():
            with np.load(self._path) as kept:
                starts = np.cumsum(kept["num_faces"])[:-1]
                parts = (np.split(kept[key], starts) for key in ("boxes", "scores", "landmarks"))
                rows = zip(*parts, strict=True)
                self._faces = {
                    int(k): Detections(*row) for k, row in zip(kept["checksums"], rows, strict=True)
                }

    def save(self) -> None:
        faces = list(self._faces.values())
        _KEPT.mkdir(parents=True, exist_ok=True)
        with replacing(self._path) as temporary, temporary.open("wb") as out:
            np.savez(
                out,
                checksums=np.array(list(self._faces), np.int64),
                num_faces=np.array([len(found) for found in faces]),
                boxes=np.concatenate([found.boxes for found in faces]),
                scores=np.concatenate([found.scores for found in faces]),
                landmarks=np.concatenate([found.landmarks for found in faces]),
            )

    def detect_faces(self, frame: np.ndarray) -> Detections:
        key = zlib.crc32(np.ascontiguousarray(frame))
        if key not in self._faces:
            moved = np.pad(frame, [(0, self._moved_px)] * 2 + [(0, 0)], mode="edge")
            picture = Image.fromarray(moved[self._moved_px :, self._moved_px :])
            boxes, scores, landmarks = self._network.detect(picture, landmarks=True)
            found = Detections.empty()
            if boxes is not None:
                arrays = (np.array(list(part), np.float32) for part in (boxes, scores, landmarks))
                found = Detections(*arrays)
                found.boxes[:] += self._moved_px
                found.landmarks[:] += self._moved_px
            self._faces[key] = found
        return self._faces[key]

    def refine_faces(self, frame: np.ndarray, boxes: np.ndarray) -> Detections:
        """Return the detection that shares most with each box, at score 0 where none does."""
        found = self.detect_faces(frame)
        boxes = np.asarray(boxes, np.float32)
        centres = np.repeat((boxes[:, None, :2] + boxes[:, None, 2:]) / 2, 5, axis=1)
        nearest = Detections(boxes.copy(), np.zeros(len(boxes), np.float32), centres)
        overlap, _ = box_overlaps(boxes, found.boxes)
        for i, row in enumerate(overlap):
            if row.max(initial=0) > 0:
                best = row.argmax()
                nearest.boxes[i], nearest.scores[i] = found.boxes[best], found.scores[best]
                nearest.landmarks[i] = found.landmarks[best]
        return nearest


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
class Comparison:
    """Counts of one clip, or of several."""

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
        sure = everything[everything.scores >= _MIN_SCORE]
        chains = [chain for chain in chains if frame - chain.frame <= _CHAIN_FRAMES]
        followed = _follow(chains, sure.boxes, frame)
        pairs = {j: (i, overlap) for i, j, overlap in match_faces(ours.boxes, sure.boxes)}
        for j in range(len(sure)):
            width = float(sure.boxes[j, 2] - sure.boxes[j, 0])
            if width <= _MIN_WIDTH_PX:
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
            if theirs.boxes[j, 2] - theirs.boxes[j, 0] <= _MIN_WIDTH_PX:
                continue
            found.smoothed.append((int(ours.track_id[i]), int(ours.smoothed[i]), int(theirs.smoothed[j])))
            found.equal_raw.append(bool(ours.emotion[i] == theirs.emotion[j]))


def measure_clip(pipeline: EmotionPipeline, clip: Path) -> tuple[Comparison, Comparison]:
    """Compare with MTCNN on every frame the pipeline, and MTCNN on frames moved by a pixel."""
    full = FullMtcnn(clip)
    with VideoReader(clip) as reader:
        faces = {
            int(index): full.detect_faces(frame)
            for batch in reader
            for index, frame in zip(batch.frame_index, batch.data, strict=True)
        }
    full.save()
    moved = FullMtcnn(clip, moved_px=1)
    reference = _label_every_frame(pipeline, full, clip)
    pair = (Rows.of(pipeline.analyze(clip)), _label_every_frame(pipeline, moved, clip))
    moved.save()
    compared = []
    for rows in pair:
        compared.append(compare_faces(rows, faces))
        compare_labels(compared[-1], rows, reference)
    return compared[0], compared[1]


def _label_every_frame(pipeline: EmotionPipeline, detector: FullMtcnn, clip: Path) -> Rows:
    everywhere = EmotionPipeline(pipeline.checkpoint, device=pipeline.device, detector=detector)
    with patch("emotemporal.pipeline.FaceTracker", partial(FaceTracker, key_interval=1)):
        return Rows.of(everywhere.analyze(clip))


def pool(comparisons: Sequence[Comparison]) -> Comparison:
    """Return all clips as one, each face counting once."""
    return Comparison(
        *(
            sum((getattr(part, name) for part in comparisons), start=type(getattr(Comparison(), name))())
            for name in Comparison.__dataclass_fields__
        )
    )


def show_missed(clip: str, found: Comparison, labels: Sequence[str]) -> None:
    """Print every face that was missed, every identity that changed, and whose labels differ."""
    for miss in found.missed:
        x1, y1, x2, y2 = miss.box
        print(
            f"{clip} frame {miss.frame}: missed {x2 - x1:.0f} x {y2 - y1:.0f} px at ({x1:.0f}, {y1:.0f}), "
            f"score {miss.score:.3f}, seen by MTCNN on {miss.chain.length} frames, "
            f"overlap with the nearest row {miss.best_overlap:.2f}"
        )
    for frame, before, after in found.switches:
        print(f"{clip} frame {frame}: person {before} became {after}")
    rows = Counter(person for person, _, _ in found.smoothed)
    for (person, mine, theirs), num in Counter(found.smoothed).most_common():
        if mine != theirs:
            both = f"{labels[mine]}, by MTCNN on every frame {labels[theirs]}"
            print(f"{clip} person {person}: {num} of {rows[person]} rows are {both}")


def _print_table(rows: Mapping[str, Mapping[str, Any]], *, title: str | None = None) -> None:
    columns = ("frames", "faces", "found", "IoU", "eyes", "95 %", "smoothed", "raw", "unmatched", "switches")
    table = Table("clip", *columns, title=title, box=None)
    for name, row in rows.items():
        cells = [f"{row['median_iou']:.3f}"]
        cells += [f"{row[key]:.1%}" for key in ("eye_error_median", "eye_error_p95")]
        cells += [f"{row[key]:.1%}" for key in ("smoothed_equal", "raw_equal", "rows_unmatched")]
        counts = [str(row[key]) for key in ("frames", "faces")]
        table.add_row(name, *counts, f"{row['recall']:.2%}", *cells, str(row["identity_switches"]))
    Console(width=130).print(table)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the clips")
    parser.add_argument("--clips", nargs="+", help="only these; nothing is put on record then")
    parser.add_argument("--show-missed", action="store_true", help="print every face that was missed")
    options = parser.parse_args(argv)
    pipeline = EmotionPipeline.load()
    found: dict[str, Comparison] = {}
    itself: dict[str, Comparison] = {}
    for clip in options.clips or _CLIPS:
        found[clip], itself[clip] = measure_clip(pipeline, options.folder / clip)
        if options.show_missed:
            show_missed(clip, found[clip], pipeline.labels)
    rows = {clip: comparison.measures() for clip, comparison in found.items()}
    ceiling = {clip: comparison.measures() for clip, comparison in itself.items()}
    total = pool(list(found.values())).measures()
    _print_table({**rows, "all": total})
    bound = pool(list(itself.values())).measures()
    _print_table({**ceiling, "all": bound}, title="MTCNN against itself, the picture moved by a pixel")
    if options.clips:
        return
    details = {"min_score": _MIN_SCORE, "min_width_px": _MIN_WIDTH_PX, "all": total, "clips": rows}
    details["mtcnn_against_itself"] = {"all": bound, "clips": ceiling}
    write = partial(write_result, details=details)
    write("tracking_recall", total["recall"], unit=f"share of MTCNN's faces wider than {_MIN_WIDTH_PX} px")
    write("tracking_iou", total["median_iou"], unit="median IoU with MTCNN's boxes")
    write("tracking_eye_error", total["eye_error_median"], unit="median distance / width of the face")
    write("smoothed_agreement", total["smoothed_equal"], unit="share of rows as from MTCNN on every frame")
    switches = sum(rows[clip]["identity_switches"] for clip, apart in _CLIPS.items() if apart)
    write("identity_switches", switches, unit="on clips where people stay apart")


if __name__ == "__main__":
    main(sys.argv[1:])
