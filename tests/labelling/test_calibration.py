"""Calibration finds the scale and the bias that were put in."""

import numpy as np
import pytest
from scipy.special import softmax

from emotemporal.labelling.calibration import fit_bias, fit_temperature


def drawn(temperature: float, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from what they are after correction."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (4000, 3))
    probs = softmax(logits / temperature + bias, axis=1)
    return logits, (probs.cumsum(1) < rng.random((4000, 1))).sum(1)


def test_the_temperature_is_found():
    logits, labels = drawn(2.0, np.zeros(3))
    assert fit_temperature(logits, labels) == pytest.approx(2.0, rel=0.1)


def test_temperature_and_bias_are_found():
    logits, labels = drawn(2.0, np.array([1.0, -1.0, 0.0]))
    temperature, bias = fit_bias(logits, labels)
    assert temperature == pytest.approx(2.0, rel=0.1)
    np.testing.assert_allclose(bias, [1, -1, 0], atol=0.15)


def test_a_class_without_examples_stays_finite():
    logits, labels = drawn(1.0, np.array([0.0, 0.0, -50.0]))
    _, bias = fit_bias(logits, labels)
    assert np.isfinite(bias).all()
    assert bias[2] < bias[:2].min() - 2


def test_nothing_to_fit_is_refused():
    with pytest.raises(ValueError, match="found 0, 0"):
        fit_bias(np.zeros((0, 3)), np.zeros(0, dtype=int))
