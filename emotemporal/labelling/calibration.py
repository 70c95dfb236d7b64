"""Make confidences mean what they say.

Temperature scaling divides the logits by one number fitted on validation data; it changes no
decision, only the confidence (Guo et al. 2017, "On Calibration of Modern Neural Networks").
"""

import numpy as np
from scipy.optimize import minimize_scalar
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
