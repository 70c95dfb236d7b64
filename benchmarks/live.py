"""Delay of live labels: from a 640x480 camera at 30 frames a second to the drawn picture, on two cores.

python benchmarks/live.py ../shared/data/clips

Clips are cut to 640x480 and played as a camera would give them. What is measured is `LiveSession` with the
shipped networks, drawing and a line of JSON included, a window and a video file not.
"""

import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import cv2
import torch
from results import write_result

from emotemporal.live import LiveLabeller, LiveSession, face_marks, frame_document
from emotemporal.report.overlay import FramePainter
from emotemporal.video.live import LiveReader
from emotemporal.video.reader import VideoReader
from emotemporal.video.writer import VideoWriter

_CLIPS = ("WolfgangLanger_Pexels.mp4", "stage_two_faces.mp4")
_WIDTH, _HEIGHT, _FPS = 640, 480, 30
_ROUNDS = 3
_CORES = 2


def main(folder: str) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:_CORES])
    torch.set_num_threads(1)  # as the command does
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        for clip in _CLIPS:
            path = Path(temporary) / clip
            cut_to_camera(Path(folder) / clip, path)
            found[clip] = [measure(path) for _ in range(_ROUNDS)]
    worst = max(found[clip][i]["delay_p95_ms"] for clip in _CLIPS for i in range(_ROUNDS))
    write_result(
        "live_delay",
        worst,
        unit="ms, 95 % of frames, slowest clip and round",
        details={"clips": found, "load_average": os.getloadavg()},
    )


def cut_to_camera(source: Path, path: Path) -> None:
    """Write a video's middle at a camera's size and rate."""
    with VideoReader(source) as reader, VideoWriter(path, width=_WIDTH, height=_HEIGHT, qp=21) as writer:
        scale = max(_WIDTH / reader.info.width, _HEIGHT / reader.info.height)
        number = 0
        for batch in reader:
            for frame in batch.data:
                large = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
                top, left = (large.shape[0] - _HEIGHT) // 2, (large.shape[1] - _WIDTH) // 2
                writer.write(large[top : top + _HEIGHT, left : left + _WIDTH], number / _FPS)
                number += 1


def measure(path: Path) -> dict[str, float]:
    labeller = LiveLabeller.load(device="cpu")
    labeller.warm_up(_WIDTH, _HEIGHT)
    painter = FramePainter(_WIDTH, _HEIGHT)
    with LiveReader(str(path)) as reader, open(os.devnull, "w") as nowhere:
        session = LiveSession(reader, labeller)
        for frame, people in session:
            painter.paint(frame.image, face_marks(people, labeller.labels))
            delay = session.stamp(frame)
            if delay is not None:
                document = frame_document(frame, people, labeller.labels, delay_seconds=delay)
                print(json.dumps(document), file=nowhere, flush=True)
    summary = session.summary()
    print(f"{path.name}: {summary}", file=sys.stderr)
    return asdict(summary)


if __name__ == "__main__":
    main(*sys.argv[1:])
