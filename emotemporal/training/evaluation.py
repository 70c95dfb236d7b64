"""Measure frame networks and clip classifiers on labelled data."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emotemporal.checkpoint import Checkpoint
from emotemporal.datasets.face_landmarks import face_landmarks
from emotemporal.datasets.fer2013 import FaceImages, ferplus_majority
from emotemporal.datasets.sequences import ClipSequence
from emotemporal.errors import DataError
from emotemporal.files import replacing
from emotemporal.labelling.aggregation import AGGREGATIONS, aggregate_sum, aggregate_vote
from emotemporal.labels import FER7, FERPLUS8, LabelMap
from emotemporal.models.classifier import EmotionClassifier
from emotemporal.models.mixed import mirror_landmarks
from emotemporal.networks import build_classifier, choose_labels
from emotemporal.training.metrics import accuracy_interval, classification_metrics

COVERAGE_CONFIDENCES = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""At which `coverage_report` looks; 0 keeps every clip that shows a face."""


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


def predict_clips(
    classifier: EmotionClassifier, clips: Sequence[ClipSequence], *, label_map: LabelMap | None = None
) -> list[ClipPrediction]:
    """Label clips by every aggregation the classifier has.

    Args:
        classifier: the networks.
        clips: labelled in the classifier's emotions.
        label_map: from these to the emotions to predict, for truth and probabilities alike; None keeps them.
    Raises:
        UsageError: the head sees geometry, and a clip has no landmarks.
    """
    if label_map is None:
        label_map = LabelMap.between(classifier.labels, classifier.labels)
    labels = label_map.target
    predictions = []
    for clip in clips:
        winners: dict[str, int] = {}
        probs: dict[str, np.ndarray] = {}
        if len(clip):
            frames = label_map.merge_probs(np.exp(clip.views[0].log_probs))
            if classifier.head is not None:
                seen = clip.views[0], clip.pts_seconds, clip.landmarks68
                _, of_clip = classifier.classify_sequence(*seen)
                probs["head"] = label_map.merge_probs(of_clip)
                winners["head"] = int(probs["head"].argmax())
            for name, aggregate in (("sum", aggregate_sum), ("vote", aggregate_vote)):
                result = aggregate(frames, labels)
                winners[name], probs[name] = labels.index(result.emotion), result.probs
        label = label_map.positions[clip.label]
        predictions.append(ClipPrediction(clip.clip_id, clip.subject, label, winners, probs))
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
        `interval` (95 %, bootstrap over subjects), `per_subject` accuracy and its `subject_deviation`
        (sample standard deviation, None for one) where subjects are known.
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
            found |= spread_over_subjects(pred == truth, subjects)
        report["aggregations"][name] = found
    return report


def coverage_report(
    predictions: Sequence[ClipPrediction], aggregations: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Tell how many clips keep a label at a least confidence, and how many of those labels are right.

    Args:
        predictions: at least one, of one run or of several together; a clip without a face keeps no label.
        aggregations: those the classifier has; a vote, whose shares are no probabilities, is left out.
    Returns: for each aggregation rows of `min_confidence`, `coverage` (of all clips), `num_kept` and
        `accuracy` (of the kept, None where there are none), the lowest confidence first.
    """
    report = {}
    for name in aggregations:
        if name == "vote":
            continue
        confidence = np.array([p.probs[name].max() if name in p.probs else -1.0 for p in predictions])
        right = np.array([p.pred(name) == p.label for p in predictions])
        rows = []
        for least in COVERAGE_CONFIDENCES:
            kept = confidence >= least
            accuracy = float(right[kept].mean()) if kept.any() else None
            row = {"min_confidence": least, "coverage": float(kept.mean())}
            rows.append({**row, "num_kept": int(kept.sum()), "accuracy": accuracy})
        report[name] = rows
    return report


def spread_over_subjects(correct: np.ndarray, subjects: Sequence[str]) -> dict[str, Any]:
    """Return `interval`, `per_subject` and `subject_deviation` of `clip_report`.

    Args:
        correct: (N,), in [0, 1]: whether a clip's prediction is right, or how often it is.
        subjects: (N,), whom each clip shows.
    """
    which = np.array(subjects)
    per_subject = {name: float(correct[which == name].mean()) for name in sorted(set(subjects))}
    values = list(per_subject.values())
    return {
        "interval": accuracy_interval(correct, subjects),
        "per_subject": per_subject,
        "subject_deviation": float(np.std(values, ddof=1)) if len(values) > 1 else None,
    }


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


def read_predictions(path: str | Path) -> tuple[list[ClipPrediction], tuple[str, ...]]:
    """Return what `write_predictions` wrote, and the emotions.

    Raises:
        DataError: there is no such file, or it is another table.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            rows, header = list(reader), list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a table of predictions ({error})") from error
    names = [name for name in AGGREGATIONS if name in header]
    prefix = f"{names[0]}_" if names else ""
    labels = tuple(column.removeprefix(prefix) for column in header if names and column.startswith(prefix))
    columns = ["clip_id", "subject", "label", *names]
    columns += [f"{name}_{emotion}" for name in names for emotion in labels]
    if not rows or not labels or header != columns:
        raise DataError(f"{path}: not a table of predictions; expected what train-clip or evaluate wrote")
    predictions = []
    for line, row in enumerate(rows, start=2):
        try:
            said = [name for name in names if row[name]]
            probs = {
                n: np.array([float(row[f"{n}_{emotion}"]) for emotion in labels], np.float32) for n in said
            }
            winners = {name: labels.index(row[name]) for name in said}
            label = labels.index(row["label"])
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}, line {line}: not a prediction ({error})") from error
        predictions.append(ClipPrediction(row["clip_id"], row["subject"], label, winners, probs))
    return predictions, labels


@dataclass(frozen=True, eq=False)
class FramePrediction:
    """What a frame network says of labelled faces."""

    probs: np.ndarray
    """float (N, C), rows sum to 1."""
    labels: np.ndarray
    """int64 (N,), true classes."""
    names: tuple[str, ...]
    """The C emotions."""
    num_left_out: int = 0
    """Faces whose truth is none of those."""

    def metrics(self) -> dict[str, Any]:
        """Return what `classification_metrics` finds, and `num_left_out`."""
        found = classification_metrics(self.labels, self.probs.argmax(1), self.probs, self.names)
        return {**found, "num_left_out": self.num_left_out}


def predict_frames(
    checkpoint: Checkpoint,
    faces: FaceImages,
    *,
    labels: str | None = None,
    flip: bool = False,
    device: str = "cpu",
    landmark_cache: Path | None = None,
) -> FramePrediction:
    """Run a checkpoint's frame network on labelled face pictures.

    Args:
        checkpoint: frame or clip checkpoint.
        faces: of one split.
        labels: one of `labels.LABEL_SETS`, or `fer2013` for `fer7`; None for the checkpoint's own. Truth
            is the original label, for `ferplus` what the majority of FER+'s annotators say.
        flip: average the probabilities with those of the mirrored picture.
        landmark_cache: folder that keeps the faces' landmarks, where the network sees them.
    Raises:
        DataError: the votes are not there, or no face is left.
        UsageError: the network cannot tell those labels, or what finds its landmarks is not installed.
    """
    name, label_map = choose_labels(checkpoint, "fer7" if labels == "fer2013" else labels)
    names = label_map.target
    if name == "ferplus8":
        if faces.votes is None:
            raise DataError("--labels ferplus needs fer2013new.csv beside the FER2013 table")
        truth = LabelMap.between(FERPLUS8, names).map_labels(ferplus_majority(faces.votes))
    else:
        truth = LabelMap.between(FER7, names).map_labels(faces.labels)
    kept = truth >= 0
    if not kept.any():
        raise DataError(f"none of {len(faces)} faces shows {', '.join(names)}")
    classifier = build_classifier(checkpoint, classifier=name, device=device)
    points = None
    if classifier.num_landmarks:
        # Of the whole split, which is what a training has kept.
        points = face_landmarks(faces.images, classifier.num_landmarks, folder=landmark_cache)[kept]
    images = faces.images[kept]
    views = [(images, points)]
    if flip:
        mirrored = None if points is None else mirror_landmarks(torch.from_numpy(points)).numpy()
        views.append((images[:, :, ::-1].copy(), mirrored))
    found = [np.exp(classifier.classify_crops(view, landmarks).log_probs) for view, landmarks in views]
    probs = label_map.merge_probs(np.mean(found, axis=0))
    return FramePrediction(probs, truth[kept], tuple(names), num_left_out=int(np.sum(~kept)))


def evaluate_frames(checkpoint: Checkpoint, faces: FaceImages, **options: Any) -> dict[str, Any]:
    """Measure a checkpoint's frame network on face pictures: `predict_frames`, then its metrics."""
    return predict_frames(checkpoint, faces, **options).metrics()
