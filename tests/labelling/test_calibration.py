"""Fitted scale and bias, reliability and risk against coverage, by hand."""

import numpy as np
import pytest
from scipy.special import softmax

from emotemporal.labelling.calibration import fit_bias, fit_temperature, reliability_bins, risk_coverage
from emotemporal.training.metrics import calibration_error


def two_classes(confidence: list[float], right: list[bool]) -> tuple[np.ndarray, np.ndarray]:
    """Return predictions of class 0 with the given confidence, and labels that make them right or not."""
    top = np.array(confidence)
    return np.stack([top, 1 - top], axis=1), np.where(right, 0, 1)


def random_predictions(num: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(7, 0.3), num), rng.integers(7, size=num)


def test_risk_coverage_by_hand():
    probs, labels = two_classes([0.6, 0.9, 0.8, 0.7], [True, True, False, True])
    curve = risk_coverage(probs, labels)
    np.testing.assert_allclose(curve.coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(curve.risk, [0, 1 / 2, 1 / 3, 1 / 4])
    assert curve.aurc == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert curve.risk_at(0.5) == 0.5
    # No threshold keeps 60 % exactly: the next one keeps 75 %.
    assert curve.risk_at(0.6) == pytest.approx(1 / 3)
    assert curve.risk_at(1.0) == 0.25


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 2, 3, 1, 0], [1, 3, 0, 4, 2]])
def test_equal_confidences_are_kept_together(order):
    probs, labels = two_classes([0.9, 0.8, 0.8, 0.8, 0.6], [True, True, False, True, False])
    coverage, risk, aurc = risk_coverage(probs[order], labels[order])
    np.testing.assert_allclose(coverage, [1 / 5, 4 / 5, 1])
    np.testing.assert_allclose(risk, [0, 1 / 4, 2 / 5])
    assert aurc == pytest.approx((0 + 3 * (1 / 4) + 2 / 5) / 5)


def test_one_confidence_alone_is_one_threshold():
    curve = risk_coverage(*two_classes([0.7] * 4, [True, False, False, True]))
    assert (curve.coverage.tolist(), curve.risk.tolist(), curve.aurc) == ([1.0], [0.5], 0.5)
    assert curve.risk_at(0.1) == 0.5


def test_every_item_is_asked_for_by_its_own_share():
    probs, labels = random_predictions(1000, seed=0)
    curve = risk_coverage(probs, labels)
    assert curve.risk[-1] == pytest.approx((probs.argmax(1) != labels).mean())
    for num in (1, 3, 7, 333, 999, 1000):
        kept = np.argsort(-probs.max(1))[:num]
        assert curve.risk_at(num / 1000) == pytest.approx((probs.argmax(1) != labels)[kept].mean())


def test_reliability_by_hand():
    probs, labels = two_classes([0.55, 0.6, 0.6, 0.95, 0.85], [True, False, True, True, False])
    bins = reliability_bins(probs, labels, num_bins=5)
    np.testing.assert_array_equal(bins.num, [0, 0, 3, 0, 2])
    np.testing.assert_allclose(bins.confidence, [np.nan, np.nan, 1.75 / 3, np.nan, 0.9])
    np.testing.assert_allclose(bins.accuracy, [np.nan, np.nan, 2 / 3, np.nan, 1 / 2])
    assert bins.expected_error == pytest.approx((3 * abs(1.75 / 3 - 2 / 3) + 2 * 0.4) / 5)


def test_the_bins_give_the_calibration_error_that_is_reported():
    probs, labels = random_predictions(500, seed=1)
    assert reliability_bins(probs, labels).expected_error == pytest.approx(
        calibration_error(probs, labels), abs=1e-6
    )


@pytest.mark.parametrize("measure", [risk_coverage, reliability_bins])
@pytest.mark.parametrize("num_labels", [0, 2])
def test_rows_must_have_labels(measure, num_labels):
    probs = np.full((3 if num_labels else 0, 2), 0.5)
    with pytest.raises(ValueError, match="at least one"):
        measure(probs, np.zeros(num_labels, int))


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
