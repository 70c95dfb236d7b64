"""The clip label by sum and by vote, ties included."""

import numpy as np
import pytest

from emotemporal.labelling.aggregation import aggregate_sum, aggregate_vote, result_from_probs
from emotemporal.labelling.calibration import fit_temperature

LABELS = ("angry", "disgust", "fear")


def test_sum_takes_the_highest_summed_probability():
    probs = np.array([[0.5, 0.4, 0.1], [0.1, 0.6, 0.3]], dtype=np.float32)
    result = aggregate_sum(probs, LABELS)
    assert result.emotion == "disgust"
    np.testing.assert_allclose(result.probs, [0.3, 0.5, 0.2], atol=1e-6)
    assert result.confidence == pytest.approx(0.5)


def test_vote_counts_frames_not_confidence():
    probs = np.array([[0.4, 0.3, 0.3], [0.4, 0.3, 0.3], [0.0, 0.0, 1.0]], dtype=np.float32)
    result = aggregate_vote(probs, LABELS)
    assert result.emotion == "angry"
    assert aggregate_sum(probs, LABELS).emotion == "fear"
    assert result.votes.tolist() == [2, 0, 1]
    assert result.confidence == pytest.approx(2 / 3)


def test_equal_votes_go_to_the_larger_sum():
    probs = np.array([[0.5, 0.4, 0.1], [0.1, 0.2, 0.7]], dtype=np.float32)
    assert aggregate_vote(probs, LABELS).emotion == "fear"


def test_the_larger_sum_counts_only_among_the_tied():
    probs = np.array([[0.52, 0.48, 0.0], [0.0, 0.48, 0.52]], dtype=np.float32)
    assert aggregate_sum(probs, LABELS).emotion == "disgust"
    assert aggregate_vote(probs, LABELS).emotion == "angry"


def test_equal_sums_go_by_the_order_of_the_labels():
    probs = np.array([[0.0, 0.25, 0.75], [0.0, 0.75, 0.25]], dtype=np.float32)
    assert aggregate_vote(probs, LABELS).emotion == "disgust"


def test_result_is_normalised():
    result = result_from_probs(np.array([2.0, 1.0, 1.0]), LABELS)
    np.testing.assert_allclose(result.probs, [0.5, 0.25, 0.25])


def test_temperature_undoes_overconfidence():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 5)) * 2
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(5, p=row) for row in probs])
    assert fit_temperature(logits * 3, labels) == pytest.approx(3, rel=0.1)


def test_temperature_needs_labels():
    with pytest.raises(ValueError, match="at least one"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0, dtype=int))
