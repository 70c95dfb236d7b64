"""Frames a second of the whole pipeline against MTCNN alone run on every frame, in turn.

python benchmarks/speed.py ../shared/data/clips

Both decode the same file with the same reader; MTCNN is facenet-pytorch's own, on frames reduced to the
same size, as the tools in use do it. The peer is timed on a part of the frames, since it is slow.
"""

import sys
import time
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from facenet_pytorch import MTCNN
from PIL import Image
from results import write_result

from emotemporal.pipeline import EmotionPipeline
from emotemporal.structures import FrameBatch
from emotemporal.video.reader import VideoReader

_CLIPS = {
    "speed_360p_vs_mtcnn": ["WolfgangLanger_Pexels.mp4", "single_face.mp4"],
    "speed_1080p_vs_mtcnn": ["many_faces_1080p.mp4"],
}
_ROUNDS = 3
_PEER_FRAMES = 40


def pipeline_rate(pipeline: EmotionPipeline, path: Path) -> float:
    """Frames a second from opening the file to every frame's label."""
    started = time.perf_counter()
    analysis = pipeline.analyze(path)
    return len(analysis.frame_index) / (time.perf_counter() - started)


def mtcnn_rate(detector: MTCNN, path: Path) -> float:
    """Frames a second of MTCNN on evenly spread frames, decoding apart."""
    with VideoReader(path) as reader:
        batches: list[FrameBatch] = list(reader)
    frames = [frame for batch in batches for frame in batch.data]
    chosen = np.linspace(0, len(frames) - 1, min(_PEER_FRAMES, len(frames))).astype(int)
    started = time.perf_counter()
    for index in chosen:
        frame = frames[index]
        scale = min(1.0, 640 / max(frame.shape[:2]))
        size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
        detector.detect(Image.fromarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA)))
    return len(chosen) / (time.perf_counter() - started)


def main(folder: str) -> None:
    pipeline = EmotionPipeline.load()
    detector = MTCNN(keep_all=True, post_process=False)
    for name, clips in _CLIPS.items():
        found = {}
        for clip in clips:
            path = Path(folder) / clip
            pipeline.analyze(path)
            pairs = [(pipeline_rate(pipeline, path), mtcnn_rate(detector, path)) for _ in range(_ROUNDS)]
            found[clip] = {
                "pipeline_fps": median(ours for ours, _ in pairs),
                "mtcnn_fps": median(theirs for _, theirs in pairs),
                "ratios": [ours / theirs for ours, theirs in pairs],
            }
        ratio = min(median(clip["ratios"]) for clip in found.values())
        write_result(name, ratio, unit="times MTCNN per frame at 640 px, slowest clip", details=found)


if __name__ == "__main__":
    main(*sys.argv[1:])
