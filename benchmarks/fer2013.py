"""Accuracy and calibration of the shipped frame network on FER2013's and FER+'s test split.

python benchmarks/fer2013.py ../shared/data/fer2013/fer2013.csv.xz
"""

import sys
from pathlib import Path

from results import ROOT, write_result

from emotemporal.checkpoint import load_checkpoint
from emotemporal.datasets.fer2013 import read_fer2013
from emotemporal.training.evaluation import evaluate_frames


def main(table: str, checkpoint: str = str(ROOT / "checkpoints" / "frame_fer2013.safetensors")) -> None:
    weights = load_checkpoint(checkpoint)
    faces = read_fer2013(table, ferplus=Path(table).parent / "fer2013new.csv").split("PrivateTest")
    original = evaluate_frames(weights, faces)
    flipped = evaluate_frames(weights, faces, flip=True)
    details = {"split": "PrivateTest", "accuracy_with_flip": flipped["accuracy"], **original}
    write_result(
        "fer2013_private_accuracy", original["accuracy"], unit="share of 3,589 faces", details=details
    )
    write_result("fer2013_ece", original["ece"], unit="expected calibration error, 15 bins", details={})
    majority = evaluate_frames(weights, faces, labels="ferplus")
    flipped = evaluate_frames(weights, faces, labels="ferplus", flip=True)
    details = {"split": "PrivateTest", "accuracy_with_flip": flipped["accuracy"], **majority}
    write_result(
        "ferplus_accuracy", majority["accuracy"], unit=f"share of {majority['num']} faces", details=details
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
