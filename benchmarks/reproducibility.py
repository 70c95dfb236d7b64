"""How much results differ between runs, threads, batches, precisions and backends.

python benchmarks/reproducibility.py examples/demo.mp4 ../shared/data/clips/single_face.mp4

Everything is compared with PyTorch in float32 in one thread, frame by frame and person by person, and each
backend with itself: run again, with other threads, with other batches of frames.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch
from results import ROOT, write_result
from scipy.optimize import linear_sum_assignment
from torchvision.ops import box_iou

from emotemporal import EmotionPipeline
from emotemporal.structures import VideoAnalysis
from emotemporal.versions import versions
from emotemporal.video.reader import VideoReader

_THREADS = (2,)
_MIN_OVERLAP = 0.4
_BOX = ["x1", "y1", "x2", "y2"]


def compare(reference: VideoAnalysis, other: VideoAnalysis) -> dict[str, float]:
    """Measure how two analyses of one video differ.

    Faces are paired on every frame by their boxes, whatever number their person has.

    Returns: `identical`, 1 where tables and clip labels are the same to the bit; `faces_shared`, the share of
        faces that found their like; `same_person`, the share of these whose person has the same number. Over
        the pairs: the largest and median difference of the frames' probabilities and of box corners in
        pixels; the shares of equal frame and smoothed labels. `same_clip_labels`: over the people whose
        number is the same.
    """
    first, second = (found.to_dataframe().dropna(subset="track_id") for found in (reference, other))
    people = [found.to_json()["people"] for found in (reference, other)]
    pairs = _pair(first, second)
    a, b = first.iloc[pairs[:, 0]].reset_index(), second.iloc[pairs[:, 1]].reset_index()
    columns = [name for name in first.columns if name.startswith("p_")]
    measured = {
        "identical": float(first.equals(second) and people[0] == people[1]),
        "faces_shared": 2 * len(pairs) / max(1, len(first) + len(second)),
        "same_person": float((a["track_id"] == b["track_id"]).mean()),
    }
    for name, chosen in (("probability", columns), ("box_px", _BOX)):
        values = np.abs(a[chosen].to_numpy(np.float64) - b[chosen].to_numpy(np.float64)).max(1)
        measured |= {f"{name}_max": float(values.max()), f"{name}_median": float(np.median(values))}
    for name in ("emotion", "smoothed_emotion"):
        measured[f"same_{name}"] = float((a[name] == b[name]).mean())
    clips = [{t.track_id: t.clip for t in found.timelines} for found in (reference, other)]
    told = [
        (clips[0][person][name].emotion, clips[1][person][name].emotion)
        for person in clips[0].keys() & clips[1].keys()
        for name in clips[0][person]
    ]
    measured["same_clip_labels"] = float(np.mean([one == another for one, another in told]))
    return measured


def _pair(first: pd.DataFrame, second: pd.DataFrame) -> np.ndarray:
    """Return rows of both tables that are the same face, int (K, 2)."""
    found = []
    places = [table.groupby("frame_index").indices for table in (first, second)]
    boxes = [table[_BOX].to_numpy(np.float32) for table in (first, second)]
    for frame in places[0].keys() & places[1].keys():
        rows, others = places[0][frame], places[1][frame]
        overlap = box_iou(torch.from_numpy(boxes[0][rows]), torch.from_numpy(boxes[1][others])).numpy()
        for i, j in zip(*linear_sum_assignment(-overlap), strict=True):
            if overlap[i, j] > _MIN_OVERLAP:
                found.append((rows[i], others[j]))
    return np.array(sorted(found), dtype=np.int64).reshape(-1, 2)


def label(
    video: Path, *, backend: str, threads: int = 1, batch_size: int | None = None, float32: bool = False
) -> VideoAnalysis:
    """Label a video with so many threads for each network, and frames in so large batches."""
    # Several threads are what a single video has; their number is that of the machine's cores.
    cores = mock.patch("emotemporal.pipeline.available_cores", return_value=threads + 1)
    reader = mock.patch("emotemporal.pipeline.VideoReader", partial(VideoReader, batch_size=batch_size))
    exact = mock.patch("emotemporal.models.torch_runners.best_autocast", return_value=nullcontext())
    with cores, reader, exact if float32 else nullcontext(), _torch_threads(threads):
        return EmotionPipeline.load(device="cpu", backend=backend, one_thread=threads == 1).analyze(video)


@contextmanager
def _torch_threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def main(*videos: str) -> None:
    details: dict[str, Any] = {"versions": versions(), "clips": {}}
    backends = ["torch", *(["openvino"] if find_spec("openvino") else [])]
    for video in map(Path, videos):
        exact = label(video, backend="torch", float32=True)
        found: dict[str, dict[str, float]] = {}
        for backend in backends:
            own = label(video, backend=backend)
            found[f"{backend}, from torch float32"] = compare(exact, own)
            others: dict[str, Callable[[], VideoAnalysis]] = {
                "again": partial(label, video, backend=backend),
                "batches of 5 frames": partial(label, video, backend=backend, batch_size=5),
            }
            others |= {f"{n} threads": partial(label, video, backend=backend, threads=n) for n in _THREADS}
            for name, run in others.items():
                found[f"{backend}, {name}"] = compare(own, run())
        details["clips"][video.name] = found
        print(f"{video.name}\n| | identical | probability: max, median | box: max px | same smoothed label |")
        print("|---|---|---|---|---|")
        for name, row in found.items():
            cells = [name, "yes" if row["identical"] else "no"]
            cells += [f"{row['probability_max']:.4f}, {row['probability_median']:.5f}"]
            cells += [f"{row['box_px_max']:.2f}", f"{row['same_smoothed_emotion']:.2%}"]
            print(f"| {' | '.join(cells)} |", flush=True)
    worst = min(
        row["same_smoothed_emotion"]
        for clip in details["clips"].values()
        for name, row in clip.items()
        if name.endswith("from torch float32")
    )
    write_result("reproducibility", worst, unit="share of frames of the same smoothed label", details=details)


if __name__ == "__main__":
    main(*(sys.argv[1:] or [str(ROOT / "examples" / "demo.mp4")]))
