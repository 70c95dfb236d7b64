"""Measure frame networks and clip classifiers on labelled data."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_softmax

from emotemporal.checkpoint import Checkpoint, build_classifier
from emotemporal.datasets.fer2013 import FaceImages, ferplus_majority
from emotemporal.datasets.sequences import ClipSequence
from emotemporal.errors import DataError, UsageError
from emotemporal.files import replacing
from emotemporal.labelling.aggregation import AGGREGATIONS, aggregate_sum, aggregate_vote
from emotemporal.labels import FERPLUS8
from emotemporal.models.classifier import EmotionClassifier, run_backbone
from emotemporal.training.metrics import accuracy_interval, classification_metrics


@dataclass(frozen=True, eq=False)
class ClipPrediction:
    """What every aggregation says of one labelled clip."""

    clip_id: str
    subject: str
    label: int
    winners: Mapping[str, int]
    """Aggregation -> predicted class; empty where no face was found."""
    probs: Mapping[str, np.ndarray]
    """Aggregation -> float32 (C,)."""

    def pred(self, aggregation: str) -> int:
        """Return the predicted class, -1 where there is none."""
        return self.winners.get(aggregation, -1)

    def to_dict(self) -> dict[str, Any]:
        probs = {name: [float(p) for p in values] for name, values in self.probs.items()}
        return {
            "clip_id": self.clip_id,
            "subject": self.subject,
            "label": self.label,
            "winners": dict(self.winners),
            "probs": probs,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ClipPrediction":
        probs = {name: np.array(row, dtype=np.float32) for name, row in values["probs"].items()}
        return cls(**{**values, "probs": probs})


def predict_clips(classifier: EmotionClassifier, clips: Sequence[ClipSequence]) -> list[ClipPrediction]:
    """Label clips by every aggregation the classifier has."""
    labels = classifier.labels
    predictions = []
    for clip in clips:
        winners: dict[str, int] = {}
        probs: dict[str, np.ndarray] = {}
        if len(clip):
            frames = np.exp(clip.views[0].log_probs)
            if classifier.head is not None:
                _, probs["head"] = classifier.classify_sequence(clip.views[0], clip.pts_seconds)
                winners["head"] = int(probs["head"].argmax())
            for name, aggregate in (("sum", aggregate_sum), ("vote", aggregate_vote)):
                result = aggregate(frames, labels)
                winners[name], probs[name] = labels.index(result.emotion), result.probs
        predictions.append(ClipPrediction(clip.clip_id, clip.subject, clip.label, winners, probs))
    return predictions


def clip_report(
    predictions: Sequence[ClipPrediction], labels: Sequence[str], aggregations: Sequence[str]
) -> dict[str, Any]:
    """Measure clip predictions; a clip without a face counts as an error.

    Args:
        predictions: at least one.
        labels: the C emotions.
        aggregations: those the classifier has.
    Returns: `num`, and under `aggregations` for each what `classification_metrics` returns, with
        `interval` (95 %, bootstrap over subjects) and `per_subject` accuracy where subjects are known.
    """
    truth = np.array([prediction.label for prediction in predictions])
    subjects = [prediction.subject for prediction in predictions]
    report: dict[str, Any] = {"num": len(predictions), "aggregations": {}}
    for name in aggregations:
        pred = np.array([prediction.pred(name) for prediction in predictions])
        uniform = np.full(len(labels), 1 / len(labels), dtype=np.float32)
        probs = np.stack([prediction.probs.get(name, uniform) for prediction in predictions])
        found = classification_metrics(truth, pred, probs, labels)
        if all(subjects):
            correct = pred == truth
            found["interval"] = accuracy_interval(correct, subjects)
            which = np.array(subjects)
            found["per_subject"] = {s: float(correct[which == s].mean()) for s in sorted(set(subjects))}
        report["aggregations"][name] = found
    return report


def fold_report(
    predictions: Sequence[ClipPrediction], folds: Mapping[str, Sequence[str]], aggregations: Sequence[str]
) -> dict[str, Any]:
    """Measure clip predictions for each part of a split.

    Args:
        predictions: of all clips in the folds.
        folds: name -> ids of the clips held out; at least two.
        aggregations: those the classifier has.
    Returns: for each aggregation `accuracy` by fold, their `mean` and sample standard `deviation`.
    """
    by_id = {prediction.clip_id: prediction for prediction in predictions}
    report = {}
    for name in aggregations:
        accuracy = {
            fold: float(np.mean([by_id[i].pred(name) == by_id[i].label for i in ids]))
            for fold, ids in folds.items()
        }
        values = list(accuracy.values())
        report[name] = {
            "accuracy": accuracy,
            "mean": float(np.mean(values)),
            "deviation": float(np.std(values, ddof=1)),
        }
    return report


def write_predictions(path: str | Path, predictions: Sequence[ClipPrediction], labels: Sequence[str]) -> None:
    """Write one row for each clip: truth, and by every aggregation emotion and probabilities."""
    path = Path(path)
    names = [name for name in AGGREGATIONS if any(name in p.winners for p in predictions)]
    header = ["clip_id", "subject", "label", *names]
    header += [f"{name}_{emotion}" for name in names for emotion in labels]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        for prediction in predictions:
            row = [prediction.clip_id, prediction.subject, labels[prediction.label]]
            row += [labels[prediction.winners[name]] if name in prediction.winners else "" for name in names]
            for name in names:
                values = prediction.probs.get(name)
                row += [""] * len(labels) if values is None else [f"{p:.6f}" for p in values]
            writer.writerow(row)


def evaluate_frames(
    checkpoint: Checkpoint,
    faces: FaceImages,
    *,
    labels: str = "fer2013",
    flip: bool = False,
    device: str = "cpu",
) -> dict[str, Any]:
    """Measure a checkpoint's frame network on face pictures.

    Args:
        checkpoint: frame or clip checkpoint.
        faces: of one split.
        labels: `fer2013` for the original labels, `ferplus` for the majority of FER+'s annotators.
        flip: average the probabilities with those of the mirrored picture.
    Raises:
        DataError: the votes are not there.
        UsageError: the network was not trained on those labels.
    """
    classifier = build_classifier(checkpoint, device=device)
    if labels == "ferplus":
        if faces.votes is None:
            raise DataError("--labels ferplus needs fer2013new.csv beside the FER2013 table")
        truth, name, names = ferplus_majority(faces.votes), "ferplus8", FERPLUS8
        faces = FaceImages(faces.images[truth >= 0], truth[truth >= 0], faces.splits[truth >= 0])
    else:
        name, names = "fer7", checkpoint.header.labels
    if name not in checkpoint.header.backbone.label_sets:
        known = ", ".join(checkpoint.header.backbone.label_sets)
        raise UsageError(f"{checkpoint.path}: was not trained on label set {name}, has {known}")
    # The temperature was fitted for the original labels.
    temperature = classifier.temperature if name == "fer7" else 1.0
    views = [faces.images, faces.images[:, :, ::-1].copy()] if flip else [faces.images]
    probs = np.mean(
        [
            np.exp(log_softmax(run_backbone(classifier.backbone, view, device=device)[name] / temperature, 1))
            for view in views
        ],
        axis=0,
    )
    return classification_metrics(faces.labels, probs.argmax(1), probs, names)
