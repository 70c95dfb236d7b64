"""Clip labels from pooled statistics of the frames, by classical models.

With a few hundred clips, what is left of time in means, spreads and quantiles often serves as well as a
sequence model, and says what a sequence model adds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax
from sklearn.base import ClassifierMixin, clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import ParameterGrid, StratifiedGroupKFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from emotemporal.errors import DataError
from emotemporal.labelling.calibration import fit_temperature

_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)

# Each model's classifier, and the settings among which cross-validation chooses.
_MODELS: dict[str, tuple[ClassifierMixin, dict[str, list[float]]]] = {
    "ridge": (RidgeClassifier(), {"alpha": [10, 30, 100, 300, 1000, 3000]}),
    "logistic": (LogisticRegression(max_iter=3000), {"C": [0.001, 0.003, 0.01, 0.03, 0.1]}),
    "svm": (SVC(kernel="rbf"), {"C": [0.3, 1, 3, 10], "gamma": [0.0003, 0.001, 0.003, 0.01]}),
    "trees": (
        HistGradientBoostingClassifier(learning_rate=0.1, max_leaf_nodes=4, random_state=0),
        {"max_iter": [20, 50], "min_samples_leaf": [10, 30]},
    ),
}
CLASSICAL_MODELS: tuple[str, ...] = tuple(_MODELS)


@dataclass(frozen=True, eq=False)
class ClassicalModel:
    """A fitted classifier of pooled statistics."""

    name: str
    estimator: ClassifierMixin
    settings: Mapping[str, Any]
    """What cross-validation chose."""
    temperature: float
    """Divides the decision values."""
    held_out_loss: float
    """Mean negative log-likelihood of the held-out clips, which the choice minimised."""
    held_out_probs: np.ndarray
    """float64 (N, C), of each training clip by models that did not see it (or its group)."""

    def predict_probs(self, features: np.ndarray) -> np.ndarray:
        """(M, F) -> probabilities, float64 (M, C)."""
        decision = _columns(self.estimator.decision_function(features))
        return softmax(decision / self.temperature, axis=1)


def pool_statistics(rows: np.ndarray, *, num_slices: int = 0) -> np.ndarray:
    """Sum a sequence of any length up in a vector.

    Args:
        rows: (L, D), L at least 1, in order of time.
        num_slices: equal parts of the sequence whose means are added, for what order tells.
    Returns: float64 (D * (8 + num_slices),): mean, spread, maximum, five quantiles, slices of each column.
    """
    rows = np.asarray(rows, dtype=np.float64)
    parts = [rows.mean(0), rows.std(0), rows.max(0), *np.quantile(rows, _QUANTILES, axis=0)]
    edges = np.linspace(0, len(rows), num_slices + 1)
    for onset, offset in pairwise(edges):
        # A slice of a short sequence holds at least the frame it begins in.
        first = int(onset)
        parts.append(rows[first : max(first + 1, round(offset))].mean(0))
    return np.concatenate(parts)


def clip_folds(
    labels: np.ndarray, *, groups: Sequence[str] | None = None, num_folds: int = 5, seed: int = 0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return pairs of training and held-out positions, with about the same share of each class.

    Args:
        labels: int (N,).
        groups: (N,), clips of one group are held out together; None where unknown.
        num_folds: how many.
        seed: of the shuffle.
    """
    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    return list(splitter(num_folds, shuffle=True, random_state=seed).split(labels, labels, groups))


def fit_classical(
    name: str,
    features: np.ndarray,
    labels: np.ndarray,
    *,
    groups: Sequence[str] | None = None,
    num_folds: int = 5,
    seed: int = 0,
) -> ClassicalModel:
    """Choose a model's settings by cross-validation, fit it to everything, calibrate it on held-out clips.

    Args:
        name: one of `CLASSICAL_MODELS`.
        features: (N, F).
        labels: int (N,); every class in [0, C) must occur.
        groups: (N,), whom each clip shows; clips of one group are held out together. None where unknown.
        num_folds: of the cross-validation.
        seed: of the folds.
    Raises:
        DataError: a class has no clips or too few for the folds.
    """
    counts = np.bincount(labels)
    if len(counts) < 2 or counts.min() < num_folds:
        raise DataError(
            f"{num_folds} folds need two classes and as many clips of each, found {counts.tolist()}"
        )
    folds = clip_folds(labels, groups=groups, num_folds=num_folds, seed=seed)
    classifier, grid = _MODELS[name]
    candidates = []
    for settings in ParameterGrid(grid):
        estimator = make_pipeline(StandardScaler(), clone(classifier).set_params(**settings))
        held_out = cross_val_predict(estimator, features, labels, cv=folds, method="decision_function")
        decision = _columns(held_out)
        temperature = fit_temperature(decision, labels)
        log_probs = log_softmax(decision / temperature, axis=1)
        loss = -log_probs[np.arange(len(labels)), labels].mean()
        candidates.append(
            ClassicalModel(name, estimator, settings, temperature, float(loss), np.exp(log_probs))
        )
    # Of a few hundred clips the likelihood tells settings apart that get equally many right.
    best = min(candidates, key=lambda model: model.held_out_loss)
    best.estimator.fit(features, labels)
    return best


def _columns(decision: np.ndarray) -> np.ndarray:
    """Return decision values as one column for each class; for two classes there is but one."""
    return decision if decision.ndim == 2 else np.stack([-decision, decision], axis=1)
