"""Figures by hand."""

import numpy as np
import pytest

from emotemporal.training.evaluation import ClipPrediction, coverage_report
from emotemporal.training.metrics import accuracy_interval, calibration_error, classification_metrics

NAMES = ("a", "b", "c")


def test_metrics_by_hand():
    labels = np.array([0, 0, 0, 1])
    pred = np.array([0, 0, 1, 1])
    found = classification_metrics(labels, pred, np.eye(3)[pred] * 0.7 + 0.1, NAMES)
    assert found["accuracy"] == pytest.approx(3 / 4)
    assert found["uar"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["macro_f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert found["confusion"] == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert found["per_class_recall"] == {"a": pytest.approx(2 / 3), "b": 1.0, "c": None}


def test_no_prediction_is_an_error():
    labels = np.array([0, 1])
    found = classification_metrics(labels, np.array([0, -1]), np.eye(3)[[0, 0]], NAMES)
    assert found["accuracy"] == 0.5
    assert found["uar"] == 0.5
    assert found["num_without_prediction"] == 1
    assert found["confusion"][1] == [0, 0, 0]
    assert found["per_class_num"] == {"a": 1, "b": 1, "c": 0}


def test_calibration_error_by_hand():
    probs = np.array([[0.8, 0.2], [0.8, 0.2], [0.8, 0.2], [0.8, 0.2]])
    assert calibration_error(probs, np.array([0, 0, 0, 1])) == pytest.approx(0.05, abs=1e-6)


def test_interval_holds_the_accuracy_and_widens_with_fewer_people():
    correct = np.tile([True, True, True, False], 50)
    many = accuracy_interval(correct, [str(i) for i in range(200)])
    assert many[0] < 0.75 < many[1]
    few = accuracy_interval(np.arange(200) < 150, [str(i // 50) for i in range(200)])
    assert few[1] - few[0] > many[1] - many[0]
    assert accuracy_interval(correct, ["ann"] * 200) is None


def test_coverage_by_hand():
    def clip(label: int, confidence: float | None) -> ClipPrediction:
        if confidence is None:
            return ClipPrediction("", "a", label, {}, {})
        probs = np.array([confidence, 1 - confidence], np.float32)
        return ClipPrediction("", "a", label, {"sum": 0, "vote": 0}, {"sum": probs, "vote": probs})

    # Without a face a clip keeps no label at any confidence.
    found = [clip(0, 0.95), clip(0, 0.75), clip(1, 0.65), clip(0, None)]
    report = coverage_report(found, ("sum", "vote"))
    assert list(report) == ["sum"]
    rows = {row["min_confidence"]: row for row in report["sum"]}
    assert rows[0.0] == {"min_confidence": 0.0, "coverage": 0.75, "num_kept": 3, "accuracy": 2 / 3}
    assert rows[0.7] == {"min_confidence": 0.7, "coverage": 0.5, "num_kept": 2, "accuracy": 1.0}
    assert rows[0.9]["num_kept"] == 1
    nobody = coverage_report([clip(0, None)], ("sum",))["sum"]
    assert [(row["coverage"], row["accuracy"]) for row in nobody] == [(0.0, None)] * len(nobody)
