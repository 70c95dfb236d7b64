"""What following faces costs in quality: the pipeline against facenet-pytorch's MTCNN on every frame.

python benchmarks/quality.py ../shared/data/clips ../shared/data/java_sed [--show-missed] [--clips CLIP ...]

MTCNN's detections that score at least 0.9 count as the faces that are there; everything is told of those
wider than 40 px. Labels are compared with those of the same pipeline on MTCNN's boxes and landmarks of every
frame. What can be reached is bounded by how well MTCNN agrees with itself: the rows `itself` are the pipeline
on its faces of every frame moved by one pixel. MTCNN's landmarks are brought to the pipeline's coordinates
first (see full_mtcnn.py); the rows `as given` are without that.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from comparison import (
    MIN_SCORE,
    MIN_WIDTH_PX,
    Comparison,
    Rows,
    compare_faces,
    compare_labels,
    match_faces,
)
from full_mtcnn import FullMtcnn
from joblib import Parallel, delayed
from results import write_result
from rich.console import Console
from rich.table import Table

from emotemporal.faces.detector import FaceFinder
from emotemporal.faces.tracker import FaceTracker
from emotemporal.models.mixed import MIRRORED
from emotemporal.pipeline import EmotionPipeline
from emotemporal.structures import Detections
from emotemporal.training.metrics import accuracy_interval
from emotemporal.video.reader import VideoReader
from emotemporal.workers import available_cores

# True of the clips on which two people stay apart: no identity may change there.
_CLIPS = {
    "WolfgangLanger_Pexels.mp4": False,
    "single_face.mp4": False,
    "stage_two_faces.mp4": True,
    "shot_cuts.avi": True,
    "dinner_many_faces.mp4": False,
    "many_faces_1080p.mp4": False,
}
_MIRROR_STEP = 12
"""Every so many frames are looked at in the mirror."""


class Measured(NamedTuple):
    """What is found of a clip; the last two are (K,), pixels, of `mirror_offsets`."""

    pipeline: Comparison
    itself: Comparison
    as_given: Comparison
    pipeline_off: np.ndarray
    mtcnn_off: np.ndarray


def measure_clip(pipeline: EmotionPipeline, clip: Path) -> Measured:
    """Compare with MTCNN on every frame the pipeline, and MTCNN on frames moved by a pixel."""
    full = FullMtcnn(clip)
    given = full.as_given()
    faces: dict[int, Detections] = {}
    faces_as_given: dict[int, Detections] = {}
    offsets: list[list[np.ndarray]] = [[], []]
    with VideoReader(clip) as reader:
        for batch in reader:
            for index, frame in zip(batch.frame_index.tolist(), batch.data, strict=True):
                faces[index] = full.detect_faces(frame)
                faces_as_given[index] = given.detect_faces(frame)
                if index % _MIRROR_STEP == 0:
                    for found, detector in zip(offsets, (pipeline.detector, full), strict=True):
                        found.append(mirror_offsets(detector, frame))
    full.save()
    reference = _label_every_frame(pipeline, full, clip)
    moved = FullMtcnn(clip, moved_px=1)
    rows, itself = Rows.of(pipeline.analyze(clip)), _label_every_frame(pipeline, moved, clip)
    moved.save()
    return Measured(
        _compare(rows, faces, reference),
        _compare(itself, faces, reference),
        _compare(rows, faces_as_given, _label_every_frame(pipeline, given, clip)),
        *(np.concatenate(found) for found in offsets),
    )


def measure_clips(clips: Sequence[Path]) -> dict[str, Measured]:
    """Return what is found of each clip, in as many processes as there are cores."""
    num_processes = min(available_cores(), len(clips))
    shares = [clips[i::num_processes] for i in range(num_processes)]
    measured = Parallel(n_jobs=num_processes)(delayed(_measure_share)(share) for share in shares)
    found = dict(pair for each in measured for pair in each.items())
    return {clip.name: found[clip.name] for clip in clips}


def _measure_share(clips: Sequence[Path]) -> dict[str, Measured]:
    """Return what one process finds."""
    pipeline = EmotionPipeline.load()
    return {clip.name: measure_clip(pipeline, clip) for clip in clips}


def _compare(rows: Rows, faces: Mapping[int, Detections], reference: Rows) -> Comparison:
    found = compare_faces(rows, faces)
    compare_labels(found, rows, reference)
    return found


def mirror_offsets(detector: FaceFinder, frame: np.ndarray) -> np.ndarray:
    """Return how far to the right of where they are the landmarks of a frame's faces are placed.

    A detector that places without an offset finds in the mirrored picture the mirrored places, but for what
    it knows of left and right; an offset moves both to the right, and shows as half of their distance.

    Args:
        frame: uint8 (H, W, 3), RGB.
    Returns: float64 (K,), pixels, the mean over the five landmarks of each face that is found in both.
    """
    found, mirrored = (
        each[each.scores >= MIN_SCORE]
        for each in map(detector.detect_faces, (frame, np.ascontiguousarray(frame[:, ::-1])))
    )
    width = frame.shape[1]
    boxes = mirrored.boxes[:, [2, 1, 0, 3]] * (-1, 1, -1, 1) + (width, 0, width, 0)
    pairs = match_faces(found.boxes, boxes)
    rows, columns = np.array([pair[:2] for pair in pairs], np.int64).reshape(-1, 2).T
    there = found.landmarks[rows, :, 0].astype(np.float64)
    back = width - mirrored.landmarks[columns][:, MIRRORED[5], 0].astype(np.float64)
    return (there - back).mean(axis=1) / 2


def _label_every_frame(pipeline: EmotionPipeline, detector: FullMtcnn, clip: Path) -> Rows:
    everywhere = EmotionPipeline(pipeline.checkpoint, device=pipeline.device, detector=detector)
    with patch("emotemporal.pipeline.FaceTracker", partial(FaceTracker, key_interval=1, still_seconds=0)):
        return Rows.of(everywhere.analyze(clip))


def agreement_interval(comparisons: Mapping[str, Comparison]) -> tuple[float, float] | None:
    """Return the 95 % interval of the share of equal smoothed labels, by bootstrap over people."""
    equal = [mine == theirs for found in comparisons.values() for _, mine, theirs in found.smoothed]
    people = [f"{clip} {row[0]}" for clip, found in comparisons.items() for row in found.smoothed]
    return accuracy_interval(np.array(equal), people)


def summarise(measured: Mapping[str, Measured], *, each_clip: bool) -> dict[str, Any]:
    """Print the tables of some clips, of each or of all together, and return what goes on record of them."""
    summary: dict[str, Any] = {}
    titles = {
        "pipeline": "the pipeline",
        "itself": "MTCNN against itself, the picture moved by a pixel",
        "as_given": "the pipeline against MTCNN's landmarks as facenet-pytorch gives them",
    }
    for name, title in titles.items():
        each = {clip: getattr(found, name) for clip, found in measured.items()}
        clips = {clip: comparison.measures() for clip, comparison in each.items()}
        total = sum(each.values(), start=Comparison()).measures() | {
            "smoothed_interval": agreement_interval(each)
        }
        summary[name] = {"all": total, "clips": clips}
        _print_table({**(clips if each_clip else {}), "all": total}, title=title)
    for name in ("pipeline_off", "mtcnn_off"):
        offsets = np.concatenate([getattr(found, name) for found in measured.values()])
        summary[name] = {"mean_px": float(offsets.mean()), "num": len(offsets)}
        error = offsets.std() / np.sqrt(len(offsets))
        print(
            f"{name}: {offsets.mean():.2f} px +- {error:.2f} on {len(offsets)} faces and their mirror images"
        )
    return summary


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
    parser.add_argument("talking", type=Path, nargs="?", help="folder of clips of one talking face each")
    parser.add_argument("--clips", nargs="+", help="only these; nothing is put on record then")
    parser.add_argument("--show-missed", action="store_true", help="print every face that was missed")
    options = parser.parse_args(argv)
    measured = measure_clips([options.folder / clip for clip in options.clips or _CLIPS])
    if options.show_missed:
        labels = EmotionPipeline.load().labels
        for clip, found in measured.items():
            show_missed(clip, found.pipeline, labels)
    summary = summarise(measured, each_clip=True)
    if options.clips:
        return
    details = {"min_score": MIN_SCORE, "min_width_px": MIN_WIDTH_PX, **summary}
    if options.talking is not None:
        talking = measure_clips(sorted(options.talking.glob("*.mp4")))
        of_each = summarise(talking, each_clip=False)
        details["talking"] = {name: found.get("all", found) for name, found in of_each.items()}
        details["talking"]["num_clips"] = len(talking)
    write = partial(write_result, details=details)
    total = summary["pipeline"]["all"]
    write("tracking_recall", total["recall"], unit=f"share of MTCNN's faces wider than {MIN_WIDTH_PX} px")
    write("tracking_iou", total["median_iou"], unit="median IoU with MTCNN's boxes")
    write("tracking_eye_error", total["eye_error_median"], unit="median distance / width of the face")
    write(
        "smoothed_agreement",
        total["smoothed_equal"],
        unit="share of rows as from MTCNN on every frame",
        interval=total["smoothed_interval"],
    )
    clips = summary["pipeline"]["clips"]
    switches = sum(clips[clip]["identity_switches"] for clip, apart in _CLIPS.items() if apart)
    write("identity_switches", switches, unit="on clips where people stay apart")


if __name__ == "__main__":
    main(sys.argv[1:])
