"""What facial landmarks add to the picture: the same small network with none, five and 68, on PublicTest.

python benchmarks/mixed_input.py ../shared/data/fer2013/fer2013.csv.xz --landmark-cache runs/fer2013_landmarks

Training goes by FER2013's own labels. Each run keeps its best epoch on the faces it is then measured on, so
the accuracies are a little too good, all alike; the differences between them are what counts.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from results import FOLDER, write_result
from scipy.stats import bootstrap

from emotemporal.checkpoint import load_checkpoint
from emotemporal.datasets.face_landmarks import face_landmarks
from emotemporal.datasets.fer2013 import FaceImages, read_fer2013
from emotemporal.models.specs import BackboneSpec
from emotemporal.models.torch_runners import run_backbone
from emotemporal.training.config import FrameConfig, OptimConfig, RunConfig
from emotemporal.training.frame import train_frame
from emotemporal.weights import load_frame_network

_ARMS = {0: "picture alone", 5: "picture and 5 landmarks", 68: "picture and 68 landmarks"}


def main() -> None:
    options = _options()
    table, faces = options.table, read_fer2013(options.table)
    if options.train_faces:
        table, faces = _write_subset(faces, options.train_faces, options.runs)
    test = faces.split("PublicTest")
    cache = options.landmark_cache or options.runs / "landmarks"
    correct: dict[int, np.ndarray] = {}  # arm -> bool (seeds, faces)
    num_parameters: dict[int, int] = {}
    for arm in _ARMS:
        spec = BackboneSpec(widths=options.widths, depths=[2] * len(options.widths), landmarks=arm)
        points = face_landmarks(test.images, arm, folder=cache) if arm else None
        rows = []
        for seed in options.seeds:
            folder = options.runs / f"landmarks{arm}_seed{seed}"
            config = FrameConfig(
                data=table,
                landmark_cache=cache,
                backbone=spec,
                optim=OptimConfig(
                    epochs=options.epochs,
                    batch_size=options.batch_size,
                    lr=options.lr,
                    # A schedule this short has no thousand steps to average over.
                    ema_decay=0.99,
                ),
                run=RunConfig(folder=folder, seed=seed),
            )
            checkpoint = load_checkpoint(train_frame(config))
            network = load_frame_network(checkpoint)
            logits = run_backbone(network, test.images, landmarks=points)["fer7"]
            rows.append(logits.argmax(1) == test.labels)
        correct[arm] = np.stack(rows)
        num_parameters[arm] = sum(p.numel() for p in network.parameters())
    _report(options, correct, num_parameters, len(faces.split("Training")))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path, help="fer2013.csv, plain or compressed")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64, 128, 144])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--train-faces", type=int, help="train on this many only, to try it out")
    parser.add_argument("--landmark-cache", type=Path, help="folder of landmarks found before")
    parser.add_argument("--runs", type=Path, default=Path("runs/mixed_input"), help="finished runs stay here")
    parser.add_argument("--output", type=Path, default=FOLDER, help="where the results go")
    return parser.parse_args()


def _write_subset(faces: FaceImages, num: int, folder: Path) -> tuple[Path, FaceImages]:
    """Write a table of the first `num` training faces and all of PublicTest; returns its path and faces."""
    rows = np.flatnonzero(faces.splits == "Training")[:num]
    rows = np.concatenate([rows, np.flatnonzero(faces.splits == "PublicTest")])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"first_{num}.csv"
    with path.open("w") as stream:
        stream.write("emotion,pixels,Usage\n")
        for row in rows:
            pixels = " ".join(map(str, faces.images[row].ravel()))
            stream.write(f"{faces.labels[row]},{pixels},{faces.splits[row]}\n")
    return path, FaceImages(faces.images[rows], faces.labels[rows], faces.splits[rows])


def _paired_difference(first: np.ndarray, second: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Return how much more often `second` is right than `first`, and its 95 % interval.

    Args:
        first: bool (seeds, faces).
        second: the same faces.
    """
    # A face is the unit that is drawn again, with what all seeds say of it.
    differences = second.mean(0) - first.mean(0)
    if not differences.any():
        return 0.0, (0.0, 0.0)
    rng = np.random.default_rng(0)
    found = bootstrap((differences,), np.mean, n_resamples=2000, batch=200, method="percentile", rng=rng)
    return float(differences.mean()), tuple(map(float, found.confidence_interval))


def _report(
    options: argparse.Namespace, correct: dict[int, np.ndarray], num_parameters: dict[int, int], num: int
) -> None:
    settings: dict[str, Any] = {
        "train_faces": num,
        "test_faces": correct[0].shape[1],
        **{name: getattr(options, name) for name in ("epochs", "seeds", "widths", "batch_size", "lr")},
    }
    lines = [
        "| network | parameters | accuracy on PublicTest | difference | 95 % interval |",
        "|---|---|---|---|---|",
    ]
    for arm, title in _ARMS.items():
        by_seed = correct[arm].mean(1)
        cells = f"| {title} | {num_parameters[arm]:,} | {by_seed.mean():.2%} "
        if arm == 0:
            lines.append(f"{cells}| | |")
            continue
        value, (low, high) = _paired_difference(correct[0], correct[arm])
        lines.append(f"{cells}| {100 * value:+.2f} points | {100 * low:+.2f} to {100 * high:+.2f} |")
        details = {
            "accuracy_by_seed": by_seed.tolist(),
            "picture_alone_by_seed": correct[0].mean(1).tolist(),
            "num_parameters": {str(key): number for key, number in num_parameters.items()},
            "settings": settings,
            "interval": "paired bootstrap over faces, each with the mean over seeds",
        }
        unit = "difference in accuracy on PublicTest to the picture alone"
        write_result(
            f"mixed_input_{arm}",
            value,
            unit=unit,
            interval=(low, high),
            details=details,
            folder=options.output,
        )
    text = "\n".join(lines)
    (options.output / "mixed_input.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
