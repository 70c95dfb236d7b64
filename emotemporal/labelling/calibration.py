"""Make confidences mean what they say.

Temperature scaling divides the logits by one number fitted on validation data; it changes no
decision, only the confidence (Guo et al. 2017, "On Calibration of Modern Neural Networks").
"""

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax


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
