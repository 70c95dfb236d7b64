"""How often the full detector runs on clips, and where faces lie, with still pictures spared and not.

python benchmarks/spared.py ../shared/data/java_sed [--every 5]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from results import write_result

from emotemporal.faces.detector import MtcnnDetector
from emotemporal.faces.gathering import track_faces
from emotemporal.faces.tracker import FaceTracker
from emotemporal.structures import Detections, Track
from emotemporal.video.reader import VideoReader


class CountingDetector(MtcnnDetector):
    """Counts the frames on which it looks for all faces."""

    num_runs = 0

    def detect_faces(self, frame: np.ndarray) -> Detections:
        self.num_runs += 1
        return super().detect_faces(frame)


def follow(detector: CountingDetector, clip: Path, **settings: float) -> tuple[tuple[Track, ...], int]:
    """Return the faces of a clip, and on how many frames all were looked for."""
    tracker, before = FaceTracker(detector, **settings), detector.num_runs
    with VideoReader(clip) as reader:
        for _ in track_faces(reader, tracker):
            pass
    return tracker.tracks(), detector.num_runs - before


def count_moved(tracks: Sequence[Track], others: Sequence[Track]) -> int | None:
    """Return on how many rows faces lie elsewhere; None where they are not the same rows."""
    pairs = list(zip(tracks, others, strict=False))
    if len(tracks) != len(others) or not all(np.array_equal(a.frame_index, b.frame_index) for a, b in pairs):
        return None
    return sum(int((a.landmarks != b.landmarks).any(axis=(1, 2)).sum()) for a, b in pairs)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the clips, *.mp4")
    parser.add_argument("--every", type=int, default=1, help="only every so many clips")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    detector = CountingDetector(backend="openvino")
    clips = {}
    for clip in sorted(options.folder.glob("*.mp4"))[:: options.every]:
        spared, num_runs = follow(detector, clip)
        full, num_full = follow(detector, clip, still_seconds=0)
        clips[clip.name] = {"runs": num_runs, "of": num_full, "rows_moved": count_moved(spared, full)}
        print(clip.name, clips[clip.name], flush=True)
    runs, full_runs = (sum(found[key] for found in clips.values()) for key in ("runs", "of"))
    moved = {name: found["rows_moved"] for name, found in clips.items() if found["rows_moved"] != 0}
    write_result(
        "detector_spared",
        runs / full_runs,
        unit="runs of the full detector / runs without sparing still pictures",
        details={"runs": runs, "of": full_runs, "num_clips": len(clips), "clips_moved": moved},
    )


if __name__ == "__main__":
    main(sys.argv[1:])
