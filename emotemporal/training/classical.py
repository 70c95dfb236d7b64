"""Clip labels from pooled statistics of the frames, by classical models.

With a few hundred clips, or a few dozen people, what is left of time in means, spreads and quantiles often
serves as well as a sequence model, and says what a sequence model adds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from scipy.special import log_softmax, softmax
from sklearn.base import ClassifierMixin, clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import (
    GroupKFold,
    ParameterGrid,
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_val_predict,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from emotemporal.errors import DataError
from emotemporal.labelling.calibration import fit_temperature
from emotemporal.models.linear import LinearMap

PooledName = Literal["logistic", "discriminant", "svm", "boosting"]
POOLED_NAMES: tuple[str, ...] = get_args(PooledName)
_INNER_FOLDS = 3

Folds = Sequence[tuple[np.ndarray, np.ndarray]]
"""Positions to train on, and positions held out."""

# Each model's classifier of standardised features, and the settings among which cross-validation chooses.
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


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What models of one setting say of clips that they did not see."""

    settings: Mapping[str, Any]
    decision: np.ndarray
    """float (N, C)."""
    score: float


def search_settings(
    make: Callable[..., ClassifierMixin],
    grid: Mapping[str, Sequence[Any]],
    features: np.ndarray,
    labels: np.ndarray,
    *,
    folds: Folds,
    score: Callable[[np.ndarray], float],
) -> HeldOut:
    """Try every setting on clips held out and return the best.

    Args:
        make: returns an unfitted classifier of the settings given by name.
        grid: setting -> values.
        features: (N, F).
        labels: int (N,), of C classes.
        folds: each clip is held out once.
        score: of decision values (N, C); the highest is chosen, of equal ones the first.
    """
    candidates = []
    for settings in ParameterGrid(grid):
        found = cross_val_predict(make(**settings), features, labels, cv=folds, method="decision_function")
        decision = _columns(found)
        candidates.append(HeldOut(settings, decision, score(decision)))
    return max(candidates, key=lambda candidate: candidate.score)


def clip_folds(
    labels: np.ndarray, *, groups: Sequence[str] | None = None, num_folds: int = 5, seed: int = 0
) -> Folds:
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

    def make(**settings: Any) -> ClassifierMixin:
        return make_pipeline(StandardScaler(), clone(classifier).set_params(**settings))

    def calibrated(decision: np.ndarray) -> tuple[float, np.ndarray]:
        temperature = fit_temperature(decision, labels)
        return temperature, log_softmax(decision / temperature, axis=1)

    def likelihood(decision: np.ndarray) -> float:
        # Of a few hundred clips the likelihood tells settings apart that get equally many right.
        return float(calibrated(decision)[1][np.arange(len(labels)), labels].mean())

    best = search_settings(make, grid, features, labels, folds=folds, score=likelihood)
    temperature, log_probs = calibrated(best.decision)
    estimator = make(**best.settings).fit(features, labels)
    return ClassicalModel(name, estimator, best.settings, temperature, -best.score, np.exp(log_probs))


class PooledReduction:
    """Standardises pooled features and keeps their principal components, their variances summing to 1.

    It sees no labels. Mirrored views are further examples.

    Args:
        views: (V, N, D), each training clip as it is and, if V is 2, mirrored.
        num_components: bounded by the data.
        seed: of the randomised decomposition.
    """

    def __init__(self, views: np.ndarray, *, num_components: int = 250, seed: int = 0) -> None:
        stacked = np.reshape(views, (-1, views.shape[-1]))
        components = PCA(min(num_components, *stacked.shape), svd_solver="randomized", random_state=seed)
        self._pipeline = make_pipeline(StandardScaler(), components).fit(stacked)
        # So that one grid of kernel widths and penalties serves any data.
        self._unit = np.sqrt(components.explained_variance_.sum())

    def __call__(self, views: np.ndarray) -> np.ndarray:
        """(V, N, D) -> float64 (V, N, K)."""
        return np.stack([self._pipeline.transform(view) for view in views]) / self._unit

    def fold(self, weight: np.ndarray, bias: np.ndarray) -> LinearMap:
        """Put a linear model of reduced features, (C, K) and (C,), behind this into one map."""
        scaler, components = self._pipeline[0], self._pipeline[1]
        weight = weight @ components.components_ / self._unit
        return LinearMap(scaler.mean_, scaler.scale_, weight, bias - weight @ components.mean_)


class PooledClassifier:
    """A classifier of reduced features: multinomial logistic regression, linear discriminants with shrunk
    covariance, a support vector machine with radial kernel, or gradient-boosted trees.

    Its settings are searched for by cross-validation that holds out people of the training set.

    Args:
        name: which.
        seed: of what is random in it.
    """

    def __init__(self, name: PooledName, *, seed: int = 0) -> None:
        self._unfitted, self._grid = _classifier(name, seed)
        self.settings: dict[str, float] = {}
        """What the search chose, once fitted."""
        self.inner_accuracy: float | None = None
        """Of the people held out within the training set, with these settings; None without a search."""

    def fit(self, views: np.ndarray, labels: np.ndarray, people: np.ndarray) -> "PooledClassifier":
        """Learn from clips.

        Args:
            views: (V, N, K), all of which are learnt from.
            labels: int (N,).
            people: (N,), whom each clip shows.
        """
        stacked = views.reshape(-1, views.shape[-1])
        labels, people = np.tile(labels, len(views)), np.tile(people, len(views))
        if self._grid:
            inner = GroupKFold(min(_INNER_FOLDS, len(np.unique(people))))
            folds = list(inner.split(stacked, labels, people))
            classes = np.unique(labels)

            def accuracy(decision: np.ndarray) -> float:
                right = classes[decision.argmax(axis=1)] == labels
                return float(np.mean([right[held_out].mean() for _, held_out in folds]))

            best = search_settings(self._make, self._grid, stacked, labels, folds=folds, score=accuracy)
            self.settings, self.inner_accuracy = dict(best.settings), best.score
        self._classifier = self._make(**self.settings).fit(stacked, labels)
        return self

    def predict_probs(self, views: np.ndarray) -> np.ndarray:
        """Return the mean over views (V, N, K) of the probabilities, float64 (N, C) for the C labels seen.

        The support vector machine's are a softmax of its decision values, good for ranking and averaging.
        """
        return np.mean([self._probs(view) for view in views], axis=0)

    def fold(self, reduction: PooledReduction) -> LinearMap:
        """Return one map from the features before `reduction` to the logits; of a fitted linear classifier
        of three classes or more."""
        return reduction.fold(self._classifier.coef_, self._classifier.intercept_)

    def _make(self, **settings: float) -> ClassifierMixin:
        return clone(self._unfitted).set_params(**settings)

    def _probs(self, features: np.ndarray) -> np.ndarray:
        if hasattr(self._classifier, "predict_proba"):
            return self._classifier.predict_proba(features)
        return softmax(self._classifier.decision_function(features), axis=1)


def _classifier(name: PooledName, seed: int) -> tuple[ClassifierMixin, Mapping[str, list[float]]]:
    """An unfitted classifier of features whose variances sum to 1, and what of it is searched for."""
    if name == "logistic":
        # The slopes of so small features are small: the usual tolerance stops at once.
        return LogisticRegression(max_iter=500, tol=2e-5), {"C": [3.0, 10.0, 30.0]}
    if name == "discriminant":
        return LinearDiscriminantAnalysis(solver="lsqr"), {"shrinkage": [0.1, 0.3, 0.6]}
    if name == "svm":
        return SVC(C=3.0, decision_function_shape="ovr"), {"gamma": [0.1, 0.3]}
    # Eight trees a round: a search over them would take longer than everything else together.
    trees = HistGradientBoostingClassifier(
        learning_rate=0.1, max_iter=80, max_leaf_nodes=8, l2_regularization=1.0, max_features=0.2,
        early_stopping=False, random_state=seed,
    )  # fmt: skip
    return trees, {}


def _columns(decision: np.ndarray) -> np.ndarray:
    """Return decision values as one column for each class; for two classes there is but one."""
    return decision if decision.ndim == 2 else np.stack([-decision, decision], axis=1)
