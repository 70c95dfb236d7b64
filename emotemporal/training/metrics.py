"""What is reported of a classifier."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torchmetrics.functional.classification import (
    multiclass_calibration_error,
    multiclass_confusion_matrix,
)

from emotemporal.labelling.calibration import CALIBRATION_BINS


def classification_metrics(
    labels: np.ndarray, pred: np.ndarray, probs: np.ndarray, names: Sequence[str]
) -> dict[str, Any]:
    """Measure predictions.

    An item without a prediction (a clip in which no face was found) counts as an error everywhere.

    Args:
        labels: int (N,), true classes in [0, C).
        pred: int (N,), predicted classes; -1 where there is none.
        probs: float (N, C), rows sum to 1; rows without a prediction are ignored.
        names: the C emotions.
    Returns: `num`, `num_without_prediction`, `accuracy` (weighted average recall), `uar` (unweighted
        average recall over the classes that occur), `macro_f1` (over the same), `ece` (15 bins, of what
        was predicted; None if nothing was), `per_class_recall` (None for a class that does not occur),
        `per_class_num`, `confusion` (C rows of truth, C columns of what was predicted), `labels`.
    """
    num_classes = len(names)
    missing = pred < 0
    columns = torch.from_numpy(np.where(missing, num_classes, pred).astype(np.int64))
    truth = torch.from_numpy(labels.astype(np.int64))
    confusion = multiclass_confusion_matrix(columns, truth, num_classes + 1).numpy()[:num_classes]
    hits = confusion.diagonal()
    support, predicted = confusion.sum(1), confusion.sum(0)[:num_classes]
    occurs = support > 0
    recall = np.divide(hits, support, out=np.zeros(num_classes), where=occurs)
    f1 = np.divide(2 * hits, support + predicted, out=np.zeros(num_classes), where=support + predicted > 0)
    return {
        "num": len(labels),
        "num_without_prediction": int(missing.sum()),
        "accuracy": float(hits.sum() / len(labels)),
        "uar": float(recall[occurs].mean()),
        "macro_f1": float(f1[occurs].mean()),
        "ece": calibration_error(probs[~missing], labels[~missing]) if not missing.all() else None,
        "per_class_recall": {name: float(recall[i]) if occurs[i] else None for i, name in enumerate(names)},
        "per_class_num": {name: int(support[i]) for i, name in enumerate(names)},
        "confusion": confusion[:, :num_classes].tolist(),
        "labels": list(names),
    }


def calibration_error(probs: np.ndarray, labels: np.ndarray) -> float:
    """Return the expected calibration error over 15 equal bins of confidence (Naeini et al. 2015)."""
    return float(
        multiclass_calibration_error(
            torch.from_numpy(np.ascontiguousarray(probs, dtype=np.float32)),
            torch.from_numpy(labels.astype(np.int64)),
            num_classes=probs.shape[1],
            n_bins=CALIBRATION_BINS,
            norm="l1",
        )
    )


def accuracy_interval(
    correct: np.ndarray, groups: Sequence[str], *, num_draws: int = 2000, seed: int = 0
) -> tuple[float, float] | None:
    """Return the 95 % interval of the accuracy by bootstrap over groups (people); None for a single one.

    Args:
        correct: (N,), in [0, 1]: whether each item is right, or how often over several runs.
        groups: (N,), whom each item shows; items of one person are no independent draws.
    """
    names, which = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        return None
    hits = np.bincount(which, weights=correct.astype(float))
    counts = np.bincount(which)
    draws = np.random.default_rng(seed).integers(len(names), size=(num_draws, len(names)))
    accuracies = hits[draws].sum(1) / counts[draws].sum(1)
    low, high = np.percentile(accuracies, [2.5, 97.5])
    return float(low), float(high)
