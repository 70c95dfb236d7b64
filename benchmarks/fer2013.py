"""Accuracy and calibration of the shipped frame network on FER2013's and FER+'s test split.

python benchmarks/fer2013.py ../shared/data/fer2013/fer2013.csv.xz
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from results import ROOT, write_result

from emotemporal.checkpoint import Checkpoint, load_checkpoint
from emotemporal.datasets.fer2013 import FaceImages, read_fer2013
from emotemporal.training.evaluation import evaluate_frames
from emotemporal.training.metrics import accuracy_interval


def main(table: str, checkpoint: str = str(ROOT / "checkpoints" / "frame_fer2013.safetensors")) -> None:
    weights = load_checkpoint(checkpoint)
    faces = read_fer2013(table, ferplus=Path(table).parent / "fer2013new.csv").split("PrivateTest")
    original, majority = (_measure(weights, faces, labels) for labels in ("fer2013", "ferplus"))
    _write_accuracy("fer2013_private_accuracy", original)
    _write_accuracy("ferplus_accuracy", majority)
    details = {"temperature": weights.header.temperature, "fitted_on": "PublicTest"}
    write_result("fer2013_ece", original["ece"], unit="expected calibration error, 15 bins", details=details)


def _measure(weights: Checkpoint, faces: FaceImages, labels: str) -> dict[str, Any]:
    flipped = evaluate_frames(weights, faces, labels=labels, flip=True)
    found = evaluate_frames(weights, faces, labels=labels)
    return {"split": "PrivateTest", "accuracy_with_flip": flipped["accuracy"], **found}


def _write_accuracy(name: str, found: dict[str, Any]) -> None:
    hits = np.trace(np.array(found["confusion"]))
    correct = np.arange(found["num"]) < hits
    # Every face is another person, as far as is known.
    interval = accuracy_interval(correct, [str(i) for i in range(found["num"])])
    unit = f"share of {found['num']} faces"
    write_result(name, found["accuracy"], unit=unit, interval=interval, details=found)


if __name__ == "__main__":
    main(*sys.argv[1:])
