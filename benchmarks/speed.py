"""Frames a second of the whole pipeline against MTCNN alone run on every frame, in turn.

python benchmarks/speed.py ../shared/data/clips

The pipeline's time goes from opening the file to every frame's label, decoding and networks included; the
peer's is that of facenet-pytorch's `MTCNN.detect` alone, with its own settings, on frames already in memory,
on a part of the frames, since it is slow.
"""

import sys
import time
from pathlib import Path
from statistics import median

from facenet_pytorch import MTCNN
from PIL import Image
from results import write_result

from emotemporal.pipeline import EmotionPipeline
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
    """Frames a second of MTCNN on evenly spread frames."""
    pictures = []
    with VideoReader(path) as reader:
        stride = max(1, reader.info.num_frames // _PEER_FRAMES)
        for batch in reader:
            for frame in batch.data[batch.frame_index % stride == 0]:
                pictures.append(Image.fromarray(frame))
    started = time.perf_counter()
    for picture in pictures:
        detector.detect(picture)
    return len(pictures) / (time.perf_counter() - started)


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
        write_result(name, ratio, unit="times MTCNN on every frame, slowest clip", details=found)


if __name__ == "__main__":
    main(*sys.argv[1:])
