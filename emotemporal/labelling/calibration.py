"""Make confidences mean what they say, and tell how far they can be gone by.

Temperature scaling divides the logits by one number fitted on validation data; it changes no
decision, only the confidence (Guo et al. 2017, "On Calibration of Modern Neural Networks").
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax

CALIBRATION_BINS = 15


class ReliabilityBins(NamedTuple):
    """Confidence and accuracy in equal bins of confidence; NaN in bins that hold nothing."""

    confidence: np.ndarray
    """float64 (B,), mean in each bin."""
    accuracy: np.ndarray
    """float64 (B,)."""
    num: np.ndarray
    """int64 (B,), items in each bin."""

    @property
    def expected_error(self) -> float:
        """Expected calibration error: the gap of a bin, averaged over items (Naeini et al. 2015)."""
        held = self.num > 0
        gaps = np.abs(self.confidence - self.accuracy)[held]
        return float(gaps @ self.num[held] / self.num.sum())


class RiskCoverage(NamedTuple):
    """What is wrong among the items kept when the least confident are set aside."""

    coverage: np.ndarray
    """float64 (T,), share of items kept at each distinct confidence taken as threshold, increasing to 1."""
    risk: np.ndarray
    """float64 (T,), share of errors among those kept."""
    aurc: float
    """Area under the curve: the risk averaged over every item's own confidence as threshold."""

    def risk_at(self, coverage: float) -> float:
        """Return the risk at the strictest threshold that keeps at least so large a share of the items."""
        # Coverage is a quotient of counts: a rounding error must not ask for one item more.
        return float(self.risk[np.searchsorted(self.coverage, coverage - 1e-9)])


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature that minimises the negative log-likelihood.

    Args:
        logits: (N, C), of validation data.
        labels: (N,), integers in [0, C).
    Returns: a float in [0.05, 20]; divide logits by it.
    """
    if len(logits) != len(labels) or len(labels) == 0:
        raise ValueError(
            f"expected as many logits as labels and at least one, found {len(logits)}, {len(labels)}"
        )
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return -log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels].mean()

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))


def fit_bias(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the temperature and the bias that together minimise the negative log-likelihood.

    A bias of each class corrects a network that was trained where emotions are otherwise frequent, or that
    overlooks some of them; unlike a temperature alone it changes decisions.

    Args:
        logits: (N, C), of validation data.
        labels: (N,), integers in [0, C).
    Returns: a float in [0.05, 20] and float64 (C,) with mean 0; predict from logits / temperature + bias.
    """
    rows = np.arange(len(labels))

    def loss(values: np.ndarray) -> float:
        scaled = logits / np.exp(values[0]) + values[1:]
        # The small penalty fixes the mean, and keeps a class without examples finite.
        return -log_softmax(scaled, axis=1)[rows, labels].mean() + 1e-3 * np.square(values[1:]).mean()

    start = np.concatenate([[np.log(fit_temperature(logits, labels))], np.zeros(logits.shape[1])])
    bounds = [(np.log(0.05), np.log(20)), *[(None, None)] * logits.shape[1]]
    found = minimize(loss, start, bounds=bounds).x
    return float(np.exp(found[0])), found[1:] - found[1:].mean()


def reliability_bins(
    probs: np.ndarray, labels: np.ndarray, *, num_bins: int = CALIBRATION_BINS
) -> ReliabilityBins:
    """Compare confidence with accuracy, bin by bin.

    Args:
        probs: (N, C), rows sum to 1, N at least 1.
        labels: int (N,), true classes in [0, C).
        num_bins: equal parts of confidence 0 to 1; a confidence on an edge belongs to the lower one.
    """
    confidence, wrong = _confidence_and_errors(probs, labels)
    which = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    num = np.bincount(which, minlength=num_bins)
    sums = (np.bincount(which, weights=values, minlength=num_bins) for values in (confidence, ~wrong))
    confidences, accuracies = (
        np.divide(total, num, out=np.full(num_bins, np.nan), where=num > 0) for total in sums
    )
    return ReliabilityBins(confidences, accuracies, num)


def risk_coverage(probs: np.ndarray, labels: np.ndarray) -> RiskCoverage:
    """Return the errors among the most confident items, for every share of them that can be kept.

    Items of equal confidence are kept or set aside together: no threshold parts them. Sources: Geifman &
    El-Yaniv 2017, "Selective Classification for Deep Neural Networks"; for the area, Geifman, Uziel &
    El-Yaniv 2019, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers".

    Args:
        probs: (N, C), rows sum to 1, N at least 1; the largest of a row is its confidence.
        labels: int (N,), true classes in [0, C).
    """
    confidence, wrong = _confidence_and_errors(probs, labels)
    order = np.argsort(-confidence, kind="stable")
    # The last item of each run of equal confidences.
    ends = np.flatnonzero(np.diff(confidence[order], append=-1.0))
    kept = ends + 1
    risk = np.cumsum(wrong[order])[ends] / kept
    aurc = float(risk @ np.diff(kept, prepend=0)) / len(wrong)
    return RiskCoverage(kept / len(wrong), risk, aurc)


def _confidence_and_errors(probs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(probs) != len(labels) or len(labels) == 0:
        raise ValueError(
            f"expected as many rows as labels and at least one, found {len(probs)}, {len(labels)}"
        )
    return probs.max(axis=1).astype(np.float64), probs.argmax(axis=1) != labels
