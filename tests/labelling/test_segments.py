"""Segments, their agreement with the truth, flips and delays, all by hand."""

import numpy as np
import pytest

from emotemporal.labelling.segments import (
    Segment,
    change_delays,
    flips_per_second,
    match_segments,
    segment_f1,
    segment_iou,
    to_segments,
)

TENTHS = np.arange(40) / 10


def test_segments_of_a_variable_rate():
    pts = np.array([1.0, 1.5, 2.5, 2.6])
    # The last frame stands for as long as the way to its neighbour: half before, half after it.
    assert to_segments(np.array([4, 4, 0, 4]), pts) == [
        Segment(4, 1.0, 2.5),
        Segment(0, 2.5, 2.6),
        Segment(4, 2.6, pytest.approx(2.7)),
    ]


def test_segments_tile_the_time():
    labels = np.random.default_rng(0).integers(0, 3, 40)
    segments = to_segments(labels, TENTHS)
    assert [s.onset_seconds for s in segments[1:]] == [s.offset_seconds for s in segments[:-1]]
    assert sum(s.duration_seconds for s in segments) == pytest.approx(4.0)


def test_one_frame_is_a_segment():
    (segment,) = to_segments(np.array([2]), np.array([0.5]))
    assert segment.label == 2
    assert segment.duration_seconds > 0


def test_labels_and_times_must_fit():
    with pytest.raises(ValueError, match="found 2, 3"):
        to_segments(np.array([0, 1]), np.arange(3.0))
    with pytest.raises(ValueError, match="found 0, 0"):
        to_segments(np.array([]), np.array([]))


def test_flips_by_hand():
    assert flips_per_second(np.array([0, 1, 1, 0]), np.array([0.0, 0.5, 1.0, 2.0])) == 1.0
    assert flips_per_second(np.array([0]), np.array([0.0])) == 0.0


@pytest.mark.parametrize(
    ("a", "b", "iou"),
    [((0, 2), (1, 3), 1 / 3), ((0, 2), (2, 3), 0), ((0, 4), (1, 2), 1 / 4), ((0, 2), (0, 2), 1)],
)
def test_iou_by_hand(a, b, iou):
    assert segment_iou(Segment(0, *a), Segment(0, *b)) == pytest.approx(iou)


def test_f1_by_hand():
    truth = [Segment(0, 0, 2), Segment(1, 2, 4), Segment(0, 4, 6)]
    pred = [Segment(0, 0, 1.8), Segment(1, 1.8, 2.5), Segment(2, 2.5, 4), Segment(0, 4, 6)]
    # The first and the last are found; the middle one only for 0.5 s of 2.2 s.
    assert match_segments(truth, pred) == 2
    assert segment_f1(truth, pred) == pytest.approx(2 * 2 / 7)
    assert segment_f1(truth, pred, min_iou=0.2) == pytest.approx(2 * 3 / 7)
    assert segment_f1(truth, truth) == 1


def test_a_true_segment_is_found_once():
    truth = [Segment(0, 0, 4)]
    assert match_segments(truth, [Segment(0, 0, 2), Segment(1, 2, 2.1), Segment(0, 2.1, 4)], min_iou=0.4) == 1


def test_delay_by_hand():
    truth = np.repeat([0, 1], 20)
    found = change_delays(truth, np.repeat([0, 1], [23, 17]), TENTHS)
    assert (found.num_changes, found.detected_share) == (1, 1)
    np.testing.assert_allclose(found.delays_seconds, [0.3])
    np.testing.assert_array_equal(found.correct, [True])
    early = change_delays(truth, np.repeat([5, 6], [18, 22]), TENTHS)
    np.testing.assert_allclose(early.delays_seconds, [-0.2])
    assert early.median_seconds == pytest.approx(0.2)
    np.testing.assert_array_equal(early.correct, [False])


def test_flicker_neither_makes_nor_hides_a_change():
    truth = np.repeat([0, 1], 20)
    labels = truth.copy()
    labels[[3, 11, 15]] = 1
    labels[[24, 31]] = 2
    found = change_delays(truth, labels, TENTHS)
    np.testing.assert_allclose(found.delays_seconds, [0])
    # An outlier at the very change is no delay of it: one label on both sides is no change.
    steady = np.zeros(40, dtype=int)
    steady[[19, 20]] = 3
    assert change_delays(truth, steady, TENTHS).detected_share == 0


def test_each_change_is_judged_for_itself():
    pts = np.arange(60) / 10
    truth = np.repeat([0, 1, 2], 20)
    labels = np.repeat([0, 1, 1], 20)
    found = change_delays(truth, labels, pts)
    assert (found.num_changes, found.detected_share) == (2, 0.5)
    np.testing.assert_allclose(found.delays_seconds, [0])


def test_unrelated_labels_have_wide_delays_and_are_hardly_correct():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(400) % 7, 60)
    # Segments of random labels and lengths; the true ones last 3 s.
    labels = np.repeat(rng.integers(0, 7, 2000), rng.integers(10, 60, 2000))[: len(truth)]
    found = change_delays(truth, labels, np.arange(len(truth)) / 20)
    assert found.median_seconds > 0.5
    assert found.correct.sum() < 0.06 * found.num_changes


def test_without_changes_there_is_nothing_to_measure():
    found = change_delays(np.zeros(5, dtype=int), np.zeros(5, dtype=int), np.arange(5.0))
    assert found.num_changes == 0
    assert np.isnan(found.detected_share)
    assert np.isnan(found.median_seconds)
