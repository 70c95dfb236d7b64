"""Accuracy and calibration of the shipped frame network on FER2013's and FER+'s test split.

python benchmarks/fer2013.py ../shared/data/fer2013/fer2013.csv.xz

With `--split PublicTest` the same is printed of the validation split, and drawn in runs/figures_PublicTest:
the figures on record stay those of the test split.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import auto_cli
from results import ROOT, write_result

from emotemporal.checkpoint import Checkpoint, load_checkpoint
from emotemporal.datasets.fer2013 import FaceImages, read_fer2013
from emotemporal.labelling.calibration import RiskCoverage, risk_coverage
from emotemporal.report.plots import plot_confusion, plot_reliability, plot_risk_coverage, save_figure
from emotemporal.training.evaluation import FramePrediction, predict_frames
from emotemporal.training.metrics import accuracy_interval

_RECORDED_SPLIT = "PrivateTest"
_COVERAGES = (0.5, 0.8, 1.0)


def main(
    table: Path,
    checkpoint: Path = ROOT / "checkpoints" / "frame_fer2013.safetensors",
    split: str = _RECORDED_SPLIT,
) -> None:
    """Measure a frame network on one split.

    Args:
        table: FER2013's csv; FER+'s votes, fer2013new.csv, lie beside it.
        checkpoint: the network.
        split: only figures of PrivateTest are put on record.
    """
    weights = load_checkpoint(checkpoint)
    faces = read_fer2013(table, ferplus=table.parent / "fer2013new.csv").split(split)
    (original, original_probs), (majority, majority_probs) = (
        _measure(weights, faces, labels, split) for labels in ("fer2013", "ferplus")
    )
    curves = {
        name: risk_coverage(predicted.probs, predicted.labels)
        for name, predicted in (("FER2013", original_probs), ("FER+ majority", majority_probs))
    }
    original["selective"], majority["selective"] = (_points(curve) for curve in curves.values())
    _print_points(curves)
    recorded = split == _RECORDED_SPLIT
    _draw(original_probs, original, curves, ROOT / ("docs" if recorded else f"runs/figures_{split}"))
    if not recorded:
        for name, found in (("FER2013", original), ("FER+ majority", majority)):
            figures = ("accuracy", "accuracy_with_flip", "uar", "ece")
            print(f"{name}, {split}: " + ", ".join(f"{key} {found[key]:.4f}" for key in figures))
        return
    _write_accuracy("fer2013_private_accuracy", original)
    _write_accuracy("ferplus_accuracy", majority)
    details = {"temperature": weights.header.temperature, "fitted_on": "PublicTest"}
    write_result("fer2013_ece", original["ece"], unit="expected calibration error, 15 bins", details=details)


def _measure(
    weights: Checkpoint, faces: FaceImages, labels: str, split: str
) -> tuple[dict[str, Any], FramePrediction]:
    flipped = predict_frames(weights, faces, labels=labels, flip=True).metrics()
    predicted = predict_frames(weights, faces, labels=labels)
    return {"split": split, "accuracy_with_flip": flipped["accuracy"], **predicted.metrics()}, predicted


def _points(curve: RiskCoverage) -> dict[str, Any]:
    """Return the area under a risk-coverage curve, and the error at some coverages."""
    return {"aurc": curve.aurc, "error_at_coverage": {f"{c:g}": curve.risk_at(c) for c in _COVERAGES}}


def _print_points(curves: dict[str, RiskCoverage]) -> None:
    heads = " | ".join(f"error at {c:.0%} coverage" for c in _COVERAGES)
    print(f"| labels | {heads} | AURC |\n{'|---' * (len(_COVERAGES) + 2)}|")
    for name, curve in curves.items():
        cells = " | ".join(f"{curve.risk_at(c):.1%}" for c in _COVERAGES)
        print(f"| {name} | {cells} | {curve.aurc:.3f} |")


def _draw(
    predicted: FramePrediction, found: dict[str, Any], curves: dict[str, RiskCoverage], folder: Path
) -> None:
    split = found["split"]
    title = f"FER2013, {split}: {found['num']} faces, accuracy {found['accuracy']:.1%}"
    confusion = plot_confusion(found["confusion"], predicted.names, title=title)
    save_figure(confusion, folder / "frame_confusion.png")
    reliability = plot_reliability(predicted.probs, predicted.labels, title=f"FER2013, {split}")
    save_figure(reliability, folder / "reliability.png")
    shown = plot_risk_coverage(curves, title=f"{split}, the least confident faces set aside")
    save_figure(shown, folder / "risk_coverage.png")


def _write_accuracy(name: str, found: dict[str, Any]) -> None:
    hits = np.trace(np.array(found["confusion"]))
    correct = np.arange(found["num"]) < hits
    # Every face is another person, as far as is known.
    interval = accuracy_interval(correct, [str(i) for i in range(found["num"])])
    unit = f"share of {found['num']} faces"
    write_result(name, found["accuracy"], unit=unit, interval=interval, details=found)


if __name__ == "__main__":
    auto_cli(main)
