"""Clips as fixed numbers of statistics, and classical classifiers of them.

With a few dozen people these are the mark that a recurrent network has to beat.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from emotemporal.faces.geometry import (
    GEOMETRY_DIM,
    NUM_POINTS,
    feature_motion,
    geometry_features,
    mirror_points,
)
from emotemporal.models.linear import LinearMap

PooledName = Literal["logistic", "discriminant", "svm", "boosting"]
POOLED_NAMES: tuple[str, ...] = get_args(PooledName)
AVERAGED: Mapping[str, tuple[str, PooledName]] = MappingProxyType(
    {
        "logistic": ("all", "logistic"),
        "discriminant": ("all", "discriminant"),
        "discriminant, measures": ("measures", "discriminant"),
        "discriminant, relative": ("relative", "discriminant"),
    }
)
"""Model -> which of `feature_blocks` it sees, and the classifier: the best of a dozen averages tried within
RAVDESS's actors 5 to 24."""
NUM_SLICES = 5
_QUANTILES = (0.1, 0.5, 0.9)
_INNER_FOLDS = 3


def pool_sequence(features: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Describe a clip by the statistics of its frames.

    Args:
        features: (L, G), finite, L at least 1.
        seconds: (L,), strictly increasing.
    Returns: float64 (12 G,): mean, standard deviation, three quantiles, mean and largest speed, and the
        means of five equal parts of the clip's time.
    """
    motion = feature_motion(features, seconds)
    # A part without a frame, as in a clip of few frames, takes the frame nearest to its middle.
    part = np.minimum((seconds - seconds[0]) / max(np.ptp(seconds), 1e-9) * NUM_SLICES, NUM_SLICES - 1)
    means = []
    for i in range(NUM_SLICES):
        rows = part.astype(int) == i
        if not rows.any():
            rows = np.abs(part - i - 0.5).argmin(keepdims=True)
        means.append(features[rows].mean(axis=0))
    return np.concatenate(
        [
            features.mean(axis=0),
            features.std(axis=0),
            *np.quantile(features, _QUANTILES, axis=0),
            motion.mean(axis=0),
            motion.max(axis=0),
            *means,
        ]
    )


def relative_to_clip(pooled: np.ndarray) -> np.ndarray:
    """Return what of pooled features tells nothing of the face at rest.

    Args:
        pooled: (..., 12 G), from `pool_sequence`.
    Returns: (..., 10 G): outer quantiles and means of parts less the median; spread and speeds as they are.
    """
    rows = np.reshape(pooled, (*pooled.shape[:-1], 12, -1))
    median = rows[..., 3:4, :]
    spread, speeds = rows[..., 1:2, :], rows[..., 5:7, :]
    levels = rows[..., [2, 4, *range(7, 12)], :] - median
    relative = np.concatenate([spread, speeds, levels], axis=-2)
    return relative.reshape(*pooled.shape[:-1], -1)


def pool_landmarks(points: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Describe a clip of one person's face, and its mirror image.

    Args:
        points: (L, 68, 2) in pixels; not finite where missing.
        seconds: (L,), strictly increasing.
    Returns: float64 (2, D), for `feature_blocks`.
    Raises:
        DataError: no frame has landmarks.
    """
    views = (points, mirror_points(points))
    return np.stack([pool_sequence(geometry_features(view, seconds), seconds) for view in views])


def feature_blocks(pooled: np.ndarray) -> dict[str, np.ndarray]:
    """Return the selections of pooled landmarks that models see.

    Args:
        pooled: (..., D), from `pool_landmarks`.
    Returns: `all`; `measures`, without the points themselves but with head pose; `relative`, of
        `relative_to_clip`.
    """
    rows = pooled.reshape(*pooled.shape[:-1], -1, GEOMETRY_DIM)[..., 2 * NUM_POINTS :]
    measures = rows.reshape(*pooled.shape[:-1], -1)
    return {"all": pooled, "measures": measures, "relative": relative_to_clip(pooled)}


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
            search = GridSearchCV(self._unfitted, self._grid, cv=inner, refit=False)
            search.fit(stacked, labels, groups=people)
            self.settings, self.inner_accuracy = search.best_params_, float(search.best_score_)
        self._classifier = clone(self._unfitted).set_params(**self.settings).fit(stacked, labels)
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

    def _probs(self, features: np.ndarray) -> np.ndarray:
        if hasattr(self._classifier, "predict_proba"):
            return self._classifier.predict_proba(features)
        return softmax(self._classifier.decision_function(features), axis=1)


def _classifier(name: PooledName, seed: int) -> tuple[BaseEstimator, Mapping[str, list[float]]]:
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
