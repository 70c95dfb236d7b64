"""Frames a second of predict_clip.py on a GPU against MTCNN alone on the same GPU, on every frame, in turn.

python benchmarks/gpu_speed.py ../shared/data/clips

As `speed.py` otherwise: start-up is apart, and a ratio compares what ran in the same round. MTCNN gets one
frame after the other, as on the CPU, and once more all of them in batches, as a GPU has it best.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from unittest.mock import patch

import torch
from facenet_pytorch import MTCNN
from processes import Stopwatch
from results import write_result
from speed import CLIPS, MTCNN_ALONE, PIPELINE, ClipRounds, predict, run_round, speed_table

from emotemporal.pipeline import EmotionPipeline

_BATCHED = "MTCNN alone, in batches"
_BATCH = 8


def run_batched(rounds: ClipRounds, detector: MTCNN) -> None:
    """Run MTCNN on several frames at once."""
    with Stopwatch() as watch:
        for first in range(0, len(rounds.pictures), _BATCH):
            detector.detect(rounds.pictures[first : first + _BATCH])
    rounds.add(_BATCHED, watch.cost, len(rounds.pictures))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the clips")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(argv)
    if not torch.cuda.is_available():
        print("skipped: no CUDA device")
        return
    pipeline = EmotionPipeline.load(device="cuda")
    detector = MTCNN(keep_all=True, post_process=False, device="cuda")
    found = {clip: ClipRounds(options.folder / clip) for clips in CLIPS.values() for clip in clips}
    with patch.object(EmotionPipeline, "load", return_value=pipeline):
        for rounds in found.values():
            predict(rounds.clip, ["--per-frame", "--overlay"])
            detector.detect(rounds.pictures[:_BATCH])
        for _ in range(options.rounds):
            for rounds in found.values():
                run_round(rounds, detector, None)
                run_batched(rounds, detector)
    slowest = min(median(rounds.ratios(PIPELINE, MTCNN_ALONE)) for rounds in found.values())
    details = {clip: rounds.details() for clip, rounds in found.items()}
    details["gpu"] = torch.cuda.get_device_name()
    write_result(
        "gpu_speed", slowest, unit="times MTCNN on every frame on the GPU, slowest clip", details=details
    )
    print(speed_table(found))


if __name__ == "__main__":
    main(sys.argv[1:])
