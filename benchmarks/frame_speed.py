"""Faces a second of the shipped frame network in batches of 32, by every backend there is, in turn.

python benchmarks/frame_speed.py ../shared/data/fer2013/fer2013.csv.xz

Each backend's probabilities are compared with float32 PyTorch's on PublicTest's faces, and with their labels.
"""

import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from typing import Any

import numpy as np
import torch
from results import ROOT, write_result
from scipy.special import softmax

from emotemporal.checkpoint import load_checkpoint
from emotemporal.datasets.fer2013 import read_fer2013
from emotemporal.models.backbone import normalise_crops
from emotemporal.models.openvino import OpenVinoFrame
from emotemporal.models.torch_runners import run_backbone
from emotemporal.weights import load_frame_network

_BATCH = 32
_ROUNDS = 7
_NUM_FACES = 1024
_TOLERANCE = 0.01


def main(table: str, checkpoint: str = str(ROOT / "checkpoints" / "frame_fer2013.safetensors")) -> None:
    weights = load_checkpoint(checkpoint)
    network = load_frame_network(weights)
    faces = read_fer2013(table).split("PublicTest")
    images = faces.images
    backends: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "torch float32": lambda crops: _float32(network, crops),
        "torch": lambda crops: run_backbone(network, crops, batch_size=_BATCH)["fer7"],
    }
    details: dict[str, Any] = {"threads": torch.get_num_threads(), "batch": _BATCH}
    if find_spec("openvino"):
        compiled = OpenVinoFrame(network.spec, lambda: network, num_threads=torch.get_num_threads())
        details["openvino_precision"] = compiled.precision
        backends["openvino"] = lambda crops: compiled.run(crops, batch_size=_BATCH)["fer7"]
    rates: dict[str, list[float]] = {name: [] for name in backends}
    for _ in range(_ROUNDS):
        for name, run in backends.items():
            started = time.perf_counter()
            run(images[:_NUM_FACES])
            rates[name].append(_NUM_FACES / (time.perf_counter() - started))
    reference = softmax(backends["torch float32"](images) / weights.header.temperature, axis=1)
    details["parity_faces"] = len(images)
    columns = ("backend", "faces/s", "times float32", "within 0.01 of it", "same label", "right")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for name, run in backends.items():
        probs = softmax(run(images) / weights.header.temperature, axis=1)
        within = float((np.abs(probs - reference).max(1) <= _TOLERANCE).mean())
        same = float((probs.argmax(1) == reference.argmax(1)).mean())
        ratio = median(ours / base for ours, base in zip(rates[name], rates["torch float32"], strict=True))
        right = float((probs.argmax(1) == faces.labels).mean())
        shares = " | ".join(f"{share:.2%}" for share in (within, same, right))
        print(f"| {name} | {median(rates[name]):.0f} | {ratio:.2f} | {shares} |")
        details[name] = {"rates": rates[name], "ratio": ratio, "within_0.01": within, "same_label": same}
        details[name]["accuracy"] = right
    best = max(rates, key=lambda name: median(rates[name]))
    details["best"] = best
    write_result("frame_network_speed", median(rates[best]), unit="faces a second", details=details)


def _float32(network: torch.nn.Module, crops: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        parts = [
            network(normalise_crops(torch.from_numpy(crops[start : start + _BATCH]))).logits["fer7"]
            for start in range(0, len(crops), _BATCH)
        ]
    return torch.cat(parts).numpy()


if __name__ == "__main__":
    main(*sys.argv[1:])
