"""What each part of the frame network's recipe is worth, on a narrow network and a short schedule.

python benchmarks/ablations.py ../shared/data/fer2013/fer2013.csv.xz

Every variant trains the same network from the same start; what is reported is PublicTest, on which the
recipe was chosen. PrivateTest is not touched. Runs resume; `--epochs` and `--widths` set the size.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import auto_cli
from results import ROOT, write_result

from emotemporal.checkpoint import load_checkpoint
from emotemporal.datasets.fer2013 import read_fer2013
from emotemporal.models.specs import BackboneSpec
from emotemporal.training.config import AugmentationConfig, FrameConfig, OptimConfig, RunConfig
from emotemporal.training.evaluation import evaluate_frames
from emotemporal.training.frame import train_frame

_PLAIN = AugmentationConfig(
    gamma=0.0, degrade_probability=0.0, erase_probability=0.0, mixup_alpha=0.0, rotation_degrees=10, scale=0.1
)
_TEACHER = ROOT / "checkpoints" / "frame_fer2013.safetensors"


def variants(base: FrameConfig, ferplus: Path) -> Mapping[str, FrameConfig]:
    """Return the recipe's parts, each alone beside the reference `FER+ votes`."""
    reference = replace(base, ferplus=ferplus)

    def augmented(**changes: float) -> FrameConfig:
        return replace(reference, augmentation=replace(_PLAIN, **changes))

    def optimised(**changes: Any) -> FrameConfig:
        return replace(reference, optim=replace(reference.optim, **changes))

    return {
        "original labels alone": base,
        "FER+ votes": reference,
        "without averaged weights": optimised(ema_decay=0.0),
        "without squeeze-excitation": replace(
            reference, backbone=replace(reference.backbone, squeeze_excitation=False)
        ),
        "with erasing": augmented(erase_probability=0.4),
        "with mixup": augmented(mixup_alpha=0.2),
        "with darkness and degradation": augmented(gamma=0.4, degrade_probability=0.15),
        "with a teacher": replace(reference, teachers=[_TEACHER]),
    }


def main(
    table: Path,
    epochs: int = 5,
    widths: Sequence[int] = (32, 64, 96, 128),
    folder: Path = Path("runs/ablations"),
    compile: bool = True,
) -> None:
    """Train and measure every variant.

    Args:
        table: FER2013's csv, with fer2013new.csv beside it.
        epochs: of each variant.
        widths: of the network.
        folder: where the runs are kept.
        compile: `torch.compile` the networks.
    """
    ferplus = table.parent / "fer2013new.csv"
    faces = read_fer2013(table, ferplus=ferplus).split("PublicTest")
    base = FrameConfig(
        data=table,
        backbone=BackboneSpec(widths=widths),
        augmentation=_PLAIN,
        optim=OptimConfig(epochs=epochs, ema_decay=0.995),
        run=RunConfig(compile=compile),
    )
    rows: dict[str, dict[str, Any]] = {}
    for name, config in variants(base, ferplus).items():
        run = replace(config.run, folder=folder / name.replace(" ", "_").replace("+", "plus"))
        weights = load_checkpoint(train_frame(replace(config, run=run)))
        found = evaluate_frames(weights, faces)
        rows[name] = {key: found[key] for key in ("accuracy", "uar", "ece")}
        if config.ferplus is not None:
            rows[name]["ferplus_accuracy"] = evaluate_frames(weights, faces, labels="ferplus")["accuracy"]
        print(json.dumps({name: rows[name]}), flush=True)
    _print_table(rows)
    reference = rows["FER+ votes"]
    details = {
        "split": "PublicTest",
        "num": len(faces),
        "epochs": epochs,
        "widths": list(widths),
        "rows": rows,
    }
    gain = reference["accuracy"] - rows["original labels alone"]["accuracy"]
    write_result("frame_ablations", gain, unit="accuracy gained by FER+ votes", details=details)


def _print_table(rows: Mapping[str, Mapping[str, float]]) -> None:
    print("| | FER2013's labels | unweighted recall | FER+ majority |\n|---|---|---|---|")
    for name, row in rows.items():
        ferplus = f"{row['ferplus_accuracy']:.1%}" if "ferplus_accuracy" in row else ""
        print(f"| {name} | {row['accuracy']:.1%} | {row['uar']:.1%} | {ferplus} |")
    # Two networks that differ by chance alone differ by about this much.
    accuracy = np.mean([row["accuracy"] for row in rows.values()])
    print(f"\nstandard error of one accuracy: {np.sqrt(accuracy * (1 - accuracy) / 3589):.1%}")


if __name__ == "__main__":
    auto_cli(main)
