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
import torch
from results import ROOT, write_result

from emotemporal import EmotionPipeline
from emotemporal.structures import VideoAnalysis
from emotemporal.versions import versions
from emotemporal.video.reader import VideoReader

_THREADS = (2, 3)
_KEYS = ["frame_index", "track_id"]
_BOX = ["x1", "y1", "x2", "y2"]


def compare(reference: VideoAnalysis, other: VideoAnalysis) -> dict[str, float]:
    """Measure how two analyses of one video differ, over the faces that both have.

    Returns: `identical`, 1 where tables and clip labels are the same to the bit; `faces_shared`, the share of
        all faces of either that both have, by frame and person; the largest and median difference of the
        frames' probabilities, of box corners in pixels; the shares of equal frame, smoothed and clip labels.
    """
    first, second = (
        found.to_dataframe().dropna(subset="track_id").set_index(_KEYS) for found in (reference, other)
    )
    shared = first.index.intersection(second.index)
    measured = {
        "identical": float(
            first.equals(second) and reference.to_json()["people"] == other.to_json()["people"]
        ),
        "faces_shared": len(shared) / max(1, len(first.index.union(second.index))),
    }
    a, b = first.loc[shared], second.loc[shared]
    columns = [name for name in first.columns if name.startswith("p_")]
    differences = {
        "probability": np.abs(a[columns].to_numpy(np.float64) - b[columns].to_numpy(np.float64)).max(1),
        "box_px": np.abs(a[_BOX].to_numpy(np.float64) - b[_BOX].to_numpy(np.float64)).max(1),
    }
    for name, values in differences.items():
        measured |= {f"{name}_max": float(values.max()), f"{name}_median": float(np.median(values))}
    for name in ("emotion", "smoothed_emotion"):
        measured[f"same_{name}"] = float((a[name] == b[name]).mean())
    clips = [{t.track_id: t.clip for t in found.timelines} for found in (reference, other)]
    pairs = [
        (clips[0][person][name].emotion, clips[1][person][name].emotion)
        for person in clips[0].keys() & clips[1].keys()
        for name in clips[0][person]
    ]
    measured["same_clip_labels"] = float(np.mean([one == another for one, another in pairs]))
    return measured


def label(
    video: Path, *, backend: str, threads: int = 1, batch_size: int | None = None, float32: bool = False
) -> VideoAnalysis:
    """Label a video with so many threads for each network, and frames in so large batches."""
    # Several threads are what a single video has; their number is that of the machine's cores.
    cores = mock.patch("emotemporal.pipeline.available_cores", return_value=threads + 1)
    reader = mock.patch("emotemporal.pipeline.VideoReader", partial(VideoReader, batch_size=batch_size))
    exact = mock.patch("emotemporal.models.classifier.best_autocast", return_value=nullcontext())
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
