"""Accuracy of the frame network on FER2013's faces, made worse in known steps.

python benchmarks/robustness.py ../shared/data/fer2013/fer2013.csv.xz

Measured on PublicTest, the validation split, so that it may be run as often as one likes without a look at
the test split. The network's epoch was chosen there, which makes the clean figure a little too good; what
counts is the fall from it.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jsonargparse import auto_cli
from matplotlib.figure import Figure
from results import ROOT, write_result

from emotemporal.checkpoint import load_checkpoint
from emotemporal.datasets.corruptions import CORRUPTIONS, corrupt_faces
from emotemporal.datasets.fer2013 import read_fer2013
from emotemporal.report.plots import plot_robustness, save_figure
from emotemporal.training.evaluation import evaluate_frames

_SPLIT = "PublicTest"


def main(table: Path, checkpoint: Path = ROOT / "checkpoints" / "frame_fer2013.safetensors") -> None:
    """Measure a frame network at every severity of every corruption.

    Args:
        table: FER2013's csv.
        checkpoint: the network.
    """
    weights = load_checkpoint(checkpoint)
    faces = read_fer2013(table).split(_SPLIT)
    clean = evaluate_frames(weights, faces)["accuracy"]
    most = max(len(corruption.levels) for corruption in CORRUPTIONS.values())
    print(
        f"clean: {clean:.1%}\n\n| accuracy (level) | {' | '.join(f'severity {i + 1}' for i in range(most))} |"
    )
    print("|---" * (most + 1) + "|", flush=True)
    found: dict[str, list[float]] = {}
    for name, corruption in CORRUPTIONS.items():
        worse = [
            replace(faces, images=corrupt_faces(faces.images, name, severity + 1))
            for severity in range(len(corruption.levels))
        ]
        found[name] = [evaluate_frames(weights, these)["accuracy"] for these in worse]
        cells = [f"{a:.1%} ({level:g})" for a, level in zip(found[name], corruption.levels, strict=True)]
        print(f"| {name}: {corruption.quantity} | {' | '.join(cells)} |", flush=True)
    constant = float(np.bincount(faces.labels).max() / len(faces))
    save_figure(_figure(clean, found, constant, len(faces)), ROOT / "docs" / "robustness.png")
    mean = float(np.mean([accuracy for accuracies in found.values() for accuracy in accuracies]))
    num_levels = sum(len(accuracies) for accuracies in found.values())
    write_result(
        "fer2013_robustness",
        mean,
        unit=f"share of {len(faces)} faces of {_SPLIT}, mean of {num_levels} corruptions and severities",
        details={
            "split": _SPLIT,
            "checkpoint": weights.identity(),
            "clean": clean,
            "most_frequent_class": constant,
            "corruptions": {
                name: {
                    "quantity": CORRUPTIONS[name].quantity,
                    "levels": list(CORRUPTIONS[name].levels),
                    "accuracy": accuracies,
                }
                for name, accuracies in found.items()
            },
        },
    )


def _figure(clean: float, found: dict[str, list[float]], constant: float, num: int) -> Figure:
    panels = {}
    for name, accuracies in found.items():
        levels = [f"{level:g}" for level in CORRUPTIONS[name].levels]
        points = [("clean", clean), *zip(levels, accuracies, strict=True)]
        panels[f"{name}\n{CORRUPTIONS[name].quantity}"] = points
    title = f"{num} faces of FER2013's {_SPLIT}; dotted: always the most frequent emotion"
    return plot_robustness(panels, constant=constant, title=title)


if __name__ == "__main__":
    auto_cli(main)
