"""Frames a second of other packages, printed as one JSON document.

PEER_PYTHON benchmarks/peer_rates.py VIDEO NUM_FRAMES

`speed.py --peer-python` runs it in an environment of its own, since the packages need other versions of
what they share with this one; it imports nothing from here. What is not installed there is left out.
Decoding is not part of the time: evenly spread frames are in memory, BGR as both packages take them.
"""

import json
import sys
import time
from importlib.util import find_spec


def read_frames(path, num_frames):
    import cv2

    video = cv2.VideoCapture(path)
    stride = max(1, int(video.get(cv2.CAP_PROP_FRAME_COUNT)) // num_frames)
    frames, index = [], 0
    while True:
        more, frame = video.read()
        if not more:
            return frames
        if index % stride == 0:
            frames.append(frame)
        index += 1


def rate(function, frames):
    function(frames[0])
    started = time.perf_counter()
    for frame in frames:
        function(frame)
    return len(frames) / (time.perf_counter() - started)


def main(path, num_frames):
    frames = read_frames(path, int(num_frames))
    rates = {}
    if find_spec("fer"):
        try:
            from fer.fer import FER
        except ImportError:
            from fer import FER
        rates["fer (Haar)"] = rate(FER(mtcnn=False).detect_emotions, frames)
        if find_spec("facenet_pytorch") or find_spec("mtcnn"):
            rates["fer (MTCNN)"] = rate(FER(mtcnn=True).detect_emotions, frames)
    if find_spec("deepface"):
        from deepface import DeepFace

        def analyze(frame):
            DeepFace.analyze(frame, actions=["emotion"], enforce_detection=False, silent=True)

        rates["deepface (OpenCV)"] = rate(analyze, frames)
    # The packages write progress to stdout: the document is the last line.
    print(json.dumps(rates))


if __name__ == "__main__":
    main(*sys.argv[1:])
